"""Our entry in clients' configs: planned, written whole or not at all, never without a copy, and taken out again."""

from __future__ import annotations

import errno
import json
import os
import stat
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from kubeez_mcp_local.cli.clients import formats
from kubeez_mcp_local.cli.clients.formats import Json, Toml, Yaml
from kubeez_mcp_local.cli.clients.installing import (
    BrokenConfigError,
    Config,
    ConfigError,
    flaws_of,
    is_here,
    look,
    look_everywhere,
    plan_install,
    plan_removal,
    read,
    read_config,
    write_config,
)
from kubeez_mcp_local.cli.clients.known import CLIENTS, KeyIn
from kubeez_mcp_local.cli.clients.launch import Launch, masked
from tests.cli.clients.machines import machine_in, program

if TYPE_CHECKING:
    from pathlib import Path

    from kubeez_mcp_local.cli.clients.known import Scope


LAUNCH = Launch("/opt/bin/kubeez-mcp-local")
WITH_A_FILE = [name for name, client in CLIENTS.items() if client.user_file]
OTHERS = {
    Toml: '# mine\n[{path}.other] # theirs\ncommand = "q"\n',
    Yaml: "# mine\n{path}:\n  other: {{cmd: q}} # theirs\n",
    Json: '{{\n  "a": 1,{comment}\n  "{path}": {{\n    "other": {{"command": "q"}}\n  }}\n}}\n',
}
"""Configs that hold another server and, where the language has them, comments."""


def config_of(tmp_path: Path, name: str, content: Any = None, scope: Scope = "user") -> Config:
    """A client's config in a throw-away home, with `content` in it: text, or data for JSON."""
    machine, client = machine_in(tmp_path), CLIENTS[name]
    if content is not None:
        path = client.file(machine, scope)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return read(client, scope, machine)


@pytest.mark.parametrize("name", WITH_A_FILE)
@pytest.mark.parametrize("key", KeyIn)
def test_every_client_gets_its_entry_once_and_loses_it_again(name: str, key: KeyIn, tmp_path: Path) -> None:
    if key is KeyIn.REFERENCE and not CLIENTS[name].reference:
        return
    config = config_of(tmp_path, name)
    plan = plan_install(config, LAUNCH, key=key, value="sk_live_example")
    assert plan.changes
    assert plan.write() is None
    again = config_of(tmp_path, name)
    assert again.entry == CLIENTS[name].entry(LAUNCH, key, "sk_live_example")
    assert not plan_install(again, LAUNCH, key=key, value="sk_live_example").changes
    assert plan_removal(again).write() is not None
    gone = config_of(tmp_path, name)
    assert gone.entry is None
    assert "kubeez" not in gone.file.text
    assert not plan_removal(gone).changes


@pytest.mark.parametrize("name", WITH_A_FILE)
def test_what_else_is_in_a_config_is_the_same_before_and_after(name: str, tmp_path: Path) -> None:
    client = CLIENTS[name]
    comment = " // mine" if isinstance(client.format, Json) and client.format.comments else ""
    text = OTHERS[type(client.format)].format(path=client.path, comment=comment)
    plan = plan_install(config_of(tmp_path, name, text), LAUNCH, key=KeyIn.NOTHING)
    plan.write()
    config = config_of(tmp_path, name)
    assert config.entry == client.entry(LAUNCH)
    assert formats.entry(config.data, (client.path, "other"))
    assert plan_removal(config).text == text


@pytest.mark.parametrize("name", WITH_A_FILE)
def test_a_broken_config_is_refused_and_stays_whoever_it_belongs_to(name: str, tmp_path: Path) -> None:
    with pytest.raises(BrokenConfigError):
        config_of(tmp_path, name, "{ [\n")
    (found,) = [one for one in look_everywhere(machine_in(tmp_path)) if one.client.name == name]
    assert (found.state, found.here) == ("broken file", True)


def test_another_entry_of_that_name_is_replaced_only_by_force(tmp_path: Path) -> None:
    config = config_of(tmp_path, "cursor", {"mcpServers": {"kubeez": {"url": "https://example.com/mcp"}, "b": {}}})
    with pytest.raises(ConfigError, match="another kubeez entry"):
        plan_install(config, LAUNCH, key=KeyIn.NOTHING)
    with pytest.raises(ConfigError, match="does not start kubeez-mcp-local"):
        plan_removal(config)
    plan = plan_install(config, LAUNCH, key=KeyIn.NOTHING, force=True)
    servers = json.loads(plan.text)["mcpServers"]
    assert servers == {"kubeez": {"command": LAUNCH.command, "args": []}, "b": {}}
    assert json.loads(plan_removal(config, force=True).text) == {"mcpServers": {"b": {}}}


