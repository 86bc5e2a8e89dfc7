"""The command that goes into a config is one that will still be there tomorrow."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from kubeez_mcp_local.cli.clients.launch import (
    Launch,
    NoCommandError,
    Running,
    find_launch,
    source_of,
    split_command,
    try_server,
)
from tests.cli.clients.machines import machine_in, program


def running_in(prefix: Path, source: str | None = None) -> Running:
    return Running(prefix / "bin" / "python", prefix, prefix / "bin", source)


def test_an_installed_tool_is_named_by_its_whole_path(tmp_path: Path) -> None:
    script = program(tmp_path / "tools" / "bin", "kubeez-mcp-local")
    assert find_launch(running_in(tmp_path / "tools"), machine_in(tmp_path)) == Launch(str(script))


def test_on_windows_the_script_is_a_program(tmp_path: Path) -> None:
    script = program(tmp_path / "tools" / "bin", "kubeez-mcp-local.exe")
    assert find_launch(running_in(tmp_path / "tools"), machine_in(tmp_path, "win32")).command == str(script)


def test_without_a_script_the_interpreter_is_named(tmp_path: Path) -> None:
    launch = find_launch(running_in(tmp_path / "venv"), machine_in(tmp_path))
    assert launch == Launch(str(tmp_path / "venv" / "bin" / "python"), ("-m", "kubeez_mcp_local"))


@pytest.mark.parametrize(
    ("source", "args"), [(None, ("kubeez-mcp-local",)), ("/src/k", ("--from", "/src/k", "kubeez-mcp-local"))]
)
def test_an_environment_in_the_cache_is_made_anew_by_uvx(
    source: str | None, args: tuple[str, ...], tmp_path: Path
) -> None:
    uvx = program(tmp_path / "bin", "uvx")
    machine = machine_in(tmp_path, PATH=str(tmp_path / "bin"))
    launch = find_launch(running_in(tmp_path / "uv" / "archive-v0" / "abc", source), machine)
    assert (launch.command, launch.args) == (str(uvx), args)


def test_without_uvx_a_passing_environment_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoCommandError, match="uvx"):
        find_launch(running_in(tmp_path / "archive-v0" / "abc"), machine_in(tmp_path))


def test_a_shared_config_gets_a_command_that_others_have_too(tmp_path: Path) -> None:
    launch = find_launch(running_in(tmp_path / "tools"), machine_in(tmp_path), shared=True)
    assert (str(launch), launch.shareable) == ("uvx kubeez-mcp-local", True)
    assert not find_launch(running_in(tmp_path / "tools", "/src"), machine_in(tmp_path), shared=True).shareable


def test_a_command_line_is_split_as_a_shell_does(tmp_path: Path) -> None:
    assert split_command("uvx --from '/a b' x", machine_in(tmp_path)).args == ("--from", "/a b", "x")
    windows = split_command(r'"C:\Program Files\uvx.exe" x', machine_in(tmp_path, "win32"))
    assert (windows.command, windows.args) == (r"C:\Program Files\uvx.exe", ("x",))
    path = program(tmp_path / "with space", "k")
    assert split_command(str(path), machine_in(tmp_path)) == Launch(str(path))


@pytest.mark.parametrize("text", ["", "  ", "uvx 'open"])
def test_a_command_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(NoCommandError):
        split_command(text, machine_in(tmp_path))


def test_where_the_package_came_from_is_what_uvx_takes() -> None:
    git = {"url": "https://example.com/k.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}}
    assert source_of(git) == "git+https://example.com/k.git@abc"
    assert source_of({"url": "file:///src/a%20b", "dir_info": {}}) == "/src/a b"
    assert source_of({"url": "https://example.com/k.whl", "archive_info": {}}) == "https://example.com/k.whl"


def test_this_process_is_known() -> None:
    assert Running.this().python == Path(sys.executable)


@pytest.mark.parametrize(
    ("variables", "typed"),
    [
        ({}, "kubeez-mcp-local"),
        ({"UV": "/bin/uv"}, "uvx kubeez-mcp-local"),
        ({"UV": "/bin/uv", "UV_RUN_RECURSION_DEPTH": "1"}, "uv run kubeez-mcp-local"),
    ],
)
def test_what_to_type_next_is_what_was_typed_before(variables: dict[str, str], typed: str, tmp_path: Path) -> None:
    assert machine_in(tmp_path, **variables).typed == typed


LISTS_AND_FAILS = """
from mcp.server import MCPServer
from mcp.types import ToolAnnotations
mcp = MCPServer("one")
@mcp.tool(annotations=ToolAnnotations(read_only_hint=True, open_world_hint=True))
async def far_away() -> str:
    return "never asked"
@mcp.tool(annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False))
async def near() -> str:
    raise OSError("a part of it is missing")
mcp.run()
"""


@pytest.mark.anyio
async def test_a_server_that_only_lists_its_tools_does_not_pass() -> None:
    launch = Launch(sys.executable, ("-c", LISTS_AND_FAILS))
    with pytest.raises(NoCommandError, match="starts, but its tool near fails"):
        await try_server(launch, "legacy", variables={}, within=60)
