"""The token for the hosted server: one that was given, or that of a sign-in, which is kept and refreshed here.

A refresh may end the refresh token that it was made with, so there must never be two at a time: whoever needs one
waits for a lock over all processes and then looks whether another has done it. What came back is written before
anybody uses it, and no cancelled call interrupts that. A browser is never opened here.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import logging
import time
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, urlencode

import anyio
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from kubeez_mcp_local.disk import replace_file
from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.rest.errors import UnauthorizedError, UnavailableError, UnreachableError
from kubeez_mcp_local.rest.wire import object_in
from kubeez_mcp_local.settings import config_file
from kubeez_mcp_local.text import hide, quoted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from pathlib import Path

    from kubeez_mcp_local.rest.pools import Answer
    from kubeez_mcp_local.settings import Settings, SignIn

LOGIN = "`kubeez-mcp-local login --hosted`"
_MARGIN_SECONDS = 60.0
"""How long before its end a token is refreshed; a tenth of its life where that is less."""
_ANSWER_SECONDS = 10.0
_LOOK_SECONDS = 0.05
_LOCK_SECONDS = 30.0
_LARGEST = 1 << 16
_ENDED = ("invalid_grant", "invalid_client", "unauthorized_client")
_logger = logging.getLogger(__name__)


def account_of(settings: Settings) -> str:
    """Name of the account behind the hosted door; empty where that is closed. No secret, and one-way."""
    if settings.hosted_door == "sign-in" and settings.hosted_login:
        return settings.hosted_login.account
    if settings.hosted_door == "token" and settings.mcp_token:
        return named(settings.mcp_token.get_secret_value(), settings.mcp_url)
    return ""


def named(*parts: str) -> str:
    """An account's name, made of what tells it from others."""
    return f"hosted-{hashlib.sha256(chr(10).join(parts).encode()).hexdigest()[:16]}"


def subject_of(token: str) -> str | None:
    """Whose token it is in the words of who issued it: `sub`, where it is a JSON web token (RFC 9068), unchecked."""
    found = _claims(token).get("sub")
    return found if isinstance(found, str) and found else None


def end_of(token: str) -> float | None:
    """When it ends, in seconds since 1970, where it says so itself."""
    found = _claims(token).get("exp")
    return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else None


def _claims(token: str) -> dict[str, Any]:
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        found = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


class Client(BaseModel):
    """How a server knows this program: what it answered to its registration."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    secret: str | None = Field(None, repr=False)
    method: str | None = None

    def form(self, parts: Mapping[str, str]) -> tuple[str, dict[str, str]]:
        """`parts` as a form in this client's name, and the headers that go with it (RFC 6749 §2.3.1)."""
        form, headers = {**parts, "client_id": self.id}, {"Content-Type": "application/x-www-form-urlencoded"}
        if self.secret and self.method == "client_secret_basic":
            pair = f"{quote(self.id, safe='')}:{quote(self.secret, safe='')}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
            form.pop("client_secret", None)
        elif self.secret and self.method == "client_secret_post":
            form["client_secret"] = self.secret
        return urlencode(form), headers


