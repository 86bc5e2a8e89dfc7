"""What the front says is what the server would say, and handing over loses, doubles and reorders nothing."""

from __future__ import annotations

import io
import json
import os
import queue
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kubeez_mcp_local.disk import replace_file
from kubeez_mcp_local.environment import file_of
from kubeez_mcp_local.front import LISTEN, LISTS, Beginning, HandedOver, Pipe, Snapshot
from kubeez_mcp_local.mcp_server.snapshot import snapshot_of
from kubeez_mcp_local.messages import BATCHES, CHANGES, HANDSHAKES, MODERN
from kubeez_mcp_local.settings import Settings, load_settings
from tests.mcp_server.talking import PATIENCE, batch, enveloped, hello, line, with_front, without_front

CAPABILITIES: list[dict[str, Any]] = [
    {},
    {"roots": {"listChanged": True}, "sampling": {}, "elicitation": {"form": {}, "url": {}}},
    {"extensions": {"io.modelcontextprotocol/ui": {"mimeTypes": ["text/html"]}, "io.modelcontextprotocol/skills": {}}},
    {
        "experimental": {"x": {"deep": [{"a": None}]}},
        "tasks": {"list": {}, "requests": {"elicitation": {"create": {}}}},
    },
]
INITIALIZED = line("notifications/initialized")


@dataclass(frozen=True)
class Subject:
    settings: Settings
    snapshot: Snapshot

    def front(self, data: bytes) -> list[str]:
        """What the front answers, all by itself."""
        conversation = Beginning(self.snapshot)
        answers = conversation.receive(data).decode().splitlines()
        assert not conversation.over, conversation.rest[:200]
        return answers


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return made(tmp_path_factory.mktemp("front"))


def made(folder: Path, **variables: str) -> Subject:
    environ = {
        "KUBEEZ_STATE_DIR": str(folder / "state"),
        "KUBEEZ_OUTPUT_DIR": str(folder / "out"),
        "KUBEEZ_INPUT_DIRS": str(folder),
        **variables,
    }
    chosen = load_settings(environ=environ, working_dir=folder)
    content = anyio.run(snapshot_of, chosen) | {"settings": [[], []]}
    return Subject(chosen, Snapshot(content))


# What is said


@pytest.mark.parametrize("capabilities", CAPABILITIES)
@pytest.mark.parametrize("revision", HANDSHAKES)
def test_what_the_front_says_in_a_handshake_revision_is_what_the_server_says(
    subject: Subject, revision: str, capabilities: dict[str, Any]
) -> None:
    asked = [hello(revision, capabilities), INITIALIZED, line("ping", request_id="p")]
    for number, method in enumerate(LISTS):
        asked.append(line(method, [None, {}, {"_meta": {"progressToken": 7}}][number % 3], number + 1))
    data = b"".join(asked)
    said = subject.front(data)
    assert len(said) == 6
    assert sorted(said) == sorted(without_front(subject.settings, data, len(said)))


@pytest.mark.parametrize("capabilities", CAPABILITIES)
def test_what_the_front_says_in_the_modern_revision_is_what_the_server_says(
    subject: Subject, capabilities: dict[str, Any]
) -> None:
    methods = ("server/discover", *LISTS)
    data = b"".join(line(method, enveloped(capabilities), f"id-{method}") for method in methods)
    said = subject.front(data)
    assert len(said) == 5
    assert sorted(said) == sorted(without_front(subject.settings, data, len(said)))


@pytest.mark.parametrize("number", range(8))
def test_subscriptions_to_lists_are_acknowledged_as_the_server_does(subject: Subject, number: int) -> None:
    wanted = {name: True for place, name in enumerate(CHANGES) if number >> place & 1}
    data = line(LISTEN, enveloped(notifications=wanted | ({} if number else {CHANGES[0]: False})), 3)
    [said] = subject.front(data)
    assert said == without_front(subject.settings, data, 1)[0]


