"""Refusals of the stand-in API, in the shapes that clients of the real one have met.

Shapes and status codes: public client code and documentation; which route uses which shape is not documented.
"""

from __future__ import annotations

from typing import Any


class Refusal(Exception):  # noqa: N818 - an answer of the API rather than a fault of this program
    """An answer other than success: `status` and a JSON `body`, with optional response headers."""

    def __init__(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        super().__init__(f"{status} {body}")
        self.status = status
        self.body = body
        self.headers = headers


def unauthorized(reason: str) -> Refusal:
    """401: no key, an unknown key or a revoked one."""
    return Refusal(401, {"detail": reason})


def missing_scope(scope: str) -> Refusal:
    """403: the key lacks `scope`."""
    return Refusal(403, {"detail": f"API key is missing the required scope: {scope}"})


def not_found(what: str = "Not found") -> Refusal:
    """404: unknown route or id."""
    return Refusal(404, {"detail": what})


def invalid(message: str) -> Refusal:
    """400: the request contradicts the model's catalogue row."""
    return Refusal(400, {"detail": message})


def invalid_model(model: str) -> Refusal:
    """400: no such model."""
    return Refusal(400, {"error": "invalid_model", "message": f"Unknown model: {model}"})


def insufficient_credits(status: int, needed: float, left: float) -> Refusal:
    """400 or 402, as the knob says: the balance does not cover the price, both in credits."""
    if status == 400:
        return Refusal(400, {"error": "insufficient_credits"})
    return Refusal(
        status,
        {
            "error": "insufficient_credits",
            "message": f"Insufficient credits: this costs {needed:g}, your balance is {left:g}.",
            "purchase_url": "https://kubeez.com/billing",
        },
    )


def too_many(reason: str, retry_after: float | None = None) -> Refusal:
    """429: a per-minute bucket or a concurrency cap is full; `retry_after` in seconds becomes a header."""
    headers = None if retry_after is None else {"Retry-After": f"{retry_after:g}"}
    return Refusal(429, {"detail": reason}, headers)
