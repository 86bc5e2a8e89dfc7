"""Speaks HTTP to the Kubeez API; knows nothing of MCP, money or files beyond reading an upload."""
