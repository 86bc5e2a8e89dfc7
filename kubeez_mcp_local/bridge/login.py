"""The key that `login` keeps: checked, put into the system's keyring, found there again, and forgotten.

A keyring takes a fifth of a second to load, may ask the person to unlock it, and may never answer. So it is opened at
the first call that needs the key, in a thread of its own, and awaited for a few seconds. Which account that key is of
is known without it (`settings.Login`). Where there is no keyring the key is kept in the user's own config file.
"""

from __future__ import annotations

import re
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

import anyio
from pydantic import SecretStr

from kubeez_mcp_local.environment import APP, KEY, reach_the_session
from kubeez_mcp_local.errors import InvalidArgumentError, KubeezError
from kubeez_mcp_local.jobs.job import fingerprint
from kubeez_mcp_local.rest.errors import KEYS_PAGE, MissingScopeError, UnauthorizedError
from kubeez_mcp_local.settings import DEFAULT_BASE_URL, Login, is_loopback, read_config, variable, write_config
from kubeez_mcp_local.text import on_one_line, spoken

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from keyring.backend import KeyringBackend

    from kubeez_mcp_local.settings import Settings

MARK = variable("login")
PATIENCE_SECONDS = 5.0
_LOOK_SECONDS = 0.02
_GIVEN_UP_SECONDS = 60.0
_ANSWER_SECONDS, _CONNECT_SECONDS = 8.0, 5.0
_IN_FILE = "`kubeez-mcp-local login --file` keeps the key in a file instead."
_NAMES = {
    "macOS": "the macOS Keychain",
    "Windows": "the Windows Credential Manager",
    "SecretService": "the desktop's keyring (Secret Service)",
    "kwallet": "KWallet",
}

T = TypeVar("T")


class KeyUnavailableError(UnauthorizedError):
    """The keyring does not give the key out, or not the one that was kept; so nothing was sent."""

    code = "key_unavailable"


class NoKeyringError(KubeezError):
    """There is no keyring on this machine that can be used."""

    code = "no_keyring"


class _Attempt(Generic[T]):
    """One piece of work with the keyring, in a thread that keeps nobody from leaving."""

    def __init__(self, work: Callable[[KeyringBackend], T], began: float) -> None:
        self.began = began
        self.done = threading.Event()
        self.error: BaseException | None = None
        self.values: list[T] = []
        threading.Thread(target=self._run, args=(work,), daemon=True, name="keyring").start()

    def _run(self, work: Callable[[KeyringBackend], T]) -> None:
        try:
            self.values.append(work(_backend()))
        except BaseException as error:  # noqa: BLE001 - each system's keyring raises its own, or panics in Rust
            self.error = error
        finally:
            self.done.set()


def _backend() -> KeyringBackend:
    import keyring

    found = keyring.get_keyring()
    if found.priority < 1:  # the library's own bound for what it recommends: below are placeholders and plain files
        raise NoKeyringError("There is no keyring on this machine.")
    return found


