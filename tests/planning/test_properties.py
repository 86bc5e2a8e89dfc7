"""What must hold for any request and any need, however odd."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from kubeez_mcp_local.catalogue.models import parse_rows
from kubeez_mcp_local.catalogue.store import snapshot_listing
from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.operations import media
from kubeez_mcp_local.operations.media_check import MediaRequest, check_media
from kubeez_mcp_local.planning.intent import read_intent
from kubeez_mcp_local.planning.pick import Needs, pick, tasks
from kubeez_mcp_local.planning.plan import plan

LISTING = snapshot_listing()
IDS = sorted(model.id for model in LISTING.models)
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
    duration=LENGTHS.filter(lambda length: not isinstance(length, float)),
    sound=SOUND,
    resolution=TIERS,
    max_credits=st.one_of(st.none(), st.integers(0, 500)),
    count=st.integers(1, 10),
    prefer=st.sampled_from(["price", "speed", "tier"]),
)


@given(requests)
def test_a_checked_request_passes_the_check_again_unchanged(request: MediaRequest) -> None:
    try:
        settled = check_media(LISTING.get(request.model), LISTING, request)
    except InvalidArgumentError:
        return
    model = LISTING.get(settled.model)
    assert check_media(model, LISTING, settled) == settled
    assert settled.aspect_ratio is None or settled.aspect_ratio in model.ratios
    assert settled.duration is None or settled.duration in model.duration_spellings.values()
    assert model.fixed_seconds is None or settled.duration is None
    assert settled.sound is None or model.sound in ("toggle", "unknown")


@given(requests, st.integers(1, 4))
def test_a_quote_is_unknown_or_covers_the_list_price_of_every_variant(request: MediaRequest, count: int) -> None:
    try:
        settled = check_media(LISTING.get(request.model), LISTING, request)
    except InvalidArgumentError:
        return
    model = LISTING.get(settled.model)
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
        if candidate.request is None:
            continue
        assert check_media(candidate.model, LISTING, candidate.request).model == candidate.model.id
        length = choice.needs.duration
        assert not length or length == candidate.model.fixed_seconds or candidate.request.duration == f"{length}s"
        assert candidate.request.inputs == needs.inputs
        if choice.needs.aspect_ratio:
            assert candidate.request.aspect_ratio == choice.needs.aspect_ratio
        if needs.sound is False:
            assert candidate.model.sound != "included"
    assert (choice.chosen is None) == (not choice.ranked)
    assert choice.chosen is not None or choice.nearest is not None or "no model" in choice.summary


@settings(max_examples=settings().max_examples // 2)
@given(wishes)
def test_pick_does_not_depend_on_the_order_of_the_rows(needs: Needs) -> None:
    turned = replace(LISTING, models=tuple(reversed(LISTING.models)))
    here, there = pick(LISTING, needs), pick(turned, needs)
    assert [held.model.id for held in here.ranked] == [held.model.id for held in there.ranked]
    assert here.summary == there.summary


@given(st.text(min_size=1, max_size=200).filter(str.strip), st.booleans(), st.booleans())
def test_any_text_makes_a_plan(text: str, files: bool, video: bool) -> None:
    made = plan(text, LISTING, has_local_files=files, has_video_reference=video)
    assert made.workflow_steps
    assert made == plan(text, LISTING, has_local_files=files, has_video_reference=video)
    assert read_intent(text) == read_intent(text)


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
