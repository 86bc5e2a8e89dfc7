"""Kubeez media generation as a local MCP server over stdio."""

__version__ = "0.1.0"