@dataclass
class Keyring:
    """The system's keyring, in which each API's key has a place of its own.

    Attributes:
        seconds: How long an answer is awaited.
        clock: Monotonic seconds.
    """

    seconds: float = PATIENCE_SECONDS
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[object]] = anyio.sleep
    _reading: dict[str, _Attempt[str | None]] = field(default_factory=dict)

    async def key_of(self, login: Login) -> SecretStr:
        """The key that was kept for `login`.

        Whoever asks while the person is still being asked to unlock the keyring waits for the same answer.

        Raises:
            KeyUnavailableError: It cannot be had now, is gone, or is of another account.
        """
        attempt = self._reading.get(login.origin)
        if attempt is None or self.clock() - attempt.began > _GIVEN_UP_SECONDS:
            attempt = self._begin(lambda ring: ring.get_password(APP, login.origin))
            self._reading[login.origin] = attempt
        try:
            found = await self._answer(attempt)
        except NoKeyringError:
            raise KeyUnavailableError(
                "`login` has kept the key in a keyring, and none can be reached from here.",
                next_step=f"Start your client within your desktop's session. {_IN_FILE}",
            ) from None
        finally:
            if attempt.done.is_set():
                self._reading.pop(login.origin, None)
        if not found:
            raise KeyUnavailableError(
                "The key that `login` kept is not in the keyring any more.", next_step="Run `kubeez-mcp-local login`."
            )
        if fingerprint(found, login.origin) != login.account:
            raise KeyUnavailableError(
                "The keyring holds another key than the one this server was started for.",
                next_step="Restart the server; if that does not help, run `kubeez-mcp-local login`.",
            )
        return SecretStr(found)

    async def keep(self, origin: str, key: str) -> str:
        """Put `key` into it; returns how people call this keyring.

        Raises:
            NoKeyringError: There is none.
            KeyUnavailableError: It does not take it.
        """

        def work(ring: KeyringBackend) -> str:
            ring.set_password(APP, origin, key)
            if ring.get_password(APP, origin) != key:
                raise OSError("it does not give back what was put in")
            return _NAMES.get(type(ring).__module__.rpartition(".")[2], f"the system's keyring ({ring.name})")

        return await self._answer(self._begin(work), secret=key)

    async def forget(self, origin: str) -> bool:
        """Take the key out; returns whether there was one. Raises as `keep`."""

        def work(ring: KeyringBackend) -> bool:
            there = ring.get_password(APP, origin) is not None
            if there:
                ring.delete_password(APP, origin)
            return there

        return await self._answer(self._begin(work))

    def _begin(self, work: Callable[[KeyringBackend], T]) -> _Attempt[T]:
        reach_the_session()
        return _Attempt(work, self.clock())

    async def _answer(self, attempt: _Attempt[T], *, secret: str = "") -> T:
        while not attempt.done.is_set():
            if self.clock() - attempt.began >= self.seconds:
                raise KeyUnavailableError(
                    f"The system's keyring has not answered within {self.seconds:g} s. Perhaps it is asking you for "
                    "your password in a window.",
                    next_step=f"Answer it there and try again. {_IN_FILE}",
                    retry_safe=True,
                )
            await self.sleep(_LOOK_SECONDS)
        if attempt.error is None:
            return attempt.values[0]
        if isinstance(attempt.error, NoKeyringError):
            raise attempt.error
        locked = type(attempt.error).__name__ == "KeyringLocked"
        said = str(attempt.error)
        if secret:
            said = said.replace(secret, "…")
        why = "is locked" if locked else f"refuses: {on_one_line(said) or type(attempt.error).__name__}"
        raise KeyUnavailableError(
            f"The system's keyring {why}.", next_step=f"Unlock it and try again. {_IN_FILE}", retry_safe=True
        )


# What a person types or pastes

_KEY = re.compile(r"sk_[A-Za-z0-9_.~+/=-]+")
_AROUND = re.compile(r"^(?:export\s+|set\s+|\$env:)?(?:KUBEEZ_API_KEY|X-API-Key|Authorization|Bearer)\s*[=:]?\s*", re.I)


def key_in(text: str, argument: str) -> str:
    """The API key in what was typed, pasted or piped: without quotes, and without the name it was assigned to.

    Raises:
        InvalidArgumentError: There is none, or something else with it. It does not repeat what was typed.
    """
    lines = [line.strip().strip("\ufeff\x00") for line in text.splitlines()]
    given = [line for line in lines if line and not line.startswith("#")]
    named = [line for line in given if re.match(rf"(?:export\s+)?{KEY}\s*=", line)]
    found = named or given
    if len(found) > 1:
        raise _no_key(argument, f"that are {len(found)} lines, and a key is one")
    bare = _bare(found[0]) if found else ""
    if not bare:
        raise _no_key(argument, "nothing was given")
    if bare.count("sk_live_") > 1:
        raise _no_key(argument, "that is a key pasted twice")
    if not bare.startswith("sk_"):
        raise _no_key(argument, "that is no Kubeez API key; they begin with sk_live_")
    if not _KEY.fullmatch(bare):
        raise _no_key(argument, "that holds spaces or characters that no key has")
    return bare


def _bare(text: str) -> str:
    before = None
    while text != before:
        before, text = text, _AROUND.sub("", text.strip().strip("\"'`“”‘’;,"))
    return text


def _no_key(argument: str, why: str) -> InvalidArgumentError:
    return InvalidArgumentError(argument, f"{why}. Nothing was kept.", next_step=f"Copy it again from {KEYS_PAGE}.")


# Kept and forgotten


