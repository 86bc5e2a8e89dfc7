"""Requests to the API, by the name of their route."""

from __future__ import annotations

from typing import Any

from kubeez_mcp_local.operations import routes
from kubeez_mcp_local.rest.routes import Request


def sent(route: str, **body: Any) -> Request:
    return Request(routes()[route], body)
