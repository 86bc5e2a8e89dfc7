"""One conversation a revision, whose every line is held against the published schema; and what a revision lacks."""

from __future__ import annotations

import json
import os
import queue
import re
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from mcp.types.version import KNOWN_PROTOCOL_VERSIONS, is_version_at_least

from kubeez_mcp_local.front import Beginning, HandedOver, Pipe, Snapshot
from kubeez_mcp_local.mcp_server import stdio
from kubeez_mcp_local.mcp_server.revisions import fitting
from kubeez_mcp_local.mcp_server.server import KubeezServer
from kubeez_mcp_local.mcp_server.snapshot import snapshot_of
from kubeez_mcp_local.messages import BATCHES, HANDSHAKES, MODERN
from tests.mcp_server.driving import bridge_of, picture, song
from tests.mcp_server.published import REVISIONS, Witness, published
from tests.mcp_server.talking import CLIENT, enveloped

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kubeez_mcp_local.bridge import Bridge
    from tests.sandbox_server import RunningSandbox

PATIENCE = 30.0
ASKS: dict[str, Any] = {"elicitation": {}}
YES: dict[str, Any] = {"action": "accept", "content": {"spend": True}}
RECENT = "kubeez://jobs/recent"
PICTURE = {"prompt": "a kite", "model": "z-image"}


