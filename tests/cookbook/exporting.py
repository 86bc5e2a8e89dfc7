"""Exporting recipes in tests, and running what comes out against the sandbox."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from kubeez_mcp_local.cookbook.export.documents import export_recipe, write_files
from kubeez_mcp_local.cookbook.format import Origin, Recipe
from kubeez_mcp_local.cookbook.library import Library
from kubeez_mcp_local.cookbook.parse import parse_recipe
from tests.sandbox_server import KEY, RunningSandbox

if TYPE_CHECKING:
    from pathlib import Path

PACK = list(Library.of().index().entries)
needs_shell_tools = pytest.mark.skipif(not (shutil.which("jq") and shutil.which("curl")), reason="needs curl and jq")
SCRIPTS = ("python", pytest.param("curl", marks=needs_shell_tools))


def recipe_of(text: str) -> Recipe:
    return parse_recipe(text, Origin("draft", "a test"), file="plain.md")


def given_options(recipe: Recipe, arguments: dict[str, Any]) -> list[str]:
    """The arguments of a rehearsal as options of the exported script."""
    options: list[str] = []
    for name, argument in recipe.arguments.items():
        value, option = arguments[name], f"--{name.replace('_', '-')}"
        if value in (None, []):
            continue
        if argument.type == "boolean":
            options.append(option if value else option.replace("--", "--no-", 1))
        elif argument.type == "table":
            rows = [",".join(value[0])] + [",".join(f'"{cell}"' for cell in row.values()) for row in value]
            options += [option, "\n".join(rows)]
        else:
            options += [option, "\n".join(value) if isinstance(value, list) else str(value)]
    return options


def run(command: list[str], sandbox: RunningSandbox | None, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "KUBEEZ_API_KEY": KEY, "POLL_SECONDS": "0.1", "OUTPUT_DIR": str(folder / "made")}
    environment["KUBEEZ_BASE_URL"] = sandbox.url if sandbox else "http://127.0.0.1:9"
    return subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


def paid_calls(sandbox: RunningSandbox) -> int:
    return len(sandbox.control.account()["jobs"])


def python_command(recipe: Recipe, folder: Path, *options: str) -> list[str]:
    [script] = write_files(folder, export_recipe(recipe, "python", {}))
    return [sys.executable, str(script), "--output", str(folder / "made"), "--poll-seconds", "0.05", *options]
