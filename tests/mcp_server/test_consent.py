"""The question before credits are spent: what counts as a yes, and what never does."""

from __future__ import annotations

import re
import sqlite3
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
from mcp import Client, MCPError
from mcp.types import ElicitRequestFormParams, ElicitResult, ErrorData, InputRequiredResult

from kubeez_mcp_local.bridge import Bridge
from kubeez_mcp_local.mcp_server import call
from kubeez_mcp_local.mcp_server.server import KubeezServer
from kubeez_mcp_local.settings import load_settings
from tests.sandbox_server import KEY, RunningSandbox, running_sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from mcp.types import CallToolResult, ElicitRequestParams

pytestmark = pytest.mark.anyio
ERAS = pytest.mark.parametrize("mode", ["auto", "legacy"])
PICTURE: dict[str, Any] = {"prompt": "a kite", "model": "z-image"}
YES = ElicitResult(action="accept", content={"spend": True})


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSandbox]:
    with running_sandbox(tmp_path_factory.mktemp("api"), rate_limits="off") as running:
        yield running


@pytest.fixture
def api(sandbox: RunningSandbox) -> RunningSandbox:
    sandbox.control.reset()
    sandbox.control.key(KEY, credits=1000)
    return sandbox


def charges(api: RunningSandbox) -> int:
    return sum(entry["kind"] == "charge" for entry in api.control.account()["entries"])


def live(folder: Path, api: RunningSandbox) -> dict[str, str]:
    return {
        "KUBEEZ_API_KEY": KEY,
        "KUBEEZ_BASE_URL": api.url,
        "KUBEEZ_STATE_DIR": str(folder / "state"),
        "KUBEEZ_OUTPUT_DIR": str(folder / "out"),
    }


@asynccontextmanager
async def connected(
    folder: Path, api: RunningSandbox, mode: str, reply: ElicitResult | ErrorData | None
) -> AsyncIterator[Client]:
    async def answer(context: Any, params: ElicitRequestParams) -> ElicitResult | ErrorData:
        assert reply is not None
        return reply

    settings = load_settings(environ=live(folder, api), working_dir=folder)
    server = KubeezServer(Bridge(settings))
    async with Client(server, mode=mode, elicitation_callback=answer if reply else None) as client:
        yield client


def facts(result: CallToolResult | InputRequiredResult) -> dict[str, Any]:
    assert not isinstance(result, InputRequiredResult)
    assert isinstance(result.structured_content, dict)
    return result.structured_content


@ERAS
async def test_the_tick_is_the_one_yes(tmp_path: Path, api: RunningSandbox, mode: str) -> None:
    async with connected(tmp_path, api, mode, YES) as client:
        assert facts(await client.call_tool("generate_media", PICTURE))["generation_id"]
    assert charges(api) == 1


async def refused_and_paid_in_words(client: Client, api: RunningSandbox) -> str:
    """What is said where no answer is a yes or a no; with the code that it leaves, the user pays after all."""
    error = facts(await client.call_tool("generate_media", PICTURE))["error"]
    assert (error["code"], error["credits_spent"]) == ("consent_cancelled", False)
    assert charges(api) == 0
    [code] = re.findall(r"approval='([^']+)'", error["next_step"])
    assert facts(await client.call_tool("generate_media", {**PICTURE, "approval": code}))["generation_id"]
    assert charges(api) == 1
    return str(error["message"])


@ERAS
@pytest.mark.parametrize("content", [None, {}, {"spend": None}, {"spend": "true"}, {"spend": 1}, {"confirm": True}])
async def test_a_form_that_comes_back_without_the_tick_is_no_yes_and_leaves_the_user_a_way(
    tmp_path: Path, api: RunningSandbox, mode: str, content: Any
) -> None:
    """Some clients show a question and two buttons, and no form: what their accept means is asked in words."""
    async with connected(tmp_path, api, mode, ElicitResult(action="accept", content=content)) as client:
        message = await refused_and_paid_in_words(client, api)
        assert "without `spend: true`, and only that is a yes" in message
        assert "z-image for 4 credits" in message


