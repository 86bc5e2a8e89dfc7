"""Prices of jobs that are only described."""

from __future__ import annotations

import pytest

from kubeez_mcp_local.catalogue.estimate import Described, estimate
from kubeez_mcp_local.catalogue.listing import Listing
from kubeez_mcp_local.catalogue.rows import parse_row
from kubeez_mcp_local.catalogue.snapshot import snapshot_listing
from kubeez_mcp_local.errors import InvalidArgumentError

LISTING = snapshot_listing()


def test_a_flat_price_is_multiplied_by_the_count() -> None:
    quote = estimate(LISTING, Described("nano-banana-2", count=3))
    assert (quote.credits, quote.basis) == (42, "catalogue")


@pytest.mark.parametrize("model", [model.id for model in LISTING.models])
def test_every_row_of_the_catalogue_can_be_described_by_its_id_alone(model: str) -> None:
    quote = estimate(LISTING, Described(model))
    assert (quote.credits is None) == (quote.basis == "unknown")


def test_a_model_that_needs_inputs_is_quoted_without_naming_them() -> None:
    assert estimate(LISTING, Described("veo3-1-fast-first-and-last-frames")).credits == 99


def test_a_length_moves_the_price_of_a_per_second_model() -> None:
    five, ten = (estimate(LISTING, Described("kling-3-0-std", duration=f"{n}s")).credits for n in (5, 10))
    assert five is not None
    assert ten is not None
    assert ten > five


def test_what_the_model_does_not_offer_is_refused_by_its_own_reason() -> None:
    with pytest.raises(InvalidArgumentError, match="duration"):
        estimate(LISTING, Described("kling-3-0-std", duration="99s"))


def test_captions_without_a_length_have_no_price() -> None:
    assert estimate(LISTING, Described("auto-caption")).credits is None


def test_a_newer_caption_model_is_not_taken_for_a_flat_price() -> None:
    newer = parse_row({"model_id": "auto-caption-universal-3-pro", "model_type": "speech", "cost_per_generation": 0.7})
    quote = estimate(Listing((newer,), source="live"), Described(newer.id, video_seconds=60))
    assert quote.credits is None