@pytest.mark.parametrize(
    "variables",
    [
        {"KUBEEZ_API_KEY": "sk_live_example", "KUBEEZ_MAX_CREDITS_PER_CALL": "7"},
        {"KUBEEZ_TOOLSETS": "core", "KUBEEZ_READ_ONLY": "true"},
    ],
)
def test_what_is_said_depends_on_the_settings(tmp_path: Path, variables: dict[str, str]) -> None:
    subject = made(tmp_path, **variables)
    data = b"".join([hello(HANDSHAKES[-1]), line("tools/list", request_id=1)])
    said = subject.front(data)
    assert sorted(said) == sorted(without_front(subject.settings, data, 2))
    assert all(word in said[0] for word in variables if word == "7")


# What is not understood


NOT_UNDERSTOOD: list[bytes] = [
    b"{\n",
    b"\n",
    b"[]\n",
    b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]\n',
    b"\xff\xfe\n",
    b'{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}\n',
    b'{"jsonrpc":"2.0","id":1,"method":"ping","params":null}\n',
    b'{"jsonrpc":"2.0","id":1,"method":"ping"} {}\n',
    b'{"jsonrpc":"2.0","id":1,\r"method":"ping"}\n',
    b'{"jsonrpc":"2.0","id":1.0,"method":"ping"}\n',
    b'{"jsonrpc":"2.0","id":1e999,"method":"ping"}\n',
    b'{"jsonrpc":"2.0","id":true,"method":"ping"}\n',
    b'{"jsonrpc":"2.0","id":null,"method":"ping"}\n',
    b'{"jsonrpc":"2.0","id":"","method":"ping"}\n',
    b'{"jsonrpc":"2.0","id":"\\u0061","method":"ping"}\n',
    b'{"jsonrpc":"2.0","id":%s,"method":"ping"}\n' % (b"9" * 5000),
    b'{"jsonrpc":"1.0","id":1,"method":"ping"}\n',
    b'{"jsonrpc":"2.0","id":1,"method":"ping","extra":1}\n',
    b'{"jsonrpc":"2.0","id":1,"result":{}}\n',
    line("tools/list", {"cursor": "x"}, 1),
    line("tools/list", {"_meta": {"progressToken": 1.5}}, 1),
    line("tools/list", {"_meta": {"other": 1}}, 1),
    line("tools/list", enveloped(), 1),
    line("tools/call", {"name": "get_balance"}, 1),
    line("server/discover", request_id=1),
    line("logging/setLevel", {"level": "info"}, 1),
    line("notifications/progress", {"progressToken": 1, "progress": 1}),
    line("notifications/cancelled", {}),
    INITIALIZED,
    hello("2025-11-25"),
    b'{"a":' * 100_000,
]


@pytest.mark.parametrize("message", NOT_UNDERSTOOD, ids=range(len(NOT_UNDERSTOOD)))
def test_what_is_not_known_to_its_last_member_is_left_to_the_server(subject: Subject, message: bytes) -> None:
    conversation = Beginning(subject.snapshot)
    conversation.receive(hello("2025-11-25") + INITIALIZED)
    assert conversation.receive(message + line("ping", request_id=9)) == b""
    assert conversation.over
    assert conversation.rest.startswith(message)
    assert conversation.receive(line("ping", request_id=10)) == b"", "once over, it answers nothing"


