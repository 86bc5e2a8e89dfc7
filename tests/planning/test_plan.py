"""A wish becomes a model, a price and steps, the same ones every time; or a question, or offers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.planning.plan import Plan, plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubeez_mcp_local.catalogue.listing import Listing
    from kubeez_mcp_local.catalogue.models import Model


def words(made: Plan) -> str:
    return " ".join([*made.notes, *made.workflow_steps, *(offer.says for offer in made.offers)])


@pytest.mark.parametrize(
    ("intent", "asked", "task", "model"),
    [
        ("A hero image for our coffee landing page", "", "text-to-image", "nano-banana-2"),
        ("a picture of a gift, 4k", "", "text-to-image", "nano-banana-2-4K"),
        ("make the sky pink", "image-to-image", "text-to-image", None),
        (
            "make the product spin slowly, I have a photo",
            "image-to-video",
            "image-to-video",
            "seedance-1-5-pro-720p-4s",
        ),
        ("animate this photo of my dog, 8 seconds, vertical", "", "image-to-video", "seedance-1-5-pro-720p-8s"),
        ("make a video of the sea with sound", "", "text-to-video", "seedance-1-5-pro-720p-4s-audio"),
        ("a music video of 12 seconds", "video", "text-to-video", "seedance-1-5-pro-720p-12s"),
        ("podcast opening, instrumental", "music", "text-to-music", "V6"),
        ("podcast opening", "speech", "text-to-dialogue", "text-to-dialogue-v3"),
        ("colorize grandma's wedding picture", "image-to-image", "image-to-image", "nano-banana-2"),
        ("thunder and rain for the background of talk.mp4", "sound", "sound", "sonilo-video-to-video-sfx"),
        ("rain on a tin roof, 20 seconds", "sound", "sound", "sonilo-text-to-sfx"),
        ("dub this video into German", "", "dubbing", "sonilo-dubbing"),
        ("dub this video into Polish", "", "dubbing", "elevenlabs-dubbing"),
        ("30 second explainer with captions burned in", "subtitles", "captions", "auto-caption"),
        ("split this song into stems", "", "separation", "mvsep-40"),
        ("cut out the mug and put it on a beach", "cutout", "remove-background", "remove-background"),
        ("use nano banana pro to draw a robot", "image", "text-to-image", "nano-banana-pro"),
        ("Kling video of a horse, 10 s, with audio", "video", "text-to-video", "kling-2-6-text-to-video-10s-audio"),
        ("a clip with Veo 3.1 fast", "video", "text-to-video", "veo3-1-fast-text-to-video"),
        ("trim my video to ten seconds", "", "trim", None),
    ],
)
def test_wishes(full: Listing, intent: str, asked: str, task: str, model: str | None) -> None:
    made = plan(intent, full, task=asked)
    assert made.task == (asked if asked == "image-to-image" else task)
    assert made.recommended_model == (model or made.recommended_model)
    assert made.workflow_steps
    assert not made.tasks
    assert len(words(made)) < 1100


@pytest.mark.parametrize(
    ("intent", "attached", "asked"),
    [
        ("upscale to 4k", {}, ["text-to-image", "image-to-image"]),
        ("upscale to 4k", {"has_video_reference": True}, ["captions", "dubbing", "sound", "trim", "image-to-video"]),
        ("tee unter palmen", {}, ["text-to-image", "text-to-video", "text-to-music", "text-to-dialogue", "sound"]),
        (
            "щенок",
            {"has_local_files": True},
            ["image-to-image", "image-to-video", "remove-background", "ad-copy"],
        ),
        ("stems", {"has_local_files": True}, ["separation", "image-to-image", "image-to-video", "remove-background"]),
        ("podcast opening, instrumental", {}, ["text-to-dialogue", "text-to-music"]),
        ("30 second explainer with captions burned in", {}, ["captions", "text-to-video", "image-to-video"]),
        ("thunder and rain for the background of talk.mp4", {}, ["image-to-video", "sound"]),
        (
            "make the product spin slowly, I have a photo",
            {},
            ["text-to-video", "image-to-video", "text-to-image", "image-to-image"],
        ),
    ],
)
def test_in_doubt_few_kinds_of_work_are_asked_for(
    full: Listing, intent: str, attached: dict[str, bool], asked: list[str]
) -> None:
    made = plan(intent, full, **attached)  # type: ignore[arg-type]  # flags only
    assert (made.task, made.recommended_model, made.quote.credits) == (None, None, None)
    assert list(made.tasks)[: len(asked)] == asked
    assert 2 <= len(made.tasks) <= 5
    assert "task=" in made.workflow_steps[0]
    assert len(words(made)) + sum(len(name) + len(makes) + 5 for name, makes in made.tasks.items()) <= 490


def test_what_is_asked_for_has_prices(full: Listing) -> None:
    asked = plan("щенок", full, has_video_reference=True).tasks
    assert asked["captions"].endswith(", 30 credits a minute")
    assert asked["sound"].endswith(", from 5 credits")
    assert asked["trim"].endswith("free")
    assert plan("tee unter palmen", full).tasks["text-to-image"] == "a new picture, from 4 credits"


@pytest.mark.parametrize("task", ["", "video", "image-to-video"])
@pytest.mark.parametrize("video", [True, False])
def test_a_clip_that_nothing_here_can_mend_is_said_so_first(full: Listing, task: str, video: bool) -> None:
    made = plan("Remove the watermark from my clip", full, task=task, has_video_reference=video)
    assert made.notes[0].startswith("Not possible: nothing here mends a clip in place.")
    assert (made.recommended_model, made.job, made.task, dict(made.tasks)) == (None, None, None, {})
    assert [offer.credits for offer in made.offers] == [None, 12]
    assert not any("generate_" in step for step in made.workflow_steps)


@pytest.mark.parametrize(
    "intent",
    [
        "remove the vocals from my clip",
        "change the language of my clip",
        "remove the first 10 seconds of my clip",
        "remove the background from my picture",
        "add captions to my clip",
    ],
)
def test_what_tools_do_to_a_clip_is_possible(full: Listing, intent: str) -> None:
    assert "Not possible" not in words(plan(intent, full))


def test_captions_and_the_speech_they_need_are_part_of_one_answer(full: Listing) -> None:
    wish = "A 30 second explainer video about composting, with captions burned in, below 200 credits"
    made = plan(wish, full)
    (offer,) = made.offers
    assert (made.task, offer.credits) == ("text-to-video", 189)
    assert "8s-audio" in offer.says or "12s-audio" in offer.says
    tools = [step.tool for step in offer.steps]
    assert tools == ["generate_media", "trim_video", "join_videos", "generate_captions"]
    assert "a prompt each" in offer.says
    assert "write the words to be said into the prompt" in words(made)
    assert "call plan again" not in words(made)
    (short,) = plan(wish.replace("200", "100"), full).offers
    assert short.says == (
        "about 64 credits: seedance-1-5-pro-480p-12s-audio, 12 s (58 credits), then generate_captions (6 credits); "
        "12 s instead of 30 s"
    )


def test_a_clip_that_fits_goes_on_to_its_captions(full: Listing) -> None:
    made = plan("a 10 s clip about composting, with captions", full)
    assert "With generate_captions (5 credits) about 145 credits in all." in made.notes
    assert "sound=True" in words(made)
    assert made.workflow_steps[-1].startswith("generate_captions (5 credits)")


def test_clips_of_one_film_share_its_length_and_have_a_prompt_each(full: Listing) -> None:
    wish = "A connected film of two clips (a seed sprouting, then a flower), 10 seconds in all, as one file"
    made = plan(wish, full)
    call, _, join = made.workflow_steps
    assert (made.count, made.quote.credits) == (2, 60)
    assert "duration='5s'" in call
    assert "variant_count" not in call
    assert "2 times: one call for each prompt" in call
    assert join.startswith("join_videos(")
    assert "join_videos" not in words(plan(wish, full, can_cut=False))
    uneven = plan("a film of three clips, 10 seconds in all", full)
    assert uneven.recommended_model == "seedance-1-5-pro-720p-4s"
    assert "trim_video: cut 2 s of the last clip (free)." in uneven.workflow_steps


def test_takes_of_one_prompt_are_one_call(full: Listing) -> None:
    assert "variant_count=2" in words(plan("two videos of tea", full))


def test_a_clip_to_be_changed_is_no_picture(full: Listing) -> None:
    assert plan("a picture of the sea", full, has_video_reference=True).task is None
    assert plan("a video of the sea", full, has_video_reference=True).task == "image-to-video"


@pytest.mark.parametrize(
    ("intent", "task", "covered"),
    [
        (
            "cut out the mug and put it on a beach",
            "remove-background",
            "call plan again for the rest of the wish (“put it",
        ),
        ("30 second explainer with captions burned in", "video", "then generate_captions (15 credits)"),
        (
            "a clip of a singer, and stems",
            "video",
            "only a new clip; call plan again for separation",
        ),
        ("dub my talk into French with subtitles", "dubbing", "call plan again for captions"),
        ("my talk with captions in French", "captions", "dub first"),
        ("upscale to 4k", "image-to-image", "drawn anew, larger too; details can change"),
        ("remove the watermark from clip.mp4", "image-to-video", "nothing here mends a clip in place"),
        (
            "a 15 second jingle",
            "music",
            "The engine chooses the length; generate_sound with sonilo-text-to-music takes one",
        ),
        ("rain for talk.mp4", "sound", "for music take one whose id says music"),
        ("dub talk.mp4", "dubbing", "Priced for one language"),
        ("a movie of two hours", "video", "Only 3600 s are planned here"),
    ],
)
def test_what_is_not_covered_is_said(full: Listing, intent: str, task: str, covered: str) -> None:
    assert covered in words(plan(intent, full, task=task))


def test_what_was_read_is_said_and_what_was_not(full: Listing) -> None:
    made = plan("3 posters for 2027, 16:9, at most 60 credits", full)
    assert made.read == "Read from the words are 3 results, 16:9, at most 60 credits. Numbers not used: 2027."


@pytest.mark.parametrize(
    ("intent", "task", "calls"),
    [
        ("3 pictures of tea", "", "variant_count=3)"),
        ("10 pictures of tea", "", "10 in all: variant_count up to 4 a call, each call with another seed"),
        ("3 songs about tea", "", "3 times, each with words of its own"),
        ("remove the background of my 5 photos", "remove-background", "5 times, each with a file of its own"),
        ("5 variants after this ad", "ad-copy", "create_ad_copy(reference_ad_url, variant_count=5)"),
        ("combine these two pictures", "image-to-image", "[image, image]"),
        ("a video of tea", "", "aspect_ratio='16:9'"),
        ("rain, 20 seconds", "sound", "generate_sound(prompt, model='sonilo-text-to-sfx', duration=20)"),
        (
            "into German and French",
            "dubbing",
            "generate_dubbing(video_url, model='sonilo-dubbing', languages=['de', 'fr'])",
        ),
        ("lip sync face.png to talk.mp3", "video", "[image, audio]"),
    ],
)
def test_the_call_that_makes_it(full: Listing, intent: str, task: str, calls: str) -> None:
    assert calls in "".join(plan(intent, full, task=task).workflow_steps)


def test_the_paid_call_is_its_own_quote(full: Listing) -> None:
    steps = plan("a picture of the sea", full).workflow_steps
    assert steps[0].startswith("generate_media(")
    assert not any("wait for a yes" in step or step.startswith("estimate(") for step in steps)


def test_a_price_that_is_exact_says_so(full: Listing) -> None:
    assert "nano-banana-2 costs 14 credits exactly." in plan("a picture of tea", full).notes
    assert "about 15 credits" in words(plan("captions, 30 s", full, task="captions"))


def test_a_cheaper_model_that_fits_is_named(full: Listing) -> None:
    assert (
        "The cheapest that fits is z-image (4 credits); for it put its id into the step."
        in plan("a picture of tea", full).reasons
    )


@pytest.mark.parametrize(
    ("intent", "ratio"),
    [
        ("a square picture of tea", "1:1"),
        ("a picture of tea in 3:4", "3:4"),
        ("a picture of tea", "1:1"),
        ("a video of tea", "16:9"),
    ],
)
def test_the_suggested_ratio(full: Listing, intent: str, ratio: str) -> None:
    assert plan(intent, full).suggested_aspect_ratio == ratio


def test_a_picture_that_is_changed_keeps_its_shape(full: Listing) -> None:
    assert plan("warmer light", full, task="image-to-image").suggested_aspect_ratio == "auto"
    assert plan("gentle wind", full, task="image-to-video").suggested_aspect_ratio is None


def test_local_files_turn_text_work_into_input_work(full: Listing) -> None:
    made = plan("a video of the sea", full, has_local_files=True)
    assert (made.task, made.requires_upload) == ("image-to-video", True)
    assert "media-upload" in made.skills_to_fetch
    assert "local path" in made.workflow_steps[0]


def test_without_files_nothing_is_uploaded(full: Listing) -> None:
    made = plan("a picture of the sea", full)
    assert made.requires_upload is False
    assert "media-upload" not in made.skills_to_fetch
    assert plan("trim my video", full).skills_to_fetch == ()


def test_a_video_reference_prefers_gemini_omni_where_it_exists(full: Listing, make_model: Callable[..., Model]) -> None:
    assert (
        plan("a robot", full, task="video", has_video_reference=True).recommended_model
        == "gemini-omni-video-hd-8s-video-ref"
    )


def test_nothing_fits_is_said_with_what_would(full: Listing) -> None:
    older = tuple(model for model in full.models if not model.id.startswith(("seedance-2", "p-video")))
    wish = "10 s drone over a fjord with sound, under 100 credits"
    made = plan(wish, replace(full, models=older), task="video")
    assert made.recommended_model is None
    assert [offer.credits for offer in made.offers] == [58, 85, 186]
    assert made.workflow_steps == (
        "Offer the user these with their prices; then make the calls of the one that is chosen.",
    )
    assert len(words(made)) < 1000


def test_work_without_a_row_is_planned_at_a_price_not_known(listing: Listing) -> None:
    made = plan("dub this video into German", listing)
    assert (made.recommended_model, made.quote.credits) == ("sonilo-dubbing", None)
    assert "no row" in words(made)
    empty = replace(listing, models=())
    assert "no model in this catalogue" in plan("a picture of tea", empty).workflow_steps[0]


@pytest.mark.parametrize("intent", ["", "  ", "x" * 4001])
def test_an_empty_or_endless_intent_is_refused(listing: Listing, intent: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        plan(intent, listing)
    assert caught.value.argument == "intent"


def test_an_unknown_task_is_refused_with_all_of_them(listing: Listing) -> None:
    with pytest.raises(InvalidArgumentError, match="captions") as caught:
        plan("a picture", listing, task="hologram")
    assert caught.value.argument == "task"


@pytest.mark.parametrize("word", ["remove ", "translate a b c ", "and put it ", "cut a a ", "5 a a ", "nano banana "])
@pytest.mark.parametrize("task", ["", "remove-background"])
def test_a_long_intent_of_trigger_words_is_read_in_no_time(listing: Listing, word: str, task: str) -> None:
    made: Any = plan((word * 4000)[:4000], listing, task=task)
    assert made.workflow_steps
