"""Choosing is a calculation: it can be followed, and it says why others fell out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.planning.pick import Wish, pick

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubeez_mcp_local.catalogue.listing import Listing
    from kubeez_mcp_local.catalogue.models import Model


@pytest.mark.parametrize(
    ("wish", "chosen"),
    [
        (Wish("image"), "z-image"),
        (Wish("image", prefer="speed"), "nano-banana"),
        (Wish("image", prefer="tier", max_credits=20), "imagen-4-ultra"),
        (Wish("image", prefer="tier"), "nano-banana-pro-4K"),
        (Wish("image", prefer="tier", logo=True), "Logo-maker"),
        (Wish("image", resolution="2k"), "flux-2-2K"),
        (Wish("image", inputs=("image",)), "p-image-edit"),
        (Wish("image", inputs=("image",) * 12), "gpt-1.5-image-medium"),
        (Wish("image", aspect_ratio="2x1"), "Logo-maker"),
        (Wish("image", provider="openai"), "gpt-1.5-image-medium"),
        (Wish("image", prompt="x" * 6000), "nano-banana-2"),
        (Wish("video"), "seedance-1-5-pro-480p-4s"),
        (Wish("video", duration="5s"), "kling-2-6-text-to-video-5s"),
        (Wish("video", duration=7), "kling-3-0-std"),
        (Wish("video", sound=True, duration=5), "wan-2-5-text-to-video-5s-720p"),
        (Wish("video", sound=False, duration=12, resolution="1080P"), "seedance-1-5-pro-1080p-12s"),
        (Wish("video", inputs=("image",), duration=10), "sora-2-image-to-video-10s"),
        (Wish("video", inputs=("image", "video")), "kling-2-6-motion-control-1080p"),
        (Wish("music"), "V5_5"),
        (Wish("speech"), "text-to-dialogue-v3"),
        (Wish("separation"), "mvsep-40"),
        (Wish("captions"), "auto-caption"),
    ],
)
def test_the_best_fit(listing: Listing, wish: Wish, chosen: str) -> None:
    choice = pick(listing, wish)
    assert choice.chosen is not None
    assert choice.chosen.model.id == chosen


def test_a_prompt_that_is_too_long_is_a_reason(listing: Listing) -> None:
    choice = pick(listing, Wish("image", prompt="x" * 6000))
    reasons = {rejection.reason: rejection.models for rejection in choice.rejected}
    assert "z-image" in reasons["takes no prompt of 6000 characters"]


def test_the_budget_is_for_all_results_together(listing: Listing) -> None:
    choice = pick(listing, Wish("image", count=3, max_credits=21))
    assert [(held.model.id, held.quote.credits) for held in choice.ranked] == [
        ("z-image", 12),
        ("z-image-hd", 18),
        ("nano-banana", 21),
        ("imagen-4-fast", 21),
        ("seedream-v4", 21),
    ]


def test_models_of_unknown_price_rank_last_and_fit_no_budget(listing: Listing) -> None:
    free = pick(listing, Wish("video", duration=5, inputs=()))
    assert free.ranked[-1].model.id == "wan-2-5"
    bound = pick(listing, Wish("video", duration=5, max_credits=100_000))
    assert "wan-2-5" not in [held.model.id for held in bound.ranked]
    assert "has no known price" in [rejection.reason for rejection in bound.rejected]


def test_rejections_are_grouped_by_reason_and_family(listing: Listing) -> None:
    choice = pick(listing, Wish("image", resolution="4K"))
    (rejection,) = choice.rejected
    assert rejection.reason == "has no 4K on record"
    assert "nano-banana" in rejection.models
    assert len(rejection.families) < len(rejection.models)
    assert "has no 4K on record (16)" in choice.summary


@pytest.mark.parametrize(
    ("wish", "nearest", "because"),
    [
        (Wish("video", max_credits=5), "seedance-1-5-pro-480p-4s", "costs more than 5 credits"),
        (Wish("video", duration=60), "sora-2-pro-storyboard-25s", "makes no clips of 60 s"),
        (Wish("video", duration=8, sound=True, max_credits=40), "seedance-1-5-pro-480p-8s-audio", "costs more than 40"),
        (Wish("image", aspect_ratio="7:3"), "z-image", "does not offer 7:3"),
        (Wish("image", resolution="8K"), "nano-banana-2-4K", "has no 8K on record"),
        (Wish("video", duration=8, sound=False, resolution="4k"), "seedance-1-5-pro-1080p-8s", "has no 4K on record"),
        (Wish("video", duration=15, sound=True, provider="Kuaishou"), "kling-3-0-std", "(315 credits)"),
        (Wish("music", duration=30), "V5_5", "offers no choice of length"),
        (Wish("speech", resolution="4K"), "text-to-dialogue-v3", "has no 4K on record"),
    ],
)
def test_nothing_fits_names_the_nearest_and_what_it_lacks(
    listing: Listing, wish: Wish, nearest: str, because: str
) -> None:
    choice = pick(listing, wish)
    assert choice.chosen is None
    assert choice.nearest is not None
    assert choice.nearest.model.id == nearest
    assert choice.summary.startswith(f"Nothing fits. The nearest is {nearest}")
    assert because in choice.summary


def test_sounds_and_dubs_are_picked_where_the_catalogue_has_them(
    listing: Listing, make_model: Callable[..., Model]
) -> None:
    ids = ("sonilo-text-to-sfx", "sonilo-text-to-music", "sonilo-video-to-sfx", "sonilo-dubbing")
    made = tuple(make_model(name, model_type="sound", cost_note="1 credit per second") for name in ids)
    newer = replace(listing, models=(*listing.models, *made))
    effect = pick(newer, Wish("sound", duration=20))
    assert [(held.model.id, held.quote.credits) for held in effect.ranked] == [
        ("sonilo-text-to-music", 20),
        ("sonilo-text-to-sfx", 20),
    ]
    assert [held.model.id for held in pick(newer, Wish("sound", duration=300)).ranked] == ["sonilo-text-to-music"]
    on_clip = pick(newer, Wish("sound", inputs=("video",)))
    assert [held.model.id for held in on_clip.ranked] == ["sonilo-video-to-sfx"]
    assert "works from text alone (2)" in on_clip.summary
    dub = pick(newer, Wish("dubbing", duration=30, max_credits=20))
    assert dub.chosen is None
    assert "costs more than 20 credits" in dub.summary
    assert pick(listing, Wish("dubbing")).summary == "Nothing fits: no model in this catalogue does dubbing."


def test_the_length_of_the_file_prices_a_job_on_it(listing: Listing) -> None:
    choice = pick(listing, Wish("separation", duration=130))
    assert choice.chosen is not None
    assert choice.chosen.quote.credits == 18


def test_a_variant_is_priced_under_the_id_that_would_be_sent(listing: Listing) -> None:
    choice = pick(listing, Wish("video", sound=True, max_credits=30))
    assert [held.model.id for held in choice.ranked] == ["seedance-1-5-pro-480p-4s-audio"]


def test_website_only_rows_and_helpers_are_never_chosen(listing: Listing) -> None:
    assert {held.model.id for held in pick(listing, Wish("music")).ranked} == {"V4", "V4_5", "V4_5PLUS", "V5", "V5_5"}


@pytest.mark.parametrize(
    ("fields", "argument"),
    [
        ({"task": "hologram"}, "task"),
        ({"task": ""}, "task"),
        ({"task": "image", "count": 0}, "count"),
        ({"task": "image", "max_credits": -1}, "max_credits"),
        ({"task": "image", "max_credits": float("nan")}, "max_credits"),
        ({"task": "image", "prefer": "beauty"}, "prefer"),
        ({"task": "video", "duration": "soon"}, "duration"),
    ],
)
def test_a_malformed_wish_is_refused(listing: Listing, fields: dict[str, Any], argument: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        pick(listing, Wish(**fields))
    assert caught.value.argument == argument