def test_force_keeps_what_the_user_added_to_our_entry(tmp_path: Path) -> None:
    own = {"env": {"KUBEEZ_OUTPUT_DIR": "/pictures"}, "alwaysAllow": ["estimate"]}
    entry = {"command": "uvx", "args": ["kubeez-mcp-local"], **own}
    config = config_of(tmp_path, "cursor", {"mcpServers": {"kubeez": entry}})
    plan = plan_install(config, LAUNCH, key=KeyIn.REFERENCE, force=True)
    changed = json.loads(plan.text)["mcpServers"]["kubeez"]
    assert changed["env"] == {"KUBEEZ_OUTPUT_DIR": "/pictures", "KUBEEZ_API_KEY": "${env:KUBEEZ_API_KEY}"}
    assert (changed["command"], changed["args"], changed["alwaysAllow"]) == (LAUNCH.command, [], ["estimate"])


def test_what_the_user_added_does_not_make_our_entry_another(tmp_path: Path) -> None:
    entry = {"command": LAUNCH.command, "args": [], "env": {"KUBEEZ_API_KEY": "sk_live_example"}, "timeout": 9}
    config = config_of(tmp_path, "cursor", {"mcpServers": {"kubeez": entry}})
    assert not plan_install(config, LAUNCH, key=KeyIn.NOTHING).changes


def test_our_entry_is_still_ours_after_codex_dropped_its_empty_list(tmp_path: Path) -> None:
    config = config_of(tmp_path, "codex", f'[mcp_servers.kubeez]\ncommand = "{LAUNCH.command}"\n')
    assert not plan_install(config, LAUNCH, key=KeyIn.NOTHING).changes


def test_a_question_for_the_key_goes_and_comes_with_the_entry(tmp_path: Path) -> None:
    text = '{\n  "inputs": [{"id": "other"}], // mine\n  "servers": {"a": {}}\n}\n'
    plan = plan_install(config_of(tmp_path, "vscode", text), LAUNCH, key=KeyIn.REFERENCE)
    plan.write()
    config = config_of(tmp_path, "vscode")
    assert [one["id"] for one in config.data["inputs"]] == ["other", "kubeez-key"]
    assert plan_removal(config).text == text


def test_a_broken_config_is_refused_with_its_line_and_without_its_secrets(tmp_path: Path) -> None:
    text = '{\n  "a": {"API_KEY": "topsecret"} "b"\n}\n'
    with pytest.raises(BrokenConfigError, match=r"mcp\.json:2:\d+: Expecting ',' delimiter") as refusal:
        config_of(tmp_path, "cursor", text)
    assert "topsecret" not in str(refusal.value)


def test_a_layout_for_people_only_is_refused(tmp_path: Path) -> None:
    config = config_of(tmp_path, "codex", 'mcp_servers = {a = {command = "q"}}\n')
    with pytest.raises(ConfigError, match="by hand"):
        plan_install(config, LAUNCH, key=KeyIn.NOTHING)


def test_a_diff_shows_the_change_and_no_secret(tmp_path: Path) -> None:
    others = {"a": {"env": {"GITHUB_TOKEN": "topsecret"}}}
    config = config_of(tmp_path, "claude-desktop", json.dumps({"mcpServers": others}, indent=2))
    diff = plan_install(config, LAUNCH, key=KeyIn.VALUE, value="sk_live_example").diff()
    assert '+    "kubeez": {' in diff
    assert "topsecret" not in diff
    assert "sk_live_example" not in diff


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('"GITHUB_TOKEN": "abc",', '"GITHUB_TOKEN": "…",'),
        ("  api_key: foo bar", "  api_key: …"),
        ('"KUBEEZ_API_KEY": "${env:X}"', '"KUBEEZ_API_KEY": "${env:X}"'),
        ('env_vars = ["KUBEEZ_API_KEY"]', 'env_vars = ["KUBEEZ_API_KEY"]'),
        ('"args": ["--key", "ghp_abcdefghijklmnop"]', '"args": ["--key", "…"]'),
        ("env_keys:\n- KUBEEZ_API_KEY\n", "env_keys:\n- KUBEEZ_API_KEY\n"),
    ],
)
def test_secrets_are_hidden_and_references_are_not(text: str, shown: str) -> None:
    assert masked(text) == shown


