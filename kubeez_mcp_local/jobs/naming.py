"""What outputs are called: names that a person can read, that fit every file system, and that tell files apart.

A name is made when its job is ordered and kept in the ledger, so that whoever saves the outputs, however late, calls
them the same. Nothing of it is part of what is asked of the API.
"""

from __future__ import annotations

import re
import unicodedata
import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.jobs.job import SANDBOX, Labels, step_and_index
from kubeez_mcp_local.operations import operations

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from kubeez_mcp_local.jobs.job import RunCall
    from kubeez_mcp_local.operations import Draft

# --8<-- exported scripts carry this: nothing but the standard library
LONGEST = 100
"""Bytes of a name in UTF-8, without what numbers it and without its extension: file systems take 255, some only 143."""
_WORD_BYTES = 24
_READ = 4_000
_RATIO = re.compile(r"(?<!\d)(\d{1,4}):(\d{1,4})(?!\d)")
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)\Z")
"""What Windows takes for a device, whatever extension follows."""
_UNSEEN = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")
"""Letters and marks by their class that show nothing."""
_EXTENSION = re.compile(r"\.(?:png|jpe?g|webp|gif|mp4|mov|webm|mp3|wav|m4a|flac|ogg|txt)\Z", re.I)
_MACHINE_MADE = re.compile(r"(?=.*\d)[0-9a-f]{8,}\Z|\d+\Z|(?=.*\d)(?=.*[a-z])[a-z0-9]{16,}\Z")
_COMMON_WORDS = """
a an the this that these those and or but of in on at by for from to into onto with without under over as is are be
being it its his her their your our my no not any some one very more most all each while where which who then than so
just only like up down out off through across behind between
make create generate show draw render design produce give add keep use using please want need put set
image images picture pictures photo photos photograph photography photographic photorealistic realistic shot video
clip footage film scene illustration style styled look high quality highly detailed ultra hyper hd uhd 2k 4k 8k best
studio masterpiece professional cinematic beautiful stunning award winning resolution brief angle story moment prompt
text logo logos watermark advertising
der die das den dem des ein eine einen einem einer und oder mit ohne auf im am zu von vom für bei als ist sind bild foto
le la les un une et ou avec sans sur dans du de el los las una y o con sin en del
"""
_COMMON = frozenset(_COMMON_WORDS.split())
"""Words that most prompts have, and so tell no two apart."""


def portable(text: str, longest: int = LONGEST) -> str:
    """`Größe & 16:9` becomes `größe-16x9`: letters and digits of any script in lower case, joined by hyphens.

    Empty if nothing is left. It is in normal form C, has at most `longest` bytes, and is no path, hidden file, option
    or device of any system. What only has signs, such as an emoji, is called by their names.
    """
    name = _shortened(_words(text[:_READ]), longest)
    return _allowed(name or _shortened(_words(_names_of_signs(text[:_READ])), longest))


def _allowed(name: str) -> str:
    return f"{name}-file" if _RESERVED.match(name) else name


def _words(text: str) -> str:
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).lower())
    plain = _RATIO.sub(r"\1x\2", plain.replace("'", "").replace("\u2019", ""))
    return "-".join("".join(letter if _belongs(letter) else " " for letter in plain).split())


def _belongs(letter: str) -> bool:
    if letter in _UNSEEN or "\ufe00" <= letter <= "\ufe0f" or letter >= "\U000e0000":
        return False
    return unicodedata.category(letter) in ("Ll", "Lm", "Lo", "Nd", "Mn", "Mc")


def _names_of_signs(text: str) -> str:
    signs = [letter for letter in text if unicodedata.category(letter) == "So"]
    return " ".join(unicodedata.name(sign, "") for sign in signs[:3])


