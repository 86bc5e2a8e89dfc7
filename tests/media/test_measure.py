from __future__ import annotations

import importlib
import random
from contextlib import suppress
from io import BytesIO
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from kubeez_mcp_local.media import measure as measuring
from kubeez_mcp_local.media.containers import UNSEEN, Measured, read_movie
from kubeez_mcp_local.media.measure import measure, measure_now
from kubeez_mcp_local.media.sniff import UnsupportedMediaError
from kubeez_mcp_local.media.video import NotInstalledError
from tests.damaged import damaged_files, encoded, film, picture, png_of, wav

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.media.conftest import MakeVideo

pytestmark = pytest.mark.anyio

ID3 = b"ID3\x04\0\0\0\0\0\x0a" + bytes(10)


def missing(_what: str) -> None:
    raise NotInstalledError("PyAV is missing.")


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


@pytest.mark.parametrize("stated", [0, 1, 16_000 * 60], ids=["no rate", "a tiny rate", "a huge rate"])
@pytest.mark.parametrize("extra", [True, False], ids=["with the extra", "without it"])
async def test_a_wav_is_as_long_as_its_samples_whatever_rate_it_states(
    tmp_path: Path, stated: int, extra: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not extra:
        monkeypatch.setattr(measuring, "load_av", missing)
    data = bytearray(wav(2.0))
    at = data.index(b"fmt ") + 16
    data[at : at + 4] = stated.to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(data)
    assert (await measure(tmp_path / "a.wav")).seconds == 2.0


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
        assert await measure(make_wav(tmp_path / "a.wav", 1.5)) == Measured(seconds=1.5, has_sound=True)


@pytest.mark.parametrize(("turn", "size"), [(0, (160, 90)), (90, (90, 160)), (180, (160, 90))])
def test_an_mp4_index_is_read_without_the_extra(
    make_video: MakeVideo, tmp_path: Path, turn: int, size: tuple[int, int]
) -> None:
    movie = read_movie(BytesIO(make_video(tmp_path / "a.mp4", seconds=2.0, turn=turn).read_bytes()))
    assert movie is not None
    assert movie.seconds == pytest.approx(2.0, abs=0.1)
    assert (movie.width, movie.height) == size
    assert movie.has_sound


@pytest.mark.parametrize("index", [b"", b"\0" * 7, b"mvhd", b"\x00\x00\x00\x09mvhd\0", b"\x00\x00\x00\x0ctrak\0\0\0\0"])
def test_a_damaged_index_never_crashes_the_reader(index: bytes) -> None:
    size = (8 + len(index)).to_bytes(4, "big")
    movie = read_movie(BytesIO(b"\x00\x00\x00\x10ftypisom\0\0\0\0" + size + b"moov" + index))
    assert movie is None or movie.seconds is None


WHOLE: dict[str, tuple[Callable[[], bytes], float | None, bool | None, bool]] = {
    "a.png": (lambda: picture("PNG"), None, None, True),
    "animated.png": (lambda: picture("PNG", 4), None, None, True),
    "progressive.jpg": (lambda: picture("JPEG", progressive=True), None, None, True),
    "animated.webp": (lambda: picture("WEBP", 4), None, None, True),
    "animated.gif": (lambda: picture("GIF", 4), None, None, True),
    "ends-early.png": (lambda: picture("PNG")[:-4], None, None, True),
    "ends-early.gif": (lambda: picture("GIF", 4)[:-1], None, None, True),
    "photo-with-a-tail.jpg": (lambda: picture("JPEG") + b"\0" * 500, None, None, True),
    "a.mp4": (lambda: film(audio="aac"), 2.0, True, True),
    "silent.mov": (lambda: encoded("mov", video="libx264"), 2.0, False, True),
    "index-first.mp4": (lambda: film(options={"movflags": "faststart"}), 2.0, False, True),
    "with-a-tail.mp4": (lambda: film() + b"\0" * 100, 2.0, False, True),
    "fragmented.mp4": (lambda: film(options={"movflags": "frag_keyframe+empty_moov"}), None, False, True),
    "a.m4a": (lambda: encoded("ipod", audio="aac"), 2.0, True, True),
    "a.wav": (wav, 1.0, True, True),
    "streamed.wav": (lambda: wav().replace(b"data\x80\x3e\0\0", b"data\xff\xff\xff\xff"), 1.0, True, True),
    "a.mp3": (lambda: encoded("mp3", audio="libmp3lame"), 2.0, True, True),
    "no-table.mp3": (lambda: encoded("mp3", audio="libmp3lame", options={"write_xing": "0"}), 2.0, True, True),
    "padded.mp3": (lambda: bytes(3000) + encoded("mp3", audio="libmp3lame"), 2.0, True, True),
    "tagged.mp3": (
        lambda: ID3 + bytes(900) + encoded("mp3", audio="libmp3lame") + b"TAG" + bytes(125),
        2.0,
        True,
        True,
    ),
    "a.webm": (lambda: encoded("webm", video="libvpx", audio="libopus"), 2.0, True, False),
    "live.webm": (lambda: encoded("webm", video="libvpx", options={"live": "1"}), 2.0, False, False),
    "a.mkv": (lambda: encoded("matroska", video="libx264"), 2.0, False, False),
    "a.ogg": (lambda: encoded("ogg", audio="libopus"), 2.0, True, False),
    "a.flac": (lambda: encoded("flac", audio="flac"), 2.0, True, False),
    "tagged.flac": (lambda: ID3 + encoded("flac", audio="flac"), 2.0, True, False),
}
"""File, its length, whether it has sound, and whether that is known without the extra too."""


@pytest.mark.parametrize("name", WHOLE)
async def test_whole_files_are_measured_and_not_called_damaged(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, seconds, has_sound, without_extra = WHOLE[name]
    (tmp_path / name).write_bytes(make())
    with_it = await measure(tmp_path / name)
    assert (with_it.damage, with_it.looked_at, with_it.has_sound) == ("", True, has_sound)
    if seconds:
        assert with_it.seconds == pytest.approx(seconds, abs=0.1)
    monkeypatch.setattr(measuring, "load_av", missing)
    without_it = await measure(tmp_path / name)
    assert (without_it.damage, without_it.looked_at) == ("", without_extra)
    if without_extra:
        assert without_it.has_sound == has_sound
        assert without_it.seconds == (pytest.approx(seconds, abs=0.1) if seconds else None)


@pytest.mark.parametrize("extra", [True, False], ids=["with the extra", "without it"])
async def test_damage_is_known_and_never_crashes(extra: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not extra:
        monkeypatch.setattr(measuring, "load_av", missing)
    found = {}
    for damaged in damaged_files():
        path = damaged.put(tmp_path)
        with suppress(UnsupportedMediaError):
            found[damaged] = await measure(path)
    assert len(found) > 25
    for damaged, measured in found.items():
        assert bool(measured.damage) == (extra or not damaged.only_with_extra), damaged.name
        assert damaged.says in measured.damage or not measured.damage, damaged.name


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
async def test_a_picture_too_large_to_unfold_is_not_damaged(tmp_path: Path) -> None:
    Image.new("1", (12_000, 9_000)).save(tmp_path / "large.png")
    assert await measure(tmp_path / "large.png") == Measured(None, 12_000, 9_000, looked_at=False)
    (tmp_path / "huge.png").write_bytes(png_of(40_000, 40_000))
    assert await measure(tmp_path / "huge.png") == UNSEEN


async def test_an_animation_that_takes_long_is_not_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.gif").write_bytes(picture("GIF", 4))
    monkeypatch.setattr(measuring, "_MAX_ANIMATED", 120 * 90 * 2)
    assert await measure(tmp_path / "a.gif") == Measured(None, 120, 90, looked_at=False)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
async def test_a_large_photo_is_looked_at(tmp_path: Path) -> None:
    Image.new("L", (12_000, 9_000)).save(tmp_path / "large.jpg")
    assert await measure(tmp_path / "large.jpg") == Measured(None, 12_000, 9_000)
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "large.jpg").read_bytes()[:-1000])
    assert (await measure(tmp_path / "cut.jpg")).damage


async def test_reading_packets_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "live.webm").write_bytes(encoded("webm", video="libvpx", options={"live": "1"}))
    monkeypatch.setattr(measuring, "_MOST_SECONDS_OF_PACKETS", -1.0)
    found = await measure(tmp_path / "live.webm")
    assert (found.seconds, found.width, found.damage) == (None, 160, "")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.mp4", b"\0\0\0\x10ftypisom\0\0\0\0" + b"\0\0\0\x08free" * 100_001),
        ("a.wav", b"RIFF\xff\xff\xff\x7fWAVE" + b"JUNK\0\0\0\0" * 1001),
    ],
)
async def test_what_is_cut_into_endless_parts_is_left_alone(
    name: str, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(_what: str) -> None:
        raise AssertionError("PyAV would read it for minutes")

    monkeypatch.setattr(measuring, "load_av", opened)
    (tmp_path / name).write_bytes(content)
    assert await measure(tmp_path / name) == UNSEEN


async def test_what_takes_too_long_counts_as_not_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "_PATIENCE", 0.0)
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    assert await measure(tmp_path / "a.png") == UNSEEN


@pytest.mark.parametrize("name", ["a.mp4", "a.webm", "a.wav", "a.mp3", "a.ogg", "a.flac", "a.png", "a.gif", "a.webp"])
def test_no_cut_and_no_noise_crashes_it(name: str, tmp_path: Path) -> None:
    forms: dict[str, Callable[[], bytes]] = {
        "a.mp4": lambda: film(seconds=0.5),
        "a.webm": lambda: encoded("webm", video="libvpx", seconds=0.5),
        "a.wav": wav,
        "a.mp3": lambda: encoded("mp3", audio="libmp3lame", seconds=0.5),
        "a.ogg": lambda: encoded("ogg", audio="libopus", seconds=0.5),
        "a.flac": lambda: encoded("flac", audio="flac", seconds=0.2),
    }
    whole = forms[name]() if name in forms else picture(name[2:])
    rng = random.Random(name)
    for _ in range(60):
        content = bytearray(whole[: rng.choice((len(whole), rng.randrange(12, len(whole))))])
        for _ in range(rng.choice((0, 3, 40))):
            content[rng.randrange(8, len(content))] = rng.randrange(256)
        (tmp_path / name).write_bytes(content)
        with suppress(UnsupportedMediaError):
            measure_now(tmp_path / name)
