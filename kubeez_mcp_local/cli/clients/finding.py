"""Which clients are on a machine, and what is wrong with our entry in their configs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kubeez_mcp_local.cli.clients.errors import BrokenConfigError
from kubeez_mcp_local.cli.clients.installing import Config, is_ours, read
from kubeez_mcp_local.cli.clients.known import CLIENTS, KEY

if TYPE_CHECKING:
    from kubeez_mcp_local.cli.clients.known import Client, Scope
    from kubeez_mcp_local.cli.clients.machine import Machine

_REFERENCE = re.compile(r"\$\{[^}]+\}|\$[A-Za-z_]\w*")


@dataclass(frozen=True)
class Found:
    """A client's config in one scope.

    Attributes:
        here: Whether the client seems to be on this machine.
        config: What it says; `None` when it cannot be read.
        error: Why it cannot be read.
    """

    client: Client
    scope: Scope
    path: Path
    here: bool
    config: Config | None
    error: BrokenConfigError | None = None

    @property
    def state(self) -> Literal["yes", "another", "broken file", "–"]:
        """Whether our entry is there."""
        if self.config is None:
            return "broken file"
        if self.config.entry is None:
            return "–"
        return "yes" if is_ours(self.config.entry, self.client) else "another"

    def as_json(self) -> dict[str, Any]:
        return {
            "client": self.client.name,
            "title": self.client.title,
            "scope": self.scope,
            "here": self.here,
            "state": {"yes": "installed", "–": "absent", "broken file": "broken"}.get(self.state, self.state),
            "config": str(self.path),
        }


@dataclass(frozen=True)
class Flaw:
    """Something wrong with an entry, and what to do. `serious` when it cannot work like this."""

    what: str
    next_step: str
    serious: bool = True


def look_everywhere(machine: Machine) -> list[Found]:
    """Every client's own config, and the configs of the project that hold our entry or are broken."""
    found = []
    for client in CLIENTS.values():
        found.append(look(client, "user", machine))
        if "project" in client.scopes:
            project = look(client, "project", machine)
            if project.state != "–":
                found.append(project)
    return found


def look(client: Client, scope: Scope, machine: Machine) -> Found:
    """One config."""
    path = client.file(machine, scope)
    here = is_here(client, machine)
    try:
        return Found(client, scope, path, here, read(client, scope, machine))
    except BrokenConfigError as error:
        return Found(client, scope, path, here, None, error)


def is_here(client: Client, machine: Machine) -> bool:
    """Whether the client seems to be installed: its program is on the PATH, or it has a folder of its own."""
    if any(machine.which(program) for program in client.programs):
        return True
    file = client.file(machine, "user")
    return file.exists() or (file.parent != machine.home and file.parent.is_dir())


def flaws_of(config: Config, machine: Machine) -> list[Flaw]:
    """What is wrong with our entry in `config`, as far as can be seen without starting it."""
    client, entry = config.client, config.entry
    if not isinstance(entry, dict):
        return [Flaw("the kubeez entry is no table of fields", _again(config))]
    if not is_ours(entry, client):
        return []
    flaws = []
    command = entry.get(client.command_field)
    if not isinstance(command, str) or not command.strip():
        flaws.append(Flaw(f"it names no {client.command_field}", _again(config)))
    elif machine.which(command) is None:
        flaws.append(Flaw(f"{command} does not exist or cannot be started", _again(config)))
    elif not Path(command).is_absolute() and client.name == "claude-desktop":
        flaws.append(
            Flaw(
                f"{command} is no whole path, and desktop applications often do not see your PATH",
                _again(config),
                False,
            )
        )
    if not isinstance(entry.get("args", []), list):
        flaws.append(Flaw("args is no list", _again(config)))
    if client.name == "goose" and not isinstance(entry.get("name"), str):
        flaws.append(Flaw("it has no name, so Goose skips it", _again(config)))
    if entry.get("enabled") is False or entry.get("disabled") is True:
        flaws.append(Flaw("it is switched off", "Switch it on in the client.", serious=False))
    return flaws + _flaws_of_key(config, entry)


def _flaws_of_key(config: Config, entry: dict[str, Any]) -> list[Flaw]:
    variables = entry.get(config.client.variables_field)
    value = variables.get(KEY) if isinstance(variables, dict) else None
    if not isinstance(value, str) or not value:
        return []
    if _REFERENCE.fullmatch(value):
        knows = config.client.variable
        if not knows:
            return [Flaw(f"its key is {value}, which {config.client.title} does not fill in", "Write the key itself.")]
        return []
    if config.scope == "project":
        return [
            Flaw(
                "the key itself is in a file that gets committed",
                f"Take it out: kubeez-mcp-local install {config.client.name} --scope project --remove; "
                "make a new key if the file was ever pushed.",
            )
        ]
    if config.file.mode is not None and config.file.mode & 0o077 and not _windows(config):
        return [Flaw("the key is in a file that others can read", f"Run: chmod 600 {config.path}", serious=False)]
    return []


def _windows(config: Config) -> bool:
    return config.path.drive != ""


def _again(config: Config) -> str:
    scope = " --scope project" if config.scope == "project" else ""
    return f"Run: kubeez-mcp-local install {config.client.name}{scope} --force"
