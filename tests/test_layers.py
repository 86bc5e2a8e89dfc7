"""Imports point one way, and start-up touches nothing heavy."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import kubeez_mcp_local

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ROOT = Path(kubeez_mcp_local.__file__).parent
LAYERS = (
    *(
        "environment",
        "messages",
        "front",
        "text",
        "errors",
        "disk",
        "dotenv_file",
        "addresses",
        "settings",
        "logs",
        "rest",
        "hosted",
        "catalogue",
        "media",
        "operations",
        "jobs",
        "bridge",
        "planning",
    ),
    *("cookbook", "runs", "mcp_server", "cli"),
)
APART = {
    "sandbox": {"text", "errors", "disk", "sandbox", "web", "media"},
    "web": {"text", "errors", "disk", "web", "media"},
}
HEAVY = ("PIL", "fastapi", "jinja2", "httpx", "sqlite3", "yaml", "av", "stamina", "truststore", "keyring", "dbos")

# A new operation, command or tool may raise the first two, in its own commit; what is only moved about may not.
MOST_FILES, MOST_LINES = 199, 58_300
MOST_IN_A_FOLDER, LONGEST_FILE = 20, 600


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


def test_no_circle_of_files_not_even_by_a_late_import() -> None:
    files = {_module(path): path for path in ROOT.rglob("*.py")}
    needs = {name: _files_imported(path, files) - {name} for name, path in files.items()}
    while free := {n for n in needs if not needs[n] & needs.keys()} | (needs.keys() - set().union(*needs.values())):
        needs = {name: others for name, others in needs.items() if name not in free}
    assert sorted(needs) == [], "these import each other, late or for types if not at the top"


def _module(path: Path) -> str:
    return ".".join((ROOT.name, *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")


def _files_imported(path: Path, files: Mapping[str, Path]) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inner & files.keys() or {node.module or ""}
    return found & files.keys()


def test_the_house_stays_small() -> None:
    lines = {path: len(path.read_text("utf-8").splitlines()) for path in ROOT.rglob("*.py")}
    rooms = [path for path, count in lines.items() if count > 8]
    folders = Counter(path.parent.relative_to(ROOT).as_posix() for path in rooms)
    assert len(rooms) <= MOST_FILES
    assert sum(lines.values()) <= MOST_LINES
    assert {name: count for name, count in folders.items() if count > MOST_IN_A_FOLDER} == {}
    assert [str(path) for path, count in lines.items() if count > LONGEST_FILE] == []


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


def test_only_rest_speaks_http_not_even_by_a_late_import() -> None:
    # What recipes are exported with goes out beside them, and is not run by us.
    assert {name for name in _using("httpx") if not name.startswith("rest/")} == {"cookbook/export/runtime.py"}
    assert {name for name in _using("httpx2") if not name.startswith("hosted/")} == set()


def _using(library: str) -> set[str]:
    return {
        path.relative_to(ROOT).as_posix()
        for path in ROOT.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
        and library in (getattr(node, "module", None), *(alias.name for alias in node.names))
    }


def test_the_packages_of_a_team_have_one_place_each_and_are_loaded_late() -> None:
    places = {
        "psycopg": ["jobs/team/postgres.py", "jobs/team/failures.py", "jobs/team/statements.py"],
        "dbos": ["runs/engines/dbos.py"],
    }
    late = {f"kubeez_mcp_local.{place[:-3].replace('/', '.')}" for each in places.values() for place in each}
    for path in ROOT.rglob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        used = {name.split(".")[0] for name in _imported_by(ast.walk(tree))} & set(places)
        place = path.relative_to(ROOT).as_posix()
        assert all(place in places[name] for name in used), path
        # Only the first file of each explains that the extra is missing; the others are loaded by it.
        assert not late & set(_imported_by(tree.body)) or place == "jobs/team/postgres.py", path


def _imported_by(nodes: Iterable[ast.AST]) -> list[str]:
    found = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
    return [getattr(node, "module", None) or node.names[0].name for node in found]


def test_one_file_reads_the_environment() -> None:
    files = ROOT.rglob("*.py")
    readers = [str(each.relative_to(ROOT)) for each in files if _reads_environment(ast.parse(each.read_text("utf-8")))]
    assert readers == ["environment.py"]


def test_the_front_imports_nothing_that_costs_time() -> None:
    """Before the client's first message is answered, whatever a snapshot says."""
    script = (
        "import sys; before = set(sys.modules); from kubeez_mcp_local import front;"
        "from kubeez_mcp_local.front import Beginning, Door, Snapshot;"
        'door = Door([]); Snapshot.written_for(door.name, door.code); line = b\'{"jsonrpc":"2.0"}\';'
        "from kubeez_mcp_local.messages import HANDSHAKES, MODERN; nothing = [[], []];"
        "content = {'answers': {name: {} for name in (*HANDSHAKES, MODERN)}, 'texts': [], 'recipes': nothing};"
        "content |= {'settings': nothing, 'listed': '', 'ledger': '', 'work': ''};"
        "Beginning(Snapshot(content | {'debug': False})).receive(line + bytes([10]));"
        "print(' '.join(sorted(set(sys.modules) - before)))"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT.parent)
    known = {"__future__", "_blake2", "_json", "_queue"}
    assert {name for name in loaded.stdout.split() if not name.startswith("kubeez_mcp_local")} <= known
    ours = {"kubeez_mcp_local", *(f"kubeez_mcp_local.{name}" for name in ("environment", "messages", "front"))}
    assert {name for name in loaded.stdout.split() if name.startswith("kubeez_mcp_local")} == ours


def _reads_environment(tree: ast.AST) -> bool:
    return any(
        isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv", "environb") for node in ast.walk(tree)
    )
