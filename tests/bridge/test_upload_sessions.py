"""What an upload session takes follows from the model that it is for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kubeez_mcp_local.bridge.upload_sessions import accepted
from kubeez_mcp_local.catalogue.listing import UnknownModelError
from kubeez_mcp_local.catalogue.snapshot import snapshot_listing

if TYPE_CHECKING:
    from kubeez_mcp_local.catalogue.listing import Listing


@pytest.fixture(scope="module")
def listing() -> Listing:
    return snapshot_listing()


@pytest.mark.parametrize(
    ("model_id", "kinds", "most"),
    [
        ("nano-banana-2", ("image",), 8),
        ("veo3-1-first-and-last-frames", ("image",), 2),
        ("kling-2-6-motion-control-720p", ("image", "video"), 2),
        ("auto-caption", ("video",), 1),
        ("mvsep-40", ("audio", "video"), 1),
        ("remove-background", ("image",), 1),
        ("elevenlabs-dubbing", ("video",), 1),
        ("sonilo-video-to-sfx", ("video",), 1),
        ("z-image", (), 0),
        ("sonilo-text-to-sfx", (), 0),
        ("text-to-dialogue-v3", (), 0),
    ],
)
def test_kinds_and_number(listing: Listing, model_id: str, kinds: tuple[str, ...], most: int) -> None:
    assert accepted(listing, model_id) == (kinds, most)


def test_a_text_only_model_takes_what_its_edit_twin_takes(listing: Listing) -> None:
    assert listing.get("nano-banana").only_from_text
    assert accepted(listing, "nano-banana") == accepted(listing, "nano-banana-edit")
    assert "image" in accepted(listing, "nano-banana")[0]


def test_an_unknown_model_is_refused(listing: Listing) -> None:
    with pytest.raises(UnknownModelError):
        accepted(listing, "nano-banan")
