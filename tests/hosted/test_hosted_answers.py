"""Whatever a tool says, a paid call ends in the ids that it named, in a refusal that it named, or in doubt."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.hosted.answers import Exchange, Reply, by_status, failure_of, refusal_of, started_something
from kubeez_mcp_local.rest.errors import AmbiguousError, ApiError, NotFoundError, RateLimitedError

_WORDS = st.sampled_from(
    [
        "insufficient_credits",
        "not found",
        "401",
        "rate limit",
        "generation_id",
        "error",
        "g-1",
        "",
        "status",
        "invalid_x",
    ]
) | st.text(max_size=12)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS, inner, max_size=4),
    max_leaves=12,
)


@given(_JSON, _WORDS, st.booleans(), st.booleans())
def test_whatever_is_said_is_one_of_our_errors(payload: Any, text: str, is_error: bool, as_text: bool) -> None:
    said = json.dumps(payload) if as_text else text
    for spends in (True, False):
        exchange = Exchange("https://mcp.kubeez.com/mcp", "generate_media", spends)
        error = refusal_of(exchange, Reply(None if as_text else payload, said, is_error))
        assert isinstance(error, ApiError if not spends else KubeezError)
        assert str(error)
        if spends and started_something(payload):
            assert isinstance(error, AmbiguousError)


@given(st.integers(100, 599), st.integers(-33000, 0), _WORDS, st.booleans())
def test_what_may_have_been_taken_is_never_called_refused(status: int, code: int, body: str, broke: bool) -> None:
    exchange = Exchange(
        "https://mcp.kubeez.com/mcp", "generate_media", spends=True, posted=True, status=status, body=body
    )
    exchange.broke = "The connection broke" if broke else ""
    error = failure_of(exchange, code, "no")
    if broke or status in (200, 202, 408) or status >= 500:
        before_any_tool = status == 200 and code in (-32601, -32602, -32020, -32021, -32022)
        assert isinstance(error, AmbiguousError) or (before_any_tool and not broke)


@pytest.mark.parametrize("after", [7.0, None])
def test_how_long_to_wait_is_passed_on(after: float | None) -> None:
    exchange = Exchange("https://mcp.kubeez.com/mcp", "get_status", retry_after=after)
    error = by_status(exchange, 429)
    assert isinstance(error, RateLimitedError)
    assert error.retry_after == after


def test_the_code_that_the_server_gave_is_kept() -> None:
    error = refusal_of(Exchange("u", "get_status"), Reply({"error": "generation_not_found"}, "", is_error=True))
    assert isinstance(error, NotFoundError)
    assert error.api_code == "generation_not_found"