def test_clients_are_found_by_their_program_or_their_folder(tmp_path: Path) -> None:
    program(tmp_path / "bin", "claude")
    machine = machine_in(tmp_path, PATH=str(tmp_path / "bin"))
    for folder in (".cursor", ".cline", ".continue", ".config/JetBrains"):
        (machine.home / folder).mkdir(parents=True)
    here = {name for name, client in CLIENTS.items() if is_here(client, machine)}
    assert here == {"claude-code", "cursor", "cline", "continue", "jetbrains-ai"}


def test_the_list_says_where_it_is(tmp_path: Path) -> None:
    config_of(tmp_path, "codex", '[mcp_servers.kubeez]\ncommand = "uvx"\nargs = ["kubeez-mcp-local"]\n')
    config_of(tmp_path, "zed", {"context_servers": {"kubeez": {"url": "https://example.com"}}})
    with pytest.raises(BrokenConfigError):
        config_of(tmp_path, "goose", "extensions: [\n")
    config_of(tmp_path, "vscode", {"servers": {"kubeez": {"command": "kubeez-mcp-local"}}}, scope="project")
    found = {(one.client.name, one.scope): one.state for one in look_everywhere(machine_in(tmp_path))}
    assert found.pop(("codex", "user")) == "yes"
    assert found.pop(("zed", "user")) == "another"
    assert found.pop(("goose", "user")) == "broken file"
    assert found.pop(("vscode", "project")) == "yes"
    assert found.pop(("jetbrains-ai", "user")) == "by hand"
    assert set(found.values()) == {"–"}


@pytest.mark.parametrize(
    ("name", "scope", "entry", "flaw"),
    [
        ("cursor", "user", {"command": "/nope/uvx", "args": ["kubeez-mcp-local"]}, "does not exist"),
        ("cursor", "user", {"args": ["kubeez-mcp-local"]}, "names no command"),
        ("cursor", "user", {"command": "good", "args": "kubeez-mcp-local"}, ""),
        ("claude-desktop", "user", {"command": "good", "args": ["kubeez-mcp-local"]}, "no whole path"),
        ("cursor", "user", {"command": "good", "args": ["kubeez-mcp-local"], "disabled": True}, "switched off"),
        (
            "zed",
            "user",
            {"command": "good", "args": ["kubeez-mcp-local"], "env": {"KUBEEZ_API_KEY": "$X"}},
            "not known to fill in",
        ),
        ("opencode", "user", {"command": ["/nope/uvx", "kubeez-mcp-local"]}, "does not exist"),
        ("opencode", "user", {"command": ["good", "kubeez-mcp-local"], "enabled": False}, "switched off"),
        ("opencode", "user", {"command": ["good", "kubeez-mcp-local"]}, ""),
        ("opencode", "user", {"command": "good kubeez-mcp-local"}, ""),
        (
            "cursor",
            "project",
            {"command": "good", "args": ["kubeez-mcp-local"], "env": {"KUBEEZ_API_KEY": "sk_live_example"}},
            "gets committed",
        ),
        ("cursor", "user", {"command": "good", "args": ["kubeez-mcp-local"]}, ""),
        ("cursor", "user", [], "no table"),
    ],
)
def test_what_is_wrong_with_an_entry_is_said(name: str, scope: Scope, entry: Any, flaw: str, tmp_path: Path) -> None:
    program(tmp_path / "bin", "good")
    config = config_of(tmp_path, name, {CLIENTS[name].path: {"kubeez": entry}}, scope=scope)
    flaws = list(flaws_of(config, machine_in(tmp_path, PATH=str(tmp_path / "bin"))))
    assert [flaw for one in flaws if flaw in one.what] == ([flaw] if flaw else [])
    assert len(flaws) == bool(flaw)


