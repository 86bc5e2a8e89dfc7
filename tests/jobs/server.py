"""A Postgres server for the tests of a team's ledger, if `TEST_POSTGRES` names one whose role may make schemas."""

from __future__ import annotations

import os
import re

SERVER = os.environ.get("TEST_POSTGRES", "")
NO_SERVER = "TEST_POSTGRES names no Postgres server, such as postgresql://me@127.0.0.1/postgres"


def team_ledger(name: str) -> str:
    """The URL of a ledger of its own for each `name`."""
    return f"{SERVER}?schema=test_{re.sub('[^a-z0-9]', '_', name.lower())}"
