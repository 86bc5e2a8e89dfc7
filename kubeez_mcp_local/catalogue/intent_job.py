"""What kind of work a free-text intent asks for. Keywords only; no model is asked."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class FileJob:
    """A job on one file: how it is asked for, and the kinds of file it works on (none listed: any)."""

    name: str
    pattern: str
    kinds: tuple[str, ...] = ()


# The first that fits decides, so the narrow jobs stand before the broad ones.
_FILE_JOBS: tuple[FileJob, ...] = (
    FileJob("dubbing", r"\bdub(?:bed|bing|s)?\b|\btranslat\w* (?:\w+ )*(?:video|clip|speech)", ("video", "speech")),
    FileJob("captions", r"\bcaption(?:s|ed|ing)?\b|\bsubtitl\w*|\bburn(?:ed)?[- ]in text", ("video",)),
    FileJob(
        "separation",
        r"\bstems?\b|\bacapp?ella\b|\bkaraoke\b"
        r"|\b(?:isolate|separate|split|remove|extract)\b.*\b(?:vocals?|voices?|song|instrumental|background music)\b",
        ("music", "speech", "video"),
    ),
    FileJob(
        "remove_background",
        r"\b(?:remov(?:e|es|ed|ing)|eras(?:e|ing)|delete|drop|cut(?:ting)? (?:out|off)) (?:\w+ ){0,4}"
        r"backgrounds?\b(?! (?:noise|music|sounds?|voices?))"
        r"|\bbackground[- ]?remov\w*|\bcut-?outs?\b|\btransparent png",
        ("image",),
    ),
    FileJob(
        "ad_copy",
        r"\bad[- ]?copy\b|\bcop(?:y|ies) (?:this|that|the|an?) ad\b|\breference ads?\b|\bads? like th\w+\b"
        r"|\b(?:like|after|from|(?:style|manner) of) (?:[\w']+ ){1,3}ad(?:s|vert\w*)?\b",
    ),
    FileJob("sound", r"\bsound[- ]?(?:effects?|fx|design)\b|\bsfx\b|\bfoley\b"),
    FileJob("trim", r"\b(?:trim|shorten|cut) (?:\w+ ){0,6}(?:video|clip)\b", ("video",)),
)
# The commonest words of other languages stand beside the English ones.
_MEDIA: tuple[tuple[str, str], ...] = (
    (
        "video",
        (
            r"\bv[ií]d[eé]os?\b|\bclips?\b|\banimat\w*|\bmovies?\b|\bfilms?\b|\breels?\b|\btiktoks?\b|\bfootage\b"
            r"|\bmotion\b|\bgifs?\b|\blip[- ]?sync\w*|\btalking (?:heads?|avatars?|photos?)\b|\bвидео|视频|動画|ビデオ"
        ),
    ),
    (
        "speech",
        (
            r"\bdialogues?\b|\bspeech\b|\bnarrat\w*|\bvoice[- ]?overs?\b|\bvoices?\b|\btts\b|\bmonologues?\b|\bspoken\b"
            r"|\baudiobooks?\b"
            r"|\bread (?:this|it|aloud|out)\b|\bread (?:\w+ ){1,3}aloud\b|\bpodcasts?\b|\bvoix\b|\bvoz\b|\bголос"
        ),
    ),
    (
        "music",
        (
            r"\bmusic\b|\bsongs?\b|\bjingles?\b|\bsoundtracks?\b|\bmelod\w*|\bbeats?\b|\btunes?\b|\binstrumentals?\b"
            r"|\bballads?\b|\banthems?\b|\blullab\w*|\brap\b|\bmusik\b|\bmusique\b|\bm[uú]sica\b|\bcanci[oó]n\b|\bchanson\b"
            r"|\bмузык|\bпесн|音乐|音楽"
        ),
    ),
    (
        "image",
        (
            r"\bimages?\b|\bpictures?\b|\bphoto(?:s|graphs?)?\b|\bpics?\b|\blogos?\b|\bposters?\b|\bicons?\b|\billustrat\w*"
            r"|\bthumbnails?\b|\bwallpapers?\b|\bportraits?\b|\bpaint(?:ings?)?\b|\bdraw(?:ings?)?\b|\bsketch(?:es)?\b"
            r"|\bartworks?\b|\bbanners?\b|\bcovers?\b|\bflyers?\b|\bstickers?\b|\bmock-?ups?\b|\brender(?:ing)?s?\b"
            r"|\binfographics?\b|\bheadshots?\b|\bmemes?\b|\bcartoons?\b|\bavatars?\b|\bhero shots?\b|\bupscal\w*"
            r"|\b(?:instagram|facebook|linkedin|social media) (?:posts?|stor(?:y|ies))\b"
            r"|\bbild(?:er)?\b|\bfotos?\b|\bimagen(?:es)?\b|\bimage[mn]s?\b|\bimmagin[ei]\b|\bкартинк|\bизображен|\bфото"
            r"|图片|照片|画像|写真|ロゴ"
        ),
    ),
    ("sound", r"\bsounds?\b|\bnoises?\b|\bambien(?:t|ce)\b"),
)
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
    """`image`, `video`, `music`, `speech`, `sound` or the name of a job on one file; `None` if nothing is named.

    Args:
        words: The intent in lower case.
    """
    asked = re.sub(_ALONGSIDE, " ", words)
    named = {name for name, pattern in _MEDIA if re.search(pattern, asked)}
    for job in _FILE_JOBS:
        if re.search(job.pattern, asked) and (not job.kinds or not named or named.intersection(job.kinds)):
            return job.name
    return "video" if re.search(_TO_VIDEO, asked) else _medium(asked)


def _medium(words: str) -> str | None:
    """The thing asked for is named first: "music for a video" is music, "a video with music" is a video.

    In a compound the last word says what it is: a music video is a video, a movie poster an image.
    """
    places = sorted(
        (found.start(), found.end(), name) for name, pattern in _MEDIA for found in re.finditer(pattern, words)
    )
    if not places:
        return None
    _, end, medium = places[0]
    for start, next_end, name in places[1:]:
        if start - end != 1:
            break
        end, medium = next_end, name
    return medium
