"""What goes wrong between here and the API, over real HTTP: paid once, lost never, said plainly."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest

from kubeez_mcp_local.bridge import Bridge
from kubeez_mcp_local.cookbook.steps import ToolCallError
from kubeez_mcp_local.jobs.reconcile import Reconciler
from kubeez_mcp_local.mcp_server.server import KubeezServer
from kubeez_mcp_local.runs.client import LocalClient
from kubeez_mcp_local.sandbox import service
from kubeez_mcp_local.settings import load_settings
from tests.sandbox_server import KEY, RunningSandbox, running_sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

pytestmark = pytest.mark.anyio

SPEED = 2000.0
PICTURE = {"prompt": "a kite", "model": "nano-banana-2"}
PRICE = 14
PATIENCE = 25.0
POST = "POST /v1/generate/media"


@dataclass(frozen=True)
class World:
    """A bridge, its client, and the API it talks to."""

    api: RunningSandbox
    call: LocalClient
    bridge: Bridge

    def charges(self) -> list[float]:
        entries = self.api.control.account()["entries"]
        return [-entry["credits"] for entry in entries if entry["kind"] == "charge"]

    def net(self) -> float:
        entries = self.api.control.account()["entries"]
        return float(-sum(entry["credits"] for entry in entries if entry["kind"] != "grant"))

    async def finished(self, **changes: str) -> dict[str, Any]:
        """What a patient client does: ask until the job has an id, then wait until it is over."""
        with anyio.fail_after(PATIENCE):
            started = await self._started(PICTURE | changes)
            while True:
                result = await self.call("wait_for_generation", {"id": started["generation_id"]})
                if result["status"] not in ("pending", "processing"):
                    return result

    async def _started(self, picture: dict[str, Any]) -> dict[str, Any]:
        while True:
            try:
                return await self.call("generate_media", picture)
            except ToolCallError as error:
                if error.code not in ("unsettled_job", "not_accepted", "busy"):
                    raise


@pytest.fixture(scope="module")
def running_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSandbox]:
    with running_sandbox(tmp_path_factory.mktemp("api"), speed=SPEED) as sandbox:
        yield sandbox


@pytest.fixture
def api(running_api: RunningSandbox) -> RunningSandbox:
    """The module's API, as if it were new, with one account of 1,000 credits."""
    running_api.control.reset()
    running_api.control.knobs(speed=SPEED, rate_limits="off")
    running_api.control.key(KEY, credits=1000)
    return running_api


@asynccontextmanager
async def world(api: RunningSandbox, folder: Path) -> AsyncIterator[World]:
    environ = {
        "KUBEEZ_API_KEY": KEY,
        "KUBEEZ_MODE": "sandbox",
        "KUBEEZ_BASE_URL": api.url,
        "KUBEEZ_SANDBOX_SPEED": str(SPEED),
        "KUBEEZ_STATE_DIR": str(folder / "state"),
        "KUBEEZ_OUTPUT_DIR": str(folder / "out"),
    }
    bridge = Bridge(load_settings(environ=environ, working_dir=folder))
    async with LocalClient(bridge, KubeezServer, name="faults") as call:
        await call("get_models", {"limit": 1})
        yield World(api, call, bridge)


async def assert_one_good_job(world: World, result: dict[str, Any], *, before: int = 0) -> None:
    assert result["status"] == "completed"
    assert result["files"]
    assert result["cost"]["charged"] == PRICE
    assert world.charges() == [PRICE] * (before + 1)
    today = await world.bridge.ledger.today()
    assert (today.spent, today.reserved) == (PRICE * (before + 1), 0)


