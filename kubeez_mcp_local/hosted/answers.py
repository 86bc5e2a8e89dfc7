"""What became of a request to the hosted server, as far as that is proven, and the error that says so.

A paid call was refused only if that is proven: nothing was sent, the answer to the POST itself says so (HTTP 4xx), the
protocol turned it away before any tool ran, or the tool named a refusal. Everything else leaves its fate open. How the
hosted server spells its refusals is known only in part (hosted-mcp.md §1.4): the codes named there, and the HTTP
statuses; text that merely sounds like one proves something only where nothing is paid.
"""

from __future__ import annotations

import re
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from kubeez_mcp_local.rest.answers import (
    BROKE,
    UNDECIDED,
    WORDS_MAX,
    in_short,
    it_says,
    missing_scope,
    read_words,
    scope_in,
)
from kubeez_mcp_local.rest.errors import (
    BILLING_PAGE,
    AmbiguousError,
    ApiError,
    InsufficientCreditsError,
    MissingScopeError,
    NotFoundError,
    RateLimitedError,
    RefusedError,
    UnauthorizedError,
    UnavailableError,
    UnexpectedAnswerError,
    UnreachableError,
)
from kubeez_mcp_local.rest.wire import object_in
from kubeez_mcp_local.text import quoted, without_keys

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kubeez_mcp_local.errors import KubeezError

SIGN_IN = "Run `kubeez-mcp-local login --hosted`, or set KUBEEZ_MCP_TOKEN to a token that is valid."
# JSON-RPC and MCP error codes (specification of 2026-07-28); -32000 and -32001 are the SDK's own.
_CLOSED, _TIMED_OUT, _NO_METHOD, _BAD_PARAMS, _INTERNAL = -32000, -32001, -32601, -32602, -32603
HEADER_MISMATCH, UNSUPPORTED_VERSION = -32020, -32022
_BEFORE_ANY_TOOL = {_NO_METHOD, _BAD_PARAMS, HEADER_MISMATCH, -32021, UNSUPPORTED_VERSION}


@dataclass
class Exchange:
    """The HTTP side of one request, written down by the `Carrier` while the SDK carries it.

    Attributes:
        name: The tool that is called, or the method.
        spends: Whether the request can cost credits.
        scope: What the token needs for it, where that is known.
        leave_by: Until when it may leave, by the carrier's clock; later it is not sent any more.
        posted: Whether it may have left.
        status: Of the last answer to the POST itself.
        failure: Why nothing was sent, or was sent and turned away.
        broke: How the way broke after it had left.
        tokens: What must not appear in any message, even if the server repeats it.
    """

    url: str
    name: str
    spends: bool = False
    scope: str | None = None
    leave_by: float | None = None
    posted: bool = False
    status: int | None = None
    failure: KubeezError | None = None
    broke: str = ""
    body: str = field(default="", repr=False)
    html: bool = False
    retry_after: float | None = None
    challenge: str = ""
    location: str = field(default="", repr=False)
    in_session: bool = False
    tokens: set[str] = field(default_factory=set, repr=False)

    @property
    def forgotten(self) -> bool:
        """Whether the answer says that the server knows this session no more: 404 by the specification, and 400 of
        some servers."""
        about_sessions = self.status == 400 and "session" in self.body.lower()
        return self.in_session and (self.status == 404 or about_sessions)

    def renew(self) -> None:
        """Nobody took the request, so that it may go out again."""
        self.posted, self.status, self.failure, self.broke, self.body = False, None, None, "", ""

    def without_tokens(self, text: str) -> str:
        """`text` without tokens and keys."""
        for token in self.tokens:
            text = text.replace(token, "[token]")
        return without_keys(text)

    def hidden(self, text: str) -> str:
        """The same on one line, shortened."""
        return in_short(self.without_tokens(text))

    def said(self, text: str) -> str:
        """The words in quotation marks, as a sentence to put behind another one; empty if there are none."""
        return it_says(self.hidden(text))


CURRENT: ContextVar[Exchange | None] = ContextVar("the exchange of the request that is being sent", default=None)


