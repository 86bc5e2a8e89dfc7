"""`kubeez-mcp-local install`: our entry in a client's config, and out again."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import click

from kubeez_mcp_local.cli.clients.installing import look_everywhere, plan_install, plan_removal, read
from kubeez_mcp_local.cli.clients.known import CLIENTS, SERVER, KeyIn, clients_meant
from kubeez_mcp_local.cli.clients.launch import (
    Machine,
    NoCommandError,
    Running,
    find_launch,
    split_command,
    try_server,
)
from kubeez_mcp_local.cli.terminal import can_ask, print_json, remarks, results, table
from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.settings import DOTENV, SettingsError, check_flags, config_file, settings_given
from kubeez_mcp_local.text import visible, without_keys

if TYPE_CHECKING:
    from kubeez_mcp_local.cli.clients.installing import Plan
    from kubeez_mcp_local.cli.clients.known import Client, Scope
    from kubeez_mcp_local.cli.clients.launch import Launch
    from kubeez_mcp_local.cli.main import Options

_PATIENCE = 90.0
"""Seconds a server may take to start the first time, when uvx still has to fetch it."""


@click.command()
@click.argument("client", required=False, shell_complete=lambda *given: _that_begin_with(given[-1]))
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
    scope: Scope,
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
    unless you ask for it: the server finds the one that login keeps, and without any it works in the sandbox.
    """
    machine = Machine.this()
    chosen = _the_one_meant(client) if client is not None else _chosen_from_list(machine, as_json=as_json)
    if chosen is None:
        return
    key = KeyIn.REFERENCE if key_reference else KeyIn.VALUE if with_key else KeyIn.NOTHING
    leaving = remove and "project" in chosen.scopes and chosen.file(machine, "project") != chosen.file(machine, "user")
    if scope == "project" and "project" in chosen.scopes and not (machine.in_checkout or leaving):
        raise InvalidArgumentError(
            "--scope",
            f"{machine.project} is in no git checkout, so there is no project to share a config with.",
            next_step="Go into the checkout, or leave --scope out: then every project has the server.",
        )
    _refuse_what_does_not_fit(chosen, scope, key, both=key_reference and with_key, only_print=only_print)
    if remove and chosen.user_file is None:
        raise InvalidArgumentError(
            "--remove",
            f"{chosen.title} keeps no file that can be edited.",
            next_step="Take it out where it was pasted.",
        )
    if only_print or chosen.user_file is None:
        _print(chosen, scope, key, _launch(options, scope, command, machine), machine)
        return
    config = read(chosen, scope, machine)
    if remove:
        _carry_out(plan_removal(config, force=force), "does not have it", "does not have it any more", dry_run=dry_run)
        return
    launch = _launch(options, scope, command, machine)
    plan = plan_install(config, launch, key=key, value=_asked_key() if key is KeyIn.VALUE else "", force=force)
    if plan.changes and not (no_check or dry_run):
        _check(launch, machine)
    if _carry_out(plan, "has it already", "has it now", dry_run=dry_run):
        if scope == "project" and not launch.shareable:
            results().print("The command is a path on this machine. For a file that others share: --command 'uvx …'.")
        results().print(f"Key: {_where_the_key_is(options, chosen, key)}")
        results().print(f"Next: {chosen.after} If something is wrong: {machine.typed} doctor.")


def _the_one_meant(text: str) -> Client:
    """The client that `text` names; asks which, where that can be several."""
    meant = clients_meant(text)
    if not meant:
        near = get_close_matches(text.lower(), CLIENTS, 1)
        raise InvalidArgumentError(
            "CLIENT",
            f"no client is called {without_keys(text)!r}.{f' Did you mean {near[0]}?' if near else ''}",
            next_step=f"Take one of: {', '.join(CLIENTS)}. Others take what `install cursor --print` shows.",
        )
    if len(meant) == 1:
        return meant[0]
    names = [client.name for client in meant]
    if not can_ask():
        raise InvalidArgumentError(
            "CLIENT", f"{text!r} can be {' or '.join(names)}.", next_step="Name one of them in full."
        )
    return CLIENTS[click.prompt("Which one", type=click.Choice(names), err=True)]


def _chosen_from_list(machine: Machine, *, as_json: bool) -> Client | None:
    """Show the clients; the one that a person at the terminal then names, if any."""
    _list(machine, as_json=as_json)
    if as_json or not can_ask():
        return None
    text = click.prompt("Which one (Enter for none)", default="", show_default=False, err=True)
    return _the_one_meant(text) if text.strip() else None


