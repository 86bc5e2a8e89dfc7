"""Messages of the protocol that are understood whole, to the last member: strict JSON, and the shapes that are known.

Only the standard library is imported, and of that not even `json`, which costs as much as half of Python's own start.
"""

from __future__ import annotations

TYPE_CHECKING = False  # the typing module costs too much, too
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

HANDSHAKES = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
MODERN = "2026-07-28"
BATCHES = "2025-03-26"
"""The one revision that has them."""
_ID_NEEDED = ("2024-11-05", "2025-03-26", "2025-06-18")
"""Revisions in which an error must name the request that it is for."""
_LONGEST_ODD_ID = 80
CHANGES = ("toolsListChanged", "promptsListChanged", "resourcesListChanged")
VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES_KEY = "io.modelcontextprotocol/clientCapabilities"
CLIENT_KEY = "io.modelcontextprotocol/clientInfo"
NOT_JSON = "This line is not JSON. Each message is one line of JSON-RPC 2.0."
NO_MESSAGE = "This line is not a JSON-RPC message: {}. Each message is one line of JSON-RPC 2.0."
NO_BATCH = "Only protocol 2025-03-26 has batches of messages. Send each message on a line of its own."
CLOSED = "Connection closed"
_DEEPEST = 16


def _whole(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member is there twice")
    return found


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is read in more than one way")


class _Strictly:
    """How JSON is read: as it can be read in one way only."""

    strict = True
    object_hook = None
    object_pairs_hook = staticmethod(_whole)
    parse_float = staticmethod(_no_number)
    parse_int = int
    parse_constant = staticmethod(_no_number)
    memo: dict[str, str] = {}  # noqa: RUF012 - what the scanner looks for


def _scanner() -> Callable[[str, int], tuple[Any, int]]:
    try:
        import _json as c_json
    except ImportError:  # another Python than CPython
        import json.scanner as c_json  # type: ignore[no-redef]  # the same, slower to load
    make: Any = c_json.make_scanner
    made: Callable[[str, int], tuple[Any, int]] = make(_Strictly())
    return made


_scan = _scanner()


def scan(text: str) -> Any:
    """The value that `text` is in JSON.

    Raises:
        ValueError: It is none, or one that others may read otherwise.
    """
    text = text.strip(" \t\r\n")
    try:
        value, end = _scan(text, 0)
    except (StopIteration, SystemError):  # before Python 3.12 it finds no words for what is wrong without `json`
        raise ValueError("not JSON") from None
    if end != len(text):
        raise ValueError("more than one value")
    return value


_OBJECT = "an object of any content"
_OBJECTS = "an object of objects"
_ICON = {"src*": str, "mimeType": str, "sizes": [str], "theme": ("light", "dark")}
_CLIENT = {
    "name*": str,
    "version*": str,
    **dict.fromkeys(("title", "description", "websiteUrl"), str),
    "icons": [_ICON],
}
_CAPABILITIES = {
    "roots": {"listChanged": bool},
    "sampling": {"context": _OBJECT, "tools": _OBJECT},
    "elicitation": {"form": _OBJECT, "url": _OBJECT},
    "experimental": _OBJECTS,
    "extensions": _OBJECTS,
    "tasks": {
        "list": _OBJECT,
        "cancel": _OBJECT,
        "requests": {"sampling": {"createMessage": _OBJECT}, "elicitation": {"create": _OBJECT}},
    },
}
_META = {"progressToken": (int, str)}
_ENVELOPE = {**_META, f"{VERSION_KEY}*": (MODERN,), f"{CAPABILITIES_KEY}*": _CAPABILITIES, CLIENT_KEY: _CLIENT}
HELLO = {"protocolVersion*": str, "capabilities*": _CAPABILITIES, "clientInfo*": _CLIENT, "_meta": _META}
PARAMS: dict[str, Any] = {"_meta": _META}
MODERN_PARAMS: dict[str, Any] = {"_meta*": _ENVELOPE}
LISTEN_PARAMS: dict[str, Any] = {**MODERN_PARAMS, "notifications*": dict.fromkeys(CHANGES, bool)}
CANCELLED = {"requestId*": (int, str), "reason": str}


def fits(value: Any, shape: Any) -> bool:
    """Whether `value` has the members of `shape` and no others; those with a star may not be missing."""
    if shape is _OBJECT:
        return type(value) is dict and _shallow(value, 0)
    if shape is _OBJECTS:
        return type(value) is dict and all(fits(each, _OBJECT) for each in value.values())
    if isinstance(shape, tuple):
        return any(type(value) is one if isinstance(one, type) else value == one for one in shape)
    if isinstance(shape, list):
        return type(value) is list and all(fits(each, shape[0]) for each in value)
    if isinstance(shape, dict):
        if type(value) is not dict or any(name[-1] == "*" and name[:-1] not in value for name in shape):
            return False
        shapes = {name.rstrip("*"): one for name, one in shape.items()}
        return all(name in shapes and fits(each, shapes[name]) for name, each in value.items())
    return type(value) is shape


def _shallow(value: Any, depth: int) -> bool:
    if depth > _DEEPEST:
        return False
    inner = value.values() if type(value) is dict else value if type(value) is list else ()
    return all(_shallow(each, depth + 1) for each in inner)


def id_in_json(value: Any) -> str | None:
    """A request's id as JSON; `None` if it is an unusual one."""
    if type(value) is int and abs(value) < 1 << 53:
        return str(value)
    usual = type(value) is str and 0 < len(value) < 200 and value.isascii() and value.isprintable()
    return f'"{value}"' if usual and '"' not in value and "\\" not in value else None


def same_id(value: Any) -> Any:
    """Ids that the SDK takes for the same: it reads digits as a number."""
    return int(value) if type(value) is str and value.isdigit() else value


def fault(message: Any) -> str:
    """Why `message` is none of JSON-RPC as the protocol has it; empty if it is one."""
    if type(message) is not dict:
        return "it is not an object"
    if message.get("jsonrpc") != "2.0":
        return "its jsonrpc is not 2.0"
    if "id" in message and type(message["id"]) not in (int, str):
        return "its id is neither a text nor a whole number"
    if "method" not in message and not is_answer(message):
        return "it has no method"
    if type(message.get("method", "")) is not str:
        return "its method is not a text"
    return "" if isinstance(message.get("params"), dict | None) else "its params are not an object"


def is_answer(message: Any) -> bool:
    """Whether it is one, however broken; nobody waits for an answer to it."""
    return type(message) is dict and "method" not in message and ("result" in message or "error" in message)


def refused(message: Any, revision: str) -> bytes:
    """The line that says what is wrong with a message in which there is a `fault`; see `refusal`."""
    return b"" if is_answer(message) else refusal(message, revision, -32600, NO_MESSAGE.format(fault(message)))


def refusal(message: Any, revision: str, code: int, words: str) -> bytes:
    """The line that refuses `message`; empty where the schema of `revision` has no way to say it.

    No schema allows `"id": null`. The two newest let an error do without an id; in older ones an id that is none is
    given as its JSON. An empty `revision` is a conversation that has not begun.
    """
    from json import dumps

    words = dumps(words)[1:-1]
    named = type(message) is dict and "id" in message
    if named and type(message["id"]) in (int, str):
        return error(dumps(message["id"]), code, words)
    if revision not in _ID_NEEDED:
        return error("", code, words)
    return error(dumps(dumps(message["id"])[:_LONGEST_ODD_ID]), code, words) if named else b""


def unpacked(batch: list[Any], revision: str) -> tuple[list[Any], list[bytes]]:
    """Which messages of `batch` are to be carried out, and the lines that refuse others."""
    if revision != BATCHES:
        asking: list[Any] = [each for each in batch if type(each) is dict and "method" in each and "id" in each]
        lines = [refusal(each, revision, -32600, NO_BATCH) for each in asking or [None]]
    elif not batch:
        lines = [refusal(None, revision, -32600, NO_MESSAGE.format("it is an empty list"))]
    else:
        alone = [each for each in batch if not fault(each) and each.get("method") == "initialize"]
        good = [each for each in batch if not fault(each) and each not in alone]
        lines = [refused(each, revision) for each in batch if fault(each)]
        lines += [refusal(each, revision, -32600, "initialize may not be part of a batch.") for each in alone]
        return good, [line for line in lines if line]
    return [], [line for line in lines if line]


def error(request_id: str, code: int, words: str) -> bytes:
    """The line that refuses a request, whose id is given as JSON, or left out; so are the `words`, without quotes."""
    known = f'"id":{request_id},' if request_id else ""
    return f'{{"jsonrpc":"2.0",{known}"error":{{"code":{code},"message":"{words}"}}}}\n'.encode()


def last_word(line: bytes, revision: str) -> bytes:
    """What the real server says to a line when the input ends behind it: a request is not carried out any more."""
    from json import loads

    text = line.decode(errors="replace").removeprefix("\ufeff").strip()
    if not text:
        return b""
    try:
        message = loads(text)
    except (ValueError, RecursionError):
        return refusal(None, revision, -32700, NOT_JSON)
    if not isinstance(message, list):
        return _closed(message, revision)
    good, lines = unpacked(message, revision)
    lines += [said for each in good if (said := _closed(each, revision))]
    return in_one(lines) if revision == BATCHES else b"".join(lines)


def in_one(lines: list[bytes]) -> bytes:
    """The answers to a batch, as the one line that they are sent in."""
    return b"[%s]\n" % b",".join(line.rstrip() for line in lines) if lines else b""


def _closed(message: Any, revision: str) -> bytes:
    if fault(message):
        return refused(message, revision)
    return refusal(message, revision, -32000, CLOSED) if "method" in message and "id" in message else b""
