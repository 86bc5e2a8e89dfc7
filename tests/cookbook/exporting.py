"""Exporting recipes in tests, and running what comes out against the sandbox."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from kubeez_mcp_local.cookbook.export.documents import export_recipe, write_files
from kubeez_mcp_local.cookbook.format import Origin, Recipe
from kubeez_mcp_local.cookbook.library import Library
from kubeez_mcp_local.cookbook.parse import parse_recipe
from kubeez_mcp_local.operations import operations
from kubeez_mcp_local.sandbox import assumed_jobs
from kubeez_mcp_local.sandbox.catalogue import Catalogue
from tests.recipe_tools import finished
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
            rows = [",".join(value[0])] + [
                ",".join(f'"{"" if cell is None else cell}"' for cell in row.values()) for row in value
            ]
            options += [option, "\n".join(rows)]
        else:
            options += [option, "\n".join(value) if isinstance(value, list) else str(value)]
    return options


def run(command: list[str], sandbox: RunningSandbox | None, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "KUBEEZ_API_KEY": KEY, "POLL_SECONDS": "0.1", "OUTPUT_DIR": str(folder / "made")}
    environment["KUBEEZ_BASE_URL"] = sandbox.url if sandbox else "http://127.0.0.1:9"
    environment |= {"SSL_CERT_FILE": "", "SSL_CERT_DIR": str(folder)}  # to read whom the system trusts takes time
    return subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


def paid_calls(sandbox: RunningSandbox) -> int:
    return len(sandbox.control.account()["jobs"])


def python_command(recipe: Recipe, folder: Path, *options: str) -> list[str]:
    [script] = write_files(folder, export_recipe(recipe, "python", {}))
    return [sys.executable, str(script), "--output", str(folder / "made"), "--poll-seconds", "0.05", *options]


class OneCreditEach(dict[str, float | None]):
    """The price of everything."""

    def get(self, key: str, default: object = None) -> float:
        return 1.0


class RecordingApi:
    """An API inside this process that takes every paid request and remembers its body.

    Ids and URLs are those of `FakeTools`, so that a script and its recipe see the same results.
    """

    def __init__(self, balance: float = 100) -> None:
        self.rows = Catalogue(assumed_jobs.MODELS, assumed_jobs.PRICES).served()
        self.paid: list[tuple[str, dict[str, Any]]] = []
        self._balance = balance

    def carry_out(self, source: str, options: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
        """Run an exported Python script here; returns its exit code."""
        client = partial(httpx.Client, transport=httpx.MockTransport(self._answer), trust_env=False)
        names: dict[str, Any] = {"__name__": "exported"}
        exec(compile(source, "exported.py", "exec"), names)
        names["httpx"] = SimpleNamespace(**{**vars(httpx), "Client": client})
        arguments = ["exported.py", "--output", str(folder), "--poll-seconds", "0", *options]
        monkeypatch.setattr(sys, "argv", arguments)
        monkeypatch.setenv("KUBEEZ_API_KEY", KEY)
        code: int = names["main"]()
        return code

    def _answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if request.url.host != "api.kubeez.com":
            return httpx.Response(200, content=b"a file")
        match request.method, path:
            case "GET", "/v1/models":
                return httpx.Response(200, json={"models": self.rows})
            case "GET", "/v1/balance":
                return httpx.Response(200, json={"credits": self._balance})
            case "GET", "/openapi.json":
                return httpx.Response(200, json={"paths": {one.route.path: {} for one in operations().values()}})
            case "POST", "/v1/upload/media":
                return httpx.Response(200, json={"url": "https://media.kubeez.com/uploaded"})
            case "POST", _:
                self.paid.append((path, json.loads(request.content)))
                return httpx.Response(202, json={"generation_id": f"job-{len(self.paid)}"})
        return httpx.Response(200, json=finished(path.rpartition("/")[2]))