def _shortened(name: str, longest: int) -> str:
    if len(name.encode()) <= longest:
        return name
    kept = name.encode()[:longest].decode(errors="ignore")
    whole = kept if name[len(kept)] == "-" else kept.rpartition("-")[0]
    return (whole if len(whole) >= len(kept) // 2 else kept).strip("-")


def telling(text: str, most: int = 5, longest: int = 48) -> list[str]:
    """Those of the words of `text` that say what it is about, in their order, each once, at most `longest` bytes."""
    words = [_shortened(word, _WORD_BYTES) for word in dict.fromkeys(_words(text[:_READ]).split("-")) if word]
    words = [word for word in words if word not in _COMMON and (len(word) > 1 or not word.isascii())] or words
    found: list[str] = []
    for word in words[:most]:
        if found and len("-".join([*found, word]).encode()) > longest:
            break
        found.append(word)
    return found


def own_name(source: str) -> str:
    """The name of a file by its path or URL, without extension; empty where a machine has named it."""
    path = unquote(urlsplit(source).path) if "://" in source else source.removeprefix("library:")
    stem = _EXTENSION.sub("", re.split(r"[/\\]", path.rstrip("/\\"))[-1])
    name = portable(stem, 40)
    return "" if all(_MACHINE_MADE.match(part) for part in name.split("-")) or _is_uuid(name) else name


def _is_uuid(name: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", name) is not None


def joined(parts: Iterable[str]) -> str:
    """The parts of a name, without those that are empty or have been said."""
    said: list[str] = []
    for part in parts:
        if part and f"-{part}-" not in f"-{'-'.join(said)}-":
            said.append(part)
    return _allowed(_shortened("-".join(said), LONGEST))


_TELLING_FIELDS = ("name", "title", "label", "language", "lang", "ratio", "aspect_ratio", "model", "id")
_SHORT = 60
_LIKE_A_FILE = re.compile(r"[a-z][a-z0-9+.-]+://|library:|~?/|\.{1,2}/|[a-z]:\\", re.I)


def item_words(item: Any) -> str:
    """What an entry of a list is about, in a few words: itself, its name or first short field; empty if none tells."""
    if isinstance(item, dict):
        if "outputs" in item or "url" in item:  # what an earlier step has made
            return ""
        fields = [item.get(name) for name in _TELLING_FIELDS] + list(item.values())
        texts = (str(value).strip() for value in fields if isinstance(value, str | int | float))
        return next((text for text in texts if 0 < len(text) <= _SHORT), "")
    if isinstance(item, bool) or not isinstance(item, str | int | float):
        return ""
    text = str(item).strip()
    if _LIKE_A_FILE.match(text) or _EXTENSION.search(text):
        return own_name(text)
    return text if len(text) <= _SHORT else " ".join(telling(text, 4))


def told_apart(items: Sequence[Any]) -> list[tuple[str, str]]:
    """For each of the items of a loop its words, and which of how many it is where the words do not tell."""
    words = [item_words(item) for item in items]
    names = [portable(each, 48) for each in words]
    tell = all(names) and len(set(names)) == len(names)
    return [(each, "" if tell else f"{at}-of-{len(items)}") for at, each in enumerate(words, 1)]


def name_of_call(step: str, item: str, part: str, *, source: str, makes: str, wordless: bool, language: str) -> str:
    """What the files of a call of a run are called, without `part` (see `told_apart`).

    Args:
        source: The own name of its first file; it counts where the call makes something of it, or is `wordless`.
        makes: What it makes of a file, such as `cutout`; a step that is called so need not be said.
    """
    step = portable(step)
    subject = portable(item, 48) or (source if (makes or wordless) and not part else "")
    repeats = makes and subject and step in (makes, f"{makes}s")
    return joined(["" if repeats else step, subject, makes if source and subject else "", language])


def language_of(body: Mapping[str, Any]) -> str:
    """The language that was asked for, if it is one."""
    several = list(body.get("languages") or ())
    one = body.get("language_code") or body.get("language") or (several[0] if len(several) == 1 else "")
    return "" if str(one).lower() == "auto" else portable(str(one), 16)


# --8<-- to here


def given_name(name: str) -> str:
    """The name that somebody has chosen, made portable; an extension of media is left out.

    Raises:
        InvalidArgumentError: Nothing is left of it.
    """
    found = portable(_EXTENSION.sub("", name.strip()))
    if not found:
        raise InvalidArgumentError(
            "name", f"{name[:80]!r} has no letter or digit.", next_step="Give a few words, or leave it out."
        )
    return found


RUNS = "runs"
"""Folder below the output folder in which each run of a recipe has its own."""


def folder_of_run(run: str, account: str) -> str:
    """The folder of a run (as the ledger calls it) below the output folder; rehearsals lie beside what is real."""
    name = portable(run.rpartition("/")[0] or run) or "run"
    return f"{RUNS}/{name}{'-sandbox' if account.startswith(SANDBOX) else ''}"


def labels_for(
    draft: Draft, *, account: str, name: str, run: RunCall | None, inputs: Sequence[str], source: str
) -> list[Labels]:
    """What the files of each of the jobs are called that a draft starts.

    Args:
        name: The name that somebody has chosen, portable; empty for none.
        run: The call of a run that it is.
        inputs: The files that go in, as they can be named again.
        source: The own name of the first of them; empty where a machine has named it.
    """
    language, makes = language_of(draft.body), _makes(draft)
    if name:
        parts = [name]
    elif run is not None:
        named = (step_and_index(run.call)[0], run.item, run.part)
        facts: dict[str, Any] = {"source": source, "makes": makes, "wordless": not draft.prompt, "language": language}
        parts = [name_of_call(*named, **facts)]
    elif draft.called:
        parts = [draft.called]
    else:
        words = telling(str(draft.body.get("title") or draft.prompt), 3 if source else 5)
        ratio = portable(str(draft.body.get("aspect_ratio") or ""))
        parts = [source, "-".join(words), makes, language, ratio]
    common = Labels(
        name=joined(parts) or portable(draft.model) or draft.route.name,
        part=run.part if run else "",
        folder=folder_of_run(run.run, account) if run else "",
        call=run.call if run else "",
        item=run.item if run else "",
        language=language,
        inputs=tuple(inputs),
        batch=uuid.uuid4().hex if draft.count > 1 else "",
    )
    if draft.count == 1:
        return [common]
    counted = [f"{at}-of-{draft.count}" for at in range(1, draft.count + 1)]
    return [replace(common, part=joined([common.part, each])) for each in counted]


def _makes(draft: Draft) -> str:
    if (draft.generation_type or "").endswith("-to-video"):
        return "clip"
    operation = operations().get(draft.route.name)
    return operation.makes if operation else ""


@dataclass(frozen=True)
class Named:
    """A job that has a place already, as far as others must be told from it."""

    place: str
    model: str
    prompt: str
    arguments: Mapping[str, Any]


_DIFFERS = ("aspect_ratio", "duration", "resolution", "quality", "language", "language_code", "voice", "seed")


def places(labels: Labels, folder: str, job: Named, others: Sequence[Named]) -> Iterator[str]:
    """Where the outputs of `job` may lie below the output folder: first the name itself, then with what differs.

    `others` are the jobs in that folder whose names begin like this one.
    """
    tail = f"-{labels.part}" if labels.part else ""
    place = f"{folder}/{labels.name}"
    yield f"{place}{tail}"
    rivals = [other for other in others if other.place == f"{place}{tail}"]
    for word in (_differing(job, rivals), *map(str, range(2, len(others) + 3))):
        if word:
            yield f"{place}-{word}{tail}"


def _differing(job: Named, rivals: Sequence[Named]) -> str:
    if any(other.model != job.model for other in rivals):
        return portable(job.model, 40)
    theirs = {word for other in rivals for word in _words(other.prompt[:_READ]).split("-")}
    new = [word for word in telling(job.prompt, 400, 4_000) if word not in theirs]
    if new:
        return _shortened("-".join(new[:3]), 40)
    for name in _DIFFERS:
        value = job.arguments.get(name)
        if value is not None and any(other.arguments.get(name) != value for other in rivals):
            return portable(f"seed {value}" if name == "seed" else str(value), 24)
    return ""


def matched(wanted: Sequence[str], told: Sequence[str]) -> list[str] | None:
    """For each of `told` (what the API says of an output) the one of `wanted` that it names; `None` unless each does.

    The languages of a dubbing, for example, by the outputs' own field or the names of their files.
    """
    found: list[str] = []
    for words in told:
        parts = _parts(words)
        fits = sorted((one for one in wanted if _holds(parts, _parts(one))), key=lambda one: len(_parts(one)))
        if not fits or (len(fits) > 1 and len(_parts(fits[-2])) == len(_parts(fits[-1]))):
            return None
        found.append(fits[-1])
    return found if len(set(found)) == len(found) else None


def _holds(parts: Sequence[str], some: Sequence[str]) -> bool:
    return any(parts[at : at + len(some)] == some for at in range(len(parts)))


def _parts(words: str) -> list[str]:
    return [part for part in re.split(r"[^a-z0-9]+", words.lower()) if part]
