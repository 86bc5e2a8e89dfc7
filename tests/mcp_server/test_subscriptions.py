"""Who subscribes to jobs hears of every change of them, in both protocol eras, and nobody else hears anything."""

from __future__ import annotations

import sqlite3
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from mcp import Client, MCPError
from mcp.types import INVALID_PARAMS, METHOD_NOT_FOUND, ResourceUpdatedNotification

from kubeez_mcp_local.mcp_server import subscriptions
from kubeez_mcp_local.mcp_server.server import KubeezServer
from tests.mcp_server.driving import bridge_of, call

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sized
    from pathlib import Path

    from kubeez_mcp_local.bridge import Bridge
    from tests.sandbox_server import RunningSandbox

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore::mcp.MCPDeprecationWarning"),  # the old way to subscribe is what is tried
]
ERAS = pytest.mark.parametrize("mode", ["auto", "legacy"])
RECENT = "kubeez://jobs/recent"
PATIENCE = 10


@dataclass
class Ear:
    """What one client hears of resources."""

    mode: str
    heard: list[str] = field(default_factory=list)
    news: anyio.Event = field(default_factory=anyio.Event)

    async def told(self, message: Any) -> None:
        if isinstance(message, ResourceUpdatedNotification):
            self.note(message.params.uri)

    def note(self, uri: str) -> None:
        self.heard.append(uri)
        self.news.set()

    async def hears(self, *uris: str) -> None:
        """Wait until it has heard of all of `uris`, and forget what it has heard."""
        with anyio.fail_after(PATIENCE):
            while not set(uris) <= set(self.heard):
                self.news = anyio.Event()
                await self.news.wait()
        self.heard.clear()

    @asynccontextmanager
    async def on(self, client: Client, *uris: str) -> AsyncIterator[None]:
        """Meanwhile subscribed to `uris`."""
        if self.mode == "legacy":
            for uri in uris:
                await client.subscribe_resource(uri)
            yield
            for uri in uris:
                await client.unsubscribe_resource(uri)
            return

        async def listen() -> None:
            async for event in stream:
                self.note(event.uri)  # type: ignore[union-attr]  # nothing else was asked for

        async with client.listen(resource_subscriptions=uris) as stream, anyio.create_task_group() as tasks:
            assert stream.honored.resource_subscriptions == list(uris)
            tasks.start_soon(listen)
            yield
            tasks.cancel_scope.cancel()


@asynccontextmanager
async def connected(bridge: Bridge, ear: Ear, *, opened: bool = False) -> AsyncIterator[Client]:
    async with Client(KubeezServer(bridge, opened=opened), mode=ear.mode, message_handler=ear.told) as client:
        yield client


async def silence(listeners: Sized) -> None:
    """Wait until nobody listens to the ledger any more."""
    with anyio.fail_after(PATIENCE):
        while len(listeners):
            await anyio.lowlevel.checkpoint()


@ERAS
async def test_a_job_is_heard_of_from_the_claim_to_its_files(tmp_path: Path, api: RunningSandbox, mode: str) -> None:
    ear = Ear(mode)
    async with connected(bridge_of(api, tmp_path), ear) as client, ear.on(client, RECENT):
        job = (await call(client, "generate_media", prompt="a kite", model="z-image"))["generation_id"]
        await ear.hears(RECENT)
        async with ear.on(client, mine := f"kubeez://jobs/{job}"):
            done = await call(client, "wait_for_generation", id=job)
            assert done["files"]
            with anyio.fail_after(PATIENCE):  # the last word is on the disk before the answer, and is told after it
                while done["files"][0]["path"] not in str(await client.read_resource(mine)):
                    await ear.hears(mine)
        await ear.hears(RECENT)


@ERAS
async def test_what_another_process_writes_is_heard_of(
    tmp_path: Path, api: RunningSandbox, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriptions, "LOOK_EVERY_SECONDS", 0.01)
    ear = Ear(mode)
    async with connected(bridge_of(api, tmp_path), ear) as client:
        job = (await call(client, "generate_media", prompt="a kite", model="z-image"))["generation_id"]
        await call(client, "wait_for_generation", id=job)
        async with ear.on(client, RECENT, f"kubeez://jobs/{job}"):
            ear.heard.clear()
            with sqlite3.connect(tmp_path / "state" / "ledger.db") as other:
                other.execute("UPDATE jobs SET save_error = 'the disk is full'")
            await ear.hears(RECENT, f"kubeez://jobs/{job}")
            with sqlite3.connect(tmp_path / "state" / "ledger.db") as other:
                other.execute("UPDATE jobs SET owner = 'nobody can see that'")
                other.execute("UPDATE jobs SET save_error = NULL")
            await ear.hears(RECENT, f"kubeez://jobs/{job}")


