"""Turns what came back into JSON or into the error that explains it (rest-api.md §1.6, §1.7, §5.1)."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from kubeez_mcp_local.rest.errors import (
    BILLING_PAGE,
    KEYS_PAGE,
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
)
from kubeez_mcp_local.rest.wire import from_json
from kubeez_mcp_local.text import cut, quoted, without_keys

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from kubeez_mcp_local.rest.routes import Route

E = TypeVar("E", bound=ApiError)

LONGEST_RETRY_AFTER = 300.0
WORDS_MAX = 400
_SCOPE = re.compile(r"\b(?:generate|read):[a-z]+\b")
BROKE = re.compile(r"insufficient[_\s-]*(?:credits?|balance|funds)|not enough credits", re.IGNORECASE)
# Answers to a paid POST after which the job may exist all the same: a time-out reported by somebody on the way, or a
# redirect that may follow the work (302, 303 …) instead of naming another place for it (301, 307, 308).
UNDECIDED = {300, 302, 303, 304, 408, 499}


@dataclass(frozen=True)
class ErrorWords:
    """What an error answer says in words: the API's own code and explanation, redacted and shortened."""

    code: str | None
    words: str
    html: bool

    @property
    def quoted(self) -> str:
        """The words in quotation marks, as a sentence to put behind another one; empty if there are none."""
        return it_says(self.words)


@dataclass(frozen=True)
class Interpreter:
    """Reads answers for one API and one key, which never gets into a message even if the server repeats it."""

    origin: str
    key: str | None = field(repr=False)
    clock: Callable[[], float]

    def json(self, response: httpx.Response, route: Route) -> Any:
        """The JSON of a 2xx answer.

        Raises:
            ApiError: The answer is an error, or not JSON.
            AmbiguousError: So it is, but the request was a paid one and may have been accepted.
        """
        if not response.is_success:
            raise self.failure(response, route)
        try:
            return from_json(response.content)
        except (ValueError, RecursionError):
            raise self.unusable(response, route, "it is not JSON") from None

    def unusable(self, response: httpx.Response, route: Route, why: str) -> ApiError | AmbiguousError:
        """The error for a 2xx answer that cannot be used because of `why`."""
        said = self.error_words(response)
        what = self._html(response) if said.html else f"The API answered {response.status_code}, but {why}."
        what += said.quoted
        if route.spends:
            return AmbiguousError(f"The request was sent. {what}", status=response.status_code)
        return _filled(UnexpectedAnswerError(what, next_step=self._check_origin()), response, said)

    def failure(self, response: httpx.Response, route: Route) -> ApiError | AmbiguousError:
        """The error that a non-2xx answer stands for."""
        status, said = response.status_code, self.error_words(response)
        if route.spends and (status >= 500 or status in UNDECIDED):
            detail = f": {quoted(said.words, WORDS_MAX)}" if said.words else ""
            return AmbiguousError(f"The request was sent, and the answer was HTTP {status}{detail}.", status=status)
        return _filled(self._explain(response, route, said), response, said)

    def _explain(self, response: httpx.Response, route: Route, said: ErrorWords) -> ApiError:
        status, words = response.status_code, said.quoted
        if 300 <= status < 400:
            place = urlsplit(response.headers.get("location", "")).hostname or "another path"
            return UnexpectedAnswerError(
                f"{self.origin} redirects to {place} (HTTP {status}); the key is not sent there.",
                next_step=self._check_origin(),
            )
        if status >= 500:
            delay = self.retry_after(response)
            return UnavailableError(
                f"The API could not answer (HTTP {status}).{words}",
                next_step=f"Wait {delay:.0f} seconds, then try again." if delay else "Try again shortly.",
                retry_safe=True,
                retry_after=delay,
            )
        if status == 429:
            delay = self.retry_after(response)
            wait = f"Wait {delay:.0f} seconds" if delay else "Wait until the next minute"
            return RateLimitedError(
                f"Too many requests in the `{route.bucket}` bucket (HTTP 429).{words}",
                next_step=f"{wait}, then try again.",
                retry_safe=True,
                retry_after=delay,
            )
        if said.html:
            return UnexpectedAnswerError(self._html(response), next_step=self._check_origin())
        return self._client_error(status, route, said, words)

    def _client_error(self, status: int, route: Route, said: ErrorWords, words: str) -> ApiError:
        if status == 402 or BROKE.search(f"{said.code or ''} {said.words}"):
            return InsufficientCreditsError(
                f"The account has too few credits for this.{words}", next_step=f"Top up at {BILLING_PAGE}."
            )
        if status == 401:
            return UnauthorizedError(
                f"The API does not accept the key (HTTP 401).{words}",
                next_step=f"Make a new key at {KEYS_PAGE}, and run `kubeez-mcp-local login`.",
            )
        if status == 403:
            scope = scope_in(said.words) or route.scope
            step = f"Create a key with {f'`{scope}`' if scope else 'the needed scope'} at {KEYS_PAGE}."
            return missing_scope("The key", scope, f" (HTTP 403).{words}", step)
        if status == 404:
            # Otherwise it is an id that is unknown, or something that the body names.
            unknown_route = "{" not in route.path and said.words.lower() in ("", "not found")
            return NotFoundError(
                f"The API does not know this (HTTP 404 for {route.name}).{words}",
                next_step=self._check_origin() if unknown_route else "",
            )
        if status == 405:
            return RefusedError(
                f"The API does not take this here (HTTP 405 for {route.name}).{words}", next_step=self._check_origin()
            )
        if status == 413:
            return RefusedError(f"The file or request is too large (HTTP 413).{words}", next_step="Send a smaller one.")
        return RefusedError(
            f"The API refused the request (HTTP {status}).{words or ' It gives no reason.'}",
            next_step="Nothing was charged; correct the request and send it again.",
        )

    def retry_after(self, response: httpx.Response) -> float | None:
        """Seconds from `Retry-After`, given as seconds or as an HTTP date; at most five minutes."""
        text = response.headers.get("retry-after", "").strip()
        if not text:
            return None
        try:
            delay = float(text)
        except ValueError:
            try:
                delay = parsedate_to_datetime(text).timestamp() - self.clock()
            except (ValueError, OverflowError):
                return None
        return None if math.isnan(delay) else min(max(delay, 0.0), LONGEST_RETRY_AFTER)

    def error_words(self, response: httpx.Response) -> ErrorWords:
        """What the body says, in whichever of the known shapes it says it."""
        text = response.text
        if _is_html(response, text):
            return ErrorWords(None, "", html=True)
        code, words = read_words(text)
        return ErrorWords(code, self.redact(words), html=False)

    def words_of(self, text: str) -> str:
        """What an error text says, be it JSON or plain; redacted, shortened, in quotation marks; empty if nothing."""
        words = self.redact(read_words(text)[1])
        return quoted(words, WORDS_MAX) if words else ""

    def redact(self, text: str) -> str:
        """`text` without the key, on one line, shortened."""
        return in_short(text.replace(self.key, "[key]") if self.key else text)

    def _html(self, response: httpx.Response) -> str:
        return (
            f"{self.origin} answered HTTP {response.status_code} with "
            "an HTML page, probably a proxy or a wrong KUBEEZ_BASE_URL."
        )

    def _check_origin(self) -> str:
        return f"Check KUBEEZ_BASE_URL (now {self.origin}) and any proxy in between."


