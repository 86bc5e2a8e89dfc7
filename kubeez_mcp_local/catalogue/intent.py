"""Reading a free-text intent: what is to be made, in which shape, for how much. Keywords only; no model is asked."""

from __future__ import annotations

import re
from dataclasses import dataclass

# The first matching row decides, so the narrow jobs stand before the broad ones.
_JOBS: tuple[tuple[str, str], ...] = (
    (
        "dubbing",
        r"\bdub(?:bed|bing|s)?\b|\bvoice[- ]?over (?:in|into) \w+|\btranslat\w* (?:\w+ )*(?:video|clip|speech)",
    ),
    ("captions", r"\bcaption(?:s|ed|ing)?\b|\bsubtitl\w*|\bburn(?:ed)?[- ]in text"),
    (
        "separation",
        r"\bstems?\b|\bacapp?ella\b|\bkaraoke\b|\b(?:isolate|separate|split|remove|extract)\b.*\b(?:vocals?|song|instrumental)\b",
    ),
    (
        "remove_background",
        r"\b(?:remov|cut|eras|drop)\w*\b.*\bbackgrounds?\b|\bbackground[- ]?remov\w*|\bcut-?outs?\b|\btransparent png",
    ),
    ("ad_copy", r"\bad[- ]?copy\b|\bcop(?:y|ies) (?:this|that|the|an?) ad\b|\b(?:like|from) (?:this|a) reference ad\b"),
    ("sound", r"\bsound[- ]?(?:effects?|fx|design)\b|\bsfx\b|\bfoley\b"),
    ("trim", r"\b(?:trim|shorten)\b.*\b(?:video|clip)\b"),
)
_MEDIA: tuple[tuple[str, str], ...] = (
    (
        "video",
        r"\bvideos?\b|\bclips?\b|\banimat\w*|\bmovies?\b|\bfilms?\b|\breels?\b|\btiktoks?\b|\bfootage\b|\bmotion\b",
    ),
    (
        "speech",
        r"\bdialogues?\b|\bspeech\b|\bnarrat\w*|\bvoice[- ]?overs?\b|\btts\b|\bread (?:this|it|aloud)\b|\bpodcast\b",
    ),
    ("music", r"\bmusic\b|\bsongs?\b|\bjingles?\b|\bsoundtracks?\b|\bmelod\w*|\bbeats?\b|\btheme tune\b"),
    ("image", r"\bimages?\b|\bpictures?\b|\bphotos?\b|\bpics?\b|\blogos?\b|\bposters?\b|\bicons?\b|\billustrat\w*"),
)
_RATIO_WORDS: tuple[tuple[str, str], ...] = (
    ("9:16", r"\bvertical\b|\bstor(?:y|ies) format\b|\binstagram stor\w+|\breels?\b|\btiktoks?\b|\bshorts\b|\bphone\b"),
    (
        "16:9",
        r"\blandscape format\b|\bwidescreen\b|\byoutube\b|\bhero\b|\bbanner\b|\bheader\b|\bslides?\b|\bhorizontal\b",
    ),
    ("1:1", r"\bsquare\b|\bavatar\b|\bprofile pic\w*|\bicons?\b|\blogos?\b"),
    ("4:5", r"\binstagram (?:post|feed|ad)\b"),
    ("21:9", r"\bcinematic wide\b|\bultra[- ]?wide\b"),
)
_NUMBERS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "eight": 8, "ten": 10, "couple": 2}
_EDIT = (
    r"\bedit\b|\bretouch\w*|\brestyl\w*|\bchange\b|\breplace\b|\bfrom (?:my|this|the|an?) (?:photo|image|picture|still)"
)
_FROM_STILL = (
    r"\banimat\w* (?:my|this|the|an?|our) (?:\w+ )?(?:photo|image|picture|still|logo|drawing)|\bbring\b.*\bto life\b"
    r"|\b(?:image|photo|picture|still)[- ]to[- ]video\b|\bfirst (?:and last )?frame"
    r"|\b(?:turn|make|convert)\w* (?:my|this|these|the|our) (?:\w+ )?(?:photo|image|picture|still)s? (?:in)?to\b"
)


