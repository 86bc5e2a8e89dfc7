"""`kubeez-mcp-local doctor`: what makes people fail, looked at in one go. Nothing is spent, and nothing is written."""

from __future__ import annotations

import difflib
import os
import platform
import shutil
import stat
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import anyio
import click

from kubeez_mcp_local import __version__
from kubeez_mcp_local.cli.clients.installing import flaws_of, look_everywhere
from kubeez_mcp_local.cli.clients.launch import Launch, NoCommandError, Running, find_launch, try_server
from kubeez_mcp_local.cli.login import look_at_door
from kubeez_mcp_local.cli.terminal import print_json, remarks, results, table
from kubeez_mcp_local.cli.welcome import with_video_from
from kubeez_mcp_local.environment import variables
from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.settings import (
    DEFAULT_BASE_URL,
    Mode,
    Settings,
    SettingsError,
    config_file,
    current_folder,
    is_loopback,
    is_too_wide,
    read_config,
    settings_given,
    variable,
    with_one_key,
)
from kubeez_mcp_local.text import spoken, without_keys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
    from pathlib import Path

    from kubeez_mcp_local.cli.clients.installing import Found
    from kubeez_mcp_local.cli.clients.launch import Era, Machine
    from kubeez_mcp_local.cli.main import Options
    from kubeez_mcp_local.jobs.team.postgres import Address, ServerFacts
    from kubeez_mcp_local.rest.client import RestClient


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"  # it works, but perhaps not as was meant
    PROBLEM = "problem"  # it keeps something from working


@dataclass(frozen=True)
class Finding:
    """What was looked at, how it is, and what to do about it; a key in the words is cut out."""

    level: Level
    check: str
    detail: str
    next_step: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "detail", without_keys(self.detail))
        object.__setattr__(self, "next_step", without_keys(self.next_step))


ok, warning, problem = (partial(Finding, level) for level in Level)
_PACKAGES = ("mcp", "httpx", "pydantic", "pillow")


def check_program() -> Iterator[Finding]:
    """Versions, and what is missing."""
    yield ok("program", f"kubeez-mcp-local {__version__}, Python {platform.python_version()} on {platform.platform()}")
    versions = {name: _version(name) for name in _PACKAGES}
    missing = [name for name, found in versions.items() if found is None]
    if missing:
        yield problem("packages", f"missing: {', '.join(missing)}", "Install kubeez-mcp-local again.")
    else:
        yield ok("packages", ", ".join(f"{name} {found}" for name, found in versions.items()))
    if find_spec("av"):
        yield ok("video", f"PyAV {_version('av') or 'found'}: exact trims, poster frames, lengths")
    else:
        yield ok("video", f"not installed; for trims and poster frames: {with_video_from(Running.this())}")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


_PREFIX = "KUBEEZ_"
_KEYS_PAGE = "https://kubeez.com/settings/api-keys"


def check_sources(options: Options) -> Iterator[Finding]:
    """Which settings are given, and where; which are written in vain."""
    own = options.env_file or config_file()
    try:
        given = settings_given(options.flags, env_file=options.env_file)
    except SettingsError as error:
        yield problem("settings", error.message, error.next_step)
        return
    places: dict[str, list[str]] = {}
    for one in given:
        source = f"the config file {own}" if one.source == "the config file" else one.source
        places.setdefault("the command line" if source.startswith("--") else source, []).append(variable(one.name))
    told = "; ".join(f"{', '.join(sorted(names))} from {place}" for place, names in places.items())
    used = with_one_key(given)
    for one in used:
        passed = {"api_key": ("login", "key"), "mcp_token": ("hosted_login", "token")}.get(one.name)
        if passed and passed[0] in {each.name for each in given} - {each.name for each in used}:
            how = "login" if one.name == "api_key" else "login --hosted"
            yield warning(passed[1], f"the one from {one.source} wins over the one that `{how}` keeps", "Take one out.")
    absent = "" if own.is_file() else f" (there is no {own})"
    yield ok("settings", told or f"none given: defaults{absent}")
    for place, names in (("the environment", list(variables())), (str(own), list(_lines_of(own)))):
        yield from _misspelt(place, names)
    local = (current_folder() or own.parent) / ".env"
    ignored = [name for name in _lines_of(local) if name.startswith(_PREFIX) and name != variable("api_key")]
    if ignored:
        why = f"{', '.join(ignored)} in {local} is ignored: a working folder may supply the key only"
        yield warning("settings", why, f"Put it into {own}.")
    for name, what in (("api_key", "key"), ("mcp_token", "token"), ("ledger", "ledger's password")):
        open_to_all = sys.platform != "win32" and own.is_file() and stat.S_IMODE(own.stat().st_mode) & 0o077
        if variable(name) in _lines_of(own) and open_to_all:
            yield warning("settings", f"others on this machine can read your {what} in {own}", f"Run: chmod 600 {own}")


