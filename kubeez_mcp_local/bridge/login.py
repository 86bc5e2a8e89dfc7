"""What `login` keeps: the key, checked, put into the system's keyring, found there again, and forgotten; and the
sign-in to the hosted server, with its tokens.

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
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import anyio
from pydantic import SecretStr, ValidationError

from kubeez_mcp_local.environment import APP, KEY, reach_the_session
from kubeez_mcp_local.errors import InvalidArgumentError, KubeezError
from kubeez_mcp_local.jobs.job import fingerprint
from kubeez_mcp_local.rest.errors import KEYS_PAGE, MissingScopeError, UnauthorizedError
from kubeez_mcp_local.settings import (
    DEFAULT_BASE_URL,
    Login,
    Settings,
    SettingsError,
    SignIn,
    is_loopback,
    read_config,
    variable,
    write_config,
)
from kubeez_mcp_local.text import holds_token, on_one_line, spoken

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from keyring.backend import KeyringBackend

    from kubeez_mcp_local.hosted.session import TokenSource
    from kubeez_mcp_local.hosted.signing_in import SigningIn
    from kubeez_mcp_local.hosted.tokens import Kept as KeptSignIn
    from kubeez_mcp_local.hosted.tokens import Store

MARK = variable("login")
HOSTED_MARK = variable("hosted_login")
PATIENCE_SECONDS = 5.0
_LOOK_SECONDS = 0.02
_GIVEN_UP_SECONDS = 60.0
_ANSWER_SECONDS, _CONNECT_SECONDS, _PROOF_SECONDS = 8.0, 5.0, 20.0
_IN_FILE = "`kubeez-mcp-local login --file` keeps it in a file instead."
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
    """The system's keyring, in which each API's key, and each sign-in, has a place of its own.

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

        Raises:
            KeyUnavailableError: It cannot be had now, is gone, or is of another account.
        """
        found = await self.read(login.origin)
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

    async def read(self, place: str) -> str | None:
        """What was kept at `place`; `None` where nothing is.

        Whoever asks while the person is still being asked to unlock the keyring waits for the same answer.

        Raises:
            KeyUnavailableError: It cannot be had now.
        """
        attempt = self._reading.get(place)
        if attempt is None or self.clock() - attempt.began > _GIVEN_UP_SECONDS:
            attempt = self._begin(lambda ring: ring.get_password(APP, place))
            self._reading[place] = attempt
        try:
            return await self._answer(attempt)
        except NoKeyringError:
            raise KeyUnavailableError(
                f"`login` has kept {_kind_of(place)} in a keyring, and none can be reached from here.",
                next_step=f"Start your client within your desktop's session. {_IN_FILE}",
            ) from None
        finally:
            if attempt.done.is_set():
                self._reading.pop(place, None)

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


def _kind_of(place: str) -> str:
    return "the key" if "://" in place else "the sign-in"


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
        hosted = " (a token of the hosted server belongs into KUBEEZ_MCP_TOKEN)" if holds_token(bare) else ""
        raise _no_key(argument, f"that is no Kubeez API key; they begin with sk_live_{hosted}")
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


# The hosted server


def tokens_of(settings: Settings, keyring: Keyring | None = None) -> TokenSource | None:
    """The tokens for the hosted server; `None` where its door is closed. Nothing is opened or asked yet."""
    from kubeez_mcp_local.hosted.tokens import GivenToken, Store, Tokens

    if settings.hosted_door == "token" and settings.mcp_token:
        return GivenToken(settings.mcp_token, settings.mcp_url)
    if settings.hosted_door == "sign-in" and settings.hosted_login:
        return Tokens(settings.hosted_login, Store(keyring or Keyring()))
    return None


class EarlierAccounts(Protocol):
    """The accounts that a new sign-in, whose token does not say whose it is, is proven to be of."""

    async def __call__(self, kept: KeptSignIn) -> Sequence[str]: ...


@dataclass(frozen=True)
class SignedIn:
    """A sign-in, kept.

    Attributes:
        keyring: The keyring it is in, in words; empty where it is in `file`.
        why_in_file: Why it is not in a keyring; empty where it is, or was not wanted there.
    """

    kept: KeptSignIn
    config: Path
    keyring: str
    file: Path
    why_in_file: str

    @property
    def where(self) -> str:
        """Where it is, in a sentence or two."""
        if self.keyring:
            return f"Its tokens are in {self.keyring}; {self.config} only says whose, without them."
        return f"{self.why_in_file} Its tokens are in {self.file} as plain text, {_protection()}.".strip()


async def keep_sign_in(
    signing_in: SigningIn,
    config: Path,
    *,
    keyring: Keyring | None = None,
    in_file: bool = False,
    earlier: EarlierAccounts | None = None,
) -> SignedIn:
    """Sign in, and keep that instead of an earlier sign-in, which is ended.

    Args:
        config: The user's own config file, which gets the mark.
        in_file: Do without the keyring.

    Raises:
        SignInFailedError: It did not come to that.
        SettingsError: The config file, or the one for the tokens, cannot be written.
    """
    from kubeez_mcp_local.hosted.signing_in import revoke
    from kubeez_mcp_local.hosted.tokens import Store, alone, subject_of

    write_config(config, {})  # a mark that cannot be written would leave tokens that nobody finds
    store = Store(keyring or Keyring())
    before = _sign_in_marked(config)
    kept = await signing_in.run()
    if earlier and not subject_of(kept.access_token) and (proven := await earlier(kept)):
        account = before.account if before and before.account in proven else proven[0]
        kept = kept.model_copy(update={"account": account})
    old = await _read_quietly(store, before)
    async with alone(store.lock(kept.account)):
        try:
            name, why = await store.write(kept, in_file=in_file)
        except OSError as error:
            await revoke(kept)
            raise SettingsError(
                f"{store.file(kept.account)} cannot be written: {error.strerror or error}. Nothing was kept.",
                next_step="Make its folder writable for yourself.",
            ) from None
    write_config(config, {HOSTED_MARK: str(SignIn(kept.account, kept.url))})
    if old is not None:
        await revoke(old)
    if before is not None and before.account != kept.account:
        await store.forget(before.account)
    return SignedIn(kept, config, name, store.file(kept.account), why)


async def proven_by_history(settings: Settings, kept: KeptSignIn) -> list[str]:
    """The accounts whose jobs stand in the history that `kept` may read, as the ledger knows them: a job has one owner.

    Also those that have signed out. What cannot be read proves nothing.
    """
    from kubeez_mcp_local.hosted.client import HostedClient
    from kubeez_mcp_local.hosted.tokens import GivenToken
    from kubeez_mcp_local.jobs.budget import Ceilings
    from kubeez_mcp_local.jobs.ledger import FILE_NAME, open_ledger
    from kubeez_mcp_local.rest.client import Patience

    settings = settings.model_copy(update={"hosted_login": SignIn(kept.account, kept.url)})
    if not settings.team_ledger and not (settings.state_dir / FILE_NAME).exists():
        return []
    ceilings = Ceilings(settings.max_credits_per_call, settings.max_credits_per_day, settings.run_ceiling)
    ledger = open_ledger(settings.state_dir, kept.account, ceilings, server=settings.team_ledger, person=settings.who)
    token = GivenToken(SecretStr(kept.access_token), kept.url)
    patience = Patience(attempts=1)
    proven: list[str] = []
    with suppress(KubeezError), anyio.move_on_after(_PROOF_SECONDS):
        async with HostedClient(kept.url, token, patience=patience, connect_s=_CONNECT_SECONDS) as client:
            rows = await client.generations()
        proven = await ledger.hosted_accounts_of([row.id for row in rows if row.id])
    await ledger.aclose()
    return proven


def _sign_in_marked(config: Path) -> SignIn | None:
    """The sign-in that the config file tells of."""
    given = read_config(config).get(HOSTED_MARK)
    try:
        return Settings(hosted_login=given).hosted_login if given else None
    except ValidationError:
        return None


async def _read_quietly(store: Store, mark: SignIn | None) -> KeptSignIn | None:
    with suppress(KubeezError):
        return await store.read(mark.account) if mark else None
    return None


@dataclass(frozen=True)
class SignedOut:
    """How a sign-in ended.

    Attributes:
        url: The server it was for; empty where there was none.
        revoked: What the server took back, in words.
        left: Why not the rest; empty where all of it was.
        ends_at: When the access token ends by itself, in seconds since 1970.
        trouble: Why the keyring may still hold it.
    """

    url: str = ""
    revoked: tuple[str, ...] = ()
    left: str = ""
    ends_at: float | None = None
    trouble: str = ""


async def sign_out(config: Path, *, keyring: Keyring | None = None) -> SignedOut:
    """Have the server take back the tokens of the sign-in, and forget it.

    Raises:
        SettingsError: The config file cannot be written.
    """
    from kubeez_mcp_local.hosted.signing_in import revoke
    from kubeez_mcp_local.hosted.tokens import Store, alone

    marked = _sign_in_marked(config)
    if HOSTED_MARK in read_config(config):
        write_config(config, {HOSTED_MARK: str(marked) if marked else None})  # one that cannot be written ends nothing
    if marked is None:
        return SignedOut()
    store = Store(keyring or Keyring())
    async with alone(store.lock(marked.account)):
        try:
            kept = await store.read(marked.account)
        except KubeezError as error:
            kept, unread = None, error.message.rstrip(".")
        else:
            unread = "they are not kept here any more"
        revoked, left = await revoke(kept) if kept else ((), unread)
        trouble = await store.forget(marked.account)
    write_config(config, {HOSTED_MARK: None})
    return SignedOut(marked.url, revoked, left, kept.expires_at if kept else None, trouble)