@ERAS
async def test_the_box_is_required_and_not_ticked_beforehand(tmp_path: Path, api: RunningSandbox, mode: str) -> None:
    shown: list[dict[str, Any]] = []

    async def answer(context: Any, params: ElicitRequestParams) -> ElicitResult:
        assert isinstance(params, ElicitRequestFormParams)
        shown.append(params.requested_schema)
        return ElicitResult(action="decline")

    settings = load_settings(environ=live(tmp_path, api), working_dir=tmp_path)
    async with Client(KubeezServer(Bridge(settings)), mode=mode, elicitation_callback=answer) as client:
        await client.call_tool("generate_media", PICTURE)
    [schema] = shown
    assert schema["required"] == ["spend"]
    assert schema["properties"]["spend"]["type"] == "boolean"
    assert "default" not in schema["properties"]["spend"]


@ERAS
@pytest.mark.parametrize(
    "reply",
    [
        ElicitResult(action="decline"),
        ElicitResult(action="decline", content={"spend": True}),
        ElicitResult(action="accept", content={"spend": False}),
    ],
)
async def test_this_is_a_no(tmp_path: Path, api: RunningSandbox, mode: str, reply: ElicitResult) -> None:
    async with connected(tmp_path, api, mode, reply) as client:
        error = facts(await client.call_tool("generate_media", PICTURE))["error"]
    assert (error["code"], error["credits_spent"]) == ("declined", False)
    assert charges(api) == 0


async def test_a_client_that_fails_to_ask_gets_the_quote_and_a_code(tmp_path: Path, api: RunningSandbox) -> None:
    broken = ErrorData(code=-32603, message="no window to ask in")
    async with connected(tmp_path, api, "legacy", broken) as client:
        quoted = facts(await client.call_tool("generate_media", PICTURE))
        assert quoted["status"] == "approval_required"
        assert charges(api) == 0
        paid = facts(await client.call_tool("generate_media", {**PICTURE, "approval": quoted["approval"]}))
    assert paid["generation_id"]
    assert charges(api) == 1


@ERAS
async def test_a_question_that_is_closed_is_no_yes(
    tmp_path: Path, api: RunningSandbox, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call, "UNSEEN_SECONDS", 0)
    async with connected(tmp_path, api, mode, ElicitResult(action="cancel")) as client:
        error = facts(await client.call_tool("generate_media", PICTURE))["error"]
    assert (error["code"], error["next_step"]) == ("consent_cancelled", "Ask again when wanted.")
    assert charges(api) == 0


@ERAS
async def test_a_client_that_closes_the_question_unseen_leaves_the_user_a_way(
    tmp_path: Path, api: RunningSandbox, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call, "UNSEEN_SECONDS", 60)
    async with connected(tmp_path, api, mode, ElicitResult(action="cancel")) as client:
        assert "z-image for 4 credits" in await refused_and_paid_in_words(client, api)


async def test_an_answer_counts_only_for_the_very_question_it_was_given_to(tmp_path: Path, api: RunningSandbox) -> None:
    """On 2026-07-28 the client brings the answer along, so it could bring one to another question."""
    async with connected(tmp_path, api, "auto", YES) as client:
        session = client.session
        pending = await session.call_tool("generate_media", PICTURE, allow_input_required=True)
        assert isinstance(pending, InputRequiredResult)
        state = pending.request_state
        for arguments, brought in (
            ({**PICTURE, "prompt": "a castle"}, state),
            ({**PICTURE, "variant_count": 4}, state),
            (PICTURE, None),
            (PICTURE, "0" * 64),
        ):
            with suppress(MCPError):  # the SDK's own seal refuses it, or we ask again
                again = await session.call_tool(
                    "generate_media",
                    arguments,
                    allow_input_required=True,
                    input_responses={"spend": YES},
                    request_state=brought,
                )
                assert isinstance(again, InputRequiredResult)
        assert charges(api) == 0
        paid = await session.call_tool(
            "generate_media", PICTURE, allow_input_required=True, input_responses={"spend": YES}, request_state=state
        )
        assert facts(paid)["generation_id"]
        replayed = await session.call_tool(
            "generate_media", PICTURE, allow_input_required=True, input_responses={"spend": YES}, request_state=state
        )
        assert facts(replayed)["repeated"] is True
    assert charges(api) == 1


