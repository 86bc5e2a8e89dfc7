"""The settings: where they come from, whether they can be used, and what they mean. Never a value of the key."""

from __future__ import annotations

import difflib
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from kubeez_mcp_local.cli.checks.finding import ok, problem, warning
from kubeez_mcp_local.settings import (
    DEFAULT_BASE_URL,
    Mode,
    Settings,
    SettingsError,
    config_file,
    environment,
    settings_given,
    variable,
)
from kubeez_mcp_local.text import spoken

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kubeez_mcp_local.cli.checks.finding import Finding
    from kubeez_mcp_local.cli.main import Options

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
    absent = "" if own.is_file() else f" (there is no {own})"
    yield ok("settings", told or f"none given: defaults{absent}")
    for place, names in (("the environment", list(environment())), (str(own), list(_lines_of(own)))):
        yield from _misspelt(place, names)
    local = Path.cwd() / ".env"
    ignored = [name for name in _lines_of(local) if name.startswith(_PREFIX) and name != variable("api_key")]
    if ignored:
        yield warning(
            "settings",
            f"{', '.join(ignored)} in {local} is ignored: a working folder may supply the key only",
            f"Put it into {own}.",
        )
    if variable("api_key") in _lines_of(own) and sys.platform != "win32" and stat.S_IMODE(own.stat().st_mode) & 0o077:
        yield warning("settings", f"others on this machine can read your key in {own}", f"Run: chmod 600 {own}")


def check_meaning(settings: Settings) -> Iterator[Finding]:
    """Key, mode and address as they will be used."""
    yield _key(settings)
    if settings.effective_mode is Mode.LIVE:
        asks = f"asks above {spoken(settings.asks_above)}"
        ceilings = f"at most {settings.max_credits_per_call:g} a call and {settings.max_credits_per_day:g} a day"
        yield ok("mode", f"live: jobs cost credits; {asks}, {ceilings}")
    else:
        where = settings.standalone_sandbox or "built in"
        yield ok("mode", f"sandbox ({where}): nothing costs anything, and pictures are marked")
    if settings.effective_mode is Mode.LIVE and settings.base_url != DEFAULT_BASE_URL:
        yield warning(
            "address",
            f"requests go to {settings.base_url}, not to {DEFAULT_BASE_URL}",
            f"Unless you mean it, remove {variable('base_url')}.",
        )
    else:
        yield ok("address", settings.base_url if settings.effective_mode is Mode.LIVE else "not used in the sandbox")


def _key(settings: Settings) -> Finding:
    from kubeez_mcp_local.jobs.account import fingerprint

    if settings.api_key is None:
        return ok("key", f"none: the sandbox. For real pictures make one at {_KEYS_PAGE}")
    value = settings.api_key.get_secret_value()
    shown = f"{len(value)} characters, known here as {fingerprint(value, settings.base_url)}"
    if not value.startswith("sk_live_"):
        return warning("key", f"it does not begin with sk_live_ ({shown})", f"Compare it with {_KEYS_PAGE}.")
    return ok("key", shown)


def _misspelt(place: str, names: list[str]) -> Iterator[Finding]:
    known = [variable(name) for name in Settings.model_fields]
    for name in names:
        if name.startswith(_PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            meant = f"Did you mean {near[0]}?" if near else "README lists the settings."
            yield warning("settings", f"{name} in {place} is no setting of this program", meant)


def _lines_of(path: Path) -> Mapping[str, object]:
    if not path.is_file():
        return {}
    from dotenv import dotenv_values

    try:
        return dotenv_values(path, interpolate=False, encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return {}  # whether it can be read at all is told where settings are loaded
