"""A recipe file becomes a recipe, or an error that says where and what; nothing in it grows, runs or hides."""

from __future__ import annotations

import pytest

from kubeez_mcp_local.cookbook.format import MAX_FILE_BYTES, Origin, RecipeError
from kubeez_mcp_local.cookbook.parse import MAX_VALUES, decode, parse_recipe, parse_summary, read_yaml

ORIGIN = Origin("draft", "a test")


def refusal(text: str) -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text, ORIGIN, file="plain.md")
    return caught.value


def test_a_recipe_is_read_with_everything_it_says(plain: str) -> None:
    recipe = parse_recipe(plain, ORIGIN)

    assert (recipe.name, recipe.version, recipe.tools[0]) == ("plain", 2, "estimate")
    assert recipe.arguments["aspect_ratio"].choices == ("1:1", "16:9")
    assert recipe.steps[0].with_["model"] == "nano-banana-2"
    assert recipe.body == "Make a picture of {{ subject }} in {{ aspect_ratio }}.\n"
    assert recipe.text.splitlines()[recipe.body_line - 1] == recipe.body.strip()


def test_an_unknown_field_is_refused_with_its_line_the_allowed_fields_and_a_near_match(plain: str) -> None:
    error = refusal(plain.replace("version: 2", "version: 2\nargumants: {}"))

    assert (error.file, error.line, error.field) == ("plain.md", 6, "argumants")
    assert "allowed: name, title, description" in error.reason
    assert "Did you mean arguments?" in error.reason
    assert str(error).startswith("plain.md:6: argumants: unknown field")


@pytest.mark.parametrize(
    ("line", "broken", "field", "words"),
    [
        ("{description: Frame, type: ratio", "{description: Frame, type: rato", "arguments.aspect_ratio.type", "ratio"),
        ("{description: What is shown", "{describtion: What is shown", "arguments.subject.describtion", "description"),
        ("name: plain", "name: Not A Name", "name", "lower-case letters, digits and -"),
        ("name: plain", "name: ../../etc/passwd", "name", "lower-case"),
        ("version: 2", "version: two", "version", "must be a whole number, not 'two'"),
        ("version: 2", "version: 0", "version", "is 0; at least 1 is allowed"),
        ('budget: "{{ max_credits }}"', "budget: -5", "budget", "is -5; at least 0 is allowed"),
        ("tags: [image]", "tags: image", "tags", "must be a list, not 'image'"),
        ("{description: What is shown, required: true, max_length: 100}", "[]", "arguments.subject", "not a list"),
        ("title: A plain recipe", "title: [a]", "title", "must be text, not a list"),
        ("tool: generate_media", "tool: generate_media\n    for_each: 5", "steps[0].for_each", "text or a list, not 5"),
        ("tool: generate_media", "tool: generate_music", "steps[0].tool", "not declared in `tools`"),
        ("max_length: 100", "default: tea", "arguments.subject.default", "no default"),
        ("default: 60", "default: 900", "arguments.max_credits.default", "at most 500"),
        ('default: "1:1"', 'default: "4:5"', "arguments.aspect_ratio.default", "allowed: 1:1, 16:9"),
        ("minimum: 1,", "minimum: 600,", "arguments.max_credits.minimum", "above the maximum"),
        ("id: hero", "id: Hero Shot", "steps[0].id", "lower-case letters, digits and _"),
        ("  subject:", "  steps:", "arguments", "cannot be an argument's name"),
        ("budget:", "budget: 5\nbudget:", "budget", "given twice"),
        ("tags: [image]", "tags: &a [image]", "tags", "anchors"),
        ("max_length: 100}", "columns: {name: {}}}", "arguments.subject.columns", "only a table has columns"),
        ("max_length: 100}", "of: model}", "arguments.subject.of", "only a list is of something"),
        ("max_length: 100}", "kinds: [image]}", "arguments.subject.kinds", "only a path has kinds"),
        ("max_length: 100}", "type: path, kinds: [images]}", "arguments.subject.kinds[0]", "Did you mean image"),
        (
            "max_length: 100}",
            "type: table, columns: {name: {type: table}}}",
            "arguments.subject.columns.name.type",
            "allowed: string, integer, number, boolean, model, ratio, voice, path.",
        ),
        (
            "max_length: 100}",
            "type: table, columns: {name: {needed: true}}}",
            "arguments.subject.columns.name.needed",
            "unknown field; allowed: required",
        ),
        (
            "max_length: 100}",
            "type: table, columns: {n: {type: integer, minimum: 3, maximum: 2}}}",
            "arguments.subject.columns.n.minimum",
            "above the maximum",
        ),
    ],
)
def test_a_wrong_value_is_refused_where_it_stands(plain: str, line: str, broken: str, field: str, words: str) -> None:
    text = plain.replace(line, broken, 1)
    error = refusal(text)

    assert error.field == field
    assert words in error.reason
    assert error.line > 0
    key = field.split(".")[-1].split("[")[0]
    assert key in text.splitlines()[error.line - 1]