@dataclass(frozen=True)
class Intent:
    """What was understood.

    Attributes:
        job: `image`, `video`, `music`, `speech`, or the name of a job on one file such as `captions`.
        from_input: Whether it starts from a file that the user has.
        seconds: Clip length. max_credits: budget. count: how many results.
        logo: Whether lettering or a logo is wanted.
    """

    job: str
    from_input: bool = False
    ratio: str | None = None
    seconds: int | None = None
    sound: bool | None = None
    resolution: str | None = None
    max_credits: float | None = None
    count: int = 1
    prefer: str | None = None
    logo: bool = False


def read_intent(text: str) -> Intent:
    """The intent behind `text`, by English keywords; an image if nothing else is named."""
    words = " ".join(text.lower().split())
    job = _first(_JOBS, words) or _medium(words)
    return Intent(
        job=job,
        from_input=_has(_FROM_STILL, words) if job == "video" else _has(_EDIT, words),
        ratio=_ratio(words),
        seconds=_number(r"\b(\d{1,3})[\s-]*(?:s|sec|secs|seconds?)\b", words) if job in ("video", "sound") else None,
        sound=_sound(words) if job == "video" else None,
        resolution=_resolution(words),
        max_credits=_number(
            r"(?:under|below|within|at most|max(?:imum)?|up to|budget(?: of)?|less than)\s+(\d{1,6})\s*credits?", words
        ),
        count=_count(words),
        prefer=_preference(words),
        logo=_has(r"\blogos?\b|\bwordmark\b", words),
    )


def _has(pattern: str, words: str) -> bool:
    return re.search(pattern, words) is not None


def _first(table: tuple[tuple[str, str], ...], words: str) -> str | None:
    return next((name for name, pattern in table if _has(pattern, words)), None)


def _medium(words: str) -> str:
    # "music for a video" is music and "a video with music" is a video: the thing asked for is named first.
    places = ((found.start(), name) for name, pattern in _MEDIA if (found := re.search(pattern, words)))
    if _has(r"\banimat\w*|\b(?:in)?to (?:an? )?(?:\w+ )?(?:video|clip)\b|" + _FROM_STILL, words):
        return "video"
    return min(places, default=(0, "image"))[1]


def _ratio(words: str) -> str | None:
    named = re.search(r"(?<!\d)(\d{1,2})\s?[:x]\s?(\d{1,2})(?!\d)", words)
    return f"{named.group(1)}:{named.group(2)}" if named else _first(_RATIO_WORDS, words)


def _number(pattern: str, words: str) -> int | None:
    found = re.search(pattern, words)
    return int(found.group(1)) or None if found else None


def _sound(words: str) -> bool | None:
    if _has(r"\bsilent\b|\bno (?:sound|audio)\b|\bwithout (?:sound|audio)\b|\bmuted?\b", words):
        return False
    return True if _has(r"\bwith (?:\w+ )?(?:sound|audio)\b|\btalking\b|\bspoken\b", words) else None


def _resolution(words: str) -> str | None:
    found = re.search(r"\b(1080p|720p|480p|4k|2k)\b", words)
    return found.group(1) if found else None


def _count(words: str) -> int:
    things = r"(?:\w+ ){0,2}(?:images|pictures|photos|variants|variations|versions|options|videos|clips|logos)\b"
    found = re.search(rf"\b(\d{{1,2}}|{'|'.join(_NUMBERS)}) (?!s\b|sec|credit){things}", words)
    if not found:
        return 1
    number = found.group(1)
    return max(1, int(number)) if number.isdigit() else _NUMBERS[number]


def _preference(words: str) -> str | None:
    if _has(r"\bcheap\w*|\blow[- ]cost\b|\bfree\b|\bbudget\b", words):
        return "price"
    if _has(r"\bquick\w*|\bfast\w*|\bdrafts?\b|\brough\b", words):
        return "speed"
    return "tier" if _has(r"\bbest\b|\bhighest\b|\bpremium\b|\btop quality\b", words) else None
