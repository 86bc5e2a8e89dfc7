"""The hosted door: an MCP server over streamable HTTP, and the gate before it that looks at tokens and scopes."""

from __future__ import annotations

import logging
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anyio.to_thread import run_sync
from mcp import MCPError
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.types import (
    INVALID_PARAMS,
    CallToolResult,
    ListResourcesResult,
    ListToolsResult,
    ReadResourceResult,
    Resource,
    TextResourceContents,
)
from mcp.types import Tool as ToolOnTheWire
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from kubeez_mcp_local.sandbox.answers import ApiError
from kubeez_mcp_local.sandbox.hosted import jobs, library, uploads
from kubeez_mcp_local.sandbox.hosted.signing_in import METADATA_PATH, SignIn
from kubeez_mcp_local.sandbox.hosted.tokens import MCP_PATH, Tokens, bearer
from kubeez_mcp_local.sandbox.hosted.tools import Call, answered, checked, misfits, refused
from kubeez_mcp_local.sandbox.service import Service, Viewer, origin_of
from kubeez_mcp_local.web.server import foreign_page

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from fastapi import FastAPI
    from mcp.server.context import ServerRequestContext
    from mcp.types import CallToolRequestParams, PaginatedRequestParams, ReadResourceRequestParams
    from starlette.types import Receive, Scope, Send

    from kubeez_mcp_local.sandbox.hosted.tokens import Grant
    from kubeez_mcp_local.sandbox.hosted.tools import Tool

_log = logging.getLogger(__name__)

_MOST_SESSIONS = 1000
_TEXT = "text/markdown"
_INSTRUCTIONS = "A local stand-in for the hosted Kubeez MCP server. Nothing costs anything."

_ALL: dict[str, Tool] = {tool.name: tool for box in (library.box, jobs.box, uploads.box) for tool in box.tools}


@dataclass(frozen=True)
class Gate:
    """ASGI app at `/mcp`: lets callers with a valid token through, whose scopes allow the tool that they call."""

    door: HostedDoor
    manager: StreamableHTTPSessionManager

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        if page := foreign_page(scope):
            await JSONResponse({"error": "foreign_request", "message": page}, 403)(scope, receive, send)
            return
        token = bearer(scope)
        grant = await run_sync(self.door.tokens.valid, token) if token else None
        if grant is None:
            await _challenge(request, 401, error="invalid_token" if token else None)(scope, receive, send)
            return
        if scope_missing := self.door.missing(grant, scope.get("hosted_tool", ""), "http"):
            await _challenge(request, 403, error="insufficient_scope", scope=scope_missing)(scope, receive, send)
            return
        scope["hosted_grant"] = grant
        known = AccessToken(token=token, client_id=grant.client, scopes=list(grant.scopes), subject=grant.account)
        scope["user"] = AuthenticatedUser(known)
        await self.manager.handle_request(scope, receive, send)


def _challenge(request: Request, status: int, *, error: str | None, scope: str | None = None) -> Response:
    """RFC 6750 and 9728: what is wrong with the token, and where to learn how to get one."""
    said = {"error": error, "scope": scope, "resource_metadata": f"{origin_of(request)}{METADATA_PATH}"}
    words = ", ".join(f'{name}="{value}"' for name, value in said.items() if value)
    body = {"error": error or "invalid_token", "error_description": _WORDS[status]}
    return JSONResponse(body, status, {"WWW-Authenticate": f"Bearer {words}"})


_WORDS = {
    401: "A valid access token is needed",
    403: "The token lacks the scope that this tool needs",
}