@dataclass(frozen=True)
class Kept:
    """Where a key is now.

    Attributes:
        account: Its fingerprint.
        config: The user's own config file, which knows of it.
        keyring: The keyring it is in, in words; empty where it is in `config`.
        why_in_file: Why it is not in a keyring; empty where it is, or was not wanted there.
        checked: What the API said of it, in a sentence.
    """

    account: str
    config: Path
    keyring: str
    why_in_file: str
    checked: str

    @property
    def where(self) -> str:
        """Where it is, in a sentence or two."""
        if self.keyring:
            return f"The key is in {self.keyring}; {self.config} only says so, without the key."
        return f"{self.why_in_file} The key is in {self.config} as plain text, {_protection()}.".strip()


def _protection() -> str:
    """What keeps others from reading a file of the user's. Windows goes by who may enter a user's folder."""
    if sys.platform == "win32":
        return "which is protected as your user folder is: only you and administrators can read it"
    return "which only you can read"


def origin_for(settings: Settings) -> str:
    """The API that a key is for: the one that requests go to, unless that is a sandbox."""
    sandbox = settings.mode == "sandbox" and is_loopback(settings.base_url)
    return DEFAULT_BASE_URL if sandbox else settings.base_url


async def keep_key(
    key: str, settings: Settings, config: Path, *, keyring: Keyring | None = None, in_file: bool = False
) -> Kept:
    """Check `key` and keep it.

    Args:
        settings: Where requests go; see `settings_to_log_in_by`.
        config: The user's own config file, which gets the mark, or the key where there is no keyring.
        in_file: Do without the keyring.

    Raises:
        UnauthorizedError: The API does not accept the key; nothing was kept.
        SettingsError: The config file cannot be written.
    """
    origin, ring = origin_for(settings), keyring or Keyring()
    before = read_config(config)
    checked = await _checked(key, origin, settings)
    account, why = fingerprint(key, origin), ""
    if not in_file:
        write_config(config, {})  # a mark that cannot be written would leave a key that nobody finds
        try:
            name = await ring.keep(origin, key)
        except (NoKeyringError, KeyUnavailableError) as error:
            why = error.message
        else:
            write_config(config, {KEY: None, MARK: str(Login(account, origin))})
            return Kept(account, config, name, "", checked)
    elif before.get(MARK):
        with suppress(KubeezError):
            await ring.forget(origin)
    write_config(config, {KEY: key, MARK: None})
    return Kept(account, config, "", why, checked)


async def _checked(key: str, origin: str, settings: Settings) -> str:
    if settings.mode == "sandbox":
        return "The key was not checked: KUBEEZ_MODE is sandbox, so the API is not asked."
    from kubeez_mcp_local.rest.client import Patience, RestClient

    patience = Patience(attempts=1)
    async with RestClient(
        origin, key, patience=patience, answer_s=_ANSWER_SECONDS, connect_s=_CONNECT_SECONDS
    ) as client:
        try:
            return f"The API accepts the key: {spoken((await client.balance()).credits)}."
        except UnauthorizedError:
            raise UnauthorizedError(
                f"{origin} does not accept this key. Nothing was kept.",
                next_step=f"Copy it again from {KEYS_PAGE}, or make a new one there.",
            ) from None
        except MissingScopeError:
            return "The API accepts the key, which may not read the balance (scope read:balance)."
        except KubeezError as error:
            return f"The key could not be checked: {error.message} It was kept all the same; `doctor` checks it."


@dataclass(frozen=True)
class Forgotten:
    """Where a key was and is no more, in words; and `trouble`, why the keyring may still hold one."""

    places: tuple[str, ...]
    trouble: str


async def forget_key(settings: Settings, config: Path, *, keyring: Keyring | None = None) -> Forgotten:
    """Take the key out of the keyring and out of the user's own config file.

    Raises:
        SettingsError: The config file cannot be written.
    """
    known = read_config(config)
    mark = known.get(MARK) or ""
    origins = {origin_for(settings), *([mark.partition("@")[2]] if "@" in mark else [])}
    places, trouble = [], ""
    for origin in sorted(origins):
        try:
            if await (keyring or Keyring()).forget(origin):
                places.append("the system's keyring")
        except NoKeyringError as error:
            trouble = error.message if mark else ""
        except KeyUnavailableError as error:
            trouble = error.message
    if known.get(KEY):
        places.append(str(config))
    if known.keys() & {KEY, MARK}:
        write_config(config, {KEY: None, MARK: None})
    return Forgotten(tuple(dict.fromkeys(places)), trouble)
