"""Make what carries this server to other places, from pyproject.toml, the settings, the tools and the skills.

`uv run python scripts/package.py` writes the files of `packaging/` and those that have to lie elsewhere;
`tests/test_packaging.py` holds that they are as this makes them. With `--bundle FOLDER` it lays out there what
`mcpb pack FOLDER` makes a bundle of: the manifest and the sources, whose dependencies uv fetches at the first start.
"""

from __future__ import annotations

import json
import shutil
import sys
import tomllib
from pathlib import Path
from typing import Any

from kubeez_mcp_local.cli.clients.known import CLIENTS, KEY, SERVER
from kubeez_mcp_local.mcp_server.resources import skill_names, skill_text
from kubeez_mcp_local.mcp_server.tools import ALL_TOOLS
from kubeez_mcp_local.settings import Settings, variable

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PROJECT = PYPROJECT["project"]
PACKAGING = PYPROJECT["tool"]["packaging"]
NAME, VERSION = PROJECT["name"], PROJECT["version"]
WEBSITE = "https://kubeez.com"
KEYS = f"{WEBSITE}/settings/api-keys"
PINNED = ["--from", f"{NAME}=={VERSION}", NAME]
"""What `uvx` starts: the version that the file beside it was made for."""
SOURCES = ("kubeez_mcp_local", "recipes", "pyproject.toml", "README.md", "LICENSE")
"""What the wheel is built from."""
ASKED = {
    "api_key": ("string", "Kubeez API key"),
    "output_dir": ("directory", "Folder for outputs"),
    "max_credits_per_call": ("string", "Most credits for one call"),
    "max_credits_per_day": ("string", "Most credits for one day"),
}
"""The settings that a person is asked for on installing, with their kind and title.

Amounts are strings, so that they can be left empty: a number that a form fills in by itself would win over a lower
ceiling in the person's own config file.
"""


def files() -> dict[str, str]:
    """Every file that is made, by its path in the repository."""
    skills = {f"packaging/claude-plugin/skills/{name}/SKILL.md": skill_text(name) for name in skill_names()}
    return skills | {
        "packaging/mcpb/manifest.json": _json(manifest()),
        "packaging/server.json": _json(server()),
        "packaging/claude-plugin/.claude-plugin/plugin.json": _json(claude_plugin()),
        ".claude-plugin/marketplace.json": _json(claude_marketplace()),
        "packaging/gemini-extension/gemini-extension.json": _json(gemini_extension()),
        "packaging/Dockerfile": _filled(DOCKERFILE),
        ".github/workflows/ci.yml": _filled(WORKFLOW),
    }


def manifest() -> dict[str, Any]:
    """Of the `.mcpb` bundle."""
    env = {variable(field): f"${{user_config.{field}}}" for field in ASKED}
    start = ["run", "--project", "${__dirname}", "--no-dev", NAME]
    return {
        "manifest_version": "0.4",
        "name": NAME,
        "display_name": "Kubeez",
        "version": VERSION,
        "description": PROJECT["description"],
        "author": _author(),
        "homepage": WEBSITE,
        "license": PROJECT["license"],
        "keywords": PROJECT["keywords"],
        "server": {
            "type": "uv",
            "entry_point": "kubeez_mcp_local/__main__.py",
            "mcp_config": {"command": "uv", "args": start, "env": env},
        },
        "tools": [{"name": spec.name, "description": spec.description.splitlines()[0]} for spec in ALL_TOOLS],
        "prompts_generated": True,
        "compatibility": {
            "platforms": ["darwin", "win32", "linux"],
            "runtimes": {"python": PROJECT["requires-python"]},
        },
        "user_config": {field: _option(field) for field in ASKED},
    }


def server() -> dict[str, Any]:
    """The entry in the MCP registry, in its schema of 2025-12-11."""
    variables = [
        {
            "name": variable(field),
            "description": _meaning(field),
            "format": "filepath" if kind == "directory" else "string",
            **({"isSecret": True} if field == "api_key" else {}),
        }
        for field, (kind, _) in ASKED.items()
    ]
    package = {
        "registryType": "pypi",
        "identifier": NAME,
        "version": VERSION,
        "runtimeHint": "uvx",
        "transport": {"type": "stdio"},
        "environmentVariables": variables,
    }
    return {
        "$schema": "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json",
        "name": PACKAGING["mcp-name"],
        "title": "Kubeez",
        "description": PROJECT["description"].partition(":")[0] + ".",
        "version": VERSION,
        "websiteUrl": WEBSITE,
        "packages": [package],
    }


def claude_plugin() -> dict[str, Any]:
    """The plugin for Claude Code; its skills lie beside it."""
    env = {variable(field): f"${{user_config.{field}}}" for field in ASKED}
    return {
        "name": SERVER,
        "version": VERSION,
        "description": PROJECT["description"],
        "author": _author(),
        "homepage": WEBSITE,
        "license": PROJECT["license"],
        "keywords": PROJECT["keywords"],
        "mcpServers": {SERVER: {"command": "uvx", "args": PINNED, "env": env}},
        "userConfig": {field: _option(field) for field in ASKED},
    }


def claude_marketplace() -> dict[str, Any]:
    """What makes this repository a marketplace of one plugin."""
    plugin = {"name": SERVER, "source": "./packaging/claude-plugin", "description": PROJECT["description"]}
    return {
        "name": NAME,
        "description": "The plugin that brings Kubeez into Claude Code.",
        "owner": _author(),
        "plugins": [plugin],
    }


