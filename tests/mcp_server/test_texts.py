"""The texts of typical results, to be read aloud in review, and how long each kind may be.

They stand in `texts.md`; refresh it with `uv run pytest -n0 tests/mcp_server/test_texts.py --update-snapshots`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from mcp.types import TextContent

from tests.mcp_server.driving import call, client_of, clip, picture, song

if TYPE_CHECKING:
    from mcp import Client

    from tests.sandbox_server import RunningSandbox

pytestmark = pytest.mark.anyio
FILE = Path(__file__).with_name("texts.md")
FOX = "A red fox in the snow at dawn, telephoto, soft light, looking back over its shoulder, frost on its whiskers"
_ALIKE: tuple[tuple[str, str], ...] = (
    (r"http://127\.0\.0\.1:\d+", "https://media.kubeez.com"),
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d"),
    (r"ok(-[A-Z0-9]{4}){6}", "ok-ABCD-EFGH-IJKL-MNOP-QRST-UVWX"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[.\d]*(Z|\+00:00)", "2026-11-29T12:00:00Z"),
    (r"\d{4}-\d\d-\d\d", "2026-11-29"),
    (r"\d\d-\d\d \d\d:\d\d ", "11-29 12:00 "),
    (r"\d+(\.\d+)? (KB|MB)", "12 KB"),
    (r"(?<=-)[0-9a-f]{10}(?=-sandbox|\b)", "0123456789"),
    (r"(…|“)?[^ ;“”\n]*/inputs/", "/home/ada/inputs/"),
    (r"…[^ ;”\n]*/out/", "/home/ada/Kubeez/"),
    (r"sheet: .*\n", ""),  # drawn beside the answer
    (r"elapsed_s: [\d.]+", "elapsed_s: 0.1"),
)
LONGEST = {
    "question": 900,
    "started": 400,
    "finished": 480,
    "again": 520,
    "several": 1_100,
    "in full": 800,
    "failed": 400,
    "list": 1_600,
    "short": 600,
    "run": 900,
    "refused": 500,
}
"""Characters of a text of each kind."""


async def typical_results(
    client: Client, asking: Client, folder: Path, api: RunningSandbox
) -> list[tuple[str, str, str]]:
    """Kind, title and text of each."""
    found: list[tuple[str, str, str]] = []

    async def told(kind: str, title: str, tool: str, **arguments: Any) -> dict[str, Any]:
        result = await (asking if kind == "question" else client).call_tool(tool, arguments)
        (text,) = [block.text for block in result.content if isinstance(block, TextContent)]
        found.append((kind, title, text))
        return result.structured_content or {}

    async def finished(kind: str, title: str, tool: str, **arguments: Any) -> dict[str, Any]:
        started = await call(client, tool, **arguments)
        return await told(kind, title, "wait_for_generation", id=",".join(started["generation_ids"]))

    image, sound, film = picture(folder), song(folder), await clip(client)
    fox = {"prompt": FOX, "model": "nano-banana-2", "aspect_ratio": "16:9"}
    lines = [{"text": "Who is there?", "voice": "Mark"}, {"text": "Only the wind.", "voice": "Rachel"}]
    await told("question", "A question", "generate_media", **fox, source_media_urls=[image], variant_count=3)
    await told("question", "A question about lines", "generate_dialogue", dialogue=lines)
    await told("question", "A question about a rate", "generate_dubbing", video_url=film, languages=["de", "fr"])
    await told("question", "A question about a recipe", "run_recipe", name="three-ad-variants", arguments=_BRIEF)
    job = await told("started", "A started job", "generate_media", **fox)
    await told("finished", "A finished picture", "wait_for_generation", id=job["generation_id"])
    await told("again", "The same call again", "generate_media", **fox)
    await finished("several", "Three variants", "generate_media", **fox, seed=7, variant_count=3)
    await finished("finished", "A finished clip", "generate_media", prompt="waves", model="seedance-1-5-pro-480p-4s")
    await finished("several", "Two songs", "generate_music", prompt="calm piano, rain on a tin roof")
    await finished("several", "Two stems", "generate_separation", media_url=sound)
    await finished("finished", "Speech", "generate_dialogue", dialogue=lines)
    await finished("several", "A dubbed clip", "generate_dubbing", video_url=film, languages=["de", "fr"])
    await finished("finished", "A cut-out", "remove_background", image_url=image)
    api.control.knobs(fail_next=1)
    await finished("failed", "A failed job", "generate_media", prompt="a kite", model="z-image")
    await told("in full", "A job in full", "get_generation", id=job["generation_id"])
    await told("run", "A finished run", "run_recipe", name="three-ad-variants", arguments=_BRIEF)
    await told("list", "The history", "get_generations", limit=8)
    await told("short", "The balance", "get_balance")
    await told("short", "A price", "estimate", model="nano-banana-2", variant_count=2)
    await told("short", "An uploaded file", "upload_media", paths=[image])
    await told("refused", "A refusal", "generate_media", prompt="a kite", model="nano-banana-9")
    return found


_BRIEF = {"brief": "oat drink for cyclists"}


@pytest.mark.anyio
async def test_the_texts_of_typical_results_are_short_and_as_reviewed(
    connected: Client, tmp_path: Path, api: RunningSandbox, request: pytest.FixtureRequest
) -> None:
    api.control.key("sk_live_asks", credits=1_000)
    async with (
        connected as client,
        client_of(api, tmp_path / "asking", KUBEEZ_ASK_ABOVE="0", KUBEEZ_INPUT_DIRS=str(tmp_path)) as asking,
    ):
        results = await typical_results(client, asking, tmp_path, api)
    texts = []
    for kind, title, text in results:
        shown = text.replace(str(tmp_path / "out"), "/home/ada/Kubeez").replace(str(tmp_path), "/home/ada")
        for pattern, instead in _ALIKE:
            shown = re.sub(pattern, instead, shown)
        if kind == "list":  # the calls of a run start together, in any order
            shown = re.sub(r"variants-[a-z-]+\.png", "variants-one-bold-idea.png", shown)
        assert len(shown) <= LONGEST[kind], (title, len(shown), shown)
        texts.append(f"## {title}\n\n{shown}\n")
    now = "\n".join(texts)
    if request.config.getoption("--update-snapshots"):
        FILE.write_text(now, "utf-8")
    assert now == FILE.read_text("utf-8")
