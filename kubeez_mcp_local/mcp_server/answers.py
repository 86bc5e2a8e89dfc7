"""From results and errors to what travels over the wire: text and structured content, each complete on its own.

Whatever a value is and whoever wrote it: no answer is longer than a conversation can bear, and no value of the text
stands where a field of ours could.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from mcp.types import CallToolResult, ContentBlock, ResourceLink, TextContent

from kubeez_mcp_local.text import (
    LONGEST_ADDRESS,
    LONGEST_IN_ROW,
    LONGEST_NAME,
    LONGEST_VALUE,
    cut,
    cut_and_counted,
    lines_of,
    list_entry,
    on_one_line,
    quoted,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from kubeez_mcp_local.errors import KubeezError
    from kubeez_mcp_local.mcp_server.results import Cost, Result

MOST_TEXT_BYTES = 20_000
MOST_STRUCTURED_BYTES = 100_000
"""Of the JSON of structured content and of resources; the whole catalogue has 60,000."""
MOST_LINKS = 50

_INLINE = 60
"""Longest entry, in characters, of a list that is told in one line."""
_ADDRESSES = ("url", "urls", "uri", "path", "paths")
_PLAIN_NAME = re.compile(r"[\w.-]{1,80}\Z")
_LEAST_KEPT, _MOST_KEPT = 0.05, 0.95
"""How much of the longest field remains each time it has to be shortened."""


def answer(result: Result, blocks: Sequence[ContentBlock] = ()) -> CallToolResult:
    """A successful answer. `blocks` (links, previews) follow the text."""
    structured = bounded(result.structured())
    text = TextContent(type="text", text=text_of(result.glance(structured)))
    return CallToolResult(content=[text, *blocks[:MOST_LINKS]], structured_content=structured)


def refusal(error: KubeezError, mode: str, cost: Cost | None = None) -> CallToolResult:
    """An anticipated failure: the explanation as text, and the same in parts. `cost` belongs to paid tools."""
    details: dict[str, Any] = {
        "code": error.code,
        "message": error.message,
        "next_step": error.next_step,
        "credits_spent": "unknown" if error.spent is None else error.spent,
        "retry_safe": error.retry_safe,
    }
    if error.retry_after is not None:
        details["retry_after_seconds"] = round(error.retry_after, 1)
    structured: dict[str, Any] = {"error": details, "mode": mode}
    if error.next_step:
        structured["next_step"] = error.next_step
    if cost is not None:
        structured["cost"] = cost.model_dump(mode="json", exclude_none=True)
    first, *rest = f"{error} ({error.code}, mode {mode})".split("\n")
    text = "\n".join([first, *(f"> {line}" for line in rest)])
    return CallToolResult(content=[TextContent(type="text", text=text)], structured_content=structured, is_error=True)


def link(uri: str, name: str, mime_type: str | None, size: int | None = None) -> ResourceLink:
    """A pointer to a file or URL; the bytes stay where they are."""
    shown = on_one_line(name, LONGEST_NAME)
    return ResourceLink(type="resource_link", uri=cut(uri, LONGEST_ADDRESS), name=shown, mime_type=mime_type, size=size)


def json_of(value: Any) -> str:
    """A resource's content as JSON of bounded length; a list that is cut ends with a word about it."""
    content = bounded(value if isinstance(value, dict) else {"rows": value})
    if isinstance(value, dict):
        return _json(content)
    return _json([*content["rows"], *({"note": note} for note in content.get("notes", ()))])


def bounded(structured: dict[str, Any]) -> dict[str, Any]:
    """`structured` with every text and the whole of it at a bearable length; a note says what was cut."""
    short = {
        name: _bounded(name, item, LONGEST_IN_ROW if _is_rows(item) else LONGEST_VALUE)
        for name, item in structured.items()
    }
    fitting, cuts = _fitted(short, lambda value: len(_json(value).encode()), MOST_STRUCTURED_BYTES)
    if cuts:
        note = f"Too long to be given whole: {'; '.join(cuts[:8])}."
        fitting["notes"] = [*fitting.get("notes", ()), note]
    return fitting


def text_of(structured: dict[str, Any]) -> str:
    """`structured` as lines that a person can read and a model can quote, at most `MOST_TEXT_BYTES` of UTF-8."""
    budget = MOST_TEXT_BYTES - 600  # for what is said about the cuts
    short, cuts = _fitted(structured, lambda value: len("\n".join(_outline(value)).encode()), budget)
    lines = list(_outline(short))
    if cuts:
        lines.append(f"shortened: {'; '.join(cuts[:8])}. {_where_the_rest_is(structured)}")
    return "\n".join(lines)


