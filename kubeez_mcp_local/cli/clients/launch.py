"""The machine as clients see it, the command that starts the server there, and whether it really starts."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
import sysconfig
import tempfile
import time
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit
from urllib.request import url2pathname

import anyio

from kubeez_mcp_local.environment import APP, TRIAL
from kubeez_mcp_local.errors import KubeezError, first_error_in
from kubeez_mcp_local.logs import redact

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mcp.types import Tool


@dataclass(frozen=True)
class Machine:
    """Where programs keep their files.

    Attributes:
        platform: As `sys.platform` has it: `linux`, `darwin`, `win32`.
        project: The folder whose project configs are meant.
    """

    platform: str
    home: Path
    project: Path
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def this(cls) -> Machine:
        """The machine this runs on, in the working folder."""
        from kubeez_mcp_local.environment import variables
        from kubeez_mcp_local.settings import current_folder

        return cls(sys.platform, Path.home(), current_folder() or Path.home(), variables())

    @property
    def in_checkout(self) -> bool:
        """Whether the working folder belongs to a project: a git work tree that is not the home folder itself."""
        for folder in (self.project, *self.project.parents):
            if (folder / ".git").exists():
                return folder.resolve() != self.home.resolve()
        return False

    def folder(self, variable: str, default: Path) -> Path:
        """The folder that `variable` names, or `default`; a relative one counts as not given."""
        named = Path(self.variables.get(variable, ""))
        return named if named.is_absolute() else default

    @property
    def roaming(self) -> Path:
        return self.folder("APPDATA", self.home / "AppData" / "Roaming")

    @property
    def local(self) -> Path:
        """Windows' folder for what stays on this machine."""
        return self.folder("LOCALAPPDATA", self.home / "AppData" / "Local")

    @property
    def config(self) -> Path:
        """The folder for settings on Linux, and of programs that keep to it on macOS."""
        return self.folder("XDG_CONFIG_HOME", self.home / ".config")

    @property
    def applications(self) -> Path:
        """Where desktop applications keep their settings."""
        if self.platform == "darwin":
            return self.home / "Library" / "Application Support"
        return self.roaming if self.platform == "win32" else self.config

    @property
    def typed(self) -> str:
        """How this program is called here at a terminal."""
        if "UV_RUN_RECURSION_DEPTH" in self.variables:
            return "uv run kubeez-mcp-local"
        return "uvx kubeez-mcp-local" if "UV" in self.variables else "kubeez-mcp-local"

    def which(self, program: str) -> str | None:
        """The path of a program that can be started by its name, or by its path."""
        return shutil.which(program, path=self.variables.get("PATH"))


class NoCommandError(KubeezError):
    """No command is known, or the one given does not start the server."""

    code = "no_command"


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
    """How this program was started: the interpreter, the folder of its environment and that of its console scripts, and
    where the package was installed from, if not from an index: what `uvx --from` takes."""

    python: Path
    prefix: Path
    scripts: Path
    source: str | None

    @classmethod
    def this(cls) -> Running:
        return cls(Path(sys.executable), Path(sys.prefix), Path(sysconfig.get_path("scripts")), _source())

    @property
    def passing(self) -> bool:
        """Whether the environment lies in uv's cache, from which it may vanish."""
        return any(part.startswith(("archive-v", "environments-v")) for part in self.prefix.parts)


def find_launch(running: Running, machine: Machine, *, shared: bool = False) -> Launch:
    """The command to write; a `NoCommandError` if this environment will not last and there is no uvx.

    Args:
        shared: For a config that other people's machines read too: prefer names over paths of this machine.
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
    """The command that a person typed: a path, or a command line, if that is not empty and its quotes match."""
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


_NAMED = re.compile(
    r"""(?ix)
    ( ["']? [\w.-]* (?:key|token|secret|passw|credential|authorization) [\w.-]* ["']? [ \t]* [:=] [ \t]* )
    ( "(?:\\.|[^"\\])*" | '[^']*' | [^\s,\[\]{}"'\#][^,}\#\n]* )"""
)
_REFERENCE = re.compile(r"\$\{[^}]*\}|\$\w+|true|false|null|\d+", re.IGNORECASE)
_WORDS = re.compile(r"\b(?:sk|pk|ghp|gho|ghs|glpat|xox[a-z]|AKIA|eyJ)[\w-]{12,}")


