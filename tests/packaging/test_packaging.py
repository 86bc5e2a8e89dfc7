"""What carries the server elsewhere is valid where it goes, and starts."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jsonschema  # type: ignore[import-untyped]  # its types are a package of their own
import pytest
import yaml

from kubeez_mcp_local.settings import Settings, config_file, variable
from scripts import package
from scripts.docs import links
from tests.e2e.node_tools import NodeProgram
from tests.e2e.server import PATIENCE, Server, environment

FILES = package.files()
SCHEMA = Path(__file__).with_name("server-2025-12-11.json")
REGISTRIES = r"(pypi|npmjs|docker|ghcr|nuget|pythonhosted)\.(org|com|io)|registry\.\w+"


def parsed(name: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(FILES[name])
    return value


@pytest.mark.parametrize("name", FILES)
def test_no_registry_is_named_and_no_key(name: str) -> None:
    assert re.findall(REGISTRIES, FILES[name]) == []
    assert re.findall(r"sk_live_\w+", FILES[name]) == []


def test_versions_are_in_step() -> None:
    version = package.VERSION
    assert parsed("packaging/mcpb/manifest.json")["version"] == version
    assert parsed("packaging/gemini-extension/gemini-extension.json")["version"] == version
    assert parsed("packaging/claude-plugin/.claude-plugin/plugin.json")["version"] == version
    entry = parsed("packaging/server.json")
    assert [entry["version"], *(each["version"] for each in entry["packages"])] == [version, version]
    started = set(re.findall(rf"{package.NAME}==([\w.]+)", "".join(FILES.values())))
    assert started == {version}


def test_the_registry_entry_fits_its_schema_and_the_readme_proves_whose_it_is() -> None:
    entry = parsed("packaging/server.json")
    schema = json.loads(SCHEMA.read_text("utf-8"))
    assert entry["$schema"] == schema["$id"]
    jsonschema.validate(entry, schema)
    readme = (package.ROOT / "README.md").read_text("utf-8")
    assert re.findall(r"^<!-- mcp-name: (\S+) -->$", readme, re.MULTILINE) == [entry["name"]]


def test_every_variable_that_is_set_is_a_setting() -> None:
    settings = {variable(field) for field in Settings.model_fields}
    assert {name for text in FILES.values() for name in re.findall(r"KUBEEZ_[A-Z_]*[A-Z]", text)} <= settings


@pytest.mark.parametrize(
    "options",
    [
        parsed("packaging/mcpb/manifest.json")["user_config"],
        parsed("packaging/claude-plugin/.claude-plugin/plugin.json")["userConfig"],
    ],
    ids=["mcpb", "plugin"],
)
def test_the_key_is_kept_secret_and_what_is_left_empty_is_empty(options: dict[str, Any]) -> None:
    assert [name for name, option in options.items() if option.get("sensitive")] == ["api_key"]
    assert [name for name, option in options.items() if option["required"]] == []
    assert {option["default"] for option in options.values()} == {""}, (
        "none leaves a placeholder, another one overrides"
    )


def test_links_install_the_published_package_and_carry_nothing_else() -> None:
    found = re.findall(r"(?<=[(`])(?:https|cursor)://\S+?(?=[)`])", links())
    entries = []
    for link in found:
        query = parse_qs(urlsplit(link).query)
        if "config" in query:
            assert query["name"] == ["kubeez"]
            entries.append(json.loads(base64.b64decode(query["config"][0])))
        else:
            assert query["url"][0].startswith("vscode:mcp/install?")
            entry = json.loads(query["url"][0].removeprefix("vscode:mcp/install?"))
            assert (entry.pop("name"), entry.pop("type")) == ("kubeez", "stdio")
            entries.append(entry)
    assert entries == [{"command": "uvx", "args": [package.NAME]}] * 3


def test_the_workflow_tries_every_python_on_every_system_and_only_the_release_may_write() -> None:
    jobs = yaml.safe_load(FILES[".github/workflows/ci.yml"])["jobs"]
    pythons = package.PACKAGING["pythons"]
    assert jobs["linux"]["strategy"]["matrix"]["python"] == jobs["desktop"]["strategy"]["matrix"]["python"] == pythons
    assert pythons[0] == package.PROJECT["requires-python"].removeprefix(">=")
    assert jobs["release"]["needs"] == ["linux", "desktop"]
    assert jobs["release"]["permissions"]["id-token"] == "write"
    assert [name for name, job in jobs.items() if "permissions" in job] == ["release"]


def test_the_image_runs_without_root_and_keeps_ledger_and_outputs_outside() -> None:
    lines = FILES["packaging/Dockerfile"].splitlines()
    assert [line for line in lines if line.startswith(("USER", "ENTRYPOINT", "VOLUME"))] == [
        "USER 10001",
        'VOLUME ["/state", "/outputs"]',
        'ENTRYPOINT ["kubeez-mcp-local"]',
    ]
    copied = {
        name for line in lines if line.startswith("COPY ") and "--from" not in line for name in line.split()[1:-1]
    }
    assert copied == set(package.SOURCES)


def test_the_bundle_validates_and_holds_what_it_starts(tmp_path: Path) -> None:
    mcpb, path = NodeProgram("mcpb").find()
    package.lay_out_bundle(tmp_path / "bundle")
    variables = environment(tmp_path) | path
    done = subprocess.run(
        [mcpb, "pack", tmp_path / "bundle", tmp_path / "kubeez.mcpb"],
        env=variables,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Manifest schema validation passes" in done.stdout
    entry = parsed("packaging/mcpb/manifest.json")["server"]["entry_point"]
    assert (tmp_path / "bundle" / entry).is_file()
    assert (tmp_path / "kubeez.mcpb").is_file()


def started(folder: Path, env: dict[str, str]) -> Server:
    """The server with the bundle's variables; in capitals, since the key's placeholder is no secret."""
    variables: dict[str, Any] = {name.removeprefix("KUBEEZ_"): value for name, value in env.items()}
    return Server(folder, **variables)


def test_a_bundle_whose_placeholders_nobody_filled_in_lists_its_tools_and_explains(tmp_path: Path) -> None:
    env = parsed("packaging/mcpb/manifest.json")["server"]["mcp_config"]["env"]
    with started(tmp_path, env) as server:
        server.initialize()
        assert len(server.request("tools/list")["result"]["tools"]) > 25
        refused = server.call("get_balance")
        assert refused["isError"]
        assert "placeholder '${user_config.api_key}'" in refused["content"][0]["text"]


def test_a_bundle_that_is_left_empty_keeps_to_the_ceilings_of_the_own_config_file(tmp_path: Path) -> None:
    manifest = parsed("packaging/mcpb/manifest.json")
    env = manifest["server"]["mcp_config"]["env"]
    for name, option in manifest["user_config"].items():
        env = {key: value.replace(f"${{user_config.{name}}}", option["default"]) for key, value in env.items()}
    own = config_file()
    own.parent.mkdir(parents=True)
    own.write_text("KUBEEZ_MAX_CREDITS_PER_CALL=50\n", "utf-8")
    with started(tmp_path, env) as server:
        server.initialize()
        facts = server.call("get_balance")["structuredContent"]
    assert facts["mode"] == "sandbox"
    assert facts["max_credits_per_call"] == 50
    assert facts["left_today"] == Settings.model_fields["max_credits_per_day"].default


def test_what_uv_would_run_is_what_the_project_offers() -> None:
    config = parsed("packaging/mcpb/manifest.json")["server"]["mcp_config"]
    assert config["args"][-1] in package.PROJECT["scripts"]
    assert sys.version_info >= tuple(int(part) for part in package.PROJECT["requires-python"].lstrip(">=").split("."))