@dataclass(frozen=True)
class Reply:
    """What a tool answered: `payload` its structured content or the JSON in its text, `text` all of its text."""

    payload: Any
    text: str
    is_error: bool = False


def broken(exchange: Exchange, what: str) -> KubeezError:
    """The error for a request that left but got no whole answer."""
    if exchange.spends:
        return AmbiguousError(f"The request was sent. {what}.", status=exchange.status)
    return UnavailableError(f"{what} from {exchange.url}.", next_step="Try again shortly.", retry_safe=True)


def unusable(exchange: Exchange, why: str, text: str = "") -> KubeezError:
    """The error for an answer that came whole, and cannot be used because of `why`."""
    what = f"The hosted server answered {exchange.name}, but {why}.{exchange.said(text)}"
    if exchange.spends:
        return AmbiguousError(f"The request was sent. {what}", status=exchange.status)
    return UnexpectedAnswerError(what, next_step=_check_url(exchange))


def failure_of(exchange: Exchange, code: int, message: str) -> KubeezError:
    """The error behind a JSON-RPC error, be it the server's or one that the SDK made for want of an answer."""
    if exchange.failure is not None:
        return not_sent(exchange, exchange.failure)
    if exchange.broke:
        return broken(exchange, exchange.broke)
    if exchange.status is not None and exchange.status not in (200, 202):
        return by_status(exchange, exchange.status)
    if code in _BEFORE_ANY_TOOL and exchange.status == 200:
        return _turned_away(exchange, code, message)
    if code == _TIMED_OUT:
        return broken(exchange, "No answer came in time")
    if code == _CLOSED:
        return broken(exchange, "The connection broke")
    if code == _INTERNAL and not exchange.spends:
        return UnavailableError(
            f"The hosted server could not answer {exchange.name}.{exchange.said(message)}",
            next_step="Try again shortly.",
            retry_safe=True,
        )
    return unusable(exchange, f"with an error of the protocol ({code})", message)


def _turned_away(exchange: Exchange, code: int, message: str) -> KubeezError:
    """Refused by the protocol's own checks, which come before any tool runs."""
    if code in (HEADER_MISMATCH, UNSUPPORTED_VERSION):
        return RefusedError(
            f"The hosted server has changed what {exchange.name} takes. Nothing was charged.",
            next_step="Try again; its list of tools is read anew.",
            retry_safe=True,
            code="schema_changed",
        )
    return _refused(f"the call of {exchange.name}", exchange.said(message))


def _refused(what: str, said: str, next_step: str = "") -> RefusedError:
    return RefusedError(
        f"The hosted server refused {what}.{said or ' It gives no reason.'}",
        next_step=next_step or "Nothing was charged; correct the request and send it again.",
    )


def by_status(exchange: Exchange, status: int) -> KubeezError:
    """The error that an HTTP status of the POST itself stands for (as for REST: rest-api.md §1.6, §1.7)."""
    code, words = (None, "") if exchange.html else read_words(exchange.body)
    said = exchange.said(words)
    if exchange.spends and (status >= 500 or status in UNDECIDED):
        detail = f": {quoted(exchange.hidden(words), WORDS_MAX)}" if words else ""
        return AmbiguousError(f"The request was sent, and the answer was HTTP {status}{detail}.", status=status)
    error = _explained(exchange, status, code, words, said)
    if isinstance(error, UnexpectedAnswerError | RefusedError | UnavailableError):
        error.status = status
    return error


