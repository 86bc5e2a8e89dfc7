"""A sentence becomes a model, a price and steps, the same ones every time."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from kubeez_mcp_local.catalogue.plan import plan
from kubeez_mcp_local.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubeez_mcp_local.catalogue.listing import Listing
    from kubeez_mcp_local.catalogue.model import Model


@pytest.mark.parametrize(
    ("intent", "task", "model"),
    [
        ("A hero image for our coffee landing page", "text-to-image", "nano-banana-2"),
        ("a logo for a bakery", "text-to-image", "Logo-maker"),
        ("the cheapest picture of a cat", "text-to-image", "z-image"),
        ("best quality 4k poster", "text-to-image", "nano-banana-pro-4K"),
        ("edit my photo: make the sky pink", "image-to-image", "nano-banana-2"),
        ("animate this photo of my dog, 8 seconds, vertical", "image-to-video", "seedance-1-5-pro-720p-8s"),
        ("turn this image into a video", "image-to-video", "seedance-1-5-pro-720p-4s"),
        ("make a video of the sea with sound", "text-to-video", "seedance-1-5-pro-720p-4s-audio"),
        ("cheapest 10 second clip for tiktok", "text-to-video", "sora-2-text-to-video-10s"),
        ("a jingle for a video ad", "text-to-music", "V5_5"),
        ("two people talking, podcast dialogue", "text-to-dialogue", "text-to-dialogue-v3"),
        ("split this song into vocals and instrumental", "separation", "mvsep-40"),
        ("burn subtitles into my clip", "captions", "auto-caption"),
        ("dub this video into German", "dubbing", "sonilo-dubbing"),
        ("remove the background from my product photos", "remove_background", "remove-background"),
        ("sound effects for a door", "sound", "sonilo-text-to-sfx"),
        ("trim my video to ten seconds", "trim", None),
    ],
)
def test_intents(listing: Listing, intent: str, task: str, model: str | None) -> None:
    made = plan(intent, listing)
    assert (made.task, made.recommended_model) == (task, model)
    assert made.workflow_steps


@pytest.mark.parametrize(
    ("intent", "ratio"),
    [
        ("picture for a youtube banner", "16:9"),
        ("square picture", "1:1"),
        ("picture in 3:4", "3:4"),
        ("a reel about tea", "9:16"),
        ("a picture of tea", "1:1"),
        ("a video of tea", "16:9"),
    ],
)
def test_the_suggested_ratio(listing: Listing, intent: str, ratio: str) -> None:
    assert plan(intent, listing).suggested_aspect_ratio == ratio


def test_count_and_budget_are_read(listing: Listing) -> None:
    made = plan("three ad variants as square images under 30 credits", listing)
    assert made.count == 3
    assert made.estimated_credits is not None
    assert made.estimated_credits <= 30


def test_a_length_is_not_a_count(listing: Listing) -> None:
    assert plan("a 10 second video", listing).count == 1


def test_local_files_turn_text_work_into_input_work(listing: Listing) -> None:
    made = plan("a video of the sea", listing, has_local_files=True)
    assert (made.task, made.requires_upload) == ("image-to-video", True)
    assert "media-upload" in made.skills_to_fetch
    assert "local path" in made.workflow_steps[0]


def test_without_files_nothing_is_uploaded(listing: Listing) -> None:
    made = plan("a picture of the sea", listing)
    assert made.requires_upload is False
    assert "media-upload" not in made.skills_to_fetch


def test_a_video_reference_goes_to_a_model_that_follows_videos(listing: Listing) -> None:
    made = plan("make the person in my clip a robot", listing, has_video_reference=True)
    assert made.recommended_model is not None
    assert "motion-control" in made.recommended_model
    assert "picture is needed" in made.reason


def test_a_video_reference_prefers_gemini_omni_where_it_exists(
    listing: Listing, make_model: Callable[..., Model]
) -> None:
    omni = make_model(
        "gemini-omni-video-hd-8s-video-ref",
        generation_types=["image-to-video"],
        max_input_images=5,
        max_input_videos=1,
        cost_per_generation=200,
    )
    newer = replace(listing, models=(*listing.models, omni))
    assert plan("edit this clip", newer, has_video_reference=True).recommended_model == omni.id


def test_nothing_fits_is_said_with_the_nearest(listing: Listing) -> None:
    made = plan("a 90 second video", listing)
    assert (made.recommended_model, made.estimated_credits) == (None, None)
    assert "nearest" in made.reason
    assert "nearest" in made.workflow_steps[0]


def test_the_steps_end_with_a_paid_call_after_a_yes(listing: Listing) -> None:
    steps = plan("a picture of the sea", listing).workflow_steps
    asked = next(number for number, step in enumerate(steps) if "wait for a yes" in step)
    paid = next(number for number, step in enumerate(steps) if step.startswith("generate_media("))
    assert asked < paid


@pytest.mark.parametrize("intent", ["", "  ", "x" * 4001])
def test_an_empty_or_endless_intent_is_refused(listing: Listing, intent: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        plan(intent, listing)
    assert caught.value.argument == "intent"


@pytest.mark.parametrize("word", ["remove ", "translate a b c ", "animate my x ", "turn my x photo "])
def test_a_long_intent_of_trigger_words_is_read_in_no_time(listing: Listing, word: str) -> None:
    made: Any = plan((word * 4000)[:4000], listing)
    assert made.workflow_steps
