"""Numbers of the API that mean money: what cannot be true is unknown, wherever it stands."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kubeez_mcp_local.bridge.pricing import total_of
from kubeez_mcp_local.catalogue.models import RowError, parse_row
from kubeez_mcp_local.catalogue.prices import rate_of
from kubeez_mcp_local.cookbook.export.runtime import price_told
from kubeez_mcp_local.rest.wire import (
    MOST,
    MOST_FOR_A_JOB,
    ParseError,
    balance_of,
    price_of,
    read_accepted,
    read_balance,
    read_generation,
)

IMPOSSIBLE: tuple[Any, ...] = (
    *(-14, -0.000001, "-14", float("nan"), float("inf"), float("-inf"), "nan", "Infinity", 1e300, 10**400, 2 * MOST),
    *(True, [14], {"credits": 14}, "lots"),
)
"""What no account and no job can come to."""


def test_what_cannot_be_an_amount_is_unknown_and_what_can_is_kept() -> None:
    assert [price_of(value) for value in (0, 0.5, "14", 960, MOST_FOR_A_JOB)] == [0, 0.5, 14, 960, MOST_FOR_A_JOB]
    assert [balance_of(value) for value in (0, "1000.5", MOST)] == [0, 1000.5, MOST]
    for value in IMPOSSIBLE:
        assert (value, price_of(value), balance_of(value)) == (value, None, None)
    assert (price_of(MOST_FOR_A_JOB + 1), balance_of(MOST_FOR_A_JOB + 1)) == (None, MOST_FOR_A_JOB + 1)


def test_impossible_amounts_never_get_past_the_answers_of_the_api() -> None:
    for value in IMPOSSIBLE:
        body = json.loads(json.dumps({"id": "g", "status": "completed", "credits_deducted": value}))
        assert read_generation(body).credits_deducted is None
        body = json.loads(json.dumps({"generation_id": "g", "estimated_cost_credits": value}))
        assert read_accepted(body).estimated_cost_credits is None
        if not isinstance(value, dict):  # that is the other spelling of a balance
            with pytest.raises(ParseError, match="no number of credits"):
                read_balance(json.loads(json.dumps({"credits": value})))
        assert total_of({"credits": value, "total": 21}) == 21


def test_impossible_prices_in_the_catalogue_quote_nothing() -> None:
    row = {"model_id": "kite", "model_type": "image"}
    for value in (*IMPOSSIBLE, MOST_FOR_A_JOB + 1):
        with pytest.raises(RowError, match="cost_per_generation should be"):
            parse_row(row | {"cost_per_generation": value})
    for note in ("9" * 400 + " credits per second", "100001 credits per minute"):
        assert rate_of(parse_row(row | {"cost_note": note})) is None


def test_an_exported_script_keeps_its_budget_too() -> None:
    assert [price_told(value) for value in (0, 14, 960.5, None, "14", *IMPOSSIBLE)][:4] == [0, 14, 960.5, None]
    assert {price_told(value) for value in IMPOSSIBLE} == {None}


def test_an_endless_estimate_of_the_time_breaks_no_row() -> None:
    for seconds in (10**400, 1e300, 10**7, -5, float("nan")):
        row = {"model_id": "kite", "model_type": "image", "estimated_time_seconds": seconds}
        assert parse_row(row).seconds is None
