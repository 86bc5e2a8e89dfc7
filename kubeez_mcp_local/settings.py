"""Every setting, typed and documented in one place.

Sources, first match wins: command-line flags, the process environment, the user's own config file (the platform's
config folder, or `--env-file`). Key and tokens may also be in the system's keyring, which is not opened here: `login`
has left a mark in the config file. A `.env` in the working folder may supply `KUBEEZ_API_KEY` and nothing else: a
cloned repository must not be able to change an address, raise a limit or choose where files go.
"""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from kubeez_mcp_local import dotenv_file
from kubeez_mcp_local.addresses import DEFAULT_BASE_URL as DEFAULT_BASE_URL
from kubeez_mcp_local.addresses import DEFAULT_MCP_URL as DEFAULT_MCP_URL
from kubeez_mcp_local.addresses import Login as Login
from kubeez_mcp_local.addresses import SignIn as SignIn
from kubeez_mcp_local.addresses import clean_mcp_url, clean_origin, login_of, sign_in_of
from kubeez_mcp_local.addresses import is_loopback as is_loopback
from kubeez_mcp_local.disk import is_system_folder, is_windows_path
from kubeez_mcp_local.dotenv_file import SettingsError as SettingsError
from kubeez_mcp_local.dotenv_file import variable as variable
from kubeez_mcp_local.environment import APP, user_and_host, variables
from kubeez_mcp_local.text import hide, holds_key, holds_token

if TYPE_CHECKING:
    from collections.abc import Mapping


TOOLSETS = ("core", "planning", "media", "audio", "ads", "uploads", "library", "links", "recipes")


class Mode(StrEnum):
    """Where requests go: the real API, or the built-in stand-in that costs nothing."""

    LIVE = "live"
    SANDBOX = "sandbox"
    NONE = "none"
    """Nothing goes anywhere, because a setting cannot be used."""


class NoKeyError(SettingsError):
    """Live mode is wanted, and all that is missing is a key."""


def _split(value: object, separator: str) -> object:
    return [part for part in value.split(separator) if part.strip()] if isinstance(value, str) else value


