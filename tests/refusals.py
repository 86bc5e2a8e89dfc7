"""Refusals are told apart by their code, which is what a user sees; most have no class of their own."""

from __future__ import annotations

import pytest

from kubeez_mcp_local.errors import KubeezError


def refused(code: str, *, match: str | None = None) -> pytest.RaisesExc[KubeezError]:
    """What follows raises the error with this code."""
    return pytest.raises(KubeezError, match=match, check=lambda error: error.code == code)
