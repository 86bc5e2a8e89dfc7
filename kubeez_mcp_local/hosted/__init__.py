"""Speaks MCP to Kubeez's hosted server, with the types and errors of `rest/`; knows nothing of money, jobs or files."""
