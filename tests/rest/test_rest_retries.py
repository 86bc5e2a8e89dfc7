"""Free calls are repeated after passing failures, for a bounded time."""

from __future__ import annotations

import ssl

import httpx
import pytest

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.rest.client import Patience, RestClient, Waits, with_retries
from kubeez_mcp_local.rest.errors import (
    RateLimitedError,
    RefusedError,
    UnavailableError,
    UnreachableError,
)

pytestmark = pytest.mark.anyio


def limited(seconds: float | None) -> RateLimitedError:
    error = RateLimitedError("slow down")
    error.status, error.retry_after = 429, seconds
    return error


def unavailable(status: int | None) -> UnavailableError:
    error = UnavailableError("down")
    error.status = status
    return error


@pytest.mark.parametrize(
    "failure", [httpx.Response(429), httpx.Response(500), httpx.Response(502, html="<html>"), httpx.ReadError("reset")]
)
async def test_a_read_is_repeated_after_a_passing_failure(failure: httpx.Response | Exception) -> None:
    tries = 0

    def handler(request: httpx.Request) -> httpx.Response:
        nonlocal tries
        tries += 1
        if tries < 3:
            if isinstance(failure, Exception):
                raise failure
            return failure
        return httpx.Response(200, json={"credits": 5})

    client = RestClient("https://api.kubeez.com", "k", transport=httpx.MockTransport(handler))
    assert (await client.balance()).credits == 5
    assert tries == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_a_read_that_was_refused_is_not_repeated(status: int) -> None:
    tries = 0

    def handler(request: httpx.Request) -> httpx.Response:
        nonlocal tries
        tries += 1
        return httpx.Response(status)

    client = RestClient("https://api.kubeez.com", "k", transport=httpx.MockTransport(handler))
    with pytest.raises(KubeezError):
        await client.balance()
    assert tries == 1


async def test_the_last_error_is_let_through() -> None:
    async def fail() -> None:
        raise unavailable(500)

    with pytest.raises(UnavailableError):
        await with_retries(fail, Patience())


async def test_patience_for_one_attempt_never_repeats() -> None:
    calls = 0

    async def fail() -> None:
        nonlocal calls
        calls += 1
        raise unavailable(500)

    with pytest.raises(UnavailableError):
        await with_retries(fail, Patience(attempts=1))
    assert calls == 1


def test_the_wait_is_what_the_api_asked_for() -> None:
    waits = Waits(Patience(), paid=False)
    assert waits(limited(7.0)) == 7.0
    assert waits(limited(None)) is True
    assert waits(unavailable(503)) is True


def test_waiting_ends_when_the_api_asks_for_more_than_there_is() -> None:
    waits = Waits(Patience(seconds=30), paid=False)
    assert waits(limited(20)) == 20
    assert waits(limited(20)) is False
    assert Waits(Patience(seconds=30), paid=False)(limited(60)) is False


def test_a_server_that_is_not_there_is_given_up_early() -> None:
    waits = Waits(Patience(attempts=9), paid=False)
    assert [waits(UnreachableError("no")) for _ in range(3)] == [True, True, False]


def test_what_cannot_change_is_not_waited_for() -> None:
    permanent = UnreachableError("certificate")
    permanent.permanent = True
    assert Waits(Patience(), paid=False)(permanent) is False
    assert Waits(Patience(), paid=False)(RefusedError("no")) is False
    assert Waits(Patience(), paid=False)(ValueError("bug")) is False


@pytest.mark.parametrize("status", [500, 502, 503, None])
def test_a_paid_request_is_not_repeated_even_if_its_failure_looks_passing(status: int | None) -> None:
    assert Waits(Patience(), paid=True)(unavailable(status)) is False


async def test_a_certificate_that_is_not_trusted_is_explained_at_once() -> None:
    tries = 0

    def handler(request: httpx.Request) -> httpx.Response:
        nonlocal tries
        tries += 1
        try:
            raise ssl.SSLCertVerificationError(1, "self-signed certificate in chain")
        except ssl.SSLError as error:
            raise httpx.ConnectError("handshake") from error

    client = RestClient("https://api.kubeez.com", "k", transport=httpx.MockTransport(handler))
    with pytest.raises(UnreachableError) as caught:
        await client.balance()
    assert tries == 1
    assert "self-signed" in caught.value.message
    assert "SSL_CERT_FILE" in caught.value.next_step
