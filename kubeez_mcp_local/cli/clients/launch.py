"""The command that starts this server from a client's config: one that will still be there tomorrow."""

from __future__ import annotations

import json
import shlex
import sys
import sysconfig
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from kubeez_mcp_local.cli.clients.errors import NoCommandError
from kubeez_mcp_local.settings import APP

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kubeez_mcp_local.cli.clients.machine import Machine


@dataclass(frozen=True)
class Launch:
    """A command with its arguments. `shareable` when it means the same on another machine."""

    command: str
    args: tuple[str, ...] = ()
    shareable: bool = False

    def plus(self, *args: str) -> Launch:
        """The same with more arguments."""
        return Launch(self.command, (*self.args, *args), self.shareable)

    def __str__(self) -> str:
        return shlex.join((self.command, *self.args))


@dataclass(frozen=True)
class Running:
    """How this program was started.

    Attributes:
        python: The interpreter.
        prefix: Folder of its environment.
        scripts: Where that environment keeps console scripts.
        source: Where the package was installed from, if not from an index: what `uvx --from` takes.
    """

    python: Path
    prefix: Path
    scripts: Path
    source: str | None

    @classmethod
    def this(cls) -> Running:
        """This very process."""
        return cls(Path(sys.executable), Path(sys.prefix), Path(sysconfig.get_path("scripts")), _source())

    @property
    def passing(self) -> bool:
        """Whether the environment lies in uv's cache, from which it may vanish."""
        return any(part.startswith(("archive-v", "environments-v")) for part in self.prefix.parts)


def find_launch(running: Running, machine: Machine, *, shared: bool = False) -> Launch:
    """The command to write.

    Args:
        running: How this program was started.
        machine: Whose programs it may use.
        shared: For a config that other people's machines read too: prefer names over paths of this machine.

    Raises:
        NoCommandError: This environment will not last, and there is no uvx.
    """
    if shared and running.source is None:
        return Launch("uvx", (APP,), shareable=True)
    if running.passing:
        uvx = _uvx(machine)
        if uvx is None:
            raise NoCommandError(
                "This program runs from a cache that may be emptied, and uvx is not on the PATH.",
                next_step="Run `uv tool install kubeez-mcp-local` first, or name a command with --command.",
            )
        return Launch(uvx, ("--from", running.source, APP) if running.source else (APP,))
    script = running.scripts / (f"{APP}.exe" if machine.platform == "win32" else APP)
    if script.is_file():
        return Launch(str(script))
    return Launch(str(running.python), ("-m", "kubeez_mcp_local"))


def split_command(text: str, machine: Machine) -> Launch:
    """The command that a person typed: a path, or a command line.

    Raises:
        NoCommandError: It is empty, or its quotes do not match.
    """
    if Path(text).is_file():
        return Launch(text)
    try:
        parts = shlex.split(text, posix=machine.platform != "win32")
    except ValueError as error:
        raise NoCommandError(f"--command: {text!r} cannot be split into words: {error}.") from None
    if not parts:
        raise NoCommandError("--command: it is empty.", next_step="Name a program, such as --command 'uvx x'.")
    command, *args = (part.strip('"') if machine.platform == "win32" else part for part in parts)
    return Launch(command, tuple(args), shareable=not Path(command).is_absolute())


def _uvx(machine: Machine) -> str | None:
    """The path of uvx: desktop applications do not see the PATH of a shell."""
    name = "uvx.exe" if machine.platform == "win32" else "uvx"
    beside = Path(machine.variables.get("UV", "")).parent / name
    return str(beside) if beside.is_absolute() and beside.is_file() else machine.which("uvx")


def _source() -> str | None:
    try:
        text = distribution(APP).read_text("direct_url.json")
    except PackageNotFoundError:
        return str(Path(__file__).resolve().parents[3])
    return source_of(json.loads(text)) if text else None


def source_of(direct_url: Mapping[str, object]) -> str:
    """What `uvx --from` takes for a `direct_url.json` (PEP 610)."""
    url = str(direct_url["url"])
    vcs = direct_url.get("vcs_info")
    if isinstance(vcs, dict):
        return f"{vcs['vcs']}+{url}@{vcs.get('requested_revision') or vcs['commit_id']}"
    return url2pathname(urlsplit(url).path) if url.startswith("file:") else url
