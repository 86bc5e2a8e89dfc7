"""A recipe as a skill, a goose recipe or a prompt file reads as its program wants."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml

from kubeez_mcp_local.cookbook.export.documents import FORMATS, export_recipe, write_files
from kubeez_mcp_local.cookbook.library import Library
from kubeez_mcp_local.errors import InvalidArgumentError
from tests.cookbook.exporting import PACK, recipe_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", PACK)
def test_a_skill_has_what_agents_look_for(name: str) -> None:
    recipe = Library.of().get(name)
    files = export_recipe(recipe, "skill", {})

    head, body = files[f"{name}/SKILL.md"].split("---\n", 2)[1:]
    front = yaml.safe_load(head)
    assert front["name"] == name
    assert recipe.description.rstrip(".") in front["description"]
    assert len(front["description"]) <= 1024
    assert f"`{recipe.tools[0]}`" in body
    assert files[f"{name}/references/{name}.md"] == recipe.text
    assert f"{name}/scripts/{name}.py" in files


@pytest.mark.parametrize("name", PACK)
def test_a_goose_recipe_keeps_gooses_rules(name: str) -> None:
    recipe = Library.of().get(name)
    content = yaml.safe_load(export_recipe(recipe, "goose", {})[f"{name}.yaml"])

    assert {"version", "title", "description", "instructions", "prompt", "extensions"} <= content.keys()
    for parameter in content["parameters"]:
        assert parameter["requirement"] in ("required", "optional")
        assert ("default" in parameter) == (parameter["requirement"] == "optional")
        assert (parameter["input_type"] == "select") == ("options" in parameter)
    text = content["prompt"] + content["instructions"]
    assert all("{{ " + parameter["key"] + " }}" in text for parameter in content["parameters"])
    assert content["extensions"][0]["available_tools"] == list(recipe.tools)


@pytest.mark.parametrize("name", PACK)
def test_a_prompt_file_asks_for_the_arguments_and_names_the_tools(name: str) -> None:
    recipe = Library.of().get(name)
    text = export_recipe(recipe, "prompt", {})[f"{name}.prompt.md"]
    front = yaml.safe_load(text.split("---\n")[1])

    assert front["tools"] == [f"kubeez/{tool}" for tool in recipe.tools]
    assert all("${input:" + key + ":" in text for key in recipe.arguments)
    assert ":16 9}" not in text
    assert "{{" not in text


def test_an_unknown_form_is_refused_with_the_known_ones(plain: str) -> None:
    with pytest.raises(
        InvalidArgumentError, match=r"allowed: python, curl, skill, goose, prompt\. Did you mean python"
    ):
        export_recipe(recipe_of(plain), "pyton", {})
    assert len(FORMATS) == 5


def test_an_exported_file_never_replaces_another_unasked(plain: str, tmp_path: Path) -> None:
    files = export_recipe(recipe_of(plain), "prompt", {})
    [path] = write_files(tmp_path, files)
    path.write_text("mine", encoding="utf-8")
    with pytest.raises(InvalidArgumentError, match="there already"):
        write_files(tmp_path, files)
    write_files(tmp_path, files, overwrite=True)
    assert path.read_text(encoding="utf-8") != "mine"
