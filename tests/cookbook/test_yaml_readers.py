"""Two readers, one result: the fast one gives what the full one gives, or nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeez_mcp_local.cookbook.library import pack_folder
from kubeez_mcp_local.cookbook.quick_yaml import read_quickly
from kubeez_mcp_local.cookbook.scalars import YamlProblem
from kubeez_mcp_local.cookbook.yaml_reader import MAX_VALUES, read_yaml

KEYS = st.sampled_from(["a", "b", "name", "  a", "  b", "    c", " d", "_", "9"])
VALUES = st.one_of(
    st.sampled_from(
        ["", "1", "-2.5", "1:1", "no", "null", "~", "true", '"1"', "'x'", "[a, b]", '["1:1", 2]', "[]", "[a,]", "a, b"]
    ),
    st.sampled_from(
        ["a #b", "a: b", "|", ">-", "- a", "*x", "&y z", "!!int 3", '"\\n"', "[a, [b]]", "{a: b}", "a'b", "a\tb"]
    ),
    st.text(alphabet="ab 1.:#[]{},\"'-_/\\&*!|>%@`?é", max_size=8),
)


@given(st.lists(st.tuples(KEYS, VALUES), max_size=6))
def test_the_fast_reader_never_disagrees_with_the_full_one(pairs: list[tuple[str, str]]) -> None:
    text = "".join(f"{key}: {value}\n" for key, value in pairs)
    quick = read_quickly(text)
    if quick:
        assert read_yaml(text)[0] == quick


def test_the_fast_reader_reads_the_front_matter_of_most_of_the_pack() -> None:
    from kubeez_mcp_local.cookbook.parse import _without, split

    heads = [
        _without(split(path.read_text(encoding="utf-8"), "x")[0], ("steps", "expect"))
        for path in pack_folder().glob("*.md")
    ]
    assert sum(read_quickly(head) is not None for head in heads) > len(heads) / 2


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
    with pytest.raises(YamlProblem):
        read_yaml(text)


def test_a_billion_laughs_is_refused_at_the_first_anchor() -> None:
    bomb = 'a: &a ["lol","lol"]\n' + "".join(
        f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    )
    with pytest.raises(YamlProblem) as caught:
        read_yaml(bomb)
    assert (caught.value.line, caught.value.field) == (1, ("a",))
