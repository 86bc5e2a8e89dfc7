"""The clients we know: where each keeps its config, in which language, and how our entry reads there.

Each row names its source, as of November 2026.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

from kubeez_mcp_local.cli.clients.formats import Json, Toml, Yaml

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from kubeez_mcp_local.cli.clients.formats import Format
    from kubeez_mcp_local.cli.clients.launch import Launch, Machine


SERVER = "kubeez"
KEY = "KUBEEZ_API_KEY"
INPUT = "kubeez-key"
_JSONC = Json(comments=True)
Scope = Literal["user", "project"]


class KeyIn(StrEnum):
    """How the key gets to the server."""

    NOTHING = "nothing"
    REFERENCE = "reference"
    VALUE = "value"


@dataclass(frozen=True)
class Client:
    """One client.

    Attributes:
        name: What `install` calls it.
        user_file: Its config for the user, on a machine.
        after: What the person has to do for the entry to take effect.
        path: Path of the key that holds all servers.
        project_file: Its config in a project, relative to the project's folder; empty where there is none.
        programs: Names under which it can be found on the PATH.
        variable: How a config refers to the key in the shell's environment; empty where it cannot.
        reference_field: The list of variables to pass on, where the config has one.
        reference: What `--key-reference` does there, in words; empty where nothing can be referred to.
        extra: Further fields of the entry.
        limits: What the client cuts off, as far as that is known.
        source: What the row was taken from.
    """

    name: str
    title: str
    user_file: Callable[[Machine], Path]
    after: str
    source: str
    limits: str = ""
    path: str = "mcpServers"
    project_file: str = ""
    programs: tuple[str, ...] = ()
    variable: str = ""
    reference: str = ""
    extra: tuple[tuple[str, Any], ...] = ()
    format: Format = _JSONC
    command_field: str = "command"
    variables_field: str = "env"
    reference_field: str = ""

    @property
    def scopes(self) -> tuple[Scope, ...]:
        return ("user", "project") if self.project_file else ("user",)

    def file(self, machine: Machine, scope: Scope) -> Path:
        return machine.project / self.project_file if scope == "project" else self.user_file(machine)

    def entry(self, launch: Launch, key: KeyIn = KeyIn.NOTHING, value: str = "") -> dict[str, Any]:
        entry = {**dict(self.extra), self.command_field: launch.command, "args": list(launch.args)}
        if key is KeyIn.VALUE:
            entry[self.variables_field] = {KEY: value}
        elif key is KeyIn.REFERENCE and self.reference_field:
            entry[self.reference_field] = [KEY]
        elif key is KeyIn.REFERENCE:
            entry[self.variables_field] = {KEY: self.variable}
        return entry

    def asks(self, key: KeyIn) -> dict[str, Any] | None:
        """The question that VS Code asks for the key, where the entry refers to its answer."""
        if self.name != "vscode" or key is not KeyIn.REFERENCE:
            return None
        return {"type": "promptString", "id": INPUT, "description": "Kubeez API key", "password": True}


def _claude_code(machine: Machine) -> Path:
    return machine.folder("CLAUDE_CONFIG_DIR", machine.home) / ".claude.json"


def _claude_desktop(machine: Machine) -> Path:
    name = "claude_desktop_config.json"
    if machine.platform == "win32":
        packages = sorted(machine.local.glob("Packages/Claude_*/LocalCache/Roaming/Claude"))
        if packages:  # the packaged application reads only what is inside its own container
            return next((folder for folder in packages if (folder / name).exists()), packages[0]) / name
    return machine.applications / "Claude" / name


def _goose(machine: Machine) -> Path:
    if machine.platform == "win32":
        return machine.roaming / "Block" / "goose" / "config" / "config.yaml"
    return machine.config / "goose" / "config.yaml"


def _zed(machine: Machine) -> Path:
    folder = machine.roaming / "Zed" if machine.platform == "win32" else machine.config / "zed"
    return folder / "settings.json"


_ALL = (
    Client(
        name="claude-code",
        title="Claude Code",
        user_file=_claude_code,
        project_file=".mcp.json",
        programs=("claude",),
        variable=f"${{{KEY}:-}}",
        reference="Claude Code fills in the key from your shell",
        after="Start Claude Code again; /mcp lists the server.",
        source="code.claude.com/docs/en/mcp; tried with 2.1.330",
        limits="A call of over 2 minutes goes on in the background; a result of over 25,000 tokens goes to a file.",
        extra=(("type", "stdio"),),
        format=Json(),
    ),
    Client(
        name="claude-desktop",
        title="Claude Desktop",
        user_file=_claude_desktop,
        after="Quit Claude Desktop entirely and start it again.",
        source="modelcontextprotocol.io; its Windows package: anthropics/claude-code issues 25579, 26073",
        limits="A call ends after 240 s, a result at about 150,000 characters.",
        format=Json(),
    ),
    Client(
        name="cursor",
        title="Cursor",
        user_file=lambda machine: machine.home / ".cursor" / "mcp.json",
        project_file=".cursor/mcp.json",
        programs=("cursor",),
        variable=f"${{env:{KEY}}}",
        reference="Cursor fills in the key from your shell",
        after="Restart Cursor; its settings list the server under MCP.",
        source="cursor.com/docs/mcp",
        limits="Names of server and tool together have at most 60 characters; ours fit.",
    ),
    Client(
        name="vscode",
        title="VS Code",
        path="servers",
        user_file=lambda machine: machine.applications / "Code" / "User" / "mcp.json",
        project_file=".vscode/mcp.json",
        programs=("code",),
        variable=f"${{input:{INPUT}}}",
        reference="VS Code asks for the key once and keeps it safe",
        after="Run “MCP: List Servers” in VS Code and start kubeez.",
        source="code.visualstudio.com, MCP configuration",
        limits="A request holds at most 128 tools of all servers.",
        extra=(("type", "stdio"),),
    ),
    Client(
        name="codex",
        title="Codex",
        path="mcp_servers",
        user_file=lambda machine: machine.folder("CODEX_HOME", machine.home / ".codex") / "config.toml",
        project_file=".codex/config.toml",
        programs=("codex",),
        reference="Codex forwards the key from your shell",
        after="Start Codex again; /mcp lists the server.",
        source="developers.openai.com/codex/mcp; tried with 0.169.0",
        limits="A call ends after 300 s (`tool_timeout_sec`), a result at 10,000 tokens.",
        format=Toml(),
        reference_field="env_vars",
    ),
    Client(
        name="gemini-cli",
        title="Gemini CLI",
        user_file=lambda machine: machine.home / ".gemini" / "settings.json",
        project_file=".gemini/settings.json",
        programs=("gemini",),
        variable=f"${KEY}",
        reference="Gemini CLI fills in the key from your shell, where it has to be set",
        after="Start Gemini CLI again; /mcp lists the server.",
        source="google-gemini/gemini-cli, docs/tools/mcp-server.md; tried with 0.61",
        limits="A call ends after 600 s; a result of over 40,000 characters goes to a file. In a project its folder "
        "has to be trusted.",
        extra=(("timeout", 600_000),),
    ),
    Client(
        name="zed",
        title="Zed",
        path="context_servers",
        user_file=_zed,
        programs=("zed", "zeditor"),
        after="Zed reads it at once; the agent panel's settings list the server.",
        source="zed.dev/docs/ai/mcp",
    ),
    Client(
        name="goose",
        title="Goose",
        path="extensions",
        user_file=_goose,
        programs=("goose",),
        reference="Goose takes the key from its keyring; `goose configure` puts it there",
        after="Start a new Goose session.",
        source="block/goose, documentation of its config files; 04ed836",
        limits="A call ends after 300 s; a result of over 200,000 characters goes to a file.",
        extra=(("enabled", True), ("type", "stdio"), ("name", SERVER), ("timeout", 300)),
        format=Yaml(),
        command_field="cmd",
        variables_field="envs",
        reference_field="env_keys",
    ),
)
CLIENTS = {client.name: client for client in _ALL}
