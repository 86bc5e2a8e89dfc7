"""Every recipe of the pack with one bad value per argument: each is named before anything is priced or paid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from kubeez_mcp_local.cookbook.check import Samples, example_values
from kubeez_mcp_local.cookbook.library import Library
from tests.mcp_server.driving import call, client_of, picture, refused

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kubeez_mcp_local.cookbook.format import Argument, Recipe
    from tests.sandbox_server import RunningSandbox

pytestmark = pytest.mark.anyio
PACK = Library.of()
_BY_TYPE: dict[str, Any] = {
    "integer": "many",
    "number": "much",
    "boolean": "perhaps",
    "model": "nano-banana-99",
    "ratio": "0:0",
    "voice": "Nobody",
    "path": "gone/away.png",
    "script": "words without a name",
    "table": "colour,shape\nred,round",
    "string": "x" * 5_000,
    "text": "x" * 20_001,
}


def bad_values(argument: Argument) -> Iterator[Any]:
    """Values that do not fit: of each kind of fault that the argument can have."""
    kind = argument.of if argument.type == "list" else argument.type
    yield "nonsense" if argument.choices else _BY_TYPE[kind]
    if argument.type == "list":
        yield [_BY_TYPE[kind]] * 2
        yield ["x"] * int((argument.maximum or 1_000) + 1)
    elif argument.maximum is not None and argument.type in ("integer", "number"):
        yield argument.maximum + 1
    elif argument.type == "script":
        yield "A: a\nB: b\nC: c"
    elif argument.type == "table":
        yield [dict.fromkeys(argument.columns, "")]
    elif argument.type == "text":
        yield "gone/away.txt"
    if argument.required:
        yield ""


def paid(api: RunningSandbox) -> list[Any]:
    """Paid requests that reached the API."""
    return [call for call in api.control.books()["calls"] if call.startswith("POST /v1/generate")]


def fitting(recipe: Recipe, folder: Path) -> dict[str, Any]:
    """The recipe's own examples; a video may lie at a URL where none can be written."""
    pytest.importorskip("av")
    return example_values(recipe, Samples(folder))


@pytest.mark.parametrize("name", list(PACK.index().entries))
async def test_each_bad_value_is_named_and_nothing_is_paid(name: str, api: RunningSandbox, tmp_path: Path) -> None:
    recipe = PACK.get(name)
    good = fitting(recipe, tmp_path)
    async with client_of(api, tmp_path) as client:
        for argument, declared in recipe.arguments.items():
            for value in bad_values(declared):
                error = await refused(client, "run_recipe", name=name, arguments={**good, argument: value})
                assert argument in error["message"], (argument, value, error)
                assert error["credits_spent"] is False
    assert paid(api) == []


@pytest.mark.parametrize("name", list(PACK.index().entries))
async def test_all_bad_values_are_named_at_once(name: str, api: RunningSandbox, tmp_path: Path) -> None:
    recipe = PACK.get(name)
    bad = {argument: next(bad_values(declared)) for argument, declared in recipe.arguments.items()}
    async with client_of(api, tmp_path) as client:
        message = (await refused(client, "run_recipe", name=name, arguments=bad))["message"]
    assert message.startswith(f"{len(bad)} things do not fit:")
    assert [line.split(":")[0] for line in message.splitlines()[1:]] == [f"- {argument}" for argument in bad]
    assert paid(api) == []


async def test_a_file_of_the_wrong_kind_is_refused_by_the_name_of_its_argument(
    api: RunningSandbox, tmp_path: Path
) -> None:
    sound = Samples(tmp_path)("audio")
    async with client_of(api, tmp_path) as client:
        error = await refused(client, "run_recipe", name="remove-backgrounds", arguments={"pictures": [sound]})
        assert "pictures: is an audio file; image is needed" in error["message"]


async def test_rows_are_checked_before_any_of_them_is_paid(api: RunningSandbox, tmp_path: Path) -> None:
    rows = [{"name": "A", "idea": "x"}, {"name": "B", "idea": ""}, {"name": "C", "idea": "y", "ratio": "7:3"}]
    async with client_of(api, tmp_path) as client:
        error = await refused(client, "run_recipe", name="campaign-from-csv", arguments={"rows": rows, "style": "x"})
    assert error["message"].splitlines()[1:] == [
        "- rows: row 2: idea is empty",
        "- rows: row 3: ratio is '7:3'; allowed: 1:1, 16:9, 9:16, 4:3, 3:4. Did you mean 4:3?",
    ]


async def test_patterns_are_expanded_as_for_uploads(api: RunningSandbox, tmp_path: Path) -> None:
    for colour in ("#000010", "#000002"):
        picture(tmp_path, colour)
    async with client_of(api, tmp_path) as client:
        given = {"pictures": f"{tmp_path}/inputs/*.png"}
        told = await call(client, "get_recipe", name="remove-backgrounds", arguments=given)
    assert [line for line in told["text"].splitlines() if line.startswith("- /")] == [
        f"- {tmp_path / 'inputs'}/{colour}.png" for colour in ("#000002", "#000010")
    ]


async def test_a_misspelt_model_gets_the_same_hint_as_from_the_tool(api: RunningSandbox, tmp_path: Path) -> None:
    async with client_of(api, tmp_path) as client:
        given = {"before": "a", "after": "b", "models": "nano-bananna-2, z-image"}
        error = await refused(client, "run_recipe", name="compare-prompts", arguments=given)
        direct = await refused(client, "generate_media", prompt="a", model="nano-bananna-2")
    hint = direct["message"].removeprefix("model: ")
    assert "Did you mean nano-banana-2" in hint
    assert error["message"] == f"models: entry 1: {hint}"
