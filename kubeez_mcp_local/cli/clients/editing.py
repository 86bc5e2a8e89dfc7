"""Edits of a client's config that are proved before anyone sees them: everything but our entry is what it was."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any, Protocol

from kubeez_mcp_local.cli.clients.errors import EditError, ParseError

if TYPE_CHECKING:
    from collections.abc import Sequence


class Format(Protocol):
    """A language that configs are written in."""

    @property
    def language(self) -> str: ...

    def read(self, text: str) -> dict[str, Any]: ...

    def put(self, text: str, path: Sequence[str | int], value: Any) -> str: ...

    def take(self, text: str, path: Sequence[str | int]) -> str: ...

    def snippet(self, path: Sequence[str | int], value: Any) -> str: ...


def put(written_in: Format, text: str, path: Sequence[str | int], value: Any) -> str:
    """`text` with `value` at `path`.

    Raises:
        ParseError: `text` is not of its format.
        EditError: It cannot be done, or not without touching something else.
    """
    before = written_in.read(text)
    edited = written_in.put(text, path, value)
    after = _read_again(written_in, edited)
    if entry(after, path) != value or _rest(before, path) != _rest(after, path):
        raise EditError("it is laid out in a way that cannot be edited without touching something else")
    return edited


def take(written_in: Format, text: str, path: Sequence[str | int]) -> str:
    """`text` without what is at `path`. Raises as `put`."""
    before = written_in.read(text)
    edited = written_in.take(text, path)
    after = _read_again(written_in, edited)
    if repr(_pruned(_without(before, path), path)) != repr(_pruned(after, path)):
        raise EditError("it is laid out in a way that cannot be edited without touching something else")
    return edited


def entry(data: Any, path: Sequence[str | int]) -> Any:
    """What is at `path`, or `None`."""
    for name in path:
        if isinstance(data, list) and isinstance(name, int) and name < len(data):
            data = data[name]
        elif isinstance(data, dict):
            data = data.get(name)
        else:
            return None
    return data


def _read_again(written_in: Format, edited: str) -> dict[str, Any]:
    try:
        return written_in.read(edited)
    except ParseError as error:
        raise EditError(f"after the edit it would not parse ({error.reason})") from None


def _rest(data: dict[str, Any], path: Sequence[str | int]) -> str:
    """Everything but `path` and the containers it leaves empty, in its order."""
    return repr(_pruned(_without(data, path), path))


def _pruned(data: dict[str, Any], path: Sequence[str | int]) -> dict[str, Any]:
    """`data` without the containers on the way to `path` that are empty."""
    for depth in range(len(path) - 1, 0, -1):
        if not entry(data, path[:depth]):
            data = _without(data, path[:depth])
    return data


def _without(data: dict[str, Any], path: Sequence[str | int]) -> dict[str, Any]:
    copy = deepcopy(data)
    holder = entry(copy, path[:-1])
    last = path[-1]
    if isinstance(holder, dict):
        holder.pop(last, None)
    elif isinstance(holder, list) and isinstance(last, int) and last < len(holder):
        del holder[last]
    return copy
