from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest

from kubeez_mcp_local.bridge.files import SharedWork
from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.jobs.sending import Background
from kubeez_mcp_local.media.inputs import LocalInput, Uploads, describe
from tests.refusals import refused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path
    from typing import BinaryIO

    from kubeez_mcp_local.media.inputs import Progress

pytestmark = pytest.mark.anyio


class Api:
    """Stands in for the upload route: counts, can be held up, and can fail."""

    def __init__(self) -> None:
        self.sent: list[Path] = []
        self.fail = False
        self.arrived = anyio.Event()
        self.gate = anyio.Event()
        self.gate.set()

    async def upload(self, local: LocalInput, _file: BinaryIO, progress: Progress, _model: str) -> str:
        self.sent.append(local.path)
        self.arrived.set()
        progress(local.size, local.size)
        await self.gate.wait()
        if self.fail:
            raise KubeezError("The API is away.")
        return f"https://media.example.com/{len(self.sent)}"


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def uploads(api: Api, clock: Clock, tmp_path: Path) -> Uploads:
    return Uploads(api.upload, tmp_path / "cache", "account-1", clock=clock)


@pytest.fixture
def picture(make_image: Callable[..., Path], tmp_path: Path) -> LocalInput:
    return describe(make_image(tmp_path / "a.png"), "image")


def entries_in(folder: Path) -> list[Path]:
    return list(folder.rglob("*.json"))


async def test_the_same_content_is_uploaded_once_whatever_its_name(
    uploads: Uploads, api: Api, picture: LocalInput, tmp_path: Path
) -> None:
    (tmp_path / "copy.png").write_bytes(picture.path.read_bytes())
    first = await uploads.url_for(picture)
    second = await uploads.url_for(describe(tmp_path / "copy.png", "image"))
    assert first == second == "https://media.example.com/1"
    assert len(api.sent) == 1


async def test_a_later_process_remembers(
    uploads: Uploads, api: Api, clock: Clock, picture: LocalInput, tmp_path: Path
) -> None:
    await uploads.url_for(picture)
    again = Uploads(api.upload, tmp_path / "cache", "account-1", clock=clock)
    assert await again.url_for(picture) == "https://media.example.com/1"
    assert len(api.sent) == 1


async def test_accounts_do_not_share(
    uploads: Uploads, api: Api, clock: Clock, picture: LocalInput, tmp_path: Path
) -> None:
    await uploads.url_for(picture)
    other = Uploads(api.upload, tmp_path / "cache", "../account-1", clock=clock)
    assert await other.url_for(picture) == "https://media.example.com/2"
    assert [path.parent.parent for path in entries_in(tmp_path)] == [tmp_path / "cache"] * 2


@pytest.fixture
async def shared(api: Api, clock: Clock, tmp_path: Path) -> AsyncIterator[Uploads]:
    async with Background() as background:
        work: SharedWork[str] = SharedWork(background.start)
        yield Uploads(api.upload, tmp_path / "cache", "account-1", clock=clock, share=work.join)


async def test_concurrent_callers_share_one_upload(shared: Uploads, api: Api, picture: LocalInput) -> None:
    api.gate = anyio.Event()
    urls: list[str] = []

    async def call() -> None:
        urls.append(await shared.url_for(picture))

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        api.gate.set()
    assert urls == ["https://media.example.com/1"] * 20


async def test_an_upload_goes_on_when_the_caller_who_began_it_is_cancelled(
    shared: Uploads, api: Api, picture: LocalInput
) -> None:
    api.gate = anyio.Event()
    urls: list[str] = []

    async def call() -> None:
        urls.append(await shared.url_for(picture))

    async with anyio.create_task_group() as patient:
        async with anyio.create_task_group() as impatient:
            impatient.start_soon(call)
            await api.arrived.wait()
            patient.start_soon(call)
            await anyio.wait_all_tasks_blocked()
            impatient.cancel_scope.cancel()
        api.gate.set()
    assert urls == ["https://media.example.com/1"]
    assert len(api.sent) == 1


async def test_a_failure_reaches_all_who_wait_and_is_not_remembered(
    shared: Uploads, api: Api, picture: LocalInput
) -> None:
    api.gate, api.fail = anyio.Event(), True
    failures: list[KubeezError] = []

    async def call() -> None:
        try:
            await shared.url_for(picture)
        except KubeezError as error:
            failures.append(error)

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(call)
        await api.arrived.wait()
        await anyio.wait_all_tasks_blocked()
        api.gate.set()
    assert len(failures) == 3
    assert len(api.sent) == 1
    api.fail = False
    assert await shared.url_for(picture) == "https://media.example.com/2"


async def test_an_end_that_nobody_waited_for_is_told_to_the_next_who_asks() -> None:
    began = 0

    async def fail() -> str:
        nonlocal began
        began += 1
        await anyio.lowlevel.checkpoint()
        raise KubeezError("The disk is full.")

    async with Background() as background:
        work: SharedWork[str] = SharedWork(background.start, keep=True)
        with anyio.CancelScope() as impatient:
            impatient.cancel()
            await work.join("a", fail)
        await anyio.wait_all_tasks_blocked()
        for expected in (1, 2):
            with pytest.raises(KubeezError, match="disk is full"):
                await work.join("a", fail)
            assert began == expected


async def test_progress_is_passed_on(uploads: Uploads, picture: LocalInput) -> None:
    seen: list[tuple[int, int]] = []
    await uploads.url_for(picture, lambda sent, total: seen.append((sent, total)))
    assert seen == [(picture.size, picture.size)]


async def test_a_gone_url_can_be_dropped(uploads: Uploads, picture: LocalInput) -> None:
    url = await uploads.url_for(picture)
    assert await uploads.forget(url)
    assert not await uploads.forget(url)
    assert await uploads.url_for(picture) != url


async def test_an_old_url_is_not_trusted(uploads: Uploads, clock: Clock, picture: LocalInput) -> None:
    url = await uploads.url_for(picture)
    clock.now += 8 * 24 * 3600
    assert await uploads.url_for(picture) != url


@pytest.mark.parametrize("damage", [b"", b"{}", b"\xff\xfe", b'{"url": 3}'])
async def test_a_damaged_entry_only_costs_an_upload(
    uploads: Uploads, picture: LocalInput, tmp_path: Path, damage: bytes
) -> None:
    await uploads.url_for(picture)
    (entry,) = entries_in(tmp_path)
    entry.write_bytes(damage)
    assert await uploads.url_for(picture) == "https://media.example.com/2"
    assert await uploads.url_for(picture) == "https://media.example.com/2"


async def test_a_cache_that_cannot_be_written_does_not_stop_the_call(
    api: Api, picture: LocalInput, tmp_path: Path
) -> None:
    (tmp_path / "occupied").write_text("a file where the folder should be")
    uploads = Uploads(api.upload, tmp_path / "occupied", "account-1")
    assert await uploads.url_for(picture) == "https://media.example.com/1"


async def test_a_file_that_changes_while_it_is_sent_is_not_remembered(
    uploads: Uploads, api: Api, picture: LocalInput
) -> None:
    api.gate = anyio.Event()

    async def change() -> None:
        await api.arrived.wait()
        picture.path.write_bytes(picture.path.read_bytes() + b"more")
        api.gate.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(change)
        with refused("file_changed"):
            await uploads.url_for(picture)


async def test_a_file_that_vanished_is_not_sent(uploads: Uploads, api: Api, picture: LocalInput) -> None:
    picture.path.unlink()
    with refused("file_changed"):
        await uploads.url_for(picture)
    assert not api.sent
