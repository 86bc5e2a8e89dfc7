"""`kubeez-mcp-local install`: our entry in a client's config, and out again."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import click

from kubeez_mcp_local.cli.clients.known import CLIENTS, KEY, SERVER, KeyIn
from kubeez_mcp_local.cli.terminal import plain, print_json, remarks, results
from kubeez_mcp_local.errors import InvalidArgumentError

if TYPE_CHECKING:
    from kubeez_mcp_local.cli.clients.installing import Plan
    from kubeez_mcp_local.cli.clients.known import Client, Scope
    from kubeez_mcp_local.cli.clients.launch import Launch, Machine
    from kubeez_mcp_local.cli.main import Options

_PATIENCE = 90.0
"""Seconds a server may take to start the first time, when uvx still has to fetch it."""


@dataclass(frozen=True)
class _Wish:
    """What the command line asked for."""

    scope: Scope
    key: KeyIn
    command: str | None
    force: bool
    check: bool


@click.command()
@click.argument("client", required=False, type=click.Choice(list(CLIENTS)), metavar="[CLIENT]")
@click.option(
    "--scope", type=click.Choice(["user", "project"]), default="user", show_default=True, help="Whose config."
)
@click.option("--key-reference", is_flag=True, help="Refer to the key in the client's own way; it is not in the file.")
@click.option(
    "--with-key", is_flag=True, help="Ask for the key and write it into your own config, readable by you only."
)
@click.option("--command", help="The command to write, instead of the one that started this.")
@click.option("--print", "only_print", is_flag=True, help="Show the entry to paste; read and write nothing.")
@click.option("--dry-run", is_flag=True, help="Show what would change; write nothing.")
@click.option("--force", is_flag=True, help=f"Replace a different {SERVER} entry.")
@click.option("--remove", is_flag=True, help="Take our entry out again, and nothing else.")
@click.option("--no-check", is_flag=True, help="Do not start the command once before it is written.")
@click.option("--json", "as_json", is_flag=True, help="Without CLIENT: print the list as JSON.")
@click.pass_obj
def install(
    options: Options,
    client: str | None,
    scope: str,
    key_reference: bool,
    with_key: bool,
    command: str | None,
    only_print: bool,
    dry_run: bool,
    force: bool,
    remove: bool,
    no_check: bool,
    as_json: bool,
) -> None:
    """Add this server to a client's config. Without CLIENT: which clients are here, and which have it.

    Options before the word install, such as --mode sandbox or --read-only, become part of the entry. No key is written
    unless you ask for it: without one the server works in the sandbox, and finds the key in your own config file.
    """
    from kubeez_mcp_local.cli.clients.launch import Machine

    machine = Machine.this()
    if client is None:
        _list(machine, as_json=as_json)
        return
    key = KeyIn.REFERENCE if key_reference else KeyIn.VALUE if with_key else KeyIn.NOTHING
    wish = _Wish(cast("Scope", scope), key, command, force, check=not (no_check or dry_run))
    chosen = CLIENTS[client]
    _refuse_what_does_not_fit(chosen, wish, both=key_reference and with_key, only_print=only_print)
    if only_print:
        _print(options, chosen, wish, machine)
    elif remove:
        _remove(chosen, wish, machine, dry_run=dry_run)
    else:
        _install(options, chosen, wish, machine, dry_run=dry_run)


def _refuse_what_does_not_fit(client: Client, wish: _Wish, *, both: bool, only_print: bool) -> None:
    if wish.scope not in client.scopes:
        raise InvalidArgumentError("--scope", f"{client.title} has no config in a project; allowed: user.")
    if both:
        raise InvalidArgumentError("--with-key", "it cannot be together with --key-reference.")
    if wish.key is KeyIn.REFERENCE and not client.reference:
        raise InvalidArgumentError(
            "--key-reference",
            f"{client.title}'s config cannot refer to a key.",
            next_step=f"Leave it out and put {KEY} into your own config file, or use --with-key.",
        )
    if wish.key is KeyIn.VALUE and wish.scope == "project":
        raise InvalidArgumentError(
            "--with-key",
            "a project's config gets committed and shared; a key does not belong there.",
            next_step="Use --key-reference, or --scope user.",
        )
    if wish.key is KeyIn.VALUE and only_print:
        raise InvalidArgumentError("--with-key", "it cannot be together with --print, which would show the key.")


def _print(options: Options, client: Client, wish: _Wish, machine: Machine) -> None:
    entry = client.entry(_launch(options, wish, machine), wish.key)
    remarks().print(f"For {client.title}, in {client.file(machine, wish.scope)}:")
    print(client.format.snippet((client.path, SERVER), entry))
    question = client.asks(wish.key)
    if question is not None:
        print(client.format.snippet(("inputs", 0), question))


def _install(options: Options, client: Client, wish: _Wish, machine: Machine, *, dry_run: bool) -> None:
    from kubeez_mcp_local.cli.clients.installing import plan_install, read

    config = read(client, wish.scope, machine)
    launch = _launch(options, wish, machine)
    value = _asked_key() if wish.key is KeyIn.VALUE else ""
    plan = plan_install(config, launch, key=wish.key, value=value, force=wish.force)
    console = results()
    if not plan.changes:
        console.print(f"{client.title} has it already: {config.path}")
        return
    if dry_run:
        _show_diff(plan)
        return
    if wish.check:
        _check(launch, machine)
    backup = plan.write()
    console.print(f"{client.title} has it now: {config.path}")
    if backup:
        console.print(f"What was there before: {backup}")
    _say_more(options, client, wish, launch)


def _remove(client: Client, wish: _Wish, machine: Machine, *, dry_run: bool) -> None:
    from kubeez_mcp_local.cli.clients.installing import plan_removal, read

    plan = plan_removal(read(client, wish.scope, machine), force=wish.force)
    console = results()
    if not plan.changes:
        console.print(f"{client.title} does not have it: {plan.config.path}")
    elif dry_run:
        _show_diff(plan)
    else:
        backup = plan.write()
        console.print(f"{client.title} does not have it any more: {plan.config.path}")
        console.print(f"What was there before: {backup}")


def _launch(options: Options, wish: _Wish, machine: Machine) -> Launch:
    from kubeez_mcp_local.cli.clients.launch import Running, find_launch, split_command

    if wish.command is not None:
        launch = split_command(wish.command, machine)
    else:
        launch = find_launch(Running.this(), machine, shared=wish.scope == "project")
    return launch.plus(*options.as_arguments())


def _check(launch: Launch, machine: Machine) -> None:
    """Start the command once as clients do that pass few variables on, else as those that pass all on."""
    import anyio
    from rich.text import Text

    from kubeez_mcp_local.cli.clients.launch import NoCommandError, try_server

    async def attempt() -> str:
        with remarks().status(Text(f"Starting `{launch}` once …")):
            try:
                tried = await try_server(launch, "legacy", variables={}, within=_PATIENCE)
            except NoCommandError:
                tried = await try_server(launch, "legacy", variables=machine.variables, within=_PATIENCE)
                return f"`{launch}` works, but only with the variables of this shell, which not every client passes on."
        return f"`{launch}` works: {tried.tools} tools after {tried.seconds:.1f} s."

    try:
        remarks().print(anyio.run(attempt))
    except NoCommandError as error:
        raise NoCommandError(error.message, next_step=f"{error.next_step} --no-check writes it untried.") from None


def _asked_key() -> str:
    """The key, typed without being shown, or from a pipe."""
    person = sys.stdin.isatty()
    typed = click.prompt("Kubeez API key", hide_input=True, err=True) if person else sys.stdin.readline()
    value = str(typed).strip()
    if not value.startswith("sk_") or not value.isascii() or any(char.isspace() for char in value):
        raise InvalidArgumentError(
            "--with-key",
            "that is no Kubeez API key; they begin with sk_live_.",
            next_step="Create one at https://kubeez.com/settings/api-keys.",
        )
    return value


def _show_diff(plan: Plan) -> None:
    results().print(f"{plan.config.path} would change like this:")
    print(plain(plan.diff()) or "(only in what is hidden here)\n", end="")


def _say_more(options: Options, client: Client, wish: _Wish, launch: Launch) -> None:
    console = results()
    if wish.scope == "project" and not launch.shareable:
        console.print("The command is a path on this machine. For a file that others share: --command 'uvx …'.")
    console.print(f"Key: {_where_the_key_is(options, client, wish)}")
    console.print(f"Next: {client.after} If something is wrong: kubeez-mcp-local doctor.")


def _where_the_key_is(options: Options, client: Client, wish: _Wish) -> str:
    from kubeez_mcp_local.settings import SettingsError, config_file, settings_given

    if wish.key is KeyIn.REFERENCE:
        return f"{client.reference}."
    if wish.key is KeyIn.VALUE:
        return "it is in that file, which only you can read."
    own = options.env_file or config_file()
    try:
        given = settings_given(env_file=options.env_file)
    except SettingsError:
        given = []
    if any(one.name == "api_key" and one.source == "the config file" for one in given):
        return f"the server takes it from {own}."
    return f"none in that file. Put {KEY}=… into {own}; without it you are in the sandbox."


def _list(machine: Machine, *, as_json: bool) -> None:
    from kubeez_mcp_local.cli.clients.installing import look_everywhere

    found = look_everywhere(machine)
    if as_json:
        print_json([one.as_json() for one in found])
        return
    from rich.table import Table

    table = Table("client", "", "here", SERVER, "config", box=None, header_style="bold")
    table.columns[4].overflow = "fold"
    for one in found:
        table.add_row(one.client.name, one.client.title, "yes" if one.here else "–", one.state, str(one.path))
    console = results()
    console.print(table)
    console.print(f"\nAdd it with: {machine.typed} install {_example(found)}")


def _example(found: list[Any]) -> str:
    wanting = [one.client.name for one in found if one.here and one.state == "–"]
    return wanting[0] if wanting else "CLIENT"
