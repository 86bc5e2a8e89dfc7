"""The composition root: builds the parts from Settings; MCP and the command line both stand on it."""

from kubeez_mcp_local.bridge.bridge import Bridge, UnusableBridge

__all__ = ["Bridge", "UnusableBridge"]