def masked(text: str) -> str:
    """`text` without the values of fields that are named like secrets, and without words that look like keys."""
    return _WORDS.sub("…", redact(_NAMED.sub(_hide, text)))


def _hide(match: re.Match[str]) -> str:
    value = match[2].strip()
    bare = value.strip("\"'")
    if not bare or _REFERENCE.fullmatch(bare):
        return match[0]
    quote = value[0] if value[0] in "\"'" else ""
    return f"{match[1]}{quote}…{quote}"


Era = Literal["auto", "legacy"]
"""How the SDK's client greets: by discovery, as since 2026-07-28, or by the older handshake."""
_LAST_WORDS = 300


@dataclass(frozen=True)
class Tried:
    """A server that works: its tools, the seconds from starting it to the answer that lists them, and the free tool
    that was called, if there is one."""

    protocol: str
    tools: int
    seconds: float
    called: str = ""

    @property
    def proof(self) -> str:
        """What the call proved, as the rest of a sentence."""
        return f", and {self.called} answered" if self.called else ""


async def try_server(launch: Launch, era: Era, *, variables: Mapping[str, str], within: float) -> Tried:
    """Start `launch`, ask for its tools, call a free one, and let it go. Nothing is spent, and nothing kept is written.

    The call is for the whole server: what was written down at an earlier start could answer all the rest.

    Args:
        variables: The environment it gets; its state folder is a new one that is deleted afterwards.
        within: Seconds until it is given up.

    Raises:
        NoCommandError: It did not start, did not answer, or wrote something else than messages to stdout.
    """
    with (
        tempfile.TemporaryDirectory(prefix="kubeez-try-", ignore_cleanup_errors=True) as state_dir,
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors,
    ):
        strays: list[Exception] = []
        try:
            with anyio.fail_after(within):
                tried = await _ask(
                    launch, era, {**variables, "KUBEEZ_STATE_DIR": state_dir, TRIAL: "1"}, errors, strays
                )
        except TimeoutError:
            raise _did_not(launch, f"did not answer within {within:g} s", errors) from None
        except FileNotFoundError:
            raise _did_not(launch, "cannot be started: there is no such program", errors) from None
        except OSError as error:
            raise _did_not(launch, f"cannot be started: {error.strerror or error}", errors) from None
        except Exception as error:  # noqa: BLE001 - whatever a broken server makes the client raise is the finding
            cause = first_error_in(error) if isinstance(error, BaseExceptionGroup) else error
            if isinstance(cause, NoCommandError):
                raise cause from None
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
        seconds = time.perf_counter() - started
        tool = free_tool(listed.tools)
        if tool is not None:
            result = await client.call_tool(tool.name, {})
            if result.is_error and not _may_fail_elsewhere(tool):
                raise _did_not(launch, f"starts, but its tool {tool.name} fails", errors)
        return Tried(str(client.protocol_version), len(listed.tools), seconds, tool.name if tool else "")


def free_tool(tools: Iterable[Tool]) -> Tool | None:
    """One that only reads and needs no argument; rather one that asks nobody outside this machine."""
    free = [tool for tool in tools if tool.annotations and tool.annotations.read_only_hint]
    free = [tool for tool in free if not tool.input_schema.get("required")]
    return min(free, key=_may_fail_elsewhere, default=None)


def _may_fail_elsewhere(tool: Tool) -> bool:
    return tool.annotations is None or tool.annotations.open_world_hint is not False


def _did_not(launch: Launch, what: str, errors: Any) -> NoCommandError:
    errors.seek(0)
    words = masked(errors.read()).strip()[-_LAST_WORDS:]
    said = f" It said: {words}" if words else ""
    return NoCommandError(
        f"`{launch}` {what}.{said}", next_step="Run that command in a terminal, or name another with --command."
    )