def _refuse_what_does_not_fit(client: Client, scope: Scope, key: KeyIn, *, both: bool, only_print: bool) -> None:
    if scope not in client.scopes:
        raise InvalidArgumentError("--scope", f"{client.title} has no config in a project; allowed: user.")
    if both:
        raise InvalidArgumentError("--with-key", "it cannot be together with --key-reference.")
    if key is KeyIn.REFERENCE and not client.reference:
        raise InvalidArgumentError(
            "--key-reference",
            f"{client.title} documents no way to refer to a key.",
            next_step="Leave it out and use `kubeez-mcp-local login`, or --with-key.",
        )
    if key is KeyIn.VALUE and scope == "project":
        raise InvalidArgumentError(
            "--with-key",
            "a project's config gets committed and shared; a key does not belong there.",
            next_step="Use --key-reference, or --scope user.",
        )
    if key is KeyIn.VALUE and (only_print or client.user_file is None):
        raise InvalidArgumentError("--with-key", "the entry would be printed, and the key with it.")


def _print(client: Client, scope: Scope, key: KeyIn, launch: Launch, machine: Machine) -> None:
    if client.user_file is None:
        remarks().print(f"{client.title} keeps no file that can be edited. {client.after}")
    else:
        remarks().print(f"For {client.title}, in {client.file(machine, scope)}:")
    print(client.format.snippet((client.path, SERVER), client.entry(launch, key)))
    question = client.asks(key)
    if question is not None:
        print(client.format.snippet(("inputs", 0), question))


def _carry_out(plan: Plan, same: str, done: str, *, dry_run: bool) -> bool:
    """Write what is planned, or show it; whether something was written."""
    client, path, console = plan.config.client.title, plan.config.path, results()
    if not plan.changes:
        console.print(f"{client} {same}: {path}")
        return False
    if dry_run:
        console.print(f"{path} would change like this:")
        print(visible(plan.diff()) or "(only in what is hidden here)\n", end="")
        return False
    backup = plan.write()
    console.print(f"{client} {done}: {path}")
    if backup:
        console.print(f"What was there before: {backup}")
    return True


def _launch(options: Options, scope: Scope, command: str | None, machine: Machine) -> Launch:
    check_flags(options.flags)
    if command is not None:
        launch = split_command(command, machine)
    else:
        launch = find_launch(Running.this(), machine, shared=scope == "project")
    return launch.plus(*options.as_arguments())


def _check(launch: Launch, machine: Machine) -> None:
    """Start the command once as clients do that pass few variables on, else as those that pass all on."""
    from rich.text import Text

    async def attempt() -> str:
        with remarks().status(Text(f"Starting `{launch}` once …")):
            try:
                tried = await try_server(launch, "legacy", variables={}, within=_PATIENCE)
            except NoCommandError:
                tried = await try_server(launch, "legacy", variables=machine.variables, within=_PATIENCE)
                return f"`{launch}` works, but only with the variables of this shell, which not every client passes on."
        return f"`{launch}` works: {tried.tools} tools after {tried.seconds:.1f} s{tried.proof}."

    try:
        remarks().print(anyio.run(attempt))
    except NoCommandError as error:
        raise NoCommandError(error.message, next_step=f"{error.next_step} --no-check writes it untried.") from None


def _asked_key() -> str:
    from kubeez_mcp_local.cli.login import asked_key

    return asked_key("--with-key")


def _that_begin_with(typed: str) -> list[str]:
    return [name for name in CLIENTS if name.startswith(typed)]


def _where_the_key_is(options: Options, client: Client, key: KeyIn) -> str:
    if key is KeyIn.REFERENCE:
        return f"{client.reference}."
    if key is KeyIn.VALUE:
        return "it is in that file, which only you can read."
    try:
        kept = {one.name for one in settings_given(environ={}, env_file=options.env_file) if one.source != DOTENV}
    except SettingsError:
        kept = set()
    if "api_key" in kept:
        return f"none in that file, and none needed: the server takes it from {options.env_file or config_file()}."
    if "login" in kept:
        return "none in that file, and none needed: the server takes it from the system's keyring."
    if kept & {"mcp_token", "hosted_login"}:
        return "none in that file, and none needed: everything goes to the hosted server, as your config file says."
    return f"none in that file. Run {Machine.this().typed} login; without it you are in the sandbox."


def _place(path: Path | None, machine: Machine) -> str:
    if path is None:
        return "–"
    return str(Path("~", path.relative_to(machine.home)) if path.is_relative_to(machine.home) else path)


def _list(machine: Machine, *, as_json: bool) -> None:
    found = sorted(look_everywhere(machine), key=lambda one: not one.here)
    if as_json:
        print_json([one.as_json() for one in found])
        return
    rows = table("client", "", "here", SERVER, "config")
    for one in found:
        here = "yes" if one.here else "–"
        rows.add_row(one.client.name, one.client.title, here, one.state, _place(one.path, machine))
    wanting = next((one.client.name for one in found if one.here and one.state == "–"), "CLIENT")
    results().print(rows)
    results().print(f"\nAdd it with: {machine.typed} install {wanting}")