def missing_scope(whose: str, scope: str | None, rest: str, next_step: str) -> MissingScopeError:
    """The error for a key or token that lacks `scope`; `rest` ends the sentence."""
    lacks = f"lacks the scope `{scope}`" if scope else "is not allowed to do this"
    error = MissingScopeError(f"{whose} {lacks}{rest}", next_step=next_step)
    error.scope = scope
    return error


def scope_in(*texts: str) -> str | None:
    """The scope that the first of these texts names which names one."""
    return next((found.group() for text in texts if (found := _SCOPE.search(text))), None)


def in_short(text: str) -> str:
    """Words of a server without keys, on one line, shortened."""
    text = " ".join(without_keys(text).split())
    return cut("".join(char for char in text if char.isprintable()), WORDS_MAX)


def it_says(words: str) -> str:
    """The words in quotation marks, as a sentence to put behind another one; empty if there are none."""
    return f" It says: {quoted(words, WORDS_MAX)}." if words else ""


def _filled(error: E, response: httpx.Response, said: ErrorWords) -> E:
    error.status, error.api_code = response.status_code, said.code
    return error


def _is_html(response: httpx.Response, text: str) -> bool:
    kind = response.headers.get("content-type", "").lower()
    return "html" in kind or text.lstrip()[:15].lower().startswith(("<!doctype", "<html"))


def read_words(body: object) -> tuple[str | None, str]:
    """The code and the explanation in an error body: JSON, text of JSON, or plain text."""
    if not isinstance(body, str):
        return _parts(body)
    try:
        return _parts(json.loads(body))
    except (ValueError, RecursionError):
        return None, body


def _parts(payload: object) -> tuple[str | None, str]:
    """The code and the explanation in an error body: the four shapes of rest-api.md §1.6, also nested."""
    if isinstance(payload, str):
        return None, payload
    if isinstance(payload, list):
        return None, "; ".join(_complaint(item) for item in payload[:3])
    if not isinstance(payload, dict):
        return None, ""
    code, words = None, ""
    for name in ("error", "message", "detail"):
        value = payload.get(name)
        inner_code, inner_words = _parts(value)
        if name == "error" and isinstance(value, str) and re.fullmatch(r"[A-Za-z][\w.-]*", value):
            inner_code = value
        code, words = code or inner_code, _joined(words, inner_words)
    if isinstance(payload.get("code"), str):
        code = payload["code"]
    return code, words


def _joined(words: str, more: str) -> str:
    if not more or more in words:
        return words
    return f"{words}: {more}" if words else more


def _complaint(item: object) -> str:
    """One entry of a FastAPI validation answer as `field: what is wrong`."""
    if not isinstance(item, dict):
        return str(item)
    place = ".".join(str(part) for part in item.get("loc") or [] if part not in ("body", "query", "path"))
    return f"{place}: {item.get('msg', '')}" if place else str(item.get("msg", item))
