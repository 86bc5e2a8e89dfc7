"""On whose behalf a paid job is started."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kubeez_mcp_local.jobs.consent import Consent
    from kubeez_mcp_local.jobs.order import RunCall


RECIPE = "com.kubeez/recipe"
"""In a call's `_meta`: the recipe on whose behalf it comes, for the ledger."""
RUN = "com.kubeez/run"
"""In a call's `_meta`: the call of a run that it is, with the fields of `RunCall`. It can only lower ceilings."""


@dataclass(frozen=True)
class Caller:
    """Who asks for a paid job.

    Attributes:
        consent: Puts questions to the user.
        approval: The code of an earlier quote that the user has agreed to; empty without one.
        client: Name of the program, for the ledger.
        recipe: The recipe on whose behalf it asks.
        run: The call of a run that it is: another of the same name gets the job of the first, however late.
    """

    consent: Consent
    approval: str = ""
    client: str = ""
    recipe: str = ""
    run: RunCall | None = None
