"""Files are opened where they were found and nowhere else, written whole, and named once."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from kubeez_mcp_local.disk import give_free_name, give_name, open_exactly, part_beside, replace_file, replacing

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


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "made" / "a.json"
    replace_file(target, "eins")
    replace_file(target, b"zwei")
    with pytest.raises(TypeError), replacing(target) as file:
        file.writelines([b"half", "not bytes"])  # type: ignore[list-item]
    assert target.read_bytes() == b"zwei"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("hard_links", [True, False])
def test_a_name_is_given_once_and_never_over_another_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hard_links: bool
) -> None:
    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    if not hard_links:
        monkeypatch.setattr(os, "link", no_links)

    def publish(content: str, **others: object) -> str:
        part = part_beside(tmp_path / "x")
        part.write_text(content)
        return give_free_name(part, "a", ".txt", **others).name  # type: ignore[arg-type]

    assert [publish("one"), publish("two"), publish("two")] == ["a.txt", "a-2.txt", "a-3.txt"]
    assert publish("two", others=()) == "a-2.txt"
    assert publish("two", others=[tmp_path / "a-2.txt", tmp_path / "a-3.txt"]) == "a-4.txt"
    part = part_beside(tmp_path / "x")
    part.write_text("mine")
    with pytest.raises(FileExistsError):
        give_name(part, tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_text() == "one"
    part.unlink()
    assert sorted(each.name for each in tmp_path.glob("*.txt")) == ["a-2.txt", "a-3.txt", "a-4.txt", "a.txt"]
