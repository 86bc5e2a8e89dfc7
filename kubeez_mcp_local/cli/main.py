"""The command line: global options and one lazily imported module a command."""

from __future__ import annotations

import gc
import importlib
import io
import logging
import sys
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kubeez_mcp_local import __version__
from kubeez_mcp_local.environment import APP, Look
from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.front import greet, leave_on_signals
from kubeez_mcp_local.text import visible, without_keys

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from kubeez_mcp_local.front import Door
    from kubeez_mcp_local.settings import Settings

COMMANDS = {
    "serve": "Serve MCP over stdio (what an IDE starts; the default).",
    "demo": "Make three ad variants in the sandbox: pictures, a comparison sheet, a table of credits.",
    "install": "Add this server to a client; alone it lists the clients it knows.",
    "login": "Keep your API key in the system's keyring, once for every client; --hosted signs in.",
    "logout": "Forget that key, or with --hosted that sign-in, and say what else still supplies one.",
    "doctor": "Check what makes people fail: settings, key, network, folders, ledger, clients.",
    "jobs": "List, follow and settle the jobs this machine paid for.",
    "gallery": "Everything that was made, in the browser: look, search, compare, export.",
    "spend": "What was spent, by day, model, tool, recipe or person.",
    "team": "A ledger that a team shares: its ceiling, who may use it, moving there.",
    "recipes": "List, price, run, rehearse, check, write, export and share recipes.",
    "contract": "Every API route we use beside what the API publishes, and what differs.",
    "completion": "Print what makes bash, zsh or fish complete commands.",
    "sandbox": "Run the stand-in API by itself, or empty it.",
}

_ELSEWHERE = {"spend": "jobs", "demo": "sandbox", "logout": "login", "completion": "welcome"}
"""Commands that share the module of another."""
_PATHS = ("output_dir", "log_file")
_INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


@dataclass
class Options:
    """Global options, kept until a command needs the settings.

    Attributes:
        door: How the process was entered; `None` where the command line is used from within another program.
    """

    flags: dict[str, Any]
    env_file: Path | None
    door: Door | None = None

    def settings(self, **overrides: Any) -> Settings:
        """The settings with `overrides` on top of the command line's flags."""
        from kubeez_mcp_local.settings import load_settings

        return load_settings({**self.flags, **overrides}, env_file=self.env_file)

    def as_arguments(self) -> list[str]:
        """The same options as a command line has them, for whoever starts this program later."""
        given = [] if self.env_file is None else ["--env-file", str(self.env_file.absolute())]
        for name, value in self.flags.items():
            absolute = str(Path(value).expanduser().absolute()) if name in _PATHS else str(value)
            given += [f"--{name.replace('_', '-')}", *([] if value is True else [absolute])]
        return given


@click.command()
@click.pass_obj
def serve(options: Options) -> None:
    """Serve MCP over stdio until stdin closes. This is what an IDE starts."""
    gc.disable()  # importing allocates a lot that lives for ever; collecting meanwhile only costs start-up time
    leave_on_signals()  # until the server itself does it
    if options.door is None or options.door.handed is None:
        greet()

    from kubeez_mcp_local.settings import (
        NoKeyError,
        SettingsError,
        settings_files,
        settings_to_list_by,
        settings_to_log_in_by,
    )

    looked_at = Look.at(settings_files(options.env_file))
    trouble: SettingsError | None = None
    try:
        settings = options.settings()
    except SettingsError as error:
        # To end here would tell the user of a desktop client no more than "disconnected".
        trouble, settings = error, settings_to_list_by(options.flags, env_file=options.env_file)

    from kubeez_mcp_local.logs import configure_logging

    configure_logging(settings.log_level, settings.log_file)

    import anyio

    from kubeez_mcp_local.bridge import Bridge, UnusableBridge
    from kubeez_mcp_local.mcp_server import stdio
    from kubeez_mcp_local.mcp_server.server import KubeezServer
    from kubeez_mcp_local.mcp_server.snapshot import SnapshotWriter, still_true

    door = options.door
    handed = door.handed if door else None
    if handed is not None and trouble is None and not anyio.run(still_true, handed.snapshot, settings):
        handed.refuse()
    if trouble is not None:
        logging.getLogger(__name__).error("%s", visible(str(trouble)))
    bridge = Bridge(settings, config=options.env_file)
    if trouble is not None:
        lacks_key = isinstance(trouble, NoKeyError)
        log_in_by = settings_to_log_in_by(options.flags, env_file=options.env_file) if lacks_key else None
        bridge = UnusableBridge(trouble, settings, log_in_by=log_in_by, config=options.env_file)
    server = KubeezServer(bridge)
    gc.freeze()
    gc.enable()
    writer = None if door is None or trouble else SnapshotWriter(settings, server.changes, door, looked_at)
    anyio.run(stdio.serve, server, handed, writer)


