"""`kubeez-mcp-local login` and `logout`: the API key, or the sign-in to the hosted server, kept once for every client,
and forgotten again."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

import anyio
import click

from kubeez_mcp_local.bridge.login import Keyring, forget_key, keep_key, key_in
from kubeez_mcp_local.cli.clients.installing import key_in_entry, look_everywhere
from kubeez_mcp_local.cli.clients.launch import Machine
from kubeez_mcp_local.cli.hosted import log_in, log_out, opens_the_hosted_door
from kubeez_mcp_local.cli.terminal import remarks, results
from kubeez_mcp_local.dotenv_file import decoded
from kubeez_mcp_local.environment import KEY, variables
from kubeez_mcp_local.logs import configure_logging
from kubeez_mcp_local.rest.errors import KEYS_PAGE
from kubeez_mcp_local.settings import DOTENV, config_file, settings_given, settings_to_log_in_by

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kubeez_mcp_local.cli.main import Options

_PERSON_SECONDS = 60.0
"""How long a keyring may take while whoever ran the command sits before it and can unlock it."""
_LONGEST_INPUT = 1 << 16


@click.command()
@click.option("--file", "in_file", is_flag=True, help="Keep it in a file of your config folder, even with a keyring.")
@click.option("--hosted", is_flag=True, help="Sign in to Kubeez's hosted MCP server, in the browser.")
@click.option("--no-browser", is_flag=True, help="With --hosted: open none; the browser may be on another machine.")
@click.pass_obj
def login(options: Options, in_file: bool, hosted: bool, no_browser: bool) -> None:
    """Keep your API key for every client, so that no entry needs one.

    Asks for it without showing it, or reads it from a pipe; checks it with the API; and puts it into the system's
    keyring, or where there is none into your own config file, readable by you only.

    With --hosted it signs you in to the hosted MCP server instead, which carries what the API does not offer. Its
    tokens are kept in the same way and refreshed when they end; no browser is opened again.
    """
    configure_logging("error")
    if no_browser and not hosted:
        raise click.UsageError("--no-browser goes with --hosted.")
    config, ring = options.env_file or config_file(), Keyring(seconds=_PERSON_SECONDS)
    if hosted:
        log_in(options, config, ring, in_file=in_file, opens=not no_browser)
        return
    settings = settings_to_log_in_by(options.flags, env_file=options.env_file)
    key = asked_key("key")

    with remarks().status("Checking and keeping it; the system's keyring may ask you for its password …"):
        kept = anyio.run(lambda: keep_key(key, settings, config, keyring=ring, in_file=in_file))
    say = partial(results().print, soft_wrap=True)
    say(f"{kept.checked}\n{kept.where}")
    if settings.mode == "sandbox":
        say("KUBEEZ_MODE is sandbox: until you take that away, everything stays in the sandbox.")
    for place in _other_keys(options, config):
        if place != DOTENV:
            say(f"There is a key in {place}, too, and that one wins. Take it out to use this one.")
    say(f"No client's entry needs a key now. Restart the servers that run; {Machine.this().typed} install adds one.")


@click.command()
@click.option("--hosted", is_flag=True, help="End the sign-in to the hosted MCP server instead.")
@click.pass_obj
def logout(options: Options, hosted: bool) -> None:
    """Forget the key that login keeps, in the keyring and in your own config file, and say where others are.

    With --hosted: have the hosted server take back the tokens of your sign-in, and forget them.
    """
    configure_logging("error")
    config, ring = options.env_file or config_file(), Keyring(seconds=_PERSON_SECONDS)
    if hosted:
        log_out(options, config, ring)
        return
    settings = settings_to_log_in_by(options.flags, env_file=options.env_file)
    with remarks().status("Forgetting it; the system's keyring may ask you for its password …"):
        gone = anyio.run(lambda: forget_key(settings, config, keyring=ring))
    say = partial(results().print, soft_wrap=True)
    say(f"The key is out of {' and of '.join(gone.places)}." if gone.places else "No key was kept.")
    if gone.trouble:
        say(f"It may still be in the keyring: {gone.trouble} Nothing uses it any more.")
    others = list(_other_keys(options, config))
    for place in others:
        say(f"There still is a key in {place}.")
    where = "go to the hosted server" if opens_the_hosted_door(options) else "are in the sandbox"
    rest = "" if others else f"; those that start from now on {where}"
    say(f"Servers that run keep theirs until they end{rest}. To end a key for good, revoke it at {KEYS_PAGE}.")


def asked_key(argument: str) -> str:
    """The key, typed without being shown, or from a pipe; raises as `key_in`."""
    if sys.stdin.isatty():
        remarks().print(f"Make or copy a key at {KEYS_PAGE}; what you type is not shown.")
        return key_in(str(click.prompt("Kubeez API key", hide_input=True, err=True)), argument)
    remarks().print("Reading the key from the input …")
    return key_in(decoded(sys.stdin.buffer.read(_LONGEST_INPUT), "replace"), argument)


def _other_keys(options: Options, config: Path) -> Iterator[str]:
    """Where else a key is, in words."""
    if variables().get(KEY):
        yield f"{KEY} in the environment"
    given = settings_given(environ={}, env_file=config if config.exists() else None)
    yield from (one.source for one in given if one.name == "api_key" and one.source == DOTENV)
    for one in look_everywhere(Machine.this()):
        if one.config is not None and key_in_entry(one.config):
            yield f"the entry of {one.client.title} ({one.path})"
