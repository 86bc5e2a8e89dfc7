"""What a sentence says beyond doubt, and what it leaves open."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.planning.intent import doing, kinds_of_work, known_tasks, read_intent, tasks_named

if TYPE_CHECKING:
    from kubeez_mcp_local.catalogue.listing import Listing

IMAGE, VIDEO = ("text-to-image", "image-to-image"), ("text-to-video", "image-to-video")


@pytest.mark.parametrize(
    ("sentence", "tasks"),
    [
        ("a hero image for our coffee landing page", IMAGE),
        ("Create 3 logos for a bakery", IMAGE),
        ("Photo of a lighthouse", IMAGE),
        ("a picture of a film director", IMAGE),
        ("a 90 second video", VIDEO),
        ("Please make a short vertical clip of a cute cat in Dubai, 8 s", VIDEO),
        ("an instrumental song for a wedding, 30 seconds", ("text-to-music",)),
        ("music for a meditation app", ("text-to-music",)),
        ("a voice-over in a warm tone for my ad", ("text-to-dialogue",)),
        ("sound effect of a door slamming", ("sound",)),
        ("burn subtitles into my clip", ("captions",)),
        ("dub this video into German and French", ("dubbing",)),
        ("split this song into vocals and instrumental", ("separation",)),
        ("remove the background from my product photos", ("remove-background",)),
        ("animate this photo of my dog, 8 seconds, vertical", ("image-to-video",)),
        ("trim my video to ten seconds", ("trim",)),
        ("a red fox in snow, one picture", IMAGE),
        ("a fox in snow as a picture in 16:9", IMAGE),
        ("the sea at night, a clip, 16:9", VIDEO),
        ("a poster", IMAGE),
        ("Three different square variants of a poster for a jazz night; I want to see them side by side", IMAGE),
        ("Upscale my portrait picture to 4K", ("image-to-image",)),
        ("upscale face.png to 4k", ("image-to-image",)),
        ("restore this old photo", ("image-to-image",)),
        ("Make the product spin slowly: a clip of the mug in my photo turning", ("image-to-video",)),
        ("a 30 s explainer video about composting, with captions burned in", VIDEO),
        ("a connected film of two clips (a seed, then a flower), 10 seconds in all", VIDEO),
        ("add captions to talk.mp4", ("captions",)),
        ("caption my talk", ("captions",)),
        ("dub talk.mp4 into German", ("dubbing",)),
        ("a karaoke version of my song", ("separation",)),
        ("read this poem aloud", ("text-to-dialogue",)),
    ],
)
def test_unmistakable_words_decide(sentence: str, tasks: tuple[str, ...]) -> None:
    assert read_intent(sentence).tasks == tasks


@pytest.mark.parametrize(
    "sentence",
    [
        "make the product spin slowly, I have a photo",
        "podcast opening, instrumental",
        "colorize grandma's wedding picture",
        "remove the watermark from my clip",
        "30 second explainer with captions burned in",
        "thunder and rain for the background of talk.mp4",
        "upscale to 4k",
        "remove the background from my photo and put it on a beach",
        "a video of the sea, dubbed into German",
        "an animated logo",
        "a logo that spins",
        "a music video for my song",
        "a picture of me as an astronaut",
        "a portrait from this selfie",
        "make a picture brighter",
        "make the sky pink, one picture",
        "a logo that spins, one picture",
        "my dog as an astronaut, one picture",
        "a woman reading, a picture of her cat",
        "upscale my clip",
        "upscale song.mp3",
        "add captions to song.mp3",
        "add captions to talk.mp4 and translate it",
        "a poster for my trailer.mp4",
        "a video with captions",
        "a clip of my photo in the rain",
        "image to svg",
        "add captions to my clip and translate it",
        "a photo of grandma, restored",
        "a song with my own voice",
        "a picture with the background removed",
        "a clip for talk.mp4",
        "a video of the sea and then a song",
        "video in Zeitlupe umwandeln",
        "Untertitel für mein Video",
        "un vídeo de un perro, 12 segundos",
        "anime cette photo",
        "foto von einem leuchtturm",
        "сделай видео из фото",
        "この写真を動かして",
        "tee unter palmen",
    ],
)
def test_in_doubt_nothing_is_decided(sentence: str) -> None:
    assert read_intent(sentence).tasks == ()


@pytest.mark.parametrize(
    ("sentence", "read"),
    [
        ("a clip, 16:9, 10 s, with sound, under 100 credits", {"ratio": "16:9", "seconds": 10, "sound": True}),
        ("a clip under 99.5 credits", {"max_credits": 99.5}),
        ("three pictures, 5 credits each", {"count": 3, "max_credits": 15}),
        ("5 Bilder von Katzen unter 40 Credits", {"count": 5, "max_credits": 40}),
        ("un vídeo de un perro, 12 segundos, sin sonido", {"seconds": 12, "sound": False}),
        ("動画 8秒", {"seconds": 8}),
        ("two minutes", {"seconds": 120}),
        ("a picture in square format", {"ratio": "1:1"}),
        ("a video about Times Square", {"ratio": None}),
        ("a vertical clip", {"ratio": "9:16"}),
        ("a fox in snow, wide format", {"ratio": "16:9"}),
        ("three different square variants of a poster", {"ratio": "1:1", "count": 3}),
        ("a picture of my aunt in portrait format", {"ratio": "9:16"}),
        ("a portrait photo of my aunt", {"ratio": None}),
        ("a landscape picture of eyes wide open", {"ratio": None}),
        ("a clock that shows 10:47", {"ratio": None, "unread": ("10:47",)}),
        ("an 80s party", {"seconds": None}),
        ("a poster for 2027", {"count": 1, "unread": ("2027",)}),
        ("combine these two pictures", {"count": 1, "own_pictures": 2}),
        ("a 10 second video", {"count": 1}),
        ("rain under /tmp/talk 2.mp4 and song.mp3", {"files": ("video", "audio"), "unread": ()}),
        ("a sea with the sound of gulls", {"sound": None}),
    ],
)
def test_numbers_are_read_in_any_kind_of_wish(sentence: str, read: dict[str, object]) -> None:
    intent = read_intent(sentence)
    assert {name: getattr(intent, name) for name in read} == read


@pytest.mark.parametrize(
    ("sentence", "languages"),
    [
        ("dub into German and French", ("de", "fr")),
        ("dub my English talk into Brazilian Portuguese", ("pt_br",)),
        ("from English to Polish", ("pl",)),
        ("dubbe meinen englischen Talk auf Deutsch und Französisch", ("de", "fr")),
        ("traduce mi vídeo al francés y alemán", ("fr", "de")),
        ("a German shepherd", ()),
        ("polish the text", ()),
    ],
)
def test_languages_are_those_that_something_is_put_into(sentence: str, languages: tuple[str, ...]) -> None:
    assert read_intent(sentence).languages == languages


@pytest.mark.parametrize(
    ("word", "tasks"),
    [
        *((task, (task,)) for task in kinds_of_work()),
        ("image", IMAGE),
        ("Videos", VIDEO),
        ("image_to_video", ("image-to-video",)),
        ("captions", ("captions",)),
        ("subtitles", ("captions",)),
        ("generate_dubbing", ("dubbing",)),
        ("dialogue", ("text-to-dialogue",)),
        ("speech", ("text-to-dialogue",)),
        ("remove background", ("remove-background",)),
        ("trim_video", ("trim",)),
        ("hologram", ()),
    ],
)
def test_one_vocabulary(word: str, tasks: tuple[str, ...]) -> None:
    assert tasks_named(word) == tasks


def test_a_word_of_the_catalogue_is_a_name_too(full: Listing) -> None:
    assert tasks_named("video-to-sound", full) == ("sound",)
    assert set(tasks_named("video-to-video", full)) == {"sound", "dubbing"}
    with pytest.raises(InvalidArgumentError, match=r"^task: 'hologram' is not one of image, video") as refused:
        known_tasks("task", "hologram", full)
    assert "image-to-image: it is drawn anew" in str(refused.value)


@pytest.mark.parametrize("argument", ["model_type", "generation_type"])
@pytest.mark.parametrize(
    ("word", "first"),
    [("captions", "auto-caption"), ("text_to_dialogue", "text-to-dialogue-v3"), ("speech", "text-to-dialogue-v3")],
)
def test_rows_are_found_by_every_word(full: Listing, argument: str, word: str, first: str) -> None:
    assert doing(full, argument, word).models[0].id == first


def test_rows_are_found_by_their_own_words_first(full: Listing) -> None:
    assert {model.type for model in doing(full, "model_type", "image").models} == {"image"}
    assert all(
        "image-to-video" in model.generation_types for model in doing(full, "model_type", "image-to-video").models
    )
    assert doing(full, "model_type", "").models == full.models
    with pytest.raises(InvalidArgumentError, match="model_type"):
        doing(full, "model_type", "hologram")


@pytest.mark.parametrize("word", ["remove ", "make my x ", "cut a a ", "5 a a ", "a.b", "in de ", "my 2 photos "])
def test_a_long_sentence_is_read_in_no_time(word: str) -> None:
    assert read_intent((word * 4000)[:4000]).count >= 1
