"""What exported scripts say, and that nothing in a recipe or a value can break out of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from kubeez_mcp_local.cookbook.arguments import check_arguments
from kubeez_mcp_local.cookbook.check import sample_arguments
from kubeez_mcp_local.cookbook.export.documents import export_recipe, write_files
from kubeez_mcp_local.cookbook.export.python_script import python_script
from kubeez_mcp_local.cookbook.export.to_python import REST_CALLS, NotExportableError
from kubeez_mcp_local.cookbook.library import Library
from kubeez_mcp_local.rest.routes import ROUTES
from tests.cookbook.exporting import needs_shell_tools, recipe_of, run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.sandbox_server import RunningSandbox


def test_the_paths_of_scripts_are_those_of_the_client() -> None:
    for tool, call in REST_CALLS.items():
        assert call.path == ROUTES[tool].path
        assert call.kind == ROUTES[tool].kind
        assert call.assumed == (ROUTES[tool].evidence == "assumed")


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
