"""Requests are refused with the allowed values, or sent in exactly the spelling that their model takes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from kubeez_mcp_local.catalogue.checks import verify_variant_count
from kubeez_mcp_local.catalogue.listing import snapshot_listing
from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.operations import by_model, made_by, media
from kubeez_mcp_local.operations.media_check import MediaRequest, check_media, verify_ratio_for_tier

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubeez_mcp_local.catalogue.listing import Listing
    from kubeez_mcp_local.catalogue.models import InputKind, Model

MEDIA_IDS = [model.id for model in snapshot_listing().models if by_model(model) is media.OPERATION]
OTHER_IDS = [model.id for model in snapshot_listing().models if by_model(model) is not media.OPERATION]


def checked(listing: Listing, model_id: str, **fields: Any) -> MediaRequest:
    request = MediaRequest(**{"prompt": "a red kite", "model": model_id, **fields})
    return check_media(listing.get(model_id), listing, request)


def refusal(listing: Listing, model_id: str, **fields: Any) -> InvalidArgumentError:
    with pytest.raises(InvalidArgumentError) as caught:
        checked(listing, model_id, **fields)
    return caught.value


@pytest.mark.parametrize("model_id", MEDIA_IDS)
def test_every_model_accepts_its_minimal_request(
    listing: Listing, minimal: Callable[[Model], MediaRequest], model_id: str
) -> None:
    model = listing.get(model_id)
    settled = check_media(model, listing, minimal(model))
    assert settled.model == model_id
    assert settled.generation_type in model.generation_types
    assert settled.aspect_ratio is None


@pytest.mark.parametrize("model_id", MEDIA_IDS)
def test_every_model_accepts_all_that_its_row_offers(
    listing: Listing, minimal: Callable[[Model], MediaRequest], model_id: str
) -> None:
    model = listing.get(model_id)
    plain = minimal(model)
    for ratio in model.ratios:
        assert check_media(model, listing, replace(plain, aspect_ratio=ratio)).aspect_ratio == ratio
    for quality in model.qualities:
        assert check_media(model, listing, replace(plain, quality=quality.upper())).quality == quality
    if model.fixed_seconds is None:
        for seconds in model.durations:
            assert check_media(model, listing, replace(plain, duration=seconds)).duration == f"{seconds}s"
    if model.max_images and model.max_videos == 0:
        image: InputKind = "image"
        images = (image,) * model.max_images
        assert check_media(model, listing, replace(plain, inputs=images)).inputs == images


@pytest.mark.parametrize("model_id", MEDIA_IDS)
def test_every_model_refuses_what_its_row_rules_out(
    listing: Listing, minimal: Callable[[Model], MediaRequest], model_id: str
) -> None:
    model = listing.get(model_id)
    plain = minimal(model)
    assert model.prompt_max is not None
    for wrong in (
        replace(plain, prompt="x" * (model.prompt_max + 1)),
        replace(plain, inputs=("image",) * 17),
        replace(plain, generation_type="text-to-smell"),
        replace(plain, seed=-1),
    ):
        with pytest.raises(InvalidArgumentError):
            check_media(model, listing, wrong)


@pytest.mark.parametrize("model_id", OTHER_IDS)
def test_models_of_other_tools_are_sent_there(listing: Listing, model_id: str) -> None:
    runs = by_model(listing.get(model_id)) is not None
    with pytest.raises(InvalidArgumentError, match="does not run" if runs else "no tool runs it") as caught:
        made_by(media.OPERATION, listing, model_id)
    assert caught.value.argument == "model"
    assert caught.value.next_step.startswith("Use generate_" if runs else "pick_model")


@pytest.mark.parametrize("prompt", ["", " ", "\n\t "])
def test_an_empty_prompt_is_refused(listing: Listing, prompt: str) -> None:
    assert refusal(listing, "nano-banana", prompt=prompt).argument == "prompt"


def test_a_long_prompt_says_how_long_and_how_long_it_may_be(listing: Listing) -> None:
    error = refusal(listing, "wan-2-5-text-to-video-5s-720p", prompt="é" * 801)
    assert "801" in error.message
    assert "800" in error.message


# Aspect ratio


def test_a_ratio_that_is_not_offered_lists_those_that_are(listing: Listing) -> None:
    assert "16:9, 9:16" in refusal(listing, "veo3-1-text-to-video", aspect_ratio="1:1").message


@pytest.mark.parametrize("spelling", ["16:9", "16x9", "16/9", " 16 : 9 ", "16X9"])
def test_ratios_may_be_written_in_several_ways(listing: Listing, spelling: str) -> None:
    assert checked(listing, "imagen-4", aspect_ratio=spelling).aspect_ratio == "16:9"


@pytest.mark.parametrize(
    ("model_id", "sent"), [("nano-banana", "auto"), ("veo3-1-text-to-video", None), ("flux-2-1K", "auto")]
)
def test_auto_is_sent_where_offered_and_left_out_for_veo(listing: Listing, model_id: str, sent: str | None) -> None:
    assert checked(listing, model_id, aspect_ratio="Auto").aspect_ratio == sent


def test_auto_means_adaptive_where_that_is_the_word(listing: Listing, make_model: Callable[..., Model]) -> None:
    model = make_model("seedance-2-720p", aspect_ratio_options=["16:9", "adaptive"])
    assert check_media(model, listing, MediaRequest("x", model.id, aspect_ratio="auto")).aspect_ratio == "adaptive"


def test_auto_is_refused_where_it_is_neither_offered_nor_known(listing: Listing) -> None:
    assert refusal(listing, "imagen-4", aspect_ratio="auto").argument == "aspect_ratio"


def test_without_ratio_control_the_ratio_is_dropped_with_a_note(listing: Listing) -> None:
    settled = checked(listing, "kling-2-5-image-to-video-pro", inputs=("image",), aspect_ratio="9:16")
    assert settled.aspect_ratio is None
    assert "no ratio control" in settled.notes[0]


# Duration


@pytest.mark.parametrize("spelling", [7, 7.0, "7", "7s", "7 s", "7S", " 7 ", "7 sec", "7 seconds", "7.0"])
def test_lengths_may_be_written_in_several_ways(listing: Listing, spelling: str | float) -> None:
    assert checked(listing, "kling-3-0-std", duration=spelling).duration == "7s"


def test_the_row_decides_the_spelling(listing: Listing, make_model: Callable[..., Model]) -> None:
    model = make_model("new-model", duration_options=["5", "10 sec"])
    sent = [check_media(model, listing, MediaRequest("x", model.id, duration=n)).duration for n in (5, "10s")]
    assert sent == ["5", "10 sec"]


@pytest.mark.parametrize("nonsense", ["", "  "])
def test_a_blank_length_counts_as_none(listing: Listing, nonsense: str) -> None:
    assert checked(listing, "kling-3-0-std", duration=nonsense).duration == "5s"


@pytest.mark.parametrize(
    "nonsense", ["long", "5m", "-5", "5.5", 0, -1, 2.5, True, float("nan"), float("inf"), "99999", "٥"]
)
def test_lengths_that_are_no_seconds_are_refused(listing: Listing, nonsense: Any) -> None:
    assert refusal(listing, "kling-3-0-std", duration=nonsense).argument == "duration"


def test_a_length_that_is_not_offered_lists_those_that_are(listing: Listing) -> None:
    assert "3, 4, 5, 6" in refusal(listing, "kling-3-0-std", duration=20).message


def test_a_length_in_the_id_is_not_sent(listing: Listing) -> None:
    assert checked(listing, "seedance-1-5-pro-480p-8s", duration="8s").duration is None


@pytest.mark.parametrize(
    ("model_id", "duration", "sibling"),
    [
        ("seedance-1-5-pro-480p-8s", 4, "seedance-1-5-pro-480p-4s"),
        ("wan-2-5-text-to-video-5s-720p", 10, "wan-2-5-text-to-video-10s-720p"),
        ("v1-pro-fast-i2v-720p-5s", "10s", "v1-pro-fast-i2v-720p-10s"),
        ("kling-2-5-image-to-video-pro", 10, "kling-2-5-image-to-video-pro-10s"),
        ("sora-2-image-to-video-10s", 15, "sora-2-image-to-video-15s"),
    ],
)
def test_a_length_that_contradicts_the_id_names_the_right_id(
    listing: Listing, model_id: str, duration: str | int, sibling: str
) -> None:
    inputs = ("image",) if listing.get(model_id).needs_input else ()
    error = refusal(listing, model_id, duration=duration, inputs=inputs)
    assert error.next_step == f"Use {sibling}."


def test_an_open_choice_of_length_is_made_and_told(listing: Listing) -> None:
    settled = checked(listing, "kling-3-0-std")
    assert settled.duration == "5s"
    assert "5 s" in settled.notes[0]


def test_a_length_where_there_is_no_choice_is_dropped_with_a_note(listing: Listing) -> None:
    settled = checked(listing, "veo3-1-fast-text-to-video", duration=8)
    assert settled.duration is None
    assert "no choice of length" in settled.notes[0]


# Resolution and quality


@pytest.mark.parametrize(
    ("model_id", "resolution", "sent_to"),
    [
        ("nano-banana-2", "2k", "nano-banana-2-2K"),
        ("nano-banana-2", "4K", "nano-banana-2-4K"),
        ("nano-banana-2-4K", "2K", "nano-banana-2-2K"),
        ("nano-banana-2-2K", "standard", "nano-banana-2"),
        ("nano-banana-2", "STANDARD", "nano-banana-2"),
        ("nano-banana-pro", "1k", "nano-banana-pro"),
        ("flux-2-1K", "2k", "flux-2-2K"),
        ("flux-2-2K", "1K", "flux-2-1K"),
        ("flux-2-edit-1K", "2K", "flux-2-edit-2K"),
        ("seedance-1-5-pro-480p-4s", "1080P", "seedance-1-5-pro-1080p-4s"),
    ],
)
def test_a_resolution_that_an_id_encodes_moves_to_that_id(
    listing: Listing, model_id: str, resolution: str, sent_to: str
) -> None:
    inputs = ("image",) if listing.get(model_id).needs_input else ()
    settled = checked(listing, model_id, resolution=resolution, inputs=inputs)
    assert (settled.model, settled.resolution) == (sent_to, None)
    assert any(sent_to in note for note in settled.notes) == (sent_to != model_id)


def test_a_resolution_is_sent_where_the_row_offers_it(listing: Listing, make_model: Callable[..., Model]) -> None:
    model = make_model("gpt-image-2", model_type="image", resolution=["1K", "2K"])
    assert check_media(model, listing, MediaRequest("x", model.id, resolution="2k")).resolution == "2K"
    with pytest.raises(InvalidArgumentError, match="1K, 2K"):
        check_media(model, listing, MediaRequest("x", model.id, resolution="4K"))


@pytest.mark.parametrize("ratio", [None, "1:1", "auto"])
def test_large_pictures_of_the_one_model_need_a_ratio_said_outright(
    make_model: Callable[..., Model], ratio: str | None
) -> None:
    model = make_model("gpt-image-2", model_type="image", aspect_ratio_options=["1:1", "16:9", "auto"])
    request = MediaRequest("x", model.id, aspect_ratio=ratio, resolution="2K")
    with pytest.raises(InvalidArgumentError, match="not 1:1; it offers 16:9"):
        verify_ratio_for_tier(request, model)
    for fine in (replace(request, aspect_ratio="16:9"), replace(request, resolution="1K")):
        verify_ratio_for_tier(fine, model)
    verify_ratio_for_tier(request, make_model("gpt-image-2", model_type="image"))  # its row offers no ratio


def test_a_resolution_that_nobody_offers_is_refused_with_the_models_that_do(listing: Listing) -> None:
    refused = refusal(listing, "z-image", resolution="4K")
    assert refused.message == "resolution: 4K is not offered by z-image; its row offers no choice of resolution."
    assert refused.next_step.startswith("Use nano-banana-2-4K (25 credits) or nano-banana-pro-4K (41 credits)")
    edited = refusal(listing, "p-image-edit", resolution="2K", inputs=("image",) * 8)
    assert edited.next_step.startswith("Use flux-2-edit-2K (13 credits)")
    assert "p-image-edit" not in edited.next_step
    assert refusal(listing, "kling-3-0-std", resolution="8K").next_step == "Leave resolution out."


@pytest.mark.parametrize("model_id", ["gpt-image-2-5-flare", "nano-banana-2-1", "flux-3-klein"])
def test_a_documented_resolution_is_sent_though_the_row_is_silent(
    listing: Listing, make_model: Callable[..., Model], model_id: str
) -> None:
    model = make_model(model_id, model_type="image")
    assert check_media(model, listing, MediaRequest("x", model.id, resolution="4k")).resolution == "4K"
    with pytest.raises(InvalidArgumentError, match="it offers 1K, 2K, 4K"):
        check_media(model, listing, MediaRequest("x", model.id, resolution="8K"))


def test_a_resolution_that_no_tier_has_is_refused(listing: Listing) -> None:
    assert "fixes 480p" in refusal(listing, "seedance-1-5-pro-480p-4s", resolution="4K").message
    assert "nano-banana-2-2K" in refusal(listing, "nano-banana-2", resolution="8K").message


@pytest.mark.parametrize("nonsense", ["{}", "very, very high", "2K; drop", "é" * 40])
def test_resolutions_that_are_none_are_refused(listing: Listing, nonsense: str) -> None:
    assert refusal(listing, "seedream-v4", resolution=nonsense).argument == "resolution"


@pytest.mark.parametrize(
    ("model_id", "quality", "sent"),
    [
        ("seedream-v4-5", "HIGH", "high"),
        ("seedream-v4-5", "standard", None),
        ("5-lite-text-to-image", "Basic", "basic"),
        ("nano-banana", "Ultra", "ultra"),
        ("nano-banana", " ", None),
    ],
)
def test_quality_is_compared_without_case(listing: Listing, model_id: str, quality: str, sent: str | None) -> None:
    assert checked(listing, model_id, quality=quality).quality == sent


def test_a_quality_that_is_not_offered_lists_those_that_are(listing: Listing) -> None:
    assert "basic, high" in refusal(listing, "seedream-v4-5", quality="ultra").message


# Inputs


@pytest.mark.parametrize(
    ("model_id", "twin"),
    [
        ("flux-2-1K", "flux-2-edit-1K"),
        ("flux-2-2K", "flux-2-edit-2K"),
        ("grok-text-to-image", "grok-image-to-image"),
        ("qwen-text-to-image", "qwen-image-to-image"),
        ("nano-banana", "nano-banana-edit"),
        ("kling-2-6-text-to-video-5s", "kling-2-6-image-to-video-5s"),
        ("wan-2-5-text-to-video-5s-720p", "wan-2-5-image-to-video-5s-720p"),
        ("sora-2-text-to-video-10s", "sora-2-image-to-video-10s"),
        ("grok-text-to-video-6s", "grok-image-to-video"),
    ],
)
def test_inputs_move_a_text_only_model_to_its_edit_twin(listing: Listing, model_id: str, twin: str) -> None:
    settled = checked(listing, model_id, inputs=("image",))
    assert settled.model == twin
    assert (settled.generation_type or "").startswith("image-")
    assert twin in settled.notes[0]


def test_twin_tier_and_sound_go_together(listing: Listing) -> None:
    assert checked(listing, "flux-2-1K", inputs=("image",), resolution="2K").model == "flux-2-edit-2K"
    sounding = checked(listing, "kling-2-6-text-to-video-10s", inputs=("image",), sound=True)
    assert sounding.model == "kling-2-6-image-to-video-10s-audio"


def test_a_row_that_takes_inputs_itself_is_not_moved(listing: Listing) -> None:
    assert checked(listing, "seedream-v4", inputs=("image",)).model == "seedream-v4"


def test_a_text_type_that_was_given_for_the_text_model_follows_to_the_twin(listing: Listing) -> None:
    settled = checked(listing, "flux-2-1K", inputs=("image",), generation_type="text-to-image")
    assert settled.generation_type == "image-to-image"


@pytest.mark.parametrize(
    ("model_id", "inputs", "words"),
    [
        ("flux-2-edit-1K", (), "at least one image"),
        ("v1-pro-fast-i2v-720p-5s", (), "at least one image"),
        ("imagen-4", ("image",), "takes no image inputs, only text"),
        ("qwen-image-to-image", ("image", "image"), "at most 1 image; 2"),
        ("kling-2-5-image-to-video-pro", ("image",) * 3, "at most 2 images; 3"),
        ("nano-banana-2", ("video",), "takes no video inputs; it takes up to 8 images"),
        ("seedance-1-5-pro-480p-4s", ("audio",), "takes no audio inputs"),
        ("veo3-1-fast-first-and-last-frames", ("image",), "two images"),
        ("veo3-1-fast-reference-to-video", ("image",) * 4, "at most 3"),
        ("kling-2-6-motion-control-720p", ("video", "image"), "exactly one image and then one video"),
        ("kling-3-0-motion-control-720p", ("image",), "exactly one image and then one video"),
        ("kling-3-0-motion-control-720p", (), "one image and one video"),
        ("qwen-image-to-image", (None, None), "at most 1 inputs; 2"),
    ],
)
def test_wrong_inputs_say_what_is_needed(listing: Listing, model_id: str, inputs: tuple[Any, ...], words: str) -> None:
    error = refusal(listing, model_id, inputs=inputs)
    assert error.argument == "source_media_urls"
    assert words in error.message


def test_too_many_inputs_name_models_that_take_them(listing: Listing) -> None:
    error = refusal(listing, "qwen-image-to-image", inputs=("image",) * 3)
    named = error.next_step.split("such as ")[1].rstrip(".").split(", ")
    assert named
    assert all((listing.get(name).max_images or 0) >= 3 for name in named)


def test_an_edit_model_without_inputs_names_its_text_twin(listing: Listing) -> None:
    assert "flux-2-1K" in refusal(listing, "flux-2-edit-1K").next_step


def test_inputs_of_unknown_kind_get_the_benefit_of_the_doubt(listing: Listing) -> None:
    assert checked(listing, "kling-2-6-motion-control-720p", inputs=(None, None)).inputs == (None, None)


def test_a_row_without_evidence_takes_any_inputs(listing: Listing, make_model: Callable[..., Model]) -> None:
    model = make_model("mystery")
    request = MediaRequest("x", model.id, inputs=("image", "video", "audio"))
    assert check_media(model, listing, request).inputs == request.inputs


def test_omni_inputs_share_seven_slots(listing: Listing, make_model: Callable[..., Model]) -> None:
    model = make_model("gemini-omni-video-hd-8s-video-ref", max_input_images=7, max_input_videos=1)
    fits = MediaRequest("x", model.id, inputs=("video", *("image",) * 4), character_ids=("c1",), voice_id="kore")
    assert check_media(model, listing, fits) == replace(fits, generation_type=None)
    with pytest.raises(InvalidArgumentError, match="7 input slots; 8"):
        check_media(model, listing, replace(fits, character_ids=("c1", "c2")))
    with pytest.raises(InvalidArgumentError, match="works on a video"):
        check_media(model, listing, replace(fits, inputs=("image",)))


@pytest.mark.parametrize("field", [{"voice_id": "kore"}, {"character_ids": ("c1",)}])
def test_omni_fields_are_refused_elsewhere(listing: Listing, field: dict[str, Any]) -> None:
    assert "Gemini Omni" in refusal(listing, "wan-2-5", **field).message


# Generation type


@pytest.mark.parametrize(
    ("model_id", "inputs", "inferred"),
    [
        ("nano-banana-2", (), "text-to-image"),
        ("nano-banana-2", ("image",), "image-to-image"),
        ("kling-3-0-pro", ("image", "image"), "image-to-video"),
        ("veo3-1-text-to-video", ("image",), "text-to-video"),
    ],
)
def test_the_generation_type_follows_from_the_inputs(
    listing: Listing, model_id: str, inputs: tuple[Any, ...], inferred: str
) -> None:
    assert checked(listing, model_id, inputs=inputs).generation_type == inferred


def test_a_generation_type_is_read_leniently_and_refused_if_not_offered(listing: Listing) -> None:
    assert checked(listing, "imagen-4", generation_type="TEXT_TO_IMAGE").generation_type == "text-to-image"
    assert "it offers text-to-image" in refusal(listing, "imagen-4", generation_type="text-to-video").message


def test_an_image_type_without_inputs_is_refused(listing: Listing) -> None:
    assert refusal(listing, "nano-banana-2", generation_type="image-to-image").argument == "source_media_urls"


# Sound, seed, negative prompt, variants


@pytest.mark.parametrize(
    ("model_id", "sound", "sent_to", "sent"),
    [
        ("seedance-1-5-pro-480p-4s", None, "seedance-1-5-pro-480p-4s", False),
        ("seedance-1-5-pro-480p-4s", False, "seedance-1-5-pro-480p-4s", False),
        ("seedance-1-5-pro-480p-4s", True, "seedance-1-5-pro-480p-4s-audio", None),
        ("seedance-1-5-pro-480p-4s-audio", True, "seedance-1-5-pro-480p-4s-audio", None),
        ("kling-2-6-text-to-video-5s", True, "kling-2-6-text-to-video-5s-audio", None),
        ("wan-2-5-text-to-video-5s-720p", True, "wan-2-5-text-to-video-5s-720p", None),
        ("wan-2-5-text-to-video-5s-720p", False, "wan-2-5-text-to-video-5s-720p", None),
        ("kling-3-0-std", True, "kling-3-0-std", True),
        ("nano-banana", False, "nano-banana", None),
    ],
)
def test_sound_is_said_only_where_it_is_a_switch(
    listing: Listing, model_id: str, sound: bool | None, sent_to: str, sent: bool | None
) -> None:
    settled = checked(listing, model_id, sound=sound)
    assert (settled.model, settled.sound) == (sent_to, sent)


def test_a_switch_is_sent_where_there_is_no_id_with_sound(listing: Listing, make_model: Callable[..., Model]) -> None:
    model = make_model("seedance-2-720p", video_audio="toggle_via_sound_param", supports_sound=True)
    assert check_media(model, listing, MediaRequest("x", model.id, sound=True)).sound is True


def test_sound_is_refused_where_it_contradicts(listing: Listing) -> None:
    assert refusal(listing, "nano-banana", sound=True).argument == "sound"
    assert "seedance-1-5-pro-480p-4s" in refusal(listing, "seedance-1-5-pro-480p-4s-audio", sound=False).next_step


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
def test_seeds_in_range_are_sent(listing: Listing, seed: int) -> None:
    assert checked(listing, "nano-banana", seed=seed).seed == seed


@pytest.mark.parametrize("seed", [-1, 2**32, True, 1.5, "7"])
def test_seeds_out_of_range_are_refused(listing: Listing, seed: Any) -> None:
    assert refusal(listing, "nano-banana", seed=seed).argument == "seed"


def test_a_negative_prompt_is_dropped_where_the_model_takes_none(listing: Listing) -> None:
    assert checked(listing, "imagen-4", negative_prompt="blur").negative_prompt == "blur"
    settled = checked(listing, "5-lite-image-to-image", negative_prompt="blur", inputs=("image",))
    assert settled.negative_prompt is None
    assert "takes none" in settled.notes[0]


@pytest.mark.parametrize("count", [0, 5, -1, True, 1.5, "2", None])
def test_variant_counts_outside_one_to_four_are_refused(count: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="1 to 4"):
        verify_variant_count(count)


def test_variant_counts_from_one_to_four_are_fine() -> None:
    for count in (1, 2, 3, 4):
        verify_variant_count(count)
