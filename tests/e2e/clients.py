"""The SDK's own client, connected to a server process over stdio."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import anyio
from mcp import Client, StdioServerParameters, stdio_client
from mcp.types import ElicitRequestFormParams, ElicitResult, TextContent

from tests.e2e.server import PATIENCE, environment
from tests.forking import command

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from mcp.client.session import ElicitationFnT
    from mcp.shared.dispatcher import ProgressFnT
    from mcp.types import CallToolResult

ERAS = ("auto", "legacy")


@asynccontextmanager
async def client(
    folder: Path, era: str = "auto", *, person: Person | None = None, **settings: object
) -> AsyncIterator[Client]:
    """A client of a new server process in `folder`; `settings` become `KUBEEZ_…` variables.

    Without a `person` the client says that it cannot ask anybody. What the process writes to stderr goes to
    `stderr.txt`; that stdout carried nothing but protocol messages is checked at the end.
    """
    strays: list[Exception] = []

    async def on_message(message: Any) -> None:
        if isinstance(message, Exception):
            strays.append(message)

    program, *arguments = command()
    parameters = StdioServerParameters(
        command=program,
        args=arguments,
        env=environment(folder, **settings),
        cwd=folder,
    )
    async with AsyncExitStack() as stack:
        errors = stack.enter_context((folder / "stderr.txt").open("a", encoding="utf-8"))
        async with Client(
            stdio_client(parameters, errlog=errors),
            mode=era,
            message_handler=on_message,
            elicitation_callback=cast("ElicitationFnT | None", person),
            read_timeout_seconds=PATIENCE + 45,
        ) as connected:
            yield connected
    assert strays == []
    if "api_key" in settings:
        written = await anyio.Path(folder / "stderr.txt").read_text("utf-8")
        assert str(settings["api_key"]) not in written


@dataclass
class Person:
    """Whoever sits before the client: gives the same answer to every question, and remembers the questions."""

    reply: ElicitResult
    questions: list[str] = field(default_factory=list)

    async def __call__(self, _context: Any, params: Any) -> ElicitResult:
        assert isinstance(params, ElicitRequestFormParams)
        self.questions.append(params.message)
        return self.reply


def says_yes() -> Person:
    return Person(ElicitResult(action="accept", content={"spend": True}))


def unticks() -> Person:
    return Person(ElicitResult(action="accept", content={"spend": False}))


def says_no() -> Person:
    return Person(ElicitResult(action="decline"))


def walks_away() -> Person:
    return Person(ElicitResult(action="cancel"))


def text_of(result: CallToolResult) -> str:
    """The words of a result, which come first."""
    block = result.content[0]
    assert isinstance(block, TextContent)
    return block.text


def facts_of(result: CallToolResult) -> dict[str, Any]:
    """The structured part of a result."""
    assert isinstance(result.structured_content, dict)
    return result.structured_content


def assert_complete(result: CallToolResult) -> None:
    """Whoever reads only the words misses nothing of the structured part that a next step needs."""
    assert not result.is_error, text_of(result)
    text = text_of(result)
    missing = [value for value in _needed(facts_of(result)) if value not in text]
    assert missing == [], text


_NEEDED = (
    *("mode", "status", "next_step", "model", "path", "generation_id", "generation_ids", "approval", "error_message"),
    *("charged", "left_today", "credits", "model_id", "preview", "notes", "count", "spent_today"),
)


def _needed(value: Any, name: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _needed(item, key)
    elif isinstance(value, list):
        for item in value:
            yield from _needed(item, name)
    elif name not in _NEEDED:
        return
    elif isinstance(value, float):
        yield f"{value:g}" if value.is_integer() and value < 1e6 else str(value)
    elif not isinstance(value, bool):
        yield str(value)


async def finished(server: Client, job: str, *, on_progress: ProgressFnT | None = None) -> CallToolResult:
    """The result of waiting until `job` is over, over as many calls as it takes."""
    while True:
        result = await server.call_tool("wait_for_generation", {"id": job}, progress_callback=on_progress)
        if result.is_error or facts_of(result)["status"] not in ("pending", "processing"):
            return result
