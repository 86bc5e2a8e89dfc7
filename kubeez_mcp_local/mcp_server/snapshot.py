"""What the front says in this server's place: asked of the server itself, in every revision, and written down."""

from __future__ import annotations

import gc
import json
import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
from mcp.server.runner import serve_dual_era_loop
from mcp.shared.message import SessionMessage
from mcp.types import jsonrpc_message_adapter

from kubeez_mcp_local.bridge import Bridge
from kubeez_mcp_local.disk import replace_file
from kubeez_mcp_local.environment import Look, code, file_of
from kubeez_mcp_local.front import LISTEN, LISTS, PLACE_OF_ID, Snapshot
from kubeez_mcp_local.mcp_server.server import KubeezServer
from kubeez_mcp_local.messages import CAPABILITIES_KEY, CHANGES, HANDSHAKES, MODERN, VERSION_KEY

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kubeez_mcp_local.front import Door
    from kubeez_mcp_local.mcp_server.server import ListChanges
    from kubeez_mcp_local.settings import Settings

_PAUSE_SECONDS = 0.25
_PATIENCE_SECONDS = 2.0
_MOST_KEPT = 20
_ID = PLACE_OF_ID.strip('"')

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SnapshotWriter:
    """Writes the snapshot of one server, once its client has had its first answers, and again when recipes change.

    Attributes:
        changes: Know what the client has had.
        door: Names the snapshot and says which code was loaded.
        settings_seen: The files of the settings, looked at before they were read.
    """

    settings: Settings
    changes: ListChanges
    door: Door
    settings_seen: Look

    async def keep(self) -> None:
        """Write it as soon as the client has its tools, or seems to want none, and asks for nothing."""
        began = anyio.current_time()
        before = -1
        while self.changes.in_hand or self.changes.requests != before or not self._may_begin(began):
            before = self.changes.requests
            await anyio.sleep(_PAUSE_SECONDS)
        await self.write()

    def _may_begin(self, began: float) -> bool:
        return self.changes.tools_listed or anyio.current_time() - began > _PATIENCE_SECONDS

    async def write(self) -> None:
        """Write it now. Takes a tenth of a second, in which nothing else stands still for more than a part of it."""
        name = self.door.name
        file = file_of(name) if name else None
        if file is None:
            return
        try:
            content = await snapshot_of(self.settings)
            if code() != self.door.code or not self.settings_seen.still_holds():
                return
            content |= {"name": name, "code": self.door.code, "settings": self.settings_seen.as_json}
            await anyio.to_thread.run_sync(_write_privately, Path(file), json.dumps(content))
        except Exception as error:  # noqa: BLE001 - the next start will be a slow one, and this one goes on
            log.info("no snapshot for the next start: %s", type(error).__name__)
        gc.collect()  # the server that was asked is a circle


def _write_privately(file: Path, content: str) -> None:
    """Write it so that nobody else can read or change it."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace_file(file, content)
    keep_newest(file.parent)
    log.debug("a snapshot for the next start was written")


def keep_newest(folder: Path) -> None:
    """Remove all but the newest 20 files: each working folder and each change of the settings has one of its own."""
    newest = sorted(folder.iterdir(), key=lambda each: each.lstat().st_mtime_ns, reverse=True)
    for old in newest[_MOST_KEPT:]:
        old.unlink(missing_ok=True)


async def snapshot_of(settings: Settings) -> dict[str, Any]:
    """What the front needs to know of a server with `settings`.

    Raises:
        ValueError: A recipe changed meanwhile.
    """
    from kubeez_mcp_local.cookbook.library import digest

    bridge = Bridge(settings)
    server = KubeezServer(bridge, opened=True)
    library = server.recipes.library
    recipes = Look.at(library.places)
    texts: dict[str, int] = {}
    answers: dict[str, dict[str, int]] = {}
    for revision in (*HANDSHAKES, MODERN):
        told = await _told(server, bridge, revision)
        answers[revision] = {method: texts.setdefault(text, len(texts)) for method, text in told.items()}
    if not recipes.still_holds():
        raise ValueError("a recipe changed")
    return {
        "answers": answers,
        "texts": list(texts),
        "recipes": recipes.as_json,
        "listed": digest(library.listed),
        "ledger": "" if settings.team_ledger else str(settings.state_dir / "ledger.db"),
        "work": bridge.query_for_work,
        "debug": settings.log_level == "debug",
    }


async def still_true(told: Snapshot, settings: Settings) -> bool:
    """Whether what the front has told of the server, recipes aside, is true of one with these `settings`: they may have
    been changed since, and a client that was told of a free rehearsal must not find itself paying."""
    if told.settings.still_holds():
        return True
    now = Snapshot(await snapshot_of(settings) | {"settings": told.settings.as_json})
    lists = ("initialize", "server/discover", "tools/list")
    return all(
        told.answers[revision].get(method) == now.answers[revision].get(method)
        for revision in now.answers
        for method in lists
    )


async def _told(server: KubeezServer, bridge: Bridge, revision: str) -> dict[str, str]:
    """What the server answers in a conversation of its own, as it goes out, with `PLACE_OF_ID` for the request's id."""
    send, from_client = anyio.create_memory_object_stream[SessionMessage | Exception](4)
    to_client, receive = anyio.create_memory_object_stream[SessionMessage](4)
    serve = partial(serve_dual_era_loop, server.lowlevel, from_client, to_client, lifespan_state=bridge)
    found: dict[str, str] = {}
    async with anyio.create_task_group() as tasks, send, receive:
        tasks.start_soon(partial(serve, init_options=server.initialization))
        for name, messages in _questions(revision):
            for message in messages:
                await send.send(SessionMessage(jsonrpc_message_adapter.validate_python(message)))
            answer = (await receive.receive()).message.model_dump_json(by_alias=True, exclude_unset=True)
            if answer.count(PLACE_OF_ID) != 1 or '"error":' in answer[:60]:
                raise ValueError(f"{name} is not answered as expected")
            found[name] = answer
        tasks.cancel_scope.cancel()
    return found


def _questions(revision: str) -> Iterator[tuple[str, Sequence[dict[str, Any]]]]:
    """By the name of each answer what is sent to have it."""
    modern = revision == MODERN
    meta = {"_meta": {VERSION_KEY: MODERN, CAPABILITIES_KEY: {}}} if modern else {}
    if not modern:
        client = {"clientInfo": {"name": "snapshot", "version": "1"}, "capabilities": {}}
        yield "initialize", [_request("initialize", {"protocolVersion": revision, **client})]
    for method in ("server/discover" if modern else "ping", *LISTS):
        yield method, [_request(method, meta)]
    for number in range(1 << len(CHANGES)) if modern else ():
        wanted = [name for place, name in enumerate(CHANGES) if number >> place & 1]
        cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": _ID}}
        before = [cancel] if number else []
        listen = _request(LISTEN, {"notifications": dict.fromkeys(wanted, True), **meta})
        yield f"{LISTEN} {''.join(name[0] for name in wanted)}", [*before, listen]


def _request(method: str, params: dict[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": _ID, "method": method, "params": params}
