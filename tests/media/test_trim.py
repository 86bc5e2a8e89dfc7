from __future__ import annotations

import importlib
from importlib import import_module
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from kubeez_mcp_local.media import trim as trimming
from kubeez_mcp_local.media.trim import (
    Trimmed,
    check_range,
    trim,
)
from kubeez_mcp_local.media.video import NotInstalledError
from tests.refusals import refused

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.media.conftest import MakeVideo

pytestmark = pytest.mark.anyio


def frame_numbers(path: Path) -> list[int]:
    """Which frames of the sample film these are, read from their grey level."""
    av: Any = import_module("av")
    with av.open(str(path)) as container:
        greys = [frame.to_image().convert("L").getpixel((80, 50)) for frame in container.decode(video=0)]
    return [round((grey - 20) / 4) for grey in greys]


def lengths(path: Path) -> tuple[float, float | None]:
    """Seconds of picture and of sound."""
    av: Any = import_module("av")
    with av.open(str(path)) as container:
        picture = container.streams.video[0]
        sound = container.streams.audio[0] if container.streams.audio else None
        return float(picture.duration * picture.time_base), sound and float(sound.duration * sound.time_base)


@pytest.mark.parametrize(
    ("start_s", "end_s", "first", "last"),
    [(0.0, 1.0, 0, 24), (0.6, 1.4, 15, 34), (1.02, 1.98, 26, 49), (0.5, 0.55, 13, 13)],
)
async def test_the_cut_is_exact_to_the_frame_wherever_key_frames_are(
    make_video: MakeVideo, tmp_path: Path, start_s: float, end_s: float, first: int, last: int
) -> None:
    source = make_video(tmp_path / "a.mp4", seconds=2.0)
    result = await trim(source, tmp_path / "cut.mp4", start_s, end_s)
    numbers = frame_numbers(result.path)
    assert numbers == list(range(first, last + 1))
    assert result.duration_s == pytest.approx(len(numbers) / 25, abs=0.001)
    assert result.size_bytes == (tmp_path / "cut.mp4").stat().st_size


async def test_picture_and_sound_end_together(make_video: MakeVideo, tmp_path: Path) -> None:
    await trim(make_video(tmp_path / "a.mp4", seconds=2.0), tmp_path / "cut.mp4", 0.4, 1.6)
    picture, sound = lengths(tmp_path / "cut.mp4")
    assert picture == pytest.approx(1.2, abs=0.04)
    assert sound == pytest.approx(1.2, abs=0.04)


def beginnings(path: Path) -> tuple[float, float]:
    """When the picture begins, and when there is something to hear, in seconds."""
    av: Any = import_module("av")
    with av.open(str(path)) as container:
        picture = next(container.decode(video=0))
    with av.open(str(path)) as container:
        frames = container.decode(audio=0)
        loud = next(frame for frame in frames if max(memoryview(bytes(frame.planes[0])).cast("f")) > 0.1)
    return float(picture.pts * picture.time_base), float(loud.pts * loud.time_base)


async def test_sound_that_begins_later_begins_later_in_the_cut(make_video: MakeVideo, tmp_path: Path) -> None:
    await trim(make_video(tmp_path / "a.mkv", sound_from=1.0), tmp_path / "cut.mp4", 0.4, 1.8)
    seen, heard = beginnings(tmp_path / "cut.mp4")
    assert seen == 0
    assert heard == pytest.approx(0.6, abs=0.06)


async def test_a_picture_that_begins_later_begins_later_in_the_cut(make_video: MakeVideo, tmp_path: Path) -> None:
    result = await trim(make_video(tmp_path / "a.mkv", picture_from=1.0), tmp_path / "cut.mp4", 0.4, 1.8)
    assert beginnings(result.path)[0] == pytest.approx(0.6, abs=0.001)
    assert result.end_s == pytest.approx(1.8, abs=0.001)


@pytest.mark.parametrize("name", ["a.mov", "a.mkv"])
async def test_other_containers_and_films_without_sound(make_video: MakeVideo, tmp_path: Path, name: str) -> None:
    await trim(make_video(tmp_path / name, seconds=1.0, sound=False), tmp_path / "cut.mp4", 0.2, 0.8)
    assert len(frame_numbers(tmp_path / "cut.mp4")) == 15
    assert lengths(tmp_path / "cut.mp4")[1] is None


async def test_turned_footage_comes_out_upright(make_video: MakeVideo, tmp_path: Path) -> None:
    await trim(make_video(tmp_path / "a.mp4", seconds=0.4, turn=90), tmp_path / "cut.mp4", 0, 0.4)
    av: Any = import_module("av")
    with av.open(str(tmp_path / "cut.mp4")) as container:
        frame = next(container.decode(video=0))
        red, green, _ = frame.to_image().getpixel((2, 157))
        assert (frame.width, frame.height, frame.rotation) == (90, 160, 0)
        assert red > green + 100


