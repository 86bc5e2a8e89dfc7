"""The filters that recipes may use. Each is pure, and none can be talked into building something huge."""

from __future__ import annotations

import functools
import json
import re
from typing import TYPE_CHECKING, Any

from jinja2.filters import FILTERS

from kubeez_mcp_local.cookbook.meter import MAX_TEXT, meter, weigh
from kubeez_mcp_local.cookbook.problems import TemplateError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# Left out of Jinja's own: those that pad or format to any width (center, indent, format, wordwrap, filesizeformat),
# reach attributes (attr), call others by name (map, select, reject), are random, or mark text as safe.
_FROM_JINJA = (
    "abs", "capitalize", "default", "d", "first", "float", "int", "last", "list", "lower", "max",
    "min", "reverse", "sort", "string", "sum", "title", "trim", "unique", "upper", "urlencode", "wordcount",
)  # fmt: skip


def length(values: Any) -> int:
    """How many entries there are; for a list that an export does not know yet, a phrase that says so."""
    number = getattr(values, "number", None)
    return number if isinstance(number, int) else len(values)


def join(values: Any, separator: str = ", ") -> str:
    """The values as one text."""
    parts = [str(value) for value in values]
    meter().text(sum(map(len, parts)) + len(separator) * len(parts))
    return str(separator).join(parts)


def replace(text: Any, old: str, new: str) -> str:
    """The text with each `old` replaced by `new`."""
    source, old, new = str(text), str(old), str(new)
    if not old:
        raise TemplateError("replace: the text to replace is empty.")
    meter().text(len(source) + source.count(old) * max(len(new) - len(old), 0))
    return source.replace(old, new)


def rounded(value: Any, digits: int = 0) -> float | int:
    """The number with at most 6 digits after the point."""
    digits = min(max(int(digits), 0), 6)
    return round(float(value), digits) if digits else round(float(value))


def tojson(value: Any) -> str:
    """The value as JSON."""
    return json.dumps(value, ensure_ascii=False, default=str)


def truncate(text: Any, length: int = 100) -> str:
    """The text cut to `length` characters, ending in … when it was longer."""
    source = str(text)
    length = min(max(int(length), 1), MAX_TEXT)
    return source if len(source) <= length else source[: length - 1].rstrip() + "…"


def sentence(text: Any) -> str:
    """The text with a full stop at its end, unless it ends like a sentence already; nothing for nothing."""
    source = "" if text is None else str(text).strip()
    ended = source.rstrip("\"')»”’").endswith((".", "!", "?", "…", "。", "！", "？"))
    return source if ended or not source else f"{source}."


def words(text: Any) -> list[str]:
    """The entries of a text with commas, semicolons or lines between them."""
    if isinstance(text, (list, tuple)):
        return [str(entry) for entry in text]
    return [part.strip() for part in re.split(r"[,;\n]", str(text)) if part.strip()]


def lines(text: Any) -> list[str]:
    """The lines of a text that are not empty."""
    return [line.strip() for line in str(text).splitlines() if line.strip()]


def slug(text: Any) -> str:
    """The text as lower-case words joined by hyphens, at most 60 characters."""
    return re.sub(r"[^a-z0-9]+", "-", str(text).lower()).strip("-")[:60].rstrip("-")


def zipped(left: Any, right: Any) -> list[list[Any]]:
    """Pairs of the entries of two lists, as long as the shorter one."""
    return [list(pair) for pair in zip(left, right, strict=False)]


def pairs(values: Any) -> list[list[Any]]:
    """Each entry with the one after it: 1, 2, 3 becomes [1, 2], [2, 3]."""
    entries = list(values)
    return zipped(entries, entries[1:])


def pluck(values: Any, key: str) -> list[Any]:
    """The field `key` of each entry."""
    return [value[key] for value in values]


def outputs(results: Any) -> list[Any]:
    """All outputs of a step's result, or of the list of results of a `for_each` step."""
    found = results if isinstance(results, list) else [results]
    return [output for result in found for output in result.get("outputs") or []]


def script(text: Any, voices: Any) -> list[dict[str, str]]:
    """Lines such as `Ann: Hello` as a dialogue; `voices` in the order in which the speakers appear."""
    chosen = [str(voice) for voice in voices if voice]
    spoken: list[dict[str, str]] = []
    names: list[str] = []
    for line in str(text).splitlines():
        name, colon, said = line.partition(":")
        if not colon or not said.strip():
            name, said = (names[-1] if names else ""), line
        if not said.strip():
            continue
        if name.strip() not in names:
            names.append(name.strip())
        spoken.append({"text": said.strip(), "voice": chosen[names.index(name.strip()) % len(chosen)]})
    return spoken


_OWN: Mapping[str, Callable[..., Any]] = {
    "length": length,
    "count": length,
    "join": join,
    "replace": replace,
    "round": rounded,
    "tojson": tojson,
    "truncate": truncate,
    "words": words,
    "lines": lines,
    "sentence": sentence,
    "slug": slug,
    "zip": zipped,
    "pairs": pairs,
    "pluck": pluck,
    "outputs": outputs,
    "script": script,
}


def recipe_filters() -> dict[str, Callable[..., Any]]:
    """The filters by name, each charging the meter for what goes in and what comes out."""
    chosen = {name: FILTERS[name] for name in _FROM_JINJA} | dict(_OWN)
    return {name: _weighed(function) for name, function in chosen.items()}


def _weighed(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def charged(*arguments: Any, **options: Any) -> Any:
        for argument in arguments:
            weigh(argument)
        return weigh(function(*arguments, **options))

    return charged
