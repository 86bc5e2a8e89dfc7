"""The program itself: Python, packages, the optional extra."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import TYPE_CHECKING

from kubeez_mcp_local import __version__
from kubeez_mcp_local.cli.checks.finding import ok, problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kubeez_mcp_local.cli.checks.finding import Finding

_PACKAGES = ("mcp", "httpx", "pydantic", "pillow")


def check_program() -> Iterator[Finding]:
    """Versions, and what is missing."""
    yield ok("program", f"kubeez-mcp-local {__version__}, Python {platform.python_version()} on {platform.platform()}")
    versions = {name: _version(name) for name in _PACKAGES}
    missing = [name for name, found in versions.items() if found is None]
    if missing:
        yield problem("packages", f"missing: {', '.join(missing)}", "Install kubeez-mcp-local again.")
    else:
        yield ok("packages", ", ".join(f"{name} {found}" for name, found in versions.items()))
    if find_spec("av"):
        yield ok("video", f"PyAV {_version('av') or 'found'}: exact trims, poster frames, lengths")
    else:
        yield ok("video", "not installed; for trims and poster frames: uv tool install 'kubeez-mcp-local[video]'")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
