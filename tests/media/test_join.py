from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

from kubeez_mcp_local.media.measure import measure
from kubeez_mcp_local.media.trim import Clip, check_clips, join
from tests.refusals import refused

if TYPE_CHECKING:
    from pathlib import Path

    from tests.media.conftest import MakeVideo

pytestmark = pytest.mark.anyio


async def clip_of(path: Path) -> Clip:
    return Clip(path, await measure(path), path.name)


def frames_of(path: Path) -> tuple[list[int], int, float]:
    """Grey levels of all frames, the rate of the sound track, and where it ends."""
    av: Any = import_module("av")
    with av.open(str(path)) as film:
        greys = [int(frame.to_image().convert("L").getpixel((100, 50))) for frame in film.decode(video=0)]
    samples, rate = 0, 0
    with av.open(str(path)) as film:
        for frame in film.decode(audio=0) if film.streams.audio else ():
            samples, rate = samples + frame.samples, frame.sample_rate
    return greys, rate, samples / rate if rate else 0.0


async def test_clips_follow_each_other_frame_by_frame_with_their_sound(make_video: MakeVideo, tmp_path: Path) -> None:
    first = make_video(tmp_path / "a.mp4", seconds=1.0)
    second = make_video(tmp_path / "b.mp4", seconds=0.6, size=(320, 180))
    joined = await join([await clip_of(first), await clip_of(second)], tmp_path / "out.mp4")
    assert joined.duration_s == pytest.approx(1.6)
    found = await measure(joined.path)
    assert (found.width, found.height, found.has_sound, found.damage) == (160, 90, True, "")
    greys, _, heard = frames_of(joined.path)
    wanted = [*range(25), *range(15)]
    assert greys == [pytest.approx(number * 4 + 20, abs=4) for number in wanted]
    assert heard == pytest.approx(1.6, abs=0.05)


async def test_a_silent_clip_among_others_is_silent_as_long_as_it_is(make_video: MakeVideo, tmp_path: Path) -> None:
    silent = make_video(tmp_path / "a.mp4", seconds=1.0, sound=False)
    heard = make_video(tmp_path / "b.mp4", seconds=0.4)
    out = await join([await clip_of(silent), await clip_of(heard)], tmp_path / "out.mp4")
    assert frames_of(out.path)[2] == pytest.approx(1.4, abs=0.05)
    none = await join([await clip_of(silent), await clip_of(silent)], tmp_path / "none.mp4")
    assert (await measure(none.path)).has_sound is False
    assert none.duration_s == pytest.approx(2.0)


async def test_sound_that_begins_late_does_so_in_the_whole(make_video: MakeVideo, tmp_path: Path) -> None:
    late = await clip_of(make_video(tmp_path / "a.mp4", seconds=1.0, sound_from=0.5))
    out = await join([late, late], tmp_path / "out.mp4")
    av: Any = import_module("av")
    with av.open(str(out.path)) as film:
        loud = [
            frame.time for frame in film.decode(audio=0) if max(memoryview(bytes(frame.planes[0])).cast("f")) > 0.05
        ]
    assert loud[0] == pytest.approx(0.5, abs=0.06)
    assert not [time for time in loud if 1.06 < time < 1.44]


async def test_turned_clips_are_joined_upright_and_other_rates_are_evened(
    make_video: MakeVideo, tmp_path: Path
) -> None:
    turned = make_video(tmp_path / "a.mp4", seconds=0.4, turn=90)
    tall = make_video(tmp_path / "b.mov", seconds=0.4, size=(90, 160), fps=10)
    out = await join([await clip_of(turned), await clip_of(tall)], tmp_path / "out.mp4")
    found = await measure(out.path)
    assert (found.width, found.height) == (90, 160)
    assert out.duration_s == pytest.approx(0.8, abs=0.05)


async def test_other_shapes_and_too_much_are_refused_by_name(make_video: MakeVideo, tmp_path: Path) -> None:
    wide, tall = (
        make_video(tmp_path / "a.mp4", seconds=0.4),
        make_video(tmp_path / "b.mp4", seconds=0.4, size=(90, 160)),
    )
    with refused("invalid_argument", match=r"^source_urls: b\.mp4 is 90x160 and a\.mp4 160x90"):
        check_clips("source_urls", [await clip_of(wide), await clip_of(tall)])
    long = Clip(wide, (await clip_of(wide)).measured.__class__(200.0, 160, 90), "a.mp4")
    with refused("invalid_argument", match="have 400 s together; at most 300 s"):
        check_clips("source_urls", [long, long])


async def test_work_that_takes_too_long_is_given_up(make_video: MakeVideo, tmp_path: Path) -> None:
    clip = await clip_of(make_video(tmp_path / "a.mp4", seconds=0.4))
    ticks = iter(range(0, 10_000, 10))

    def clock() -> Any:
        return next(ticks)

    with refused("processor_timeout", match="given up"):
        await join([clip, clip], tmp_path / "out.mp4", clock=clock, max_work_s=20)
    assert [path.name for path in tmp_path.iterdir() if path.name != "home"] == ["a.mp4"]  # noqa: ASYNC240