@pytest.mark.parametrize(
    "message",
    [
        line("ping", request_id=1),
        INITIALIZED,
        line("tools/list", request_id=1),
        hello("2026-07-28"),
        hello("1.0"),
        line("initialize", {"protocolVersion": "2025-11-25", "capabilities": {}}, 1),
        hello("2025-11-25", {"roots": {"listChanged": "yes"}}),
        hello("2025-11-25", {"unheard": {}}),
        hello("2025-11-25", {"extensions": {"a": []}}),
        hello("2025-11-25", {"experimental": {"a": {"b": [[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]}}}),
        line("tools/list", {"_meta": {"io.modelcontextprotocol/protocolVersion": MODERN}}, 1),
        line("tools/list", enveloped(cursor="x"), 1),
        line("ping", enveloped(), 1),
        line(LISTEN, enveloped(notifications={"resourceSubscriptions": ["kubeez://account"]}), 1),
    ],
)
def test_what_begins_no_known_conversation_is_left_to_the_server(subject: Subject, message: bytes) -> None:
    conversation = Beginning(subject.snapshot)
    assert conversation.receive(message) == b""
    assert conversation.over
    assert conversation.replayed("mark") == b""


def test_a_second_handshake_an_id_in_use_and_the_other_era_are_left_to_the_server(subject: Subject) -> None:
    listen = line(LISTEN, enveloped(notifications={CHANGES[1]: True}), "5")
    for second in (hello("2025-11-25"), line("tools/list", enveloped(), 5), line("tools/list", request_id=6)):
        conversation = Beginning(subject.snapshot)
        assert conversation.receive(listen)
        assert conversation.receive(second) == b""
        assert conversation.over


def test_lists_of_recipes_that_have_changed_are_left_to_the_server(tmp_path: Path) -> None:
    subject = made(tmp_path)
    (tmp_path / "out" / "recipes").mkdir(parents=True)
    (tmp_path / "out" / "recipes" / "new.md").write_text("---\nname: new\n---\n")
    for method in ("prompts/list", "resources/list"):
        conversation = Beginning(subject.snapshot)
        said = conversation.receive(
            hello(HANDSHAKES[0]) + line("tools/list", request_id=1) + line(method, request_id=2)
        )
        assert len(said.splitlines()) == 2
        assert conversation.over
        assert not conversation.watching
    listen = line(LISTEN, enveloped(notifications={}), 1)
    assert Beginning(subject.snapshot).receive(listen) == b""


def test_a_line_without_end_is_left_to_the_server_before_it_fills_the_memory(subject: Subject) -> None:
    conversation = Beginning(subject.snapshot)
    conversation.receive(b"x" * 60_000)
    assert not conversation.over
    conversation.receive(b"x" * 60_000)
    assert conversation.over


# The end of the input


CLOSED = '"error":{"code":-32000,"message":"Connection closed"}}'
LAST_LINES: dict[str, str] = {
    '{"jsonrpc":"2.0","id":1,"method":"ping"}': '{"jsonrpc":"2.0","id":1,"result":{}}',
    '{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"x"}}': f'{{"jsonrpc":"2.0","id":"a",{CLOSED}',
    '{"jsonrpc":"2.0","method":"notifications/unheard"}': "",
    '{"jsonrpc":"2.0","id":1.5,"method":"tools/call"}': '{"jsonrpc":"2.0","error":{"code":-32600',
    '{"jsonrpc":"2.0","id":1,"result":{}}': "",
    '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":[]}': '"id":1,"error":{"code":-32600',
    '{"jsonrpc":"1.0","id":7,"method":"ping"}': '"id":7,"error":{"code":-32600',
    '[{"jsonrpc":"2.0","id":7,"method":"ping"}]': '"id":7,"error":{"code":-32600',
    "[]": '{"jsonrpc":"2.0","error":{"code":-32600',
    "7": '{"jsonrpc":"2.0","error":{"code":-32600',
    '{"jsonrpc"': '{"jsonrpc":"2.0","error":{"code":-32700',
    "\u00a0": "",
}


@pytest.mark.parametrize("end", ["", "\r\n"])
@pytest.mark.parametrize("last", LAST_LINES)
def test_the_last_line_gets_its_last_word_though_the_server_is_not_loaded_for_it(
    subject: Subject, last: str, end: str
) -> None:
    conversation = Beginning(subject.snapshot)
    conversation.receive(hello(HANDSHAKES[-1]) + INITIALIZED)
    said = (conversation.receive((last + end).encode()) + conversation.end()).decode()
    assert LAST_LINES[last] in said
    assert said.count("\n") == bool(LAST_LINES[last])


def test_the_last_words_fit_the_revision(subject: Subject) -> None:
    batch = b'[{"jsonrpc":"2.0","id":1,"method":"tools/call"},5,{"jsonrpc":"2.0","id":null,"method":"ping"}]'
    conversation = Beginning(subject.snapshot)
    conversation.receive(hello("2025-03-26") + batch + b"\n{")
    said = [json.loads(each) for each in conversation.end().splitlines()]
    assert [[(one["id"], one["error"]["code"]) for one in each] for each in said] == [[("null", -32600), (1, -32000)]]


def test_a_batch_that_cannot_be_served_any_more_is_refused_as_one(subject: Subject) -> None:
    for revision, count in (("2025-03-26", 1), ("2025-06-18", 2)):
        conversation = Beginning(subject.snapshot)
        conversation.receive(hello(revision))
        conversation.refusing = "gone"
        said = conversation.receive(
            b"[%s,%s]\n" % (line("ping", request_id=1).strip(), line("ping", request_id=2).strip())
        )
        assert len(said.splitlines()) == count
        assert said.count(b'"message":"gone"') == 2


def read_to_its_end(pipe: Pipe) -> list[bytes]:
    """What is read from it, as long as that ends."""
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.extend(io.BufferedReader(pipe)), daemon=True)
    reader.start()
    reader.join(PATIENCE)
    assert not reader.is_alive()
    return found


