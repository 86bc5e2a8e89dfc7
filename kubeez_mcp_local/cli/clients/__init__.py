"""MCP clients on this machine: where their configs are, what our entry looks like there, and how it gets in and out."""
