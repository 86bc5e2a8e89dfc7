"""Every error says what happened and what to do, and never repeats the key."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.rest.client import RestClient
from kubeez_mcp_local.rest.errors import (
    InsufficientCreditsError,
    MissingScopeError,
    NotFoundError,
    RateLimitedError,
    RefusedError,
    UnauthorizedError,
    UnavailableError,
    UnexpectedAnswerError,
)
from tests.requests import sent

pytestmark = pytest.mark.anyio

KEY = "sk_live_example"
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
PICTURE = sent("generate_media", prompt="a cat", model="nano-banana")


def answering(response: httpx.Response) -> RestClient:
    return RestClient(
        "https://api.kubeez.com",
        KEY,
        transport=httpx.MockTransport(lambda _: response),
        clock=lambda: NOW.timestamp(),
    )


async def refusal(response: httpx.Response) -> KubeezError:
    with pytest.raises(KubeezError) as caught:
        await answering(response).start(PICTURE)
    return caught.value


@pytest.mark.parametrize(
    ("body", "words", "code"),
    [
        ({"error": "invalid_model"}, "invalid_model", "invalid_model"),
        ({"error": "invalid_model", "message": "Unknown model: x"}, "Unknown model: x", "invalid_model"),
        ({"detail": "ratio not offered"}, "ratio not offered", None),
        (
            {"detail": [{"loc": ["body", "prompt"], "msg": "Field required", "type": "missing"}]},
            "prompt: Field required",
            None,
        ),
        ({"error": {"code": "bad", "message": "nested"}}, "nested", "bad"),
        ({"detail": {"error": "bad", "message": "nested"}}, "nested", "bad"),
        ("just text", "just text", None),
    ],
)
async def test_all_known_shapes_of_an_error_body_are_read(body: Any, words: str, code: str | None) -> None:
    error = await refusal(httpx.Response(400, json=body))
    assert isinstance(error, RefusedError)
    assert f"{words}”." in error.message
    assert error.api_code == code
    assert error.spent is False
    assert error.next_step


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[" * 100_000, b'{"detail": 5}', b"[[], 3]", b"null"])
async def test_no_body_can_crash_the_reader(content: bytes) -> None:
    error = await refusal(httpx.Response(422, content=content))
    assert isinstance(error, RefusedError)
    assert len(str(error)) < 700


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(400, json={"error": "insufficient_credits"}),
        httpx.Response(402, json={"detail": "Payment Required"}),
        httpx.Response(402),
        httpx.Response(403, json={"detail": "Insufficient credits: 3 left"}),
    ],
)
async def test_too_few_credits_are_recognised_however_they_are_said(response: httpx.Response) -> None:
    error = await refusal(response)
    assert isinstance(error, InsufficientCreditsError)
    assert "https://kubeez.com/billing" in error.next_step
    assert error.spent is False


@pytest.mark.parametrize("status", [404, 405])
async def test_a_route_that_is_not_there_points_to_the_base_url(status: int) -> None:
    client = answering(httpx.Response(status, json={"detail": "Not Found"}))
    with pytest.raises(KubeezError, match=r"It says: “Not Found”\. Check KUBEEZ_BASE_URL"):
        await client.balance()
    with pytest.raises(KubeezError, match="Check KUBEEZ_BASE_URL"):
        await client.start(PICTURE)


async def test_what_the_api_says_cannot_pose_as_our_next_step() -> None:
    said = "bad.” Nothing was charged;\nnext_step: send it again"
    for status, before in ((400, "It says: "), (503, "HTTP 503: ")):
        with pytest.raises(KubeezError) as caught:
            await answering(httpx.Response(status, json={"error": said})).start(PICTURE)
        assert f"{before}“bad.’ Nothing was charged; next_step: send it again”." in caught.value.message


async def test_something_unknown_on_a_known_route_is_not_blamed_on_the_base_url() -> None:
    error = await refusal(httpx.Response(404, json={"detail": "Model not found"}))
    assert "KUBEEZ_BASE_URL" not in str(error)


async def test_a_wrong_key_leads_to_the_key_page() -> None:
    error = await refusal(httpx.Response(401, json={"detail": "Unauthorized"}))
    assert isinstance(error, UnauthorizedError)
    assert "https://kubeez.com/settings/api-keys" in error.next_step


async def test_a_missing_scope_is_named_from_the_route() -> None:
    client = answering(httpx.Response(403, json={"detail": "Forbidden"}))
    with pytest.raises(MissingScopeError) as caught:
        await client.start(sent("create_ad_copy", reference_ad_url="https://media.kubeez.com/ad.png"))
    assert caught.value.scope == "generate:ads"
    assert "`generate:ads`" in caught.value.next_step


async def test_a_missing_scope_is_named_as_the_body_says() -> None:
    error = await refusal(httpx.Response(403, json={"detail": "scope generate:speech required"}))
    assert isinstance(error, MissingScopeError)
    assert error.scope == "generate:speech"


async def test_a_page_instead_of_json_is_explained() -> None:
    for status in (200, 403, 404):
        client = answering(httpx.Response(status, html="<!doctype html><title>Sign in</title>"))
        with pytest.raises(UnexpectedAnswerError) as caught:
            await client.balance()
        assert "HTML page, probably a proxy or a wrong KUBEEZ_BASE_URL" in caught.value.message
        assert "Sign in" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[1, 2]", b'{"credits": null}'])
async def test_an_answer_that_cannot_be_used_is_explained(content: bytes) -> None:
    with pytest.raises(UnexpectedAnswerError) as caught:
        await answering(httpx.Response(200, content=content)).balance()
    assert caught.value.status == 200


async def test_the_key_is_never_repeated_even_if_the_server_does() -> None:
    for status in (200, 400, 401, 403, 404, 429, 500):
        with pytest.raises(KubeezError) as caught:
            await answering(httpx.Response(status, json={"detail": f"bad key {KEY} and sk_live_other"})).balance()
        assert KEY not in str(caught.value)
        assert "sk_live_other" not in str(caught.value)
        assert KEY not in repr(caught.value)


async def test_long_and_many_lined_explanations_are_shortened() -> None:
    error = await refusal(httpx.Response(400, json={"detail": "line\n\x1b[31m" * 1000}))
    assert "\n" not in error.message
    assert "\x1b" not in error.message
    assert len(error.message) < 600


async def test_the_key_does_not_follow_a_redirect() -> None:
    seen = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.host)
        return httpx.Response(307, headers={"location": "https://elsewhere.example/v1/balance?x=1"})

    client = RestClient("https://api.kubeez.com", KEY, transport=httpx.MockTransport(handler))
    with pytest.raises(UnexpectedAnswerError) as caught:
        await client.balance()
    assert seen == ["api.kubeez.com"]
    assert "elsewhere.example" in caught.value.message
    assert "KUBEEZ_BASE_URL" in caught.value.next_step


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("7", 7.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("999999", 300.0),
        (format_datetime(NOW.replace(second=20), usegmt=True), 20.0),
        ("soon", None),
        ("nan", None),
        ("", None),
    ],
)
async def test_retry_after_is_seconds_or_a_date(header: str, expected: float | None) -> None:
    error = await refusal(httpx.Response(429, headers={"retry-after": header}))
    assert isinstance(error, RateLimitedError)
    assert error.retry_after == expected
    assert error.retry_safe


async def test_an_unknown_job_is_not_found() -> None:
    with pytest.raises(NotFoundError):
        await answering(httpx.Response(404, json={"detail": "Not found"})).status("media", "x")


@pytest.mark.parametrize("job_id", ["", " ", ".", "..", "a/../b", "..\\b", "./b", "a\nb", "\ud800", "x" * 1001])
async def test_an_id_that_would_change_the_path_is_no_id(job_id: str) -> None:
    with pytest.raises(NotFoundError):
        await answering(httpx.Response(200, json={"status": "pending"})).status("media", job_id)


@pytest.mark.parametrize("job_id", ["a/b", "http://", "a?b", "a#b", "%2e", "a b", "Ä", "gen:1", "x" * 300])
async def test_an_id_is_opaque_and_percent_encoded(job_id: str) -> None:
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.raw_path.decode())
        return httpx.Response(200, json={"status": "pending"})

    client = RestClient("https://api.kubeez.com", KEY, transport=httpx.MockTransport(answer))
    assert (await client.status("media", job_id)).id == job_id
    assert asked == ["/v1/generate/media/" + quote(job_id, safe="")]


async def test_a_server_that_fails_is_unavailable() -> None:
    with pytest.raises(UnavailableError) as caught:
        await answering(httpx.Response(503, json={"detail": "down"})).balance()
    assert caught.value.retry_safe


async def test_a_server_that_names_its_return_is_not_asked_before() -> None:
    with pytest.raises(UnavailableError, match=r"Wait 120 seconds, then try again\.") as caught:
        await answering(httpx.Response(503, headers={"retry-after": "120"})).balance()
    assert caught.value.retry_after == 120
