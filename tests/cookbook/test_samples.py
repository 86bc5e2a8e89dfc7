"""The files that rehearsals start from are what they say."""

from __future__ import annotations

import wave
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from kubeez_mcp_local.cookbook.check import Samples
from kubeez_mcp_local.errors import InvalidArgumentError

if TYPE_CHECKING:
    from pathlib import Path


def test_samples_are_real_files_and_each_is_another_one(tmp_path: Path) -> None:
    samples = Samples(tmp_path / "samples")
    first, second, sound = samples("image"), samples("image"), samples("audio")

    with Image.open(first) as picture:
        assert picture.size == (768, 768)
        with Image.open(second) as other:
            assert picture.tobytes() != other.tobytes()
    with wave.open(sound) as audio:
        assert audio.getnframes() / audio.getframerate() == 6


def test_a_sample_video_can_be_decoded(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    with av.open(Samples(tmp_path)("video")) as container:
        assert container.duration / av.time_base == pytest.approx(6, abs=0.2)


def test_an_unknown_sample_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="allowed: sample:image, sample:audio, sample:video"):
        Samples(tmp_path)("hologram")