def _lower(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


def _absolute(path: Path) -> Path:
    if os.name != "nt" and is_windows_path(str(path)):
        raise ValueError("is a Windows path, but this runs on another system; under WSL, C:\\ is /mnt/c/")
    try:
        expanded = path.expanduser()
    except RuntimeError:
        raise ValueError("names a home folder that does not exist") from None
    try:
        return Path(os.path.abspath(expanded))  # noqa: PTH100 - keeps symlinks; the path guard resolves them
    except FileNotFoundError:
        raise ValueError("starts from the working folder, which is gone; give the whole path") from None


def current_folder() -> Path | None:
    """The working folder; `None` where it has been deleted."""
    try:
        return Path.cwd()
    except OSError:
        return None


def _database(url: SecretStr | None) -> SecretStr | None:
    if url is None:
        return None
    try:
        parts = urlsplit(url.get_secret_value())
        usable = parts.scheme in ("postgresql", "postgres") and parts.path.strip("/") and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("is no address like postgresql://user:password@host/database")
    return url


def _known_toolsets(names: tuple[str, ...]) -> tuple[str, ...]:
    unknown = [name for name in names if name not in (*TOOLSETS, "all")]
    if unknown:
        raise ValueError(f"unknown toolset {', '.join(unknown)}; allowed: all, {', '.join(TOOLSETS)}")
    return names or ("all",)


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:
        raise SettingsError(
            "There is no home folder: HOME is not set.",
            next_step="Set it, or KUBEEZ_OUTPUT_DIR, KUBEEZ_STATE_DIR and KUBEEZ_INPUT_DIRS.",
        ) from None


def _default_state_dir() -> Path:
    import platformdirs

    _home()
    return platformdirs.user_state_path(APP, appauthor=False)


Folder = Annotated[Path, AfterValidator(_absolute)]
Folders = Annotated[tuple[Folder, ...], BeforeValidator(lambda value: _split(value, os.pathsep))]
Words = Annotated[
    tuple[Annotated[str, BeforeValidator(_lower)], ...], BeforeValidator(lambda value: _split(value, ","))
]
Credits = Annotated[float, Field(ge=0, le=1_000_000_000, allow_inf_nan=False)]
"""An amount; the bound leaves the ledger room to add thousands of them up."""


class Settings(BaseModel):
    """The bridge's settings. Each field is read from the environment variable `KUBEEZ_<FIELD>`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    api_key: SecretStr | None = Field(None, description="Your Kubeez API key (`sk_live_…`). Without one, the sandbox.")
    login: Annotated[Login | None, BeforeValidator(login_of)] = Field(
        None, description="Written by `login`: the account whose key is in the system's keyring. No secret."
    )
    mcp_token: SecretStr | None = Field(
        None,
        description="A personal access token for Kubeez's hosted MCP server, instead of `login --hosted`. That it "
        "takes one is assumed.",
    )
    hosted_login: Annotated[SignIn | None, BeforeValidator(sign_in_of)] = Field(
        None, description="Written by `login --hosted`: the account that signed in to the hosted server. No secret."
    )
    mode: Annotated[Literal["auto", "live", "sandbox"], BeforeValidator(_lower)] = Field(
        "auto",
        description="`live`, `sandbox`, or `auto`: live when there is a key, a token or a sign-in, else the sandbox.",
    )
    base_url: Annotated[str, AfterValidator(clean_origin)] = Field(
        DEFAULT_BASE_URL,
        description="API origin: https, or loopback. In sandbox mode a loopback origin names a standalone sandbox.",
    )
    mcp_url: Annotated[str, AfterValidator(clean_mcp_url)] = Field(
        DEFAULT_MCP_URL,
        description="The hosted MCP server: https, or loopback. In sandbox mode only one on loopback is used.",
    )
    prefer: Annotated[Literal["rest", "hosted"], BeforeValidator(_lower)] = Field(
        "rest", description="Which door takes a job that both could take: the API by key, or the hosted server."
    )
    hosted_tools: Annotated[Literal["none", "all"], BeforeValidator(_lower)] = Field(
        "none", description="`all`: two more tools reach any tool of the hosted server, and always ask first."
    )
    output_dir: Folder = Field(
        default_factory=lambda: _home() / "Kubeez", description="Where outputs and their sidecars are saved."
    )
    save_sidecars: bool = Field(True, description="Write a JSON file beside each output: prompt, model, credits, ids.")
    sheets: bool = Field(True, description="Draw a comparison sheet of each call and run that makes several pictures.")
    input_dirs: Folders = Field(
        (),
        description="What may be read and uploaded; default: home and the working folder, hidden folders excluded, "
        "and neither where it is a drive, a system folder or above your home.",
    )
    max_credits_per_call: Credits = Field(
        500, description="Ceiling for one call, in credits. No tool argument can raise it."
    )
    max_credits_per_run: Credits | None = Field(
        None,
        description="Ceiling for one run of a recipe, in credits, resumed parts included. No argument can raise it. "
        "Default: the ceiling for one call.",
    )
    max_credits_per_day: Credits = Field(
        2000, description="Ceiling for one UTC day, in credits, over all processes; in a team, of each person."
    )
    ask_above: Credits | None = Field(
        None, description="Quotes above this many credits need your yes. Default: 0 in live mode, never in the sandbox."
    )
    inline: Annotated[Literal["none", "preview", "full"], BeforeValidator(_lower)] = Field(
        "none",
        description="Finished pictures in the conversation itself, beside the text of results: `none`, small ones "
        "(`preview`), or the files as they are (`full`), where they fit.",
    )
    inline_kilobytes: Annotated[int, Field(ge=20, le=3500)] = Field(
        200, description="At most so many kilobytes of such pictures in one result, 20 to 3500; each costs context."
    )
    toolsets: Annotated[Words, AfterValidator(_known_toolsets)] = Field(
        ("all",), description=f"Which tools exist: `all`, or some of {', '.join(TOOLSETS)}."
    )
    read_only: bool = Field(False, description="Offer only tools that change and spend nothing.")
    recipes: Folders = Field(
        (), description="Extra recipe folders; later ones win over earlier ones, your `~/Kubeez/recipes` and the pack."
    )
    state_dir: Folder = Field(default_factory=_default_state_dir, description="Ledger, caches and the sandbox's state.")
    ledger: Annotated[SecretStr | None, AfterValidator(_database)] = Field(
        None,
        description="A team's ledger, shared by all who use the key: `postgresql://user:password@host/database`. "
        "A secret. Default: a file in `KUBEEZ_STATE_DIR`. The built-in sandbox always has a file.",
    )
    person: str = Field("", description="Whose work this is in the ledger. Default: user@host.")
    sandbox_speed: Annotated[float, Field(gt=0, le=100_000, allow_inf_nan=False)] = Field(
        30, description="How many times faster than life the sandbox runs."
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = Field(
        "warning", description="How much goes to stderr, and to the log file."
    )
    log_file: Folder | None = Field(
        None, description="A file that gets the log, too, with times and the number of the request each line is about."
    )

    @property
    def effective_mode(self) -> Mode:
        """`mode` with `auto` decided."""
        if self.mode == "auto":
            given = self.api_key or self.login or self.mcp_token or self.hosted_login
            return Mode.LIVE if given else Mode.SANDBOX
        return Mode(self.mode)

    @property
    def rest_door(self) -> bool:
        """Whether anything goes to the REST API: there is a key for it, or it is a sandbox."""
        return self.effective_mode is Mode.SANDBOX or bool(self.api_key or self.login)

    @property
    def hosted_door(self) -> Literal["token", "sign-in"] | None:
        """What opens the hosted server's door; `None` where it is closed.

        In sandbox mode only a stand-in on this machine is used, and a sign-in opens no server but its own.
        """
        if self.effective_mode is Mode.SANDBOX and not is_loopback(self.mcp_url):
            return None
        if self.mcp_token:
            return "token"
        return "sign-in" if self.hosted_login and self.hosted_login.url == self.mcp_url else None

    @property
    def asks_above(self) -> float:
        """Quotes above this many credits need consent; infinite where nobody is asked."""
        if self.ask_above is not None:
            return self.ask_above
        return 0.0 if self.effective_mode is Mode.LIVE else float("inf")

    @property
    def run_ceiling(self) -> float:
        """What one run of a recipe may cost, resumed parts included, in credits: it counts as one call."""
        return self.max_credits_per_call if self.max_credits_per_run is None else self.max_credits_per_run

    @property
    def own_recipes(self) -> Path:
        """Folder of the user's own recipes, searched after the pack and before `recipes`; need not exist."""
        return self.output_dir / "recipes"

    @property
    def team_ledger(self) -> str:
        """URL of the team's ledger where it counts; empty where a file does."""
        shared = self.effective_mode is Mode.LIVE or self.standalone_sandbox
        return self.ledger.get_secret_value() if self.ledger and shared else ""

    @property
    def who(self) -> str:
        """Whose work this is, such as `ana@desk`."""
        return self.person or user_and_host()

    @property
    def standalone_sandbox(self) -> str | None:
        """Origin of a sandbox that runs by itself, when sandbox mode was pointed at one."""
        return self.base_url if self.effective_mode is Mode.SANDBOX and is_loopback(self.base_url) else None


def config_file() -> Path:
    """The user's own config file, in the platform's config folder."""
    import platformdirs

    return platformdirs.user_config_path(APP, appauthor=False) / "config.env"


def settings_files(env_file: Path | None = None, working_dir: Path | None = None) -> list[Path]:
    """The files that settings are read from, there or not; arguments as for `load_settings`."""
    here = working_dir or current_folder()
    return [env_file or config_file(), *([here / ".env"] if here else [])]


DOTENV = ".env in the working folder"


@dataclass(frozen=True)
class Given:
    """One setting that somebody gave, unchecked. `source` says where, in words; the value may be the key."""

    name: str
    source: str
    value: Any = field(repr=False)


def _given_by_flags(flags: Mapping[str, Any]) -> list[Given]:
    return [Given(name, f"--{name.replace('_', '-')}", value) for name, value in flags.items()]


def check_flags(flags: Mapping[str, Any]) -> None:
    """Raise a `SettingsError` for what no server could use, whatever its other sources say."""
    _checked(_given_by_flags(flags))


def settings_given(
    flags: Mapping[str, Any] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    env_file: Path | None = None,
    working_dir: Path | None = None,
) -> list[Given]:
    """Every setting that is given somewhere, from the source that wins; arguments as for `load_settings`.

    Raises:
        SettingsError: A file is missing or cannot be read.
    """
    environ = variables() if environ is None else environ
    working_dir = working_dir or current_folder()
    if env_file is not None and not os.path.lexists(env_file):
        raise SettingsError(f"--env-file: there is no file {env_file}.", next_step="Check the path.")
    key = variable("api_key")
    sources = {
        "the environment": environ,
        "the config file": read_config(env_file or config_file()),
    }
    given = _given_by_flags(flags or {})
    for source, values in sources.items():
        given += [Given(name, source, values.get(variable(name))) for name in Settings.model_fields]
    found = _nearest(given)
    try:
        dotenv = dotenv_file.variables_in(working_dir / ".env") if working_dir else {}
    except SettingsError:
        if not found.keys() & {"api_key", "login"}:
            raise
        dotenv = {}
    return list(_nearest([*found.values(), Given("api_key", DOTENV, dotenv.get(key))]).values())


def _nearest(given: list[Given]) -> dict[str, Given]:
    """By its name the first of each setting that has a value."""
    found: dict[str, Given] = {}
    for one in given:
        bare = replace(one, value=_unwrapped(one.name, one.value))
        if bare.value not in (None, ""):
            found.setdefault(bare.name, bare)
    return found


def _unwrapped(name: str, value: Any) -> Any:
    """A text without what a launcher left around it: quotes, as `docker --env-file` does, and the variable's name."""
    if not isinstance(value, str):
        return value
    bare = re.sub(rf"^\s*(?:export\s+)?{variable(name)}\s*=", "", value, flags=re.IGNORECASE).strip()
    quoted = len(bare) > 1 and bare[0] == bare[-1] and bare[0] in "\"'"
    return bare[1:-1].strip() if quoted else bare


def load_settings(
    flags: Mapping[str, Any] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    env_file: Path | None = None,
    working_dir: Path | None = None,
) -> Settings:
    """Collect the settings from their sources.

    Args:
        flags: Values given on the command line, by field name; `None` values count as not given.
        environ: The process environment; default that of this process.
        env_file: The user's config file in dotenv form; default `config_file()` if it exists.
        working_dir: Folder whose `.env` may supply the key; default the current folder.

    Raises:
        SettingsError: A value cannot be used, a template was left unfilled, or the file is missing.
    """
    working_dir = working_dir or current_folder()
    given = with_one_key(settings_given(flags, environ=environ, env_file=env_file, working_dir=working_dir))
    return _completed(_checked(given), working_dir)


def _checked(given: list[Given]) -> Settings:
    try:
        return Settings(**{one.name: _filled_in(one) for one in given})
    except ValidationError as error:
        raise _explain(error, {one.name: one.source for one in given}) from None


def with_one_key(given: list[Given]) -> list[Given]:
    """`given`, without the key in `.env` where there was a login, or without the login where there is a nearer key;
    and without the sign-in to the hosted server where there is a token."""
    there = {one.name: one for one in given}
    unused = set()
    if there.keys() >= {"api_key", "login"}:
        unused.add("api_key" if there["api_key"].source == DOTENV else "login")
    if there.keys() >= {"mcp_token", "hosted_login"}:
        unused.add("hosted_login")
    return [one for one in given if one.name not in unused]


def settings_to_list_by(flags: Mapping[str, Any] | None = None, *, env_file: Path | None = None) -> Settings:
    """What a server goes by that only explains why its settings cannot be used: the tools that are wanted, and the log.

    Everything else is at its default, which nothing may be carried out by; its folders are nowhere.
    """
    try:
        given = settings_given(flags, env_file=env_file)
    except SettingsError:
        given = _given_by_flags(flags or {})
    nowhere = Path(os.devnull) / "nowhere"
    good: dict[str, Any] = {"output_dir": nowhere, "state_dir": nowhere}
    for one in given:
        if one.name in ("toolsets", "read_only", "log_level", "log_file"):
            with contextlib.suppress(SettingsError, ValidationError):
                Settings(**good, **{one.name: (value := _filled_in(one))})
                good[one.name] = value
    return Settings(**good)


def settings_to_log_in_by(flags: Mapping[str, Any] | None = None, *, env_file: Path | None = None) -> Settings:
    """Where requests go, whatever key there is: what else is set may be wrong, or wait for a key.

    Raises:
        SettingsError: They cannot go there, or not with a key.
    """
    given = settings_given(flags, env_file=env_file)
    settings = _checked([one for one in given if one.name in ("mode", "base_url")])
    _refuse_to_send_it_in_the_clear(settings)
    return settings


def settings_to_sign_in_by(flags: Mapping[str, Any] | None = None, *, env_file: Path | None = None) -> Settings:
    """As `settings_to_log_in_by`, for the hosted server; and where the ledger is, which may know whose sign-in it is.

    Raises:
        SettingsError: They cannot be used.
    """
    given = settings_given(flags, env_file=env_file)
    needed = ("mode", "mcp_url", "base_url", "state_dir", "ledger", "person")
    return _checked([one for one in given if one.name in needed])


def _refuse_to_send_it_in_the_clear(settings: Settings) -> None:
    if not settings.base_url.startswith("https://") and not is_loopback(settings.base_url):
        raise SettingsError(
            f"KUBEEZ_BASE_URL is {settings.base_url}, which would send your key unencrypted.",
            next_step="Use an https origin, or a loopback address such as http://127.0.0.1:8787.",
        )


def _completed(settings: Settings, working_dir: Path | None) -> Settings:
    """Check what depends on several fields and fill in the default that depends on the working folder."""
    live = settings.effective_mode is Mode.LIVE
    if live and not settings.rest_door and settings.mcp_token is None and settings.hosted_login is None:
        raise NoKeyError(
            "KUBEEZ_MODE is live but there is no KUBEEZ_API_KEY.",
            next_step="Run `kubeez-mcp-local login` with a key from https://kubeez.com/settings/api-keys, or with "
            "--hosted to sign in, or set KUBEEZ_MODE=sandbox.",
        )
    if live and settings.login and settings.login.origin != settings.base_url:
        raise SettingsError(
            f"KUBEEZ_BASE_URL is {settings.base_url}, but the key that `login` keeps is for {settings.login.origin}.",
            next_step="Run `kubeez-mcp-local login` again for that address, or remove KUBEEZ_BASE_URL.",
        )
    signed_in = settings.hosted_login
    if live and signed_in and signed_in.url != settings.mcp_url:
        raise SettingsError(
            f"KUBEEZ_MCP_URL is {settings.mcp_url}, but `login --hosted` signed in at {signed_in.url}.",
            next_step=f"Set KUBEEZ_MCP_URL={signed_in.url}, or run `kubeez-mcp-local login --hosted` again to sign in "
            "at the other, or end that sign-in: `kubeez-mcp-local logout --hosted`.",
        )
    if settings.api_key or settings.login:
        _refuse_to_send_it_in_the_clear(settings)
    if settings.input_dirs:
        return settings
    usual = (_home(), *([working_dir] if working_dir else []))
    folders = tuple(folder for folder in usual if not is_too_wide(folder))
    return settings.model_copy(update={"input_dirs": folders})


def is_too_wide(folder: Path) -> bool:
    """Whether `folder` is no default for reading: a drive, a folder of the system, or one that holds every home.

    Desktop clients start servers in `/`, and in `C:\\Windows\\System32`; what the user names is not held to this.
    """
    home = Path(os.path.realpath(_home()))
    return any(is_system_folder(each, home) for each in (folder, Path(os.path.realpath(folder))))


SECRETS = ("api_key", "mcp_token", "ledger")
"""Settings whose value is never shown."""

_TEMPLATE = re.compile(r"\$\{[^}]*\}|\$\{\{.*\}\}|^\$[A-Za-z_]\w*$|^%\w+%$|^<.*>$")


def _filled_in(given: Given) -> Any:
    """Refuse template text that a launcher passed on without filling it in, such as `${KUBEEZ_API_KEY}`."""
    source, name, value = given.source, given.name, given.value
    if isinstance(value, str) and _TEMPLATE.search(value):
        shown = (
            "a placeholder"
            if name in ("ledger", "mcp_token") or (name == "api_key" and "sk_" in value)
            else f"the placeholder {value!r}"
        )
        raise SettingsError(
            f"{variable(name)} from {source} still holds {shown}: "
            "the program that started this server did not fill it in.",
            next_step="Write the value itself into that program's MCP config, or remove the line.",
        )
    if name != "api_key" and holds_key(str(value)):
        raise SettingsError(
            f"{variable(name)} from {source} holds an API key.",
            next_step="Put the key into KUBEEZ_API_KEY, and remove it there.",
        )
    if name not in ("mcp_token", "ledger") and holds_token(str(value)):  # a database may take a token as password
        raise SettingsError(
            f"{variable(name)} from {source} holds a token.",
            next_step="Put a token of the hosted server into KUBEEZ_MCP_TOKEN, and remove it there.",
        )
    if name == "api_key" and isinstance(value, str):
        value = value.strip()
        if not re.fullmatch(r"[\x21-\x7e]+", value):
            raise SettingsError(
                f"KUBEEZ_API_KEY from {source} holds spaces or characters that no key has.",
                next_step="Copy the key again from https://kubeez.com/settings/api-keys.",
            )
    return _token(value, source) if name == "mcp_token" and isinstance(value, str) else value


_BEFORE_TOKEN = re.compile(r"^(?:Authorization\s*[:=]\s*)?Bearer\s+", re.IGNORECASE)


def _token(value: str, source: str) -> str:
    value = _BEFORE_TOKEN.sub("", value.strip())
    if not re.fullmatch(r"[\x21-\x7e]+", value):
        raise SettingsError(
            f"KUBEEZ_MCP_TOKEN from {source} holds spaces or characters that no token has.",
            next_step="Copy the token again, or remove it and run `kubeez-mcp-local login --hosted`.",
        )
    hide(value)
    return value


def read_config(path: Path) -> Mapping[str, str | None]:
    """The variables in a config file; see `dotenv_file.read`."""
    return dotenv_file.read(path, Settings.model_fields)


def write_config(path: Path, changes: Mapping[str, str | None]) -> None:
    """Set variables in a config file; see `dotenv_file.write`."""
    dotenv_file.write(path, changes, Settings.model_fields)


def _explain(error: ValidationError, origin: Mapping[str, str]) -> SettingsError:
    first = error.errors(include_url=False)[0]
    name = str(first["loc"][0])
    reason = first["msg"].removeprefix("Value error, ")
    value = str(first.get("input"))
    # Of an address, what may hold a secret is left out: whatever is beside scheme, host and path.
    address = name in ("base_url", "mcp_url", "hosted_login")
    shown = "" if name in SECRETS or (address and re.search("[@?#]", value)) else f" is {value!r}"
    return SettingsError(
        f"{variable(name)} (from {origin.get(name, 'the defaults')}){shown}: {reason}.",
        next_step="Correct the value or remove it to use the default.",
    )
