"""`kubeez-mcp-local login` and `logout`: the API key, or the sign-in to the hosted server, kept once for every client,
and forgotten again."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import anyio
import click

from kubeez_mcp_local.bridge.login import Keyring, forget_key, keep_key, keep_sign_in, key_in, sign_out
from kubeez_mcp_local.cli.clients.installing import key_in_entry, look_everywhere
from kubeez_mcp_local.cli.clients.launch import Machine
from kubeez_mcp_local.cli.terminal import remarks, results
from kubeez_mcp_local.dotenv_file import decoded
from kubeez_mcp_local.environment import KEY, TOKEN, variables
from kubeez_mcp_local.errors import first_error_in
from kubeez_mcp_local.hosted.signing_in import PERSON_SECONDS, SigningIn, listening, pasted
from kubeez_mcp_local.logs import configure_logging
from kubeez_mcp_local.rest.errors import KEYS_PAGE
from kubeez_mcp_local.settings import (
    DOTENV,
    config_file,
    is_loopback,
    settings_given,
    settings_to_log_in_by,
    settings_to_sign_in_by,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kubeez_mcp_local.bridge.login import SignedIn
    from kubeez_mcp_local.cli.main import Options
    from kubeez_mcp_local.hosted.tokens import Kept as KeptSignIn

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
    config = options.env_file or config_file()
    (_sign_in if hosted else _keep_key)(options, config, in_file, not no_browser)


def _keep_key(options: Options, config: Path, in_file: bool, _: bool) -> None:
    settings = settings_to_log_in_by(options.flags, env_file=options.env_file)
    key = asked_key("key")
    ring = Keyring(seconds=_PERSON_SECONDS)

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


def _sign_in(options: Options, config: Path, in_file: bool, opens: bool) -> None:
    settings = settings_to_sign_in_by(options.flags, env_file=options.env_file)
    ring, url = Keyring(seconds=_PERSON_SECONDS), settings.mcp_url

    async def work() -> SignedIn:
        async with listening() as place:

            async def show(address: str) -> None:
                say(f"To sign in to {url}, open this address in a browser:\n\n{address}\n")
                if opens:
                    await anyio.to_thread.run_sync(click.launch, address, abandon_on_cancel=True)
                else:
                    say("Where that browser is on another machine it ends at an address that it cannot open, with")
                    say(f"{place.address}? at its beginning: paste that address here.")
                    tasks.start_soon(pasted, place, lambda: say("That is not where this sign-in ends. Paste it whole:"))
                say(f"Waiting for {PERSON_SECONDS / 60:g} minutes at most …")

            async with anyio.create_task_group() as tasks:
                signing_in = SigningIn(url, place, show)
                signed_in = await keep_sign_in(signing_in, config, keyring=ring, in_file=in_file)
                tasks.cancel_scope.cancel()
            return signed_in

    say = partial(remarks().print, soft_wrap=True)
    try:
        done = anyio.run(work)
    except BaseExceptionGroup as group:
        raise first_error_in(group) from None
    say = partial(results().print, soft_wrap=True)
    say(f"You are signed in to {url}{_for_what(done.kept)}. {lasting(done.kept, time.time())}\n{done.where}")
    if settings.mode == "sandbox" and not is_loopback(url):
        say("KUBEEZ_MODE is sandbox: until you take that away, the hosted server is not used.")
    for place in _other_tokens(options):
        say(f"There is a token in {place}, too, and that one wins. Take it out to use this sign-in.")
    say("Restart the servers that run.")


def _for_what(kept: KeptSignIn) -> str:
    return f", with the scopes {', '.join(kept.scopes)}" if kept.scopes else ""


def lasting(kept: KeptSignIn, now: float) -> str:
    """Until when a sign-in is good, in a sentence."""
    renewed = "it is refreshed by itself" if kept.refresh_token else "then sign in again: nothing came to refresh it by"
    if kept.expires_at is None:
        return f"The server does not say when the access token ends; {renewed}."
    ended = "ended" if kept.expires_at <= now else "ends"
    return f"The access token {ended} at {moment(kept.expires_at)}; {renewed}."


def moment(seconds: float) -> str:
    """A moment for people, in UTC."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


