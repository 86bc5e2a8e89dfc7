"""The page that hosts with MCP Apps show with a job's or a run's results, and what it reads through them.

MCP Apps is the extension `io.modelcontextprotocol/ui` (SEP-1865). The page is one file, shows the structured result
that every host gets, and asks for nothing but previews of outputs, the state of a run and free tools. It never pays:
its buttons put a sentence into the conversation.
"""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from mcp.server.apps import APP_MIME_TYPE, ResourceCsp
from mcp.server.lowlevel.helper_types import ReadResourceContents
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError
from mcp.types import ResourceTemplate

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.mcp_server.answers import json_of
from kubeez_mcp_local.mcp_server.inventory import APP
from kubeez_mcp_local.mcp_server.tools.recipes import run_state
from kubeez_mcp_local.rest.wire import MEDIA_ORIGIN
from kubeez_mcp_local.settings import Mode

if TYPE_CHECKING:
    from kubeez_mcp_local.mcp_server.call import Call

PREVIEWS, RUNS = "kubeez://previews/", "kubeez://runs/"
MOST_PREVIEW_BYTES = 64_000
"""Length of the base64 text of one preview."""
_INLINE = re.compile(r"<(style|script)>(.*?)</\1>", re.DOTALL)
_POLICY = "<!-- policy -->"


def templates() -> list[ResourceTemplate]:
    """What there is besides the page."""
    return [
        ResourceTemplate(
            uri_template=f"{PREVIEWS}{{path}}",
            name="preview",
            title="Small picture of one saved output",
            description="Of a film one frame, of sound its waveform as JSON, 0 to 100. The path is percent-encoded.",
        ),
        ResourceTemplate(
            uri_template=f"{RUNS}{{id}}", name="run", title="A run of a recipe now", mime_type="application/json"
        ),
    ]


def serves(uri: str) -> bool:
    """Whether `read` is asked for this address."""
    return uri == APP or uri.startswith((PREVIEWS, RUNS))


async def read(call: Call, uri: str) -> ReadResourceContents:
    """The content at `uri`.

    Raises:
        ResourceNotFoundError: There is nothing at this address.
        ResourceError: It exists but cannot be read now; the message says why.
    """
    if uri == APP:
        return page(call.bridge.mode)
    try:
        if uri.startswith(RUNS):
            return await _run(call, unquote(uri.removeprefix(RUNS)))
        return await _preview(call, unquote(uri.removeprefix(PREVIEWS)))
    except KubeezError as error:
        missing = error.code in ("unknown_output", "unknown_run")
        raise (ResourceNotFoundError if missing else ResourceError)(str(error)) from None


async def _preview(call: Call, path: str) -> ReadResourceContents:
    rehearsed = call.runs.made(path)  # in a ledger of its own
    shown, mime_type = await call.bridge.outputs_made.preview(path, MOST_PREVIEW_BYTES // 4 * 3, known=rehearsed)
    text = shown.decode() if mime_type == "application/json" else shown
    return ReadResourceContents(content=text, mime_type=mime_type)


async def _run(call: Call, name: str) -> ReadResourceContents:
    run = call.runs.named(name)
    if run is None:
        raise KubeezError("No such run goes on here.", next_step="run_recipe goes on with it.", code="unknown_run")
    state = await run_state(call, run)
    return ReadResourceContents(content=json_of(state.structured()), mime_type="application/json")


def page(mode: Mode) -> ReadResourceContents:
    """The page. Only in live mode may it load from the media host."""
    hosts = [MEDIA_ORIGIN] if mode is Mode.LIVE else []
    csp = ResourceCsp(resource_domains=hosts or None).model_dump(by_alias=True, exclude_none=True)
    text = _text().replace(_POLICY, _policy(hosts))
    meta: dict[str, Any] = {"ui": {**({"csp": csp} if csp else {}), "prefersBorder": True}}
    return ReadResourceContents(content=text, mime_type=APP_MIME_TYPE, meta=meta)


@cache
def _text() -> str:
    return (files("kubeez_mcp_local.web") / "static" / "app.html").read_text("utf-8")


def _policy(hosts: list[str]) -> str:
    """The page's own policy, which holds whatever the host allows: its one script, its one style, nothing else."""
    own = {kind: base64.b64encode(hashlib.sha256(text.encode()).digest()) for kind, text in _INLINE.findall(_text())}
    media = " ".join(["data:", *hosts])
    rules = [
        "default-src 'none'",
        *(f"{kind}-src 'sha256-{digest.decode()}'" for kind, digest in own.items()),
        f"img-src {media}",
        f"media-src {media}",
    ]
    return f'<meta http-equiv="Content-Security-Policy" content="{"; ".join(rules)}">'
