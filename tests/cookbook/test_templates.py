"""Templates do what recipes need and nothing else: each hostile attempt ends in an error, soon."""

from __future__ import annotations

import time
from typing import Any

import pytest

from kubeez_mcp_local.cookbook.format import TemplateError
from kubeez_mcp_local.cookbook.templates import condition, evaluate, evaluate_all, render

VALUES: dict[str, Any] = {
    "name": "Ada",
    "none": None,
    "args": {"names": ["a", "b"], "n": 3, "items": "kept"},
    "steps": {"hero": {"outputs": [{"url": "https://x/1.png"}]}},
}


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("Hi {{ name }}", "Hi Ada"),
        ("{% for x in args.names %}{{ loop.index }}{{ x }}{% if not loop.last %}, {% endif %}{% endfor %}", "1a, 2b"),
        ("{{ args.names | join(' + ') }}", "a + b"),
        ("{{ 'b' in args.names }}", "true"),
        ("{{ args.n * 2 + 1 }} {{ 60.0 }} {{ 7 / 2 }}", "7 60 3.5"),
        ("{{ name ~ '!' }}{{ args.missing | default('-') }}{{ none }}", "Ada!-"),
        ("{% set a = name | upper %}{{ a }}{{ 'x' if args.n > 2 else 'y' }}", "ADAx"),
        ("{{ args.items }}", "kept"),
        ("{{ range(3) | join }}", "0, 1, 2"),
        ("{{ 'A b, C' | slug }} {{ 'a, b\nc' | words | length }} {{ args.names | pairs | length }}", "a-b-c 3 1"),
        ("{{ steps.hero | outputs | pluck('url') | first }}", "https://x/1.png"),
        ("{{ 'tea' | sentence }} {{ ' Hot? ' | sentence }}{{ none | sentence }}", "tea. Hot?"),
        ("{{ 'Say “hi.”' | sentence }} {{ '茶。' | sentence }}", "Say “hi.” 茶。"),
        ("{{ 'abc' | truncate(2) }} {{ 'abc' | replace('b', 'x') }} {{ 2.345 | round(1) }}", "a… axc 2.3"),
    ],
)
def test_templates_render(source: str, text: str) -> None:
    assert render(source, VALUES) == text


def test_a_single_expression_keeps_its_type() -> None:
    assert evaluate("{{ args.names }}", VALUES) == ["a", "b"]
    assert evaluate("{{ args.n }}", VALUES) == 3
    assert evaluate("{{ args.n }} pictures", VALUES) == "3 pictures"
    assert evaluate("no template", VALUES) == "no template"
    assert evaluate_all({"a": ["{{ args.n }}", 4]}, VALUES) == {"a": [3, 4]}


