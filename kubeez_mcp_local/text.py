"""Words that others have written, made fit to be shown: cut, quoted, made visible; and credits in words.

What comes from the API, from files, from recipes or from a prompt is data. It goes through here before it stands in an
answer, a terminal, a log or a question, so that it neither fills a conversation nor poses as a line of ours.
"""

from __future__ import annotations

import re
from urllib.parse import quote

LONGEST_VALUE = 20_000
"""Characters of one value of a single result; the longest prompt that any model takes."""
LONGEST_IN_ROW = 400
"""Characters of one value in a row of a list."""
LONGEST_ADDRESS = 4_096
"""Characters of a URL or path, which is of no use when it is cut."""
LONGEST_MESSAGE = 1_500
"""Characters of an error's message or of a question, whatever value it quotes."""
LONGEST_NAME = 80
"""Characters of a name, or of a value, that is quoted in a sentence."""

_KEY = re.compile(
    r"(?i)(?:(?<!\w)|(?<=\\[nrt])|(?<=%[0-9a-f]{2})|(?<=\\x[0-9a-f]{2})|(?<=\\u[0-9a-f]{4}))"  # also behind an escape
    r"(sk_(?:live|test)_)[a-z0-9_.~+/%=-]*[a-z0-9_~+/%=-]"
)
_TOKEN = re.compile(
    r"eyJ[\w-]{8,}\.[\w-]{4,}(?:\.[\w-]*)?"  # a JSON web token
    r"|(?i:(?<=bearer )|(?<=bearer%20)|(?<=_token=)|(?<=_token\": \")|(?<=_token\":\"))(?=[^\s\"&]*\d)[\w.~+/%=-]{16,}"
)
_hidden: list[str] = []
"""Secrets of no form that could be known by, such as most tokens are."""
_SHORTEST_SECRET = 8
_MOST_HIDDEN = 100
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
"""Control characters but line breaks and tabs."""
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff0-\ufffb"
    "\ud800-\udfff\ue000-\uf8ff\U000e0000-\U0010ffff]"
)
"""What steers a terminal, turns the direction of writing, breaks a line or hides: all but the two joiners, which
belong to emoji and to several scripts."""
_LIKE_A_FIELD = re.compile(r"(?![A-Za-z]:[\\/])[-*>\s]*[\w.-]+\s*:")


def has_half_character(text: str) -> bool:
    """Whether `text` holds a lone surrogate, which nothing can store or send: JSON allows it, UTF-8 does not."""
    return not text.isascii() and _HALF_CHARACTER.search(text) is not None


def without_half_characters(text: str) -> str:
    """`text` with a replacement mark for each half of a character."""
    return text if text.isascii() else _HALF_CHARACTER.sub("\ufffd", text)


def without_keys(text: str) -> str:
    """`text` with whatever looks like an API key cut to `sk_live_…`, and without tokens."""
    for secret in _hidden:
        text = text.replace(secret, "…")
    text = _KEY.sub(r"\1…", text)
    return _TOKEN.sub("…", text) if "eyJ" in text or "oken" in text or "earer" in text.lower() else text


def hide(secret: str) -> None:
    """From now on `without_keys` takes `secret` out of every text, also as addresses and JSON may have it."""
    escaped = {quote(secret, safe=kept) for kept in ("", "/")}
    lower = {re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), form) for form in escaped}
    for form in {secret, secret.replace("/", "\\/"), *escaped, *lower}:
        if len(form) >= _SHORTEST_SECRET and form not in _hidden:
            _hidden.insert(0, form)
    del _hidden[_MOST_HIDDEN:]


def holds_key(text: str) -> bool:
    """Whether something in `text` looks like an API key."""
    return _KEY.search(text) is not None


def holds_token(text: str) -> bool:
    """Whether something in `text` looks like a token, as far as one can tell: most look like nothing special."""
    return _TOKEN.search(text) is not None


