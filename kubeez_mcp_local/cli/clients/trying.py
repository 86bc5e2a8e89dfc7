"""Starts a server as a client would, and sees how far it gets."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import anyio

from kubeez_mcp_local.cli.clients.errors import NoCommandError
from kubeez_mcp_local.cli.clients.masking import masked
from kubeez_mcp_local.cli.running import first_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kubeez_mcp_local.cli.clients.launch import Launch

Era = Literal["auto", "legacy"]
"""How the SDK's client greets: by discovery, as since 2026-07-28, or by the older handshake."""
_LAST_WORDS = 300


@dataclass(frozen=True)
class Tried:
    """A server that works: its tools, and the seconds from starting it to the answer that lists them."""

    protocol: str
    tools: int
    seconds: float


async def try_server(
    launch: Launch, era: Era, *, variables: Mapping[str, str], within: float, state_dir: str | None = None
) -> Tried:
    """Start `launch`, ask for its tools, and let it go. Nothing is spent, and nothing kept is written.

    Args:
        variables: The environment it gets; its state folder is replaced.
        within: Seconds until it is given up.
        state_dir: The folder it gets; default a new one that is deleted afterwards.

    Raises:
        NoCommandError: It did not start, did not answer, or wrote something else than messages to stdout.
    """
    if state_dir is None:
        with tempfile.TemporaryDirectory(prefix="kubeez-try-", ignore_cleanup_errors=True) as folder:
            return await try_server(launch, era, variables=variables, within=within, state_dir=folder)
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        strays: list[Exception] = []
        try:
            with anyio.fail_after(within):
                tried = await _ask(launch, era, {**variables, "KUBEEZ_STATE_DIR": state_dir}, errors, strays)
        except TimeoutError:
            raise _did_not(launch, f"did not answer within {within:g} s", errors) from None
        except FileNotFoundError:
            raise _did_not(launch, "cannot be started: there is no such program", errors) from None
        except OSError as error:
            raise _did_not(launch, f"cannot be started: {error.strerror or error}", errors) from None
        except Exception as error:  # noqa: BLE001 - whatever a broken server makes the client raise is the finding
            cause = first_of(error) if isinstance(error, BaseExceptionGroup) else error
            raise _did_not(launch, f"does not speak MCP ({type(cause).__name__}: {cause})", errors) from None
    if strays:
        raise NoCommandError(f"`{launch}` writes other things than MCP messages to its output.")
    return tried


async def _ask(launch: Launch, era: Era, variables: Mapping[str, str], errors: Any, strays: list[Exception]) -> Tried:
    from mcp import Client, StdioServerParameters, stdio_client

    async def on_message(message: Any) -> None:
        if isinstance(message, Exception):
            strays.append(message)

    parameters = StdioServerParameters(command=launch.command, args=list(launch.args), env=dict(variables))
    started = time.perf_counter()
    async with Client(stdio_client(parameters, errlog=errors), mode=era, message_handler=on_message) as client:
        listed = await client.list_tools()
        return Tried(str(client.protocol_version), len(listed.tools), time.perf_counter() - started)


def _did_not(launch: Launch, what: str, errors: Any) -> NoCommandError:
    errors.seek(0)
    words = masked(errors.read()).strip()[-_LAST_WORDS:]
    said = f" It said: {words}" if words else ""
    return NoCommandError(
        f"`{launch}` {what}.{said}", next_step="Run that command in a terminal, or name another with --command."
    )
