"""Imports point one way, and start-up touches nothing heavy."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import kubeez_mcp_local

ROOT = Path(kubeez_mcp_local.__file__).parent
LAYERS = ("errors", "settings", "logs", "rest", "catalogue", "media", "jobs", "bridge", "cookbook", "mcp_server", "cli")
APART = {"sandbox": {"errors", "sandbox"}, "web": {"errors", "web", "media"}}
HEAVY = ("PIL", "fastapi", "jinja2", "httpx", "sqlite3", "yaml", "av", "stamina", "filetype", "truststore")


def _imports(path: Path, *, top_level_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text("utf-8"))
    nodes = tree.body if top_level_only else ast.walk(tree)
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("kubeez_mcp_local."):
            found.add((node.module or "").split(".")[1])
    return found


def _layer(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def test_imports_point_one_way() -> None:
    wrong = []
    for path in ROOT.rglob("*.py"):
        layer = _layer(path)
        if layer not in LAYERS:
            continue
        allowed = set(LAYERS[: LAYERS.index(layer) + 1]) | ({"sandbox", "web"} if layer in ("bridge", "cli") else set())
        wrong += [f"{path.relative_to(ROOT)} imports {name}" for name in _imports(path) - allowed]
    assert wrong == []


def test_the_sandbox_and_the_pages_stand_apart() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for folder, allowed in APART.items()
        for path in (ROOT / folder).rglob("*.py")
        for name in _imports(path) - allowed
    ]
    assert wrong == []


def test_serving_imports_nothing_heavy_before_it_is_needed() -> None:
    script = (
        "import sys; from mcp.server import MCPServer; before = set(sys.modules);"
        "from kubeez_mcp_local.settings import load_settings; from kubeez_mcp_local.bridge import Bridge;"
        "from kubeez_mcp_local.mcp_server import stdio; from kubeez_mcp_local.mcp_server.server import KubeezServer;"
        "KubeezServer(Bridge(load_settings({})));"
        "print(' '.join(sorted({name.split('.')[0] for name in set(sys.modules) - before})))"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert [name for name in HEAVY if name in loaded] == []


def test_only_settings_reads_the_environment() -> None:
    readers = [
        str(path.relative_to(ROOT))
        for path in ROOT.rglob("*.py")
        if path.name != "settings.py" and _reads_environment(ast.parse(path.read_text("utf-8")))
    ]
    assert readers == []


def _reads_environment(tree: ast.AST) -> bool:
    return any(
        isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv", "environb") for node in ast.walk(tree)
    )
