"""A request is made to fit the tools that the hosted server lists; with money at stake, that it lists now."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.hosted.client import HostedClient
from kubeez_mcp_local.hosted.contract import HostedContract
from kubeez_mcp_local.hosted.session import HostedTool
from kubeez_mcp_local.operations import captions, dialogue, dubbing, media, separation
from kubeez_mcp_local.rest.errors import NotOfferedError, UnavailableError
from kubeez_mcp_local.rest.routes import ROUTES, Request
from tests.hosted_server import LEGACY, MODERN, HostedServer, Tokens, tool, usual_tools

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio
PAID = Request(captions.ROUTE, {"media_url": "https://media.kubeez.com/a.mp4", "quality": None})
FREE = Request(ROUTES["estimate"], {"model": "auto-caption"})


class Lists:
    """What is listed at each reading, and how often it was read. `None` cannot be read."""

    def __init__(self, *listed: list[dict[str, Any]] | None) -> None:
        self.listed, self.read, self.now = list(listed), 0, 1_000_000.0

    async def __call__(self) -> list[HostedTool]:
        tools = self.listed[min(self.read, len(self.listed) - 1)]
        self.read += 1
        if tools is None:
            raise UnavailableError("The hosted server could not answer.")
        return [HostedTool(each["name"], "", each["inputSchema"]) for each in tools]

    def contract(self, tmp_path: Path) -> HostedContract:
        return HostedContract(self, tmp_path / "tools.json", clock=lambda: self.now)


async def test_the_tool_and_its_words_are_found(tmp_path: Path) -> None:
    prepared = await Lists(usual_tools()).contract(tmp_path).prepare(PAID)
    assert (prepared.route.path, prepared.route.name) == ("generate_captions", "generate_captions")
    assert prepared.body == {"media_url": "https://media.kubeez.com/a.mp4"}
    assert prepared.route.spends


@pytest.mark.parametrize(
    ("tools", "words"),
    [
        ([tool("generate_sound")], "lists no such tool"),
        ([tool("generate_captions", "media_url consent")], "requires consent"),
        ([tool("generate_captions", "media_url") | {"inputSchema": {"required": ["consent"]}}], "requires consent"),
        ([tool("generate_captions", "media_url", media_url={"type": "object"})], None),
    ],
)
async def test_what_is_not_offered_or_needs_more_than_we_have_is_not_sent(
    tmp_path: Path, tools: list[dict[str, Any]], words: str | None
) -> None:
    contract = Lists(tools).contract(tmp_path)
    if words is None:
        assert await contract.prepare(PAID)  # its values are the server's to judge
        return
    with pytest.raises((NotOfferedError, InvalidArgumentError)) as caught:
        await contract.prepare(PAID)
    assert words in str(caught.value) or "has no field for it" in str(caught.value)


async def test_a_field_that_the_tool_does_not_take_is_named(tmp_path: Path) -> None:
    contract = Lists([tool("generate_captions", "media_url")]).contract(tmp_path)
    with pytest.raises(InvalidArgumentError, match=r"language: .*generate_captions has no field"):
        await contract.prepare(Request(captions.ROUTE, {**PAID.body, "language": "en"}))
    assert await contract.takes(captions.ROUTE, "media_url")
    assert not await contract.takes(captions.ROUTE, "language")
    assert not await contract.takes(media.ROUTE, "voice_id")


async def test_languages_and_lines_are_put_where_the_tool_has_them(tmp_path: Path) -> None:
    many = {"type": "array", "items": {"type": "string"}}
    tools = [
        tool("generate_dubbing", "video_url target_languages", "model", target_languages=many),
        tool("generate_dialogue", "text", "voice_id provider language_code"),
    ]
    contract = Lists(tools).contract(tmp_path)
    dub = await contract.prepare(Request(dubbing.ROUTE, {"video_url": "https://k.com/a.mp4", "languages": ("de",)}))
    assert dub.body == {"video_url": "https://k.com/a.mp4", "target_languages": ["de"]}
    lines = ({"text": "Good evening.", "voice": "Rachel"},)
    spoken = await contract.prepare(Request(dialogue.ROUTE, {"dialogue": lines, "language_code": "en"}))
    assert spoken.body == {"text": "Good evening.", "voice_id": "Rachel", "language_code": "en"}
    with pytest.raises(InvalidArgumentError, match="several lines"):
        await contract.prepare(Request(dialogue.ROUTE, {"dialogue": lines * 2}))


async def test_a_status_is_located_by_the_tool_that_reads_it(tmp_path: Path) -> None:
    contract = Lists([tool("get_separation_status", "id")]).contract(tmp_path)
    assert (await contract.locate(separation.STATUS)).path == "get_separation_status"
    with pytest.raises(NotOfferedError):
        await contract.locate(ROUTES["music_status"])


async def test_the_list_is_kept_on_disk_and_read_anew_before_anything_is_paid(tmp_path: Path) -> None:
    lists = Lists(usual_tools())
    await lists.contract(tmp_path).prepare(FREE)
    later = Lists(usual_tools())
    later.now += 3600
    contract = later.contract(tmp_path)
    await contract.prepare(FREE)
    assert later.read == 0
    await contract.prepare(PAID)
    await contract.prepare(PAID)
    assert later.read == 1
    later.now += 31
    await contract.prepare(PAID)
    assert later.read == 2
    assert "media_url" in json.dumps(json.loads((tmp_path / "tools.json").read_text()))


async def test_a_list_that_cannot_be_read_anew_serves_what_is_free_and_pays_nothing(tmp_path: Path) -> None:
    await Lists(usual_tools()).contract(tmp_path).prepare(FREE)
    lists = Lists(None)
    lists.now += 2 * 86_400
    contract = lists.contract(tmp_path)
    assert (await contract.prepare(FREE)).body == FREE.body
    with pytest.raises(UnavailableError):
        await contract.prepare(PAID)


async def test_a_refusal_by_an_old_list_is_looked_up_in_a_new_one(tmp_path: Path) -> None:
    await Lists([tool("get_balance")]).contract(tmp_path).snapshot()
    lists = Lists(usual_tools())
    lists.now += 601
    assert (await lists.contract(tmp_path).prepare(FREE)).route.path == "estimate"


async def test_a_damaged_copy_is_read_anew(tmp_path: Path) -> None:
    (tmp_path / "tools.json").write_text('{"fetched_at": 1e6, "tools": [{"name": 3}]}')
    lists = Lists(usual_tools())
    await lists.contract(tmp_path).prepare(FREE)
    assert lists.read == 1


@pytest.mark.parametrize("era", [MODERN, LEGACY])
async def test_a_server_that_says_its_tools_changed_is_believed(era: str, tmp_path: Path) -> None:
    told = asyncio.Event()
    async with (
        HostedServer(era=era, tells_changes=True, answers={"get_balance": {"credits": 1}}) as server,
        HostedClient(server.url, Tokens(), on_tools_changed=told.set) as client,
    ):
        contract = HostedContract(client.tools, tmp_path / "tools.json")
        await contract.prepare(PAID)
        told.clear()
        server.tools = [tool("generate_captions", "media_url consent")]
        server.changed.set()
        await asyncio.wait_for(told.wait(), 5)
        contract.changed()
        with pytest.raises(NotOfferedError, match="requires consent"):
            await contract.prepare(PAID)


async def test_all_pages_of_the_list_are_read() -> None:
    async with HostedServer(pages=2) as server, HostedClient(server.url, Tokens()) as client:
        assert [each.name for each in await client.tools()] == [each["name"] for each in usual_tools()]
        assert server.listings == len(usual_tools()) // 2
