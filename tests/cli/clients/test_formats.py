"""Our entry goes into a config and out again, and nothing else in it moves."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeez_mcp_local.cli.clients import formats as editing
from kubeez_mcp_local.cli.clients.formats import EditError, Json, ParseError, Toml, Yaml

if TYPE_CHECKING:
    from kubeez_mcp_local.cli.clients.formats import Format

ENTRY = {"command": "uvx", "args": ["kubeez-mcp-local", 'a "b" \\c é'], "env": {"KUBEEZ_MODE": "sandbox"}}
JSONC, TOML, YAML = Json(comments=True), Toml(), Yaml()
PATHS: dict[type[Format], tuple[str, str]] = {
    Json: ("mcpServers", "kubeez"),
    Toml: ("mcp_servers", "kubeez"),
    Yaml: ("extensions", "kubeez"),
}

WITH_SERVERS = [
    (JSONC, '{\n\t"mcpServers": {\n\t\t"a": {"command": "x"} // last\n\t},\n\t"z": [1, 2,],\n}\n'),
    (JSONC, '{"mcpServers": {"a": {"command": "x"}}}'),
    (JSONC, '{\r\n  "mcpServers": {\r\n    "a": 1\r\n  }\r\n}\r\n'),
    (JSONC, '// head\n{\n  "mcpServers": { /* here */\n    "a": 1, // "kubeez": {}\n    "b": "//no",\n  },\n}\n'),
    (JSONC, '// head\r{"mcpServers": {"a": 1}}'),
    (JSONC, '{\n    "mcpServers": {\n        "a": {\n            "x": 1\n        }\n    }\n}'),
    (TOML, 'model = "x" # c\n\n[projects."/a"]\ntrust = "y"\n'),
    (TOML, '[mcp_servers.a]\ncommand = "q" # keep\n\n[mcp_servers.a.env]\nX = "1"\n\n# about tui\n[tui]\nb = 1\n'),
    (TOML, 'a = """\n[mcp_servers.other]\n"""\r\n[tui]\r\nb = 1\r\n'),
    (TOML, ""),
    (YAML, "extensions:\n  dev:\n    enabled: true\n    args: []\n    envs: {}\n# tail\nGOOSE: x # y\n"),
    (YAML, "extensions: # c\n  # first\n  dev:\n    s: |\n      abc\n      def\n\nb: 1\n"),
    (YAML, "a: 1\r\nextensions:\r\n  d: {x: 1} # k\r\nz: 2\r\n"),
    (YAML, "extensions: {dev: {a: 1}}\n"),
    (YAML, "extensions: {}\nb: 1\n"),
    (YAML, "extensions:\n  d: &x {a: 1}\n  e: *x\n"),
]


@pytest.mark.parametrize(("written_in", "text"), WITH_SERVERS)
def test_what_was_put_in_comes_out_again_byte_for_byte(written_in: Format, text: str) -> None:
    path = PATHS[type(written_in)]
    added = editing.edited(written_in, text, path, ENTRY)
    assert editing.entry(written_in.read(added), path) == ENTRY
    assert ("\r\n" in added) == ("\r\n" in text)
    assert editing.edited(written_in, added, path) == text


@pytest.mark.parametrize(("written_in", "text"), WITH_SERVERS)
def test_every_line_that_was_there_is_still_there_in_its_order(written_in: Format, text: str) -> None:
    added = editing.edited(written_in, text, PATHS[type(written_in)], ENTRY)
    characters = iter(added)
    assert all(character in characters for character in text.replace("{}", ""))


@pytest.mark.parametrize(
    ("written_in", "text"),
    [
        *((JSONC, text) for text in ("", "{}", "{}\n", "{\n}\n", '{"a": 1}', '{"mcpServers": {}}', "// only\n")),
        (JSONC, '{\n  "a": 1, // c\n  /* d */\n}\n'),
        *((YAML, text) for text in ("", "# c\n", "a: 1", "extensions:\nb: 1\n", "extensions: null # c\n")),
        (TOML, 'model = "x"'),
    ],
)
def test_files_without_servers_get_the_first_one(written_in: Format, text: str) -> None:
    path = PATHS[type(written_in)]
    added = editing.edited(written_in, text, path, ENTRY)
    assert editing.entry(written_in.read(added), path) == ENTRY
    removed = editing.edited(written_in, added, path)
    assert editing.entry(written_in.read(removed), path) is None
    for comment in ("// c", "/* d */", "// only", "# c"):
        assert (comment in removed) == (comment in text)


@pytest.mark.parametrize("written_in", [JSONC, TOML, YAML], ids=lambda one: type(one).__name__)
def test_an_entry_is_replaced_and_its_neighbours_stay(written_in: Format) -> None:
    path = PATHS[type(written_in)]
    text = editing.edited(
        written_in, editing.edited(written_in, "", (path[0], "other"), ENTRY), path, {"command": "old"}
    )
    changed = written_in.read(editing.edited(written_in, text, path, ENTRY))
    assert changed == {path[0]: {"other": ENTRY, "kubeez": ENTRY}}


def test_a_comment_that_introduces_the_next_table_survives_the_removal_of_ours() -> None:
    text = (
        '[mcp_servers.kubeez]\ncommand = "q" # ours\n[mcp_servers.kubeez.env]\nA = "1"\n\n# about tui\n[tui]\nb = 1\n'
    )
    assert editing.edited(TOML, text, PATHS[Toml]) == "# about tui\n[tui]\nb = 1\n"


def test_an_entry_in_the_middle_leaves_no_trace() -> None:
    text = '{\n  "mcpServers": {\n    "a": 1, // one\n    "kubeez": {}, // ours\n    "b": 2\n  }\n}\n'
    kept = editing.edited(JSONC, text, PATHS[Json])
    assert JSONC.read(kept) == {"mcpServers": {"a": 1, "b": 2}}
    assert "// one" in kept


def test_elements_of_an_array_are_added_and_removed() -> None:
    text = editing.edited(JSONC, '{\n  "inputs": [\n    {"id": "a"} // first\n  ]\n}\n', ("inputs", 1), {"id": "b"})
    assert JSONC.read(text) == {"inputs": [{"id": "a"}, {"id": "b"}]}
    assert JSONC.read(editing.edited(JSONC, text, ("inputs", 0))) == {"inputs": [{"id": "b"}]}


@pytest.mark.parametrize(
    ("written_in", "text", "line"),
    [
        (JSONC, '{"a": 1,\n"b" 2}', 2),
        (JSONC, "{,}", 1),
        (JSONC, '{"a": [,]}', 1),
        (JSONC, '{"a": NaN}', 0),
        (JSONC, "[1]", 0),
        (JSONC, '{\n/* open\n"a": 1}', 2),
        (Json(), '{\n// not in this client\n"a": 1}', 2),
        (Json(), '{"a": 1,}', 1),
        (TOML, "a = 1\nb =\n", 2),
        (TOML, "a = [1,\n", 2),
        (YAML, "a: [1\n", 2),
        (YAML, "- a\n", 0),
        (YAML, "a: 1\n\tb: 2\n", 2),
    ],
)
def test_a_text_that_does_not_parse_is_refused_with_its_line(written_in: Format, text: str, line: int) -> None:
    with pytest.raises(ParseError) as refusal:
        editing.edited(written_in, text, PATHS[type(written_in)], ENTRY)
    assert refusal.value.line == line


@pytest.mark.parametrize(
    ("written_in", "text"),
    [
        (JSONC, '{"mcpServers": []}'),
        (JSONC, '{"mcpServers": {}, "mcpServers": {}}'),
        (JSONC, '{"mcpServers": {"kubeez": 1, "kubeez": 2}}'),
        (TOML, 'mcp_servers = {a = {command = "q"}}\n'),
        (TOML, 'mcp_servers.kubeez.command = "q"\n'),
        (TOML, 'a = """\n[mcp_servers.kubeez]\n"""\n'),
        (YAML, "{a: 1}\n"),
        (YAML, "extensions: [a]\n"),
        (YAML, "extensions:\n  kubeez: {}\n  kubeez: {}\n"),
        (YAML, "a: 1\n...\n"),
        (YAML, "extensions:\n  kubeez: &ours {cmd: x}\n  b: *ours\n"),
    ],
)
def test_what_cannot_be_edited_safely_is_left_to_a_person(written_in: Format, text: str) -> None:
    with pytest.raises(EditError):
        editing.edited(written_in, text, PATHS[type(written_in)], ENTRY)


def test_twins_elsewhere_in_the_file_are_none_of_our_business() -> None:
    text = '{"x": {"a": 1, "a": 2}, "mcpServers": {"b": {}}}'
    assert editing.edited(JSONC, editing.edited(JSONC, text, PATHS[Json], ENTRY), PATHS[Json]) == text


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
_names = st.text(max_size=6).filter(lambda name: name not in ("kubeez", "mcpServers"))


@given(
    before=st.dictionaries(_names, _values, max_size=3),
    servers=st.dictionaries(_names, _values, min_size=1, max_size=3),
    after=st.dictionaries(_names, _values, max_size=3),
    indent=st.sampled_from([None, 2, 4, "\t"]),
    remark=st.sampled_from(["", ' // {[",\n', " /* , */ "]),
)
def test_any_json_is_as_it_was_after_in_and_out(
    before: dict[str, Any], servers: dict[str, Any], after: dict[str, Any], indent: int | str | None, remark: str
) -> None:
    text = remark + json.dumps({**before, "mcpServers": servers, **after}, indent=indent, ensure_ascii=False) + remark
    added = editing.edited(JSONC, text, PATHS[Json], ENTRY)
    assert editing.edited(JSONC, added, PATHS[Json]) == text
