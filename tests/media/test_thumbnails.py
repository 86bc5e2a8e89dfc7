"""Small pictures that are made once and kept."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from kubeez_mcp_local.media.thumbnails import Thumbnails
from kubeez_mcp_local.media.video import BrokenMediaError

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