async def with_key(settings: Settings) -> tuple[Settings, KubeezError | None]:
    """The settings with the key that `login` keeps, or why it cannot be had."""
    if settings.login is None or settings.effective_mode is not Mode.LIVE:
        return settings, None
    from kubeez_mcp_local.bridge.login import Keyring

    try:
        return settings.model_copy(update={"api_key": await Keyring().key_of(settings.login)}), None
    except KubeezError as error:
        return settings, error


def check_meaning(settings: Settings, trouble: KubeezError | None = None) -> Iterator[Finding]:
    """Key, mode and address as they will be used; `trouble` is why there is no key where there should be one."""
    yield _key(settings, trouble)
    live = settings.effective_mode is Mode.LIVE
    if live:
        asks = f"asks above {spoken(settings.asks_above)}"
        ceilings = f"at most {settings.max_credits_per_call:g} a call and {settings.max_credits_per_day:g} a day"
        yield ok("mode", f"live: jobs cost credits; {asks}, {ceilings}")
    else:
        where = settings.standalone_sandbox or "built in"
        yield ok("mode", f"sandbox ({where}): nothing costs anything, and pictures are marked")
    if live and settings.base_url != DEFAULT_BASE_URL:
        where = f"requests go to {settings.base_url}, not to {DEFAULT_BASE_URL}"
        yield warning("address", where, f"Unless you mean it, remove {variable('base_url')}.")
    else:
        used = settings.base_url if settings.rest_door else f"not used: {variable('mcp_url')} is {settings.mcp_url}"
        yield ok("address", used if live else "not used in the sandbox")


def _key(settings: Settings, trouble: KubeezError | None) -> Finding:
    from kubeez_mcp_local.jobs.job import fingerprint

    if not settings.rest_door:
        return ok("key", "none: everything goes to the hosted server")
    if settings.api_key is None and settings.login is None:
        return ok(
            "key", f"none: the sandbox. For real pictures make one at {_KEYS_PAGE}, and run `kubeez-mcp-local login`"
        )
    if settings.api_key is None and settings.effective_mode is Mode.SANDBOX:
        return ok("key", "kept by `login`, and not used in the sandbox")
    if settings.api_key is None:
        return problem("key", trouble.message, trouble.next_step) if trouble else ok("key", "in the system's keyring")
    value = settings.api_key.get_secret_value()
    where = "in the system's keyring, " if settings.login else ""
    shown = f"{where}{len(value)} characters, known here as {fingerprint(value, settings.base_url)}"
    if not value.startswith("sk_live_"):
        meant = f"Compare it with {_KEYS_PAGE}. A token of the hosted server belongs into {variable('mcp_token')}."
        return warning("key", f"it does not begin with sk_live_ ({shown})", meant)
    return ok("key", shown)


