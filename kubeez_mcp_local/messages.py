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
CHANGES = ("toolsListChanged", "promptsListChanged", "resourcesListChanged")
VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES_KEY = "io.modelcontextprotocol/clientCapabilities"
CLIENT_KEY = "io.modelcontextprotocol/clientInfo"
NOT_JSON = "This line is not JSON. Each message is one line of JSON-RPC 2.0."
NO_MESSAGE = NOT_JSON.replace("JSON", "a JSON-RPC message", 1)
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


def error(request_id: str | None, code: int, message: str) -> bytes:
    """The line that refuses a request, whose id is given as JSON."""
    return f'{{"jsonrpc":"2.0","id":{request_id},"error":{{"code":{code},"message":"{message}"}}}}\n'.encode()


def last_word(line: bytes) -> bytes:
    """What the real server says to a line when the input ends behind it: a request is not carried out any more."""
    from json import dumps, loads

    try:
        text = line.decode(errors="replace").strip()
        message = loads(text) if text else {"result": None}
    except (ValueError, RecursionError):
        return error("null", -32700, NOT_JSON)
    found = message if isinstance(message, dict) else {}
    if "method" not in found and found.keys() & {"result", "error"}:
        return b""
    request_id = dumps(found.get("id")) if type(found.get("id")) in (int, str) else "null"
    shaped = found.get("jsonrpc") == "2.0" and type(found.get("method")) is str
    if not shaped or not isinstance(found.get("params"), dict | None):
        return error(request_id, -32600, NO_MESSAGE)
    return b"" if request_id in ("null", '""') else error(request_id, -32000, CLOSED)
