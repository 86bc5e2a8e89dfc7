from __future__ import annotations

import importlib
from io import BytesIO
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from kubeez_mcp_local.media.measure import Measured, measure
from kubeez_mcp_local.media.sniff import read_movie

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.media.conftest import MakeVideo

pytestmark = pytest.mark.anyio


@pytest.fixture
def without_av(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_name: str) -> object:
        raise ImportError

    monkeypatch.setattr(importlib, "import_module", missing)


async def test_a_picture_has_the_size_it_is_shown_in(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.new("RGB", (40, 30)).save(tmp_path / "a.jpg", exif=exif)
    assert await measure(tmp_path / "a.jpg") == Measured(None, 30, 40)


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv"])
async def test_a_film(make_video: MakeVideo, tmp_path: Path, name: str) -> None:
    found = await measure(make_video(tmp_path / name, seconds=2.0))
    assert (found.width, found.height) == (160, 90)
    assert found.seconds == pytest.approx(2.0, abs=0.15)


async def test_a_turned_film(make_video: MakeVideo, tmp_path: Path) -> None:
    found = await measure(make_video(tmp_path / "a.mp4", seconds=0.4, turn=90))
    assert (found.width, found.height) == (90, 160)


async def test_sound(make_wav: Callable[..., Path], tmp_path: Path) -> None:
    found = await measure(make_wav(tmp_path / "a.wav", 1.5))
    assert found.seconds == pytest.approx(1.5)
    assert found.width is None


@pytest.mark.usefixtures("without_av")
class TestWithoutTheExtra:
    async def test_sound(self, make_wav: Callable[..., Path], tmp_path: Path) -> None:
        assert await measure(make_wav(tmp_path / "a.wav", 1.5)) == Measured(seconds=1.5)

    async def test_sound_that_only_the_extra_reads_is_unknown(self, tmp_path: Path) -> None:
        (tmp_path / "a.mp3").write_bytes(b"\xff\xfb\x90\x64" + b"\0" * 2000)
        assert await measure(tmp_path / "a.mp3") == Measured()

    async def test_a_broken_index_is_unreadable(self, tmp_path: Path) -> None:
        (tmp_path / "a.mp4").write_bytes(b"\x00\x00\x00\x18ftypisom\0\0\0\0isomavc1")
        assert await measure(tmp_path / "a.mp4") == Measured(unreadable=True)


@pytest.mark.parametrize(("turn", "size"), [(0, (160, 90)), (90, (90, 160)), (180, (160, 90))])
def test_an_mp4_index_is_read_without_the_extra(
    make_video: MakeVideo, tmp_path: Path, turn: int, size: tuple[int, int]
) -> None:
    movie = read_movie(BytesIO(make_video(tmp_path / "a.mp4", seconds=2.0, turn=turn).read_bytes()))
    assert movie is not None
    assert movie.seconds == pytest.approx(2.0, abs=0.1)
    assert (movie.width, movie.height) == size
    assert (movie.has_video, movie.has_audio) == (True, True)


async def test_damaged_files_are_unreadable(make_video: MakeVideo, tmp_path: Path) -> None:
    whole = make_video(tmp_path / "a.mp4", seconds=1.0).read_bytes()
    (tmp_path / "a.mp4").write_bytes(whole[: len(whole) // 2])
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:20])
    assert await measure(tmp_path / "a.mp4") == Measured(unreadable=True)
    assert await measure(tmp_path / "a.png") == Measured(unreadable=True)


@pytest.mark.parametrize("index", [b"", b"\0" * 7, b"mvhd", b"\x00\x00\x00\x09mvhd\0", b"\x00\x00\x00\x0ctrak\0\0\0\0"])
def test_a_damaged_index_never_crashes_the_reader(index: bytes) -> None:
    size = (8 + len(index)).to_bytes(4, "big")
    movie = read_movie(BytesIO(b"\x00\x00\x00\x10ftypisom\0\0\0\0" + size + b"moov" + index))
    assert movie is None or movie.seconds is None