@pytest.mark.skipif(sys.platform == "win32", reason="no terminals of this kind")
def test_a_terminal_ends_once(subject: Subject) -> None:
    person, terminal = os.openpty()
    pipe = Pipe(terminal, leave=lambda _code: None)
    os.write(person, b"one\n")
    assert pipe.next(PATIENCE) == b"one\n"
    os.write(person, b"two\n\x04")
    assert read_to_its_end(pipe) == [b"two\n"]


def test_what_waited_is_told_when_the_input_ends_while_the_server_loads() -> None:
    ends, wire = os.pipe()
    left: queue.Queue[object] = queue.Queue()
    pipe = Pipe(ends, leave=left.put)
    pipe.farewell = left.put
    pipe.loading = True
    os.write(wire, b"a call\n")
    os.close(wire)
    assert left.get(timeout=PATIENCE) == b"a call\n"
    assert left.get(timeout=PATIENCE) == 0


# A snapshot that is none


@pytest.mark.parametrize(
    "broken",
    [
        *({"recipes": [[5], [5]]}, {"recipes": [5, 5]}, {"settings": [[5], [5]]}, {"settings": 1}, {"ledger": 5}),
        *({"work": 5}, {"listed": None}, {"answers": {}}, {"texts": ["no place"]}, {"texts": [5]}, {"name": "other"}),
        *({"code": [[1, 2, 3]]}, {"settings": [["/nowhere/config.env"], [[1, 2]]]}),
    ],
)
def test_a_broken_or_foreign_snapshot_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: dict[str, Any]
) -> None:
    good, file = written(tmp_path, monkeypatch)
    assert Snapshot.written_for("a", [])
    file.write_text(json.dumps(good | broken))
    assert Snapshot.written_for("a", []) is None


