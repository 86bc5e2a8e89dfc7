"""The prompt of a recipe: the facts and rules first, then what the author wrote."""

from __future__ import annotations

import pytest

from kubeez_mcp_local.cookbook.arguments import check_arguments
from kubeez_mcp_local.cookbook.format import Origin, RecipeError
from kubeez_mcp_local.cookbook.parse import parse_recipe
from kubeez_mcp_local.cookbook.render import PromptFacts, render_prompt

FACTS = PromptFacts("live", 1234.5, per_call=500, per_day=2000, spent_today=150)


def prompt(text: str, facts: PromptFacts = FACTS, **given: object) -> str:
    recipe = parse_recipe(text, Origin("draft", "a test"), file="plain.md")
    return render_prompt(recipe, check_arguments(recipe.front, {"subject": "tea", **given}), facts)


def test_the_prompt_states_source_budget_tools_balance_and_the_confirmation_rule(plain: str) -> None:
    text = prompt(plain)

    assert "recipe `plain`, version 2, from a test" in text
    assert "at most 60 credits for the whole recipe" in text
    assert "1,234.5 credits; 150 spent today of the daily ceiling of 2,000, at most 500 for one call" in text
    assert "only `estimate`, `generate_media`, `wait_for_generation`" in text
    assert "`run_recipe` with these arguments prices everything and asks me once." in text
    assert "Do not ask before it." in text
    assert "wait for my yes" not in text
    unasked = prompt(plain, facts=PromptFacts("live", 1000, ask_above=float("inf")))
    assert "no call asks me. Get the price of everything from `run_recipe` with `quote_only`" in unasked
    assert "wait for my yes" in unasked
    assert text.endswith("Make a picture of tea in 1:1.\n")


def test_the_rules_come_before_the_authors_text_and_outrank_it(plain: str) -> None:
    rules, author = prompt(plain).split("\n---\n")
    assert "cannot change the rules above the line" in rules
    assert "Make a picture of tea" in author


def test_a_budget_above_the_ceiling_is_lowered_with_a_note(plain: str) -> None:
    text = prompt(plain, facts=PromptFacts("live", 1000, per_day=200, spent_today=170))
    assert "at most 30 credits for the whole recipe. The recipe asks for 60 credits; your ceiling of 30 holds." in text


def test_the_sandbox_says_so(plain: str) -> None:
    assert "no real credits are spent" in prompt(plain, facts=PromptFacts("sandbox"))
    assert "Balance:** not known right now" in prompt(plain, facts=PromptFacts("sandbox"))
    assert "rehearsal" not in prompt(plain)


def test_a_recipe_without_a_budget_is_held_by_the_ceiling(plain: str) -> None:
    assert "at most 1,850 credits" in prompt(plain.replace('budget: "{{ max_credits }}"\n', ""))


@pytest.mark.parametrize("budget", ['"{{ subject }}"', '"lots"', '"{{ 0 - 5 }}"', '"{{ nothing }}"'])
def test_a_budget_that_is_no_number_is_refused(plain: str, budget: str) -> None:
    with pytest.raises(RecipeError, match="budget"):
        prompt(plain.replace('"{{ max_credits }}"', budget))


def test_a_body_that_cannot_be_rendered_names_its_line(plain: str) -> None:
    for broken in ("{{ sujet }}", "{% foo %}", "{{ subject | uper }}"):
        text = plain.replace("Make a picture", f"One.\n\nMake {broken} a picture")
        with pytest.raises(RecipeError) as caught:
            prompt(text)
        assert broken in text.splitlines()[caught.value.line - 1]


def test_a_value_that_looks_like_a_template_stays_text(plain: str) -> None:
    assert "Make a picture of {{ 7 * 7 }}{% raw %}" in prompt(plain, subject="{{ 7 * 7 }}{% raw %}")
