"""Order, wait and read through one client library: `python drive.py LIBRARY COMMAND [ARGUMENT …]`.

Runs in the library's own environment, which has nothing of this project. Prints what happened as one line of JSON:
`revision` (what was negotiated), `tools`, the number of `prompts` and `resources`, `questions`, `approval` (whether a
code had to be passed on), `result` (the words of the finished job), `resource` (the job, read as a resource) and
`preview` (the words that come with a picture). The variable `PERSON` says who sits there: `answers` for somebody who
says yes to each question, otherwise the client says that it cannot ask anybody.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LIBRARY, COMMAND, *ARGUMENTS = sys.argv[1:]
QUESTIONS: list[str] = []
YES = {"spend": True}
ANSWERS = os.environ.pop("PERSON", "") == "answers"


class Connection(Protocol):
    """What the order below needs of a library; `call` and `read` return the words."""

    revision: str | None

    async def tools(self) -> list[str]: ...

    async def others(self) -> dict[str, int]: ...

    async def call(self, name: str, arguments: dict[str, Any]) -> str: ...

    async def read(self, uri: str) -> str: ...


async def order(connection: Connection) -> dict[str, Any]:
    """The same work with every library."""
    tools = await connection.tools()
    picture = {"prompt": "a kite over a hill", "model": "z-image"}
    answer = await connection.call("generate_media", picture)
    approval = re.search(r"\bok-[0-9A-Z-]+\b", answer)
    if approval:
        answer = await connection.call("generate_media", {**picture, "approval": approval[0]})
    job = _job(answer)
    result = await connection.call("wait_for_generation", {"id": job})
    resource = json.loads(await connection.read(f"kubeez://jobs/{job}"))
    preview = await connection.call("view_media", {"output_id": job})
    seen = {"tools": tools, **await connection.others(), "questions": QUESTIONS, "approval": bool(approval)}
    made = {"result": result, "resource": resource, "preview": preview}
    return {"revision": connection.revision, **seen, **made}


def _job(words: str) -> str:
    found = re.search(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}\b", words)
    if not found:
        sys.exit(f"no job in: {words}")
    return found[0]


def _words(content: Any) -> str:
    """All text of a result, whatever the library made of its blocks."""
    if isinstance(content, str):
        return content
    return "\n".join(str(_of(block, "text")) for block in content if _of(block, "text"))


def _of(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else getattr(value, name, None)


class Session:
    """The SDK's `ClientSession` or `Client`, of any version."""

    def __init__(self, session: Any, revision: str | None) -> None:
        self.session = session
        self.revision = revision

    async def tools(self) -> list[str]:
        listed = await self.session.list_tools()
        return [tool.name for tool in getattr(listed, "tools", listed)]

    async def others(self) -> dict[str, int]:
        prompts, resources = await self.session.list_prompts(), await self.session.list_resources()
        counted = getattr(prompts, "prompts", prompts), getattr(resources, "resources", resources)
        return {"prompts": len(counted[0]), "resources": len(counted[1])}

    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        return _words((await self.session.call_tool(name, arguments)).content)

    async def read(self, uri: str) -> str:
        read = await self.session.read_resource(uri)
        return str(getattr(read, "contents", read)[0].text)


async def _says_yes(_context: Any, params: Any) -> Any:
    from mcp.types import ElicitResult

    QUESTIONS.append(params.message)
    return ElicitResult(action="accept", content=YES)


def _person(name: str, callback: Any = _says_yes) -> dict[str, Any]:
    return {name: callback} if ANSWERS else {}


@asynccontextmanager
async def sdk_1() -> AsyncIterator[Connection]:
    """`mcp` before 2; it takes a callback for questions since 1.10."""
    from mcp import ClientSession, StdioServerParameters, stdio_client

    parameters = StdioServerParameters(command=COMMAND, args=ARGUMENTS, env=dict(os.environ))
    async with stdio_client(parameters) as pipes, ClientSession(*pipes, **_person("elicitation_callback")) as session:
        hello: Any = await session.initialize()
        yield Session(session, hello.protocolVersion)


@asynccontextmanager
async def sdk_2() -> AsyncIterator[Connection]:
    from mcp import Client, StdioServerParameters

    parameters = StdioServerParameters(command=COMMAND, args=ARGUMENTS, env=dict(os.environ))
    async with Client(parameters, **_person("elicitation_callback")) as client:
        yield Session(client, client.protocol_version)


@asynccontextmanager
async def fastmcp() -> AsyncIterator[Connection]:
    from fastmcp import Client
    from fastmcp.client.transports import StdioTransport

    async def says_yes(message: str, *_: Any) -> dict[str, Any]:
        QUESTIONS.append(message)
        return YES

    transport = StdioTransport(COMMAND, ARGUMENTS, env=dict(os.environ))
    async with Client(transport, **_person("elicitation_handler", says_yes)) as client:
        yield Session(client, client.protocol_version)


@asynccontextmanager
async def langchain() -> AsyncIterator[Connection]:
    from langchain_mcp_adapters.callbacks import Callbacks
    from langchain_mcp_adapters.client import MultiServerMCPClient
    from langchain_mcp_adapters.tools import load_mcp_tools

    async def says_yes(context: Any, params: Any, _: Any) -> Any:
        return await _says_yes(context, params)

    server = {"transport": "stdio", "command": COMMAND, "args": ARGUMENTS, "env": dict(os.environ)}
    servers = MultiServerMCPClient({"kubeez": server}, callbacks=Callbacks(**_person("on_elicitation", says_yes)))
    async with servers.session("kubeez", auto_initialize=False) as session:
        hello = await session.initialize()
        found = {tool.name: tool for tool in await load_mcp_tools(session)}

        class Adapted(Session):
            async def tools(self) -> list[str]:
                return list(found)

            async def call(self, name: str, arguments: dict[str, Any]) -> str:
                return _words(await found[name].ainvoke(arguments))

        yield Adapted(session, hello.protocolVersion)


@asynccontextmanager
async def openai_agents() -> AsyncIterator[Connection]:
    from agents.mcp import MCPServerStdio

    parameters = {"command": COMMAND, "args": ARGUMENTS, "env": dict(os.environ)}
    async with MCPServerStdio(params=parameters, client_session_timeout_seconds=60) as server:
        yield Session(server, None)


async def main() -> None:
    async with globals()[LIBRARY]() as connection:
        print(json.dumps(await order(connection)))


asyncio.run(main())
