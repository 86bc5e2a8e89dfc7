"""On whose behalf a paid job is started."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kubeez_mcp_local.jobs.consent import Consent


CALL_KEY = "com.kubeez/call-key"
"""In a call's `_meta`: names the intention for good, so that a call with the same key never pays again."""
RECIPE = "com.kubeez/recipe"
"""In a call's `_meta`: the recipe on whose behalf it comes, for the ledger."""


@dataclass(frozen=True)
class Caller:
    """Who asks for a paid job.

    Attributes:
        consent: Puts questions to the user.
        approval: The code of an earlier quote that the user has agreed to; empty without one.
        client: Name of the program, for the ledger.
        key: Names the intention for good: another call with the same key gets the job of the first, however late.
        recipe: The recipe on whose behalf it asks.
    """

    consent: Consent
    approval: str = ""
    client: str = ""
    key: str = ""
    recipe: str = ""