@pytest.mark.parametrize(
    ("on", "kind", "details"),
    [
        (POST, "status", {"status": 429}),
        (POST, "status", {"status": 429, "retry_after": 0.05}),
        (POST, "cut_after_acceptance", {}),
        (POST, "cut_before_acceptance", {}),
        (POST, "status", {"status": 500}),
        (POST, "html", {"status": 502}),
        (POST, "not_json", {}),
        ("GET /v1/generate/media/*", "status", {"status": 500, "times": 2}),
        ("GET /v1/generate/media/*", "status", {"status": 429, "retry_after": 0.05, "times": 2}),
        ("GET /v1/generate/media/*", "html", {"status": 502, "times": 2}),
        ("GET /v1/generate/media/*", "not_json", {"times": 2}),
        ("GET /v1/generate/media/*", "cut_before_acceptance", {"times": 2}),
        ("GET /v1/generate/media/*/stream", "drop_stream", {"times": 5}),
        ("GET /v1/generations", "status", {"status": 503, "times": 1}),
        (POST, "slow", {"seconds": 0.3}),
    ],
)
async def test_one_fault_on_the_way_costs_nothing_extra_and_loses_nothing(
    tmp_path: Path, api: RunningSandbox, on: str, kind: str, details: dict[str, Any]
) -> None:
    async with world(api, tmp_path) as here:
        await here.finished(prompt="an earlier picture")  # else nobody can know that the history lists pictures
        api.control.fault(on, kind, **details)
        await assert_one_good_job(here, await here.finished(), before=1)


@pytest.mark.parametrize(
    "knobs",
    [{"early_404": 3}, {"null_urls": 3}, {"cdn_404": 2}, {"success_code": 202}, {"early_404": 2, "null_urls": 2}],
)
async def test_an_api_that_is_late_is_waited_for(tmp_path: Path, api: RunningSandbox, knobs: dict[str, Any]) -> None:
    async with world(api, tmp_path) as here:
        api.control.knobs(**knobs)
        await assert_one_good_job(here, await here.finished())


async def test_a_call_delivered_twice_at_once_is_paid_once(tmp_path: Path, api: RunningSandbox) -> None:
    results: list[dict[str, Any]] = []
    async with world(api, tmp_path) as here:

        async def deliver() -> None:
            results.append(await here.call("generate_media", PICTURE))

        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(deliver)
        ids = {
            result["generation_id"] for result in results if result["status"] != "pending" or result["outputs"] == []
        }
        assert here.charges() == [PRICE]
        final = await here.finished()
    assert final["generation_id"] in ids
    assert sum(bool(result.get("repeated")) for result in results) == 7


@pytest.mark.parametrize("refund", [True, False])
async def test_what_a_failed_job_cost_is_what_the_api_says(tmp_path: Path, api: RunningSandbox, refund: bool) -> None:
    async with world(api, tmp_path) as here:
        api.control.knobs(fail_next=1, refund_failures=refund)
        failed = await here.finished()
        today = await here.bridge.ledger.today()
        assert failed["status"] == "failed"
        assert failed["next_step"].startswith("Nothing was kept" if refund else "14 credits were kept")
        assert today.spent == here.net() == (0 if refund else PRICE)
        assert today.reserved == 0


async def test_calls_of_unknown_price_side_by_side_all_go_through(tmp_path: Path, api: RunningSandbox) -> None:
    """Each holds back 500 of the day's 2000 credits until its slow answer says what it costs."""
    async with world(api, tmp_path) as here:
        no_estimate = {"on": "POST /v1/estimate", "kind": "status", "status": 403, "times": 20}
        api.control.knobs(faults=[{"on": POST, "kind": "slow", "seconds": 0.5, "times": 6}, no_estimate])
        started: list[dict[str, Any]] = []

        async def one(number: int) -> None:
            wish = {"prompt": f"kite {number}", "model": "wan-2-5", "duration": "5s"}
            started.append(await here.call("generate_media", wish))

        async with anyio.create_task_group() as tasks:
            for number in range(6):
                tasks.start_soon(one, number)
        assert len({result["generation_id"] for result in started}) == len(here.charges()) == 6
        assert {result["cost"]["basis"] for result in started} == {"estimate"}  # the answer's; nothing was known before


