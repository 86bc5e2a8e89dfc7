"""Jobs on one file: the hosted server's limits, under its error names."""

from __future__ import annotations

from typing import Any

import pytest

from kubeez_mcp_local.catalogue.checks import verify_media_kind
from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.operations import background, captions, dubbing, separation
from kubeez_mcp_local.operations import sound as sounds
from kubeez_mcp_local.operations.sound import SoundRequest

MB = 1024 * 1024


def test_captions_that_can_be_made() -> None:
    assert captions.check(1800) == ("auto", None)
    assert captions.check(None, quality="BEST", language="de") == ("best", "de")


@pytest.mark.parametrize(
    ("fields", "argument"),
    [({"seconds": 1801}, "media_url"), ({"quality": "great"}, "quality"), ({"quality": "best"}, "language")],
)
def test_captions_that_cannot(fields: dict[str, Any], argument: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        captions.check(**{"seconds": 10, **fields})
    assert caught.value.argument == argument


def test_dubbing_languages_are_settled() -> None:
    assert dubbing.check(["DE", "pt-BR", "de"]) == ("de", "pt_br")
    assert dubbing.check(["sw"], "elevenlabs-dubbing", source_language="en", cloning_strength=10) == ("sw",)
    spelled = ["es-419", "de", "es_419", "DE "]
    assert dubbing.check(spelled) == ("es_419", "de")
    assert dubbing.check(spelled, "elevenlabs-dubbing") == ("es-419", "de")


@pytest.mark.parametrize(
    ("languages", "options", "argument"),
    [
        ([], {}, "languages"),
        ([" "], {}, "languages"),
        (["sw"], {}, "languages"),
        (["de"], {"model": "acme-dubbing"}, "model"),
        (["de"], {"source_language": "en"}, "source_language"),
        (["de"], {"cloning_strength": 7}, "cloning_strength"),
        (["de"], {"model": "elevenlabs-dubbing", "ducking": True}, "ducking"),
        (["es", "Spanish"], {"model": "elevenlabs-dubbing"}, "languages"),
        (["de"], {"model": "elevenlabs-dubbing", "cloning_strength": 11}, "cloning_strength"),
    ],
)
def test_dubbing_that_cannot_be_made(languages: list[str], options: dict[str, Any], argument: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        dubbing.check(languages, **options)
    assert caught.value.argument == argument


@pytest.mark.parametrize(
    ("kinds", "good", "bad"),
    [
        (captions.OPERATION.files["media_url"], ("video", None), "image"),
        (dubbing.OPERATION.files["video_url"], ("video", None), "audio"),
        (separation.OPERATION.files["media_url"], ("audio", "video", None), "image"),
    ],
)
def test_each_job_says_which_kinds_of_files_it_takes(kinds: tuple[str, ...], good: tuple[str, ...], bad: str) -> None:
    for kind in good:
        verify_media_kind("media_url", kind, kinds)
    with pytest.raises(InvalidArgumentError, match="needed"):
        verify_media_kind("media_url", bad, kinds)


@pytest.mark.parametrize(("mime", "size"), [("image/png", 5 * MB), ("image/webp", 1), (None, None)])
def test_backgrounds_that_can_be_removed(mime: str | None, size: int | None) -> None:
    background.check("image" if mime else None, mime, size)


@pytest.mark.parametrize(("mime", "size"), [("image/gif", 1), ("video/mp4", 1), ("image/png", 5 * MB + 1)])
def test_backgrounds_that_cannot(mime: str, size: int) -> None:
    with pytest.raises(InvalidArgumentError, match="image_url"):
        background.check(None, mime, size)


def test_a_url_that_ends_like_a_video_is_no_picture() -> None:
    with pytest.raises(InvalidArgumentError, match="is a video file; image is needed"):
        background.check("video", None, None)


@pytest.mark.parametrize(
    ("request_", "duration"),
    [
        (SoundRequest(prompt="a door"), 5),
        (SoundRequest("Sonilo-Text-To-Music", prompt="calm", duration=360), 360),
        (SoundRequest("sonilo-video-to-sfx"), None),
        (SoundRequest("sonilo-video-to-video-sound", sfx_prompt="rain"), None),
    ],
)
def test_sound_that_can_be_made(request_: SoundRequest, duration: int | None) -> None:
    onto_clip = "-video-to-" in request_.model
    settled = sounds.check(request_, has_video=onto_clip, video_seconds=360 if onto_clip else None)
    assert settled.duration == duration
    assert settled.model == request_.model.lower()


@pytest.mark.parametrize(
    ("request_", "has_video", "argument"),
    [
        (SoundRequest("acme"), False, "model"),
        (SoundRequest(), False, "prompt"),
        (SoundRequest(prompt="x" * 2001), False, "prompt"),
        (SoundRequest(prompt="x", duration=181), False, "duration"),
        (SoundRequest("sonilo-text-to-music", prompt="x", duration=4), False, "duration"),
        (SoundRequest(prompt="x"), True, "video_url"),
        (SoundRequest("sonilo-video-to-sfx", prompt="x"), False, "video_url"),
        (SoundRequest("sonilo-video-to-sound", prompt="x"), True, "prompt"),
        (SoundRequest(prompt="x", sfx_prompt="y"), False, "music_prompt"),
    ],
)
def test_sound_that_cannot(request_: SoundRequest, has_video: bool, argument: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        sounds.check(request_, has_video=has_video)
    assert caught.value.argument == argument


def test_a_long_clip_is_refused_for_sound() -> None:
    with pytest.raises(InvalidArgumentError, match="361 s"):
        sounds.check(SoundRequest("sonilo-video-to-sfx"), has_video=True, video_seconds=361)
