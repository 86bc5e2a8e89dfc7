"""The clients we know: where each keeps its config, in which language, and how our entry reads there.

Each row names its source, as of November 2026.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kubeez_mcp_local.cli.clients.formats import Json, Toml, Yaml

if TYPE_CHECKING:
    from collections.abc import Callable

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
        user_file: Its config for the user, on a machine; `None` where the application keeps it to itself.
        after: What the person has to do for the entry to take effect; without a file, where to paste it.
        path: Path of the key that holds all servers.
        project_file: Its config in a project, relative to the project's folder; empty where there is none.
        or_jsonc: Whether its config may be called `.jsonc` as well.
        programs: Names under which it can be found on the PATH.
        home: A folder that is there where the client is, if that of its config says nothing.
        aliases: What else people call it, beside `name` and `title`.
        variable: How a config refers to the key in the shell's environment; empty where that is not known.
        reference_field: The list of variables to pass on, where the config has one.
        reference: What `--key-reference` does there, in words; empty where no reference to a key is documented.
        command_is_list: Whether the command and its arguments are one list.
        extra: Further fields of the entry.
        limits: What the client cuts off, as far as that is known.
        source: What the row was taken from.
    """

    name: str
    title: str
    user_file: Callable[[Machine], Path] | None
    after: str
    source: str
    limits: str = ""
    path: str = "mcpServers"
    project_file: str = ""
    or_jsonc: bool = False
    programs: tuple[str, ...] = ()
    home: Callable[[Machine], Path] | None = None
    aliases: tuple[str, ...] = ()
    variable: str = ""
    reference: str = ""
    extra: tuple[tuple[str, Any], ...] = ()
    format: Format = _JSONC
    command_field: str = "command"
    variables_field: str = "env"
    reference_field: str = ""
    command_is_list: bool = False

    @property
    def scopes(self) -> tuple[Scope, ...]:
        return ("user", "project") if self.project_file else ("user",)

    def file(self, machine: Machine, scope: Scope) -> Path:
        """Its config in one scope, which need not exist; only for a client that has a file."""
        assert self.user_file is not None
        path = machine.project / self.project_file if scope == "project" else self.user_file(machine)
        other = path.with_suffix(".jsonc")
        return other if self.or_jsonc and other.is_file() and not path.is_file() else path

    def entry(self, launch: Launch, key: KeyIn = KeyIn.NOTHING, value: str = "") -> dict[str, Any]:
        words = [launch.command, *launch.args]
        command = {self.command_field: words} if self.command_is_list else self._command(launch)
        entry = {**dict(self.extra), **command}
        if key is KeyIn.VALUE:
            entry[self.variables_field] = {KEY: value}
        elif key is KeyIn.REFERENCE and self.reference_field:
            entry[self.reference_field] = [KEY]
        elif key is KeyIn.REFERENCE:
            entry[self.variables_field] = {KEY: self.variable}
        return entry

    def _command(self, launch: Launch) -> dict[str, Any]:
        return {self.command_field: launch.command, "args": list(launch.args)}

    def command_in(self, entry: dict[str, Any]) -> list[Any]:
        """The command of an entry, `None` where it has none, and its arguments, whatever they are."""
        command = entry.get(self.command_field)
        args = command if self.command_is_list else entry.get("args")
        return [*([] if self.command_is_list else [command]), *(args if isinstance(args, list) else [])]

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


def _cline(machine: Machine) -> Path:
    file = machine.folder("CLINE_MCP_SETTINGS_PATH", machine.home)
    if file != machine.home:
        return file
    data = machine.folder("CLINE_DATA_DIR", machine.folder("CLINE_DIR", machine.home / ".cline") / "data")
    return data / "settings" / "cline_mcp_settings.json"


def _continue(machine: Machine) -> Path:
    return machine.folder("CONTINUE_GLOBAL_DIR", machine.home / ".continue")


def _lm_studio(machine: Machine) -> Path:
    """It follows its own note of where it lives; older installations are in the cache folder."""
    note = machine.home / ".lmstudio-home-pointer"
    try:
        named = Path(note.read_text("utf-8").strip())
    except (OSError, ValueError):
        named = machine.home / ".cache" / "lm-studio"
    return named if named.is_absolute() and named.is_dir() else machine.home / ".lmstudio"


