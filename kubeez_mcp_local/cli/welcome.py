"""What a person at a terminal is told who has typed no command: what this is, how it stands, what to type; and where a
newer version comes from, and how a shell completes what is typed."""

from __future__ import annotations

import shlex
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import get_completion_class

from kubeez_mcp_local import __version__
from kubeez_mcp_local.cli.clients.launch import Machine, Running
from kubeez_mcp_local.cli.terminal import results, table
from kubeez_mcp_local.environment import APP, COMPLETING
from kubeez_mcp_local.errors import KubeezError

if TYPE_CHECKING:
    from kubeez_mcp_local.cli.main import Options

_TO_TYPE = {
    "demo": "three pictures, free and without a key",
    "install": "adds it to your client: Claude Code, Cursor, VS Code, Codex …",
    "login": "keeps your API key; without one everything is a free rehearsal",
    "doctor": "what is wrong, and what to do about it",
    "--help": "everything else",
}
_PACKAGE = Path(__file__).parents[1]


def welcome(options: Options) -> None:
    """Say what this program is, how it stands, and what to type."""
    typed, console = Machine.this().typed, results()
    console.print(f"{APP} {__version__}: pictures, films, music and speech by Kubeez.", style="bold")
    console.print("An MCP server: your assistant's program starts it and talks to it. Type one of these:\n")
    rows = table("", "")
    rows.show_header = False
    for command, what in _TO_TYPE.items():
        rows.add_row(f"{typed} {command}", what)
    console.print(rows)
    console.print(f"\n{_how_it_stands(options)}")


def _how_it_stands(options: Options) -> str:
    try:
        settings = options.settings()
    except KubeezError as error:
        return f"Now: it cannot work. {error}"
    if settings.effective_mode.value == "sandbox":
        kept = "" if settings.api_key or settings.login else " (no key is kept)"
        return f"Now: sandbox, a free rehearsal{kept}."
    if not settings.rest_door:
        return "Now: live, by the hosted server; every price is asked about as the settings say."
    where = "the system's keyring" if settings.login else "the settings"
    return f"Now: live, with the key from {where}; every price is asked about as the settings say."


def newer_version() -> str:
    """How to get one, judged by how this one was installed; nobody is asked whether there is one."""
    return newer_from(Running.this())


def newer_from(running: Running, package: Path = _PACKAGE) -> str:
    """`newer_version` of an installation.

    Args:
        package: The code that runs.
    """
    source = running.source
    folder = Path(source) if source and Path(source).is_dir() else None
    pull = f"`git pull` in {folder}" if folder else ""
    if folder and folder / package.name == package:
        return f"Newer versions: {pull}."
    if (running.prefix / "uv-receipt.toml").is_file():
        command = f"uv tool install --force {folder}" if folder else f"uv tool upgrade {APP}"
    elif running.passing:
        command = f"uvx --refresh --from {source} {APP}" if source else f"uvx {APP}@latest"
    elif (running.prefix / "pipx_metadata.json").is_file():
        command = f"pipx install --force {folder}" if folder else f"pipx upgrade {APP}"
    else:
        command = f"{_pip(running)} install --upgrade {source or APP}"
    return f"Newer versions: {f'{pull}, then ' if pull else ''}`{command}`."


def with_video_from(running: Running) -> str:
    """The command that adds the extra `video` to an installation, from where that came."""
    source = running.source
    here = source is not None and Path(source).is_dir()
    wanted = f"{APP}[video]" if source is None else f"{source}[video]" if here else f"{APP}[video] @ {source}"
    if (running.prefix / "uv-receipt.toml").is_file():
        return f"uv tool install --force {shlex.quote(wanted)}"
    if running.passing:
        return f"uvx --from {shlex.quote(wanted)} {APP}"
    if (running.prefix / "pipx_metadata.json").is_file():
        return f"pipx install --force {shlex.quote(wanted)}"
    return f"{_pip(running)} install {shlex.quote(wanted)}"


def _pip(running: Running) -> str:
    return "uv pip" if _installer() == "uv" else f"{running.python} -m pip"


def _installer() -> str:
    try:
        return (distribution(APP).read_text("INSTALLER") or "").strip()
    except PackageNotFoundError:
        return ""


@click.command()
@click.pass_context
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(context: click.Context, shell: str) -> None:
    """Print what makes SHELL complete commands and options.

    \b
    bash   eval "$(kubeez-mcp-local completion bash)"   in ~/.bashrc
    zsh    eval "$(kubeez-mcp-local completion zsh)"    in ~/.zshrc, after compinit
    fish   kubeez-mcp-local completion fish > ~/.config/fish/completions/kubeez-mcp-local.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(context.find_root().command, {}, APP, COMPLETING).source())
