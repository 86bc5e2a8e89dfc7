"""Small pictures that are made once and kept."""

from __future__ import annotations

import io
import os
import sys
import wave
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from kubeez_mcp_local.media.thumbnails import BARS, Thumbnails, waveform
from kubeez_mcp_local.media.video import BrokenMediaError, NotInstalledError
from tests.damaged import encoded

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio


async def test_a_bounded_picture_is_as_large_as_fits(tmp_path: Path) -> None:
    noise, flat = tmp_path / "noise.png", tmp_path / "flat.png"
    Image.effect_noise((1200, 900), 80).convert("RGB").save(noise)
    Image.new("RGB", (1200, 900), "teal").save(flat)
    thumbnails = Thumbnails(tmp_path / "kept")
    small = await thumbnails.bounded(noise, "image", 48_000)
    large = await thumbnails.bounded(flat, "image", 48_000)
    assert len(small) <= 48_000
    assert Image.open(io.BytesIO(small)).width < 1024 == Image.open(io.BytesIO(large)).width
    assert len(list((tmp_path / "kept").glob("*/*"))) == 2
    assert await thumbnails.bounded(noise, "image", 48_000) == small
    with pytest.raises(BrokenMediaError, match="nothing of it fits"):
        await thumbnails.bounded(noise, "image", 100)


async def test_a_small_picture_is_made_once_and_anew_when_the_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    Image.new("RGB", (1200, 900), "teal").save(path)
    thumbnails = Thumbnails(tmp_path / "kept")
    first = await thumbnails.picture(path, "image")
    (kept,) = (tmp_path / "kept").glob("*/*")
    kept.write_bytes(b"as it was kept")
    assert await thumbnails.picture(path, "image") == b"as it was kept"
    Image.new("RGBA", (300, 600), (0, 0, 0, 0)).save(path)
    second = Image.open(io.BytesIO(await thumbnails.picture(path, "image")))
    assert Image.open(io.BytesIO(first)).size == (480, 360)
    assert (second.size, second.mode) == ((240, 480), "RGBA")


async def test_a_link_is_not_followed_and_damage_is_told(tmp_path: Path) -> None:
    (tmp_path / "link.png").symlink_to(tmp_path / "secret.png")
    Image.new("RGB", (10, 10)).save(tmp_path / "secret.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "secret.png").read_bytes()[:40])
    thumbnails = Thumbnails(tmp_path / "kept")
    with pytest.raises(OSError, match=r"link|directory"):
        await thumbnails.picture(tmp_path / "link.png", "image")
    with pytest.raises(BrokenMediaError):
        await thumbnails.picture(tmp_path / "cut.png", "image")
    assert not (tmp_path / "kept").exists()


async def test_the_oldest_go_when_there_are_too_many(tmp_path: Path) -> None:
    thumbnails = Thumbnails(tmp_path / "kept", most_kept=4)
    for at in range(5):
        path = tmp_path / f"{at}.png"
        Image.new("RGB", (10, 10)).save(path)
        await thumbnails.picture(path, "image")
        newest = max((tmp_path / "kept").glob("*/*"), key=lambda each: each.stat().st_mtime_ns)
        os.utime(newest, (at, at))
    thumbnails.tidy()
    assert sorted(each.stat().st_mtime for each in (tmp_path / "kept").glob("*/*")) == [3, 4]
    thumbnails.tidy()
    assert len(list((tmp_path / "kept").glob("*/*"))) == 2


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_the_shape_of_plain_sound_needs_nothing_installed(
    tmp_path: Path, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    path = tmp_path / "sound.wav"
    top = (1 << (8 * width - 1)) - 1
    with wave.open(str(path), "wb") as sound:
        sound.setparams((1, width, 8000, 0, "NONE", ""))
        for part in (0.0, 1.0, 0.5, 0.0):
            value = int(top * part)
            one = bytes([value + 128]) if width == 1 else value.to_bytes(width, "little", signed=True)
            sound.writeframes(one * 3000)
    with path.open("rb") as file:
        bars = waveform(file)
    assert len(bars) == BARS
    assert (bars[10], bars[45], bars[110]) == (0, 100, 0)
    assert bars[75] == pytest.approx(50, abs=2)


def test_the_shape_of_compressed_sound_needs_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sound.mp3"
    path.write_bytes(encoded("mp3", audio="libmp3lame", seconds=1.0))
    with path.open("rb") as file:
        assert max(waveform(file)) == 100
    monkeypatch.setitem(sys.modules, "av", None)
    with path.open("rb") as file, pytest.raises(NotInstalledError, match="'video'"):
        waveform(file)
