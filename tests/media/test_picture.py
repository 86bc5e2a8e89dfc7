from __future__ import annotations

import base64
import importlib
import random
import struct
import zlib
from io import BytesIO
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from kubeez_mcp_local.media.measure import measure
from kubeez_mcp_local.media.picture import MAX_BYTES, Preview, preview
from kubeez_mcp_local.media.sniff import UnsupportedMediaError
from kubeez_mcp_local.media.video import BrokenMediaError, NotInstalledError
from tests.damaged import encoded, wav

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.media.conftest import MakeVideo

pytestmark = pytest.mark.anyio


def shown(result: Preview) -> Image.Image:
    assert result.data is not None
    image = Image.open(BytesIO(result.data))
    assert image.size == (result.width, result.height)
    assert image.get_format_mimetype() == result.mime
    return image


def noise(size: tuple[int, int], mode: str = "RGB") -> Image.Image:
    count = size[0] * size[1] * len(mode)
    return Image.frombytes(mode, size, random.Random(1).randbytes(count))


async def test_a_large_picture_fits_the_budget_in_base64(tmp_path: Path) -> None:
    noise((2400, 1600)).save(tmp_path / "a.png")
    result = await preview(tmp_path / "a.png")
    image = shown(result)
    assert len(base64.b64encode(result.data or b"")) <= MAX_BYTES
    assert image.width / image.height == pytest.approx(1.5, rel=0.02)
    assert "2400x1600" in result.note


async def test_a_smaller_budget_gives_a_smaller_picture(tmp_path: Path) -> None:
    noise((1024, 1024)).save(tmp_path / "a.png")
    large, small = await preview(tmp_path / "a.png"), await preview(tmp_path / "a.png", 20_000)
    assert len(base64.b64encode(small.data or b"")) <= 20_000
    assert (small.width or 0) < (large.width or 0)


async def test_a_hopeless_budget_says_so(tmp_path: Path) -> None:
    noise((64, 64)).save(tmp_path / "a.png")
    result = await preview(tmp_path / "a.png", 100)
    assert result.data is None
    assert "open the file" in result.note


async def test_graphics_stay_exact(make_image: Callable[..., Path], tmp_path: Path) -> None:
    result = await preview(make_image(tmp_path / "a.png", (300, 200), "#0a7"))
    assert result.mime == "image/png"
    assert shown(result).convert("RGB").getpixel((5, 5)) == (0, 170, 119)


async def test_a_small_picture_is_not_enlarged(make_image: Callable[..., Path], tmp_path: Path) -> None:
    assert shown(await preview(make_image(tmp_path / "a.jpg", (20, 10)))).size == (20, 10)


async def test_see_through_parts_are_kept_in_a_png_that_fits(tmp_path: Path) -> None:
    image = Image.new("RGBA", (800, 600), (255, 0, 0, 255))
    image.paste((0, 0, 0, 0), (0, 0, 400, 600))
    image.save(tmp_path / "a.png")
    result = await preview(tmp_path / "a.png")
    assert result.mime == "image/png"
    assert shown(result).convert("RGBA").getpixel((5, 5)) == (0, 0, 0, 0)


async def test_see_through_parts_become_a_checkerboard_when_a_png_would_not_fit(tmp_path: Path) -> None:
    image = noise((1200, 1200), "RGBA")
    image.putalpha(Image.linear_gradient("L").resize((1200, 1200)))
    image.save(tmp_path / "a.png")
    result = await preview(tmp_path / "a.png")
    assert result.mime == "image/jpeg"
    assert "checkerboard" in result.note


async def test_pictures_are_turned_upright_and_lose_their_metadata(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a secret place"
    noise((400, 200)).save(tmp_path / "a.jpg", exif=exif)
    result = await preview(tmp_path / "a.jpg")
    image = shown(result)
    assert image.size == (200, 400)
    assert not image.getexif()
    assert b"secret" not in (result.data or b"")


async def test_an_animation_shows_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (40, 40), color) for color in ("red", "blue", "lime")]
    for name in ("a.gif", "a.webp", "a.png"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], lossless=True)
        result = await preview(tmp_path / name)
        assert shown(result).convert("RGB").getpixel((5, 5)) == (255, 0, 0)
        assert "first of 3 frames" in result.note


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1", "I;16", "CMYK"])
async def test_every_colour_mode_can_be_shown(tmp_path: Path, mode: str) -> None:
    name = "a.jpg" if mode == "CMYK" else "a.png"
    Image.new(mode, (30, 20)).save(tmp_path / name)
    assert shown(await preview(tmp_path / name)).size == (30, 20)


async def test_a_cut_off_picture_is_said_to_be_damaged(tmp_path: Path) -> None:
    noise((200, 200)).save(tmp_path / "a.jpg")
    whole = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BrokenMediaError, match="damaged or cut off"):
        await preview(tmp_path / "a.jpg")