class ExplainedError(click.ClickException):
    """An anticipated failure on the command line: its explanation on stderr, exit code 2."""

    exit_code = 2


def _module(name: str) -> Any:
    return importlib.import_module(f"kubeez_mcp_local.cli.{name}")


class _LazyCommands(click.Group):
    """Imports a command's module when it is used, so that `--help` is instant."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        if cmd_name == serve.name:
            return serve
        command = getattr(_module(_ELSEWHERE.get(cmd_name, cmd_name)), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = get_close_matches(args[0], COMMANDS, 1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise click.UsageError(f"{error.message}{hint}", ctx) from None

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        found = [CompletionItem(name, help=words) for name, words in COMMANDS.items() if name.startswith(incomplete)]
        return found + click.Command.shell_complete(self, ctx, incomplete)  # no command is imported for it

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def make_context(self, *arguments: Any, **settings: Any) -> click.Context:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                # A pipe on Windows knows 256 characters, and names of files may be no text; neither must crash.
                stream.reconfigure(errors="replace")
        try:
            return super().make_context(*arguments, **settings)
        except click.UsageError as error:
            raise _keyless(error) from None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            raise _keyless(error) from None
        except KubeezError as error:
            raise ExplainedError(visible(str(error))) from None
        except FileNotFoundError:
            from kubeez_mcp_local.settings import current_folder

            if current_folder() is not None:
                raise
            raise ExplainedError("The folder in which this was started is gone. Go to another one.") from None
        except (KeyboardInterrupt, click.Abort):
            click.echo(err=True)  # a prompt leaves the cursor behind its question
            raise click.exceptions.Exit(_INTERRUPTED) from None


def _keyless(error: click.UsageError) -> click.UsageError:
    """The error without a key that was typed in the wrong place; usage errors repeat what was typed."""
    return click.UsageError(without_keys(error.format_message()), error.ctx)


def _tell_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        click.echo(f"{APP} {__version__}\n{_module('welcome').newer_version()}")
        context.exit()


@click.group(cls=_LazyCommands, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_tell_version, help="Show it.")
@click.option("--env-file", type=click.Path(path_type=Path), help="Config file in dotenv form, instead of your own.")
@click.option("--mode", metavar="[auto|live|sandbox]", help="Where requests go.")
@click.option("--output-dir", help="Where outputs are saved.")
@click.option("--toolsets", help="Which tools exist: all, or a list such as core,audio.")
@click.option("--read-only", is_flag=True, default=None, help="Offer only tools that change and spend nothing.")
@click.option("--log-level", metavar="[debug|info|warning|error]", help="How much goes to stderr, and to the log file.")
@click.option("--log-file", help="A file that gets the log, too, with times and request numbers.")
@click.pass_context
def cli(ctx: click.Context, /, env_file: Path | None, **flags: Any) -> None:
    """Kubeez media generation as a local MCP server.

    Settings come from these options, KUBEEZ_* variables and your config file. Without a key everything runs in a
    built-in sandbox that costs nothing.
    """
    ctx.obj = Options({name: value for name, value in flags.items() if value is not None}, env_file, ctx.obj)
    if ctx.invoked_subcommand is None and sys.stdin.isatty():
        _module("welcome").welcome(ctx.obj)
    elif ctx.invoked_subcommand is None:
        ctx.invoke(_LazyCommands.get_command(cli, ctx, "serve"))  # type: ignore[arg-type]
