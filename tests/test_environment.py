"""What tells one start from another, without a secret in it, and where the snapshot of each lies."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from kubeez_mcp_local import environment
from kubeez_mcp_local.environment import Look, code, file_of, name_of, reach_the_session, variables
from kubeez_mcp_local.mcp_server.snapshot import keep_newest

if TYPE_CHECKING:
    from pathlib import Path


def test_whatever_decides_an_answer_changes_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [name_of([]), name_of(["--read-only"])]
    for name, value in (
        ("KUBEEZ_MAX_CREDITS_PER_CALL", "7"),
        ("KUBEEZ_UNHEARD_OF", "x"),
        ("KUBEEZ_API_KEY", "sk_live_one"),
        ("KUBEEZ_MCP_TOKEN", "ey.a-token"),
        ("XDG_CONFIG_HOME", "/elsewhere"),
        ("APPDATA", "/elsewhere"),
        ("HOME", "/somewhere"),
    ):
        monkeypatch.setenv(name, value)
        names.append(name_of([]))
    monkeypatch.chdir(tmp_path)
    names.append(name_of([]))
    monkeypatch.setattr(sys, "prefix", "/another/environment")
    names.append(name_of([]))
    monkeypatch.setattr(sys, "flags", SimpleNamespace(optimize=2))  # without docstrings tools have no descriptions
    names.append(name_of([]))
    assert None not in names
    assert len(set(names)) == len(names)


def test_what_decides_nothing_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBEEZ_API_KEY", "sk_live_one")
    monkeypatch.setenv("KUBEEZ_MCP_TOKEN", "one")
    name = name_of([])
    monkeypatch.setenv("KUBEEZ_MCP_TOKEN", " an.other_2-3 ")
    monkeypatch.setenv("KUBEEZ_API_KEY", " sk_live_another_2-3 ")
    monkeypatch.setenv("XDG_SESSION_ID", "77")
    monkeypatch.setenv("LANG", "C")
    assert name_of([]) == name


@pytest.mark.parametrize("key", ["   ", "${KUBEEZ_API_KEY}", "<key>", "sk live", "schlüssel", "a.b"])
def test_a_key_that_may_be_none_is_left_to_the_settings(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBEEZ_API_KEY", key)
    assert name_of([]) is None


@pytest.mark.parametrize("token", ["${KUBEEZ_MCP_TOKEN}", "two words", "sk_live_one", "SK_live_one"])
def test_a_token_that_may_be_none_is_left_to_the_settings(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBEEZ_MCP_TOKEN", token)
    assert name_of([]) is None


def test_a_server_that_is_only_tried_uses_and_writes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(environment.TRIAL, "1")
    assert name_of([]) is None


def test_a_working_folder_that_is_gone_is_no_reason_to_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kubeez_mcp_local.front import Door

    monkeypatch.setattr(os, "getcwd", (tmp_path / "gone").stat)
    assert Door([]).name is None


@pytest.mark.parametrize(
    ("platform", "variables", "folder"),
    [
        ("linux", {"HOME": "/home/k"}, "/home/k/.cache/kubeez-mcp-local"),
        ("linux", {"HOME": "/home/k", "XDG_CACHE_HOME": "/fast"}, "/fast/kubeez-mcp-local"),
        ("linux", {"HOME": "/home/k", "XDG_CACHE_HOME": "relative"}, None),
        ("linux", {}, None),
        ("darwin", {"HOME": "/Users/k", "XDG_CACHE_HOME": "/fast"}, "/Users/k/Library/Caches/kubeez-mcp-local"),
        ("win32", {"LOCALAPPDATA": "/C/local"}, "/C/local/kubeez-mcp-local/Cache"),
        ("win32", {"USERPROFILE": "/C/k"}, "/C/k/AppData/Local/kubeez-mcp-local/Cache"),
        ("win32", {"HOME": "/home/k"}, None),
    ],
)
def test_the_cache_folder_is_the_platforms(
    platform: str, variables: dict[str, str], folder: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOME", "USERPROFILE", "LOCALAPPDATA", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert file_of("x") == (None if folder is None else f"{folder}/front/x.json")


@pytest.mark.skipif(sys.platform == "win32", reason="XDG and HOME decide")
def test_it_is_where_platformdirs_has_it() -> None:
    import platformdirs

    folder = platformdirs.user_cache_path(environment.APP, appauthor=False)
    assert file_of("x") == str(folder / "front" / "x.json")


def test_a_change_of_the_code_is_seen_wherever_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "package"
    (package / "deep").mkdir(parents=True)
    (package / "deep" / "one.py").write_text("1")
    monkeypatch.setattr(environment, "_HERE", str(package))
    seen = [code()]
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "one.pyc").write_text("compiled")
    assert code() == seen[0]
    (package / "deep" / "one.py").write_text("22")
    seen.append(code())
    (package / "two.py").write_text("")
    seen.append(code())
    os.utime(package / "two.py", ns=(1, 1))
    seen.append(code())
    assert len({repr(each) for each in seen}) == 4
    assert len(seen[0]) == 3, "our package, mcp and mcp_types"


def test_a_look_sees_files_come_change_and_go_and_nothing_else(tmp_path: Path) -> None:
    recipes, settings = tmp_path / "recipes", tmp_path / "config.env"
    look = Look.at([recipes, settings])
    assert look.still_holds()
    for change in (
        recipes.mkdir,
        lambda: (recipes / "a.md").write_text("1"),
        lambda: (recipes / "a.md").write_text("22"),
        lambda: os.utime(recipes / "a.md", ns=(1, 1)),
        lambda: (recipes / "added").mkdir(),
        (recipes / "a.md").unlink,
        lambda: settings.write_text("x"),
        settings.unlink,
    ):
        change()
        assert not look.still_holds(), change
        look = Look(*Look.at([recipes, settings]).as_json)
        (recipes / "notes.txt").write_text(repr(change))
        assert look.still_holds()


def test_the_newest_are_kept(tmp_path: Path) -> None:
    folder = tmp_path / "front"
    folder.mkdir()
    for number, name in enumerate([".kubeez-0.part", *(f"{number}.json" for number in range(25))]):
        (folder / name).touch()
        os.utime(folder / name, ns=(number, number))
    keep_newest(folder)
    assert {path.name for path in folder.iterdir()} == {f"{number}.json" for number in range(5, 25)}


def test_the_sessions_bus_is_found_where_a_client_left_its_address_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it the keyring cannot be asked: clients pass few variables on."""
    name = "DBUS_SESSION_BUS_ADDRESS"
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv(name, "")
    reach_the_session()
    assert variables()[name] == ""
    (tmp_path / "bus").touch()
    reach_the_session()
    assert variables()[name] == f"unix:path={tmp_path}/bus"
    monkeypatch.setenv(name, "unix:path=/elsewhere")
    reach_the_session()
    assert variables()[name] == "unix:path=/elsewhere"
