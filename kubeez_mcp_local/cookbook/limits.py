"""What a recipe's argument allows, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kubeez_mcp_local.cookbook.format import Argument


def limits_in_words(argument: Argument) -> str:
    """Its range or longest text, such as `1 to 200`, `at most 12 entries` or `at most 400 characters`; else nothing.

    A list's or table's range counts its entries or rows.
    """
    low, high = argument.minimum, argument.maximum
    if low is None and high is None:
        return f"at most {argument.max_length:,} characters" if argument.max_length else ""
    unit = {"list": " entries", "table": " rows"}.get(argument.type, "")
    if low is None:
        return f"at most {high:,.15g}{unit}"
    return f"at least {low:,.15g}{unit}" if high is None else f"{low:,.15g} to {high:,.15g}{unit}"
