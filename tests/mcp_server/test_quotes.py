"""One price: the API's own estimate counts wherever a price is said, and a paid call can end with its price."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from mcp import Client
from mcp.types import ElicitRequestFormParams, ElicitResult, ErrorData

from kubeez_mcp_local.bridge.orders import COMING, QUOTE
from kubeez_mcp_local.mcp_server.server import KubeezServer
from tests.mcp_server.driving import bridge_of, call, client_of, picture, refused, song

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mcp.types import ElicitRequestParams

    from tests.sandbox_server import RunningSandbox

pytestmark = pytest.mark.anyio
SHARP = {"model": "gpt-image-2", "resolution": "2K", "quality": "high"}
"""A job whose price only the API tells."""


async def quoted(client: Client, tool: str, coming: Mapping[str, Any] | None = None, /, **arguments: Any) -> Any:
    """The answer, or the error, of a call that ends with its price."""
    meta: Any = {QUOTE: True, COMING: coming or {}}
    answer = await client.call_tool(tool, arguments, meta=meta)
    assert answer.structured_content is not None
    return answer.structured_content.get("error") or answer.structured_content


def calls(api: RunningSandbox, name: str) -> int:
    counts: dict[str, int] = api.control.books()["calls"]
    return counts.get(name, 0)


async def sharp_price(client: Client) -> float:
    estimated = await call(client, "estimate", **SHARP)
    assert estimated["basis"] == "api"
    price: float = estimated["credits"]
    return price


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_api_s_own_estimate_is_asked_about_and_held_back(
    mode: str, api: RunningSandbox, tmp_path: Path
) -> None:
    questions = []

    async def answer(context: Any, params: ElicitRequestParams) -> ElicitResult | ErrorData:
        assert isinstance(params, ElicitRequestFormParams)
        questions.append(params.message)
        return ElicitResult(action="accept", content={"spend": True})

    bridge = bridge_of(api, tmp_path, KUBEEZ_MODE="live")
    async with Client(KubeezServer(bridge), mode=mode, elicitation_callback=answer) as client:
        before = calls(api, "POST /v1/estimate")
        price = await sharp_price(client)
        started = await call(client, "generate_media", prompt="a kite", aspect_ratio="16:9", **SHARP)
        (job,) = await bridge.ledger.recent(1)
    assert len(questions) == 1
    assert f" {price:g} credits." in questions[0]
    assert (started["cost"]["quoted"], started["cost"]["basis"]) == (price, "api")
    assert (job.quote_credits, job.quote_basis) == (price, "api")
    assert api.control.account()["entries"][-1]["credits"] == -price
    assert calls(api, "POST /v1/estimate") == before + 1, "asked once for the estimate, the question and the claim"


async def test_what_the_api_says_beats_an_upper_bound(api: RunningSandbox, tmp_path: Path) -> None:
    recording = {"media_url": song(tmp_path)}
    api.control.fault("POST /v1/estimate", "status", times=1, status=200, body={"estimated_cost_credits": 2.5})
    async with client_of(api, tmp_path) as client:
        estimated = await call(client, "estimate", model="mvsep-40", **recording)
        assert (estimated["credits"], estimated["basis"]) == (2.5, "api")
        assert (await quoted(client, "generate_separation", **recording))["credits"] == 2.5
    api.control.fault("POST /v1/estimate", "status", times=1, status=403)
    async with client_of(api, tmp_path / "else") as client:
        bound = await call(client, "estimate", model="mvsep-40", reference_audio_seconds=70)
        assert (bound["credits"], bound["basis"]) == (12, "rate")
        assert "upper bound" in bound["notes"][0]


async def test_a_ceiling_stands_before_a_price_that_only_the_api_tells(api: RunningSandbox, tmp_path: Path) -> None:
    async with client_of(api, tmp_path, KUBEEZ_MAX_CREDITS_PER_CALL="5") as client:
        error = await refused(client, "generate_media", prompt="a kite", aspect_ratio="16:9", **SHARP)
    assert error["code"] == "ceiling_reached"
    assert "5 credits" in error["message"]


@pytest.mark.parametrize(("status", "body"), [(403, None), (200, {"estimated_cost_credits": 0}), (200, {"ok": True})])
async def test_zero_is_no_price_and_silence_is_none_either(
    api: RunningSandbox, tmp_path: Path, status: int, body: dict[str, Any] | None
) -> None:
    api.control.fault("POST /v1/estimate", "status", times=20, status=status, body=body)
    async with client_of(api, tmp_path) as client:
        assert "credits" not in await call(client, "estimate", **SHARP)
        assert "credits" not in await quoted(client, "generate_media", prompt="a kite", aspect_ratio="16:9", **SHARP)
    api.control.knobs(faults=[])


async def test_a_paid_call_can_end_with_its_price(connected: Client, api: RunningSandbox, tmp_path: Path) -> None:
    before = api.control.books()["calls"]
    async with connected as client:
        answer = await quoted(
            client,
            "generate_media",
            prompt="a kite",
            model="nano-banana-2",
            source_media_urls=[picture(tmp_path)],
            variant_count=3,
        )
        assert (answer["status"], answer["credits"], answer["basis"], answer["count"]) == ("quoted", 42, "catalogue", 3)
        assert answer["arguments"]["source_media_urls"] == [picture(tmp_path)]
        assert answer["breakdown"] == [{"label": "3 x nano-banana-2", "credits": 42, "detail": "14 credits each"}]
    posts = {name: count for name, count in api.control.books()["calls"].items() if name.startswith("POST /v1")}
    assert posts == {name: count for name, count in before.items() if name.startswith("POST /v1")}


async def test_its_errors_are_those_of_the_call(connected: Client, tmp_path: Path) -> None:
    wrong: tuple[tuple[str, dict[str, Any]], ...] = (
        ("generate_media", {"prompt": "a kite", "model": "nano-banana-2", "aspect_ratio": "7:3"}),
        ("generate_media", {"prompt": "a kite", "model": "nano-bananna-2"}),
        ("generate_captions", {"media_url": picture(tmp_path)}),
        ("regenerate", {"id": "nobody"}),
    )
    async with connected as client:
        for tool, arguments in wrong:
            assert await quoted(client, tool, **arguments) == await refused(client, tool, **arguments)


async def test_what_is_still_to_come_is_checked_and_priced(connected: Client) -> None:
    async with connected as client:
        clip = {"the clip": {"kind": "video", "seconds": 12}}
        assert (await quoted(client, "generate_captions", clip, media_url="the clip"))["credits"] == 6
        wrong = await quoted(client, "generate_captions", {"x": {"kind": "image"}}, media_url="x")
        assert wrong["code"] == "invalid_argument"
        open_ = await quoted(client, "generate_captions", {"x": {"kind": "video"}}, media_url="x")
        assert "credits" not in open_
        assert open_["lacks_length"] is True
        for nonsense in (-1, 1e308, "soon", None, float("nan")):
            strange = {"x": {"kind": "film", "seconds": nonsense}}
            assert "credits" not in await quoted(client, "generate_captions", strange, media_url="x")


async def test_a_job_that_is_still_to_come_can_be_made_again(connected: Client) -> None:
    async with connected as client:
        first = await quoted(client, "generate_media", prompt="a kite", model="nano-banana-2")
        coming = {"job-1": {"tool": "generate_media", "arguments": first["arguments"]}}
        again = await quoted(client, "regenerate", coming, id="job-1", aspect_ratio="16:9")
        assert (again["credits"], again["arguments"]["aspect_ratio"]) == (14, "16:9")
        coming["job-1"]["tool"] = "generate_music"
        assert "generate_music" in (await quoted(client, "regenerate", coming, id="job-1"))["message"]


async def test_nothing_is_still_to_come_in_a_call_that_pays(connected: Client) -> None:
    async with connected as client:
        coming: Any = {COMING: {"the clip": {"kind": "video", "seconds": 12}}}
        answer = await client.call_tool("generate_captions", {"media_url": "the clip"}, meta=coming)
        assert answer.is_error


async def test_estimate_takes_what_the_generate_tools_take(connected: Client, tmp_path: Path) -> None:
    async with connected as client:
        plain = await call(client, "estimate", model="nano-banana-2", prompt="a kite", aspect_ratio="16:9", seed=4)
        assert plain["credits"] == 14
        wrong = await refused(client, "estimate", model="nano-banana-2", prompt="a kite", aspect_ratio="7:3")
        assert wrong == await refused(
            client, "generate_media", model="nano-banana-2", prompt="a kite", aspect_ratio="7:3"
        )
        pictures = [picture(tmp_path)] * 20
        assert (await refused(client, "estimate", model="nano-banana-2", source_media_urls=pictures))["code"]
        foreign = await call(client, "estimate", model="remove-background", languages=["de"], approval="x", name="y")
        assert foreign["notes"] == ["Not an argument of remove_background, and without effect: languages."]
        assert "no such argument" in (await refused(client, "estimate", model="nano-banana-2", kites=2))["message"]
        listed = next(tool for tool in (await client.list_tools()).tools if tool.name == "estimate")
        assert not {"prompt", "languages", "media_url"} & listed.input_schema["properties"].keys()


async def test_estimate_counts_languages_texts_and_jobs(connected: Client) -> None:
    async with connected as client:
        dub = {"model": "sonilo-dubbing", "reference_video_seconds": 30}
        assert (await call(client, "estimate", **dub, languages=["de", "es"]))["credits"] == 180
        one = await call(client, "estimate", **dub)
        assert one["credits"] == 90
        assert "For one target language." in one["notes"]
        assert (await call(client, "estimate", **dub, variant_count=2))["credits"] == 180
        long = await call(client, "estimate", model="text-to-dialogue-v3", text="x" * 2_500)
        assert long["credits"] == 63
        unsaid = await call(client, "estimate", model="text-to-dialogue-v3")
        assert unsaid["credits"] == 21
        assert "1,000 characters" in unsaid["notes"][0]
        assert (await call(client, "estimate", model="ad-copy", variant_count=10))["credits"] == 500


async def test_a_file_is_measured_and_wins_over_a_length_that_was_typed(connected: Client, tmp_path: Path) -> None:
    async with connected as client:
        recording = {"model": "mvsep-40", "media_url": song(tmp_path)}
        both = await call(client, "estimate", **recording, reference_audio_seconds=130)
        assert both["credits"] == 6
        assert "The file lasts 3 s, not 130 s as was said; the file counts." in both["notes"]
        agreeing = await call(client, "estimate", **recording, reference_audio_seconds=3)
        assert not any("as was said" in note for note in agreeing["notes"])
        far = {"model": "auto-caption", "media_url": "https://example.com/a.mp4"}
        assert "credits" not in await call(client, "estimate", **far)
        said = await call(client, "estimate", **far, reference_video_seconds=8)
        assert said["credits"] == 4
        assert "The file could not be measured; it is priced at 8 s, as was said." in said["notes"]


async def test_what_no_tool_makes_has_no_price(connected: Client) -> None:
    async with connected as client:
        answer = await call(client, "estimate", model="suno-lyrics-generation")
        assert (answer["basis"], "credits" in answer) == ("unknown", False)
        assert "no tool runs it" in answer["notes"][0]
        error = await refused(client, "generate_music", prompt="a waltz", model="suno-lyrics-generation")
        assert "no tool runs it" in error["message"]


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("estimate", {}),
        ("generate_media", {"prompt": "a kite"}),
        ("generate_music", {"prompt": "a waltz"}),
        ("generate_sound", {"prompt": "rain"}),
        ("get_upload_url", {}),
    ],
)
async def test_a_model_that_does_not_exist_gets_the_same_answer_everywhere(
    connected: Client, tool: str, arguments: dict[str, Any]
) -> None:
    name = "model_id" if tool == "get_upload_url" else "model"
    async with connected as client:
        error = await refused(client, tool, **arguments, **{name: "nano-bananna-2"})
    assert error["code"] == "unknown_model"
    assert "there is no model 'nano-bananna-2'. Did you mean nano-banana-2" in error["message"]


@pytest.mark.parametrize("seconds", [1e308, 86_401, -1, 10**30])
async def test_no_length_is_beyond_belief(connected: Client, seconds: float) -> None:
    async with connected as client:
        for name in ("reference_video_seconds", "reference_audio_seconds"):
            error = await refused(client, "estimate", model="auto-caption", **{name: seconds})
            assert error["code"] == "invalid_argument"
            assert "0 to 86,400 s" in error["message"]


@pytest.mark.parametrize("length", ["9" * 400, "1e308", "nan", 10**400, -(10**400), 1e308])
async def test_no_duration_is_beyond_belief(connected: Client, length: float | str) -> None:
    async with connected as client:
        for model, tool in (("sonilo-text-to-sfx", "generate_sound"), ("kling-3-0-std", "generate_media")):
            for asked in ("estimate", tool):
                error = await refused(
                    client, asked, **({} if asked == "estimate" else {"prompt": "rain"}), model=model, duration=length
                )
                assert error["code"] == "invalid_argument"
                assert error["message"].startswith("duration: ")
