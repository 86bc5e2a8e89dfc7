"""A local stand-in for the Kubeez REST API, for rehearsals and tests. It imports nothing from the client's side."""

from __future__ import annotations

from kubeez_mcp_local.sandbox.embedded import EmbeddedSandbox, SandboxError, reset, serve

__all__ = ["EmbeddedSandbox", "SandboxError", "reset", "serve"]
