"""Values given for arguments are typed, limited and completed."""

from __future__ import annotations

from typing import Any

import pytest

from kubeez_mcp_local.cookbook.arguments import check_arguments, complete
from kubeez_mcp_local.cookbook.format import Summary
from kubeez_mcp_local.errors import InvalidArgumentError

SUMMARY = Summary.model_validate(
    {
        "name": "all-kinds",
        "title": "All kinds",
        "description": "Every type of argument.",
        "arguments": {
            "brief": {"description": "The brief", "required": True, "max_length": 20},
            "count": {"description": "How many", "type": "integer", "minimum": 1, "maximum": 5, "default": 3},
            "weight": {"description": "How much", "type": "number", "minimum": 0, "maximum": 1},
            "loud": {"description": "With sound", "type": "boolean", "default": False},
            "aspect_ratio": {"description": "Frame", "type": "ratio", "choices": ["1:1", "16:9"], "default": "1:1"},
            "frame": {"description": "Any frame", "type": "ratio"},
            "model": {"description": "Model", "type": "model", "default": "nano-banana-2"},
            "languages": {"description": "Languages", "type": "list", "choices": ["de", "fr", "it"], "maximum": 2},
            "rows": {"description": "Rows", "type": "table", "maximum": 3},
            "picture": {"description": "A picture", "type": "path"},
        },
    }
)


def check(**given: Any) -> dict[str, Any]:
    return check_arguments(SUMMARY, {"brief": "Tea", **given})


def test_text_from_a_prompt_becomes_typed_values_and_defaults_fill_the_rest() -> None:
    values = check(count="4", weight="0.5", loud="yes", languages="de, fr", rows="Name;Big Idea\nA;x\n\nB;y\n")

    assert values["count"] == 4
    assert values["weight"] == 0.5
    assert values["loud"] is True
    assert values["languages"] == ["de", "fr"]
    assert values["rows"] == [{"name": "A", "big_idea": "x"}, {"name": "B", "big_idea": "y"}]
    assert (values["aspect_ratio"], values["model"], values["frame"], values["picture"]) == (
        "1:1",
        "nano-banana-2",
        None,
        None,
    )


def test_typed_values_are_taken_as_they_are() -> None:
    values = check(count=2, loud=True, languages=["it"], rows=[{"a": 1}])
    assert (values["count"], values["loud"], values["languages"], values["rows"]) == (2, True, ["it"], [{"a": "1"}])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"brief": ""}, "brief: is missing: The brief"),
        ({"brief": "x" * 21}, "brief: has 21 characters; at most 20"),
        ({"brief": ["x"]}, "brief: must be text, not list"),
        ({"brief": "a\x00b"}, "brief: holds the control character"),
        ({"count": "many"}, "count: must be a whole number, not 'many'"),
        ({"count": "6"}, "count: is 6; at most 5"),
        ({"count": 0}, "count: is 0; at least 1"),
        ({"count": True}, "count: must be a whole number"),
        ({"count": "9" * 400}, "count: must be a whole number"),
        ({"weight": "nan"}, "weight: must be a number"),
        ({"weight": float("inf")}, "weight: must be a number"),
        ({"loud": "perhaps"}, "loud: must be true or false, not 'perhaps'"),
        ({"aspect_ratio": "16:8"}, "aspect_ratio: is '16:8'; allowed: 1:1, 16:9. Did you mean 16:9"),
        ({"frame": "wide"}, "frame: must be an aspect ratio such as 1:1"),
        ({"model": "a\nb"}, "model: must be one line"),
        ({"languages": "de, xx"}, "languages: is 'xx'; allowed: de, fr, it"),
        ({"languages": "de, fr, it"}, "languages: has 3; at most 2"),
        ({"rows": "campaign.csv"}, "rows: must be CSV text here"),
        ({"rows": "a,b\n1,2,3"}, "rows: row 1 has 3 cells for 2 columns"),
        ({"rows": "a,a\n1,2"}, "rows: needs a different name for each column"),
        ({"rows": "a\n1\n2\n3\n4"}, "rows: has 4 rows; at most 3"),
        ({"rows": 7}, "rows: must be CSV text, the path of a CSV file, or a list"),
        ({"breif": "x"}, "breif: all-kinds has no such argument; it takes: brief, count"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_name_with_what_is_allowed(given: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        check(**given)
    assert str(caught.value).startswith(words)


def test_a_table_is_read_by_whoever_may_read_files() -> None:
    asked: list[tuple[str, str]] = []

    def read(argument: str, path: str) -> list[dict[str, str]]:
        asked.append((argument, path))
        return [{"name": "A"}]

    values = check_arguments(SUMMARY, {"brief": "Tea", "rows": "campaign.csv"}, read_table=read)

    assert values["rows"] == [{"name": "A"}]
    assert asked == [("rows", "campaign.csv")]


@pytest.mark.parametrize(
    ("argument", "prefix", "found"),
    [
        ("aspect_ratio", "1", ["1:1", "16:9"]),
        ("aspect_ratio", "16", ["16:9"]),
        ("loud", "", ["false", "true"]),
        ("model", "NANO", ["nano-banana-2", "nano-banana"]),
        ("frame", "", ["1:1", "9:16"]),
        ("languages", "de, f", ["de, fr"]),
        ("brief", "T", []),
        ("nothing", "", []),
    ],
)
def test_half_typed_values_are_completed(argument: str, prefix: str, found: list[str]) -> None:
    known = {"model": ["nano-banana", "z-image"], "ratio": ["1:1", "9:16"]}
    assert complete(SUMMARY, argument, prefix, known) == found


def test_checked_values_can_be_checked_again() -> None:
    for values in (check(), check(count="4", languages="de, fr", rows="name\nA", loud="no", weight=".5")):
        assert check_arguments(SUMMARY, values) == values
