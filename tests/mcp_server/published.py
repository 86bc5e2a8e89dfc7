"""Messages held against the published schema of their revision: each must fit, and hold nothing that it does not name.

The schemas allow members that they do not name. Clients of that time do not all (the TypeScript SDK knows its kinds of
content, the Java SDK knew its members), so the server has none, except where the protocol leaves the content open.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # its types are a package of their own

SCHEMAS = Path(__file__).parent / "schemas"
REVISIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28")
BATCHES = "2025-03-26"
_OPEN = ("inputSchema", "outputSchema", "_meta")
_GENERAL = ("Result", "EmptyResult", "JSONRPCRequest", "JSONRPCNotification", "MetaObject")
_RESULTS = {
    "initialize": "InitializeResult",
    "server/discover": "DiscoverResult",
    "tools/list": "ListToolsResult",
    "tools/call": "CallToolResult",
    "prompts/list": "ListPromptsResult",
    "prompts/get": "GetPromptResult",
    "resources/list": "ListResourcesResult",
    "resources/templates/list": "ListResourceTemplatesResult",
    "resources/read": "ReadResourceResult",
    "completion/complete": "CompleteResult",
    "elicitation/create": "ElicitResult",
    "ping": "EmptyResult",
    "resources/subscribe": "EmptyResult",
    "resources/unsubscribe": "EmptyResult",
    "subscriptions/listen": "SubscriptionsListenResult",
}


@cache
def published(revision: str) -> Published:
    return Published(revision)


class Published:
    """The schema of one revision."""

    def __init__(self, revision: str) -> None:
        self.revision = revision
        self._root = json.loads((SCHEMAS / f"{revision}.json").read_text("utf-8"))
        self._place = "$defs" if "$defs" in self._root else "definitions"
        self._validators: dict[tuple[str, bool], Any] = {}

    @property
    def definitions(self) -> dict[str, Any]:
        found: dict[str, Any] = self._root[self._place]
        return found

    @cached_property
    def methods(self) -> dict[str, str]:
        """By method the definition of the request or notification."""
        named = {
            name: one.get("properties", {}).get("method", {}).get("const") for name, one in self.definitions.items()
        }
        return {method: name for name, method in named.items() if method}

    def check(self, name: str, value: Any, *, closed: bool = True) -> None:
        """Assert that `value` is what the definition `name` says, and if that is `closed`, no more."""
        if (name, closed) not in self._validators:
            definitions = self.definitions
            if closed:
                definitions = {key: one if key in _GENERAL else _closed(one) for key, one in definitions.items()}
            root = {"$ref": f"#/{self._place}/{name}", self._place: definitions}
            self._validators[name, closed] = jsonschema.validators.validator_for(self._root)(root)
        best = jsonschema.exceptions.best_match(self._validators[name, closed].iter_errors(value))
        assert best is None, f"{self.revision} {name}: {best.json_path}: {best.message[:300]}"


def _closed(schema: Any, name: str = "") -> Any:
    """`schema`, with no members but those that are named."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict) or name in _OPEN:
        return schema
    inner = {key: _closed(each, key) if key not in ("required", "enum") else each for key, each in schema.items()}
    named = isinstance(schema.get("properties"), dict) and schema.get("type") == "object"
    return {"additionalProperties": False, **inner} if named else inner


def _bare(message: dict[str, Any]) -> dict[str, Any]:
    """What the older schemas say of a single request; the rest, `_meta` too, they say of all."""
    found = {"method": message["method"]}
    if "params" in message:
        found["params"] = {key: value for key, value in message["params"].items() if key != "_meta"}
    return found


@dataclass
class Witness:
    """Checks every line of one conversation, whoever wrote it; answers by the request that they are for."""

    schema: Published
    asked: dict[tuple[str, Any], str] = field(default_factory=dict)

    def client(self, message: Any) -> None:
        self._see(message, "client", "server")

    def server(self, message: Any) -> None:
        self._see(message, "server", "client")

    def _see(self, message: Any, writer: str, reader: str) -> None:
        if isinstance(message, list):
            assert self.schema.revision == BATCHES
            assert message
            for each in message:
                self._see(each, writer, reader)
        elif "method" in message:
            self._request(message, writer)
        elif "error" in message:
            name = "JSONRPCErrorResponse" if "JSONRPCErrorResponse" in self.schema.definitions else "JSONRPCError"
            self.schema.check(name, message)
            self.asked.pop((reader, message.get("id")), None)
        else:
            self._result(message, self.asked.pop((reader, message["id"])), closed=writer == "server")

    def _request(self, message: dict[str, Any], writer: str) -> None:
        self.schema.check("JSONRPCRequest" if "id" in message else "JSONRPCNotification", message)
        name, closed = self.schema.methods[message["method"]], writer == "server"
        envelope = "jsonrpc" not in self.schema.definitions[name]["properties"]
        self.schema.check(name, _bare(message) if envelope else message, closed=closed)
        if "id" in message:
            assert (writer, message["id"]) not in self.asked, "an id is in use"
            self.asked[writer, message["id"]] = message["method"]

    def _result(self, message: dict[str, Any], method: str, *, closed: bool) -> None:
        assert message.keys() == {"jsonrpc", "id", "result"}
        assert isinstance(message["id"], int | str)
        result = message["result"]
        pending = result.get("resultType") == "input_required"
        self.schema.check("InputRequiredResult" if pending else _RESULTS[method], result, closed=closed)
