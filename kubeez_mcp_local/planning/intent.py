"""Reading a free-text intent by keywords: what is to be made, by which model, in which shape, for how much."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from kubeez_mcp_local.catalogue.models import Model


# Jobs on one file: how each is asked for. The first that fits decides, so the narrow jobs stand before the broad ones.
_FILE_JOBS = {
    "dubbing": r"\bdub(?:bed|bing|s)?\b|\btranslat\w* (?:\w+ )*(?:video|clip|speech)",
    "captions": r"\bcaption(?:s|ed|ing)?\b|\bsubtitl\w*|\bburn(?:ed)?[- ]in text",
    "separation": r"\bstems?\b|\bacapp?ella\b|\bkaraoke\b"
    r"|\b(?:isolate|separate|split|remove|extract)\b.*\b(?:vocals?|voices?|song|instrumental|background music)\b",
    "remove_background": r"\b(?:remov(?:e|es|ed|ing)|eras(?:e|ing)|delete|drop|cut(?:ting)? (?:out|off)) (?:\w+ ){0,4}"
    r"backgrounds?\b(?! (?:noise|music|sounds?|voices?))"
    r"|\bbackground[- ]?remov\w*|\bcut-?outs?\b|\btransparent png",
    "ad_copy": r"\bad[- ]?copy\b|\bcop(?:y|ies) (?:this|that|the|an?) ad\b|\breference ads?\b|\bads? like th\w+\b"
    r"|\b(?:like|after|from|(?:style|manner) of) (?:[\w']+ ){1,3}ad(?:s|vert\w*)?\b",
    "sound": r"\bsound[- ]?(?:effects?|fx|design)\b|\bsfx\b|\bfoley\b",
    "trim": r"\b(?:trim|shorten|cut) (?:\w+ ){0,6}(?:video|clip)\b",
}
# What they work on, where it is not anything.
_WORK_ON: dict[str, tuple[str, ...]] = {
    "dubbing": ("video", "speech"),
    "captions": ("video",),
    "separation": ("music", "speech", "video"),
    "remove_background": ("image",),
    "trim": ("video",),
}
# The commonest words of other languages stand beside the English ones.
_MEDIA = {
    "video": r"\bv[ií]d[eé]os?\b|\bclips?\b|\banimat\w*|\bmovies?\b|\bfilms?\b|\breels?\b|\btiktoks?\b|\bfootage\b"
    r"|\bmotion\b|\bgifs?\b|\blip[- ]?sync\w*|\btalking (?:heads?|avatars?|photos?)\b|\bвидео|视频|動画|ビデオ",
    "speech": r"\bdialogues?\b|\bspeech\b|\bnarrat\w*|\bvoice[- ]?overs?\b|\bvoices?\b|\btts\b|\bmonologues?\b"
    r"|\bspoken\b|\baudiobooks?\b"
    r"|\bread (?:this|it|aloud|out)\b|\bread (?:\w+ ){1,3}aloud\b|\bpodcasts?\b|\bvoix\b|\bvoz\b|\bголос",
    "music": r"\bmusic\b|\bsongs?\b|\bjingles?\b|\bsoundtracks?\b|\bmelod\w*|\bbeats?\b|\btunes?\b|\binstrumentals?\b"
    r"|\bballads?\b|\banthems?\b|\blullab\w*|\brap\b|\bmusik\b|\bmusique\b|\bm[uú]sica\b|\bcanci[oó]n\b|\bchanson\b"
    r"|\bмузык|\bпесн|音乐|音楽",
    "image": r"\bimages?\b|\bpictures?\b|\bphoto(?:s|graphs?)?\b|\bpics?\b|\blogos?\b|\bposters?\b|\bicons?\b"
    r"|\billustrat\w*|\bthumbnails?\b|\bwallpapers?\b|\bportraits?\b|\bpaint(?:ings?)?\b|\bdraw(?:ings?)?\b|\bsketch(?:es)?\b"
    r"|\bartworks?\b|\bbanners?\b|\bcovers?\b|\bflyers?\b|\bstickers?\b|\bmock-?ups?\b|\brender(?:ing)?s?\b"
    r"|\binfographics?\b|\bheadshots?\b|\bmemes?\b|\bcartoons?\b|\bavatars?\b|\bhero shots?\b|\bupscal\w*"
    r"|\b(?:instagram|facebook|linkedin|social media) (?:posts?|stor(?:y|ies))\b"
    r"|\bbild(?:er)?\b|\bfotos?\b|\bimagen(?:es)?\b|\bimage[mn]s?\b|\bimmagin[ei]\b|\bкартинк|\bизображен|\bфото"
    r"|图片|照片|画像|写真|ロゴ",
    "sound": r"\bsounds?\b|\bnoises?\b|\bambien(?:t|ce)\b",
}
# What comes along or is ruled out is not what is asked for: "a video with music", "no sound, just a picture".
_ALONGSIDE = (
    r"\b(?:no|without|with)(?: (?!the\b|my\b|this\b)\w+){0,2}? "
    r"(?:sounds?(?: effects?)?|audio|music|noises?|voices?|speech|soundtracks?)\b"
)
FROM_STILL = (
    r"\banimat\w* (?:my|this|the|an?|our) (?:\w+ )?(?:photo|image|picture|still|logo|drawing)|\bbring\b.*\bto life\b"
    r"|\b(?:image|photo|picture|still)[- ]to[- ]video\b|\bfirst (?:and last )?frame"
    r"|\b(?:turn|make|convert)\w* (?:my|this|these|the|our) (?:\w+ )?(?:photo|image|picture|still)s? (?:in)?to\b"
)
_MOVING = (
    r"\bmak(?:e|es|ing) (?:my|this|the|our|him|her|it|them) (?:\w+ ){0,3}(?:talk|speak|sing|dance|walk|run|move|wave)\b"
)
_TO_VIDEO = (
    r"\banimat(?!\w*[- ]styles?\b)\w*|\b(?:in)?to (?:an? )?(?:\w+ )?(?:video|clip)\b|" + FROM_STILL + "|" + _MOVING
)


def job_of(words: str) -> str | None:
    """`image`, `video`, `music`, `speech`, `sound` or a job on one file; `words` are in lower case."""
    asked = re.sub(_ALONGSIDE, " ", words)
    named = {name for name, pattern in _MEDIA.items() if re.search(pattern, asked)}
    for job, pattern in _FILE_JOBS.items():
        if re.search(pattern, asked) and (not named or named.intersection(_WORK_ON.get(job, named))):
            return job
    return "video" if re.search(_TO_VIDEO, asked) else _medium(asked)


def _medium(words: str) -> str | None:
    """The thing asked for is named first: "music for a video" is music, "a video with music" is a video.

    In a compound the last word says what it is: a music video is a video, a movie poster an image.
    """
    places = sorted(
        (found.start(), found.end(), name) for name, pattern in _MEDIA.items() for found in re.finditer(pattern, words)
    )
    if not places:
        return None
    _, end, medium = places[0]
    for start, next_end, name in places[1:]:
        if start - end != 1:
            break
        end, medium = next_end, name
    return medium


_RATIOS = ("1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3", "21:9", "9:21", "5:4", "4:5", "1:2", "2:1")
_RATIO_WORDS = {
    "9:16": r"\bvertical\b|\bstor(?:y|ies) format\b|\binstagram stor\w+|\breels?\b|\btiktoks?\b|\byoutube shorts\b"
    r"|\bphone (?:screen|wallpaper|background|format)s?\b|\bfor (?:my |the |a )?phones?\b",
    "16:9": r"\blandscape format\b|\bwidescreen\b|\byoutube\b|\bhero (?:image|picture|photo|shot|video|section)s?\b"
    r"|\bbanners?\b|\bheader\b|\bslides\b|\bhorizontal\b|\bdesktop (?:wallpaper|background)s?\b",
    "1:1": r"\bsquare\b|\bavatars?\b|\bprofile pic\w*|\bicons?\b|\blogos?\b",
    "4:5": r"\binstagram (?:post|feed|ad)\b",
    "21:9": r"\bcinematic wide\b|\bultra[- ]?wide\b",
}
_COUNTING = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBERS = {word: number for number, word in enumerate(_COUNTING, start=1)} | {"couple": 2, "dozen": 12}
_AMOUNT = rf"(?<![\d.,])\b(?P<amount>\d{{1,3}}|{'|'.join(_NUMBERS)})"
_SECONDS = (
    # 50s to 90s are decades; nothing here is that long.
    rf"{_AMOUNT}(?<![5-9]0(?=s\b))"
    r"(?:[\s-]*(?:s|secs?|seconds?|secondes?|secondi|seg|segundos?|sek|sekunden?|сек\w*)\b|\s?秒)"
)
_MINUTES = rf"{_AMOUNT}(?:[\s-]*(?:min|mins|minutes?|minutos?|minuten?|минут\w*)\b|\s?分)"
_CREDITS = r"(?<![\d.,])(\d{1,6}(?:\.\d{1,2})?)[\s-]*(?:cr[eé]dit|kredit|кредит)\w*( (?:each|apiece|per|a piece)\b)?"
_EDIT = (
    r"\bedit\b|\bswap\b|\bretouch\w*|\brestyl\w*"
    r"|\b(?:change|replace) (?:my|the|this|its?|his|her|their|colou?rs?)\b|\bupscal\w*"
    r"|\bfrom (?:my|this|the|an?) (?:photo|image|picture|still)|\b(?:combine|merge|blend)\b"
)
_OWN_SOUND = (
    r"\b(?:this|my|our|the|attached) (?:\w+ )?(?:songs?|tracks?|audio|recordings?|voice-?overs?|narration|mp3|wav)\b"
)
_STILL = r"\b(?:photo|picture|image|portrait|selfie|headshot|still|drawing|logo)s?\b"
_HEARD = (
    r"\bwith (?:\w+ ){0,2}(?:sounds?|audio|music|soundtracks?|voice[- ]?overs?|voices?|narration|dialogues?)\b"
    r"|\btalking\b|\bspoken\b"
)
_TWO_FRAMES = (
    r"\bfirst (?:frame )?(?:and|to) (?:the )?last frame\b|\bfirst frame\b.*\blast frame\b|\bstart and end frames?\b"
)
_THINGS = (
    r"(?:\w+ ){0,2}(?:images|pictures|photos|pics|variants|variations|versions|options|videos|clips|logos|icons|posters"
    r"|banners|stickers|thumbnails|wallpapers|illustrations|drawings|portraits|scenes|shots|ads|songs|jingles)\b"
)
# Numbered things after one of these words are what the user has, not what is to be made.
_OWN = ("these", "those", "my", "our", "the", "both", "from", "using", "combine", "merge", "blend", "between")
_PREFERENCES = {
    "tier": r"\bbest (?:possible|quality|model|result|looking|you)\b|\b(?:highest|top)[- ](?:quality|end)\b|\bpremium\b"
    r"|\bmoney can buy\b|\bmoney is no object\b",
    "price": r"\bcheap(?:ly|er|est)\b|\bcheap (?:\w+ )?(?:image|picture|photo|video|clip|song|one|and)\b|\bas cheap\b"
    r"|\blow[- ](?:cost|budget)\b|\binexpensive\b|\bon a budget\b",
    "speed": r"\b(?:quick|fast)est\b|\bquickly\b|\b(?:quick|fast) (?:result|image|picture|photo|video|clip|one|and)\b"
    r"|\bas (?:quick|fast|soon)\b|\basap\b|\b(?:make|need|want) (?:it|this|that) fast\b|\bin a hurry\b"
    r"|\bdrafts?\b(?! (?:horse|beer))|\brough (?:version|cut|idea|sketch)\b",
}


@dataclass(frozen=True)
class Intent:
    """What was understood.

    Attributes:
        job: `image`, `video`, `music`, `speech`, or the name of a job on one file such as `captions`.
        named: Whether the text names the job; if not, an image is assumed.
        from_inputs: How many pictures of the user it starts from.
        own_sound: Whether a sound that the user has is spoken of. own_picture: Whether a still is spoken of.
        seconds: Length of what is to be made. max_credits: budget for everything. count: how many results.
        logo: Whether lettering or a logo is wanted.
    """

    job: str
    named: bool = True
    from_inputs: int = 0
    own_sound: bool = False
    own_picture: bool = False
    ratio: str | None = None
    seconds: int | None = None
    sound: bool | None = None
    resolution: str | None = None
    max_credits: float | None = None
    count: int = 1
    prefer: str | None = None
    logo: bool = False


def read_intent(text: str) -> Intent:
    """The intent behind `text`, by keywords; an image if nothing else is named."""
    words = " ".join(text.lower().split())
    seconds, sound = _seconds(words), _sound(words)
    named = job_of(words) or _implied(words, seconds, sound)
    job = named or "image"
    count, owned = _counts(words)
    return Intent(
        job=job,
        named=named is not None,
        from_inputs=_from_inputs(words, job, owned),
        own_sound=_has(_OWN_SOUND, words),
        own_picture=_has(_STILL, words),
        ratio=_ratio(words),
        seconds=seconds,
        sound=sound,
        resolution=_resolution(words),
        max_credits=_budget(words, count),
        count=count,
        prefer=_first(_PREFERENCES, words),
        logo=_has(r"\blogos?\b|\bwordmark\b", words),
    )


def _implied(words: str, seconds: int | None, sound: bool | None) -> str | None:
    """What can only be meant: pictures have neither length nor sound, and only they are retouched or merged."""
    if seconds or sound is not None:
        return "video"
    return "image" if _has(_EDIT, words) else None


def _has(pattern: str, words: str) -> bool:
    return re.search(pattern, words) is not None


def _first(table: Mapping[str, str], words: str) -> str | None:
    return next((name for name, pattern in table.items() if _has(pattern, words)), None)


def _from_inputs(words: str, job: str, owned: int) -> int:
    if job == "video":
        return 2 if _has(_TWO_FRAMES, words) else max(owned, int(_has(FROM_STILL, words)))
    return max(owned, int(_has(_EDIT, words)))


def _ratio(words: str) -> str | None:
    pairs = (f"{width}:{height}" for width, height in re.findall(r"(?<!\d)(\d{1,2})\s?[:x]\s?(\d{1,2})(?!\d)", words))
    return next((pair for pair in pairs if pair in _RATIOS), None) or _first(_RATIO_WORDS, words)


def _seconds(words: str) -> int | None:
    for pattern, unit in ((_SECONDS, 1), (_MINUTES, 60)):
        found = re.search(pattern, words)
        if found:
            return _amount(found["amount"]) * unit or None
    return None


def _amount(text: str) -> int:
    return int(text) if text.isdecimal() else _NUMBERS[text]


def _budget(words: str, count: int) -> float | None:
    """Credits are only ever named as what may be spent, on everything or on each result."""
    found = re.search(_CREDITS, words)
    if not found:
        return None
    return float(found.group(1)) * (count if found.group(2) else 1)


def _sound(words: str) -> bool | None:
    if _has(r"\bsilent\b|\bno (?:sound|audio)\b|\bwithout (?:any )?(?:sound|audio)\b|\bmuted?\b", words):
        return False
    return True if _has(_HEARD, words) else None


def _resolution(words: str) -> str | None:
    found = re.search(r"\b(1080p|720p|480p|4k|2k)\b", words)
    return found.group(1) if found else None


def _counts(words: str) -> tuple[int, int]:
    """How many results are wanted, and how many pictures of the user go in."""
    wanted, owned = 1, 0
    numbers = rf"(?:(\w+) )?\b(\d{{1,2}}|{'|'.join(_NUMBERS)}) (?!s\b|sec|credit){_THINGS}"
    for before, number in re.findall(numbers, words):
        amount = _amount(number)
        if before in _OWN:
            owned = owned or amount
        elif wanted == 1:
            wanted = max(1, amount)
    return wanted, owned


# A single word of an id is often an ordinary word, so it counts only where a model is meant.
_INTRODUCING = ("use", "uses", "using", "with", "via", "by", "in")
_WHAT_IT_MAKES = (
    *("image", "images", "picture", "pictures", "video", "videos", "clip", "clips", "model", "song", "music"),
)


def named_models(text: str, models: Iterable[Model]) -> tuple[Model, ...]:
    """The models whose id begins with the longest run of words found in `text`; none if nothing is named."""
    words = _words(text)
    lengths = {model.id: _longest_run(_words(model.id), words) for model in models}
    longest = max(lengths.values(), default=0)
    return tuple(model for model in models if longest and lengths[model.id] == longest)


def exactly_named(text: str, models: Iterable[Model]) -> Model | None:
    """The model whose whole id is in `text`; the longest id of several."""
    words = _words(text)
    whole = [model for model in models if _longest_run(name := _words(model.id), words) == len(name)]
    return max(whole, key=lambda model: len(model.id), default=None)


def _words(text: str) -> list[str]:
    """Letters and figures apart where a name is followed by its version: `Veo3.1` as `veo 3 1`."""
    return re.findall(r"[a-z]+(?![a-z])|\d+[a-z]*", text.lower())


def _longest_run(name: Sequence[str], words: Sequence[str]) -> int:
    longest = 0
    for start in range(len(words)):
        run = 0
        while run < len(name) and start + run < len(words) and name[run] == words[start + run]:
            run += 1
        if run > 1 or (run == 1 and _is_meant(words, start)):
            longest = max(longest, run)
    return longest


def _is_meant(words: Sequence[str], place: int) -> bool:
    before = words[place - 1] if place else ""
    after = words[place + 1] if place + 1 < len(words) else ""
    return words[place].isalpha() and len(words[place]) > 2 and (before in _INTRODUCING or after in _WHAT_IT_MAKES)
