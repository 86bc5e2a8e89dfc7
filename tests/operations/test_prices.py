"""Prices carry their basis, multiply by the count, and are never guessed low."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from kubeez_mcp_local.catalogue.listing import Listing
from kubeez_mcp_local.operations import Described, background, by_id, captions, dubbing, media, separation, sound
from kubeez_mcp_local.operations.media_check import MediaRequest, check_media

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubeez_mcp_local.catalogue.models import Model
    from kubeez_mcp_local.catalogue.prices import Quote


def quoted(listing: Listing, model: Model, *, count: int = 1, video: float | None = None, **fields: Any) -> Quote:
    settled = check_media(model, listing, MediaRequest(**{"prompt": "x", "model": model.id, **fields}))
    target = listing.find(settled.model) or model
    return media.price(target, settled, Described(target.id, video_seconds=video), count=count)


def test_a_flat_price_is_the_rows(listing: Listing) -> None:
    quote = quoted(listing, listing.get("nano-banana-2"))
    assert (quote.credits, quote.basis, quote.seconds, quote.note) == (14, "catalogue", 42, "")


def test_the_count_multiplies_and_shows_in_the_breakdown(listing: Listing) -> None:
    quote = quoted(listing, listing.get("nano-banana-2"), count=4)
    assert quote.credits == 56
    (line,) = quote.breakdown
    assert (line.label, line.credits, line.detail) == ("4 x nano-banana-2", 56, "14 credits each")


def test_the_tier_that_is_sent_is_the_tier_that_is_priced(listing: Listing) -> None:
    assert quoted(listing, listing.get("nano-banana-2"), resolution="4k").credits == 25


def test_sound_by_its_own_id_is_priced(listing: Listing) -> None:
    assert quoted(listing, listing.get("seedance-1-5-pro-480p-4s"), sound=True).credits == 24


@pytest.mark.parametrize(
    ("model_id", "duration", "price"),
    [
        ("kling-3-0-std", 3, 105),
        ("kling-3-0-std", 5, 105),
        ("kling-3-0-std", 10, 210),
        ("kling-3-0-pro", 15, 375),
    ],
)
def test_kling_3_takes_the_dearer_of_its_two_recorded_rates(
    listing: Listing, model_id: str, duration: int, price: float
) -> None:
    quote = quoted(listing, listing.get(model_id), duration=duration)
    assert (quote.credits, quote.basis) == (price, "rate")
    assert "upper bound" in quote.note


def test_a_lower_list_price_brings_the_audited_rate_forward(listing: Listing, make_model: Callable[..., Model]) -> None:
    model = make_model("kling-3-0-std", cost_per_generation=51, duration_options=["3s", "5s", "10s"])
    settled = check_media(model, listing, MediaRequest("x", model.id, duration=10))
    assert media.price(model, settled).credits == 170


@pytest.mark.parametrize(
    ("model_id", "fields", "why"),
    [
        ("wan-2-5", {}, "depends on the length"),
        ("kling-3-0-std", {"sound": True}, "sound may cost extra"),
        ("imagen-4", {"quality": "ultra"}, "price at quality ultra"),
        ("kling-2-6-motion-control-720p", {"inputs": ("image", "video")}, "depends on the length"),
    ],
)
def test_without_evidence_the_price_is_unknown_and_says_why(
    listing: Listing, model_id: str, fields: dict[str, Any], why: str
) -> None:
    quote = quoted(listing, listing.get(model_id), **fields)
    assert (quote.credits, quote.basis) == (None, "unknown")
    assert why in quote.note
    assert "reference price" in quote.note


@pytest.mark.parametrize("fields", [{"resolution": "1K"}, {"quality": "standard"}, {"sound": False}, {"seed": 4}])
def test_defaults_that_are_said_outright_change_no_price(listing: Listing, fields: dict[str, Any]) -> None:
    assert quoted(listing, listing.get("imagen-4"), **fields).credits == 13


def test_quality_that_the_row_lists_is_part_of_the_flat_price(listing: Listing) -> None:
    assert quoted(listing, listing.get("seedream-v4-5"), quality="high").credits == 9


@pytest.mark.parametrize(
    ("cost_note", "price"),
    [
        ("12 credits per second", 120),
        ("Billed at 12.5 credits/s of output.", 125),
        ("6 credits per minute", 1),
        ("Charged per second of output, see pricing.", None),
        ("4 credits per second without sound, 6 credits per second with sound", None),
        ("Flat price per generation.", None),
    ],
)
def test_a_rate_in_the_cost_note_is_used_if_it_is_the_only_one(
    listing: Listing, make_model: Callable[..., Model], cost_note: str, price: float | None
) -> None:
    model = make_model("new-video", cost_note=cost_note, duration_options=["5s", "10s"])
    settled = check_media(model, listing, MediaRequest("x", model.id, duration=10))
    assert media.price(model, settled).credits == price


def test_a_flat_cost_note_leaves_a_flat_price(listing: Listing, make_model: Callable[..., Model]) -> None:
    model = make_model("new-image", model_type="image", cost_note="Flat price per generation.")
    assert quoted(listing, model).credits == 10


def test_a_reference_video_is_billed_with_the_clip(listing: Listing, make_model: Callable[..., Model]) -> None:
    model = make_model(
        "seedance-2-720p-video-ref", cost_note="5 credits per second", duration_options=["5s"], max_input_videos=3
    )
    assert quoted(listing, model, inputs=("video",), video=7.5).credits == 62.5
    assert quoted(listing, model, inputs=("video",)).basis == "unknown"


def test_a_row_without_a_price_has_none(listing: Listing, make_model: Callable[..., Model]) -> None:
    quote = quoted(listing, make_model("free-lunch", model_type="image", cost_per_generation=None))
    assert (quote.credits, quote.basis) == (None, "unknown")


def test_fractions_of_credits_survive(listing: Listing, make_model: Callable[..., Model]) -> None:
    model = make_model("tiny", model_type="image", cost_per_generation=0.1)
    assert quoted(listing, model, count=3).credits == 0.3


@pytest.mark.parametrize(("seconds", "price"), [(None, None), (30, 6), (60, 6), (61, 12), (600, 60)])
def test_separation_is_quoted_per_started_minute(listing: Listing, seconds: float | None, price: float | None) -> None:
    assert separation.price(listing, "mvsep-40", seconds).credits == price


def test_file_jobs_without_a_recorded_rate_are_unknown(listing: Listing) -> None:
    quotes = [job.price(listing, job.MODEL, 30) for job in (captions, dubbing, sound)]
    for quote in (*quotes, background.price(listing)):
        assert (quote.credits, quote.basis, quote.lacks_length) == (None, "unknown", False)


def test_a_length_that_is_missing_is_told_from_a_rate_that_is(listing: Listing) -> None:
    assert captions.price(listing, "auto-caption", None).lacks_length
    assert separation.price(listing, "mvsep-40", None).lacks_length


def test_file_jobs_use_the_rate_of_their_row(make_model: Callable[..., Model]) -> None:
    rows = Listing(
        (
            make_model("sonilo-dubbing", cost_note="2 credits per second"),
            make_model("remove-background", model_type="image", cost_per_generation=4),
            make_model("sonilo-text-to-sfx", cost_note="1 credit per second"),
        ),
        source="live",
    )
    assert dubbing.price(rows, "sonilo-dubbing", 4, languages=3).credits == 60  # 10 s at least, each language
    assert background.price(rows, 2).credits == 8
    assert sound.price(rows, "sonilo-text-to-sfx", 1).credits == 3


@pytest.mark.parametrize(
    ("model_id", "operation"),
    [
        ("auto-caption", "generate_captions"),
        ("auto-caption-universal-3-pro", "generate_captions"),
        ("mvsep-40", "generate_separation"),
        ("elevenlabs-dubbing", "generate_dubbing"),
        ("sonilo-dubbing", "generate_dubbing"),
        ("sonilo-video-to-sfx", "generate_sound"),
        ("Remove-Background", "remove_background"),
        ("nano-banana", None),
    ],
)
def test_the_operation_of_a_file_model_is_known_by_its_id(model_id: str, operation: str | None) -> None:
    found = by_id(model_id)
    assert (found and found.name) == operation
