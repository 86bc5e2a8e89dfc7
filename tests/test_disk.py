"""Files are opened where they were found and nowhere else."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from kubeez_mcp_local.disk import open_exactly

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(params=["by the system", "by comparing"])
def _each_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "by comparing":
        monkeypatch.delattr(os, "O_PATH", raising=False)
        monkeypatch.delattr(os, "O_NOFOLLOW_ANY", raising=False)


pytestmark = pytest.mark.usefixtures("_each_way")


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "inside" / "sub").mkdir(parents=True)
    (tmp_path / "inside" / "sub" / "a.png").write_bytes(b"mine")
    path = tmp_path / "outside" / "a.png"
    path.write_bytes(b"secret")
    return path


def test_a_file_is_opened(secret: Path) -> None:
    with open_exactly(secret) as file:
        assert (file.read(), file.name) == (b"secret", str(secret))


def test_nothing_is_opened_through_a_link(secret: Path, tmp_path: Path) -> None:
    (tmp_path / "inside" / "link.png").symlink_to(secret)
    (tmp_path / "inside" / "folder").symlink_to(secret.parent)
    for path in ("inside/link.png", "inside/folder/a.png"):
        with pytest.raises(OSError, match=r"(?i)link|director") as refusal:
            open_exactly(tmp_path / path)
        assert refusal.value.errno in (errno.ELOOP, errno.ENOTDIR)


def test_pipes_and_folders_are_no_files_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(OSError, match=r"not a regular file|directory"):
            open_exactly(path)
    with pytest.raises(FileNotFoundError, match="gone"):
        open_exactly(tmp_path / "gone")
