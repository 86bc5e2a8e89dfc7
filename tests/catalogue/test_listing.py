"""Finding models, and saying what was meant by a wrong name; and the catalogue, which is live where it can be."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from kubeez_mcp_local.catalogue.listing import Catalogue, Listing
from kubeez_mcp_local.errors import InvalidArgumentError, KubeezError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from kubeez_mcp_local.catalogue.models import Model

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("name", ["Logo-maker", "logo-maker", "LOGO-MAKER", " Logo-maker "])
def test_the_case_of_an_id_does_not_matter(listing: Listing, name: str) -> None:
    assert listing.get(name).id == "Logo-maker"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nano-banan-2", "nano-banana-2"),
        ("seedream4.5", "seedream-v4-5"),
        ("Wan 2.5 Text-to-Video (5s 720p)", "wan-2-5-text-to-video-5s-720p"),
        ("Grok Image-to-Image", "grok-image-to-image"),
        ("imagen4 fast", "imagen-4-fast"),
        ("veo3-1-fast-text-2-video", "veo3-1-fast-text-to-video"),
    ],
)
def test_a_wrong_name_gets_near_matches(listing: Listing, name: str, expected: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        listing.get(name)
    assert expected in listing.near(name)
    assert expected in caught.value.message
    assert caught.value.code == "unknown_model"


def test_a_display_name_that_many_share_lists_them(listing: Listing) -> None:
    assert len(listing.near("Seedance 1.5 Pro")) > 5


@pytest.mark.parametrize(
    ("container", "member", "count"),
    [
        ("flux-2", "flux-2-2K", 4),
        ("flux-2-edit", "flux-2-edit-1K", 2),
        ("veo3-1", "veo3-1-text-to-video", 5),
        ("sora-2-pro-storyboard", "sora-2-pro-storyboard-25s", 3),
        ("seedance-1-5-pro", "seedance-1-5-pro-480p-4s", 18),
        ("seedream-v5-lite", "5-lite-text-to-image", 2),
        ("v1-pro-fast-i2v", "v1-pro-fast-i2v-720p-5s", 4),
        ("wan-2-5-text-to-video-5s", "wan-2-5-text-to-video-5s-720p", 2),
        ("suno", "V5_5", 5),
        ("Kling 3.0", "kling-3-0-std", 4),
    ],
)
def test_a_family_name_lists_its_concrete_ids(listing: Listing, container: str, member: str, count: int) -> None:
    with pytest.raises(InvalidArgumentError, match="family") as caught:
        listing.get(container)
    assert member in caught.value.message
    assert len(listing.members(container)) == count


def test_nonsense_gets_no_suggestions_but_a_way_on(listing: Listing) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        listing.get("qqqqqqqq")
    assert caught.value.message == "model: there is no model 'qqqqqqqq'."
    assert "get_models" in caught.value.next_step


@pytest.mark.parametrize("name", ["", "   ", "-", "💥", "a" * 5000])
def test_odd_names_are_refused_quietly(listing: Listing, name: str) -> None:
    with pytest.raises(InvalidArgumentError):
        listing.get(name)


def test_filters_combine(listing: Listing) -> None:
    found = listing.filter(max_credits=100, query="5S kling-2-6 kuai")
    assert [model.id for model in found.models] == ["kling-2-6-text-to-video-5s", "kling-2-6-image-to-video-5s"]
    assert found.source == listing.source


def test_of_two_ids_that_differ_only_in_case_the_exact_one_is_found(make_model: Callable[..., Model]) -> None:
    both = Listing((make_model("Kite"), make_model("kite")), source="live")
    assert [both.get(name).id for name in ("Kite", "kite", "KITE")] == ["Kite", "kite", "Kite"]


def test_filters_that_match_nothing_give_nothing(listing: Listing) -> None:
    assert listing.filter(query="no such thing").models == ()


# Live, kept or shipped, and it always says which

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp()
KITE: dict[str, Any] = {"model_id": "kite-1", "model_type": "image", "cost_per_generation": 3}


class DownError(KubeezError):
    code = "down"


class WrongKeyError(KubeezError):
    code = "unauthorized"


class Api:
    """A fetch function that counts, waits and fails as it is told."""

    def __init__(self, *rows: object) -> None:
        self.rows: Any = list(rows)
        self.calls = 0
        self.failure: KubeezError | None = None
        self.gate: anyio.Event | None = None

    async def __call__(self) -> Any:
        self.calls += 1
        if self.gate:
            await self.gate.wait()
        if self.failure:
            raise self.failure
        return self.rows


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def kept(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(content)


def files_beside(path: Path) -> list[str]:
    return [entry.name for entry in path.parent.iterdir()] if path.parent.exists() else []


@pytest.fixture
def api() -> Api:
    return Api(KITE)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache_file(tmp_path: Path) -> Path:
    return tmp_path / "state" / "models.json"


@pytest.fixture
def catalogue(api: Api, cache_file: Path, clock: Clock) -> Catalogue:
    return Catalogue(api, cache_file, clock=clock)


async def test_building_it_touches_nothing(catalogue: Catalogue, api: Api, cache_file: Path) -> None:
    assert (api.calls, files_beside(cache_file)) == (0, [])


async def test_live_rows_are_fetched_once_and_kept(
    catalogue: Catalogue, api: Api, clock: Clock, cache_file: Path
) -> None:
    first = await catalogue.listing()
    clock.now += 60
    second = await catalogue.listing()
    assert (first.source, second.source, api.calls) == ("live", "live", 1)
    assert (first.age_seconds, second.age_seconds) == (0, 60)
    assert kept(cache_file)["models"] == [KITE]
    assert first.note == ""


async def test_they_are_fetched_again_when_they_have_aged(catalogue: Catalogue, api: Api, clock: Clock) -> None:
    await catalogue.listing()
    clock.now += 3601
    assert (await catalogue.listing()).age_seconds == 0
    assert api.calls == 2


async def test_a_new_process_uses_the_kept_rows(catalogue: Catalogue, api: Api, cache_file: Path, clock: Clock) -> None:
    await catalogue.listing()
    clock.now += 600
    again = await Catalogue(api, cache_file, clock=clock).listing()
    assert (again.source, again.age_seconds, api.calls) == ("cache", 600, 1)


async def test_concurrent_callers_share_one_fetch(catalogue: Catalogue, api: Api) -> None:
    api.gate = anyio.Event()
    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(catalogue.listing)
        await anyio.wait_all_tasks_blocked()
        api.gate.set()
    assert api.calls == 1


async def test_concurrent_callers_share_one_failure(catalogue: Catalogue, api: Api) -> None:
    api.failure = DownError("no answer")
    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(catalogue.listing)
    assert api.calls == 1


async def test_a_caller_that_gives_up_does_not_take_the_others_along(catalogue: Catalogue, api: Api) -> None:
    api.gate = anyio.Event()
    with anyio.move_on_after(0):
        await catalogue.listing()
    api.gate.set()
    assert (await catalogue.listing()).source == "live"


async def test_without_the_api_old_rows_are_used_and_marked(catalogue: Catalogue, api: Api, clock: Clock) -> None:
    await catalogue.listing()
    clock.now += 90_000
    api.failure = DownError("The API does not answer.")
    listing = await catalogue.listing()
    assert (listing.source, listing.age_seconds) == ("cache", 90_000)
    assert "does not answer" in listing.note


async def test_without_api_and_cache_the_snapshot_is_used_and_marked(catalogue: Catalogue, api: Api) -> None:
    api.failure = DownError("The API does not answer.")
    listing = await catalogue.listing()
    assert (listing.source, len(listing.models), str(listing.as_of)) == ("snapshot", 111, "2026-03-28")
    assert listing.age_seconds == NOW - datetime(2026, 3, 28, tzinfo=UTC).timestamp()
    assert "prices may have changed" in listing.note


async def test_a_failed_fetch_is_tried_again_only_after_a_while(catalogue: Catalogue, api: Api, clock: Clock) -> None:
    api.failure = DownError("no")
    await catalogue.listing()
    await catalogue.listing()
    assert api.calls == 1
    clock.now += 31
    api.failure = None
    assert (await catalogue.listing()).source == "live"


async def test_a_wrong_key_is_raised_rather_than_bridged(api: Api, cache_file: Path, clock: Clock) -> None:
    strict = Catalogue(api, cache_file, clock=clock, fatal=(WrongKeyError,))
    api.failure = WrongKeyError("wrong key")
    with pytest.raises(WrongKeyError):
        await strict.listing()


@pytest.mark.parametrize("answer", [[], [None], [{"model_id": 7}], {"models": 1}, "text", None])
async def test_a_catalogue_that_does_not_parse_is_not_used_or_kept(
    catalogue: Catalogue, api: Api, cache_file: Path, answer: object
) -> None:
    api.rows = answer
    listing = await catalogue.listing()
    assert listing.source == "snapshot"
    assert "nothing that can be read" in listing.note
    assert files_beside(cache_file) == []


async def test_a_catalogue_that_does_not_parse_leaves_the_kept_rows_alone(
    catalogue: Catalogue, api: Api, clock: Clock
) -> None:
    await catalogue.listing()
    clock.now += 4000
    api.rows = ["broken"]
    listing = await catalogue.listing()
    assert (listing.source, listing.models[0].id) == ("cache", "kite-1")


async def test_broken_rows_among_good_ones_are_named(api: Api, cache_file: Path, clock: Clock) -> None:
    api.rows = [KITE, {"model_id": "crooked", "cost_per_generation": "much"}]
    listing = await Catalogue(api, cache_file, clock=clock).listing()
    assert [model.id for model in listing.models] == ["kite-1"]
    assert "crooked" in listing.note


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"fetched_at": "x", "models": []}',
        b'{"models": []}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"fetched_at": 1e400, "models": [{"model_id": "a"}]}',
        b'{"fetched_at": 1, "models": {}}',
    ],
)
async def test_a_broken_cache_file_is_ignored_and_replaced(
    catalogue: Catalogue, cache_file: Path, content: bytes
) -> None:
    put(cache_file, content)
    assert (await catalogue.listing()).source == "live"
    assert kept(cache_file)["fetched_at"] == NOW


async def test_rows_from_the_future_are_not_fresh(
    catalogue: Catalogue, api: Api, cache_file: Path, clock: Clock
) -> None:
    await catalogue.listing()
    clock.now -= 86_400
    listing = await Catalogue(api, cache_file, clock=clock).listing()
    assert (listing.source, api.calls) == ("live", 2)


async def test_a_folder_that_cannot_be_written_costs_only_the_cache(api: Api, tmp_path: Path, clock: Clock) -> None:
    blocked = tmp_path / "a-file"
    blocked.write_text("in the way")
    catalogue = Catalogue(api, blocked / "models.json", clock=clock)
    assert (await catalogue.listing()).source == "live"


async def test_no_half_written_file_is_left_behind(catalogue: Catalogue, cache_file: Path) -> None:
    await catalogue.listing()
    assert files_beside(cache_file) == [cache_file.name]


async def test_get_finds_a_model(catalogue: Catalogue) -> None:
    assert (await catalogue.listing()).get("KITE-1").credits == 3