class Kept(BaseModel):
    """A sign-in as it is kept: all that a refresh needs. A secret.

    Attributes:
        resource: What the tokens are for, as the server was told (RFC 8707).
        scopes: What was granted.
        obtained_at: When the access token came, and `expires_at` when it ends, in seconds since 1970.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    account: str
    url: str
    issuer: str
    token_endpoint: str
    revocation_endpoint: str | None = None
    resource: str | None = None
    client: Client
    scopes: tuple[str, ...] = ()
    access_token: str = Field(repr=False)
    refresh_token: str | None = Field(None, repr=False)
    obtained_at: float
    expires_at: float | None = None

    @classmethod
    def read(cls, text: str) -> Kept | None:
        """What `text` says; `None` where it is not what we write."""
        try:
            found = cls.model_validate_json(text)
        except ValidationError:
            return None
        found.hide()
        return found

    def hide(self) -> None:
        """Let none of its secrets be shown from now on."""
        for secret in (self.access_token, self.refresh_token, self.client.secret):
            if secret:
                hide(secret)

    def lasts(self, now: float) -> bool:
        """Whether the access token is good for a call that begins now."""
        if self.expires_at is None:
            return True
        return now < self.expires_at - min(_MARGIN_SECONDS, (self.expires_at - self.obtained_at) / 10)

    def renewed(self, answer: Mapping[str, Any], now: float) -> Kept:
        """With what a token endpoint answered (RFC 6749 §5.1). What it leaves out stays as it was.

        Raises:
            ValueError: It names no bearer token.
        """
        token, kind = answer.get("access_token"), answer.get("token_type")
        if not isinstance(token, str) or not token or str(kind or "bearer").lower() != "bearer":
            raise ValueError("no bearer token")
        refresh, scope, seconds = (answer.get(name) for name in ("refresh_token", "scope", "expires_in"))
        changes = {
            "access_token": token,
            "refresh_token": refresh if isinstance(refresh, str) and refresh else self.refresh_token,
            "scopes": tuple(scope.split()) if isinstance(scope, str) else self.scopes,
            "obtained_at": now,
            "expires_at": now + float(seconds) if isinstance(seconds, int | float | str) and seconds else end_of(token),
        }
        found = self.model_copy(update=changes)
        found.hide()
        return found


class Vault(Protocol):
    """A place for secrets by name, such as the system's keyring. Raises a `KubeezError` where it cannot be used."""

    async def read(self, place: str) -> str | None: ...
    async def keep(self, place: str, secret: str) -> str: ...
    async def forget(self, place: str) -> bool: ...


@dataclass
class Store:
    """Where sign-ins are kept: in the vault, or in a file that only its owner can read.

    A file goes first: it is there where the vault did not take what came last.

    Attributes:
        vault: `None`: files only.
    """

    vault: Vault | None
    folder: Path = field(default_factory=lambda: config_file().parent)

    def file(self, account: str) -> Path:
        return self.folder / f"{account}.json"

    def lock(self, account: str) -> Path:
        """What is locked while a sign-in is being refreshed or ended."""
        return self.folder / f"{account}.lock"

    async def read(self, account: str) -> Kept | None:
        """The sign-in; `None` where there is none any more.

        Raises:
            UnauthorizedError: It cannot be read, or not now.
        """
        file = self.file(account)
        try:
            with file.open("rb") as opened:
                text: str | None = opened.read(_LARGEST).decode("utf-8", "replace")
        except (FileNotFoundError, NotADirectoryError):
            text = await self.vault.read(account) if self.vault else None
        except OSError as error:
            raise UnauthorizedError(
                f"{file}, which keeps the sign-in to the hosted server, cannot be read: {error.strerror or error}.",
                next_step=f"Make it readable for yourself, or run {LOGIN}.",
            ) from None
        found = Kept.read(text) if text else None
        return found if found and found.account == account else None

    async def write(self, kept: Kept, *, in_file: bool = False) -> tuple[str, str]:
        """Keep it; returns the vault's name, empty where it is in a file, and then why.

        Raises:
            OSError: The file cannot be written.
        """
        file, text, why = self.file(kept.account), kept.model_dump_json(), ""
        if self.vault and not in_file:
            try:
                name = await self.vault.keep(kept.account, text)
            except KubeezError as error:
                why = error.message
            else:
                file.unlink(missing_ok=True)
                return name, ""
        replace_file(file, text)
        return "", why

    async def forget(self, account: str) -> str:
        """Let go of it wherever it is; returns why the vault may still hold it, empty where it does not."""
        trouble = ""
        if self.vault:
            try:
                await self.vault.forget(account)
            except KubeezError as error:
                trouble = "" if error.code == "no_keyring" else error.message
        self.file(account).unlink(missing_ok=True)
        return trouble


