"""Jobs on one file: the hosted server's limits, under its error names."""

from __future__ import annotations

from typing import Any

import pytest

from kubeez_mcp_local.catalogue.clips import (
    DubbingRequest,
    check_captions,
    check_dubbing,
    check_remove_background,
    check_separation,
)
from kubeez_mcp_local.catalogue.sound import SoundRequest, check_sound
from kubeez_mcp_local.errors import InvalidArgumentError

MB = 1024 * 1024


def test_captions_that_can_be_made() -> None:
    assert check_captions(kind="video", seconds=1800) == ("auto", None)
    assert check_captions(kind=None, seconds=None, quality="BEST", language="de") == ("best", "de")


@pytest.mark.parametrize(
    ("fields", "argument"),
    [
        ({"kind": "image"}, "media_url"),
        ({"seconds": 1801}, "media_url"),
        ({"quality": "great"}, "quality"),
        ({"quality": "best"}, "language"),
    ],
)
def test_captions_that_cannot(fields: dict[str, Any], argument: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        check_captions(**{"kind": "video", "seconds": 10, **fields})
    assert caught.value.argument == argument


def test_dubbing_languages_are_settled() -> None:
    settled = check_dubbing(DubbingRequest(("DE", "pt-BR", "de")), kind="video", seconds=300)
    assert settled.languages == ("de", "pt_br")
    eleven = check_dubbing(DubbingRequest(("sw",), "elevenlabs-dubbing", source_language="en", cloning_strength=10))
    assert eleven.languages == ("sw",)


@pytest.mark.parametrize(
    ("request_", "seconds", "argument"),
    [
        (DubbingRequest(()), 10, "languages"),
        (DubbingRequest((" ",)), 10, "languages"),
        (DubbingRequest(("sw",)), 10, "languages"),
        (DubbingRequest(("de",), "acme-dubbing"), 10, "model"),
        (DubbingRequest(("de",)), 301, "video_url"),
        (DubbingRequest(("de",), source_language="en"), 10, "source_language"),
        (DubbingRequest(("de",), cloning_strength=7), 10, "cloning_strength"),
        (DubbingRequest(("de",), "elevenlabs-dubbing", ducking=True), 10, "ducking"),
        (DubbingRequest(("de",), "elevenlabs-dubbing", cloning_strength=11), 10, "cloning_strength"),
    ],
)
def test_dubbing_that_cannot_be_made(request_: DubbingRequest, seconds: float, argument: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        check_dubbing(request_, kind="video", seconds=seconds)
    assert caught.value.argument == argument


@pytest.mark.parametrize("kind", ["audio", "video", None])
def test_separation_takes_anything_with_sound(kind: str | None) -> None:
    check_separation(kind=kind)


def test_separation_takes_no_pictures() -> None:
    with pytest.raises(InvalidArgumentError, match="an image file"):
        check_separation(kind="image")


@pytest.mark.parametrize(("mime", "size"), [("image/png", 5 * MB), ("image/webp", 1), (None, None)])
def test_backgrounds_that_can_be_removed(mime: str | None, size: int | None) -> None:
    check_remove_background(kind="image" if mime else None, mime=mime, size=size)


@pytest.mark.parametrize(("mime", "size"), [("image/gif", 1), ("video/mp4", 1), ("image/png", 5 * MB + 1)])
def test_backgrounds_that_cannot(mime: str, size: int) -> None:
    with pytest.raises(InvalidArgumentError, match="image_url"):
        check_remove_background(kind=None, mime=mime, size=size)


def test_a_url_that_ends_like_a_video_is_no_picture() -> None:
    with pytest.raises(InvalidArgumentError, match="is a video file; image is needed"):
        check_remove_background(kind="video", mime=None, size=None)


@pytest.mark.parametrize(
    ("request_", "duration"),
    [
        (SoundRequest(prompt="a door"), 5),
        (SoundRequest("Sonilo-Text-To-Music", prompt="calm", duration=360), 360),
        (SoundRequest("sonilo-video-to-sfx", has_video=True), None),
        (SoundRequest("sonilo-video-to-video-sound", sfx_prompt="rain", has_video=True), None),
    ],
)
def test_sound_that_can_be_made(request_: SoundRequest, duration: int | None) -> None:
    settled = check_sound(request_, video_kind="video" if request_.has_video else None, video_seconds=360)
    assert settled.duration == duration
    assert settled.model == request_.model.lower()


@pytest.mark.parametrize(
    ("request_", "argument"),
    [
        (SoundRequest("acme"), "model"),
        (SoundRequest(), "prompt"),
        (SoundRequest(prompt="x" * 2001), "prompt"),
        (SoundRequest(prompt="x", duration=181), "duration"),
        (SoundRequest("sonilo-text-to-music", prompt="x", duration=4), "duration"),
        (SoundRequest(prompt="x", has_video=True), "video_url"),
        (SoundRequest("sonilo-video-to-sfx", prompt="x"), "video_url"),
        (SoundRequest("sonilo-video-to-sound", prompt="x", has_video=True), "prompt"),
        (SoundRequest(prompt="x", sfx_prompt="y"), "music_prompt"),
    ],
)
def test_sound_that_cannot(request_: SoundRequest, argument: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        check_sound(request_, video_kind="video")
    assert caught.value.argument == argument


def test_a_long_clip_is_refused_for_sound() -> None:
    with pytest.raises(InvalidArgumentError, match="361 s"):
        check_sound(SoundRequest("sonilo-video-to-sfx", has_video=True), video_kind="video", video_seconds=361)