def _where_the_rest_is(structured: dict[str, Any]) -> str:
    job = structured.get("generation_id")
    if isinstance(job, str) and _PLAIN_NAME.match(job):
        return f"The rest is in the structured content and in the resource kubeez://jobs/{job}."
    return "The structured content has more."


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1)


def _bounded(name: str, value: Any, longest: int) -> Any:
    if isinstance(value, str):
        return cut_and_counted(value, LONGEST_ADDRESS if name.endswith(_ADDRESSES) else longest)
    if isinstance(value, dict):
        return {cut(str(key), LONGEST_NAME): _bounded(str(key), item, longest) for key, item in value.items()}
    return [_bounded(name, item, longest) for item in value] if isinstance(value, list) else value


def _is_rows(value: object) -> bool:
    return isinstance(value, list) and any(isinstance(item, dict) for item in value)


def _fitted(
    value: dict[str, Any], size: Callable[[dict[str, Any]], int], most: int
) -> tuple[dict[str, Any], list[str]]:
    """`value` with its longest fields shortened, again and again, until its `size` is at most `most`; and which."""
    fitting = dict(value)
    while (excess := size(fitting) - most) > 0:
        sizes = {name: size({name: item}) for name, item in fitting.items()}
        longest = max(sizes, key=lambda name: sizes[name])
        kept = min(max(1 - excess / sizes[longest], _LEAST_KEPT), _MOST_KEPT)
        shorter = _shortened(fitting[longest], kept)
        if shorter == fitting[longest]:
            break
        fitting[longest] = shorter
    cuts = [f"{name}{_extent(item, value[name])}" for name, item in fitting.items() if item is not value[name]]
    return fitting, cuts


def _shortened(value: Any, kept: float) -> Any:
    """That part of `value`: of the entries of a list, else of the longest text in it, else of a mapping's entries."""
    if isinstance(value, str):
        return cut(value, max(int(len(value) * kept), 1))
    if isinstance(value, list) and len(value) > 1:
        return value[: max(int(len(value) * kept), 1)]
    if isinstance(value, list):
        return [_shortened(item, kept) for item in value]
    if isinstance(value, dict) and len(value) > LONGEST_NAME:
        return dict(list(value.items())[: int(len(value) * kept)])
    if isinstance(value, dict) and value:
        longest = max(value, key=lambda name: len(_json(value[name])))
        return {**value, longest: _shortened(value[longest], kept)}
    return value


def _extent(shorter: Any, whole: Any) -> str:
    if isinstance(whole, list) and len(whole) > 1:
        return f" ({len(shorter):,} of {len(whole):,})"
    return f" ({len(shorter):,} of {len(whole):,} characters)" if isinstance(whole, str) else ""


def _outline(value: dict[str, Any], indent: str = "") -> Iterator[str]:
    """`value` as short indented lines."""
    for key, item in value.items():
        name = key if _PLAIN_NAME.match(key) else quoted(key)
        if isinstance(item, dict):
            yield f"{indent}{name}:"
            yield from _outline(item, indent + "  ")
        elif not isinstance(item, list):
            yield from _value(f"{indent}{name}:", item, indent + "  ")
        elif _is_rows(item) or any(_needs_a_line(entry) for entry in item):
            yield f"{indent}{name}:"
            for entry in item:
                yield from _entry(entry, indent + "  ")
        else:
            yield f"{indent}{name}: {', '.join(_in_line(entry) for entry in item) or 'none'}"


def _entry(entry: Any, indent: str) -> Iterator[str]:
    if isinstance(entry, dict):
        first, *rest = [*_outline(entry, indent + "  "), ""]
        yield f"{indent}- {first.strip()}"
        yield from rest[:-1]
    else:
        yield from _value(f"{indent}-", entry, indent + "  ", in_list=True)


def _value(start: str, value: object, indent: str, *, in_list: bool = False) -> Iterator[str]:
    """What stands behind `start`: on its line, or where it has several lines, below and marked."""
    lines = lines_of(_scalar(value))
    if len(lines) == 1:
        yield f"{start} {list_entry(lines[0]) if in_list else lines[0]}"
    else:
        yield start
        yield from (f"{indent}{line}" for line in lines)


def _needs_a_line(entry: object) -> bool:
    text = _scalar(entry)
    return len(text) > _INLINE or len(lines_of(text)) > 1


def _in_line(entry: object) -> str:
    text = lines_of(_scalar(entry))[0]
    return quoted(text) if ", " in text else list_entry(text)


def _scalar(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
