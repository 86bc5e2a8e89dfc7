"""One price: what `estimate` says is what is asked about, held back in the ledger, and charged by the API."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp import Client
from mcp.types import ElicitResult

from kubeez_mcp_local.catalogue.listing import Listing
from kubeez_mcp_local.catalogue.models import parse_row
from kubeez_mcp_local.catalogue.prices import Quote
from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.mcp_server.server import KubeezServer
from kubeez_mcp_local.operations import (
    Described,
    ad_copy,
    background,
    by_model,
    captions,
    dialogue,
    dubbing,
    estimate,
    media,
    music,
    operations,
    separation,
    sound,
)
from kubeez_mcp_local.planning.pick import Needs, pick
from kubeez_mcp_local.sandbox.assumed_jobs import MODELS, PRICES
from kubeez_mcp_local.sandbox.catalogue import Catalogue, price
from tests.damaged import encoded
from tests.mcp_server.driving import bridge_of, clip, picture, song

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    import httpx
    from mcp.types import CallToolResult, ElicitRequestParams, ErrorData

    from kubeez_mcp_local.bridge import Bridge
    from kubeez_mcp_local.catalogue.models import Model
    from tests.sandbox_server import RunningSandbox

Arguments = dict[str, Any]
ASKED = {"KUBEEZ_ASK_ABOVE": "0", "KUBEEZ_MAX_CREDITS_PER_CALL": "50000", "KUBEEZ_MAX_CREDITS_PER_DAY": "1000000"}
RICH = 1_000_000
ROWS = Catalogue(MODELS, PRICES)
LISTING = Listing(tuple(parse_row(each) for each in ROWS.served()), source="live")


@dataclass(frozen=True)
class Files:
    """One of each kind, on disk."""

    image: str
    video: str
    audio: str

    def of(self, kinds: tuple[str, ...]) -> list[str]:
        return [getattr(self, kind) for kind in kinds]


@dataclass
class Payer:
    """Asks for prices and pays them, and compares."""

    client: Client
    bridge: Bridge
    http: httpx.Client
    files: Files
    questions: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    priced: int = 0
    unknown: set[str] = field(default_factory=set)

    async def pay(self, tool: str, arguments: Arguments, model: str) -> None:
        """Take up how the prices of one call differ, or its errors; nothing if they do not."""
        if "prompt" in arguments:  # the same call twice would be one job
            arguments = {**arguments, "prompt": f"{arguments['prompt']} {self.priced}"}
        estimate = facts(await self.client.call_tool("estimate", {"model": model, **arguments}))
        self.questions.clear()
        before = self._balance()
        started = facts(await self.client.call_tool(tool, arguments))
        if "error" in started or "error" in estimate:
            errors = {each.get("error", {}).get("message") for each in (started, estimate)}
            self.wrong += [f"{tool}({arguments!r:.200}): {errors}"] if len(errors) > 1 else []
            return
        cost = started["cost"]
        prices = {
            "estimate": estimate.get("credits"),
            "question": asked_price(*self.questions),
            "held back": None if cost["basis"] == "estimate" else cost["quoted"],
        }
        if set(prices.values()) == {None}:
            self.unknown.add(model)
            return
        self.priced += 1
        prices["charge"] = round(before - self._balance(), 6)
        self.wrong += [f"{tool}({arguments!r:.200}): {prices}"] if len(set(prices.values())) > 1 else []

    def _balance(self) -> float:
        credits_: float = self.http.get("/v1/balance").json()["credits"]
        return credits_


def facts(answer: CallToolResult) -> Arguments:
    assert isinstance(answer.structured_content, dict)
    return answer.structured_content


def asked_price(question: str) -> float | None:
    """The price in words; `None` where it is not known."""
    if "a price that is not known" in question:
        return None
    found = re.search(r" for (?:about )?([\d,.]+) credits?[. ]", question)
    assert found, question
    return float(found[1].replace(",", ""))


@asynccontextmanager
async def paying(api: RunningSandbox, folder: Path) -> AsyncIterator[Payer]:
    questions: list[str] = []

    async def yes(context: Any, params: ElicitRequestParams) -> ElicitResult | ErrorData:
        questions.append(params.message)
        return ElicitResult(action="accept", content={"spend": True})

    api.control.knobs(concurrency_caps=False)
    api.control.key("sk_live_example", credits=RICH)
    bridge = bridge_of(api, folder, **ASKED)
    async with Client(KubeezServer(bridge), mode="legacy", elicitation_callback=yes) as client:
        files = Files(picture(folder), await clip(client), song(folder))
        api.control.knobs(fail_probability=1.0, refund_failures=False)  # paid for, but nothing needs to be drawn
        with api.client() as http:
            yield Payer(client, bridge, http, files, questions)
    api.control.knobs(fail_probability=0.0, refund_failures=True)


def media_calls(model: Model, files: Files) -> Iterator[Arguments]:
    """Calls of an image or video model: the plainest, and with each setting that may move the price."""
    for place, kinds in enumerate(media.likely_inputs(model, Described(model.id))):
        inputs = files.of(kinds)
        plain: Arguments = {"prompt": "a kite", "model": model.id}
        plain |= {"source_media_urls": inputs} if inputs else {}
        yield plain
        if place:
            continue
        yield from ({**plain, "duration": f"{seconds}s"} for seconds in sorted(model.durations)[-1:])
        yield from ({**plain, "quality": quality} for quality in model.qualities[-1:])
        ratio = next((ratio for ratio in model.ratios if ratio != "1:1"), "1:1")
        yield from ({**plain, "resolution": tier, "aspect_ratio": ratio} for tier in model.resolutions)
        if model.sound in ("toggle", "unknown"):
            yield {**plain, "sound": True}
        if model.max_videos:
            yield {**plain, "source_media_urls": [*inputs, files.video]}


@pytest.mark.long
@pytest.mark.anyio
@pytest.mark.parametrize("part", range(2))
async def test_every_image_and_video_model(tmp_path: Path, api: RunningSandbox, part: int) -> None:
    async with paying(api, tmp_path) as payer:
        rows = [row for row in (await payer.bridge.catalogue.listing()).models if by_model(row) is media.OPERATION]
        for row in rows[part::2]:
            for arguments in media_calls(row, payer.files):
                await payer.pay("generate_media", arguments, row.id)
    assert not payer.unknown
    assert not payer.wrong, "\n".join(payer.wrong)
    assert payer.priced > len(rows)


def file_calls(files: Files) -> Iterator[tuple[str, str, Arguments]]:
    """Calls of every other operation, with all that may move their prices."""
    yield "generate_captions", captions.MODEL, {"media_url": files.video}
    yield "remove_background", background.MODEL, {"image_url": files.image}
    for recording in (files.audio, files.video):
        yield "generate_separation", separation.MODEL, {"media_url": recording}
    for count in (1, ad_copy.MAX_VARIANTS):
        ads = {"reference_ad_url": files.image, "variant_count": count}
        yield "create_ad_copy", ad_copy.MODEL, ads
    for engine in dubbing.MODELS:
        for languages in (["de"], ["de", "es"], ["de", "es", "fr", "de"], ["pt_br", "pt-BR", "de"]):
            yield "generate_dubbing", engine, {"video_url": files.video, "languages": languages, "model": engine}
    for characters in (5, 1_000, 1_001, 4_999):
        yield "generate_dialogue", dialogue.MODEL, {"text": "x" * characters}
    yield "generate_dialogue", dialogue.MODEL, {"dialogue": [{"text": "x" * 900}, {"text": "y" * 900}]}
    for model in sound.MODELS:
        about = {"video_url": files.video} if model.from_video else {"prompt": "rain"}
        yield "generate_sound", model.id, {"model": model.id, **about}
        if not model.from_video:
            for seconds in (model.shortest, model.longest):
                yield "generate_sound", model.id, {"model": model.id, **about, "duration": seconds}


@pytest.mark.anyio
async def test_every_other_operation(tmp_path: Path, api: RunningSandbox) -> None:
    async with paying(api, tmp_path) as payer:
        made = set()
        for tool, model, arguments in file_calls(payer.files):
            made.add(tool)
            await payer.pay(tool, arguments, model)
        for engine in music.music_engines(await payer.bridge.catalogue.listing()):
            made.add("generate_music")
            await payer.pay("generate_music", {"prompt": "a waltz", "model": engine.id}, engine.id)
        assert made | {"generate_media"} == operations().keys()
    assert not payer.wrong, "\n".join(payer.wrong)
    assert not payer.unknown


@pytest.mark.anyio
async def test_files_of_odd_lengths(tmp_path: Path, api: RunningSandbox) -> None:
    """Uploads are measured as exactly there as here: a thousandth of a second can be a hundredth of a credit."""
    pytest.importorskip("av")
    (tmp_path / "odd.mp3").write_bytes(encoded("mp3", audio="libmp3lame", seconds=3))
    (tmp_path / "odd.webm").write_bytes(encoded("webm", video="libvpx", audio="libopus", seconds=3))
    async with paying(api, tmp_path) as payer:
        sung = {"prompt": "a kite", "model": "p-video", "source_media_urls": [str(tmp_path / "odd.mp3")]}
        await payer.pay("generate_media", sung, "p-video")
        film = str(tmp_path / "odd.webm")
        await payer.pay("generate_captions", {"media_url": film}, captions.MODEL)
        for engine in dubbing.MODELS:
            dubbed = {"video_url": film, "languages": ["de", "fr", "it"], "model": engine}
            await payer.pay("generate_dubbing", dubbed, engine)
    assert not payer.wrong, "\n".join(payer.wrong)
    assert payer.priced == 4


@pytest.mark.anyio
async def test_all_clips_count_and_one_that_nobody_can_measure_leaves_the_price_open(
    tmp_path: Path, api: RunningSandbox
) -> None:
    pytest.importorskip("av")
    (tmp_path / "other.mp4").write_bytes(encoded("mp4", video="libx264", seconds=6))
    model = "seedance-2-480p-video-ref"
    async with paying(api, tmp_path) as payer:
        clips = [payer.files.video, str(tmp_path / "other.mp4")]
        await payer.pay("generate_media", {"prompt": "a kite", "model": model, "source_media_urls": clips}, model)
        assert (payer.wrong, payer.priced) == ([], 1)
        clips[1] = "https://media.example.com/other.mp4"
        given = {"prompt": "a kite", "model": model, "source_media_urls": clips}
        await payer.pay("generate_media", given, model)
        assert payer.unknown == {model}


@pytest.mark.anyio
async def test_a_choice_says_the_same_price_everywhere(tmp_path: Path, api: RunningSandbox) -> None:
    async with Client(KubeezServer(bridge_of(api, tmp_path))) as client:
        asked = {"model": "mvsep-40", "reference_audio_seconds": 61}
        each = facts(await client.call_tool("estimate", asked))["credits"]
        for count in (1, 3):
            asked = {"task": "separation", "inputs": ["audio"], "duration": 61, "count": count}
            picked = facts(await client.call_tool("pick_model", asked))
            assert (picked["credits"], picked["basis"]) == (each * count, "api")
            assert picked["ranked"][0]["credits"] == each * count
            assert f"about {each * count:g} credits" in picked["summary"]


@pytest.mark.anyio
async def test_a_plan_says_the_price_that_only_the_api_knows(tmp_path: Path, api: RunningSandbox) -> None:
    async with Client(KubeezServer(bridge_of(api, tmp_path))) as client:
        planned = facts(await client.call_tool("plan", {"intent": "gpt-image-2 4K picture of a cat 16:9"}))
        asked = {"model": "gpt-image-2", "resolution": "4K", "aspect_ratio": "16:9"}
        estimated = facts(await client.call_tool("estimate", asked))
    assert (estimated["basis"], planned["recommended_model"]) == ("api", "gpt-image-2")
    assert planned["estimated_credits"] == estimated["credits"]


def test_a_choice_is_told_anew_with_the_price_that_the_api_tells() -> None:
    choice = pick(LISTING, Needs("separation"))
    assert "price not known" in choice.summary
    told = choice.priced(Quote(6.0, "api"))
    assert "about 6 credits" in told.summary
    assert [one.quote.credits for one in told.ranked] == [6.0]


@pytest.mark.anyio
async def test_a_run_says_what_its_price_rests_on(tmp_path: Path, api: RunningSandbox) -> None:
    async with paying(api, tmp_path) as payer:
        for recipe, arguments, basis in (
            ("stem-separation", {"song": payer.files.audio}, "api"),
            ("video-with-captions", {"video": payer.files.video}, "rate"),
            ("remove-backgrounds", {"pictures": payer.files.image}, "catalogue"),
        ):
            given = {"name": recipe, "arguments": arguments}
            quoted = facts(await payer.client.call_tool("run_recipe", {**given, "quote_only": True}))
            assert quoted["cost"]["basis"] == basis, recipe
            assert quoted["cost"]["quoted"] is not None


BY_LENGTH = [
    *(captions.MODEL, separation.MODEL, *dubbing.MODELS, *(model.id for model in sound.MODELS if model.from_video)),
]


@given(model=st.sampled_from(BY_LENGTH), seconds=st.floats(0.04, 300), languages=st.integers(1, 17))
def test_every_length_costs_what_the_api_takes_for_it(model: str, seconds: float, languages: int) -> None:
    row = ROWS.get(model)
    assert row is not None
    pieces = languages if model in dubbing.MODELS else 1
    quote = estimate(LISTING, Described(model, video_seconds=seconds, languages=pieces))
    assert quote.credits == price(row, seconds=seconds, pieces=pieces)


@pytest.mark.anyio
async def test_plans_and_choices_say_what_estimate_says(tmp_path: Path, api: RunningSandbox) -> None:
    """`plan` and `pick_model` price what is only described; `estimate` drafts it."""
    wrong = []
    bridge = bridge_of(api, tmp_path)
    async with Client(KubeezServer(bridge)) as client:
        listing = await bridge.catalogue.listing()
        for row in listing.models:
            lengths: list[Arguments] = [{"duration": f"{seconds}s"} for seconds in sorted(row.durations)[-1:]]
            for said in [{}, {"sound": True}, *lengths, *({"generation_type": kind} for kind in row.generation_types)]:
                answer = facts(await client.call_tool("estimate", {"model": row.id, **said}))
                try:
                    quote = estimate(listing, Described(row.id, **said))
                except InvalidArgumentError as error:
                    known: object = error.message
                else:
                    known = quote.credits
                told = answer["error"]["message"] if "error" in answer else answer.get("credits")
                if known != told and not (known is None and answer["basis"] == "api"):
                    wrong.append(f"{row.id} {said}: {known} is planned, {told} is estimated")
    assert not wrong, "\n".join(wrong)
