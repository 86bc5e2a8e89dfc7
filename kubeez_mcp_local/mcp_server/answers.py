"""From results and errors to what travels over the wire: text and structured content, each complete on its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mcp.types import CallToolResult, ContentBlock, ResourceLink, TextContent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kubeez_mcp_local.errors import KubeezError
    from kubeez_mcp_local.mcp_server.results import Cost, Result


_INLINE = 60
"""Longest entry, in characters, of a list that is told in one line."""


def answer(result: Result, blocks: Sequence[ContentBlock] = ()) -> CallToolResult:
    """A successful answer. `blocks` (links, previews) follow the text."""
    structured = result.structured()
    text = "\n".join(_outline(structured))
    return CallToolResult(content=[TextContent(type="text", text=text), *blocks], structured_content=structured)


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
    return CallToolResult(
        content=[TextContent(type="text", text=f"{error} ({error.code}, mode {mode})")],
        structured_content=structured,
        is_error=True,
    )


def link(uri: str, name: str, mime_type: str | None, size: int | None = None) -> ResourceLink:
    """A pointer to a file or URL; the bytes stay where they are."""
    return ResourceLink(type="resource_link", uri=uri, name=name, mime_type=mime_type, size=size)


def _outline(value: dict[str, Any], indent: str = "") -> Iterator[str]:
    """`value` as short indented lines that a person can read and a model can quote."""
    for name, item in value.items():
        if isinstance(item, dict):
            yield f"{indent}{name}:"
            yield from _outline(item, indent + "  ")
        elif isinstance(item, list) and any(isinstance(entry, dict) for entry in item):
            yield f"{indent}{name}:"
            for entry in item:
                first, *rest = _outline(entry, indent + "    ") if isinstance(entry, dict) else [f"    {entry}"]
                yield f"{indent}  - {first.strip()}"
                yield from rest
        elif isinstance(item, list) and any(len(_scalar(entry)) > _INLINE for entry in item):
            yield f"{indent}{name}:"
            yield from (f"{indent}  - {_scalar(entry)}" for entry in item)
        elif isinstance(item, list):
            yield f"{indent}{name}: {', '.join(_scalar(entry) for entry in item) or 'none'}"
        else:
            yield f"{indent}{name}: {_scalar(item)}"


def _scalar(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
