"""Small functions that an exported script may need; each is copied only into scripts that use it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

_SOURCES = {
    "text": '''def text(value: Any) -> str:
    """A value in a prompt: nothing for None."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)''',
    "words": '''def words(value: Any) -> list[str]:
    """The entries of a text with commas, semicolons or lines between them."""
    if isinstance(value, list):
        return [str(entry) for entry in value]
    return [part.strip() for part in re.split(r"[,;\\n]", str(value)) if part.strip()]''',
    "lines": '''def lines(value: Any) -> list[str]:
    """The lines of a text that are not empty."""
    return [line.strip() for line in str(value).splitlines() if line.strip()]''',
    "sentence": '''def sentence(value: Any) -> str:
    """A text with a full stop at its end, unless it ends like a sentence already."""
    source = "" if value is None else str(value).strip()
    ended = source.rstrip("\\"')»”’").endswith((".", "!", "?", "…", "。", "！", "？"))
    return source if ended or not source else f"{source}."''',
    "slug": '''def slug(value: Any) -> str:
    """A text as lower-case words joined by hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", str(value).lower()).strip("-")[:60].rstrip("-")''',
    "pairs": '''def pairs(values: Any) -> list[list[Any]]:
    """Each entry with the one after it."""
    entries_ = list(values)
    return [list(pair) for pair in zip(entries_, entries_[1:])]''',
    "outputs": '''def outputs(results: Any) -> list[Any]:
    """All outputs of one job or of several."""
    found = results if isinstance(results, list) else [results]
    return [output for result in found for output in result.get("outputs") or []]''',
    "truncate": '''def truncate(value: Any, length: int = 100) -> str:
    """A text cut to `length` characters."""
    source = str(value)
    return source if len(source) <= length else source[: length - 1].rstrip() + "…"''',
    "script": '''def script(value: Any, voices: list[str]) -> list[dict[str, str]]:
    """Lines such as `Ann: Hello` as a dialogue; voices in the order in which the speakers appear."""
    spoken: list[dict[str, str]] = []
    names: list[str] = []
    for line in str(value).splitlines():
        name, colon, said = line.partition(":")
        if not colon or not said.strip():
            name, said = (names[-1] if names else ""), line
        if not said.strip():
            continue
        if name.strip() not in names:
            names.append(name.strip())
        spoken.append({"text": said.strip(), "voice": voices[names.index(name.strip()) % len(voices)]})
    return spoken''',
    "entries": '''def entries(value: str) -> list[str]:
    """A list given as text with commas, semicolons or lines between the entries."""
    return [part.strip() for part in re.split(r"[,;\\n]", value) if part.strip()]''',
    "table": '''def table(value: str) -> list[dict[str, str]]:
    """Rows of a CSV file, or of CSV text, by column name."""
    try:
        data = value if "\\n" in value.strip() else Path(value).expanduser().read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    delimiter = max(",;\\t", key=data.lstrip().split("\\n", 1)[0].count)
    rows = [row for row in csv.reader(io.StringIO(data.strip()), delimiter=delimiter) if any(row)]
    if len(rows) < 2:
        raise argparse.ArgumentTypeError("has no rows below the column names")
    names = ["_".join(re.findall(r"\\w+", name.lower())) for name in rows[0]]
    return [dict(zip(names, [cell.strip() for cell in row] + [""] * len(names))) for row in rows[1:]]''',
}


def helper_sources(names: Collection[str]) -> list[str]:
    """The sources of the helpers that are needed, in a fixed order."""
    return [source for name, source in _SOURCES.items() if name in names]