def test_a_condition_works_with_and_without_braces() -> None:
    assert condition("args.n > 2 and name == 'Ada'", VALUES)
    assert not condition("{{ args.n > 5 }}", VALUES)
    assert condition(True, VALUES)


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ name['__class__'] }}",
        "{{ args.__init__.__globals__ }}",
        "{{ args | attr('__class__') }}",
        "{{ name.format(name) }}",
        "{{ '%s' % name }}",
        "{{ lipsum.__globals__['os'].popen('id').read() }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ self }}",
        "{{ self._TemplateReference__context }}",
        "{{ namespace(a=1) }}",
        "{{ joiner }}",
        "{{ args.names.append(3) }}",
        "{% for x in args.names %}{{ loop._iterator }}{% endfor %}",
        "{% for x in args.names %}{{ loop.cycle('a') }}{% endfor %}",
        "{% include '/etc/passwd' %}",
        "{% extends '/etc/passwd' %}",
        "{% import 'os' as os %}",
        "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}",
        "{% for x in [[1]] recursive %}{{ loop(x) }}{% endfor %}",
        "{% set x %}{{ name }}{% endset %}",
        "{{ name | map('upper') | list }}",
        "{{ config }}",
        "{{ undefined_name }}",
        "{{ args.undefined }}",
        "{{ args.names[9] }}",
        "{{ name | nonsense }}",
        "{{ name ",
        "{% raw %}{{",
        "{% autoescape true %}{% endautoescape %}",
    ],
)
def test_escape_attempts_and_mistakes_are_refused(source: str) -> None:
    with pytest.raises(TemplateError):
        render(source, VALUES)
    with pytest.raises(TemplateError):
        evaluate(source, VALUES)


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'a' * 1000000000 }}",
        "{{ name * 1000000000 }}",
        "{{ [1] * 1000000000 }}",
        "{{ 9 ** 9 ** 9 }}",
        "{{ range(1000000000) }}",
        "{{ name | center(1000000000) }}",
        "{{ name | indent(1000000000) }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ 1 | round(1000000000) | tojson(indent=1000000000) }}",
        "{% for a in range(1000) %}" * 3 + "{% endfor %}" * 3,
        "{% set a = 'xxxxxxxxxx' %}" + "{% set a = a ~ a %}" * 60,
        "{% set a = 'xxxxxxxxxx' %}" + "{% set a = a + a %}" * 60,
        "{% set a = 'xxxxxxxxxx' %}" + "{% set a = [a, a] | join %}" * 60,
        "{% set a = 'xxxxxxxxxx' %}" + "{% set a = a | replace('x', a) %}" * 60,
        "{% set a = [1] %}" + "{% set a = [a, a] %}" * 60 + "{{ a }}",
        "{% set a = [1] %}" + "{% set a = [a, a] %}" * 60 + "{{ a ~ '' }}",
        "{% set a = [1] %}" + "{% set a = {'a': a, 'b': a} %}" * 60 + "{{ a | tojson }}",
        "{% set a = [1, 2] %}" + "{% set a = a + a %}" * 60,
        "{% set a = 99999 %}" + "{% set a = a * a %}" * 60,
        "{% for a in range(1000) %}{% for b in range(19) %}" + "x" * 20_000 + "{% endfor %}{% endfor %}",
        "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
        "{{ " + "-" * 3000 + "1 }}",
        "{% if 1 %}" * 300 + "{% endif %}" * 300,
    ],
)
def test_a_template_that_asks_for_too_much_stops_soon(source: str) -> None:
    start = time.process_time()
    with pytest.raises(TemplateError):
        render(source, VALUES)
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{{ row.name }}", "there is no `row`."),
        ("{{ args.title }}", "there is no `title`; there is names, n, items."),
        ("{{ args.names[4] }}", "there is no entry 5."),
        ("{{ name + 1 }}", "something cannot be computed with these values"),
        ("{{ 'a' | int(x=1) }}", "something cannot be computed with these values"),
        ("{{ none.x }}", "there is no `x`."),
        ("{{ 1 / 0 }}", "something cannot be computed with these values"),
        ("{{ name", "a brace, bracket, quotation mark"),
        ("{% if name %}", "a brace, bracket, quotation mark or word such as `endif`"),
        ("{% fi %}", "there is no tag 'fi'."),
        ("{{ name | uper }}", "there is no filter 'uper'. Did you mean upper"),
        ("{{ name is odder }}", "there is no test 'odder'."),
        (
            "{{ 'Ann: a' | script(['x', 'y']) }}{{ 'B: a\nC: b' | script(['x']) }}",
            "2 speakers or more, and there are 1",
        ),
        ("{{ 'Ann: a\nand more' | script(['x']) }}", "line 2 of the script is not a name, a colon and words"),
    ],
)
def test_what_is_wrong_is_said_in_words_of_our_own(source: str, words: str) -> None:
    with pytest.raises(TemplateError) as caught:
        render(source, VALUES)
    assert words in str(caught.value)
    for foreign in ("object", "undefined", "token", "expected", "operand", "Jinja", "NoneType", "{{", "{%"):
        assert foreign not in str(caught.value)
