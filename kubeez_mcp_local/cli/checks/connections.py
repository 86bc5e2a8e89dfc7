"""Between client and server: our entries in clients' configs, and whether the server starts as a client starts it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from kubeez_mcp_local.cli.checks.finding import ok, problem, warning
from kubeez_mcp_local.cli.clients.errors import NoCommandError
from kubeez_mcp_local.cli.clients.finding import flaws_of, look_everywhere
from kubeez_mcp_local.cli.clients.launch import Launch, Running, find_launch
from kubeez_mcp_local.cli.clients.trying import try_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kubeez_mcp_local.cli.checks.finding import Finding
    from kubeez_mcp_local.cli.clients.finding import Found
    from kubeez_mcp_local.cli.clients.machine import Machine
    from kubeez_mcp_local.cli.clients.trying import Era

_PATIENCE = 30.0
_SLOW_SECONDS = 5.0
_ERAS: tuple[Era, ...] = ("auto", "legacy")


def check_clients(machine: Machine) -> Iterator[Finding]:
    """Each client that is here: is our entry in its config, and does it point at something."""
    found = [one for one in look_everywhere(machine) if one.here or one.scope == "project"]
    for one in found:
        yield from _client(one, machine)
    if not found:
        yield ok("clients", "none of those we know is here; `kubeez-mcp-local install` lists them")


def _client(one: Found, machine: Machine) -> Iterator[Finding]:
    check = one.client.name if one.scope == "user" else f"{one.client.name} (project)"
    if one.config is None:
        reason = f"{one.path}{f':{one.error.line}' if one.error and one.error.line else ''} cannot be parsed"
        detail = f"{reason}: {one.error.reason}" if one.error else reason
        yield problem(check, detail, "Mend the file; the client ignores it or forgets its servers until then.")
        return
    if one.state == "–":
        yield ok(check, f"without kubeez; add it: kubeez-mcp-local install {one.client.name}")
        return
    flaws = flaws_of(one.config, machine)
    for flaw in flaws:
        told = f"{flaw.what} ({one.path})"
        yield problem(check, told, flaw.next_step) if flaw.serious else warning(check, told, flaw.next_step)
    if one.state == "another":
        yield warning(
            check, f"its kubeez entry does not start this program ({one.path})", "Keep it, or: install --force"
        )
    elif not flaws:
        yield ok(check, f"{one.path}")


async def check_start(machine: Machine, arguments: list[str], era_index: int) -> Finding:
    """Start the server as a client does, in one protocol era, and count its tools."""
    era = _ERAS[era_index]
    try:
        launch = find_launch(Running.this(), machine)
    except NoCommandError:
        launch = Launch(sys.executable, ("-m", "kubeez_mcp_local"))
    check = "MCP" if era == "auto" else "MCP (older clients)"
    try:
        tried = await try_server(launch.plus(*arguments), era, variables=machine.variables, within=_PATIENCE)
    except NoCommandError as error:
        return problem(check, error.message, error.next_step)
    told = f"{tried.tools} tools over stdio after {tried.seconds:.1f} s ({tried.protocol})"
    if tried.seconds > _SLOW_SECONDS:
        return warning(check, told, "Some clients give up after 10 s: install it with uv tool install, not uvx.")
    return ok(check, told)