async def test_a_window_beyond_the_end_stops_at_the_end(make_video: MakeVideo, tmp_path: Path) -> None:
    result = await trim(make_video(tmp_path / "a.mp4", seconds=1.0), tmp_path / "cut.mp4", 0.6, 30)
    assert result.duration_s == pytest.approx(0.4, abs=0.001)
    assert result.end_s == pytest.approx(1.0, abs=0.001)


async def test_a_window_behind_the_end_holds_nothing(make_video: MakeVideo, tmp_path: Path) -> None:
    with refused("invalid_trim_range", match="no frame"):
        await trim(make_video(tmp_path / "a.mp4", seconds=1.0), tmp_path / "cut.mp4", 5, 6)
    assert sorted(path.name for path in listing(tmp_path)) == ["a.mp4", "home"]


@pytest.mark.parametrize(
    ("start_s", "end_s"), [(-1, 2), (2, 2), (3, 1), (0, float("nan")), (float("-inf"), 1), (0, float("inf"))]
)
def test_senseless_windows(start_s: float, end_s: float) -> None:
    with refused("invalid_trim_range"):
        check_range(start_s, end_s)


def test_sixty_seconds_are_allowed_and_no_more() -> None:
    check_range(10, 70)
    with refused("trim_too_long", match="at most 60"):
        check_range(10, 70.1)


async def test_unusable_sources(tmp_path: Path, make_wav: Callable[..., Path], make_image: Callable[..., Path]) -> None:
    make_wav(tmp_path / "sound.wav", 2.0)
    (tmp_path / "broken.mp4").write_bytes(b"\x00\x00\x00\x18ftypisom\0\0\0\0isomavc1" + b"\0" * 99)
    with refused("missing_source_url"):
        await trim(tmp_path / "gone.mp4", tmp_path / "cut.mp4", 0, 1)
    with refused("missing_source_url", match="no picture"):
        await trim(tmp_path / "sound.wav", tmp_path / "cut.mp4", 0, 1)
    with refused("source_fetch_failed"):
        await trim(tmp_path / "broken.mp4", tmp_path / "cut.mp4", 0, 1)


async def test_a_source_that_is_too_large(
    make_video: MakeVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trimming, "MAX_SOURCE_BYTES", 100)
    with refused("source_too_large"):
        await trim(make_video(tmp_path / "a.mp4", seconds=0.2), tmp_path / "cut.mp4", 0, 1)


async def test_a_target_that_cannot_be_written(make_video: MakeVideo, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with refused("ffmpeg_failed"):
        await trim(make_video(tmp_path / "a.mp4", seconds=0.2), tmp_path / "file" / "cut.mp4", 0, 1)


async def test_work_that_takes_too_long_is_given_up_and_leaves_nothing(make_video: MakeVideo, tmp_path: Path) -> None:
    ticks = iter(range(10_000))
    source = make_video(tmp_path / "a.mp4", seconds=1.0)
    with refused("processor_timeout"):
        await trim(source, tmp_path / "cut.mp4", 0, 1, clock=lambda: float(next(ticks)), max_work_s=5)
    assert sorted(path.name for path in listing(tmp_path)) == ["a.mp4", "home"]


async def test_a_cancelled_cut_stops_working_and_leaves_nothing(make_video: MakeVideo, tmp_path: Path) -> None:
    source = make_video(tmp_path / "a.mp4", seconds=2.0)
    calls: list[float] = []
    scope = anyio.CancelScope()

    def clock() -> float:
        calls.append(0.0)
        if len(calls) == 5:
            anyio.from_thread.run_sync(scope.cancel)
        return 0.0

    results: list[Trimmed] = []
    with scope:
        results.append(await trim(source, tmp_path / "cut.mp4", 0, 2, clock=clock))
    assert not results
    with anyio.fail_after(60):
        while any(path.name.startswith(".trim") for path in listing(tmp_path)):  # noqa: ASYNC110 - a thread, no event
            await anyio.sleep(0.01)
    assert len(calls) < 50
    assert sorted(path.name for path in listing(tmp_path)) == ["a.mp4", "home"]


async def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_name: str) -> object:
        raise ImportError

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(NotInstalledError, match="video"):
        await trim(tmp_path / "a.mp4", tmp_path / "cut.mp4", 0, 1)


def listing(folder: Path) -> list[Path]:
    return list(folder.iterdir())
