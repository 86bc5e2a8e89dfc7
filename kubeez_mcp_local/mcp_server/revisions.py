"""What a revision of the protocol lacks never reaches its clients: their schemas know the rest, and some refuse it.

Strict clients throw on a content kind that they do not know (the TypeScript SDK before 1.13 on `resource_link`), and
some, written in Java, on an unknown member. So a result holds what the published schema of its revision names, and no
more; the text of a result says everything that is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from mcp.types.version import KNOWN_PROTOCOL_VERSIONS, is_version_at_least

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mcp.server.context import CallNext, HandlerResult, ServerRequestContext

PROGRESS_MESSAGES = "2025-03-26"
ELICITATION = "2025-06-18"
ELICITATION_MODES = "2025-11-25"
"""The first revision that has each."""
_KINDS = {"audio": "2025-03-26", "resource_link": "2025-06-18"}
"""Kinds of content, and the first revision that has each."""
_UNHEARD = {
    "type": "text",
    "text": "The sound is left out: this client's protocol revision has none. Its path is above.",
}
_LISTED = ("tools", "prompts", "resources", "resourceTemplates")
_RESULT = ""
_MEMBERS: dict[str, dict[str, tuple[str, ...]]] = {
    "2025-03-26": {"tools": ("annotations",), "capabilities": ("completions",)},
    "2025-06-18": {
        _RESULT: ("structuredContent",),
        **dict.fromkeys(_LISTED, ("title", "_meta")),
        "tools": ("title", "_meta", "outputSchema"),
        **dict.fromkeys(("arguments", "serverInfo"), ("title",)),
        **dict.fromkeys(("content", "contents", "resource"), ("_meta",)),
        "annotations": ("lastModified",),
    },
    "2025-11-25": {
        **dict.fromkeys((*_LISTED, "content"), ("icons",)),
        "tools": ("icons", "execution"),
        "serverInfo": ("icons", "description", "websiteUrl"),
        "capabilities": ("tasks",),
    },
}
"""By revision and by the name under which an object stands in a result, the members that it has since then."""
_OF_OTHERS = ("inputSchema", "outputSchema", "structuredContent", "_meta", "experimental", "extensions")
"""Members whose content is no business of the protocol's."""


async def fit_to_revision(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """Middleware: leaves out of each result what the client's revision lacks."""
    result = await call_next(ctx)
    if not isinstance(result, dict):
        return result
    agreed = result.get("protocolVersion") if ctx.method == "initialize" else None
    return fitting(result, agreed or ctx.protocol_version)


def fitting(result: dict[str, Any], revision: str) -> dict[str, Any]:
    """`result` as `revision` knows it; unchanged in the newest two, to whose schemas the SDK keeps itself."""
    lacking = _lacking(revision)
    return lacking.taken_from(result, _RESULT) if lacking.members else result


@dataclass(frozen=True)
class _Lacking:
    """What a revision has not.

    Attributes:
        members: By the name under which an object stands, which of its members.
        kinds: Of content.
    """

    members: Mapping[str, frozenset[str]]
    kinds: frozenset[str]

    def taken_from(self, value: dict[str, Any], place: str) -> dict[str, Any]:
        """`value`, which stands under the name `place`, without it."""
        kept = value.keys() - self.members.get(place, ())
        return {
            name: item if name in _OF_OTHERS else self._item(item, name) for name, item in value.items() if name in kept
        }

    def _item(self, item: Any, name: str) -> Any:
        if isinstance(item, dict):
            return self.taken_from(item, name)
        if not isinstance(item, list):
            return item
        if name == "content":
            return self._content(item)
        return [self.taken_from(each, name) if isinstance(each, dict) else each for each in item]

    def _content(self, blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
        told = [self.taken_from(each, "content") for each in blocks if each["type"] not in self.kinds]
        unheard = "audio" in self.kinds and any(each["type"] == "audio" for each in blocks)
        return [*told, _UNHEARD] if unheard else told


@cache
def _lacking(revision: str) -> _Lacking:
    def later(since: str) -> bool:
        return revision in KNOWN_PROTOCOL_VERSIONS and not is_version_at_least(revision, since)

    members: dict[str, frozenset[str]] = {}
    for since, places in _MEMBERS.items():
        for place, names in places.items() if later(since) else ():
            members[place] = members.get(place, frozenset()) | set(names)
    return _Lacking(members, frozenset(kind for kind, since in _KINDS.items() if later(since)))
