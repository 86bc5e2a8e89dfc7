"""Every recipe of the pack runs through the real server against the sandbox and comes to what it expects."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kubeez_mcp_local.bridge import Bridge
from kubeez_mcp_local.cookbook.check import Samples, check_recipe, sample_arguments
from kubeez_mcp_local.cookbook.format import Origin
from kubeez_mcp_local.cookbook.library import Library
from kubeez_mcp_local.cookbook.parse import parse_recipe
from kubeez_mcp_local.cookbook.price import price_recipe
from kubeez_mcp_local.cookbook.steps import budget_of
from kubeez_mcp_local.mcp_server.server import KubeezServer
from kubeez_mcp_local.runs.client import LocalClient, judge
from kubeez_mcp_local.settings import Settings
from tests.recipe_tools import run_of
from tests.sandbox_server import RunningSandbox, running_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kubeez_mcp_local.cookbook.format import Recipe
    from kubeez_mcp_local.runs.run import RunReport

pytestmark = pytest.mark.anyio

PACK = list(Library.of().index().entries)


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSandbox]:
    with running_sandbox(tmp_path_factory.mktemp("api"), speed=5_000) as running:
        yield running


@pytest.fixture
def settings(sandbox: RunningSandbox, tmp_path: Path) -> Settings:
    """Settings for the module's sandbox, as if it were new."""
    sandbox.control.reset()
    return Settings(
        mode="sandbox",
        base_url=sandbox.url,
        output_dir=tmp_path / "out",
        input_dirs=(tmp_path / "samples",),
        state_dir=tmp_path / "state",
    )


async def carried_out(
    recipe: Recipe, arguments: dict[str, Any], folder: Path, bridge: Bridge, client: LocalClient, run_id: str = "first"
) -> RunReport:
    run = run_of(recipe, arguments, folder, budget=budget_of(recipe, arguments), run_id=run_id)
    return await run.carry_out(client, bridge.ledger)


@pytest.mark.parametrize("name", PACK)
async def test_the_pack_is_rehearsed(name: str, settings: Settings, tmp_path: Path) -> None:
    recipe = Library.of().get(name)
    arguments = sample_arguments(recipe, Samples(tmp_path / "samples"))
    bridge = Bridge(settings)
    async with LocalClient(bridge, KubeezServer, name="rehearsal", recipe=name) as client:
        assert [str(one) for one in check_recipe(recipe, await client.tools())] == []
        prices = await price_recipe(recipe, arguments, client)
        report = await carried_out(recipe, arguments, tmp_path / "runs", bridge, client)

    assert judge(recipe, report, arguments) == ()
    assert report.status == "completed"
    assert prices.fits
    assert report.spent <= prices.budget.credits
    paths = [Path(path) for path in report.files]
    assert {path.parent for path in paths} <= {tmp_path / "out" / "runs" / "first-sandbox"}
    steps = tuple(step.id.replace("_", "-") for step in recipe.steps)
    said = ("-cutout", "-captioned", "-dubbed", "-clip")
    assert [path.name for path in paths if not path.name.startswith(steps) and not path.stem.endswith(said)] == []
    assert len({path.stem.lower() for path in paths}) == len(paths)


async def test_a_run_id_never_pays_twice_however_often_it_is_used(
    settings: Settings, tmp_path: Path, plain: str
) -> None:
    recipe = parse_recipe(plain, Origin("draft", "a test"))
    arguments = sample_arguments(recipe)
    bridge = Bridge(settings)
    async with LocalClient(bridge, KubeezServer, name="rehearsal") as client:
        for attempt in range(3):
            report = await carried_out(recipe, arguments, tmp_path / f"runs-{attempt}", bridge, client, "same")
            assert report.status == "completed"
        balance = await client("get_balance", {})
    assert balance["spent_today"] == 14


async def test_two_runs_are_two_intentions_even_with_the_same_words(
    settings: Settings, tmp_path: Path, plain: str
) -> None:
    recipe = parse_recipe(plain, Origin("draft", "a test"))
    arguments = sample_arguments(recipe)
    bridge = Bridge(settings)
    async with LocalClient(bridge, KubeezServer, name="rehearsal") as client:
        for run_id in ("one", "two"):
            await carried_out(recipe, arguments, tmp_path / "runs", bridge, client, run_id)
        balance = await client("get_balance", {})
    assert balance["spent_today"] == 28


async def test_the_ceiling_of_the_settings_outranks_a_recipe(settings: Settings, tmp_path: Path, plain: str) -> None:
    recipe = parse_recipe(plain, Origin("draft", "a test"))
    arguments = sample_arguments(recipe)
    bridge = Bridge(settings.model_copy(update={"max_credits_per_call": 5}))
    async with LocalClient(bridge, KubeezServer, name="rehearsal") as client:
        report = await carried_out(recipe, arguments, tmp_path / "runs", bridge, client, "r")
    assert (report.status, report.spent) == ("stopped", 0)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("video-with-captions", {"quality": "best", "language": "en"}),
        ("pick-a-video-model", {"sound": True, "seconds": 8}),
        ("localised-ad", {"with_voice": False}),
        ("social-post-every-ratio", {"text_space": "none"}),
    ],
)
async def test_choices_beside_the_defaults_are_rehearsed(
    name: str, given: dict[str, Any], settings: Settings, tmp_path: Path
) -> None:
    recipe = Library.of().get(name)
    arguments = sample_arguments(recipe, Samples(tmp_path / "samples")) | given
    bridge = Bridge(settings)
    async with LocalClient(bridge, KubeezServer, name="rehearsal", recipe=name) as client:
        report = await carried_out(recipe, arguments, tmp_path / "runs", bridge, client)
    assert report.status == "completed", report.summary()
