"""What exports say, and that nothing in a recipe or a value can break out of a script."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import yaml

from kubeez_mcp_local.cookbook.arguments import check_arguments
from kubeez_mcp_local.cookbook.check import sample_arguments
from kubeez_mcp_local.cookbook.export.documents import FORMATS, export_recipe, write_files
from kubeez_mcp_local.cookbook.export.python_script import python_script
from kubeez_mcp_local.cookbook.export.to_python import NotExportableError
from kubeez_mcp_local.cookbook.library import Library
from kubeez_mcp_local.errors import InvalidArgumentError
from tests.cookbook.exporting import PACK, needs_shell_tools, recipe_of, run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.sandbox_server import RunningSandbox


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


HOSTILE = "\"\"\"'; import os; os.system('x') #\n{{ 7 }} ${HOME} $(id) `id` \\(env.KUBEEZ_API_KEY) @@x|.y@@ %s {x}"


@needs_shell_tools
def test_odd_values_cannot_break_out_of_a_script(plain: str, sandbox: RunningSandbox, tmp_path: Path) -> None:
    recipe = recipe_of(plain.replace("max_length: 100", "max_length: 1000"))
    arguments = check_arguments(recipe.front, {"subject": HOSTILE})
    [script] = write_files(tmp_path, export_recipe(recipe, "curl", arguments))
    done = run(["bash", str(script)], sandbox, tmp_path)
    assert done.returncode == 0, done.stderr
    assert sandbox.control.account()["jobs"][0]["prompt"] == f"A picture of {HOSTILE}"


def test_odd_words_of_a_recipe_cannot_break_out_of_a_script(plain: str) -> None:
    text = plain.replace("One picture of one thing.", json.dumps(HOSTILE)).replace(
        "A plain recipe", json.dumps(HOSTILE)
    )
    text = text.replace("A picture of {{ args.subject }}", "x {{ args.subject }} \\\" ''' {% raw %}{{ 1 }}{% endraw %}")
    compile(python_script(recipe_of(text)), "script", "exec")


@pytest.mark.parametrize("name", ["class", "import", "output", "help", "print", "kubeez"])
def test_odd_names_of_arguments_and_steps_do_not_clash(plain: str, name: str) -> None:
    text = plain.replace("subject", name).replace("id: hero", f"id: {name}")
    compile(python_script(recipe_of(text)), "script", "exec")


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("A picture of {{ args.subject }}", "{{ os }}", "does not know"),
        ("A picture of {{ args.subject }}", "{% set a = 1 %}{{ a }}", "cannot translate"),
        ("generate_media", "trim_video", "no counterpart in the REST API"),
    ],
)
def test_what_a_script_cannot_say_is_refused(plain: str, before: str, after: str, words: str) -> None:
    with pytest.raises(NotExportableError, match=words):
        python_script(recipe_of(plain.replace(before, after)))


def test_a_shell_script_that_would_have_to_calculate_with_results_is_refused() -> None:
    recipe = Library.of().get("check-balance-and-choose")
    with pytest.raises(NotExportableError, match="choice calculates with the result of an earlier step"):
        export_recipe(recipe, "curl", sample_arguments(recipe))


def test_a_recipe_without_steps_is_no_script(plain: str) -> None:
    recipe = recipe_of(plain[: plain.index("steps:")] + "---\nMake {{ subject }} {{ aspect_ratio }}\n")
    for form in ("python", "curl"):
        with pytest.raises(NotExportableError, match="no steps"):
            export_recipe(recipe, form, {})