def _explained(exchange: Exchange, status: int, code: str | None, words: str, said: str) -> KubeezError:
    delay = exchange.retry_after
    if status >= 500 or status == 408:
        return UnavailableError(
            f"The hosted server could not answer (HTTP {status}).{said}",
            next_step=f"Wait {delay:.0f} seconds, then try again." if delay else "Try again shortly.",
            retry_safe=True,
            retry_after=delay,
        )
    if status == 429:
        return _rate_limited(exchange, " (HTTP 429)", said)
    if status < 400 or exchange.html or status == 405:
        page = " with an HTML page" if exchange.html else ""
        elsewhere = _place(exchange.location)
        what = f"{exchange.url} answered HTTP {status}{page}, which no MCP server does here."
        what += f" It points to {elsewhere}, where nothing is sent." if elsewhere else ""
        return UnexpectedAnswerError(what + said, next_step=_check_url(exchange))
    if status == 402 or BROKE.search(f"{code or ''} {words}"):
        return _no_credits(said)
    if status == 401:
        return UnauthorizedError(f"The hosted server does not accept the token (HTTP 401).{said}", next_step=SIGN_IN)
    if status == 403:
        return _missing_scope(exchange, words, said)
    if exchange.forgotten:
        return RefusedError(
            "The hosted server has forgotten this session, as after a restart. It took nothing.",
            next_step="Try again; a new session is opened.",
            retry_safe=True,
            code="session_ended",
        )
    if status == 404:
        what = f"There is no MCP server at {exchange.url} (HTTP 404).{said}"
        return UnexpectedAnswerError(what, next_step=_check_url(exchange))
    return _refused(f"the request (HTTP {status})", said)


def _rate_limited(exchange: Exchange, how: str, said: str) -> RateLimitedError:
    delay = exchange.retry_after
    return RateLimitedError(
        f"Too many calls of {exchange.name}{how}.{said}",
        next_step=f"Wait {delay:.0f} seconds, then try again." if delay else "Wait until the next minute.",
        retry_safe=True,
        retry_after=delay,
    )


def _no_credits(said: str) -> InsufficientCreditsError:
    step = f"Top up at {BILLING_PAGE}."
    return InsufficientCreditsError(f"The account has too few credits for this.{said}", next_step=step)


def _missing_scope(exchange: Exchange, words: str, said: str) -> MissingScopeError:
    scope = scope_in(exchange.challenge, words) or exchange.scope
    step = "Run `kubeez-mcp-local login --hosted` and agree to it, or make a token that has it."
    return missing_scope("The token for the hosted server", scope, f".{said}", step)


def _check_url(exchange: Exchange) -> str:
    return f"Check KUBEEZ_MCP_URL (now {_place(exchange.url)}) and any proxy in between."


