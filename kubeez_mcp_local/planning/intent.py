"""What is asked for: the kinds of work and all their names, and what a sentence says beyond doubt.

A sentence decides the kind of work only where it can mean nothing else; in doubt the caller is asked, who understands
it. It is read for numbers: how many, how long, in which shape, for how much, in which languages, from which files.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.media.sniff import by_extension
from kubeez_mcp_local.operations import Operation, by_model, media, operations

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kubeez_mcp_local.catalogue.listing import Listing
    from kubeez_mcp_local.catalogue.models import InputKind, Model

TRIM = "trim"
"""The only kind of work that is done on this machine."""
_TRIM_MAKES = "a part cut out of a clip, on this machine, free"


@cache
def tasks() -> dict[str, Operation]:
    """What can be picked for, and the operation that does it."""
    return {task: operation for operation in operations().values() for task in operation.tasks}


@cache
def kinds_of_work() -> dict[str, str]:
    """Everything that can be planned, with what it makes."""
    paid = {task: makes for operation in operations().values() for task, makes in operation.tasks.items()}
    return {**paid, TRIM: _TRIM_MAKES}


# Beside the names that follow from the operations themselves.
_ALSO_CALLED = {
    **dict.fromkeys(("text-to-music", "song", "soundtrack", "instrumental"), ("text-to-music",)),
    **dict.fromkeys(("dialogue", "voice", "voiceover", "voice-over", "narration", "tts"), ("text-to-dialogue",)),
    **dict.fromkeys(("text-to-speech",), ("text-to-dialogue",)),
    **dict.fromkeys(("sfx", "sound-effect", "effect", "foley"), ("sound",)),
    **dict.fromkeys(("subtitle", "captioning"), ("captions",)),
    **dict.fromkeys(("dub", "translation"), ("dubbing",)),
    **dict.fromkeys(("stem", "vocal", "karaoke"), ("separation",)),
    **dict.fromkeys(("cut-out", "cutout", "background-removal"), ("remove-background",)),
    **dict.fromkeys(("ad", "ads"), ("ad-copy",)),
    **dict.fromkeys((TRIM, "trim-video", "cut"), (TRIM,)),
    **dict.fromkeys(("photo", "picture"), ("text-to-image", "image-to-image")),
    **dict.fromkeys(("clip",), ("text-to-video", "image-to-video")),
}


@cache
def _names() -> dict[str, tuple[str, ...]]:
    names: dict[str, tuple[str, ...]] = dict(_ALSO_CALLED)
    for operation in operations().values():
        for kind in ("image", "video"):
            made = tuple(task for task in operation.tasks if task.endswith(f"-{kind}"))
            names.update({kind: made} if made else {})
        own = tuple(operation.tasks)
        called = (operation.job, operation.name, operation.name.removeprefix("generate_"), *operation.types)
        if len(own) == 1:
            names.update({_spelled(name): own for name in called})
        names.update({task: (task,) for task in own})
    return names


def _spelled(word: str) -> str:
    return re.sub(r"[\s_]+", "-", word.strip().lower())


def tasks_named(word: str, listing: Listing | None = None) -> tuple[str, ...]:
    """The kinds of work that `word` names; `image` and `video` are two each. Empty for a word that none has.

    With a `listing`, types and generation types of its rows are names too.
    """
    name = _spelled(word)
    found = _names().get(name) or _names().get(name.removesuffix("s"))
    if found or listing is None:
        return found or ()
    rows = [model for model in listing.models if name in (model.type, *model.generation_types)]
    return tuple(task for task in tasks() if any(does_task(model, task) for model in rows))


def known_tasks(argument: str, word: str, listing: Listing | None = None) -> tuple[str, ...]:
    """The kinds of work that `word` names. Raises `InvalidArgumentError` with all of them if it names none."""
    found = tasks_named(word, listing)
    if not found:
        raise InvalidArgumentError(
            argument,
            f"{word!r} is not one of image, video, music, speech, {', '.join(kinds_of_work())}.",
            next_step="A picture that is to be larger, mended or changed is image-to-image: it is drawn anew.",
        )
    return found


def does_task(model: Model, task: str) -> bool:
    """Whether the model does this kind of work at all."""
    operation = by_model(model)
    if model.website_only or operation is None or operation is not tasks().get(task):
        return False
    return task in model.generation_types if task in media.TASKS else not model.id.lower().startswith("suno-")


def doing(listing: Listing, argument: str, word: str, *, among: Listing | None = None) -> Listing:
    """The models of `listing` that `word` names: a type or generation type of the rows `among`, or a kind of work.

    Raises `InvalidArgumentError`: `word` is neither; the message lists what there is.
    """
    if not word.strip():
        return listing
    name = _spelled(word)
    if any(name in (model.type, *model.generation_types) for model in (among or listing).models):
        fits = [name in (model.type, *model.generation_types) for model in listing.models]
    else:
        named = known_tasks(argument, word)
        fits = [any(does_task(model, task) for task in named) for model in listing.models]
    return replace(listing, models=tuple(model for model, fit in zip(listing.models, fits, strict=True) if fit))


_RATIOS = ("1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3", "21:9", "9:21", "5:4", "4:5", "1:2", "2:1")
_SHAPES = {"vertical": "9:16", "square": "1:1", "widescreen": "16:9", "horizontal": "16:9", "wide": "16:9"}
# A portrait photo is of somebody, in whatever shape.
_HELD = {"portrait": "9:16", "landscape": "16:9"}
_COUNTING = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBERS = {word: number for number, word in enumerate(_COUNTING, start=1)} | {"dozen": 12}
_NUMBER = rf"\d{{1,3}}|{'|'.join(_NUMBERS)}"
_AMOUNT = rf"(?<![\d.,])\b(?P<amount>{_NUMBER})"
# 50s to 90s are decades; nothing here is that long.
_UNITS = {
    1: r"(?<![5-9]0(?=s\b))(?:[\s-]*(?:s|secs?|seconds?|secondes?|secondi|seg|segundos?|sek|sekunden?|сек\w*)\b|\s?秒)",
    60: r"(?:[\s-]*(?:min|mins|minutes?|minutos?|minuten?|минут\w*)\b|\s?分)",
    3600: r"(?:[\s-]*(?:h|hours?|stunden?|heures?|horas?)\b)",
}
_CREDITS = r"(?<![\d.,])(\d{1,6}(?:\.\d{1,2})?)[\s-]*(?:cr[eé]dit|kredit|кредит)\w*( (?:each|apiece|per|a piece)\b)?"
_PICTURES = "images|pictures|photos|bilder|fotos|imágenes"
_THINGS = (
    rf"(?:\w+ ){{0,2}}(?:{_PICTURES}|variants|variations|versions|options|videos|vídeos|clips|logos|icons|posters"
    r"|banners|stickers|thumbnails|wallpapers|illustrations|drawings|portraits|scenes|shots|ads|songs|jingles|varianten|canciones"
    r"|lieder|results)\b"
)
_COUNTS = rf"(?:(?P<before>\w+) )?\b(?P<amount>{_NUMBER}) (?!s\b|sec|credit)(?P<things>{_THINGS})"
# Numbered things after one of these words are what the user has, not what is to be made.
_OWN = ("these", "those", "my", "our", "the", "both", "from", "using", "combine", "merge", "blend", "between")
_SILENT = r"\bsilent\b|\b(?:no|without(?: any)?|ohne|sin|sans) (?:sound|audio|ton|sonido|son)\b|\bmuted?\b"
_HEARD = r"\b(?:with|mit|con|avec(?: du)?) (?:sound|audio|ton|sonido|son)\b(?! (?:of|effects?)\b)"
_FILE = r"(?:https?://)?[\w~./\\%-]*\w\.(?P<ending>[a-z0-9]{2,4})\b"
_SAID: dict[InputKind, str] = {"image": "picture", "video": "clip", "audio": "recording"}
_IN_ALL = r"¤ (?:in all|in total|all in all|altogether|together|overall|total|insgesamt|en total|au total)\b"
_ONE_FILM = (
    r"\b(?:connected|joined|as one|(?:in)?to one|in one (?:file|film|video|clip)|one (?:connected|single) \w+)\b"
)
_LANGUAGES = {
    "en": "english|englisch|inglés|anglais",
    "de": "german|deutsch|allemand|alemán",
    "zh_cn": "chinese|mandarin",
    "fr": "french|französisch|français|francés",
    "es_419": "latin american spanish",
    "ja": "japanese|japanisch",
    "es": "spanish|spanisch|español|espagnol",
    "it": "italian|italienisch|italiano|italien",
    "ko": "korean",
    "pt_br": "brazilian(?: portuguese)?",
    "pt": "portuguese|portugiesisch|português",
    "ru": "russian|russisch",
    "th": "thai",
    "ar": "arabic|arabisch",
    "tr": "turkish|türkisch",
    "vi": "vietnamese",
    "id": "indonesian",
    "pl": "polish|polnisch",
    "nl": "dutch",
    "sv": "swedish",
    "da": "danish",
    "no": "norwegian",
    "fi": "finnish",
    "cs": "czech",
    "uk": "ukrainian",
    "hi": "hindi",
    "el": "greek",
    "he": "hebrew",
    "hu": "hungarian",
}
# What a recording is in already: "my English talk", "from English", "aus dem Englischen".
_SPOKEN_NOW = r"\b(?:my|our|this|the|an?|from|original|mein\w*|unser\w*|aus dem|du|del) $"
_TARGET = r"(?= ?(?:[^\w ]|$)| (?:and|und|y|et|e|or|for|with|dub\w*|versions?|¤)(?: |$))"


@dataclass(frozen=True)
class Intent:
    """What was understood.

    Attributes:
        tasks: The kinds of work that can be meant, where the words leave no doubt; else empty.
        files: Kinds of the files that are named with their endings.
        own_pictures: How many pictures of the user are spoken of by number.
        seconds: Length of what is to be made. max_credits: budget for everything. count: how many results.
        languages: Codes of the languages that something is to be put into.
        likely: Where the words leave doubt, the kinds of work that they speak of, in their order.
        mends: Whether a clip of the user is to be changed in place, which nothing here does.
        in_all: Whether `seconds` is the length of everything together. joined: whether all is to be one film.
        unread: Numbers that were taken for none of these.
    """

    tasks: tuple[str, ...] = ()
    files: tuple[InputKind, ...] = ()
    own_pictures: int = 0
    ratio: str | None = None
    seconds: int | None = None
    sound: bool | None = None
    resolution: str | None = None
    max_credits: float | None = None
    count: int = 1
    languages: tuple[str, ...] = ()
    likely: tuple[str, ...] = ()
    mends: bool = False
    in_all: bool = False
    joined: bool = False
    unread: tuple[str, ...] = ()


class _Sentence:
    """A sentence that is read piece by piece; what has been read is no longer there."""

    def __init__(self, text: str) -> None:
        self.words = " ".join(text.lower().split())

    def take(self, pattern: str) -> re.Match[str] | None:
        found = re.search(pattern, self.words)
        if found:
            self.words = " ".join(f"{self.words[: found.start()]} ¤ {self.words[found.end() :]}".split())
        return found


def read_intent(text: str) -> Intent:
    """What `text` says beyond doubt."""
    sentence = _Sentence(text)
    whole = sentence.words
    files = _files(sentence)
    ratio = _ratio(sentence)
    resolution = sentence.take(r"\b(1080p|720p|480p|4k|2k)\b")
    budget = sentence.take(_CREDITS)
    seconds = _seconds(sentence)
    in_all = bool(seconds and sentence.take(_IN_ALL))
    silent, heard = sentence.take(_SILENT), sentence.take(_HEARD)
    left = sentence.words
    count, own = _counts(sentence)
    return Intent(
        tasks=_job(left) if files else _job(left) or _new_thing(left),
        files=files,
        own_pictures=own,
        ratio=ratio,
        seconds=seconds,
        sound=False if silent else True if heard else None,
        resolution=resolution.group(1) if resolution else None,
        max_credits=float(budget.group(1)) * (count if budget.group(2) else 1) if budget else None,
        count=count,
        languages=_languages(whole),
        likely=tuple(name for name, pattern in _SPEAKS_OF.items() if re.search(pattern, left)),
        mends=bool(re.match(_MENDS, left)) and not re.search(_NOT_MENDED, whole),
        in_all=in_all,
        joined=in_all or bool(re.search(_ONE_FILM, whole)),
        unread=tuple(re.findall(r"(?<![\w.,])\d+(?:[.,:]\d+)*(?![\w])", sentence.words)),
    )


def _files(sentence: _Sentence) -> tuple[InputKind, ...]:
    kinds: list[InputKind] = []
    for found in list(re.finditer(_FILE, sentence.words)):
        if named := by_extension(found.group()):
            kinds.append(named.kind)
            sentence.words = sentence.words.replace(found.group(), f"my {_SAID[named.kind]}", 1)
    return tuple(kinds)


def _ratio(sentence: _Sentence) -> str | None:
    for pair in _RATIOS:
        width, height = pair.split(":")
        if sentence.take(rf"(?<!\d){width}\s?[:x]\s?{height}(?!\d)"):
            return pair
    made = (
        r"images?|pictures?|photos?|posters?|videos?|clips?|logos?|icons?|posts?|format|frame|reels?"
        r"|variants?|variations?|versions?|banners?"
    )
    for word, pair in _HELD.items():
        if re.search(rf"\b{word}[ -](?:format|orientation|mode)\b", sentence.words):
            return pair
    for word, pair in _SHAPES.items():
        # "a square picture" and "…, square" are shapes, "Times Square" is none.
        if re.search(
            rf"(?:^|[,;] ?|\bin |\ban? |\d |\b(?:{_NUMBER}|different) )(?:in )?{word}(?= (?:{made})\b| ?(?:[,.;!]|$))",
            sentence.words,
        ):
            return pair
    return None


def _seconds(sentence: _Sentence) -> int | None:
    for seconds, unit in _UNITS.items():
        if found := sentence.take(_AMOUNT + unit):
            return _amount(found["amount"]) * seconds or None
    return None


def _amount(text: str) -> int:
    return int(text) if text.isdecimal() else _NUMBERS[text]


def _counts(sentence: _Sentence) -> tuple[int, int]:
    """How many results are wanted, and how many pictures of the user go in."""
    wanted, own = 1, 0
    while found := sentence.take(_COUNTS):
        amount = _amount(found["amount"])
        if found["before"] in _OWN:
            own = own or (amount if re.search(_PICTURES, found["things"]) else 0)
        elif wanted == 1:
            wanted = max(1, amount)
    return wanted, own


def _languages(words: str) -> tuple[str, ...]:
    """In the order in which they are named; without those that something is in already."""
    places: dict[str, int] = {}
    taken = words
    for code, names in _LANGUAGES.items():
        for found in re.finditer(rf"\b(?:{names})(?:e[mnrs]?)?\b", taken):
            if re.match(_TARGET, taken[found.end() :]) and not re.search(_SPOKEN_NOW, taken[: found.start()]):
                places.setdefault(code, found.start())
            taken = taken[: found.start()] + "¤" * (found.end() - found.start()) + taken[found.end() :]
    return tuple(sorted(places, key=lambda code: places[code]))


# What a sentence begins with that asks for one new thing, and the words that make it doubtful again.
_ASKING = (
    r"(?:(?:please|can you|could you|i need|i want|i'd like|i would like|we need|make|create|generate|design|draw|paint"
    r"|produce|give me)(?: me| us)? )+"
)
_RESULTS = {
    "image": r"images?|pictures?|photos?|photographs?|posters?|logos?|illustrations?|icons?|wallpapers?|thumbnails?"
    r"|paintings?|drawings?|portraits?|infographics?|headshots?|banners?|stickers?",
    "video": r"videos?|clips?|animations?|movies?",
    "music": r"songs?|jingles?|ballads?|lullab(?:y|ies)|melod(?:y|ies)|instrumentals?|music|soundtracks?",
    "speech": r"voice-?overs?|narrations?",
    "sound": r"sound effects?|sfx",
}
_ANY_RESULT = "|".join(_RESULTS.values())
_FILM = r"films?|explainers?|trailers?|reels?"
"""A result where one is asked for; elsewhere what a picture may be about."""
_ASKED = rf"{_ANY_RESULT}|{_FILM}"
_ARTICLE = rf"(?P<article>(?:an?|some|several|{_NUMBER}|¤) )"
_HEAD = (
    rf"(?P<asked>{_ASKING})?"
    rf"(?:(?:{_NUMBER}|some|several) (?:[a-z]+ ){{0,2}}(?:variants|variations|versions|ideas) of )?"
    rf"{_ARTICLE}?(?P<kind>(?:[a-z0-9'¤-]+ ){{0,4}}?)"
    rf"(?P<result>{_ASKED})(?= (?:of|for|about|showing|with|in|at|on)\b| ?[,.;:!?¤]|$)"
)
_DOUBT = (
    r"\b(?:caption|subtitl|dub(?:s|bed|bing)?\b|translat|animat|remov|eras|delet|replac|swap|chang|edit|retouch|restor|colori"
    r"|recolo|upscal|enlarg|sharpen|enhanc|crop|trim|cut(?:s|ting)?\b|shorten|extend|loop|speed|slow|convert|turn|transform"
    r"|combin|merg|blend|join|stems?\b|vocal|karaoke|separat|isolat|extract|split|background|transparent|watermark|voice"
    r"|speech|speak|talk|sing(?:s|ing)?\b|narrat|lips?\b|sound|noise|audio|attach|upload|record|reference|transcri|then\b"
    r"|also\b|this\b|these\b|mine\b|from\b|into\b"
    r"|(?<!for )(?<!about )(?:my|our)\b|me\b|us\b|that (?:\w+s|can|will)\b)"
)
_MOVES = r"\b(?:mov(?:es?|ing)\b|spin|rotat|motion|zoom)"
_HIS = r"(?:my|the|this|our)"
_POLITE = r"(?:(?:please|can you|could you|i want you to) )*"
_END = r"(?=[ ,.;:!?]|$)"
_OWN_CLIP = rf"{_HIS} (?:\w+ )?(?:videos?|clips?|talks?|films?|movies?|footage|reels?){_END}"
_OWN_PICTURE = rf"(?:{_HIS}|these) (?:\w+ ){{0,2}}(?:photos?|pictures?|images?|portraits?|selfies?|headshots?){_END}"
_OWN_SONG = rf"{_HIS} (?:\w+ )?(?:songs?|tracks?|recordings?){_END}"
_JOBS = {
    "captions": rf"(?:(?:add|burn|put|write) )?(?:captions?|subtitles?) (?:to|into|in|on|onto|for) {_OWN_CLIP}"
    rf"|(?:caption|subtitle) {_OWN_CLIP}",
    "dubbing": rf"(?:dub|translate) {_OWN_CLIP} (?:in)?to",
    "separation": rf"(?:split|separate) {_OWN_SONG} into (?:stems|(?:the )?vocals and (?:instrumental|accompaniment))"
    rf"|(?:remove|take) the vocals? (?:from|out of) {_OWN_SONG}"
    rf"|(?:an? |the )?(?:instrumental|karaoke)(?: version)? of {_OWN_SONG}",
    "remove-background": rf"(?:remove|erase|cut away) the background (?:from|of|in) {_OWN_PICTURE}",
    TRIM: rf"(?:trim|shorten) {_OWN_CLIP}(?: to)?",
    "image-to-image": rf"(?:upscale|enlarge|restore|retouch|colou?ri[sz]e|sharpen|brighten|enhance) {_OWN_PICTURE}",
    "image-to-video": rf"animate (?:{_OWN_PICTURE}|{_HIS} (?:\w+ )?drawing)(?: of (?:\w+ ){{0,2}}\w+)?"
    rf"|(?:[^:]*: )?(?:an? |one )?(?:\w+ )?(?:clip|video|animation) (?:of (?:[\w']+ ){{1,6}}?)?(?:in|from|out of) "
    rf"{_OWN_PICTURE}(?: (?:turning|moving|spinning|rotating|waving|walking|dancing|smiling))?",
    "text-to-dialogue": rf"read {_HIS} (?:\w+ )?(?:text|script|poem|letter|story) (?:aloud|out loud)",
}
_FILLER = ("and", "please", "in", "at", "for", "to", "here", *_SHAPES)
# A thing that is named, and behind it, after a comma, what it is to be: "a red fox in snow, one picture".
_TAIL = (
    rf"(?P<body>[^:;]+?)(?: ?[,;:]| -| –| as) {_ARTICLE}(?P<kind>(?:[a-z0-9'¤-]+ ){{0,2}}?)(?P<result>{_ASKED})"
    rf"(?P<end>(?:[ ,.;!¤]|\b(?:{'|'.join(_FILLER)})\b)*)$"
)
_ORDERS = (
    rf"{_POLITE}(?:make|let|put|add|give|take|fill|set|get|do|use|apply|place|keep|colou?r|mix|show) (?!an? |some )"
)


def _job(left: str) -> tuple[str, ...]:
    """The work on a thing of the user that a whole sentence names, nothing beside it."""
    for task, pattern in _JOBS.items():
        if found := re.match(rf"{_POLITE}(?:{pattern})", left):
            rest = re.sub(rf"\b(?:{'|'.join(_LANGUAGES.values())})\b", " ", left[found.end() :])
            words = re.findall(r"\w+", rest)
            return (task,) if all(word in _FILLER for word in words) else ()
    return ()


def _new_thing(left: str) -> tuple[str, ...]:
    """The kinds of work of a sentence that can only mean one new thing; `left` is without numbers and settings."""
    found = re.match(_HEAD, left)
    if not found:
        return _named_behind(left)
    kind, result = found["kind"], found["result"]
    said = bool(found["article"]) or (bool(found["asked"]) and result.endswith(("s", "music")))
    if not said and not left[found.end() :].startswith((" of ", " for " if result == "music" else " of ")):
        return _named_behind(left)
    if re.search(rf"'|\b(?:the|{_HIS}|his|her|their)\b|(?:ing|(?<!\bconnect)(?<!\bjoin)ed)\b", kind):
        return _named_behind(left)
    return _undoubted(result, f"{kind}\n{left[found.end() :]}")


def _named_behind(left: str) -> tuple[str, ...]:
    found = re.match(_TAIL, left)
    if not found or re.match(_ORDERS, found["body"]) or re.search(r"'|(?:ing|ed)\b", found["kind"]):
        return ()
    return _undoubted(found["result"], f"{found['kind']}\n{found['body']}")


def _undoubted(result: str, others: str) -> tuple[str, ...]:
    """What makes `result`, unless the other words cast doubt on it; before the line end, its own kind does not."""
    name = next((name for name, pattern in _RESULTS.items() if re.fullmatch(pattern, result)), "video")
    kind, rest = others.split("\n", 1)
    if name == "video":
        rest = re.sub(rf"^ of (?:{_NUMBER}) (?:clips|scenes|shots|parts)\b(?: \([^)]*\))?", "", rest)
        # Written into a clip that is described, not into one that is there.
        rest = re.sub(r"^( (?:of|about) .*?)[, ]*with (?:captions|subtitles)(?: burne?[dt][ -]in)?\b", r"\1", rest)
    doubt = rf"{_DOUBT}|\b(?:{_ANY_RESULT})\b" + (rf"|{_MOVES}" if name == "image" else "")
    return () if re.search(doubt, f"{re.sub(_RESULTS[name], ' ', kind)} {rest}") else tasks_named(name)


# An order to change a clip of the user in place. What these words are about is done by tools, all the same.
_MENDS = (
    rf"{_POLITE}(?:remove|erase|delete|get rid of|take (?:out|away)|paint out|replace|swap|change|upscale"
    rf"|enlarge|sharpen|stabili[sz]e|colou?ri[sz]e|restore|retouch|enhance|slow down|speed up|reverse|crop|rotate"
    rf"|blur|brighten)\b.*?\b{_OWN_CLIP}"
)
_NOT_MENDED = (
    r"\b(?:vocals?|voices?|music|instrumental|speech|speakers?|language|captions?|subtitles?|sounds?|audio|noise|seconds?"
    r"|beginning|end(?:ing)?|start|intro|outro|part|length|pauses?)\b"
)
# What a sentence speaks of. It decides nothing: it only makes the list shorter from which the caller chooses.
_SPEAKS_OF = {
    "captions": r"\b(?:caption|subtitl|untertitel|subt[ií]tul|sous-titr)",
    "dubbing": r"\b(?:dub(?:s|bed|bing|be)?\b|translat|languages?|übersetz|tradu[cicz]|synchronis)",
    "separation": r"\b(?:stems?\b|vocal|karaoke|separat|isolat|split)",
    "remove-background": r"\b(?:background|hintergrund|fondo|cut-? ?out|transparent)",
    TRIM: r"\b(?:trim|shorten|cut(?:s|ting)?\b|kürz|recort)",
    "video": rf"\b(?:{_RESULTS['video']}|{_FILM}|v[ií]deos?|anim[ae]|spin|rotat|mov(?:es?|ing)\b|фильм|видео)",
    "image": rf"\b(?:{_RESULTS['image']}|fotos?|bild|im[aá]gen|upscal|enlarg|colou?ri|restor|retouch|redraw|bright"
    r"|sharpen|background)|фото|写真|картин",
    "speech": r"\b(?:voice|speech|speak|speaker|aloud|narrat|podcast|stimme|voz\b|voix)",
    "music": rf"\b(?:{_RESULTS['music']}|opening|intro|theme|beats?|lied|musik|canci[oó]n|musique)\b",
    "sound": r"\b(?:sounds?|noises?|thunder|rain|wind|effects?|ambience|geräusch|ruido)\b",
    "ad-copy": r"\b(?:ads?|advert\w*|anzeige|anuncio)\b",
}


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
