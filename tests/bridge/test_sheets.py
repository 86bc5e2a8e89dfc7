"""Comparison sheets: of which pictures, when, and what their captions say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from PIL import Image

from kubeez_mcp_local.bridge import Bridge
from kubeez_mcp_local.bridge.sheets import captioned, sheet_of_call, sheet_of_run
from kubeez_mcp_local.jobs.job import Job, Labels, SavedFile, State
from kubeez_mcp_local.mcp_server.server import KubeezServer
from kubeez_mcp_local.media import sheet
from kubeez_mcp_local.runs.client import LocalClient
from kubeez_mcp_local.settings import Settings
from tests.sandbox_server import running_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.sandbox_server import RunningSandbox

pytestmark = pytest.mark.anyio


def job(number: int = 0, *, files: int = 1, labels: Labels | None = None, **changes: Any) -> Job:
    saved = tuple(SavedFile(f"/out/{number}-{at}.png", "", "image/png", 7) for at in range(files))
    made = Job(
        f"job-{number}", "sandbox", State.COMPLETED, "d", "generate_media", "generate_media", "media", "media",
        "nano-banana-2", "a fox", None, {}, None, None, "o", 14.0, "catalogue", 30, 0.0, 14.0, (), (), saved, None,
        None, None, 1.0, None, None, None, None, labels=labels or Labels("fox"),
    )  # fmt: skip
    return replace(made, **changes)


def captions(*jobs: Job) -> list[tuple[str, str]]:
    return [(item.title, item.detail) for item in captioned([(each, file) for each in jobs for file in each.files])]


def test_captions_say_what_differs_and_what_it_cost() -> None:
    run = [Labels("x", call=f"{step}[{at}]", item=item) for step in ("old", "new") for at, item in enumerate("ab")]
    assert captions(*(job(at, labels=labels) for at, labels in enumerate(run))) == [
        (f"{step} · {item}", "nano-banana-2 · 14 credits") for step in ("old", "new") for item in "ab"
    ]
    assert captions(job(1), job(2, model="seedream-v4-5", charged=9.0)) == [
        ("nano-banana-2", "14 credits"),
        ("seedream-v4-5", "9 credits"),
    ]
    variants = [job(at, labels=Labels("fox", f"{at}-of-2"), arguments={"seed": 5}) for at in (1, 2)]
    assert [title for title, _ in captions(*variants)] == ["1 of 2", "2 of 2"]
    assert [title for title, _ in captions(job(1, arguments={"aspect_ratio": "1:1"}), job(2))] == ["1:1", "2-0"]
    assert [title for title, _ in captions(job(1, prompt="a red fox"), job(2, prompt="a hare"))] == ["red fox", "hare"]
    assert [title for title, _ in captions(job(1), job(2))] == ["1-0", "2-0"]


def test_the_price_is_that_of_one_picture_and_says_when_it_is_only_quoted() -> None:
    assert [detail for _, detail in captions(job(files=2))] == ["nano-banana-2 · 7 credits"] * 2
    assert captions(job(1, charged=None), job(2))[0][1].endswith("about 14 credits")
    assert captions(job(1, charged=None, quote_credits=None), job(2))[0][1].endswith("price not known")


def test_a_sheet_is_for_two_pictures_and_more() -> None:
    assert sheet_of_call([job()]) is None
    assert sheet_of_call([job(files=2)]) == Path("/out/fox-comparison.png")
    variants = [job(at, labels=Labels("fox", f"{at}-of-2", batch="b")) for at in (1, 2)]
    assert sheet_of_call(variants) == Path("/out/fox-comparison.png")
    assert sheet_of_call([variants[0], replace(variants[1], files=())]) is None  # the second is still being saved
    film = SavedFile("/out/a.mp4", "", "video/mp4", 7)
    assert sheet_of_call([replace(job(), files=(film, film))]) is None
    assert sheet_of_run([("/out/a.mp4", "video/mp4"), ("/out/b.mp4", "video/mp4")]) is None
    assert sheet_of_run([("/out/a.png", "image/png"), ("/out/b.mp3", "audio/mpeg")]) is None
    assert sheet_of_run([("/out/a.png", "image/png"), ("/out/b.jpg", "image/jpeg")]) == Path("/out/comparison.png")


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSandbox]:
    with running_sandbox(tmp_path_factory.mktemp("api"), speed=5_000) as running:
        yield running


def settings_of(sandbox: RunningSandbox, tmp_path: Path, **more: Any) -> Settings:
    folders = {"output_dir": tmp_path / "out", "state_dir": tmp_path / "state"}
    return Settings(mode="sandbox", base_url=sandbox.url, **folders, **more)


FOX: dict[str, Any] = {"prompt": "a fox", "model": "nano-banana-2", "variant_count": 3, "name": "fox"}


async def finished(client: LocalClient, arguments: dict[str, Any]) -> list[dict[str, Any]]:
    started = await client("generate_media", arguments)
    return [await client("wait_for_generation", {"id": job_id}) for job_id in started["generation_ids"]]


class Drawn:
    """How many sheets were drawn; `wait` until there is another one."""

    def __init__(self) -> None:
        self.count = 0
        self._another = anyio.Event()

    def told(self) -> None:
        self.count += 1
        self._another.set()

    async def wait(self, path: str) -> None:
        with anyio.fail_after(60):
            await self._another.wait()
        self._another = anyio.Event()
        assert await anyio.Path(path).is_file()


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    found = Drawn()
    draw = sheet.comparison_sheets

    async def drawing(*arguments: Any, **named: Any) -> list[Path]:
        paths = await draw(*arguments, **named)
        found.told()
        return paths

    monkeypatch.setattr(sheet, "comparison_sheets", drawing)
    return found


async def test_a_call_with_variants_gets_one_sheet_and_its_answers_name_it(
    sandbox: RunningSandbox, tmp_path: Path, drawn: Drawn
) -> None:
    async with LocalClient(Bridge(settings_of(sandbox, tmp_path)), KubeezServer, name="test") as client:
        last = (await finished(client, FOX))[-1]  # earlier ones may come before the others are made
        path = last["sheet"]
        await drawn.wait(path)
        together = await client(
            "wait_for_generation", {"id": ",".join((await client("generate_media", FOX))["generation_ids"])}
        )
        assert together["sheet"] == path
        with Image.open(path) as picture:
            assert picture.width > 1_600
        await finished(client, FOX)  # the same jobs: nothing is drawn again
        single = await finished(client, {**FOX, "variant_count": 1, "prompt": "a hare"})
    assert "sheet" not in single[0]
    assert drawn.count == 1
    assert [found.name for found in (tmp_path / "out").rglob("*comparison*")] == ["fox-comparison.png"]


async def test_a_sheet_that_nobody_was_left_to_draw_is_drawn_at_the_next_look(
    sandbox: RunningSandbox, tmp_path: Path, drawn: Drawn
) -> None:
    settings = settings_of(sandbox, tmp_path)
    async with LocalClient(Bridge(settings.model_copy(update={"sheets": False})), KubeezServer, name="test") as client:
        answers = await finished(client, FOX)
        assert "sheet" not in answers[0]
    assert list((tmp_path / "out").rglob("*comparison*")) == []
    async with LocalClient(Bridge(settings), KubeezServer, name="test") as client:
        again = await client("wait_for_generation", {"id": answers[0]["generation_id"]})
        await drawn.wait(again["sheet"])


async def test_no_answer_names_a_sheet_that_nobody_draws(sandbox: RunningSandbox, tmp_path: Path) -> None:
    async with LocalClient(Bridge(settings_of(sandbox, tmp_path)), KubeezServer, name="test") as client:
        wishes = ({"prompt": "a fox"}, {"prompt": "a mug"}, {"prompt": "a mug", "seed": 2})
        jobs = [await client("generate_media", {"model": "z-image", **wish}) for wish in wishes]
        ids = [job["generation_id"] for job in jobs]
        ids += (await client("generate_media", {**FOX, "prompt": "two foxes", "variant_count": 2}))["generation_ids"]
        together = await client("wait_for_generation", {"id": ",".join(ids)})
        assert len(together["files"]) == 5
        assert "sheet" not in together
        assert "sheet" not in await client("get_generation", {"id": ids[0]})


async def test_neither_name_nor_sheet_make_another_job(sandbox: RunningSandbox, tmp_path: Path) -> None:
    ids: list[str] = []
    for more in ({}, {"name": "hero"}, {"name": "other"}):
        bridge = Bridge(settings_of(sandbox, tmp_path, sheets=bool(ids)))
        async with LocalClient(bridge, KubeezServer, name="test") as client:
            started = await client("generate_media", {"prompt": "a hare", "model": "nano-banana-2", **more})
            await client("wait_for_generation", {"id": started["generation_id"]})
        ids.append(started["generation_id"])
    assert len(set(ids)) == 1
    assert [path.name for path in (tmp_path / "out").rglob("*.png")] == ["hare.png"]


async def test_a_run_gets_one_sheet_in_its_folder_after_its_answer(
    sandbox: RunningSandbox, tmp_path: Path, drawn: Drawn
) -> None:
    async with LocalClient(Bridge(settings_of(sandbox, tmp_path)), KubeezServer, name="test") as client:
        run = await client("run_recipe", {"name": "three-ad-variants", "arguments": {"brief": "tea"}, "run_id": "a"})
        assert Path(run["sheet"]).parts[-4:] == ("out", "runs", "a-sandbox", "comparison.png")
        await drawn.wait(run["sheet"])
    assert len(list((tmp_path / "out").rglob("*comparison*"))) == 1