def test_a_key_that_others_can_read_is_mentioned(tmp_path: Path) -> None:
    program(tmp_path / "bin", "good")
    machine = machine_in(tmp_path, PATH=str(tmp_path / "bin"))
    entry = {"command": "good", "args": ["kubeez-mcp-local"], "env": {"KUBEEZ_API_KEY": "sk_live_example"}}
    config = config_of(tmp_path, "cursor", {"mcpServers": {"kubeez": entry}})
    config.path.chmod(0o644)
    (flaw,) = flaws_of(read(config.client, "user", machine), machine)
    assert (flaw.serious, "chmod 600" in flaw.next_step) == (False, True)
    config.path.chmod(0o600)
    assert list(flaws_of(read(config.client, "user", machine), machine)) == []
    assert look(config.client, "user", machine).as_json()["state"] == "installed"


def clock() -> datetime:
    return datetime(2026, 11, 23, 14, 5, 6, tzinfo=UTC)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_copy_stays_beside_it_readable_by_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_bytes(b"old")
    path.chmod(0o644)
    backup = write_config(read_config(path), "new", clock=clock)
    assert backup == tmp_path / "mcp.json.20261123-140506.backup"
    assert (path.read_bytes(), backup.read_bytes()) == (b"new", b"old")
    assert (mode_of(path), mode_of(backup)) == (0o644, 0o600)
    second = write_config(read_config(path), "newer", clock=clock)
    assert second is not None
    assert (second.name, second.read_bytes()) == ("mcp.json.20261123-140506-2.backup", b"new")


def test_a_file_with_a_key_is_made_private(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_bytes(b"{}")
    path.chmod(0o666)
    write_config(read_config(path), "key", private=True)
    assert mode_of(path) == 0o600


def test_a_new_file_comes_with_its_folder_and_no_copy(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "mcp.json"
    assert write_config(read_config(path), "new", new_mode=0o644) is None
    assert [one.name for one in path.parent.iterdir()] == ["mcp.json"]
    assert mode_of(path) == 0o644


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "dotfiles").mkdir()
    real = tmp_path / "dotfiles" / "mcp.json"
    real.write_text("old", "utf-8")
    link = tmp_path / "mcp.json"
    link.symlink_to(real)
    write_config(read_config(link), "new")
    assert link.is_symlink()
    assert real.read_text("utf-8") == "new"


def test_the_mark_at_the_beginning_of_a_file_from_windows_stays(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_bytes(b"\xef\xbb\xbf{}")
    file = read_config(path)
    assert file.text == "{}"
    write_config(file, '{"é": 1}')
    assert path.read_bytes() == b'\xef\xbb\xbf{"\xc3\xa9": 1}'


def test_what_another_program_wrote_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_text("old", "utf-8")
    file = read_config(path)
    path.write_text("theirs", "utf-8")
    with pytest.raises(ConfigError, match="just now"):
        write_config(file, "ours")
    assert [one.name for one in tmp_path.iterdir() if one.is_file()] == ["mcp.json"]
    assert path.read_text("utf-8") == "theirs"


def test_a_file_that_appeared_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    file = read_config(path)
    path.write_text("theirs", "utf-8")
    with pytest.raises(ConfigError, match="just now"):
        write_config(file, "ours")
    assert path.read_text("utf-8") == "theirs"


def test_other_encodings_and_folders_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_bytes('{\n"a": "é"}'.encode("utf-16"))
    with pytest.raises(BrokenConfigError, match="UTF-8"):
        read_config(path)
    with pytest.raises(BrokenConfigError, match="cannot be read"):
        read_config(tmp_path)


@pytest.mark.parametrize(
    ("call", "system_error"), [("open", errno.EACCES), ("open", errno.EROFS), ("fsync", errno.ENOSPC)]
)
def test_a_folder_that_refuses_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, system_error: int
) -> None:
    path = tmp_path / "mcp.json"
    path.write_text("old", "utf-8")
    file, reason = read_config(path), os.strerror(system_error)

    def refuse(*_: object, **__: object) -> None:  # rights alone do not stop root
        raise OSError(system_error, reason)

    with monkeypatch.context() as patched:
        patched.setattr(os, call, refuse)
        with pytest.raises(ConfigError, match=rf"mcp\.json cannot be written: {reason}"):
            write_config(file, "new")
    assert path.read_text("utf-8") == "old"
    assert list(tmp_path.glob("*mcp.json*")) == [path]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    file = read_config(tmp_path / "other" / "mcp.json")
    (tmp_path / "other").write_text("in the way", "utf-8")
    with pytest.raises(ConfigError, match="It is as it was"):
        write_config(file, "new")