class HostedDoor:
    """The hosted tools of one stand-in, as they are served by its knobs at the moment."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.tokens = Tokens(service.books)
        self._server: Server[Any] = Server(
            "kubeez",
            version="sandbox",
            instructions=_INSTRUCTIONS,
            on_list_tools=self._list,
            on_call_tool=self._call,
            on_list_resources=self._list_resources,
            on_read_resource=self._read_resource,
            get_tool_input_schema=lambda name: None,
        )
        self._manager = StreamableHTTPSessionManager(self._server, max_sessions=_MOST_SESSIONS)

    def open(self, app: FastAPI) -> None:
        """Add the door's routes to the app of the REST routes."""
        app.router.routes += [Route(MCP_PATH, Gate(self, self._manager)), *SignIn(self.service).routes()]
        app.include_router(uploads.router)

    def running(self) -> AbstractAsyncContextManager[None]:
        """Serves sessions for as long as it is held."""
        return self._manager.run()

    def served(self) -> dict[str, tuple[Tool, dict[str, Any]]]:
        """Tools by the name that they have now, with their entries in `tools/list`."""
        changes = self.service.panel.knobs.tools
        entries = [
            (tool, merged(tool.entry, change) if change else tool.entry)
            for name, tool in _ALL.items()
            if (change := changes.get(name, {})) is not None
        ]
        return {entry["name"]: (tool, entry) for tool, entry in entries}

    def missing(self, grant: Grant, name: str, where: str) -> str | None:
        """The scope that a caller lacks for the tool of that name, where the knob wants it refused."""
        if not name or self.service.panel.knobs.scope_refusals != where:
            return None
        tool, _ = self.served().get(name, (None, None))
        return tool.scope if tool and tool.scope and tool.scope not in grant.scopes else None

    async def _list(self, context: ServerRequestContext, params: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(tools=[ToolOnTheWire.model_validate(entry) for _, entry in self.served().values()])

    async def _list_resources(
        self, context: ServerRequestContext, params: PaginatedRequestParams | None
    ) -> ListResourcesResult:
        found = [Resource(uri=f"{library.SCHEME}{name}", name=name, mime_type=_TEXT) for name in library.SKILLS]
        return ListResourcesResult(resources=found)

    async def _read_resource(
        self, context: ServerRequestContext, params: ReadResourceRequestParams
    ) -> ReadResourceResult:
        text = library.SKILLS.get(params.uri.removeprefix(library.SCHEME))
        if text is None:
            raise MCPError(code=INVALID_PARAMS, message=f"Unknown resource: {params.uri}")
        return ReadResourceResult(contents=[TextResourceContents(uri=params.uri, mime_type=_TEXT, text=text)])

    async def _call(self, context: ServerRequestContext, params: CallToolRequestParams) -> CallToolResult:
        return await run_sync(self._carried_out, context.request, params.name, params.arguments or {})

    def _carried_out(self, request: Any, name: str, arguments: dict[str, Any]) -> CallToolResult:
        grant: Grant = request.scope["hosted_grant"]
        try:
            tool, entry = self.served().get(name) or _unknown(name)
            if lacking := self.missing(grant, name, "tool"):
                words = f"The token lacks the scope {lacking}"
                raise ApiError(403, {"error": "insufficient_scope", "message": words})
            self.service.limits.count(grant.account, tool.bucket)
            viewer = Viewer(self.service, origin_of(request))
            asked = checked(tool.arguments, entry["inputSchema"], arguments)
            return answered(tool.run(Call(self.service, viewer, grant.caller()), asked))
        except ApiError as error:
            return refused(name, error, self.service.panel.knobs.hosted_errors)
        except ValidationError as error:
            return refused(name, ApiError(400, misfits(error)), self.service.panel.knobs.hosted_errors)
        except (sqlite3.Error, OSError) as error:
            _log.debug("the sandbox's books or files failed", exc_info=error)
            return refused(name, ApiError(424, {"error": "sandbox_broken", "message": str(error)}), "structured")


def _unknown(name: str) -> tuple[Tool, dict[str, Any]]:
    raise ApiError(404, {"error": "unknown_tool", "message": f"Unknown tool: {name}"})


def merged(whole: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """RFC 7396: `changes` over `whole`, where null takes away."""
    result = {name: value for name, value in whole.items() if changes.get(name, value) is not None}
    for name, value in changes.items():
        if value is not None:
            inner = result.get(name)
            result[name] = merged(inner if isinstance(inner, dict) else {}, value) if isinstance(value, dict) else value
    return result
