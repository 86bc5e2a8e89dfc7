"""`kubeez-mcp-local login` and `logout`: the API key, or the sign-in to the hosted server, kept once for every client,
and forgotten again; and what `doctor` looks at of the latter."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import anyio
import click
from pydantic import SecretStr

from kubeez_mcp_local.bridge.login import (
    Keyring,
    forget_key,
    keep_key,
    keep_sign_in,
    key_in,
    proven_by_history,
    sign_out,
)
from kubeez_mcp_local.cli.clients.installing import key_in_entry, look_everywhere
from kubeez_mcp_local.cli.clients.launch import Machine
from kubeez_mcp_local.cli.terminal import remarks, results
from kubeez_mcp_local.dotenv_file import decoded
from kubeez_mcp_local.environment import KEY, TOKEN, variables
from kubeez_mcp_local.errors import KubeezError, first_error_in
from kubeez_mcp_local.hosted.signing_in import PERSON_SECONDS, SigningIn, listening, pasted
from kubeez_mcp_local.hosted.tokens import LOGIN, GivenToken, Store, account_of, end_of
from kubeez_mcp_local.logs import configure_logging
from kubeez_mcp_local.rest.errors import KEYS_PAGE, MissingScopeError, UnauthorizedError
from kubeez_mcp_local.settings import (
    DOTENV,
    Mode,
    SettingsError,
    config_file,
    is_loopback,
    settings_given,
    settings_to_log_in_by,
    settings_to_sign_in_by,
)
from kubeez_mcp_local.text import spoken

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from kubeez_mcp_local.bridge.login import SignedIn
    from kubeez_mcp_local.cli.main import Options
    from kubeez_mcp_local.hosted.tokens import Kept
    from kubeez_mcp_local.settings import Settings

_PERSON_SECONDS = 60.0
"""How long a keyring may take while whoever ran the command sits before it and can unlock it."""
_LONGEST_INPUT = 1 << 16
_SECONDS, _CONNECT_SECONDS = 8.0, 5.0
Found = tuple[str, str, str]
"""How it is (`ok`, `warning`, `problem`), what was found, and what to do."""


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
        _sign_in(options, config, ring, in_file=in_file, opens=not no_browser)
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
        _sign_out(options, config, ring)
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
    where = "go to the hosted server" if _opens_the_hosted_door(options) else "are in the sandbox"
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


# The hosted server


def _sign_in(options: Options, config: Path, ring: Keyring, *, in_file: bool, opens: bool) -> None:
    """Sign in to the hosted server and keep that; raises as `keep_sign_in`."""
    settings = settings_to_sign_in_by(options.flags, env_file=options.env_file)
    url = settings.mcp_url
    earlier = partial(proven_by_history, settings)

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
                signing_in = SigningIn(url, place, show, PERSON_SECONDS)
                signed_in = await keep_sign_in(signing_in, config, keyring=ring, in_file=in_file, earlier=earlier)
                tasks.cancel_scope.cancel()
            return signed_in

    say = partial(remarks().print, soft_wrap=True)
    try:
        done = anyio.run(work)
    except BaseExceptionGroup as group:
        raise first_error_in(group) from None
    say = partial(results().print, soft_wrap=True)
    say(f"You are signed in to {url}{_for_what(done.kept)}. {_lasting(done.kept, time.time())}\n{done.where}")
    if settings.mode == "sandbox" and not is_loopback(url):
        say("KUBEEZ_MODE is sandbox: until you take that away, the hosted server is not used.")
    for place in _other_tokens(options):
        say(f"There is a token in {place}, too, and that one wins. Take it out to use this sign-in.")
    say("Restart the servers that run.")


def _for_what(kept: Kept) -> str:
    return f", with the scopes {', '.join(kept.scopes)}" if kept.scopes else ""


def _lasting(kept: Kept, now: float) -> str:
    """Until when a sign-in is good, in a sentence."""
    renewed = "it is refreshed by itself" if kept.refresh_token else "then sign in again: nothing came to refresh it by"
    if kept.expires_at is None:
        return f"The server does not say when the access token ends; {renewed}."
    ended = "ended" if kept.expires_at <= now else "ends"
    return f"The access token {ended} at {_moment(kept.expires_at)}; {renewed}."


def _moment(seconds: float) -> str:
    """A moment for people, in UTC."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def _sign_out(options: Options, config: Path, ring: Keyring) -> None:
    """End that sign-in, and say what could not be ended."""
    with remarks().status("Ending it; the system's keyring may ask you for its password …"):
        gone = anyio.run(lambda: sign_out(config, keyring=ring))
    say = partial(results().print, soft_wrap=True)
    if not gone.url:
        say("Nobody was signed in to the hosted server.")
    else:
        if gone.revoked:
            say(f"{gone.url} took back the {' and the '.join(gone.revoked)}.")
        if gone.left:
            end = f" An access token ends by itself at {_moment(gone.ends_at)}." if gone.ends_at else ""
            say(f"Not everything could be revoked: {gone.left}.{end}")
            say("To end it for good, remove this program from the connected apps in your Kubeez account.")
        say("The sign-in is forgotten here. Servers that run use the token they have until it is refused.")
    if gone.trouble:
        say(f"It may still be in the keyring: {gone.trouble} Nothing uses it any more.")
    for place in _other_tokens(options):
        say(f"There still is a token in {place}. To end it for good, revoke it in your Kubeez account.")