def _place(url: str) -> str:
    """An address without what may be secret in it."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.hostname}{port}{parts.path}" if parts.hostname else parts.path


def not_sent(exchange: Exchange, error: KubeezError) -> KubeezError:
    """For a paid call: what failed before it left. None of its kinds may leave a doubt."""
    if not exchange.spends or not isinstance(error, UnavailableError | AmbiguousError):
        return error
    return UnreachableError(f"{error.message} Nothing was sent.", next_step=error.next_step, retry_safe=True)


_NAMED: tuple[tuple[type[ApiError], re.Pattern[str]], ...] = (
    (InsufficientCreditsError, re.compile(r"insufficient_(credits?|balance|funds)|payment_required|402")),
    (RateLimitedError, re.compile(r"rate_limit(ed|_exceeded|_reached)?|too_many_requests|429")),
    (MissingScopeError, re.compile(r"(missing|insufficient)_scope|forbidden|403")),
    (UnauthorizedError, re.compile(r"unauthori[sz]ed|invalid_token|(token_)?expired(_token)?|401")),
    (NotFoundError, re.compile(r"([a-z]+_)*not_found|404")),
    (
        RefusedError,
        re.compile(
            r"(invalid|missing|unsupported)_[a-z_]+|validation_error|bad_request|unprocessable_entity|400|413|422|"
            r"shared_scope_required|source_too_large|trim_too_long|unknown_tool|(content_policy|moderation)[a-z_]*"
        ),
    ),
)
_STARTED = ("generation_id", "generation_ids", "separation_id")
# What the SDKs' own servers say of arguments before they call the tool.
_ARGUMENTS = re.compile(
    r"\d+ validation errors? for (\w*Arguments\b|call\[)|Input validation error\b|Unknown tool\b|MCP error -3260[12]\b"
)
_RATE = re.compile(r"(HTTP )?429\b|.{0,60}\brate.?limit\b|.{0,60}\btoo many requests\b", re.IGNORECASE)
_LEADING_CODE = re.compile(r"\W*([a-z]+(?:_[a-z]+)+)\b")
# Only where nothing is paid: the words of a tool may be about a second step of its own.
_SOUNDS_LIKE: tuple[tuple[type[ApiError], re.Pattern[str]], ...] = (
    (
        UnauthorizedError,
        re.compile(r"\b401\b|unauthori[sz]ed|(invalid|expired) token|token (is|has) (invalid|expired)"),
    ),
    (MissingScopeError, re.compile(r"\b403\b|\bscope\b|forbidden")),
    (NotFoundError, re.compile(r"\b404\b|not found|no such|unknown (generation|id|job)")),
    (RefusedError, re.compile(r"\b4(00|22)\b|\binvalid\b|\bmust (be|not)\b|\bis required\b")),
)


def started_something(payload: object) -> bool:
    """Whether an answer, even one that is marked as an error, names a job."""
    return isinstance(payload, dict) and any(payload.get(name) for name in _STARTED)


def names_error(payload: object) -> bool:
    """Whether an answer that is not marked as one is an error all the same."""
    return isinstance(payload, dict) and any(payload.get(name) for name in ("error", "error_code", "code", "detail"))


def refusal_of(exchange: Exchange, reply: Reply) -> KubeezError:
    """The error that an answer of a tool stands for; for a paid one it says so only if a refusal is proven."""
    text = _without_prefix(reply.text)
    payload = reply.payload if isinstance(reply.payload, dict) else object_in(text)
    code, words = _code_and_words(payload) if payload is not None else (None, text)
    words = words or text
    kind = _kind_of(code or "") or (None if payload is not None else _by_text(text, paid=exchange.spends))
    if kind is None or (exchange.spends and started_something(payload)):
        return unusable(exchange, "with an error" if reply.is_error else "it holds no job", words)
    return _error(kind, exchange, code, words)


def _code_and_words(payload: Mapping[str, Any]) -> tuple[str | None, str]:
    code, words = read_words(payload)
    number = next((payload[name] for name in ("status_code", "http_status", "status") if name in payload), None)
    if code is None or _kind_of(code) is None:
        code = str(number) if isinstance(number, int) and not isinstance(number, bool) else code
    return code, words


def _kind_of(code: str) -> type[ApiError] | None:
    name = code.strip().lower().replace("-", "_").replace(".", "_")
    return next((kind for kind, pattern in _NAMED if pattern.fullmatch(name)), None)


def _by_text(text: str, *, paid: bool) -> type[ApiError] | None:
    leading = _LEADING_CODE.match(text)
    if leading and (kind := _kind_of(leading.group(1))):
        return kind
    if BROKE.search(text):
        return InsufficientCreditsError
    if _ARGUMENTS.match(text):
        return RefusedError
    if _RATE.match(text):
        return RateLimitedError
    if paid:
        return None
    return next((kind for kind, pattern in _SOUNDS_LIKE if pattern.search(text.lower())), None)


def _error(kind: type[ApiError], exchange: Exchange, code: str | None, words: str) -> KubeezError:
    said = exchange.said(words)
    error: ApiError
    if kind is InsufficientCreditsError:
        error = _no_credits(said)
    elif kind is RateLimitedError:
        error = _rate_limited(exchange, "", said)
    elif kind is MissingScopeError:
        error = _missing_scope(exchange, words, said)
    elif kind is UnauthorizedError:
        error = UnauthorizedError(f"The hosted server does not accept the token.{said}", next_step=SIGN_IN)
    elif kind is NotFoundError:
        error = NotFoundError(f"The hosted server does not know this ({exchange.name}).{said}")
    else:
        step = "Nothing was charged." if exchange.spends else "Correct the request and send it again."
        error = _refused(f"the call of {exchange.name}", said, step)
    error.api_code = code if code and not code.isdecimal() else None
    return error


def _without_prefix(text: str) -> str:
    return re.sub(r"^\s*(Error executing tool [\w.-]+:\s*)?(Error:\s*)?", "", text)