@ERAS
async def test_the_same_call_asks_the_same_question_while_the_balance_moves(
    tmp_path: Path, api: RunningSandbox, mode: str
) -> None:
    """Otherwise a client of the new era would be asked again and again."""
    asked: list[str] = []

    async def answer(context: Any, params: ElicitRequestParams) -> ElicitResult:
        asked.append(params.message)
        api.control.key(KEY, credits=1000 - 10 * len(asked))
        return YES

    settings = load_settings(environ=live(tmp_path, api), working_dir=tmp_path)
    async with Client(KubeezServer(Bridge(settings)), mode=mode, elicitation_callback=answer) as client:
        assert facts(await client.call_tool("generate_media", PICTURE))["generation_id"]
    assert len(asked) == 1
    assert "996 credits" in asked[0]


@ERAS
async def test_what_is_made_otherwise_than_asked_for_is_in_the_question(
    tmp_path: Path, api: RunningSandbox, mode: str
) -> None:
    song = {"title": "Kite", "style": "folk", "vocal_gender": "f", "song_description": "calm"}
    async with connected(tmp_path, api, mode, None) as client:
        asked = await client.call_tool("generate_music", song)
        assert asked.structured_content is not None
        assert asked.structured_content["status"] == "approval_required"
        assert "made in simple mode" in asked.structured_content["notes"][0]


def with_a_lost_answer(folder: Path) -> None:
    """The one job of the ledger becomes one whose answer never came, long ago; the history has its row as nobody's."""
    with sqlite3.connect(folder / "state" / "ledger.db") as ledger:
        ledger.execute("UPDATE jobs SET state = 'unknown', model = 'Z'")  # so that the history names it otherwise
        ledger.execute("DELETE FROM generations")
        ledger.execute("UPDATE watches SET since = since - 1000")


@ERAS
@pytest.mark.parametrize(
    ("ticked", "charged"),
    [({"none_of_these": True}, 2), ({"row_1": True}, 1), ({"row_1": True, "none_of_these": True}, 1), ({}, 1)],
)
async def test_what_became_of_a_lost_answer_is_asked_where_the_call_is_repeated(
    tmp_path: Path, api: RunningSandbox, mode: str, ticked: dict[str, Any], charged: int
) -> None:
    asked: list[str] = []

    async def answer(context: Any, params: ElicitRequestParams) -> ElicitResult:
        assert isinstance(params, ElicitRequestFormParams)
        if "spend" in params.requested_schema["properties"]:
            return YES
        asked.append(params.message)
        return ElicitResult(action="accept", content=ticked)

    settings = load_settings(environ=live(tmp_path, api), working_dir=tmp_path)
    async with Client(KubeezServer(Bridge(settings)), mode=mode, elicitation_callback=answer) as client:
        first = facts(await client.call_tool("generate_media", PICTURE))["generation_id"]
    with_a_lost_answer(tmp_path)
    async with Client(KubeezServer(Bridge(settings)), mode=mode, elicitation_callback=answer) as client:
        result = facts(await client.call_tool("generate_media", PICTURE))
    assert charges(api) == charged
    (question,) = asked
    assert "No answer ever came for 1 paid request" in question
    assert "1) “a kite”, z-image" in question
    if ticked == {"row_1": True}:
        assert result["generation_id"] == first
    elif charged == 1:
        assert result["error"]["code"] == "unsettled_job"
        assert "“a kite”" in result["error"]["message"]
