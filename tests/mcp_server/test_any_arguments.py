"""Whatever a model puts into a call, it gets an answer it can use, and only what it asked for is paid."""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from tests.mcp_server.driving import call, client_of, clip, picture, song

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mcp.types import CallToolResult, Tool

    from tests.sandbox_server import RunningSandbox

pytestmark = pytest.mark.anyio
CALLS = 500
LONGEST_REFUSAL = 5_000
LONGEST_ANSWER = 120_000
"""Characters; text and structure together; the whole catalogue, asked for in one piece, has 105,000."""

TEXTS = (
    *("", " ", "a", "a\nb", "\x00", "\ud83d", "\u202eabc", "😀" * 50, "x" * 201, "x" * 5_001, "x" * 100_001, "CON"),
    *("../..", "/etc/passwd", "~", "%00", "http://", "https://[::1", "file:///etc/passwd", "data:image/png;base64,AA"),
    *("https://media.kubeez.com/a.png", "https://example.com/x.mp4?token=1", "{{ 7*7 }}", "null", "nan", "1e309"),
    *("-1", "0", "5s", "1:1", "16:9", "auto", "de", "image", "video", "completed", "a product photo of a shoe"),
    *("nano-banana-2", "veo-3.1", "V5_5", "three-ad-variants", "pick-a-video-model", "polling", "female"),
)
SENSIBLE: dict[str, tuple[Any, ...]] = {
    "model": ("nano-banana-2", "seedream-v4-5", "veo3-1-fast-text-to-video", "kling-2-6-image-to-video-5s", "V5_5"),
    "prompt": ("a kite", "a product photo of a shoe", "a video of a boat, 5 s, with sound"),
    "aspect_ratio": ("1:1", "9:16"),
    "duration": ("5", "5s", 8),
    "text": ("Hello there.", "A: Hi.\nB: Hello."),
    "languages": ("de", ["fr", "es"]),
    "name": ("three-ad-variants", "logo-exploration", "polling", "my-recipe"),
    "arguments": ({"brief": "a red shoe"}, {}),
    "approval": ("",),
}
NUMBERS = (0, -1, 1, 2, 3, 5, 10, 59, 0.5, 1e9, 1e308, float("inf"), float("nan"), 10**30, 2**63, True)


class Chaos:
    """Arguments that fit a tool's schema more or less; the same for a seed.

    Args:
        files: Paths that exist.

    Attributes:
        ids: Ids that exist.
    """

    def __init__(self, seed: int, files: list[str]) -> None:
        self._random = random.Random(seed)
        self._files = files
        self.ids: list[str] = []

    def arguments(self, tool: Tool) -> dict[str, Any]:
        chance, schema = self._random.random, tool.input_schema
        given = {
            name: self._random.choice(self._sensible(name))
            if chance() < 0.6 and self._sensible(name)
            else self._value(part)
            for name, part in schema.get("properties", {}).items()
            if chance() < (0.97 if name in schema.get("required", ()) else 0.3)
        }
        return given if chance() > 0.02 else {**given, self._random.choice(["x", "", "\udc00"]): 1}

    def _sensible(self, name: str) -> Sequence[Any]:
        if name.endswith(("_url", "_urls")):
            return self._files
        return self.ids if name.endswith("id") or name == "job_ids" else SENSIBLE.get(name, ())

    def tool(self, tools: list[Tool]) -> Tool:
        return self._random.choice(tools)

    def _value(self, schema: dict[str, Any]) -> Any:
        choose, chance = self._random.choice, self._random.random
        if chance() < 0.08:
            return choose([choose(TEXTS), choose(NUMBERS), None, [], {}, [choose(TEXTS)], {"a": 1}])
        if "anyOf" in schema:
            return self._value(choose(schema["anyOf"]))
        if "enum" in schema and chance() < 0.85:
            return choose(schema["enum"])
        match schema.get("type"):
            case "string":
                return choose([*self._files, *self.ids]) if chance() < 0.2 else choose(TEXTS)
            case "integer" | "number":
                limits = [int(schema[name]) for name in ("minimum", "maximum") if name in schema]
                return self._random.randint(*limits) if len(limits) == 2 and chance() < 0.6 else choose(NUMBERS)
            case "boolean":
                return chance() < 0.5
            case "array":
                return [self._value(schema.get("items", {})) for _ in range(choose([0, 1, 1, 2, 3, 40]))]
            case "object":
                parts = schema.get("properties", {})
                named = {name: self._value(part) for name, part in parts.items() if chance() < 0.7}
                return named or {"brief": choose(TEXTS)}
        return choose(TEXTS)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2))
async def test_any_arguments(seed: int, tmp_path: Path, api: RunningSandbox) -> None:
    seen: Counter[str] = Counter()
    async with client_of(api, tmp_path, KUBEEZ_MAX_CREDITS_PER_DAY="90000") as client:
        files = [await clip(client), song(tmp_path), picture(tmp_path), picture(tmp_path, "red")]
        chaos = Chaos(seed, [*files, str(tmp_path), str(tmp_path / "inputs" / "*.png")])
        tools = (await client.list_tools()).tools
        before = await call(client, "get_balance")
        for _ in range(CALLS):
            tool = chaos.tool(tools)
            arguments = chaos.arguments(tool)
            result = await client.call_tool(tool.name, arguments)
            fault = fault_of(result)
            assert not fault, f"{tool.name}({arguments!r:.500}): {fault}"
            seen["refused" if result.is_error else "answered"] += 1
            chaos.ids += (result.structured_content or {}).get("generation_ids") or []
        after = await call(client, "get_balance")
    spent = after["spent_today"] - before["spent_today"]
    assert spent == pytest.approx(before["credits"] - after["credits"])
    assert spent > 0
    assert min(seen["refused"], seen["answered"]) > CALLS // 10


def fault_of(result: CallToolResult) -> str:
    """What is wrong with an answer; nothing, if all is well."""
    told = result.structured_content or {}
    length = len(json.dumps(told)) + sum(len(getattr(block, "text", "")) for block in result.content)
    if not result.is_error:
        return f"{length:,} characters" if length > LONGEST_ANSWER else ""
    error = told.get("error") or {}
    if error.get("code") == "internal_error":
        return "it crashed"
    if not (error.get("message") and error.get("next_step")):
        return f"it does not say what to do: {error}"
    return f"{length:,} characters of refusal" if length > LONGEST_REFUSAL else ""