class Wire:
    """A client in raw lines: first the front answers, then the server it hands over to. A witness sees every line.

    Attributes:
        lines: What came and has not been looked at.
        began: Runs the real server once it is needed.
    """

    def __init__(self, bridge: Bridge, snapshot: Snapshot, revision: str) -> None:
        self.revision = revision
        self.reply: Any = YES
        self.witness = Witness(published(revision))
        self.notified: list[dict[str, Any]] = []
        self.answers: dict[Any, dict[str, Any]] = {}
        self.batches: list[list[Any]] = []
        self._lines: queue.Queue[str] = queue.Queue()
        self._front = Beginning(snapshot)
        self._snapshot, self._bridge = snapshot, bridge
        self._wire: int | None = None
        self._server: threading.Thread | None = None
        self._number = 0

    def say(self, message: Any) -> None:
        self.witness.client(message)
        self.send(message)

    def send(self, message: Any) -> None:
        """Without the witness."""
        data = json.dumps(message).encode() + b"\n"
        if self._wire is None:
            self.write(self._front.receive(data).decode())
            if self._front.over:
                self._hand_over()
        else:
            os.write(self._wire, data)

    def write(self, text: str) -> int:
        """Stands for stdout."""
        for line in text.splitlines():
            self._lines.put(line)
        return len(text)

    def flush(self) -> None:
        pass

    @property
    def handed_over(self) -> bool:
        return self._wire is not None

    def _hand_over(self) -> None:
        ends, self._wire = os.pipe()
        handed = HandedOver(self._front, Pipe(ends, leave=lambda _code: None), self._snapshot)
        talk = stdio.Conversation(KubeezServer(self._bridge), handed)
        output: Any = self
        self._server = threading.Thread(target=lambda: anyio.run(talk.hold, anyio.wrap_file(output)))
        self._server.start()

    def close(self) -> None:
        if self._server is not None and self._wire is not None:
            os.close(self._wire)
            self._server.join(PATIENCE)
            assert not self._server.is_alive()
        while not self._lines.empty():
            self.next()

    def next(self) -> dict[str, Any]:
        """The next line of the server, held against the schema."""
        message = json.loads(self._lines.get(timeout=PATIENCE))
        self.witness.server(message)
        if isinstance(message, list):
            self.batches.append(message)
        elif "method" not in message:
            self.answers[message["id"]] = message
        elif "id" not in message:
            self.notified.append(message)
        else:
            assert message["method"] == "elicitation/create"
            self.notified.append(message)
            self.send({"jsonrpc": "2.0", "id": message["id"], "result": self.reply})
        return message if isinstance(message, dict) else {}

    def request(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """A request as this revision has them."""
        self._number += 1
        given = params or {}
        if self.revision == MODERN:
            given = {**given, "_meta": {**enveloped(ASKS)["_meta"], **given.get("_meta", {})}}
        message = {"jsonrpc": "2.0", "id": f"{method} {self._number}", "method": method}
        return message | ({"params": given} if given else {})

    def ask(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """The whole answer."""
        message = self.request(method, params)
        self.say(message)
        while message["id"] not in self.answers:
            self.next()
        return self.answers.pop(message["id"])

    def call(self, tool: str, /, token: str = "", **arguments: Any) -> dict[str, Any]:
        """The result of a tool."""
        meta = {"_meta": {"progressToken": token}} if token else {}
        result: dict[str, Any] = self.ask("tools/call", {"name": tool, "arguments": arguments, **meta})["result"]
        return result

    def notify(self, method: str, params: dict[str, Any] | None = None) -> None:
        self.say({"jsonrpc": "2.0", "method": method} | ({"params": params} if params else {}))

    def begin(self) -> dict[str, Any]:
        """What the server says of itself."""
        if self.revision == MODERN:
            found: dict[str, Any] = self.ask("server/discover")["result"]
            return found
        hello = {"protocolVersion": self.revision, "capabilities": ASKS}  # whether or not it is time for it
        told: dict[str, Any] = self.ask("initialize", {**hello, "clientInfo": CLIENT})["result"]
        assert told["protocolVersion"] == self.revision
        self.notify("notifications/initialized")
        return told

    def told_of(self) -> set[str]:
        """The resources that are said to have changed."""
        while not any(one["method"] == "notifications/resources/updated" for one in self.notified):
            self.next()
        return {one["params"]["uri"] for one in self.notified if one["method"] == "notifications/resources/updated"}

    def knows(self, since: str) -> bool:
        return is_version_at_least(self.revision, since)


@pytest.fixture(scope="module")
def told() -> dict[str, Snapshot]:
    """The snapshot, which depends on the settings only in words."""
    return {}


@contextmanager
def conversation(api: RunningSandbox, folder: Path, revision: str, told: dict[str, Snapshot]) -> Iterator[Wire]:
    bridge = bridge_of(api, folder, KUBEEZ_ASK_ABOVE="0")
    if not told:
        told["snapshot"] = Snapshot(anyio.run(snapshot_of, bridge.published) | {"settings": [[], []]})
    wire = Wire(bridge, told["snapshot"], revision)
    try:
        yield wire
    finally:
        wire.close()


def text_of(result: dict[str, Any]) -> str:
    text: str = result["content"][0]["text"]
    return text


def paid(wire: Wire) -> dict[str, Any]:
    """The first answer of a job that was asked about in the way that the revision has for it."""
    params = {"name": "generate_media", "arguments": PICTURE}
    if not wire.knows("2025-06-18"):
        quoted = wire.call("generate_media", **PICTURE)
        assert not any(one["method"] == "elicitation/create" for one in wire.notified)
        [code] = re.findall(r"approval='([^']+)'", text_of(quoted))
        return wire.call("generate_media", **PICTURE, approval=code)
    first: dict[str, Any] = wire.ask("tools/call", params)["result"]
    if wire.revision != MODERN:
        assert any(one["method"] == "elicitation/create" for one in wire.notified)
        return first
    assert first["resultType"] == "input_required"
    [key] = first["inputRequests"]
    again = {**params, "inputResponses": {key: YES}, "requestState": first["requestState"]}
    done: dict[str, Any] = wire.ask("tools/call", again)["result"]
    return done


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_conversation_is_what_the_schema_of_its_revision_says(
    api: RunningSandbox, tmp_path: Path, revision: str, told: dict[str, Snapshot]
) -> None:
    with conversation(api, tmp_path, revision, told) as wire:
        wire.begin()
        for method in ("tools/list", "prompts/list", "resources/list", "resources/templates/list"):
            assert wire.ask(method)["result"]
        assert not wire.handed_over, "the front has the lists"

        subscribed(wire)
        started = paid(wire)
        [job] = re.findall(r"wait_for_generation\(id='([^']+)'\)", text_of(started))
        done = wire.call("wait_for_generation", id=job)
        kinds = {block["type"] for block in done["content"]}
        assert ("resource_link" in kinds) == wire.knows("2025-06-18")
        assert ("structuredContent" in done) == wire.knows("2025-06-18")
        assert str(tmp_path / "out") in text_of(done)
        assert f"{api.url}/" in text_of(done)

        assert job in wire.ask("resources/read", {"uri": f"kubeez://jobs/{job}"})["result"]["contents"][0]["text"]
        assert wire.ask("prompts/get", {"name": "three-ad-variants", "arguments": {"brief": "shoes"}})["result"]
        reference = {"ref": {"type": "ref/prompt", "name": "three-ad-variants"}}
        argument = {"argument": {"name": "aspect_ratio", "value": "1"}}
        assert wire.ask("completion/complete", reference | argument)["result"]["completion"]["values"]
        assert {block["type"] for block in wire.call("view_media", output_id=picture(tmp_path))["content"]} >= {"image"}
        heard = {block["type"] for block in wire.call("view_media", output_id=song(tmp_path))["content"]}
        assert ("audio" in heard) == wire.knows("2025-03-26")

        wire.call("upload_media", token="up", paths=[picture(tmp_path)])
        [progress] = [one["params"] for one in wire.notified if one["method"] == "notifications/progress"]
        assert progress["progressToken"] == "up"
        assert ("message" in progress) == wire.knows("2025-03-26")

        assert wire.ask("tools/call", {"name": "no_such_tool", "arguments": {}})["error"]["code"] == -32602
        with pytest.raises(AssertionError, match="arguments"):
            wire.ask("tools/call", {"name": "get_status", "arguments": "{}"})  # the witness is awake
        assert wire.call("get_status", idd=job)["isError"]
        assert wire.told_of() == {RECENT}
        batched(wire)
        cancelled(wire, api)


def subscribed(wire: Wire) -> None:
    """To what is told of jobs, in the way that the revision has for it."""
    if wire.revision != MODERN:
        assert wire.ask("ping")["result"] == {}
        assert wire.ask("resources/subscribe", {"uri": RECENT})["result"] == {}
        return
    wanted = {"notifications": {"promptsListChanged": True, "resourceSubscriptions": [RECENT]}}
    wire.say(wire.request("subscriptions/listen", wanted))
    while not wire.notified:
        wire.next()
    [acknowledged] = wire.notified
    assert acknowledged["params"]["notifications"] == wanted["notifications"]


def batched(wire: Wire) -> None:
    if wire.revision != BATCHES:
        return
    first, second = wire.request("ping"), wire.request("tools/call", {"name": "get_balance", "arguments": {}})
    wire.say([first, {"jsonrpc": "2.0", "method": "notifications/roots/list_changed"}, second])
    while not wire.batches:
        wire.next()
    [answers] = wire.batches
    assert {one["id"] for one in answers} == {first["id"], second["id"]}


def cancelled(wire: Wire, api: RunningSandbox) -> None:
    api.control.fault("GET /v1/balance", "slow", seconds=0.5)
    request = wire.request("tools/call", {"name": "get_balance", "arguments": {}})
    wire.say(request)
    assert wire.call("get_models", limit=1)
    wire.notify("notifications/cancelled", {"requestId": request["id"], "reason": "the user moved on"})
    assert wire.call("get_balance")["content"]
    assert request["id"] not in wire.answers


@pytest.mark.parametrize("answer", [{"action": "perhaps"}, {}, {"action": "accept", "content": [True]}, 5])
def test_an_answer_that_is_none_is_no_yes_and_leaves_the_user_a_way(
    api: RunningSandbox, tmp_path: Path, told: dict[str, Snapshot], answer: Any
) -> None:
    with conversation(api, tmp_path, "2025-06-18", told) as wire:
        wire.begin()
        wire.reply = answer
        request = wire.request("tools/call", {"name": "generate_media", "arguments": PICTURE})
        wire.say(request)
        while request["id"] not in wire.answers:
            wire.next()
        quoted = wire.answers.pop(request["id"])["result"]["structuredContent"]
    assert quoted["status"] == "approval_required"


@pytest.mark.parametrize("revision", KNOWN_PROTOCOL_VERSIONS)
def test_what_a_revision_lacks_is_left_out_wherever_it_stands_and_nothing_else(revision: str) -> None:
    link = {"type": "resource_link", "uri": "file:///a.png", "name": "a", "icons": [{"src": "https://x/y.png"}]}
    whole = {
        "content": [
            {
                "type": "text",
                "text": "a",
                "annotations": {"priority": 1, "lastModified": "2026-01-01"},
                "_meta": {"title": 1},
            },
            {"type": "audio", "data": "AA==", "mimeType": "audio/mpeg"},
            {"type": "resource", "resource": {"uri": "a:b", "text": "x", "_meta": {"x": 1}}},
            link,
        ],
        "structuredContent": {"content": [link], "title": "stays"},
        "_meta": {"structuredContent": 1},
    }
    told = fitting(whole, revision)
    if revision in HANDSHAKES[3:] or revision == MODERN:
        assert told is whole
        return
    published(revision).check("CallToolResult", told)
    assert [each["type"] for each in told["content"]] == {
        "2024-11-05": ["text", "resource", "text"],  # the last one says that there was sound
        "2025-03-26": ["text", "audio", "resource"],
        "2025-06-18": ["text", "audio", "resource", "resource_link"],
    }[revision]
    assert told["_meta"] == whole["_meta"]
    assert told.get("structuredContent", whole["structuredContent"]) == whole["structuredContent"]