@click.command()
@click.option("--hosted", is_flag=True, help="End the sign-in to the hosted MCP server instead.")
@click.pass_obj
def logout(options: Options, hosted: bool) -> None:
    """Forget the key that login keeps, in the keyring and in your own config file, and say where others are.

    With --hosted: have the hosted server take back the tokens of your sign-in, and forget them.
    """
    configure_logging("error")
    config = options.env_file or config_file()
    (_sign_out if hosted else _forget_key)(options, config)


def _forget_key(options: Options, config: Path) -> None:
    settings = settings_to_log_in_by(options.flags, env_file=options.env_file)
    with remarks().status("Forgetting it; the system's keyring may ask you for its password …"):
        gone = anyio.run(lambda: forget_key(settings, config, keyring=Keyring(seconds=_PERSON_SECONDS)))
    say = partial(results().print, soft_wrap=True)
    say(f"The key is out of {' and of '.join(gone.places)}." if gone.places else "No key was kept.")
    if gone.trouble:
        say(f"It may still be in the keyring: {gone.trouble} Nothing uses it any more.")
    others = list(_other_keys(options, config))
    for place in others:
        say(f"There still is a key in {place}.")
    rest = "" if others else "; those that start from now on are in the sandbox"
    say(f"Servers that run keep theirs until they end{rest}. To end a key for good, revoke it at {KEYS_PAGE}.")


def _sign_out(options: Options, config: Path) -> None:
    with remarks().status("Ending it; the system's keyring may ask you for its password …"):
        gone = anyio.run(lambda: sign_out(config, keyring=Keyring(seconds=_PERSON_SECONDS)))
    say = partial(results().print, soft_wrap=True)
    if not gone.url:
        say("Nobody was signed in to the hosted server.")
    else:
        if gone.revoked:
            say(f"{gone.url} took back the {' and the '.join(gone.revoked)}.")
        if gone.left:
            end = f" An access token ends by itself at {moment(gone.ends_at)}." if gone.ends_at else ""
            say(f"Not everything could be revoked: {gone.left}.{end}")
            say("To end it for good, remove this program from the connected apps in your Kubeez account.")
        say("The sign-in is forgotten here.")
    if gone.trouble:
        say(f"It may still be in the keyring: {gone.trouble} Nothing uses it any more.")
    for place in _other_tokens(options):
        say(f"There still is a token in {place}. To end it for good, revoke it in your Kubeez account.")


def asked_key(argument: str) -> str:
    """The key, typed without being shown, or from a pipe; raises as `key_in`."""
    if sys.stdin.isatty():
        remarks().print(f"Make or copy a key at {KEYS_PAGE}; what you type is not shown.")
        return key_in(str(click.prompt("Kubeez API key", hide_input=True, err=True)), argument)
    remarks().print("Reading the key from the input …")
    return key_in(decoded(sys.stdin.buffer.read(_LONGEST_INPUT), "replace"), argument)


def _other_tokens(options: Options) -> Iterator[str]:
    """Where a token is, in words."""
    given = settings_given({}, env_file=options.env_file)
    yield from (f"{TOKEN} ({one.source})" for one in given if one.name == "mcp_token")


def _other_keys(options: Options, config: Path) -> Iterator[str]:
    """Where else a key is, in words."""
    if variables().get(KEY):
        yield f"{KEY} in the environment"
    given = settings_given(environ={}, env_file=config if config.exists() else None)
    yield from (one.source for one in given if one.name == "api_key" and one.source == DOTENV)
    for one in look_everywhere(Machine.this()):
        if one.config is not None and key_in_entry(one.config):
            yield f"the entry of {one.client.title} ({one.path})"