def control_character(text: str) -> str | None:
    """The first control character in `text` that is neither a line break nor a tab, as an escape such as `\\x1b`."""
    found = _CONTROL.search(text)
    return _escape(found) if found else None


def visible(text: str) -> str:
    """`text` with an escape such as `\\x1b` for each character that cannot be seen; line breaks and tabs stay."""
    return _UNSEEN.sub(_escape, text.replace("\r\n", "\n"))


def escaped_json(text: str) -> str:
    """JSON with JSON's own escape for each character that cannot be seen; it reads back as the same values."""
    return _UNSEEN.sub(_json_escape, text)


def cut(text: str, longest: int) -> str:
    """`text`, with an ellipsis where it has more than `longest` characters."""
    return text if len(text) <= longest else text[: longest - 1].rstrip() + "…"


def cut_and_counted(text: str, longest: int) -> str:
    """As `cut`; what was cut says how long it is."""
    return text if len(text) <= longest else f"{text[:longest].rstrip()}… ({len(text):,} characters)"


def cut_in_the_middle(text: str, longest: int) -> str:
    """`text` without its middle where it is too long, for messages: names come first in them, what is allowed last."""
    if len(text) <= longest:
        return text
    half = longest // 2 - 20
    return f"{text[:half]} … ({len(text) - 2 * half:,} characters) … {text[-half:]}"


def on_one_line(text: str, longest: int = LONGEST_IN_ROW) -> str:
    """`text` on one line of at most `longest` characters, everything in it visible."""
    return cut(visible(" ".join(text[: 4 * longest].split())), longest)


def quoted(text: str, longest: int = LONGEST_NAME) -> str:
    """`text` on one line in quotation marks that it cannot close."""
    return f"“{on_one_line(text.replace('“', '‘').replace('”', '’'), longest)}”"


def lines_of(text: str) -> list[str]:
    """The lines of a value: itself if it is one line, else each behind a mark, so that none can be a line of ours."""
    seen = visible(text)
    return [seen] if "\n" not in seen else [f"> {line}".rstrip() for line in seen.split("\n")]


def list_entry(text: str) -> str:
    """A value of one line as an entry of a list of values; quoted where it reads like a field."""
    return quoted(text, LONGEST_VALUE) if _LIKE_A_FIELD.match(text) or text.startswith("“") else text


def presentable(text: str) -> str:
    """A sentence of ours that may quote what others wrote: visible, without keys, too short to fill a conversation."""
    return cut_in_the_middle(visible(without_keys(without_half_characters(text))), LONGEST_MESSAGE)


def amount(credits_: float) -> str:
    """An amount for people: `14`, `0.5`."""
    return f"{credits_:.6f}".rstrip("0").rstrip(".")


def spoken(credits_: float) -> str:
    """An amount of credits for people: `14 credits`, `0.5 credits`, `1 credit`."""
    return amount(credits_) + (" credit" if credits_ == 1 else " credits")


def extent(
    *,
    width: int | None = None,
    height: int | None = None,
    seconds: float | None = None,
    sound: bool | None = None,
    size: int | None = None,
) -> str:
    """A file for people, as far as it is known: pixels, `62.4 s, silent, 3.4 MB`."""
    parts = [
        f"{width}×{height}" if width and height else "",
        f"{amount(round(seconds, 1))} s" if seconds else "",
        "" if sound is None else "with sound" if sound else "silent",
        "" if not size else f"{max(round(size / 1000), 1)} KB" if size < 1_000_000 else f"{size / 1_000_000:.1f} MB",
    ]
    return ", ".join(part for part in parts if part)


def _escape(found: re.Match[str]) -> str:
    code = ord(found.group())
    if code < 256:
        return "\\r" if code == 13 else f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"


def _json_escape(found: re.Match[str]) -> str:
    halves = found.group().encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{halves[at : at + 2].hex()}" for at in range(0, len(halves), 2))
