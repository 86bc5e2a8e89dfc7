"""Our entry in clients' configs: where it is, what is wrong with it, plans to put it in or take it out.

A config is read as it is, written whole or not at all, and kept beside itself as it was before.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import stat
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from kubeez_mcp_local.cli.clients import formats
from kubeez_mcp_local.cli.clients.formats import EditError, ParseError
from kubeez_mcp_local.cli.clients.known import CLIENTS, INPUT, KEY, SERVER, KeyIn
from kubeez_mcp_local.cli.clients.launch import masked
from kubeez_mcp_local.disk import give_free_name, part_beside, replacing
from kubeez_mcp_local.errors import KubeezError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from kubeez_mcp_local.cli.clients.known import Client, Scope
    from kubeez_mcp_local.cli.clients.launch import Launch, Machine


class BrokenConfigError(KubeezError):
    """A client's config cannot be read or parsed; in which line, counted from 1, and why."""

    code = "broken_config"

    def __init__(self, path: Path, reason: str, *, line: int = 0, column: int = 0) -> None:
        where = f"{path}:{line}:{column}" if line else f"{path}"
        super().__init__(
            f"{where}: {reason}. Nothing was changed.",
            next_step="Mend the file, or paste the entry that --print shows yourself.",
        )
        self.reason = reason
        self.line = line


class ConfigError(KubeezError):
    """A client's config was left as it was: it holds an entry that is not ours (`config_conflict`), is better edited by
    a person (`cannot_edit`), or cannot be written (`unwritable_config`)."""


MAX_BYTES = 64 * 1024 * 1024
_BOM = b"\xef\xbb\xbf"
_PRIVATE = 0o600


def _now() -> datetime:
    return datetime.now().astimezone()


@dataclass(frozen=True)
class ConfigFile:
    """A config as it was read; without a file there is no `text`, and `raw` and `mode` are `None`.

    Attributes:
        path: Where it is; a symbolic link is followed, so that the file it points at is the one that is written.
        raw: The text as bytes.
        mode: Its permissions.
    """

    path: Path
    text: str
    raw: bytes | None
    mode: int | None


def read_config(path: Path) -> ConfigFile:
    """The file at `path`, which need not exist; a `BrokenConfigError` for what is no readable UTF-8 text."""
    try:
        path = path.resolve()
        raw, mode = path.read_bytes(), stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return ConfigFile(path, "", None, None)
    except (OSError, RuntimeError) as error:
        raise BrokenConfigError(path, f"it cannot be read ({getattr(error, 'strerror', None) or error})") from None
    if len(raw) > MAX_BYTES:
        raise BrokenConfigError(path, f"it has {len(raw):,} bytes, which no config has")
    try:
        return ConfigFile(path, raw.removeprefix(_BOM).decode("utf-8"), raw, mode)
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise BrokenConfigError(path, "it is not UTF-8 text", line=line, column=1) from None


def write_config(
    file: ConfigFile,
    text: str,
    *,
    private: bool = False,
    new_mode: int = _PRIVATE,
    clock: Callable[[], datetime] = _now,
) -> Path | None:
    """Put `text` in place of what `file` held when it was read, atomically.

    Args:
        private: Make it readable by its owner alone, whatever it was before.
        new_mode: Permissions of a file that was not there.
        clock: Names the backup.

    Returns:
        The copy of what was there before, beside the file and readable by its owner alone; `None` for a new file.

    Raises:
        ConfigError: The file changed since it was read, or the folder or the disk refuses.
    """
    head = _BOM if (file.raw or b"").startswith(_BOM) else b""
    mode = new_mode if file.mode is None else file.mode
    backup = None
    try:
        file.path.parent.mkdir(parents=True, exist_ok=True)
        backup = _backup(file, clock()) if file.raw is not None else None
        _replace(file, head + text.encode("utf-8"), _PRIVATE if private else mode)
    except (OSError, ConfigError) as error:
        if backup is not None:
            backup.unlink(missing_ok=True)
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(
            f"{file.path} cannot be written: {error.strerror or error}. It is as it was.",
            next_step="Make its folder writable, or paste the entry that --print shows yourself.",
            code="unwritable_config",
        ) from None
    return backup


def _backup(file: ConfigFile, now: datetime) -> Path:
    part = part_beside(file.path)
    try:
        with replacing(part) as copy:
            _write(copy, file.raw or b"")
        return give_free_name(part, f"{file.path.name}.{now:%Y%m%d-%H%M%S}", ".backup")
    finally:
        part.unlink(missing_ok=True)


