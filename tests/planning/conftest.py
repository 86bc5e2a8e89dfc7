"""The catalogue with the rows of sounds, dubs and the like, which the snapshot lacks."""

from __future__ import annotations

import pytest

from kubeez_mcp_local.catalogue.listing import Listing
from kubeez_mcp_local.catalogue.models import parse_rows
from kubeez_mcp_local.sandbox import assumed_jobs
from kubeez_mcp_local.sandbox.catalogue import Catalogue


def full_listing() -> Listing:
    rows, notes = parse_rows(Catalogue(assumed_jobs.MODELS, assumed_jobs.PRICES).served())
    assert not notes
    return Listing(rows, source="live")


@pytest.fixture(scope="session")
def full() -> Listing:
    return full_listing()
