"""Choosing is a calculation: it can be followed, and it says why others fell out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.planning.offers import cheaper
from kubeez_mcp_local.planning.pick import Needs, pick

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubeez_mcp_local.catalogue.listing import Listing
    from kubeez_mcp_local.catalogue.models import Model


@pytest.mark.parametrize(
    ("needs", "chosen"),
    [
        (Needs("image"), "z-image"),
        (Needs("image", prefer="speed"), "nano-banana"),
        (Needs("image", prefer="tier", max_credits=20), "imagen-4-ultra"),
        (Needs("image", prefer="tier"), "nano-banana-pro-4K"),
        (Needs("image", resolution="2k"), "flux-2-2K"),
        (Needs("image", inputs=("image",)), "p-image-edit"),
        (Needs("image", inputs=("image",) * 12), "gpt-1.5-image-medium"),
        (Needs("image", aspect_ratio="2x1"), "Logo-maker"),
        (Needs("video"), "seedance-1-5-pro-480p-4s"),
        (Needs("video", duration="5s"), "kling-2-6-text-to-video-5s"),
        (Needs("video", duration=7), "kling-3-0-std"),
        (Needs("video", sound=True, duration=5), "wan-2-5-text-to-video-5s-720p"),
        (Needs("video", sound=False, duration=12, resolution="1080P"), "seedance-1-5-pro-1080p-12s"),
        (Needs("video", inputs=("image",), duration=10), "sora-2-image-to-video-10s"),
        (Needs("video", inputs=("image", "video")), "kling-2-6-motion-control-1080p"),
        (Needs("music"), "V5_5"),
        (Needs("speech"), "text-to-dialogue-v3"),
        (Needs("separation"), "mvsep-40"),
        (Needs("captions"), "auto-caption"),
    ],
)
def test_the_best_fit(listing: Listing, needs: Needs, chosen: str) -> None:
    choice = pick(listing, needs)
    assert choice.chosen is not None
    assert choice.chosen.model.id == chosen


def test_the_budget_is_for_all_results_together(listing: Listing) -> None:
    choice = pick(listing, Needs("image", count=3, max_credits=21))
    assert [(held.model.id, held.quote.credits) for held in choice.ranked] == [
        ("z-image", 12),
        ("z-image-hd", 18),
        ("nano-banana", 21),
        ("imagen-4-fast", 21),
        ("seedream-v4", 21),
    ]


def test_models_of_unknown_price_rank_last_and_fit_no_budget(listing: Listing) -> None:
    free = pick(listing, Needs("video", duration=5, inputs=()))
    assert free.ranked[-1].model.id == "wan-2-5"
    bound = pick(listing, Needs("video", duration=5, max_credits=100_000))
    assert "wan-2-5" not in [held.model.id for held in bound.ranked]
    assert "has no known price" in [rejection.reason for rejection in bound.rejected]


def test_rejections_are_grouped_by_reason_and_family(listing: Listing) -> None:
    choice = pick(listing, Needs("image", resolution="4K"))
    (rejection,) = choice.rejected
    assert rejection.reason == "has no 4K on record"
    assert "nano-banana" in rejection.models
    assert len(rejection.families) < len(rejection.models)
    assert "has no 4K on record (16)" in choice.summary


def test_a_family_of_which_a_member_fits_is_not_among_the_rejected(listing: Listing) -> None:
    choice = pick(listing, Needs("video", duration=4, sound=True, max_credits=100))
    fitting = {held.model.family for held in choice.ranked}
    assert "seedance-1-5-pro" in fitting
    assert not fitting & {family for rejection in choice.rejected for family in rejection.families}
    assert any("seedance-1-5-pro-480p-8s-audio" in rejection.models for rejection in choice.rejected)


@pytest.mark.parametrize("task", ["image-to-video", "image-to-image"])
def test_the_name_of_the_work_says_that_a_picture_goes_in(listing: Listing, task: str) -> None:
    assert pick(listing, Needs(task)).needs.inputs == ("image",)
    assert pick(listing, Needs(task)).ranked == pick(listing, Needs(task, inputs=("image",))).ranked


@pytest.mark.parametrize(
    ("needs", "because"),
    [
        (Needs("captions", inputs=("image",)), "takes no image (1)"),
        (Needs("captions", inputs=("video", "video")), "takes 1 file a call (1)"),
        (Needs("captions", duration=1801), "takes at most 1800 s (1)"),
        (Needs("music", inputs=("audio",)), "takes no audio"),
        (Needs("speech", resolution="4K"), "has no 4K on record"),
    ],
)
def test_what_a_tool_would_refuse_is_not_picked(listing: Listing, needs: Needs, because: str) -> None:
    choice = pick(listing, needs)
    assert choice.chosen is None
    assert because in choice.summary


def test_sounds_and_dubs_are_picked_where_the_catalogue_has_them(
    listing: Listing, make_model: Callable[..., Model]
) -> None:
    ids = ("sonilo-text-to-sfx", "sonilo-text-to-music", "sonilo-video-to-sfx", "sonilo-dubbing")
    made = tuple(make_model(name, model_type="sound", cost_note="1 credit per second") for name in ids)
    newer = replace(listing, models=(*listing.models, *made))
    effect = pick(newer, Needs("sound", duration=20))
    assert [(held.model.id, held.quote.credits) for held in effect.ranked] == [
        ("sonilo-text-to-music", 20),
        ("sonilo-text-to-sfx", 20),
    ]
    assert [held.model.id for held in pick(newer, Needs("sound", duration=300)).ranked] == ["sonilo-text-to-music"]
    on_clip = pick(newer, Needs("sound", inputs=("video",)))
    assert [held.model.id for held in on_clip.ranked] == ["sonilo-video-to-sfx"]
    assert "works from text alone (2)" in on_clip.summary
    dub = pick(newer, Needs("dubbing", duration=30, max_credits=20))
    assert dub.chosen is None
    assert "costs more than 20 credits" in dub.summary
    assert pick(listing, Needs("dubbing")).summary == "Nothing fits: no model in this catalogue does dubbing."


def test_the_length_of_the_file_prices_a_job_on_it(listing: Listing) -> None:
    choice = pick(listing, Needs("separation", duration=130))
    assert choice.chosen is not None
    assert choice.chosen.quote.credits == 18


def test_a_variant_is_priced_under_the_id_that_would_be_sent(listing: Listing) -> None:
    choice = pick(listing, Needs("video", sound=True, max_credits=30))
    assert [held.model.id for held in choice.ranked] == ["seedance-1-5-pro-480p-4s-audio"]


def test_website_only_rows_and_helpers_are_never_chosen(listing: Listing) -> None:
    assert {held.model.id for held in pick(listing, Needs("music")).ranked} == {"V4", "V4_5", "V4_5PLUS", "V5", "V5_5"}


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
        pick(listing, Needs(**fields))
    assert caught.value.argument == argument


def test_a_longer_clip_that_is_cut_for_free_is_named_where_it_costs_less(full: Listing) -> None:
    needs = Needs("text-to-video", aspect_ratio="9:16", duration=5, sound=True)
    choice = pick(full, needs)
    assert choice.chosen is not None
    offer = cheaper(full, choice)
    assert offer is not None
    assert offer.says == (
        "about 29 credits: seedance-1-5-pro-480p-8s, 8 s (24 credits), then trim_video to 5 s (free), "
        "then generate_sound sonilo-video-to-video-sfx (5 credits)"
    )
    assert offer.credits is not None
    assert offer.credits < (choice.chosen.quote.credits or 0)
    without = replace(full, models=tuple(model for model in full.models if not model.id.startswith("sonilo")))
    offer = cheaper(without, pick(without, needs))
    assert offer is not None
    assert offer.says.endswith("seedance-1-5-pro-480p-8s-audio, 8 s (48 credits), then trim_video to 5 s (free)")
    assert cheaper(without, pick(without, needs), can_cut=False) is None
    for other in (replace(needs, duration=4, sound=None), replace(needs, prefer="speed"), Needs("image")):
        assert cheaper(full, pick(full, other)) is None