@dataclass(frozen=True)
class GivenToken:
    """A personal access token, which nobody but its owner can renew.

    Attributes:
        url: The server that it is for.
    """

    value: SecretStr
    url: str

    async def token(self) -> SecretStr:
        return self.value

    async def refused(self, token: SecretStr) -> SecretStr:
        raise UnauthorizedError(
            f"{self.url} does not accept the token in KUBEEZ_MCP_TOKEN: it is revoked, has ended, or is none for this "
            "server.",
            next_step=f"Put another one there, or take it out and run {LOGIN}.",
        )


@dataclass
class Tokens:
    """The tokens of a sign-in.

    Attributes:
        mark: Whose, and for which server.
        clock: Seconds since 1970.
    """

    mark: SignIn
    store: Store
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[object]] = anyio.sleep
    _held: Kept | None = None
    _unwritten: bool = False
    _ended: str | None = None
    _turn: anyio.Lock = field(default_factory=anyio.Lock)

    async def token(self) -> SecretStr:
        """One that is valid now.

        Raises:
            UnauthorizedError: The sign-in is gone or has ended.
            UnreachableError, UnavailableError: It could not be refreshed now.
        """
        held = self._held
        if held is None or not held.lasts(self.clock()):
            held = await self._other_than(held.access_token if held else None)
        return SecretStr(held.access_token)

    async def refused(self, token: SecretStr) -> SecretStr:
        """Another one, after a 401 came for `token`; raises as `token`."""
        return SecretStr((await self._other_than(token.get_secret_value(), refused=True)).access_token)

    async def _other_than(self, used: str | None, *, refused: bool = False) -> Kept:
        """The sign-in with another access token than `used`, or with that one where it lasts and was not refused."""
        async with self._turn:
            for alone in (False, True):  # most often another process has done it, and no lock is needed to see that
                async with self._alone() if alone else nullcontext():
                    kept = await self._read()
                    now = self.clock()
                    if kept.lasts(now) and not (refused and kept.access_token == used):
                        self._held = kept
                        break
                    if alone:
                        self._held = await self._refreshed(kept, refused=refused)
            assert self._held is not None
            return self._held

    async def _read(self) -> Kept:
        if self._unwritten and self._held:
            await self._write(self._held)
            return self._held
        kept = await self.store.read(self.mark.account)
        if kept is None or kept.url != self.mark.url:
            raise UnauthorizedError(
                f"The sign-in to {self.mark.url} is not kept here any more.",
                next_step=f"Run {LOGIN}, and restart the server.",
                code="signed_out",
            )
        return kept

    async def _refreshed(self, kept: Kept, *, refused: bool) -> Kept:
        """The sign-in after a refresh; as it is, where that fails and the token still lasts a little."""
        if kept.refresh_token is None:
            raise self._end("has ended, and the server gave nothing to refresh it by")
        if self._ended == _mark_of(kept.refresh_token):
            raise self._end("has ended")
        try:
            with anyio.CancelScope(shield=True):  # a rotated token must not get lost with the call that needed it
                answer = await self._ask(kept, kept.refresh_token)
                found = self._taken(kept, kept.refresh_token, answer)
                await self._write(found)
        except (UnreachableError, UnavailableError):
            if refused or (kept.expires_at is not None and kept.expires_at <= self.clock()):
                raise
            return kept
        return found

    async def _ask(self, kept: Kept, refresh_token: str) -> Answer:
        parts = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        form, headers = kept.client.form(parts | ({"resource": kept.resource} if kept.resource else {}))
        async with asking() as ask:
            return await ask("POST", kept.token_endpoint, _ANSWER_SECONDS, content=form, headers=headers)

    def _taken(self, kept: Kept, refresh_token: str, answer: Answer) -> Kept:
        status, members = answer.status_code, members_of(answer)
        if status == 200:
            with suppress(ValueError):
                return kept.renewed(members, self.clock())
        why = str(members.get("error") or "")
        if status in (400, 401, 403) and (why in _ENDED or status != 400):
            self._ended = _mark_of(refresh_token)
            raise self._end(
                f"has ended: the server refuses to refresh it ({quoted(why) if why else status}). It was "
                "revoked, or lasted no longer, or a refresh was interrupted before its answer could be kept"
            )
        raise UnavailableError(
            f"The sign-in to {kept.url} could not be refreshed: {kept.token_endpoint} answered {status}"
            f"{f' ({quoted(why)})' if why else ''}.",
            next_step=f"Try again shortly; if it goes on, run {LOGIN}.",
            retry_safe=True,
        )

    async def _write(self, kept: Kept) -> None:
        self._held, self._unwritten = kept, True
        try:
            _, why = await self.store.write(kept, in_file=self.store.file(kept.account).exists())
        except OSError as error:
            where, reason = self.store.folder, error.strerror or type(error).__name__
            _logger.warning(
                "the refreshed sign-in could not be written to %s (%s) and lasts only as long as this server; "
                "it is tried again with the next refresh",
                where,
                reason,
            )
            return
        self._unwritten = False
        if why:
            _logger.warning("the refreshed sign-in is now in %s: %s", self.store.file(kept.account), why)

    def _end(self, how: str) -> UnauthorizedError:
        return UnauthorizedError(
            f"The sign-in to {self.mark.url} {how}. Nothing was sent.", next_step=f"Run {LOGIN}.", code="signed_out"
        )

    def _alone(self) -> Any:
        return alone(self.store.lock(self.mark.account), self.sleep)


