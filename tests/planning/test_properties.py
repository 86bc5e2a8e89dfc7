"""What must hold for any request and any need, however odd."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubeez_mcp_local.catalogue.listing import snapshot_listing
from kubeez_mcp_local.catalogue.models import parse_rows
from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.media.trim import check_range
from kubeez_mcp_local.operations import Described, dubbing, estimate, media, sound
from kubeez_mcp_local.operations.media_check import MediaRequest, check_media
from kubeez_mcp_local.planning.intent import does_task, kinds_of_work, read_intent, tasks
from kubeez_mcp_local.planning.offers import Step, offers
from kubeez_mcp_local.planning.pick import Needs, described, pick
from kubeez_mcp_local.planning.plan import plan
from tests.planning.conftest import full_listing

LISTING, SNAPSHOT = full_listing(), snapshot_listing()
IDS = sorted(model.id for model in SNAPSHOT.models)
KINDS = st.sampled_from(["image", "video", "audio"])
RATIOS = st.sampled_from([None, "", "1:1", "16x9", "9:16", "auto", "21:9", "adaptive", "7:3"])
LENGTHS = st.sampled_from([None, 4, 5, "5s", "8", "10s", 12.0, "15", 30])
TIERS = st.sampled_from([None, "standard", "1k", "2K", "4k", "480p", "720P", "1080p", "8K"])
SOUND = st.sampled_from([None, True, False])

requests = st.builds(
    MediaRequest,
    prompt=st.text(min_size=1, max_size=30),
    model=st.sampled_from(IDS),
    generation_type=st.sampled_from([None, None, "text-to-image", "IMAGE_TO_VIDEO", "text-to-video", "image-to-image"]),
    negative_prompt=st.sampled_from([None, "", "blur"]),
    inputs=st.lists(st.one_of(KINDS, st.none()), max_size=4).map(tuple),
    aspect_ratio=RATIOS,
    duration=LENGTHS,
    quality=st.sampled_from([None, "standard", "HIGH", "basic", "turbo"]),
    resolution=TIERS,
    sound=SOUND,
    seed=st.one_of(st.none(), st.integers(-1, 2**33)),
)
wishes = st.builds(
    Needs,
    task=st.sampled_from([*tuple(tasks()), "image", "video"]),
    inputs=st.lists(KINDS, max_size=3).map(tuple),
    aspect_ratio=RATIOS,
    duration=st.one_of(LENGTHS.filter(lambda length: not isinstance(length, float)), st.sampled_from([1, 45, 90, 700])),
    sound=SOUND,
    resolution=TIERS,
    max_credits=st.one_of(st.none(), st.integers(0, 500)),
    count=st.integers(1, 10),
    prefer=st.sampled_from(["price", "speed", "tier"]),
    languages=st.sampled_from([(), (), ("de",), ("de", "pl", "fr")]),
)


@given(requests)
def test_a_checked_request_passes_the_check_again_unchanged(request: MediaRequest) -> None:
    try:
        settled = check_media(SNAPSHOT.get(request.model), SNAPSHOT, request)
    except InvalidArgumentError:
        return
    model = SNAPSHOT.get(settled.model)
    assert check_media(model, SNAPSHOT, settled) == settled
    assert settled.aspect_ratio is None or settled.aspect_ratio in model.ratios
    assert settled.duration is None or settled.duration in model.duration_spellings.values()
    assert model.fixed_seconds is None or settled.duration is None
    assert settled.sound is None or model.sound in ("toggle", "unknown")


@given(requests, st.integers(1, 4))
def test_a_quote_is_unknown_or_covers_the_list_price_of_every_variant(request: MediaRequest, count: int) -> None:
    try:
        settled = check_media(SNAPSHOT.get(request.model), SNAPSHOT, request)
    except InvalidArgumentError:
        return
    model = SNAPSHOT.get(settled.model)
    quote = media.price(model, settled, count=count)
    assert (quote.credits is None) == (quote.basis == "unknown")
    assert quote.credits is None or quote.credits >= (model.credits or 0) * count
    assert quote.credits is None or quote.credits == sum(line.credits or 0 for line in quote.breakdown)


@given(wishes)
def test_pick_never_chooses_a_model_that_would_refuse_or_break_the_wish(needs: Needs) -> None:
    choice = pick(LISTING, needs)
    for candidate in choice.ranked:
        assert candidate.misses == ()
        if needs.max_credits is not None:
            assert candidate.quote.credits is not None
            assert candidate.quote.credits <= needs.max_credits
        lacks = candidate.quote.lacks_length  # estimate has no word for a clip of unknown length
        assert lacks or priced_as_estimated(candidate.quote.credits, described(candidate, choice.needs))
        if candidate.request is None:
            continue
        assert check_media(candidate.model, LISTING, candidate.request).model == candidate.model.id
        length = choice.needs.duration
        assert not length or length == candidate.model.fixed_seconds or candidate.request.duration == f"{length}s"
        assert candidate.request.inputs == choice.needs.inputs
        if choice.needs.aspect_ratio:
            assert candidate.request.aspect_ratio == choice.needs.aspect_ratio
        if needs.sound is False:
            assert candidate.model.sound != "included"
    fitting = {candidate.model.family for candidate in choice.ranked}
    assert not fitting & {family for rejection in choice.rejected for family in rejection.families}


def priced_as_estimated(credits_: float | None, job: Described) -> bool:
    """Whether `estimate` says the same, for as many of it as there are."""
    each = estimate(LISTING, replace(job, count=1)).credits
    return credits_ is None if each is None else credits_ == pytest.approx(each * job.count, abs=0.02 * job.count)


@settings(max_examples=settings().max_examples // 2)
@given(wishes, st.booleans())
def test_every_offer_is_accepted_and_priced_so_by_the_tools(needs: Needs, can_cut: bool) -> None:
    choice = pick(LISTING, needs)
    if choice.chosen:
        return
    made = offers(LISTING, choice.needs, can_cut=can_cut)
    assert made or not any(model for model in LISTING.models if does_task(model, choice.needs.task))
    for offer in made:
        assert offer.gives_way
        prices = [step.credits for step in offer.steps]
        assert offer.credits == (
            None if None in prices else pytest.approx(sum(price or 0 for price in prices), abs=0.02)
        )
        dear = "max_credits" in offer.gives_way or needs.max_credits is None
        assert dear or (offer.credits is not None and offer.credits <= (needs.max_credits or 0))
        assert can_cut or not {"trim_video", "join_videos"} & {step.tool for step in offer.steps}
        for step in offer.steps:
            accepted(step)


def accepted(step: Step) -> None:
    """Hold a step against its tool's own check and price."""
    said = dict(step.arguments)
    if step.tool == "trim_video":
        check_range(said["start_s"], said["end_s"])
        assert step.credits == 0
        return
    if step.tool == "join_videos":
        assert step.credits == 0
        return
    count = said.pop("variant_count", 1)
    if step.tool == "generate_media":
        model = LISTING.get(said["model"])
        request = check_media(model, LISTING, MediaRequest("x", **said, inputs=step.inputs))
        assert request.model == model.id
        assert request.notes == ()
        job = Described(**{name: value for name, value in said.items() if name != "aspect_ratio"}, count=count)
    elif step.tool == "generate_dubbing":
        dubbing.check(said.get("languages", ["de"]), said["model"])
        job = Described(said["model"], video_seconds=step.seconds, languages=len(said.get("languages", ["de"])))
    elif step.tool == "generate_sound":
        on_clip = "-video-to-" in said["model"]
        wanted = sound.SoundRequest(said["model"], None if on_clip else "x", duration=said.get("duration"))
        sound.check(wanted, has_video=on_clip, video_seconds=step.seconds)
        length = f"{said['duration']}s" if "duration" in said else None
        job = Described(said["model"], duration=length, video_seconds=step.seconds if on_clip else None)
    else:
        return
    each = estimate(LISTING, job).credits
    if step.credits is None:  # estimate has no word for a clip of unknown length
        assert each is None or {"video", "audio"} & set(step.inputs)
    else:
        assert each is not None
        assert step.credits == pytest.approx(each * step.times, abs=0.02 * step.times)


