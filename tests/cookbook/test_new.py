"""A new recipe works as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kubeez_mcp_local.cookbook.check import check_recipe
from kubeez_mcp_local.cookbook.drafts import starter, write_starter
from kubeez_mcp_local.cookbook.library import read_recipe
from kubeez_mcp_local.errors import InvalidArgumentError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("title", ["", "Spring sale", 'Odd: "title" #1 {x}', "true", "Über uns\nzwei"])
def test_a_starter_is_sound_under_any_title(tmp_path: Path, title: str) -> None:
    recipe = read_recipe(write_starter(tmp_path, "spring-sale", title))
    assert check_recipe(recipe) == ()
    assert recipe.title == (" ".join(title.split()) or "Spring sale")


@pytest.mark.parametrize("name", ["", "Spring", "a b", "../x", "a--b", "-a", "x" * 65])
def test_an_odd_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidArgumentError, match="name"):
        write_starter(tmp_path, name)
    assert list(tmp_path.glob("*.md")) == []


def test_a_file_that_is_there_is_never_replaced(tmp_path: Path) -> None:
    path = write_starter(tmp_path, "mine")
    path.write_text("my work", encoding="utf-8")
    with pytest.raises(InvalidArgumentError, match="there already"):
        write_starter(tmp_path, "mine")
    assert path.read_text(encoding="utf-8") == "my work"


def test_nothing_of_this_machine_gets_into_a_file_that_will_be_shared() -> None:
    assert "file:" not in starter("shared")
