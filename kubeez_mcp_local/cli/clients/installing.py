"""Putting our entry into a client's config and taking it out again: first a plan, then the writing."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kubeez_mcp_local.cli.clients import editing
from kubeez_mcp_local.cli.clients.config_file import read_config, write_config
from kubeez_mcp_local.cli.clients.errors import (
    BrokenConfigError,
    CannotEditError,
    ConfigConflictError,
    EditError,
    ParseError,
)
from kubeez_mcp_local.cli.clients.known import INPUT, SERVER, KeyIn
from kubeez_mcp_local.cli.clients.masking import masked

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from kubeez_mcp_local.cli.clients.config_file import ConfigFile
    from kubeez_mcp_local.cli.clients.known import Client, Scope
    from kubeez_mcp_local.cli.clients.launch import Launch
    from kubeez_mcp_local.cli.clients.machine import Machine

_SHARED_MODE = 0o644
_REMOTE = ("url", "httpUrl", "serverUrl", "uri", "headers", "http_headers")
_LISTS = ("env_vars", "env_keys")
_OURS = ("kubeez-mcp-local", "kubeez_mcp_local")


@dataclass(frozen=True)
class Config:
    """The config of a client in one scope, as it is now.

    Attributes:
        entry: What it holds under our name; `None` if nothing.
    """

    client: Client
    scope: Scope
    file: ConfigFile
    data: dict[str, Any]

    @property
    def path(self) -> Path:
        return self.file.path

    @property
    def entry(self) -> Any:
        return editing.entry(self.data, (self.client.path, SERVER))


@dataclass(frozen=True)
class Plan:
    """A config and what it shall say. `secret` when the new text holds a key."""

    config: Config
    text: str
    secret: bool = False

    @property
    def changes(self) -> bool:
        return self.text != self.config.file.text

    def diff(self) -> str:
        """The change as a unified diff, secrets hidden."""
        name = self.config.path.name
        before, after = (masked(text).splitlines(keepends=True) for text in (self.config.file.text, self.text))
        lines = difflib.unified_diff(before, after, name, f"{name} (new)", n=2)
        return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)

    def write(self) -> Path | None:
        """Carry it out; returns the backup. Raises as `write_config`."""
        new_mode = _SHARED_MODE if self.config.scope == "project" else 0o600
        return write_config(self.config.file, self.text, private=self.secret, new_mode=new_mode)


def read(client: Client, scope: Scope, machine: Machine) -> Config:
    """The config as it is on disk.

    Raises:
        BrokenConfigError: It cannot be read or parsed.
    """
    file = read_config(client.file(machine, scope))
    try:
        return Config(client, scope, file, client.format.read(file.text))
    except ParseError as error:
        raise BrokenConfigError(file.path, masked(error.reason), line=error.line, column=error.column) from None


def plan_install(config: Config, launch: Launch, *, key: KeyIn, value: str = "", force: bool = False) -> Plan:
    """What the config shall say with our entry in it. What else the entry holds already, stays.

    Raises:
        ConfigConflictError: There is another `kubeez` entry, and no `force`.
        CannotEditError: The config is laid out in a way that only a person should edit.
    """
    client, text = config.client, config.file.text
    wanted = client.entry(launch, key, value)
    question = client.asks(key)
    there = config.entry
    if there is not None and not _agrees(there, wanted):
        if not force:
            raise ConfigConflictError(
                f"{config.path} already has another {SERVER} entry. Nothing was changed.",
                next_step="See the difference with --force --dry-run; replace it with --force.",
            )
        wanted = _merged(there, wanted, client)
    if there is None or not _agrees(there, wanted):
        text = _edited(config, text, (client.path, SERVER), wanted)
    if question is not None:
        inputs = config.data.get("inputs") or []
        if not any(isinstance(one, dict) and one.get("id") == INPUT for one in inputs):
            text = _edited(config, text, ("inputs", len(inputs)), question)
    return Plan(config, text, secret=key is KeyIn.VALUE)


def plan_removal(config: Config, *, force: bool = False) -> Plan:
    """What the config shall say without our entry.

    Raises:
        ConfigConflictError: The `kubeez` entry is not one that starts this program, and no `force`.
        CannotEditError: As for `plan_install`.
    """
    there, text = config.entry, config.file.text
    if there is None:
        return Plan(config, text)
    if not force and not is_ours(there, config.client):
        raise ConfigConflictError(
            f"The {SERVER} entry in {config.path} does not start kubeez-mcp-local. Nothing was changed.",
            next_step="If it shall go nevertheless, add --force.",
        )
    text = _edited(config, text, (config.client.path, SERVER))
    inputs = config.data.get("inputs")
    if config.client.name == "vscode" and isinstance(inputs, list) and f"${{input:{INPUT}}}" not in text:
        found = [i for i, one in enumerate(inputs) if isinstance(one, dict) and one.get("id") == INPUT]
        for index in reversed(found):
            text = _edited(config, text, ("inputs", index))
    return Plan(config, text)


def is_ours(entry: Any, client: Client) -> bool:
    """Whether an entry starts this program."""
    if not isinstance(entry, dict):
        return False
    args = entry.get("args")
    words = [entry.get(client.command_field), *(args if isinstance(args, list) else [])]
    return any(name in str(word) for word in words for name in _OURS)


def _edited(config: Config, text: str, path: Sequence[str | int], value: Any = None) -> str:
    written_in = config.client.format
    try:
        if value is None:
            return editing.take(written_in, text, path)
        return editing.put(written_in, text, path, value)
    except EditError as error:
        raise CannotEditError(
            f"{config.path} is better edited by hand: {masked(str(error))}. Nothing was changed.",
            next_step="Paste the entry that --print shows, or take the old one out.",
        ) from None


def _agrees(there: Any, wanted: dict[str, Any]) -> bool:
    """Whether an entry already says everything that is wanted; what it says beyond that is the user's own."""
    if not isinstance(there, dict) or any(name in there for name in _REMOTE):
        return False
    for name, value in wanted.items():
        has = there.get(name)
        if isinstance(value, dict):
            if not isinstance(has, dict) or any(has.get(key) != one for key, one in value.items()):
                return False
        elif name in _LISTS:
            if not isinstance(has, list) or any(one not in has for one in value):
                return False
        elif has != value and not (value == [] and has is None):  # Codex drops empty lists when it writes
            return False
    return True


def _merged(there: Any, wanted: dict[str, Any], client: Client) -> dict[str, Any]:
    """The wanted entry with what the user added to the old one; nothing of one for a remote server."""
    if not isinstance(there, dict) or client.command_field not in there or any(name in there for name in _REMOTE):
        return wanted
    merged = {**there, **wanted}
    for name, value in wanted.items():
        has = there.get(name)
        if isinstance(value, dict) and isinstance(has, dict):
            merged[name] = {**has, **value}
        elif name in _LISTS and isinstance(has, list):
            merged[name] = [*has, *(one for one in value if one not in has)]
    return merged