@ERAS
@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("kubeez://models", "kubeez://models cannot be subscribed to: kubeez://jobs/recent and kubeez://jobs/{id} can"),
        ("kubeez://jobs/nonsense", "nonsense"),
        ("file:///etc/passwd", "cannot be subscribed to"),
    ],
)
async def test_what_cannot_be_served_is_refused(
    tmp_path: Path, api: RunningSandbox, mode: str, uri: str, words: str
) -> None:
    ear = Ear(mode)
    async with connected(bridge_of(api, tmp_path), ear) as client:
        with pytest.raises(MCPError) as refused:
            async with ear.on(client, uri):
                pass
        assert refused.value.error.code == INVALID_PARAMS
        assert words in refused.value.error.message
        assert refused.value.error.data == {"uri": uri}


async def test_of_several_wishes_those_that_can_be_served_are(tmp_path: Path, api: RunningSandbox) -> None:
    async with connected(bridge_of(api, tmp_path), Ear("auto")) as client:
        async with client.listen(resource_subscriptions=["kubeez://models", RECENT, RECENT]) as stream:
            assert stream.honored.resource_subscriptions == [RECENT]
        async with client.listen(resources_list_changed=True, resource_subscriptions=["kubeez://models"]) as stream:
            assert stream.honored.resource_subscriptions is None
            assert stream.honored.resources_list_changed is True


@ERAS
async def test_a_client_subscribes_to_so_much_and_no_more(
    tmp_path: Path, api: RunningSandbox, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriptions, "MOST_SUBSCRIPTIONS", 0)
    ear = Ear(mode)
    async with connected(bridge_of(api, tmp_path), ear) as client:
        with pytest.raises(MCPError, match="one too many: at most 0"):
            async with ear.on(client, RECENT):
                pass


@ERAS
async def test_nobody_hears_what_they_did_not_ask_for(tmp_path: Path, api: RunningSandbox, mode: str) -> None:
    """Two clients of one server: one is subscribed to one thing, the other was and is not any more."""
    curious, other = Ear(mode), Ear("legacy")
    async with bridge_of(api, tmp_path) as bridge:
        server = KubeezServer(bridge, opened=True)
        async with (
            Client(server, mode=mode, message_handler=curious.told) as first,
            Client(server, mode="legacy", message_handler=other.told) as second,
        ):
            async with other.on(second, RECENT):
                pass
            await silence(bridge.ledger._listeners)
            async with curious.on(first, RECENT):
                job = (await call(second, "generate_media", prompt="a kite", model="z-image"))["generation_id"]
                await call(second, "wait_for_generation", id=job)
                await curious.hears(RECENT)
            assert other.heard == []


@ERAS
async def test_a_subscription_ends_with_its_client_and_then_nothing_is_looked_at(
    tmp_path: Path, api: RunningSandbox, mode: str
) -> None:
    ear = Ear(mode)
    async with bridge_of(api, tmp_path) as bridge:
        heard = bridge.ledger._listeners
        async with connected(bridge, ear, opened=True) as client:
            assert not heard
            if mode == "legacy":
                async with anyio.create_task_group() as at_once:
                    for _ in range(2):  # twice is once
                        at_once.start_soon(client.subscribe_resource, RECENT)
            else:
                stream = client.listen(resource_subscriptions=[RECENT])
                await stream.__aenter__()
            await client.list_tools()
            assert heard
        await silence(heard)


async def test_who_thinks_better_of_it_at_once_hears_nothing(tmp_path: Path, api: RunningSandbox) -> None:
    ear = Ear("legacy")
    async with bridge_of(api, tmp_path) as bridge, connected(bridge, ear, opened=True) as client:
        async with anyio.create_task_group() as at_once:
            at_once.start_soon(client.subscribe_resource, RECENT)
            at_once.start_soon(client.unsubscribe_resource, RECENT)
        await silence(bridge.ledger._listeners)


async def test_the_old_way_does_not_exist_in_the_new_era(tmp_path: Path, api: RunningSandbox) -> None:
    async with connected(bridge_of(api, tmp_path), Ear("auto")) as client:
        with pytest.raises(MCPError) as refused:
            await client.subscribe_resource(RECENT)
    assert refused.value.error.code == METHOD_NOT_FOUND
