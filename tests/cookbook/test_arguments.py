"""Values given for arguments are typed, limited and completed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from kubeez_mcp_local.cookbook.arguments import InvalidArgumentsError, TextFiles, check_arguments, complete
from kubeez_mcp_local.cookbook.format import Summary
from kubeez_mcp_local.errors import InvalidArgumentError

if TYPE_CHECKING:
    from pathlib import Path

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
            "models": {"description": "Models", "type": "list", "of": "model", "default": "z-image, nano-banana"},
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
        ({"count": 10**400}, "count: must be a whole number"),
        ({"weight": -(10**400)}, "weight: must be a number"),
        ({"loud": "perhaps"}, "loud: must be true or false, not 'perhaps'"),
        ({"aspect_ratio": "16:8"}, "aspect_ratio: is '16:8'; allowed: 1:1, 16:9. Did you mean 16:9"),
        ({"frame": "wide"}, "frame: must be an aspect ratio such as 1:1"),
        ({"model": "a\nb"}, "model: must be one line"),
        ({"languages": "de, xx"}, "languages: entry 2 is 'xx'; allowed: de, fr, it"),
        ({"languages": "de, fr, it"}, "languages: has 3 entries; at most 2"),
        ({"rows": "campaign.csv"}, "rows: must be CSV text here"),
        ({"rows": "a,b\n1,2,3"}, "rows: row 1 has 3 cells for 2 columns"),
        ({"rows": "a,a\n1,2"}, "rows: needs a different name for each column"),
        ({"rows": "a\n1\n2\n3\n4"}, "rows: has 4 rows; at most 3"),
        ({"rows": 'a,b\n1,"2\n3,4\n'}, "rows: is not CSV: in row 1 is a quotation mark too many or too few"),
        ({"rows": 'a,b\n1,2\n3,"4" x\n'}, "rows: is not CSV: in row 2 is a quotation mark too many or too few"),
        ({"rows": 'a,"b\n1,2'}, "rows: is not CSV: in the line of column names is a quotation mark"),
        ({"rows": [{"a": "1"}, {"a": {"b": 1}}]}, "rows: row 2, column a: must be text, not dict"),
        ({"rows": [{"a": ["x"]}]}, "rows: row 1, column a: must be text, not list"),
        ({"languages": ["de", ["fr"]]}, "languages: entry 2 must be text, not list"),
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

    def read(argument: str, path: str) -> str:
        asked.append((argument, path))
        return "name\nA"

    values = check_arguments(SUMMARY, {"brief": "Tea", "rows": "campaign.csv"}, read=read)

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
        ("languages", "fr;", ["fr; de", "fr; it"]),
        ("languages", "fr\n", ["fr\nde", "fr\nit"]),
        ("models", "", ["z-image, nano-banana", "nano-banana", "z-image"]),
        ("models", "Z-Image , ", ["Z-Image , nano-banana"]),
        ("models", "z-image, nano-banana, ", []),
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


TYPED = Summary.model_validate(
    {
        "name": "typed",
        "title": "Typed",
        "description": "A table that knows its columns, and long texts.",
        "arguments": {
            "rows": {
                "description": "Rows",
                "type": "table",
                "columns": {
                    "name": {"required": True, "max_length": 12},
                    "big_idea": {"required": True},
                    "ratio": {"type": "ratio", "choices": ["1:1", "16:9"]},
                    "count": {"type": "integer", "minimum": 1, "maximum": 4},
                },
            },
            "brief": {"description": "Brief", "type": "text", "max_length": 200},
            "script": {"description": "Script", "type": "script", "maximum": 2},
            "models": {"description": "Models", "type": "list", "of": "ratio"},
            "words": {"description": "Words only"},
        },
    }
)


def refused(folder: Path | None = None, **given: Any) -> str:
    with pytest.raises(InvalidArgumentError) as caught:
        check_arguments(TYPED, given, read=TextFiles([folder]) if folder else None)
    return caught.value.message


def test_rows_are_typed_by_their_columns_and_have_all_of_them() -> None:
    rows = "Name;Big idea;Count;Note\nA;x;2;left aside\nB;y;;\n"
    values = check_arguments(TYPED, {"rows": rows})

    assert values["rows"] == [
        {"name": "A", "big_idea": "x", "count": 2, "note": "left aside", "ratio": None},
        {"name": "B", "big_idea": "y", "count": None, "note": "", "ratio": None},
    ]
    assert check_arguments(TYPED, values) == values


def test_all_bad_rows_are_told_at_once_by_their_numbers_alike_ones_together() -> None:
    rows = "name,big_idea,ratio,count\nA,,1:1,1\nB,,7:3,2\nC,x,7:3,many\nmuch too long a name,x,,9\n"
    assert refused(rows=rows).splitlines() == [
        "5 things do not fit:",
        "- rows: rows 1 and 2: big_idea is empty",
        "- rows: rows 2 and 3: ratio is '7:3'; allowed: 1:1, 16:9.",
        "- rows: row 3: count must be a whole number, not 'many'",
        "- rows: row 4: name has 20 characters; at most 12 are allowed",
        "- rows: row 4: count is 9; at most 4 allowed",
    ]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("title,text\na,b", "rows: has no columns name, big_idea (there: title, text); it needs name, big_idea"),
        ("nam,big_idea\na,b", "For nam: Did you mean name?"),
        ("name,big_idea,ratios\na,b,1:1", "rows: has a column ratios, which is not known"),
        ("name,big_idea A,b B,c", "rows: is CSV on one line; put the column names on the first line"),
        ("name,big_idea\\nA,b", 'or give a list of objects such as [{"name": "…", "big_idea": "…"}]'),
        ([{"title": "x"}], "rows: has no columns name, big_idea"),
    ],
)
def test_wrong_headers_and_lost_line_breaks_are_told_in_a_sentence(rows: Any, words: str, tmp_path: Path) -> None:
    for folder in (None, tmp_path):
        assert words in refused(folder, rows=rows)


def test_many_faults_are_bounded_and_other_arguments_are_told_with_them() -> None:
    rows = "name,big_idea,count\n" + "".join(f"A,x,n{number}\n" for number in range(40))
    message = refused(rows=rows, words=["no text"], nonsense=1)
    assert message.startswith("42 things do not fit:")
    assert "- nonsense: typed has no such argument" in message
    assert message.endswith("- and 32 more")
    assert len(message) < 1_500


def test_alike_faults_of_many_rows_are_one_line() -> None:
    message = refused(rows="name,big_idea\n" + "A,\n" * 40)
    assert message == "rows: rows 1, 2, 3, 4, 5 and 35 more: big_idea is empty"


def test_a_script_needs_a_name_in_each_line_and_has_only_so_many_speakers() -> None:
    text = "Ann: Hello\n\nBen: Yes\n"
    assert check_arguments(TYPED, {"script": text})["script"] == text
    assert refused(script="Ann: Hello\nYes, hello\nBen:\nStill here").splitlines()[1:] == [
        "- script: lines 2 and 4: no name and colon before the words, as in `Ann: Hello`",
        "- script: line 3: a name without words",
    ]
    assert refused(script="A: x\nB: y\nC: z") == "script: has 3 speakers (A, B, C); at most 2 can speak"


def test_a_long_text_may_be_a_file_because_the_recipe_says_so_and_what_was_read_is_said(tmp_path: Path) -> None:
    file = tmp_path / "talk.txt"
    file.write_text("\ufeffAnn: Hello\r\nBen: Yes\r\n", encoding="utf-8")
    read = TextFiles([tmp_path])
    given = {"script": str(file), "brief": str(file), "words": str(file)}
    values = check_arguments(TYPED, given, read=read)

    assert values["script"] == values["brief"] == "Ann: Hello\nBen: Yes"
    assert values["words"] == str(file), "an argument that takes no file is its words, whatever they look like"
    assert read.read[0].startswith("brief was read from the file talk.txt (")
    assert check_arguments(TYPED, {"brief": str(file)})["brief"] == str(file), "who may not touch files reads none"


def test_words_that_are_no_file_stay_words_and_a_missing_text_file_is_not_spoken(tmp_path: Path) -> None:
    values = check_arguments(TYPED, {"brief": "A fox: red, in snow"}, read=TextFiles([tmp_path]))
    assert values["brief"] == "A fox: red, in snow"
    for name in ("brief", "script"):
        assert "there is no file" in refused(tmp_path, **{name: str(tmp_path / "gone.txt")})
    words = {"brief": "Write about notes.txt."}
    assert check_arguments(TYPED, words, read=TextFiles([tmp_path]))["brief"] == words["brief"]


def test_a_file_that_is_no_text_or_too_long_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00x")
    (tmp_path / "b.txt").write_text("x" * 201, encoding="utf-8")
    (tmp_path / "c.txt").write_bytes(b"nul \x00 inside")
    assert "is not UTF-8 text" in refused(tmp_path, brief=str(tmp_path / "a.txt"))
    assert "has 201 characters; at most 200" in refused(tmp_path, brief=str(tmp_path / "b.txt"))
    assert "control character" in refused(tmp_path, brief=str(tmp_path / "c.txt"))


def test_the_entries_of_a_list_have_a_type_too() -> None:
    assert check_arguments(TYPED, {"models": "1:1, 16:9"})["models"] == ["1:1", "16:9"]
    assert refused(models="1:1, wide") == "models: entry 2 must be an aspect ratio such as 1:1 or 16:9, not 'wide'"


def test_several_faults_are_one_error_that_knows_each() -> None:
    with pytest.raises(InvalidArgumentsError) as caught:
        check_arguments(TYPED, {"brief": 7.5, "script": "x", "rows": 4, "models": {}})
    assert [fault.argument for fault in caught.value.faults] == ["rows", "script", "models"]
    assert caught.value.code == "invalid_argument"