def test_tabs_are_named_as_what_is_wrong(plain: str) -> None:
    assert "tabs are not allowed" in refusal(plain.replace("tags: [image]", "tags:\n\t- image")).reason


def test_two_steps_of_one_id_are_refused(plain: str) -> None:
    step = "  - {id: hero, tool: generate_media}\n---\nMake"
    assert "used twice" in refusal(plain.replace("---\nMake", step)).reason


def test_what_is_missing_is_named(plain: str) -> None:
    assert (refusal(plain.replace("title: A plain recipe\n", "")).field) == "title"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "opens with a line"),
        ("# Just Markdown", "opens with a line"),
        ("---\nname: plain\n", "no closing line"),
        ("---\n- a\n---\n", "must be fields"),
        ("---\n: [\n---\n", "not valid YAML"),
        ("---\nname: \x07\n---\n", "not valid YAML"),
        ("---\nname: a\n...\nname: b\n---\n", "YAML"),
    ],
)
def test_what_is_not_a_recipe_is_refused(text: str, words: str) -> None:
    assert words in str(refusal(text))


def test_a_path_and_a_table_have_no_default_so_that_no_recipe_names_a_file(plain: str) -> None:
    argument = "  secret: {description: A file, type: path, default: ~/.ssh/id_rsa}\nbudget:"
    assert "only whoever runs the recipe may name a file" in refusal(plain.replace("budget:", argument)).reason


def test_a_file_that_is_too_large_or_not_text_is_refused() -> None:
    with pytest.raises(RecipeError, match="at most 65,536"):
        decode(b"x" * (MAX_FILE_BYTES + 1), "big.md")
    with pytest.raises(RecipeError, match=r"bad\.md:2: is not UTF-8"):
        decode(b"---\n\xff\xfe", "bad.md")


def test_windows_line_ends_and_a_byte_order_mark_are_fine(plain: str) -> None:
    data = b"\xef\xbb\xbf" + plain.replace("\n", "\r\n").encode()
    assert parse_recipe(decode(data, "plain.md"), ORIGIN).name == "plain"


def test_a_ratio_without_quotes_stays_a_ratio(plain: str) -> None:
    recipe = parse_recipe(plain.replace('["1:1", "16:9"], default: "1:1"', "[1:1, 16:9], default: 16:9"), ORIGIN)
    assert recipe.arguments["aspect_ratio"].default == "16:9"


def test_a_summary_reads_neither_steps_nor_expectations(plain: str) -> None:
    text = plain.replace("  - id: hero", "  - {broken: [")
    summary = parse_summary(text, ORIGIN)
    assert list(summary.arguments) == ["subject", "aspect_ratio", "max_credits"]
    with pytest.raises(RecipeError):
        parse_recipe(text, ORIGIN)


@pytest.mark.parametrize(
    "text",
    [
        "a: &x [1]\nb: *x",
        "a: !!python/object/apply:os.system ['true']",
        "a: !!python/name:os.system",
        "<<: *x",
        "? [1]\n: 2",
        "a: 1\n---\nb: 2",
        "a: " + "[" * 40 + "]" * 40,
        "a: [" + "1," * MAX_VALUES + "1]",
        "a: 1\na: 2",
    ],
)
def test_yaml_beyond_plain_values_is_refused(text: str) -> None:
    with pytest.raises(RecipeError):
        read_yaml(text, "mine.md")


def test_a_billion_laughs_is_refused_at_the_first_anchor() -> None:
    bomb = 'a: &a ["lol","lol"]\n' + "".join(
        f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    )
    with pytest.raises(RecipeError) as caught:
        read_yaml(bomb, "mine.md")
    assert (caught.value.line, caught.value.field) == (1, "a")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("prompt: {{ args.x }}\n", 'a value with braces needs quotation marks: "{{ args.name }}"'),
        ("title: Tea: hot\n", 'quote a value that holds a colon and a space: title: "Tea: hot"'),
        ("a: 1\nnote: @home\n", 'f:2: not valid YAML: quote a value that begins with @: note: "@home"'),
        ('a: say "x": y\n', "quote a value that holds a colon and a space: a: 'say \"x\": y'"),
        ("a: [1, 2\nb: 3\n", "a bracket or brace is not closed, or a text between them needs quotation marks"),
        ("a: {description: Tea: hot}\n", "a text between them needs quotation marks"),
        ('a: "x\nb: 3\n', "a quotation mark is not closed"),
    ],
)
def test_missing_quotation_marks_are_named(text: str, words: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read_yaml(text, "f")
    assert words in str(caught.value)


def test_all_faults_of_the_fields_are_found_at_once(plain: str) -> None:
    text = plain.replace("version: 2", "version: two\ntags2: x").replace("title: A plain recipe\n", "")
    text = text.replace("description: What is shown", "describtion: What is shown")
    error = refusal(text)
    assert all(one.line > 0 for one in error.others)
    told = sorted(one.field for one in (error, *error.others))
    assert told == ["arguments.subject.describtion", "tags2", "title", "version"]