class Ask(Protocol):
    """One request to any address, and its answer within `seconds`, whatever that is.

    Raises:
        UnreachableError, UnusableUrlError: Nothing was sent.
        UnavailableError: It left, and no whole answer came.
    """

    async def __call__(
        self, method: str, url: str, seconds: float, *, content: str | bytes | None, headers: Mapping[str, str]
    ) -> Answer: ...


@asynccontextmanager
async def asking() -> AsyncIterator[Ask]:
    """Requests that have to do with a sign-in."""
    from kubeez_mcp_local.rest.pools import BROKEN, Hints, Pools, timeouts

    pools = Pools(hints=Hints("KUBEEZ_MCP_URL", "kubeez-mcp-local sandbox serve --hosted"))

    async def ask(
        method: str, url: str, seconds: float, *, content: str | bytes | None, headers: Mapping[str, str]
    ) -> Answer:
        timeout = timeouts(min(seconds, 10.0), seconds)
        try:
            with anyio.fail_after(seconds):
                return await pools.send(method, url, timeout=timeout, content=content, headers=headers)
        except (*BROKEN, TimeoutError) as error:
            late = "Timeout" in type(error).__name__
            what = "No answer came in time" if late else "The connection broke"
            raise UnavailableError(
                f"{what} from {origin_of(url)} ({type(error).__name__}).",
                next_step="Try again shortly.",
                retry_safe=True,
            ) from None

    try:
        yield ask
    finally:
        await pools.aclose()


def origin_of(url: str) -> str:
    return "/".join(url.split("/", 3)[:3])


def members_of(answer: Answer) -> dict[str, Any]:
    """The members of the JSON object that an answer is; none where it is something else."""
    return object_in(answer.content) or {}


@asynccontextmanager
async def alone(path: Path, sleep: Callable[[float], Awaitable[object]] = anyio.sleep) -> AsyncIterator[None]:
    """Nobody else holds the lock file `path` meanwhile, in whatever process.

    Raises:
        UnavailableError: Somebody held it for too long.
    """
    from filelock import FileLock, Timeout

    lock, waited = None, 0.0
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = FileLock(path, thread_local=False, fallback_to_soft=False)
        while True:
            try:
                lock.acquire(timeout=0)
                break
            except Timeout:
                if waited >= _LOCK_SECONDS:
                    raise UnavailableError(
                        f"Another process is refreshing the sign-in and has {path} for {waited:g} s.",
                        next_step="Try again shortly.",
                        retry_safe=True,
                    ) from None
            await sleep(_LOOK_SECONDS)
            waited += _LOOK_SECONDS
    except OSError as error:
        lock = None
        _logger.warning("%s cannot be locked (%s); two processes could refresh at a time", path, error.strerror)
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


def _mark_of(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
