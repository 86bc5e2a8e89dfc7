"""A run of a recipe asks once, is paid once, and goes on whatever becomes of the call that began it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from mcp import Client
from mcp.types import ElicitResult

from kubeez_mcp_local.bridge import Bridge
from kubeez_mcp_local.mcp_server.server import KubeezServer
from kubeez_mcp_local.mcp_server.tools import recipes
from kubeez_mcp_local.settings import load_settings
from tests.mcp_server.driving import call, refused
from tests.sandbox_server import KEY, RunningSandbox, running_sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from mcp.types import ElicitRequestParams

pytestmark = pytest.mark.anyio
ERAS = pytest.mark.parametrize("mode", ["auto", "legacy"])
RUN: dict[str, Any] = {"name": "three-ad-variants", "arguments": {"brief": "A red running shoe"}}


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSandbox]:
    with running_sandbox(tmp_path_factory.mktemp("api"), speed=5000, rate_limits="off") as running:
        yield running


@pytest.fixture
def api(sandbox: RunningSandbox) -> RunningSandbox:
    sandbox.control.reset()
    sandbox.control.key(KEY, credits=1000)
    return sandbox


def charges(api: RunningSandbox) -> list[float]:
    return [entry["credits"] for entry in api.control.account()["entries"] if entry["kind"] == "charge"]


class Person:
    """Answers every question alike and remembers them."""

    def __init__(self, action: str) -> None:
        self.reply = ElicitResult.model_validate({"action": action, "content": {"spend": True}})
        self.asked: list[str] = []

    async def __call__(self, context: Any, params: ElicitRequestParams) -> ElicitResult:
        self.asked.append(params.message)
        return self.reply


@asynccontextmanager
async def live(
    folder: Path, api: RunningSandbox, mode: str = "auto", person: Person | None = None, **variables: str
) -> AsyncIterator[Client]:
    """A client of a server in live mode, so that spending has to be agreed to."""
    environ = {
        "KUBEEZ_API_KEY": KEY,
        "KUBEEZ_BASE_URL": api.url,
        "KUBEEZ_STATE_DIR": str(folder / "state"),
        **variables,
    }
    settings = load_settings({"output_dir": str(folder / "out")}, environ=environ, working_dir=folder)
    async with Client(KubeezServer(Bridge(settings)), mode=mode, elicitation_callback=person) as client:
        yield client


@ERAS
async def test_one_question_covers_the_whole_run(tmp_path: Path, api: RunningSandbox, mode: str) -> None:
    person = Person("accept")
    async with live(tmp_path, api, mode, person) as client:
        run = await call(client, "run_recipe", **RUN)
    assert (run["status"], run["mode"], len(run["files"])) == ("completed", "live", 3)
    assert len(person.asked) == 1
    assert "3 paid calls for 42 credits, at most 60 in all" in person.asked[0]
    assert "Balance afterwards: 958 credits" in person.asked[0]
    assert len(charges(api)) == 3


@ERAS
@pytest.mark.parametrize(("action", "code"), [("decline", "declined"), ("cancel", "consent_cancelled")])
async def test_without_a_yes_nothing_runs(
    tmp_path: Path, api: RunningSandbox, mode: str, action: str, code: str
) -> None:
    async with live(tmp_path, api, mode, Person(action)) as client:
        assert (await refused(client, "run_recipe", **RUN))["code"] == code
    assert charges(api) == []


@ERAS
async def test_who_cannot_ask_gets_a_code_for_exactly_this_run(tmp_path: Path, api: RunningSandbox, mode: str) -> None:
    async with live(tmp_path, api, mode) as client:
        quoted = await call(client, "run_recipe", **RUN)
        assert (quoted["status"], quoted["cost"]["quoted"]) == ("approval_required", 42)
        other = {"name": RUN["name"], "arguments": {"brief": "Something else"}}
        wrong = await refused(client, "run_recipe", **other, approval=quoted["approval"])
        assert wrong["code"] == "approval_invalid"
        run = await call(client, "run_recipe", **RUN, approval=quoted["approval"])
        assert run["status"] == "completed"
        reused = await refused(client, "run_recipe", **RUN, run_id="again", approval=quoted["approval"])
        assert reused["code"] == "approval_invalid"
    assert len(charges(api)) == 3


async def test_a_finished_run_is_told_again_without_asking(tmp_path: Path, api: RunningSandbox) -> None:
    async with live(tmp_path, api, person=Person("accept")) as client:
        await call(client, "run_recipe", **RUN)
    async with live(tmp_path, api) as client:  # a new process, which could not even ask
        again = await call(client, "run_recipe", **RUN)
    assert (again["status"], len(again["files"])) == ("completed", 3)
    assert len(charges(api)) == 3


async def test_a_run_that_takes_longer_is_waited_for_by_the_same_call(
    tmp_path: Path, api: RunningSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = Person("accept")
    monkeypatch.setattr(recipes, "RUN_PATIENCE", 0.0)
    async with live(tmp_path, api, person=person) as client:
        first = await call(client, "run_recipe", **RUN)
        assert first["status"] == "running"
        assert "same arguments" in first["next_step"]
        monkeypatch.setattr(recipes, "RUN_PATIENCE", 30.0)
        done = await call(client, "run_recipe", **RUN)
    assert (done["run_id"], done["status"]) == (first["run_id"], "completed")
    assert len(person.asked) == 1
    assert len(charges(api)) == 3


async def test_giving_up_the_call_does_not_give_up_the_run(tmp_path: Path, api: RunningSandbox) -> None:
    person = Person("accept")
    async with live(tmp_path, api, person=person) as client:
        with anyio.move_on_after(0.6):
            await client.call_tool("run_recipe", RUN)
        done = await call(client, "run_recipe", **RUN)
    assert done["status"] == "completed"
    assert len(charges(api)) == 3


async def test_two_windows_that_run_the_same_pay_once(tmp_path: Path, api: RunningSandbox) -> None:
    runs: list[dict[str, Any]] = []

    async def window() -> None:
        async with live(tmp_path, api, person=Person("accept")) as client:
            runs.append(await call(client, "run_recipe", **RUN))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(window)
        tasks.start_soon(window)
    assert [run["status"] for run in runs] == ["completed", "completed"]
    assert runs[0]["run_id"] == runs[1]["run_id"]
    assert len(charges(api)) == 3


async def test_what_failed_is_tried_again_and_only_that_is_asked_about(tmp_path: Path, api: RunningSandbox) -> None:
    person = Person("accept")
    api.control.knobs(fail_next=1)
    async with live(tmp_path, api, person=person) as client:
        first = await call(client, "run_recipe", **RUN)
        assert first["status"] == "failed"
        assert first["calls"][0]["status"] == "failed"
        second = await call(client, "run_recipe", **RUN)
    assert (second["status"], len(second["files"])) == ("completed", 3)
    assert " for 14 credits" in person.asked[1]


async def test_below_the_threshold_nobody_is_asked(tmp_path: Path, api: RunningSandbox) -> None:
    async with live(tmp_path, api, KUBEEZ_ASK_ABOVE="50") as client:
        assert (await call(client, "run_recipe", **RUN))["status"] == "completed"
    async with live(tmp_path, api, KUBEEZ_ASK_ABOVE="41") as client:
        assert (await call(client, "run_recipe", **RUN, run_id="more"))["status"] == "approval_required"


async def test_a_rehearsal_in_live_mode_leaves_the_account_alone(tmp_path: Path, api: RunningSandbox) -> None:
    async with live(tmp_path, api) as client:
        run = await call(client, "run_recipe", **RUN, rehearse=True)
    assert (run["mode"], run["status"], len(run["files"])) == ("sandbox", "completed", 3)
    assert all("rehearsals" in file["path"] for file in run["files"])
    assert charges(api) == []


async def test_four_calls_at_once_with_one_code_are_one_run(tmp_path: Path, api: RunningSandbox) -> None:
    found: list[dict[str, Any]] = []
    async with live(tmp_path, api) as client:
        quoted = await call(client, "run_recipe", **RUN)

        async def again() -> None:
            found.append(await call(client, "run_recipe", **RUN, approval=quoted["approval"]))

        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(again)
    assert [run["status"] for run in found] == ["completed"] * 4
    assert len({run["run_id"] for run in found}) == 1
    assert len(charges(api)) == 3


async def test_two_processes_carry_out_one_run(tmp_path: Path, api: RunningSandbox) -> None:
    found: list[dict[str, Any]] = []
    async with live(tmp_path, api) as ours, live(tmp_path, api) as theirs:
        quoted = await call(ours, "run_recipe", **RUN)

        async def run(client: Client) -> None:
            found.append(await call(client, "run_recipe", **RUN, approval=quoted["approval"]))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run, ours)
            tasks.start_soon(run, theirs)
    assert [one["status"] for one in found] == ["completed"] * 2
    assert len(charges(api)) == 3


async def test_a_run_is_refused_above_the_ceiling_for_one_call(tmp_path: Path, api: RunningSandbox) -> None:
    generous = {**RUN, "arguments": {**RUN["arguments"], "max_credits": 500}}
    async with live(tmp_path, api, person=Person("accept"), KUBEEZ_MAX_CREDITS_PER_CALL="30") as client:
        error = await refused(client, "run_recipe", **generous)
    assert error["code"] == "ceiling_reached"
    assert "KUBEEZ_MAX_CREDITS_PER_RUN" in error["next_step"]
    assert charges(api) == []
    variables = {"KUBEEZ_MAX_CREDITS_PER_CALL": "30", "KUBEEZ_MAX_CREDITS_PER_RUN": "50"}
    async with live(tmp_path, api, person=Person("accept"), **variables) as client:
        assert (await call(client, "run_recipe", **generous))["status"] == "completed"
    assert len(charges(api)) == 3


async def test_a_row_of_unknown_fate_is_parked_and_nobody_answers_for_a_person(
    tmp_path: Path, api: RunningSandbox
) -> None:
    person = Person("accept")
    variables = {"KUBEEZ_MODE": "sandbox", "KUBEEZ_ASK_ABOVE": "0", "KUBEEZ_SANDBOX_SPEED": "200"}
    api.control.fault("POST /v1/generate/media", "cut_before_acceptance")
    async with live(tmp_path, api, "legacy", person, **variables) as client:
        run = await call(client, "run_recipe", **RUN)
        assert run["status"] == "failed"
        assert sorted(one["status"] for one in run["calls"]) == ["completed", "completed", "parked"]
        assert len(charges(api)) == 2
        await call(client, "run_recipe", **RUN)
    assert len({job["prompt"] for job in api.control.account()["jobs"]}) == len(charges(api))
    assert all("credits" in question for question in person.asked), person.asked
