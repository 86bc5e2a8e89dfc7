"""Prices of jobs that are only described."""

from __future__ import annotations

import pytest

from kubeez_mcp_local.catalogue.listing import Listing, snapshot_listing
from kubeez_mcp_local.catalogue.models import parse_row
from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.operations import Described, estimate
from kubeez_mcp_local.planning.pick import Needs, pick
from kubeez_mcp_local.planning.plan import plan

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


def newer_listing(model_id: str, kind: str, cost_note: str) -> Listing:
    row = {"model_id": model_id, "model_type": kind, "cost_per_generation": 5, "cost_note": cost_note}
    return Listing((parse_row(row),), source="live")


def test_a_sound_from_text_has_the_usual_length_unless_one_is_chosen() -> None:
    sounds = newer_listing("sonilo-text-to-sfx", "sound", "1 credit per second")
    assert estimate(sounds, Described("sonilo-text-to-sfx")).credits == 5
    assert estimate(sounds, Described("sonilo-text-to-sfx", duration="20s")).credits == 20
    assert estimate(sounds, Described("sonilo-text-to-sfx", duration="1")).credits == 3
    with pytest.raises(InvalidArgumentError, match="1 to 180 s"):
        estimate(sounds, Described("sonilo-text-to-sfx", duration="181"))


def test_plan_and_pick_price_a_sound_from_text_as_estimate_does() -> None:
    sounds = newer_listing("sonilo-text-to-sfx", "sound", "1 credit per second")
    chosen = pick(sounds, Needs("sound")).chosen
    assert chosen is not None
    assert chosen.quote.credits == plan("a door", sounds, task="sfx").quote.credits == 5
    assert plan("a door, 20 seconds", sounds, task="sfx").quote.credits == 20
    assert plan("a door, 10 minutes", sounds, task="sfx").recommended_model is None


def test_a_sound_for_a_clip_has_the_length_of_the_clip() -> None:
    sounds = newer_listing("sonilo-video-to-video-sfx", "sound", "1 credit per second")
    assert estimate(sounds, Described("sonilo-video-to-video-sfx")).credits is None
    assert estimate(sounds, Described("sonilo-video-to-video-sfx", video_seconds=12)).credits == 12


def test_the_length_of_a_file_counts_whichever_argument_it_comes_in() -> None:
    song = Described("mvsep-40", video_seconds=130)
    assert estimate(LISTING, song).credits == estimate(LISTING, Described("mvsep-40", audio_seconds=130)).credits == 18


def test_the_price_of_a_dubbing_says_that_it_is_for_one_language() -> None:
    dubs = newer_listing("sonilo-dubbing", "dubbing", "3 credits per second")
    quote = estimate(dubs, Described("sonilo-dubbing", video_seconds=30))
    assert quote.credits == 90
    assert "one target language" in quote.note


def test_a_newer_caption_model_is_not_taken_for_a_flat_price() -> None:
    newer = parse_row({"model_id": "auto-caption-universal-3-pro", "model_type": "speech", "cost_per_generation": 0.7})
    quote = estimate(Listing((newer,), source="live"), Described(newer.id, video_seconds=60))
    assert quote.credits is None
