"""A recipe's arguments as options of a command.

An argument is the option of its name, with hyphens or underscores. The command's own options win: where both have the
same name, the argument's option is `--arg-NAME`. Only `--max-credits` is one and the same thing on both sides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from kubeez_mcp_local.cli.terminal import plain
from kubeez_mcp_local.cookbook.format import limits_in_words

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from kubeez_mcp_local.cookbook.format import Argument, Recipe

SHARED = "max_credits"
"""The ceiling of a run: a command that has it as an option gives it to a recipe that has it as an argument."""
_PARAMETER = "argument_"


@dataclass(frozen=True)
class RecipeOptions:
    """The options of one recipe in one command.

    Attributes:
        names: The option of each argument, such as `--aspect-ratio`.
        shared: Whether `--max-credits` is an option of the command and an argument of the recipe.
    """

    recipe: Recipe
    names: Mapping[str, str]
    shared: bool

    @classmethod
    def of(cls, recipe: Recipe, taken: Collection[str]) -> RecipeOptions:
        """Names for all arguments that are not among the options `taken`, which the command has for itself."""
        shared = SHARED in recipe.arguments and _option(SHARED) in taken
        names = {SHARED: _option(SHARED)} if shared else {}
        used = set(taken)
        left = {name: _option(name) for name in recipe.arguments if name not in names}
        while left:  # whoever has its name to itself comes first; the others try again with a longer one
            for name, option in list(left.items()):
                if _claim(used, recipe.arguments[name], option):
                    names[name] = left.pop(name)
            left = {name: f"--arg-{option[2:]}" for name, option in left.items()}
        return cls(recipe, {name: names[name] for name in recipe.arguments}, shared)

    def parameters(self) -> list[click.Parameter]:
        """What click has to know beside the command's own parameters."""
        return [
            _parameter(name, argument, self.names[name])
            for name, argument in self.recipe.arguments.items()
            if not (self.shared and name == SHARED)
        ]

    def take(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Take the values that were given out of click's parameters, by argument."""
        given: dict[str, Any] = {}
        for name in self.recipe.arguments:
            value = parameters.get(SHARED) if self._is_shared(name) else parameters.pop(_PARAMETER + name, None)
            if isinstance(value, tuple):
                value = value[0] if len(value) == 1 else list(value)
            if value not in (None, []):
                given[name] = value
        return given

    def help_records(self) -> list[tuple[str, str]]:
        """What `--help` says of each option."""
        return [
            (_heading(self.names[name], argument), described(argument))
            for name, argument in self.recipe.arguments.items()
        ]

    def _is_shared(self, name: str) -> bool:
        return self.shared and name == SHARED


def described(argument: Argument) -> str:
    """An argument's description, with everything that limits its values."""
    return plain("; ".join([argument.description.rstrip("."), *_limits(argument)]) + ".")


def shown_value(value: Any) -> str:
    """A default or choice as one types it."""
    return plain(str(value).lower() if isinstance(value, bool) else str(value))


def _limits(argument: Argument) -> Iterator[str]:
    if argument.required:
        yield "required"
    if argument.choices:
        yield f"one of {', '.join(map(shown_value, argument.choices))}"
    if argument.default not in (None, ""):
        yield f"default {shown_value(argument.default)}"
    if limits := limits_in_words(argument):
        yield limits
    if argument.type == "list":
        yield "commas between the entries, or give it several times"


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _negated(option: str) -> str:
    return f"--no-{option[2:]}"


def _claim(used: set[str], argument: Argument, option: str) -> bool:
    """Whether `option`, and for a yes/no its opposite, was free; it is in use from now on."""
    wanted = {option, _negated(option)} if argument.type == "boolean" else {option}
    if wanted & used:
        return False
    used |= wanted
    return True


def _heading(option: str, argument: Argument) -> str:
    if argument.type == "boolean":
        return f"{option} / {_negated(option)}"
    return f"{option} {_METAVARS.get(argument.type, argument.type.upper())}"


_METAVARS = {"string": "TEXT", "list": "A,B,…", "table": "FILE.csv", "path": "FILE|URL", "ratio": "W:H"}


def _parameter(name: str, argument: Argument, option: str) -> click.Option:
    parameter = _PARAMETER + name
    if argument.type == "boolean":
        return click.Option([f"{option}/{_negated(option)}", parameter], default=None)
    return click.Option([option, parameter], multiple=argument.type == "list")