def _opens_the_hosted_door(options: Options) -> bool:
    """Whether a token or a sign-in is given somewhere."""
    try:
        given = settings_given(options.flags, env_file=options.env_file)
    except SettingsError:
        return False
    return any(one.name in ("mcp_token", "hosted_login") for one in given)


def _other_tokens(options: Options) -> Iterator[str]:
    """Where a token is, in words."""
    given = settings_given({}, env_file=options.env_file)
    yield from (f"{TOKEN} ({one.source})" for one in given if one.name == "mcp_token")


# What `doctor` looks at


async def look_at_door(settings: Settings) -> list[Found]:
    """Whether that door is open, by what, with which scopes and until when, and whether the server agrees. Nothing is
    refreshed, and nothing written."""
    door = settings.hosted_door
    if door is None:
        closed = settings.effective_mode is Mode.SANDBOX
        why = "not used in the sandbox" if closed and (settings.mcp_token or settings.hosted_login) else "not open"
        return [("ok", f"{why}; {LOGIN} opens it for what the API does not offer" if why == "not open" else why, "")]
    found: list[Found] = []
    try:
        with anyio.fail_after(3 * _SECONDS):
            async for one in _door(settings):
                found.append(one)  # noqa: PERF401 - what was found before a time-out is kept
    except TimeoutError:
        found.append(("problem", f"{settings.mcp_url} is too slow to be asked", "Try again later."))
    return found


async def _door(settings: Settings) -> AsyncIterator[Found]:
    url, now = settings.mcp_url, time.time()
    if settings.mcp_token:
        text = settings.mcp_token.get_secret_value()
        source, until = GivenToken(settings.mcp_token, url), end_of(text)
        known = f"{len(text)} characters, known here as {account_of(settings)}"
        ends = f"ends at {_moment(until)}" if until else "its end is not known here"
        told = f"{url} is open by the token in {TOKEN} ({known}); {ends}, nor are its scopes"
        if until and until <= now:
            yield (
                "problem",
                f"the token in {TOKEN} ended at {_moment(until)}",
                f"Put another one there, or take it out and run {LOGIN}.",
            )
            return
        yield "ok", told, ""
    else:
        assert settings.hosted_login is not None
        store = Store(Keyring())
        try:
            kept = await store.read(settings.hosted_login.account)
        except KubeezError as error:
            yield "problem", error.message, error.next_step
            return
        if kept is None:
            yield "problem", "the sign-in to the hosted server is not kept here any more", f"Run {LOGIN}."
            return
        where = str(store.file(kept.account)) if store.file(kept.account).exists() else "the system's keyring"
        yield "ok", f"{url} is open by your sign-in{_for_what(kept)}, kept in {where}. {_lasting(kept, now)}", ""
        if not kept.lasts(now):
            if kept.refresh_token is None:
                yield "problem", "the sign-in has ended, and nothing came to refresh it by", f"Run {LOGIN}."
            return
        source = _OneToken(SecretStr(kept.access_token), url)
    async for one in _asked(url, source):
        yield one


class _OneToken(GivenToken):
    """That of a sign-in, only tried."""

    async def refused(self, token: SecretStr) -> SecretStr:
        raise UnauthorizedError("the hosted server does not accept the token", next_step=f"Run {LOGIN}.")


async def _asked(url: str, source: GivenToken) -> AsyncIterator[Found]:
    from kubeez_mcp_local.hosted.client import HostedClient
    from kubeez_mcp_local.rest.client import Patience

    patience = Patience(attempts=1)
    async with HostedClient(url, source, patience=patience, answer_s=_SECONDS, connect_s=_CONNECT_SECONDS) as client:
        try:
            tools = await client.tools()
        except KubeezError as error:
            yield "problem", error.message, error.next_step
            return
        yield "ok", f"{url} answers and lists {len(tools)} tools", ""
        try:
            balance = await client.balance()
        except MissingScopeError:
            yield (
                "warning",
                "the token may not read the balance",
                "Sign in again, or make a token, with the scope read:balance.",
            )
        except KubeezError as error:
            yield "warning", error.message, error.next_step
        else:
            yield "ok", f"the token is accepted; {spoken(balance.credits)}", ""
