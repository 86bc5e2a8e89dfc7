"""Front matter is read by rules of our own: nothing that grows, runs or hides in it."""

from __future__ import annotations

import pytest

from kubeez_mcp_local.cookbook.parse import MAX_VALUES, YamlProblem, read_yaml


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
