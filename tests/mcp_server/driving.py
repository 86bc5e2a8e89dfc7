"""Calling tools through a client, and small inputs for them."""

from __future__ import annotations

import wave
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mcp import Client
from PIL import Image

from kubeez_mcp_local.bridge import Bridge
from kubeez_mcp_local.mcp_server.server import KubeezServer
from kubeez_mcp_local.media.sniff import sniff
from kubeez_mcp_local.settings import load_settings
from tests.sandbox_server import KEY

if TYPE_CHECKING:
    from mcp.types import CallToolResult

    from tests.sandbox_server import RunningSandbox

SPEED = 5000.0


class Calls(Protocol):
    """What calls tools: a client, or something around one."""

    async def call_tool(self, name: str, arguments: dict[str, Any] | None = None, /) -> CallToolResult: ...


@dataclass
class Recorder:
    """Calls tools through `client`, and keeps who was answered and who was refused."""

    client: Client
    answered: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)

    async def call_tool(self, name: str, arguments: dict[str, Any] | None = None, /) -> CallToolResult:
        result = await self.client.call_tool(name, arguments)
        (self.refused if result.is_error else self.answered).add(name)
        return result


def client_of(api: RunningSandbox, folder: Path, *, mode: str = "auto", **variables: str) -> Client:
    """A client of a server of its own, whose API is `api` and whose files all lie in `folder`."""
    return Client(KubeezServer(bridge_of(api, folder, **variables)), mode=mode)


def bridge_of(api: RunningSandbox, folder: Path, **variables: str) -> Bridge:
    """The parts of such a server."""
    environ = {
        "KUBEEZ_API_KEY": KEY,
        "KUBEEZ_BASE_URL": api.url,
        "KUBEEZ_MODE": "sandbox",
        "KUBEEZ_SANDBOX_SPEED": str(SPEED),
        "KUBEEZ_STATE_DIR": str(folder / "state"),
        "KUBEEZ_OUTPUT_DIR": str(folder / "out"),
        "KUBEEZ_INPUT_DIRS": str(folder),
        "KUBEEZ_MAX_CREDITS_PER_CALL": "5000",
        "KUBEEZ_MAX_CREDITS_PER_DAY": "5000",
        **variables,
    }
    return Bridge(load_settings(environ=environ, working_dir=folder))


async def call(client: Calls, tool: str, /, **arguments: Any) -> dict[str, Any]:
    """The structured answer of a call that succeeds."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content[0]
    assert isinstance(result.structured_content, dict)
    return result.structured_content


async def refused(client: Calls, tool: str, /, **arguments: Any) -> dict[str, Any]:
    """The error of a call that is refused without costing anything."""
    result = await client.call_tool(tool, arguments)
    assert result.is_error, result.structured_content
    error: dict[str, Any] = (result.structured_content or {})["error"]
    assert error["credits_spent"] is False
    return error


async def made(client: Calls, tool: str, /, **arguments: Any) -> dict[str, Any]:
    """The finished job of a paid tool, with at least one file on disk that is what it says."""
    started = await call(client, tool, **arguments)
    done = await call(client, "wait_for_generation", id=started["generation_id"])
    assert done["status"] == "completed", done
    assert done["files"], done
    for file in done["files"]:
        assert sniff(Path(file["path"])).mime == file["media_type"]
    return done


async def clip(client: Calls) -> str:
    """A four second video with sound on disk."""
    done = await made(client, "generate_media", prompt="waves", model="seedance-1-5-pro-480p-4s-audio")
    path: str = done["files"][0]["path"]
    return path


def picture(folder: Path, colour: str = "teal") -> str:
    """A PNG on disk."""
    path = folder / "inputs" / f"{colour}.png"
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (320, 240), colour).save(path)
    return str(path)


def song(folder: Path) -> str:
    """Three seconds of WAV on disk."""
    path = folder / "inputs" / "song.wav"
    path.parent.mkdir(exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(b"\x00\x10" * 8000 * 3)
    return str(path)
