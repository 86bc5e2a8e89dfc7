"""One recipe in other forms: a Python or shell script, an agent skill, a goose recipe, an editor's prompt file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubeez_mcp_local.cookbook.problems import near
from kubeez_mcp_local.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

    from kubeez_mcp_local.cookbook.format import Recipe

FORMATS = ("python", "curl", "skill", "goose", "prompt")


def export_recipe(recipe: Recipe, form: str, arguments: Mapping[str, Any]) -> dict[str, str]:
    """The files of one recipe in another form, by relative path.

    Args:
        recipe: The recipe.
        form: One of `FORMATS`. `python` keeps the arguments as options; `curl` is written for these `arguments`.
        arguments: Checked arguments.

    Raises:
        InvalidArgumentError: No such form.
        NotExportableError: The recipe does something that this form cannot.
    """
    match form:
        case "python":
            from kubeez_mcp_local.cookbook.export.python_script import python_script

            return {f"{recipe.name}.py": python_script(recipe)}
        case "curl":
            from kubeez_mcp_local.cookbook.export.shell_script import shell_script

            return {f"{recipe.name}.sh": shell_script(recipe, arguments)}
        case "skill":
            from kubeez_mcp_local.cookbook.export.skill import skill_files

            return skill_files(recipe)
        case "goose":
            from kubeez_mcp_local.cookbook.export.goose import goose_recipe

            return {f"{recipe.name}.yaml": goose_recipe(recipe)}
        case "prompt":
            from kubeez_mcp_local.cookbook.export.prompt_file import prompt_file

            return {f"{recipe.name}.prompt.md": prompt_file(recipe)}
    raise InvalidArgumentError("to", f"{form!r} is not a form; allowed: {', '.join(FORMATS)}.{near(form, FORMATS)}")


def write_files(folder: Path, files: Mapping[str, str], *, overwrite: bool = False) -> list[Path]:
    """Write exported files below `folder`.

    Raises:
        InvalidArgumentError: A file is there already and `overwrite` is off, or the folder cannot be written to.
    """
    targets = {folder / name: text for name, text in files.items()}
    for path in targets:
        if path.exists() and not overwrite:
            raise InvalidArgumentError("folder", f"{path} is there already; choose another folder or --overwrite")
    try:
        for path, text in targets.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            if text.startswith("#!"):
                path.chmod(0o755)
    except OSError as error:
        raise InvalidArgumentError("folder", f"{folder} cannot be written to: {error.strerror}") from None
    return list(targets)