async def test_what_a_failed_job_cost_is_not_known_where_the_api_names_no_amount_that_can_be(
    tmp_path: Path, api: RunningSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(api, tmp_path) as here:
        api.control.knobs(fail_next=1)
        monkeypatch.setattr(service, "_deducted", lambda _job, _status: -PRICE)
        failed = await here.finished()
        today = await here.bridge.ledger.today()
        assert failed["status"] == "failed"
        assert failed["next_step"].startswith("The API does not say whether credits were kept")
        assert (today.spent, today.reserved) == (0, PRICE)


@pytest.mark.parametrize("status", [400, 402])
async def test_out_of_credits_in_either_form_is_not_retried(tmp_path: Path, api: RunningSandbox, status: int) -> None:
    async with world(api, tmp_path) as here:
        api.control.knobs(no_credits_as=status)
        api.control.key(KEY, credits=1)
        with pytest.raises(ToolCallError) as caught:
            await here.call("generate_media", PICTURE)
        assert caught.value.code == "insufficient_credits"
        assert here.charges() == []
        assert (await here.bridge.ledger.today()).reserved == 0


async def test_a_key_revoked_midway_keeps_the_job_for_later(tmp_path: Path, api: RunningSandbox) -> None:
    async with world(api, tmp_path) as here:
        api.control.knobs(speed=1)
        # A stream that is open already would tell of the end without asking for the key again.
        api.control.fault("GET /v1/generate/media/*/stream", "status", status=503, times=1000)
        started = await here.call("generate_media", PICTURE)
        api.control.key(KEY, revoked=True)
        api.control.knobs(speed=SPEED)
        with pytest.raises(ToolCallError) as caught:
            await here.call("wait_for_generation", {"id": started["generation_id"], "timeout_seconds": 1})
        assert caught.value.code == "unauthorized"
        api.control.key(KEY, revoked=False)
        await assert_one_good_job(here, await here.finished())


async def test_after_a_cut_the_user_sees_the_open_job_until_it_is_settled(tmp_path: Path, api: RunningSandbox) -> None:
    async with world(api, tmp_path) as here:
        await with_a_job_of_unknown_fate(here)
        assert (await here.bridge.ledger.today()).reserved == PRICE
        await assert_one_good_job(here, await here.finished())


async def test_a_song_whose_answer_never_came_is_found_although_the_api_chose_its_engine(
    tmp_path: Path, api: RunningSandbox
) -> None:
    async with world(api, tmp_path) as here:
        first = await here.call("generate_music", {"prompt": "a song"})
        await here.call("wait_for_generation", {"id": first["generation_id"]})
        api.control.fault("POST /v1/generate/music", "cut_after_acceptance")
        second = await here.call("generate_music", {"prompt": "another song"})
        done = await here.call("wait_for_generation", {"id": second["generation_id"]})
        assert done["status"] == "completed"
        assert len(here.charges()) == 2


async def with_a_job_of_unknown_fate(here: World) -> str:
    """A paid call whose answer never came, while the history could not be read; it can be again now."""
    here.api.control.fault("GET /v1/generations", "status", status=503, times=1000)
    here.api.control.fault(POST, "cut_after_acceptance")
    with pytest.raises(ToolCallError) as caught:
        await here.call("generate_media", PICTURE)
    assert caught.value.code == "unsettled_job"
    (job,) = await here.bridge.ledger.recent(5)
    assert job.state.value == "unknown"
    here.api.control.knobs(faults=[])
    return job.id


@pytest.mark.parametrize("asked", [True, False], ids=["asking", "waiting"])
async def test_asking_about_a_job_of_unknown_fate_or_waiting_for_it_settles_it(
    tmp_path: Path, api: RunningSandbox, monkeypatch: pytest.MonkeyPatch, asked: bool
) -> None:
    async def nobody_looks(_: Reconciler) -> None:
        return

    monkeypatch.setattr(Reconciler, "settle_all", nobody_looks)
    async with world(api, tmp_path) as here:
        job = await with_a_job_of_unknown_fate(here)
        if asked:
            assert (await here.call("get_status", {"id": job}))["status"] in ("pending", "processing", "completed")
        await assert_one_good_job(here, await here.call("wait_for_generation", {"id": job}))


async def test_a_job_of_unknown_fate_is_found_and_saved_although_nobody_asks(
    tmp_path: Path, api: RunningSandbox
) -> None:
    async with world(api, tmp_path) as here:
        job = await with_a_job_of_unknown_fate(here)
        with anyio.fail_after(PATIENCE):
            while not (await here.bridge.ledger.get(job)).files:
                await anyio.lowlevel.checkpoint()
        assert here.charges() == [PRICE]


async def test_the_ledger_gone_read_only_means_that_nothing_is_sent(tmp_path: Path, api: RunningSandbox) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "ledger.db").write_bytes(b"this is no database, but somebody's notes" * 100)
    async with world(api, tmp_path) as here:
        with pytest.raises(ToolCallError) as caught:
            await here.call("generate_media", PICTURE)
        assert caught.value.code.startswith("ledger")
        assert "ledger.db" in str(caught.value)
        assert here.charges() == []