def _misspelt(place: str, names: list[str]) -> Iterator[Finding]:
    known = [variable(name) for name in Settings.model_fields]
    for name in names:
        if name.startswith(_PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            meant = f"Did you mean {near[0]}?" if near else "docs/settings.md lists them."
            yield warning("settings", f"{name} in {place} is no setting of this program", meant)


def _lines_of(path: Path) -> Mapping[str, object]:
    try:
        return read_config(path)
    except SettingsError:
        return {}  # whether it can be read at all is told where settings are loaded


_SECONDS = 8.0
_CONNECT_SECONDS = 5.0
_PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
_SANDBOX_KEY = "sk_live_sandbox"


async def check_api(settings: Settings) -> list[Finding]:
    """What the API says; in the built-in sandbox it is not asked."""
    if settings.effective_mode is Mode.SANDBOX and not settings.standalone_sandbox:
        return [ok("API", "not asked: the sandbox is built in and needs no network")]
    if not settings.rest_door:
        return [ok("API", "not asked: there is no key, and everything goes to the hosted server")]
    if settings.effective_mode is Mode.LIVE and settings.api_key is None:
        return [warning("API", "not asked, for want of the key")]
    from kubeez_mcp_local.rest.client import Patience, RestClient

    key = settings.api_key.get_secret_value() if settings.api_key else _SANDBOX_KEY
    once = Patience(attempts=1)
    found: list[Finding] = []
    async with RestClient(
        settings.base_url, key, patience=once, answer_s=_SECONDS, connect_s=_CONNECT_SECONDS
    ) as client:
        try:
            with anyio.fail_after(3 * _SECONDS):
                async for finding in _asked(client, settings):
                    found.append(finding)  # noqa: PERF401 - what was found before a time-out is kept
        except TimeoutError:
            found.append(problem("API", f"{settings.base_url} is too slow to be asked", "Try again later."))
    return found


async def _asked(client: RestClient, settings: Settings) -> AsyncIterator[Finding]:
    from kubeez_mcp_local.rest.errors import ApiError, MissingScopeError, UnauthorizedError, UnreachableError

    try:
        await client.health()
    except UnreachableError as error:
        yield problem("API", error.message, error.next_step)
        return
    except KubeezError as error:
        yield problem("API", error.message, error.next_step or "Look at https://kubeez.com, and try again later.")
        return
    yield ok("API", f"{settings.base_url} answers{_proxy(settings)}")
    try:
        balance = await client.balance()
    except UnauthorizedError as error:
        yield problem("account", "the API does not accept the key", error.next_step)
        return
    except MissingScopeError:
        yield warning("account", "the key may not read the balance", "Make a key with the scope read:balance.")
    except (ApiError, UnreachableError) as error:
        yield problem("account", error.message, error.next_step)
        return
    else:
        told = f"the key is accepted; {spoken(balance.credits)}"
        poor = balance.credits <= 0
        yield warning("account", told, "Credits: https://kubeez.com/billing") if poor else ok("account", told)
    try:
        await client.generations(limit=1)
    except MissingScopeError:
        told = "the key may not read the history, which settles jobs whose answer was lost"
        yield warning("scopes", told, "Make a key with the scope read:generations.")
    except KubeezError as error:
        yield warning("scopes", error.message, error.next_step)
    else:
        yield ok("scopes", "balance and history can be read; what it may make shows when it is tried")


def _proxy(settings: Settings) -> str:
    if is_loopback(settings.base_url):
        return ""
    name = next((name for name in _PROXIES if variables().get(name)), None)
    return f" (through the proxy in {name})" if name else ""


_TIGHT = 1_000_000_000
_FULL = 50_000_000
_OLD_SECONDS = 30 * 86_400
_CLOCKS_DIFFER = 5.0


def check_folders(settings: Settings) -> Iterator[Finding]:
    """Whether files can be saved, read and remembered."""
    yield _writable("outputs", settings.output_dir, "KUBEEZ_OUTPUT_DIR")
    yield _writable("state", settings.state_dir, "KUBEEZ_STATE_DIR")
    wrong = [str(one) for one in settings.input_dirs if not (one.is_dir() and os.access(one, os.R_OK | os.X_OK))]
    if wrong:
        told = f"no readable folder: {', '.join(wrong)}"
        yield warning("inputs", told, "Correct KUBEEZ_INPUT_DIRS, or make the folder.")
    else:
        yield ok("inputs", f"files may be read from {', '.join(map(str, settings.input_dirs)) or 'no folder'}")
    for told in wide_folders(settings):
        yield warning("inputs", told, "Name the folders that may be read in KUBEEZ_INPUT_DIRS.")


def wide_folders(settings: Settings, working_dir: Path | None = None) -> list[str]:
    """What `doctor` warns of about the folders that may be read, a sentence each."""
    working_dir = working_dir or current_folder()
    told = [
        f"{folder} is a drive, a system folder or above your home, and everything in it may be read"
        for folder in settings.input_dirs
        if is_too_wide(folder)
    ]
    if working_dir and is_too_wide(working_dir) and working_dir not in settings.input_dirs:
        what = "which is a drive, a system folder or above your home"
        told.append(f"started in {working_dir}, {what}, so its files may not be read")
    return told


def check_ledger(settings: Settings) -> Iterator[Finding]:
    """Whether the ledger can be read, and what in it waits for somebody."""
    from kubeez_mcp_local.jobs.database import inspect_ledger

    if settings.team_ledger:
        yield from _check_team_ledger(settings)
        return
    if settings.ledger is not None:
        step = "Give a key (KUBEEZ_API_KEY or `kubeez-mcp-local login`), or the KUBEEZ_BASE_URL of a `sandbox serve`."
        yield warning("ledger", "KUBEEZ_LEDGER is not used: the built-in sandbox keeps a ledger of its own", step)
    path = settings.state_dir / "ledger.db"
    try:
        facts = inspect_ledger(path)
    except KubeezError as error:
        yield problem("ledger", error.message.removesuffix(" Nothing was sent."), error.next_step)
        return
    except OSError as error:
        yield problem("ledger", f"{path} cannot be read: {error.strerror or error}", "Make it readable for yourself.")
        return
    if facts is None:
        yield ok("ledger", "none yet; the first job makes it")
        return
    going = f", {facts.unfinished} under way" if facts.unfinished else ""
    yield ok("ledger", f"{path}: version {facts.version}, jobs: {facts.jobs}{going}")
    if facts.unknown:
        told = f"jobs whose fate is unknown, perhaps paid: {facts.unknown}"
        yield warning("ledger", told, "Run: kubeez-mcp-local jobs reconcile")


def _check_team_ledger(settings: Settings) -> Iterator[Finding]:
    """Whether the team's database can be used from here, and what in it waits for somebody."""
    try:
        from kubeez_mcp_local.jobs.team.postgres import Address, inspect_server

        address = Address.of(settings.team_ledger)
        facts = inspect_server(address)
        later = _looked_again(address) if facts.beats else facts
    except KubeezError as error:
        yield problem("ledger", error.message.removesuffix(" Nothing was sent."), error.next_step)
        return
    told = f"{address} on Postgres {facts.server}"
    if facts.ledger is None:
        yield ok("ledger", f"{told}: no tables yet; the first job makes them")
    else:
        going = f", {facts.ledger.unfinished} under way" if facts.ledger.unfinished else ""
        ceiling = "may set" if facts.may_set_ceiling else "may not set"
        yield ok(
            "ledger",
            f"{told}: version {facts.ledger.version}, jobs: {facts.ledger.jobs}{going}; this role {ceiling} the team's "
            f"ceiling; you are {settings.who}",
        )
        if facts.read_only:
            step = "Name the server that others follow in KUBEEZ_LEDGER, or have who owns it allow writing."
            yield problem("ledger", "it can only be read here", step)
        elif not facts.may_write:
            yield problem(
                "ledger", "this role may not write there", "Have who owns it run: kubeez-mcp-local team allow ROLE."
            )
        if facts.ledger.unknown:
            waiting = f"jobs whose fate is unknown, perhaps paid: {facts.ledger.unknown}"
            yield warning("ledger", waiting, "Run: kubeez-mcp-local jobs reconcile")
        yield from _check_workers(address, facts, later)
    if not facts.encrypted and not address.is_loopback:
        yield warning("ledger", "the connection is not encrypted", "Add sslmode=require to KUBEEZ_LEDGER.")
    if abs(facts.clock_ahead) > _CLOCKS_DIFFER:
        words = f"its clock is {facts.clock_ahead:+.0f} s from this machine's"
        yield warning("ledger", words, "Set both clocks by the network's time; days and codes go by the server's.")


def _looked_again(address: Address) -> ServerFacts:
    """The facts once every living process must have beaten."""
    from kubeez_mcp_local.jobs.team.beats import Timing
    from kubeez_mcp_local.jobs.team.postgres import inspect_server

    time.sleep(Timing().beat * 3)
    return inspect_server(address)


def _check_workers(address: Address, facts: ServerFacts, later: ServerFacts) -> Iterator[Finding]:
    """Whether campaigns can be carried out, and who does."""
    if facts.shared:
        from kubeez_mcp_local.jobs.team.failures import NOT_SHARED

        yield warning("campaigns", "no worker can run through a pooler in transaction mode", NOT_SHARED)
    if facts.engine == "missing":
        yield ok("campaigns", f"{address.engine_schema} is not made yet; the owner's `team allow ROLE` makes it")
        return
    if facts.engine == "closed":
        told = f"this role may not use the engine's schema {address.engine_schema}, so no worker can run with it"
        yield warning("campaigns", told, "Have who owns it run: kubeez-mcp-local team allow ROLE.")
        return
    here = ", ".join(f"{host} ({count})" for host, count in Counter(later.beating(facts)).items())
    done = ", ".join(f"{host} ({count}, the last {ago / 60:.0f} min ago)" for host, (count, ago) in facts.hosts.items())
    yield ok(
        "campaigns",
        f"processes at work on the ledger now: {here or 'none'}; rows begun or ended in the last day: {done or 'none'}",
    )


async def check_catalogue(settings: Settings) -> Finding:
    """How old the models and prices are that are known without the network."""
    from kubeez_mcp_local.catalogue.listing import Catalogue
    from kubeez_mcp_local.jobs.job import account_of

    async def nothing() -> list[Any]:
        raise KubeezError("not asked")

    cache = settings.state_dir / "cache" / f"catalogue-{account_of(settings)}.json"
    listing = await Catalogue(nothing, cache).listing()
    known = f"{len(listing.models)} models"
    if listing.source == "snapshot":
        return ok("catalogue", f"{known} as shipped ({listing.as_of}); read anew when first needed")
    if listing.age_seconds > _OLD_SECONDS:
        days = listing.age_seconds / 86_400
        return warning("catalogue", f"{known}, read {days:.0f} days ago", "It is read anew when the API answers.")
    return ok("catalogue", f"{known}, read {listing.as_of}")


def check_recipes(settings: Settings) -> Iterator[Finding]:
    """Recipes that cannot be used, with file and line."""
    from kubeez_mcp_local.cookbook.library import Library

    index = Library.of(settings.recipes, settings.state_dir, own=settings.own_recipes).index()
    yield ok("recipes", f"{len(index.entries)} can be used")
    for folder in settings.recipes:
        if not folder.is_dir():
            yield warning("recipes", f"there is no folder {folder}", "Correct KUBEEZ_RECIPES, or make the folder.")
    for error in index.problems:
        yield warning("recipes", error.message, error.next_step or "Mend the file, or take it out of the folder.")


def _writable(check: str, folder: Path, setting: str) -> Finding:
    there = next(one for one in (folder, *folder.parents) if one.exists())
    if not there.is_dir():
        return problem(check, f"{there} is a file, not a folder", f"Move it away, or set {setting} to another folder.")
    if not os.access(there, os.W_OK | os.X_OK):
        return problem(check, f"{there} cannot be written", f"Make it writable, or set {setting} to another folder.")
    free = shutil.disk_usage(there).free
    told = f"{folder}{'' if there == folder else ' (will be made)'}, {free / 1e9:.1f} GB free"
    if free < _FULL:
        return problem(check, told, "Free some space: finished files could not be saved.")
    return warning(check, told, "Free some space before making videos.") if free < _TIGHT else ok(check, told)


_PATIENCE = 30.0
SLOW_SECONDS = 5.0
"""From the start to the list of tools, from which on clients may give up."""
_ERAS: tuple[Era, ...] = ("auto", "legacy")


def check_clients(machine: Machine) -> Iterator[Finding]:
    """Each client that is here: is our entry in its config, and does it point at something."""
    found = [one for one in look_everywhere(machine) if one.here or one.scope == "project"]
    for one in found:
        yield from _client(one, machine)
    if not found:
        yield ok("clients", f"none of those we know is here; `{machine.typed} install` lists them")


def _client(one: Found, machine: Machine) -> Iterator[Finding]:
    check = one.client.name if one.scope == "user" else f"{one.client.name} (project)"
    if one.error is not None:
        detail = f"{one.path}{f':{one.error.line}' if one.error.line else ''} cannot be parsed: {one.error.reason}"
        yield problem(check, detail, "Mend the file; the client ignores it or forgets its servers until then.")
    if one.state == "by hand":
        yield ok(check, f"its entry is pasted by hand; to see it: {machine.typed} install {one.client.name}")
    if one.config is None:
        return
    if one.state == "–":
        yield ok(check, f"without kubeez; add it: {machine.typed} install {one.client.name}")
        return
    flaws = list(flaws_of(one.config, machine))
    for flaw in flaws:
        told = f"{flaw.what} ({one.path})"
        yield (problem if flaw.serious else warning)(check, told, flaw.next_step)
    if one.state == "another":
        what = f"its kubeez entry does not start this program ({one.path})"
        yield warning(check, what, "Keep it, or: install --force")
    elif not flaws:
        yield ok(check, f"{one.path}")


async def check_start(machine: Machine, arguments: list[str], era: Era) -> Finding:
    """Start the server as a client does, in one protocol era, and count its tools."""
    try:
        launch = find_launch(Running.this(), machine)
    except NoCommandError:
        launch = Launch(sys.executable, ("-m", "kubeez_mcp_local"))
    check = "MCP" if era == "auto" else "MCP (older clients)"
    try:
        tried = await try_server(launch.plus(*arguments), era, variables=machine.variables, within=_PATIENCE)
    except NoCommandError as error:
        return problem(check, error.message, error.next_step)
    told = f"{tried.tools} tools over stdio after {tried.seconds:.1f} s ({tried.protocol}){tried.proof}"
    if tried.seconds > SLOW_SECONDS:
        return warning(check, told, "Some clients give up after 10 s: where uvx starts it, uv tool install is faster.")
    return ok(check, told)


_MARKS = {Level.OK: ("✓", "green"), Level.WARNING: ("!", "yellow"), Level.PROBLEM: ("✗", "red")}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.pass_context
def doctor(context: click.Context, as_json: bool) -> None:
    """Check what makes people fail: settings, key, network, folders, ledger, recipes, clients, and the server itself.

    Nothing is spent and nothing is written. Works without a key and offline. Exit code 1 when there is a problem.
    """
    from kubeez_mcp_local.logs import configure_logging

    configure_logging("error")
    with remarks().status("Looking …"):
        found = anyio.run(_examine, context.obj)
    worst = [one for one in found if one.level is Level.PROBLEM]
    if as_json:
        print_json({"ok": not worst, "findings": [asdict(one) for one in found]})
    else:
        _show(found)
    context.exit(1 if worst else 0)


async def _examine(options: Options) -> list[Finding]:
    from kubeez_mcp_local.cli.clients.launch import Machine
    from kubeez_mcp_local.settings import SettingsError

    machine = Machine.this()
    found = [*check_program(), *check_sources(options)]
    try:
        settings = options.settings()
    except SettingsError as error:
        if all(one.detail != error.message for one in found):
            found.append(problem("settings", error.message, error.next_step))
        found.append(
            warning("MCP", "not tried: with these settings it would list its tools and explain itself at every call")
        )
    else:
        found += await _examine_with(settings, options, machine)
    return [*found, *check_clients(machine)]


async def _examine_with(settings: Settings, options: Options, machine: Machine) -> list[Finding]:
    """What depends on the settings; the slow parts side by side."""
    settings, trouble = await with_key(settings)
    api: list[Finding] = []
    started: dict[Era, Finding] = {}

    async def ask() -> None:
        api.extend(await check_api(settings))
        api.extend(Finding(Level(level), "hosted server", *words) for level, *words in await look_at_door(settings))

    async def start(era: Era) -> None:
        started[era] = await check_start(machine, options.as_arguments(), era)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        for era in _ERAS:
            tasks.start_soon(start, era)
    here = [*check_folders(settings), *check_ledger(settings), await check_catalogue(settings)]
    return [*check_meaning(settings, trouble), *api, *here, *check_recipes(settings), *(started[era] for era in _ERAS)]


def _show(found: Sequence[Finding]) -> None:
    from rich.text import Text

    rows = table("", "check", "found")
    for one in found:
        mark, colour = _MARKS[one.level]
        told = Text(one.detail)
        if one.next_step and one.level is not Level.OK:
            told.append(f"\n→ {one.next_step}", "bold")
        rows.add_row(Text(mark, colour), one.check, told)
    console = results()
    console.print(rows)
    counts = {level: sum(one.level is level for one in found) for level in (Level.PROBLEM, Level.WARNING)}
    sums = [f"{count} {level}{'s' if count != 1 else ''}" for level, count in counts.items() if count]
    console.print(f"\n{' and '.join(sums)}." if sums else "\nEverything is as it should be.")