def gemini_extension() -> dict[str, Any]:
    """The extension for Gemini CLI, which hands the settings that it asked for to the server by itself."""
    asked = [
        {
            "name": title,
            "description": _meaning(field),
            "envVar": variable(field),
            **({"sensitive": True} if field == "api_key" else {}),
        }
        for field, (_, title) in ASKED.items()
    ]
    entry = dict(CLIENTS["gemini-cli"].extra) | {"command": "uvx", "args": PINNED}
    return {
        "name": SERVER,
        "version": VERSION,
        "description": PROJECT["description"],
        "mcpServers": {SERVER: entry},
        "settings": asked,
    }


def _author() -> dict[str, str]:
    return {"name": f"The {NAME} authors"}


def _option(field: str) -> dict[str, Any]:
    """One question of a form. Its default is empty: without one a placeholder is left where nothing is given."""
    kind, title = ASKED[field]
    secret = {"sensitive": True} if variable(field) == KEY else {}
    about = {"type": kind, "title": title, "description": _meaning(field)}
    return about | secret | {"required": False, "default": ""}


def _meaning(field: str) -> str:
    setting = Settings.model_fields[field]
    described = (setting.description or "").replace("`", "")
    if field == "api_key":
        return f"{described} Keys: {KEYS}. Empty: the key that login keeps."
    default = "~/Kubeez" if field == "output_dir" else setting.default
    return f"{described} Empty: as your own config file says, else {default}."


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _filled(template: str) -> str:
    pythons = ", ".join(f'"{python}"' for python in PACKAGING["pythons"])
    return template.replace("@PYTHONS@", pythons).replace("@IMAGE_PYTHON@", PACKAGING["image-python"])


DOCKERFILE = """\
# Made by scripts/package.py. From the repository's folder:
#   docker build -f packaging/Dockerfile -t kubeez-mcp-local .
#   docker run -i --rm -e KUBEEZ_API_KEY -v kubeez-state:/state -v "$PWD/outputs:/outputs" kubeez-mcp-local
# What may be read and uploaded is put at /inputs: -v "$PWD/pictures:/inputs:ro"
# The server reads stdin: -i is needed. User 10001 must be able to write to a folder put at /outputs; or --user another.
FROM python:@IMAGE_PYTHON@-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY kubeez_mcp_local kubeez_mcp_local
COPY recipes recipes
RUN python -m venv /opt/kubeez && /opt/kubeez/bin/pip install --no-cache-dir ".[video]"

FROM python:@IMAGE_PYTHON@-slim
COPY --from=build /opt/kubeez /opt/kubeez
RUN useradd --uid 10001 --create-home kubeez \\
    && mkdir /state /outputs /inputs \\
    && chown kubeez:kubeez /state /outputs /inputs
ENV PATH=/opt/kubeez/bin:$PATH \\
    PYTHONUNBUFFERED=1 \\
    KUBEEZ_STATE_DIR=/state \\
    KUBEEZ_OUTPUT_DIR=/outputs \\
    KUBEEZ_INPUT_DIRS=/inputs
USER 10001
WORKDIR /inputs
VOLUME ["/state", "/outputs"]
ENTRYPOINT ["kubeez-mcp-local"]
"""

WORKFLOW = """\
# Made by scripts/package.py.
name: CI

on:
  push:
    branches: [main]
    tags: ["v*"]
  pull_request:

permissions:
  contents: read

jobs:
  linux:
    name: Linux, Python ${{ matrix.python }}
    runs-on: ubuntu-latest
    container: python:${{ matrix.python }}-bookworm
    timeout-minutes: 60
    strategy:
      fail-fast: false
      matrix:
        python: [@PYTHONS@]
    steps:
      - uses: actions/checkout@v5
      - run: bash .ci/run

  desktop:
    name: ${{ matrix.os }}, Python ${{ matrix.python }}
    runs-on: ${{ matrix.os }}
    timeout-minutes: 60
    strategy:
      fail-fast: false
      matrix:
        os: [macos-latest, windows-latest]
        python: [@PYTHONS@]
    env:
      UV_PYTHON: ${{ matrix.python }}
      PYTHONUTF8: "1"
    steps:
      - uses: actions/checkout@v5
      - uses: astral-sh/setup-uv@v7
      - run: uv sync
      - run: uv run pytest

  release:
    if: startsWith(github.ref, 'refs/tags/v')
    needs: [linux, desktop]
    runs-on: ubuntu-latest
    environment: release
    permissions:
      contents: write
      id-token: write # trusted publishing: the package index believes GitHub, so that no token is kept anywhere
    env:
      GH_TOKEN: ${{ github.token }}
    steps:
      - uses: actions/checkout@v5
      - uses: astral-sh/setup-uv@v7
      - name: The tag names the version
        run: test "v$(uv version --short)" = "$GITHUB_REF_NAME"
      - run: uv build
      - run: uv publish --trusted-publishing always
      - name: A bundle for desktop clients
        run: |
          uv run python scripts/package.py --bundle bundle
          npx --yes @anthropic-ai/mcpb pack bundle kubeez-mcp-local.mcpb
      - run: gh release create "$GITHUB_REF_NAME" --generate-notes dist/* kubeez-mcp-local.mcpb
"""


def lay_out_bundle(folder: Path) -> None:
    """Put into `folder` what goes into the `.mcpb` bundle."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(files()["packaging/mcpb/manifest.json"], "utf-8")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        else:
            shutil.copy(source, folder / name)


def main(arguments: list[str]) -> None:
    match arguments:
        case []:
            for name, text in files().items():
                path = ROOT / name
                if not path.exists() or path.read_text("utf-8") != text:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(text, "utf-8")
                    print(f"{name} is made anew.")
        case ["--bundle", folder]:
            lay_out_bundle(Path(folder))
        case _:
            sys.exit("usage: package.py [--bundle FOLDER]")


if __name__ == "__main__":
    main(sys.argv[1:])
