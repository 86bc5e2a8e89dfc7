"""A sentence becomes a model, a price and steps, the same ones every time."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.planning.plan import plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubeez_mcp_local.catalogue.listing import Listing
    from kubeez_mcp_local.catalogue.models import Model


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
        ("the sound of rain on a tin roof, 20 seconds", "sound", "sonilo-text-to-sfx"),
        ("no music, just a picture of a guitar", "text-to-image", "nano-banana-2"),
        ("a youtube thumbnail for my video about trains", "text-to-image", "nano-banana-2"),
        ("a painting of a film director", "text-to-image", "nano-banana-2"),
        ("video of a woman painting a picture", "text-to-video", "seedance-1-5-pro-720p-4s"),
        ("a music video of 12 seconds", "text-to-video", "seedance-1-5-pro-720p-12s"),
        ("a movie poster", "text-to-image", "nano-banana-2"),
        ("an image with a caption that says hello", "text-to-image", "nano-banana-2"),
        ("a cut diamond on a dark background", "text-to-image", "nano-banana-2"),
        ("voice-over in a warm tone for my ad", "text-to-dialogue", "text-to-dialogue-v3"),
        ("5 variants in the style of this competitor's ad", "ad_copy", None),
        ("a photorealistic portrait, best quality money can buy", "text-to-image", "nano-banana-pro-4K"),
        ("a picture of a fast car", "text-to-image", "nano-banana-2"),
        ("a world's best dad mug, photo", "text-to-image", "nano-banana-2"),
        ("use nano banana pro to draw a robot", "text-to-image", "nano-banana-pro"),
        ("Kling video of a horse, 10 s, with audio", "text-to-video", "kling-2-6-text-to-video-10s-audio"),
        ("a clip with Veo 3.1 fast", "text-to-video", "veo3-1-fast-text-to-video"),
        ("a logo video", "text-to-video", "seedance-1-5-pro-720p-4s"),
        ("une musique douce pour une vidéo", "text-to-music", "V5_5"),
        ("un video de un perro, 12 segundos", "text-to-video", "seedance-1-5-pro-720p-12s"),
        ("a cinematic shot, 12s, silent", "text-to-video", "seedance-1-5-pro-720p-12s"),
        ("make my dog talk, here is his picture", "text-to-video", "seedance-1-5-pro-720p-4s"),
        ("an ad like this one", "ad_copy", None),
        ("explain how to cook pasta, spoken, in Italian", "text-to-dialogue", "text-to-dialogue-v3"),
        ("video ad for a perfume with voice over", "text-to-video", "seedance-1-5-pro-720p-4s-audio"),
        ("an 80s music video", "text-to-video", "seedance-1-5-pro-720p-4s"),
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


@pytest.mark.parametrize(
    ("intent", "ratio"),
    [("a clock that shows 10:47", "1:1"), ("a man speaking on the phone, photo", "1:1"), ("a man in shorts", "1:1")],
)
def test_figures_and_words_that_are_no_ratio(listing: Listing, intent: str, ratio: str) -> None:
    assert plan(intent, listing).suggested_aspect_ratio == ratio


def test_the_suggested_ratio_is_the_one_that_is_sent(listing: Listing) -> None:
    steps = plan("a video of tea", listing).workflow_steps
    assert any("aspect_ratio='16:9'" in step for step in steps if step.startswith("generate_media("))


def test_a_picture_that_is_changed_keeps_its_shape(listing: Listing) -> None:
    assert plan("edit this photo", listing, has_local_files=True).suggested_aspect_ratio == "auto"
    assert plan("animate this photo", listing, has_local_files=True).suggested_aspect_ratio is None


@pytest.mark.parametrize("intent", ["tee unter palmen", "щенок", "a burger with a cheese pull"])
def test_what_was_not_understood_is_said(listing: Listing, intent: str) -> None:
    made = plan(intent, listing)
    assert made.task == "text-to-image"
    assert "a picture is assumed" in made.reason
    assert "assumed" not in plan(f"{intent}, photo", listing).reason


def test_what_can_only_be_meant_for_pictures_needs_no_other_word(listing: Listing) -> None:
    made = plan("swap the sky for a sunset", listing, has_local_files=True)
    assert made.task == "image-to-image"
    assert "assumed" not in made.reason


def test_own_pictures_are_no_results(listing: Listing) -> None:
    made = plan("combine these two pictures into one", listing)
    assert (made.count, made.task) == (1, "image-to-image")
    assert "[image, image]" in "".join(made.workflow_steps)
    assert plan("a set of 5 images", listing).count == 5


def test_first_and_last_frame_are_two_pictures(listing: Listing) -> None:
    made = plan("a video from the first frame to the last frame", listing, has_local_files=True)
    assert "[image, image]" in "".join(made.workflow_steps)


@pytest.mark.parametrize(
    ("intent", "inputs"),
    [
        ("a music video for my new song", "[audio]"),
        ("lip sync this portrait to the attached recording", "[image, audio]"),
        ("a video of this", "[image]"),
    ],
)
def test_a_sound_that_the_user_has_goes_into_the_video(
    listing: Listing, make_model: Callable[..., Model], intent: str, inputs: str
) -> None:
    takes_sound = make_model(
        "seedance-2-720p", generation_types=["text-to-video", "image-to-video"], max_input_images=9, max_input_audios=3
    )
    newer = replace(listing, models=(*listing.models, takes_sound))
    assert inputs in "".join(plan(intent, newer, has_local_files=True).workflow_steps)


def test_a_video_reference_makes_a_video_of_a_picture(listing: Listing) -> None:
    made = plan("make my photo dance like in this", listing, has_local_files=True, has_video_reference=True)
    assert made.task == "image-to-video"


@pytest.mark.parametrize(
    ("intent", "price"),
    [
        ("a picture for 1 credit", None),
        ("a video, I have 15 credits", 12),
        ("three pictures, 5 credits each", 12),
        ("a picture, 1.5 credits at most", None),
    ],
)
def test_credits_are_a_budget_however_they_are_named(listing: Listing, intent: str, price: float | None) -> None:
    assert plan(intent, listing).estimated_credits == price


@pytest.mark.parametrize(
    ("intent", "calls"),
    [
        ("3 pictures", "variant_count=3)"),
        ("10 pictures", "10 in all: variant_count up to 4 a call, each call with another seed"),
        ("3 songs", "3 times, each with words of its own"),
    ],
)
def test_several_results_are_asked_for_in_a_way_that_gives_several(listing: Listing, intent: str, calls: str) -> None:
    assert calls in "".join(plan(intent, listing).workflow_steps)


def test_a_long_video_becomes_several_clips(listing: Listing) -> None:
    assert "several shorter clips" in plan("a two minute video", listing).workflow_steps[-1]


def test_a_length_that_music_cannot_have_is_said(listing: Listing) -> None:
    assert "choose the length" in plan("a 15 second jingle", listing).reason


def test_a_local_cut_needs_no_skill(listing: Listing) -> None:
    assert plan("trim my video", listing).skills_to_fetch == ()


def test_a_sound_from_text_asks_for_no_file(listing: Listing) -> None:
    steps = plan("the sound of rain, 20 seconds", listing).workflow_steps
    assert steps[0].startswith("estimate(model='sonilo-text-to-sfx', duration=20)")


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


@pytest.mark.parametrize(
    "word", ["remove ", "translate a b c ", "animate my x ", "turn my x photo ", "cut a a ", "5 a a ", "nano banana "]
)
def test_a_long_intent_of_trigger_words_is_read_in_no_time(listing: Listing, word: str) -> None:
    made: Any = plan((word * 4000)[:4000], listing)
    assert made.workflow_steps
