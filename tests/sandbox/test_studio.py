"""What the studio makes, without the API around it."""

from __future__ import annotations

import io
import math
import wave
from array import array
from typing import TYPE_CHECKING

import pytest
from PIL import Image, ImageStat

from kubeez_mcp_local.media.measure import measure_now
from kubeez_mcp_local.sandbox.books import Work
from kubeez_mcp_local.sandbox.catalogue import clip_size, picture_size, tier_of
from kubeez_mcp_local.sandbox.service import render
from kubeez_mcp_local.sandbox.studio import clips
from kubeez_mcp_local.sandbox.studio.clips import RATIOS

if TYPE_CHECKING:
    from pathlib import Path


def _picture(tmp_path: Path, **changes: object) -> Image.Image:
    fields = {"prompt": "A lighthouse", "seed": 3, "width": 512, "height": 288, **changes}
    target = tmp_path / "picture.png"
    render(Work("picture", "png", "nano-banana-2", **fields), [], target)  # type: ignore[arg-type]
    return Image.open(io.BytesIO(target.read_bytes()))


def test_a_picture_is_no_flat_area(tmp_path: Path) -> None:
    spread = ImageStat.Stat(_picture(tmp_path)).stddev
    assert all(channel > 15 for channel in spread)


def test_prompt_model_and_seed_are_on_the_picture(tmp_path: Path) -> None:
    plain = _picture(tmp_path)
    foot = (0, 200, 512, 288)
    other = _picture(tmp_path, label="Variant 2")
    assert plain.crop((0, 0, 512, 120)).tobytes() == other.crop((0, 0, 512, 120)).tobytes()
    assert plain.crop(foot).tobytes() != other.crop(foot).tobytes()


def test_the_mark_is_in_the_upper_right(tmp_path: Path) -> None:
    corner = _picture(tmp_path).convert("L").crop((400, 10, 500, 50))
    assert sum(corner.histogram()[230:]) > 30


@pytest.mark.parametrize(
    "prompt", ["", "日本語のプロンプト", "مرحبا", "🦊🦊🦊", "x" * 20_000, "a\nb\tc\0d", "\ud800"[:0]]
)
def test_any_prompt_can_be_drawn(tmp_path: Path, prompt: str) -> None:
    assert _picture(tmp_path, prompt=prompt).size == (512, 288)


@pytest.mark.parametrize(
    ("ratio", "size"), [("1:1", (1024, 1024)), ("21:9", (1024, 440)), ("auto", (1024, 1024)), ("1:100", (256, 1024))]
)
def test_picture_sizes(ratio: str, size: tuple[int, int]) -> None:
    assert picture_size(ratio) == size


def test_auto_follows_the_input() -> None:
    assert picture_size("auto", natural=(300, 150)) == (1024, 512)
    assert clip_size("auto", (150, 300)) == (320, 640)


@pytest.mark.parametrize(
    ("model", "resolution", "quality", "tier"),
    [
        ("nano-banana-2-4K", None, None, "4K"),
        ("gpt-image-2", "2k", None, "2K"),
        ("seedream-v4-5", None, "high", "4K"),
        ("5-lite-text-to-image", None, "basic", "2K"),
        ("z-image", "huge", None, "1K"),
    ],
)
def test_tiers(model: str, resolution: str | None, quality: str | None, tier: str) -> None:
    assert tier_of(model, resolution, quality) == tier


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("seconds", [2.0, 15.0])
def test_without_an_encoder_a_ready_clip_has_the_ratio_and_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ratio: str, seconds: float
) -> None:
    monkeypatch.setattr(clips, "find_spec", lambda name: None)
    width, height = clip_size(ratio)
    target = tmp_path / "clip.mp4"
    for sound in (True, False):
        render(Work("clip", "mp4", "any", "a", 1, "", width, height, seconds, sound=sound), [], target)
        found = measure_now(target)
        assert (found.has_sound, found.damage) == (sound, "")
    assert found.seconds == pytest.approx(seconds, abs=0.05)
    assert (found.width or 0) / (found.height or 1) == pytest.approx(width / height, rel=0.02)


def test_a_stretched_ready_clip_really_plays_that_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    av = pytest.importorskip("av")
    monkeypatch.setattr(clips, "find_spec", lambda name: None)
    target = tmp_path / "clip.mp4"
    render(Work("clip", "mp4", "any", "a", 1, "", 640, 360, 10.0), [], target)
    with av.open(str(target)) as clip:
        frames = [frame.time for frame in clip.decode(video=0)]
    assert len(frames) > 20
    assert frames[-1] == pytest.approx(10, abs=0.4)


def test_what_is_drawn_plainly_has_the_type_ratio_and_length_asked_for(tmp_path: Path) -> None:
    picture, clip, sound = (tmp_path / name for name in ("picture.png", "clip.mp4", "sound.wav"))
    render(Work("picture", "png", "any", "a", 1, width=1024, height=440), [], picture, plain=True)
    render(Work("clip", "mp4", "any", "a", 1, "", 640, 360, 7.0), [], clip, plain=True)
    render(Work("music", "wav", "any", "a", 1, seconds=9.0), [], sound, plain=True)
    with Image.open(picture) as drawn:
        assert (drawn.format, drawn.size) == ("PNG", (1024, 440))
        colours = drawn.convert("RGB").getcolors(100_000) or []
    assert max(count for count, _ in colours) > 0.9 * 1024 * 440
    assert any(colour == (255, 255, 255) for _, colour in colours), "the mark"
    found = measure_now(clip)
    assert found.seconds == pytest.approx(7, abs=0.05)
    assert (found.width or 0) / (found.height or 1) == pytest.approx(640 / 360, rel=0.02)
    assert measure_now(sound).seconds == pytest.approx(9, abs=0.01)


@pytest.mark.parametrize("kind", ["music", "speech", "effect", "vocals", "instrumental"])
def test_sounds_can_be_heard_and_are_as_long_as_asked(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "sound.wav"
    render(Work(kind, "wav", "any", "Hello there, world.\nAnd you?", 4, "Rachel\nDrew", seconds=2.5), [], target)  # type: ignore[arg-type]
    with wave.open(str(target), "rb") as sound:
        seconds = sound.getnframes() / sound.getframerate()
        samples = array("h", sound.readframes(sound.getnframes()))
    assert seconds == pytest.approx(2.5, abs=0.01)
    assert math.sqrt(sum(sample * sample for sample in samples) / len(samples)) > 300


def test_the_same_work_makes_the_same_clip(tmp_path: Path) -> None:
    pytest.importorskip("av")
    work = Work("clip", "mp4", "any", "a ship", 5, "", 320, 180, 1.0, sound=True)
    for name in ("one.mp4", "two.mp4"):
        render(work, [], tmp_path / name)
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()