def _replace(file: ConfigFile, content: bytes, mode: int) -> None:
    with replacing(file.path) as new:
        _write(new, content)
        Path(new.name).chmod(mode)
        _same_owner(file.path, Path(new.name))
        if _now_there(file.path) != file.raw:
            raise ConfigError(
                f"{file.path} was changed by another program just now, and was left alone.",
                next_step="Close the client and try again.",
                code="config_conflict",
            )


def _write(file: BinaryIO, content: bytes) -> None:
    file.write(content)
    file.flush()
    os.fsync(file.fileno())


def _same_owner(original: Path, copy: Path) -> None:
    """Keep the owner when somebody else, such as root, does the writing."""
    if hasattr(os, "chown") and original.exists():
        found = original.stat()
        with contextlib.suppress(PermissionError):
            os.chown(copy, found.st_uid, found.st_gid)


def _now_there(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


_SHARED_MODE = 0o644
_REMOTE = ("url", "httpUrl", "serverUrl", "uri", "headers", "http_headers")
_LISTS = ("env_vars", "env_keys")
_OURS = ("kubeez-mcp-local", "kubeez_mcp_local")


@dataclass(frozen=True)
class Config:
    """The config of a client in one scope, as it is now."""

    client: Client
    scope: Scope
    file: ConfigFile
    data: dict[str, Any]

    @property
    def path(self) -> Path:
        return self.file.path

    @property
    def entry(self) -> Any:
        """What it holds under our name; `None` if nothing."""
        return formats.entry(self.data, (self.client.path, SERVER))


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
    """The config as it is on disk; a `BrokenConfigError` if it cannot be read or parsed."""
    file = read_config(client.file(machine, scope))
    try:
        return Config(client, scope, file, client.format.read(file.text))
    except ParseError as error:
        raise BrokenConfigError(file.path, masked(error.reason), line=error.line, column=error.column) from None


def plan_install(config: Config, launch: Launch, *, key: KeyIn, value: str = "", force: bool = False) -> Plan:
    """What the config shall say with our entry in it. What else the entry holds already, stays.

    Raises:
        ConfigError: There is another `kubeez` entry, and no `force`; or only a person should edit this layout.
    """
    client, text, there = config.client, config.file.text, config.entry
    question = client.asks(key)
    wanted = _merged(there, client.entry(launch, key, value), client)
    if not _says(there, wanted):
        if there is not None and not force:
            raise ConfigError(
                f"{config.path} already has another {SERVER} entry. Nothing was changed.",
                next_step="See the difference with --force --dry-run; replace it with --force.",
                code="config_conflict",
            )
        text = _edited(config, text, (client.path, SERVER), wanted)
    if question is not None:
        inputs = config.data.get("inputs") or []
        if not any(isinstance(one, dict) and one.get("id") == INPUT for one in inputs):
            text = _edited(config, text, ("inputs", len(inputs)), question)
    return Plan(config, text, secret=key is KeyIn.VALUE)


def plan_removal(config: Config, *, force: bool = False) -> Plan:
    """What the config shall say without our entry.

    Raises:
        ConfigError: The `kubeez` entry is not one that starts this program, and no `force`; or as for `plan_install`.
    """
    there, text = config.entry, config.file.text
    if there is None:
        return Plan(config, text)
    if not force and not is_ours(there, config.client):
        raise ConfigError(
            f"The {SERVER} entry in {config.path} does not start kubeez-mcp-local. Nothing was changed.",
            next_step="If it shall go nevertheless, add --force.",
            code="config_conflict",
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
    return any(name in str(word) for word in client.command_in(entry) for name in _OURS)


def _edited(config: Config, text: str, path: Sequence[str | int], value: Any = None) -> str:
    try:
        return formats.edited(config.client.format, text, path, value)
    except EditError as error:
        raise ConfigError(
            f"{config.path} is better edited by hand: {masked(str(error))}. Nothing was changed.",
            next_step="Paste the entry that --print shows, or take the old one out.",
            code="cannot_edit",
        ) from None


def _says(there: Any, wanted: dict[str, Any]) -> bool:
    """Whether an entry reads as wanted; Codex drops empty lists when it writes."""
    said: dict[str, Any] = there if isinstance(there, dict) else {}
    return said == {name: one for name, one in wanted.items() if one != [] or name in said}


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


_REFERENCE = re.compile(r"\$\{[^}]+\}|\$[A-Za-z_]\w*")


@dataclass(frozen=True)
class Found:
    """A client's config in one scope: whether the client seems to be `here`, and what it says, or why it is broken.

    Without a file there are neither `path` nor `config`."""

    client: Client
    scope: Scope
    path: Path | None
    here: bool
    config: Config | None = None
    error: BrokenConfigError | None = None

    @property
    def state(self) -> Literal["yes", "another", "broken file", "by hand", "–"]:
        """Whether our entry is there."""
        if self.path is None:
            return "by hand"
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
            "config": None if self.path is None else str(self.path),
        }


@dataclass(frozen=True)
class Flaw:
    """Something wrong with an entry, and what to do. `serious` when it cannot work like this."""

    what: str
    next_step: str
    serious: bool = True


def look_everywhere(machine: Machine) -> list[Found]:
    """Every client's own config, and within a checkout those of the project that hold our entry or are broken."""
    found = []
    for client in CLIENTS.values():
        found.append(look(client, "user", machine))
        if "project" in client.scopes and machine.in_checkout:
            project = look(client, "project", machine)
            if project.state != "–":
                found.append(project)
    return found


def look(client: Client, scope: Scope, machine: Machine) -> Found:
    """One config."""
    here = is_here(client, machine)
    if client.user_file is None:
        return Found(client, scope, None, here)
    path = client.file(machine, scope)
    try:
        return Found(client, scope, path, here, read(client, scope, machine))
    except BrokenConfigError as error:
        return Found(client, scope, path, here, None, error)


def is_here(client: Client, machine: Machine) -> bool:
    """Whether the client seems to be installed: its program is on the PATH, or it has a folder of its own."""
    if any(machine.which(program) for program in client.programs):
        return True
    if client.home is not None and client.home(machine).is_dir():
        return True
    if client.user_file is None:
        return False
    file = client.file(machine, "user")
    return file.exists() or (file.parent != machine.home and file.parent.is_dir())


def flaws_of(config: Config, machine: Machine) -> Iterator[Flaw]:
    """What is wrong with our entry in `config`, as far as can be seen without starting it."""
    client, entry = config.client, config.entry
    if not isinstance(entry, dict):
        yield Flaw("the kubeez entry is no table of fields", _again(config))
        return
    if not is_ours(entry, client):
        return
    command = next(iter(client.command_in(entry)), None)
    if not isinstance(command, str) or not command.strip():
        yield Flaw(f"it names no {client.command_field}", _again(config))
    elif machine.which(command) is None:
        yield Flaw(f"{command} does not exist or cannot be started", _again(config))
    elif not Path(command).is_absolute() and client.name == "claude-desktop":
        what = f"{command} is no whole path, and desktop applications often do not see your PATH"
        yield Flaw(what, _again(config), serious=False)
    if not client.command_is_list and not isinstance(entry.get("args", []), list):
        yield Flaw("args is no list", _again(config))
    if client.name == "goose" and not isinstance(entry.get("name"), str):
        yield Flaw("it has no name, so Goose skips it", _again(config))
    if entry.get("enabled") is False or entry.get("disabled") is True:
        yield Flaw("it is switched off", "Switch it on in the client.", serious=False)
    value = _key_field(config)
    if not value:
        return
    if _REFERENCE.fullmatch(value):
        if not client.variable:
            yield Flaw(
                f"its key is {value}, which {client.title} is not known to fill in",
                "Take that line out; the server finds the key in your own config file.",
            )
    elif config.scope == "project":
        yield Flaw(
            "the key itself is in a file that gets committed",
            f"Take it out: kubeez-mcp-local install {client.name} --scope project --remove; "
            "make a new key if the file was ever pushed.",
        )
    elif config.file.mode is not None and config.file.mode & 0o077 and not config.path.drive:  # not on Windows
        yield Flaw("the key is in a file that others can read", f"Run: chmod 600 {config.path}", serious=False)


def _key_field(config: Config) -> str:
    entry = config.entry if isinstance(config.entry, dict) else {}
    variables = entry.get(config.client.variables_field)
    value = variables.get(KEY) if isinstance(variables, dict) else None
    return value if isinstance(value, str) else ""


def key_in_entry(config: Config) -> bool:
    """Whether our entry holds a key itself, not a reference to one."""
    value = _key_field(config)
    return bool(value) and not _REFERENCE.fullmatch(value)


def _again(config: Config) -> str:
    scope = " --scope project" if config.scope == "project" else ""
    return f"Run: kubeez-mcp-local install {config.client.name}{scope} --force"
