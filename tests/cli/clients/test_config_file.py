"""Configs are written whole or not at all, and never without a copy."""

from __future__ import annotations

import errno
import os
import stat
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from kubeez_mcp_local.cli.clients.installing import (
    BrokenConfigError,
    ConfigConflictError,
    UnwritableConfigError,
    read_config,
    write_config,
)

if TYPE_CHECKING:
    from pathlib import Path


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
    with pytest.raises(ConfigConflictError, match="just now"):
        write_config(file, "ours")
    assert [one.name for one in tmp_path.iterdir() if one.is_file()] == ["mcp.json"]
    assert path.read_text("utf-8") == "theirs"


def test_a_file_that_appeared_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    file = read_config(path)
    path.write_text("theirs", "utf-8")
    with pytest.raises(ConfigConflictError):
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
        with pytest.raises(UnwritableConfigError, match=rf"mcp\.json cannot be written: {reason}"):
            write_config(file, "new")
    assert path.read_text("utf-8") == "old"
    assert list(tmp_path.glob("*mcp.json*")) == [path]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    file = read_config(tmp_path / "other" / "mcp.json")
    (tmp_path / "other").write_text("in the way", "utf-8")
    with pytest.raises(UnwritableConfigError, match="It is as it was"):
        write_config(file, "new")