def _roo_code(machine: Machine) -> Path:
    return machine.applications / "Code" / "User" / "globalStorage" / "rooveterinaryinc.roo-cline"


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
        aliases=("code", "Visual Studio Code"),
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
        aliases=("ChatGPT",),
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
    Client(
        name="opencode",
        title="opencode",
        path="mcp",
        user_file=lambda machine: machine.config / "opencode" / "opencode.json",
        project_file="opencode.json",
        or_jsonc=True,
        programs=("opencode",),
        variable=f"{{env:{KEY}}}",
        reference="opencode fills in the key from your shell",
        after="Start opencode again; `opencode mcp list` lists the server.",
        source="opencode.ai/docs/mcp-servers and /docs/config; tried with 1.18.33",
        extra=(("type", "local"), ("timeout", 60_000)),
        variables_field="environment",
        command_is_list=True,
    ),
    Client(
        name="copilot-cli",
        title="Copilot CLI",
        aliases=("GitHub Copilot CLI",),
        user_file=lambda machine: machine.folder("COPILOT_HOME", machine.home / ".copilot") / "mcp-config.json",
        project_file=".github/mcp.json",
        programs=("copilot",),
        variable=f"${{{KEY}:-}}",
        reference="Copilot CLI fills in the key from your shell",
        after="Start Copilot CLI again; /mcp show lists the server.",
        source="docs.github.com, Copilot CLI; variables since 1.0.10: github/copilot-cli issue 903; tried with 1.0.102",
        extra=(("type", "local"), ("tools", ["*"])),
    ),
    Client(
        name="windsurf",
        title="Windsurf",
        aliases=("Cascade", "Codeium", "Devin"),
        user_file=lambda machine: machine.home / ".codeium" / "windsurf" / "mcp_config.json",
        programs=("windsurf",),
        variable=f"${{env:{KEY}}}",
        reference="Windsurf fills in the key from the environment it was started in",
        after="Press the refresh button of Cascade's MCP panel, or restart Windsurf.",
        source="docs.windsurf.com/windsurf/cascade/mcp; not tried",
        limits="Cascade takes at most 100 tools of all servers.",
    ),
    Client(
        name="cline",
        title="Cline",
        user_file=_cline,
        home=lambda machine: machine.home / ".cline",
        programs=("cline",),
        variable=f"${{env:{KEY}}}",
        after="Cline's MCP panel lists the server; its command line reads it at the next start.",
        source="cline/cline 21cb8d2; tried with the command line 3.0.65, which takes our entry out by itself",
        limits="A call ends after 60 s (`timeout`, in seconds).",
        extra=(("type", "stdio"),),
        format=Json(),
    ),
    Client(
        name="continue",
        title="Continue",
        user_file=lambda machine: _continue(machine) / "mcpServers" / f"{SERVER}.json",
        project_file=f".continue/mcpServers/{SERVER}.json",
        home=_continue,
        variable=f"${{{KEY}}}",
        after="Continue reads it at once; tools are offered in agent mode.",
        source="docs.continue.dev, MCP; for the user's folder continuedev/continue d0a3c0b; not tried",
        limits="A call ends after 60 s. A file of its own, which only the editor's extension reads, not `cn`.",
    ),
    Client(
        name="kiro",
        title="Kiro",
        user_file=lambda machine: machine.home / ".kiro" / "settings" / "mcp.json",
        project_file=".kiro/settings/mcp.json",
        home=lambda machine: machine.home / ".kiro",
        programs=("kiro", "kiro-cli"),
        variable=f"${{{KEY}}}",
        reference="Kiro fills in the key from its environment, perhaps after asking you to approve the variable",
        after="Kiro's MCP panel lists the server; restart Kiro if it does not.",
        source="kiro.dev/docs/mcp/configuration; not tried",
    ),
    Client(
        name="roo-code",
        title="Roo Code",
        user_file=lambda machine: _roo_code(machine) / "settings" / "mcp_settings.json",
        project_file=".roo/mcp.json",
        home=_roo_code,
        variable=f"${{env:{KEY}}}",
        after="Roo Code reads it at once; its MCP panel lists the server.",
        source="docs.roocode.com; for the user's file RooCodeInc/Roo-Code cb83656, in VS Code; not tried",
        limits="A call ends after 60 s (`timeout`, in seconds).",
        format=Json(),
    ),
    Client(
        name="amp",
        title="Amp",
        path="amp.mcpServers",
        user_file=lambda machine: machine.config / "amp" / "settings.json",
        project_file=".amp/settings.json",
        or_jsonc=True,
        programs=("amp",),
        after="Start Amp again. In a project, `amp mcp approve kubeez` allows it.",
        source="ampcode.com/manual; tried with 0.0.1790142911, whose own command writes the same",
    ),
    Client(
        name="warp",
        title="Warp",
        user_file=lambda machine: machine.home / ".warp" / ".mcp.json",
        project_file=".warp/.mcp.json",
        variable=f"${{{KEY}}}",
        reference="Warp fills in the key from its environment",
        after="Warp reads it at once; Settings › Agents › MCP servers lists it.",
        source="warpdotdev/warp 19548ae, its own skill add-mcp-server; not tried",
        format=Json(),
    ),
    Client(
        name="lm-studio",
        title="LM Studio",
        user_file=lambda machine: _lm_studio(machine) / "mcp.json",
        home=_lm_studio,
        programs=("lms",),
        after="Restart LM Studio; its Program tab lists the server.",
        source="lmstudio.ai/docs/app/mcp; for older places lmstudio-ai/lmstudio-bug-tracker issue 1371; not tried",
    ),
    Client(
        name="junie",
        title="JetBrains Junie",
        user_file=lambda machine: machine.home / ".junie" / "mcp" / "mcp.json",
        project_file=".junie/mcp/mcp.json",
        home=lambda machine: machine.home / ".junie",
        programs=("junie",),
        after="Settings › Tools › Junie › MCP Settings lists the server.",
        source="junie.jetbrains.com/docs, MCP configuration; JetBrains/kotlin-web-site pull request 4944; not tried",
    ),
    Client(
        name="jetbrains-ai",
        title="JetBrains AI Assistant",
        aliases=("IntelliJ", "PyCharm", "WebStorm", "PhpStorm"),
        user_file=None,
        home=lambda machine: machine.applications / "JetBrains",
        after="Paste it in Settings › Tools › AI Assistant › Model Context Protocol (MCP) › Add, as JSON.",
        source="jetbrains.com/help/ai-assistant/mcp.html; it keeps no file to edit; not tried",
    ),
)
CLIENTS = {client.name: client for client in _ALL}


def clients_meant(text: str) -> list[Client]:
    """The clients that somebody may mean who writes `text`: capitals, spaces and the rest of a name do not matter."""
    wanted = _plain(text)
    if not wanted:
        return []
    names = {client.name: [_plain(one) for one in (client.name, client.title, *client.aliases)] for client in _ALL}
    for fits in (str.__eq__, str.startswith, str.__contains__):
        found = [CLIENTS[name] for name, ways in names.items() if any(fits(way, wanted) for way in ways)]
        if found:
            return found
    return []


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