async def test_a_picture_that_unfolds_to_gigabytes_is_refused_before_it_does(tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(png_that_claims(12_000, 7_000))
    (tmp_path / "huge.png").write_bytes(png_that_claims(100_000, 100_000))
    for name in ("bomb.png", "huge.png"):
        with pytest.raises(BrokenMediaError, match="pixels"):
            await preview(tmp_path / name)


async def test_sound_passes_as_it_is_when_it_fits(make_wav: Callable[..., Path], tmp_path: Path) -> None:
    path = make_wav(tmp_path / "a.wav", 0.5)
    result = await preview(path)
    assert (result.data, result.mime, result.width) == (path.read_bytes(), "audio/wav", None)


def put(path: Path, data: bytes | None) -> Path:
    assert data is not None
    path.write_bytes(data)
    return path


async def test_sound_that_does_not_fit_comes_coarser_and_if_need_be_shorter(tmp_path: Path) -> None:
    path = put(tmp_path / "a.flac", encoded("flac", audio="flac", seconds=10.0))
    whole = await preview(path, 100_000)
    assert len(whole.data or b"") <= 75_000
    assert "All 10.0 s, coarser than the file" in whole.note
    found = await measure(put(tmp_path / "whole.mp3", whole.data))
    assert found.damage == ""
    assert found.seconds == pytest.approx(10, abs=0.2)
    part = await preview(path, 20_000, at_s=4.0)
    assert len(part.data or b"") <= 15_000
    assert part.note.startswith("4.0 to 7.")
    assert (await measure(put(tmp_path / "part.mp3", part.data))).seconds == pytest.approx(3.6, abs=0.2)
    with pytest.raises(BrokenMediaError, match=r"no sound after 99 s"):
        await preview(path, 20_000, at_s=99.0)


@pytest.mark.parametrize("name", ["a.wav", "a.mp3", "a.ogg"])
async def test_without_the_extra_sound_is_cut_where_that_can_be(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents: dict[str, Callable[[], bytes]] = {
        "a.wav": lambda: wav(15.0),
        "a.mp3": lambda: encoded("mp3", audio="libmp3lame", seconds=10.0),
        "a.ogg": lambda: encoded("ogg", audio="libopus", seconds=10.0),
    }
    path = put(tmp_path / name, contents[name]())
    monkeypatch.setattr(importlib, "import_module", missing)
    result = await preview(path, 100_000)
    if name == "a.ogg":
        assert (result.data, "with kubeez-mcp-local[video]" in result.note) == (None, True)
        return
    assert len(result.data or b"") <= 75_000
    assert result.note.startswith("The first 4.")
    found = await measure(put(tmp_path / f"cut-{name}", result.data))
    assert found.damage == ""
    assert found.seconds == pytest.approx(4.65, abs=0.1)


async def test_a_video_shows_the_frame_asked_for(make_video: MakeVideo, tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", seconds=4.0)
    for at_s, number in ((0.0, 0), (1.0, 25), (3.1, 77), (99.0, 99)):
        result = await preview(path, at_s=at_s)
        assert grey(shown(result)) == pytest.approx(number % 50 * 4 + 20, abs=1.9)
    default = await preview(path)
    assert "0.4 s of 4.0 s" in default.note


async def test_a_turned_video_is_shown_upright(make_video: MakeVideo, tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", seconds=0.4, turn=90)
    image = shown(await preview(path)).convert("RGB")
    assert image.size == (90, 160)
    assert reddest(image) == (2, 157)  # a quarter turn to the left brings the mark from the top left to the bottom left


async def test_without_the_extra_a_video_names_it(
    make_video: MakeVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_video(tmp_path / "a.mp4", seconds=0.4)
    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(NotInstalledError, match=r"kubeez-mcp-local\[video\] \(`kubeez-mcp-local doctor` says"):
        await preview(path)


async def test_a_broken_video(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"\x00\x00\x00\x18ftypisom\0\0\0\0isomavc1" + b"\0" * 500)
    with pytest.raises(BrokenMediaError):
        await preview(tmp_path / "a.mp4")


async def test_anything_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("<svg/>")
    with pytest.raises(UnsupportedMediaError):
        await preview(tmp_path / "a.png")


def grey(image: Image.Image) -> int:
    pixel = image.convert("L").getpixel((100, 50))
    assert isinstance(pixel, int)
    return pixel


def reddest(image: Image.Image) -> tuple[int, int]:
    corners = [(2, 2), (87, 2), (2, 157), (87, 157)]
    red, green, _ = image.split()
    return max(corners, key=lambda at: red.tobytes()[at[1] * 90 + at[0]] - green.tobytes()[at[1] * 90 + at[0]])


def missing(_name: str) -> object:
    raise ImportError


def png_that_claims(width: int, height: int) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