def written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Any], Path]:
    """A snapshot with the name `a` of a server in `folder`, and its file."""
    for name in ("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(folder))
    chosen = load_settings(environ={"KUBEEZ_STATE_DIR": str(folder), "KUBEEZ_OUTPUT_DIR": str(folder)})
    content = anyio.run(snapshot_of, chosen) | {"name": "a", "code": [], "settings": [[], []]}
    file = Path(file_of("a") or "")
    replace_file(file, json.dumps(content))
    return content, file


@pytest.mark.skipif(sys.platform == "win32", reason="files have no owner and mode of this kind")
def test_a_snapshot_that_somebody_else_may_have_written_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, file = written(tmp_path, monkeypatch)
    for mode, fine in ((0o600, True), (0o620, False), (0o602, False), (0o644, True)):
        file.chmod(mode)
        assert (Snapshot.written_for("a", []) is not None) == fine
    me = os.geteuid()
    with monkeypatch.context() as other:
        other.setattr(os, "geteuid", lambda: me + 1)
        assert Snapshot.written_for("a", []) is None
    kept = file.rename(tmp_path / "kept.json")
    file.symlink_to(kept)
    assert Snapshot.written_for("a", []) is None
    file.unlink()
    os.mkfifo(file, 0o600)
    assert Snapshot.written_for("a", []) is None


# Handing over


@dataclass(frozen=True)
class Said:
    """A line of the client, and how many lines it gets."""

    text: bytes
    answers: int = 1


CALL = {"name": "no_such_tool", "arguments": {}}
SKILL = {"uri": "kubeez://skills/kubeez"}
COMPLETE = {
    "ref": {"type": "ref/prompt", "name": "three-ad-variants"},
    "argument": {"name": "aspect_ratio", "value": "1"},
}


BATCH = batch(line("ping", request_id="b1"), line("tools/call", CALL, "b2"), INITIALIZED)


def _requests(revision: str) -> st.SearchStrategy[list[Said]]:
    modern = revision == MODERN
    nameless = int(revision not in HANDSHAKES[:3])  # errors may do without an id

    def said(method: str, params: dict[str, Any] | None, request_id: object) -> Said:
        return Said(line(method, enveloped(**(params or {})) if modern else params, request_id))

    ids = st.one_of(st.integers(1, 99), st.sampled_from(["a", "7", "x-1", 1 << 60, "ü"]))
    asked: st.SearchStrategy[tuple[str, dict[str, Any] | None]] = st.sampled_from(
        [
            *((method, None) for method in (*LISTS, "ping", "server/discover")),
            ("tools/call", CALL),
            ("resources/read", SKILL),
            ("completion/complete", COMPLETE),
            ("no/such/method", None),
            ("tools/list", {"cursor": "x"}),
            ("tools/list", {"unheard": {"of": 1}}),
        ]
    )
    requests = st.builds(lambda one, request_id: said(one[0], one[1], request_id), asked, ids)
    other = st.sampled_from(
        [
            Said(b"{ no JSON\n", nameless),
            Said(b"[]\n", nameless),
            Said(BATCH, 1 if revision == BATCHES else 2),
            Said(b"\n", 0),
            Said(b"  \r\n", 0),
            Said(b'{"jsonrpc":"2.0","id":1,"result":{}}\n', 0),
            Said(b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}\n'),
            Said(line("notifications/cancelled", {"requestId": 12345, "reason": "x"}), 0),
            Said(line("notifications/roots/list_changed"), 0),
            Said(INITIALIZED, 0),
            Said(hello("2025-11-25" if modern else revision, request_id="again")),
            Said(line("tools/list", enveloped(), "other era") if not modern else line("tools/list", None, "other era")),
        ]
    )
    return st.lists(requests | requests | requests | other, max_size=6)


@st.composite
def conversations(draw: st.DrawFn) -> list[Said]:
    """What a client may say, well or badly; no id twice, so that nobody can be waiting for two answers to one."""
    if draw(st.booleans()):
        wanted = draw(st.sampled_from([*HANDSHAKES, MODERN, "1"]))
        opening = [Said(hello(wanted)), Said(INITIALIZED, 0)]
        agreed = wanted if wanted in HANDSHAKES else HANDSHAKES[-1]
        said = [*opening[: draw(st.integers(0, 2)) or 2], *draw(_requests(agreed))]
    else:
        listen = Said(line(LISTEN, enveloped(notifications={CHANGES[1]: True, CHANGES[2]: True}), "stream"))
        first = Said(line("server/discover", enveloped(), 0))
        said = draw(st.sampled_from([[first], [first, listen], [listen], [listen, first]])) + draw(_requests(MODERN))
    return list(dict.fromkeys(said))


def _unique_ids(said: list[Said]) -> bool:
    ids = []
    for one in said:
        try:
            message = json.loads(one.text)
        except ValueError:
            continue
        if isinstance(message, dict) and "method" in message and "id" in message:
            ids.append(str(message["id"]))
    return len(ids) == len(set(ids))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(said=conversations().filter(_unique_ids), data=st.data())
def test_wherever_it_is_handed_over_the_conversation_is_that_of_a_server_without_front(
    subject: Subject, said: list[Said], data: st.DataObject
) -> None:
    whole = b"".join(one.text for one in said)
    wanted = sum(one.answers for one in said)
    expected = in_any_order(without_front(subject.settings, whole, wanted))
    assert len(expected) >= wanted
    cut = data.draw(st.integers(0, len(whole)), label="cut")
    split = data.draw(st.integers(cut, len(whole)), label="split")
    found = with_front(subject.settings, subject.snapshot, whole[:cut], [whole[cut:split], whole[split:]], wanted)
    assert in_any_order(found) == expected


def in_any_order(lines: list[str]) -> list[str]:
    """Lines and the answers to a batch, whichever was done first."""
    return sorted(json.dumps(sorted(json.loads(each), key=str)) if each[0] == "[" else each for each in lines)


def test_a_stream_that_is_handed_over_is_acknowledged_once(subject: Subject) -> None:
    listen = line(LISTEN, enveloped(notifications={CHANGES[1]: True}), "stream")
    call = line("tools/call", enveloped(**CALL), 2)
    said = with_front(subject.settings, subject.snapshot, listen, [call], 2)
    assert sum("acknowledged" in each for each in said) == 1
    conversation = Beginning(subject.snapshot)
    conversation.receive(listen)
    ends, wire = os.pipe()
    os.close(wire)
    pipe = Pipe(ends, leave=lambda _code: None)
    assert HandedOver(conversation, pipe, subject.snapshot).streams == ["stream"]


def test_a_stream_that_alone_says_which_protocol_is_spoken_is_not_forgotten(subject: Subject) -> None:
    """Else the real server would not know it either."""
    cancel = line("notifications/cancelled", {"requestId": "5"})
    for before, over in ((b"", True), (line("server/discover", enveloped(), 1), False)):
        conversation = Beginning(subject.snapshot)
        assert conversation.receive(before + line(LISTEN, enveloped(notifications={}), 5))
        conversation.receive(cancel)
        assert conversation.over == over
        assert conversation.streams == ([5] if over else [])


def test_at_every_byte_the_same_is_handed_over_as_at_the_message_before_it(subject: Subject) -> None:
    """So that the test above, which tries some places, stands for all of them."""
    listen = line(LISTEN, enveloped(notifications={CHANGES[1]: True}), 2)
    for said in (
        [hello("2025-06-18"), INITIALIZED, line("tools/list", request_id=1), line("tools/call", CALL, 2), b"{\n"],
        [line("server/discover", enveloped(), 1), listen, line("tools/list", enveloped(), 3), hello("2025-06-18")],
    ):
        whole = b"".join(said)
        for number, message in enumerate(said):
            start = len(b"".join(said[:number]))
            states = {_state(subject.snapshot, whole, start + place) for place in range(len(message))}
            assert len(states) == 1
        by_byte = Beginning(subject.snapshot)
        at_once = Beginning(subject.snapshot)
        pieces = b"".join(by_byte.receive(whole[place : place + 1]) for place in range(len(whole)))
        assert pieces == at_once.receive(whole)
        assert by_byte.rest == at_once.rest


def _state(snapshot: Snapshot, whole: bytes, cut: int) -> tuple[bytes, bytes]:
    """What was answered up to `cut`, and what the real server reads if it is handed over there."""
    conversation = Beginning(snapshot)
    answers = conversation.receive(whole[:cut])
    return answers, conversation.replayed("mark") + conversation.rest + whole[cut:]
