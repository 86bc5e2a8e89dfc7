"""Renders a recipe's text for other programs, in which arguments are filled in later and in their own way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jinja2 import nodes

from kubeez_mcp_local.cookbook.arguments import as_text
from kubeez_mcp_local.cookbook.budget import scope_of
from kubeez_mcp_local.cookbook.templates import render, syntax_tree

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubeez_mcp_local.cookbook.format import Recipe


def body_with(recipe: Recipe, placeholder: Callable[[str], str], beside: str = "") -> str:
    """The body with `placeholder(name)` where an argument stands; conditional parts follow the defaults.

    Arguments that stand neither there nor in the text `beside` it come in a list below it: goose refuses a recipe that
    asks for what it does not use, and nobody should be asked in vain.

    Raises:
        TemplateError: The body cannot be rendered.
    """
    deciding = _deciding(recipe.body)
    values: dict[str, Any] = {}
    for name, argument in recipe.arguments.items():
        chosen = argument.default
        if name in deciding and argument.type not in ("list", "table") and not (argument.required and chosen is None):
            values[name] = chosen
        elif argument.type in ("list", "table"):
            values[name] = _Entries(name, _Row(name, placeholder) if argument.type == "table" else placeholder(name))
        else:
            values[name] = placeholder(name)
    body = render(recipe.body, scope_of(values)).strip()
    unused = [name for name in recipe.arguments if placeholder(name) not in body + beside]
    if not unused:
        return body
    chosen_ = "\n".join(f"- {name}: {placeholder(name)}" for name in unused)
    return f"{body}\n\nThe text follows the defaults. This is what was chosen; where it differs, go by it:\n\n{chosen_}"


class _Row(dict[str, str]):
    """A row of a table that is not known yet: it has every column."""

    def __init__(self, name: str, placeholder: Callable[[str], str]) -> None:
        super().__init__()
        self._shown = placeholder(name)

    def __contains__(self, column: object) -> bool:
        return True

    def __missing__(self, column: str) -> str:
        return f"{column.replace('_', ' ')} from {self._shown}"


class _Entries(list[Any]):
    """A list that is not known yet: one entry stands for all, and its length is a phrase."""

    def __init__(self, name: str, entry: Any) -> None:
        super().__init__([entry])
        self.number = _Number(f"(number of {name})")


class _Number(int):
    """A number that is not known yet; calculating with it makes a longer phrase."""

    phrase: str

    def __new__(cls, phrase: str) -> _Number:
        number = super().__new__(cls, 1)
        number.phrase = phrase
        return number

    def __str__(self) -> str:
        return self.phrase

    def __mul__(self, other: int) -> _Number:
        return _Number(f"{self.phrase} × {other}")

    def __sub__(self, other: int) -> _Number:
        return _Number(f"{self.phrase} − {other}")

    def __add__(self, other: int) -> _Number:
        return _Number(f"{self.phrase} + {other}")


def _deciding(body: str) -> set[str]:
    """Arguments on which a condition or a loop of the body rests."""
    tree = syntax_tree(body)
    deciding: list[nodes.Node] = [node.test for node in tree.find_all(nodes.If)]
    deciding += [node.test for node in tree.find_all(nodes.CondExpr)]
    deciding += [node.iter for node in tree.find_all(nodes.For)]
    found: set[str] = set()
    for part in deciding:
        found |= {node.name for node in [part, *part.find_all(nodes.Name)] if isinstance(node, nodes.Name)}
        found |= {node.attr for node in [part, *part.find_all(nodes.Getattr)] if isinstance(node, nodes.Getattr)}
    return found


def argument_lines(recipe: Recipe) -> list[str]:
    """The arguments as a Markdown list."""
    lines = []
    for name, argument in recipe.arguments.items():
        facts = ["required"] if argument.required else []
        facts += [f"one of {', '.join(map(str, argument.choices))}"] if argument.choices else []
        facts += [f"default {as_text(argument.default)}"] if argument.default not in (None, "") else []
        lines.append(f"- `{name}`: {argument.description}" + (f" ({'; '.join(facts)})" if facts else ""))
    return lines


RULES = (
    "Use only these Kubeez tools: {tools}. Before anything is spent, get the price of everything with `estimate`, "
    "add it up, show it and wait for a yes. Stay within the budget{budget}; if the work does not fit, propose what to "
    "leave out. Afterwards say what each finished job cost and where the files are."
)


def rules(recipe: Recipe, budget: str) -> str:
    """The rules around the work, for programs that know nothing of ours."""
    tools = ", ".join(f"`{tool}`" for tool in recipe.tools) or "none"
    return RULES.format(tools=tools, budget=f" of {budget} credits" if budget else "")


def budget_text(recipe: Recipe, placeholder: Callable[[str], str]) -> str:
    """The budget in words; arguments in it as placeholders."""
    budget = recipe.front.budget
    if budget is None or isinstance(budget, (int, float)):
        return f"{budget:g}" if budget is not None else ""
    used = {node.name for node in syntax_tree(budget).find_all(nodes.Name)} & recipe.arguments.keys()
    simple = budget.strip("{} ").removeprefix("args.")
    return placeholder(simple) if simple in used else ""