@settings(max_examples=settings().max_examples // 2)
@given(wishes)
def test_pick_does_not_depend_on_the_order_of_the_rows(needs: Needs) -> None:
    turned = replace(LISTING, models=tuple(reversed(LISTING.models)))
    here, there = pick(LISTING, needs), pick(turned, needs)
    assert [held.model.id for held in here.ranked] == [held.model.id for held in there.ranked]
    assert here.summary == there.summary


KINDS_OF_WORK = ["", *kinds_of_work(), "image", "video"]
SENTENCES = st.lists(
    st.sampled_from(
        [
            *(
                "a",
                "3",
                "ten",
                "picture",
                "videos",
                "of",
                "my",
                "song",
                "in 16:9",
                "vertical",
                "8 seconds",
                "with sound",
            ),
            *(
                "silent",
                "at most 60 credits",
                "4k",
                "talk.mp4",
                "face.png",
                "into German and French",
                "captions",
                "and",
            ),
            *("two minutes", "then", "logo", "kling", "for 2027", "dub"),
        ]
    ),
    min_size=1,
    max_size=10,
).map(" ".join)


@given(
    st.one_of(st.text(min_size=1, max_size=200).filter(str.strip), SENTENCES),
    st.sampled_from(KINDS_OF_WORK),
    st.booleans(),
    st.booleans(),
)
def test_a_plan_is_one_that_the_tools_accept_at_that_price(text: str, task: str, files: bool, video: bool) -> None:
    made = plan(text, LISTING, task=task, has_local_files=files, has_video_reference=video)
    assert made == plan(text, LISTING, task=task, has_local_files=files, has_video_reference=video)
    assert made.workflow_steps
    assert bool(made.tasks) == (made.task is None)
    if made.recommended_model is None or made.job is None:
        return
    assert not made.offers
    assert made.quote.lacks_length or priced_as_estimated(made.quote.credits, made.job)
    budget = read_intent(text).max_credits
    assert budget is None or (made.quote.credits is not None and made.quote.credits <= budget)


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=10)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=8,
)
fields = st.sampled_from(
    [
        *("model_id", "model_type", "cost_per_generation", "capabilities", "generation_types", "display_name"),
        *("estimated_time_seconds", "requires_input_media", "input_media_types", "_facts", "voice_allowlist"),
    ]
)


@given(st.lists(st.dictionaries(fields, json_values, max_size=6), max_size=4))
def test_no_answer_breaks_the_parser(rows: list[dict[str, object]]) -> None:
    models, notes = parse_rows(rows)
    assert len(models) + len(notes) == len(rows)
