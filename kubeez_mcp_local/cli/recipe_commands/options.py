"""What commands about one recipe have in common: its name or file, its arguments as options, and where requests go.

An argument is the option of its name, with hyphens or underscores. The command's own options win: where both have the
same name, the argument's option is `--arg-NAME`. Only `--max-credits` is one and the same thing on both sides.
"""

from __future__ import annotations

import difflib
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kubeez_mcp_local.cli.terminal import shown
from kubeez_mcp_local.cookbook.arguments import InvalidArgumentsError
from kubeez_mcp_local.cookbook.format import limits_in_words
from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.settings import SettingsError
from kubeez_mcp_local.text import visible

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from kubeez_mcp_local.cli.main import Options
    from kubeez_mcp_local.cookbook.format import Argument, Recipe
    from kubeez_mcp_local.cookbook.library import Library
    from kubeez_mcp_local.settings import Settings


SHARED = "max_credits"
"""The ceiling of a run: a command that has it as an option gives it to a recipe that has it as an argument."""
_PARAMETER = "argument_"


@dataclass(frozen=True)
class RecipeOptions:
    """The options of one recipe in one command, by argument, such as `--aspect-ratio`; `shared` when `--max-credits` is
    an option of the command and an argument of the recipe."""

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
            if not self._is_shared(name)
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

    def _is_shared(self, name: str) -> bool:
        return self.shared and name == SHARED


def described(argument: Argument) -> str:
    """An argument's description, with everything that limits its values."""
    return visible("; ".join([argument.description.rstrip("."), *_limits(argument)]) + ".")


def shown_value(value: Any) -> str:
    """A default or choice as one types it."""
    return visible(str(value).lower() if isinstance(value, bool) else str(value))


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


_METAVARS = {
    "string": "TEXT",
    "list": "A,B,…",
    "table": "FILE.csv",
    "text": "TEXT|FILE",
    "script": "TEXT|FILE",
    "path": "FILE|URL",
    "ratio": "W:H",
}


def _parameter(name: str, argument: Argument, option: str) -> click.Option:
    parameter = _PARAMETER + name
    if argument.type == "boolean":
        return click.Option([f"{option}/{_negated(option)}", parameter], default=None)
    return click.Option([option, parameter], multiple=argument.type == "list")


def library_of(settings: Settings) -> Library:
    """The pack, the user's folders, and what was added."""
    from kubeez_mcp_local.cookbook.library import Library

    return Library.of(settings.recipes, settings.state_dir, own=settings.own_recipes)


def find_recipe(settings: Settings, wanted: str) -> Recipe:
    """The recipe `wanted`: its name, or the path of its file."""
    from kubeez_mcp_local.cookbook.library import read_recipe

    if is_path(wanted):
        return read_recipe(Path(os.path.expanduser(wanted)).absolute())  # noqa: PTH111 - never raises
    return library_of(settings).get(wanted)


def is_path(wanted: str) -> bool:
    """Whether `wanted` is a path rather than a name."""
    return wanted.endswith(".md") or os.sep in wanted or "/" in wanted or wanted in (".", "..")


def reference(settings: Settings, path: Path, name: str) -> str:
    """How to name the recipe in `path` on the command line: by its name where that finds it."""
    entry = library_of(settings).index().entries.get(name)
    place = entry and entry.origin.path
    return name if place and os.path.realpath(place) == os.path.realpath(path) else shown(path)


live = click.option("--live", "mode", flag_value="live", help="Against your account; needs a key.")
sandbox = click.option("--sandbox", "mode", flag_value="sandbox", help="Against the sandbox; free.")


def settings_for(options: Options, mode: str | None) -> Settings:
    """The settings, with the mode that was asked for, and all tools: toolsets limit what a model sees, not a person."""
    return options.settings(toolsets="all", **({"mode": mode} if mode else {}))


def verify_writable(settings: Settings) -> None:
    """Raise `SettingsError` where settings say that nothing may be made."""
    if settings.read_only:
        raise SettingsError(
            "KUBEEZ_READ_ONLY is on, so nothing can be made.", next_step="Switch it off to run recipes."
        )


_CHOSEN = "kubeez_mcp_local.recipe_options"
_NAME = click.Argument(["name"], metavar="NAME")
_ARGUMENTS = click.Option(
    ["--arguments"], metavar="FILE.json|-", help="Arguments of the recipe as a JSON object; options win over it."
)


@dataclass(frozen=True)
class Asked:
    """What the command line asked for: a recipe, and the values given for its arguments."""

    recipe: Recipe
    given: dict[str, Any]


class RecipeCommand(click.Command):
    """Takes the NAME of a recipe (or the path of its file), then its arguments as options.

    The callback gets `asked` beside the command's own parameters.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params = [_NAME, *self.params, _ARGUMENTS]
        self.context_settings = {"token_normalize_func": lambda word: word.replace("_", "-")}

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        own = super().get_params(ctx)
        chosen: RecipeOptions | None = ctx.meta.get(_CHOSEN)
        return own if chosen is None else [*own, *chosen.parameters()]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        taken = {name for parameter in self.get_params(ctx) for name in (*parameter.opts, *parameter.secondary_opts)}
        name = self._name_in(ctx, args)
        if name:
            recipe = find_recipe(ctx.obj.settings(mode="sandbox"), name)  # finding it needs no key
            ctx.meta[_CHOSEN] = RecipeOptions.of(recipe, taken)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            raise self._unknown(ctx, error) from None

    def invoke(self, ctx: click.Context) -> Any:
        chosen: RecipeOptions = ctx.meta[_CHOSEN]
        del ctx.params["name"]
        source = ctx.params.pop("arguments")
        given = {**(_read_arguments(source) if source else {}), **chosen.take(ctx.params)}
        ctx.params["asked"] = Asked(chosen.recipe, given)
        try:
            return super().invoke(ctx)
        except InvalidArgumentError as error:
            raise _as_option(error, chosen) from None

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        chosen: RecipeOptions | None = ctx.meta.get(_CHOSEN)
        if chosen is not None and chosen.names:
            with formatter.section(f"Arguments of {chosen.recipe.name}"):
                arguments = chosen.recipe.arguments
                formatter.write_dl(
                    [(_heading(name, arguments[one]), described(arguments[one])) for one, name in chosen.names.items()]
                )
        own = [one.get_help_record(ctx) for one in super().get_params(ctx) if isinstance(one, click.Option)]
        with formatter.section("Options"):
            formatter.write_dl([record for record in own if record is not None])

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_help_text(ctx, formatter)
        chosen: RecipeOptions | None = ctx.meta.get(_CHOSEN)
        if chosen is not None:
            formatter.write_paragraph()
            with formatter.indentation():
                formatter.write_text(visible(f"{chosen.recipe.title}: {chosen.recipe.description}"))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if _CHOSEN not in ctx.meta:
            formatter.write_paragraph()
            with formatter.indentation():
                formatter.write_text(
                    f"The arguments of the recipe are options, too; `{ctx.command_path} NAME --help` lists them. "
                    "Where the command has an option of the same name, the argument's is --arg-…."
                )

    def _name_in(self, ctx: click.Context, args: list[str]) -> str:
        """The first word that is no option: NAME comes before the recipe's own options."""
        parser = self.make_parser(ctx)
        parser.allow_interspersed_args = False
        try:
            found = parser.parse_args(list(args))[0].get("name")
        except click.NoSuchOption as error:
            raise click.UsageError(
                f"{error.option_name} comes before the name of a recipe. Write NAME first, then its options.", ctx
            ) from None
        return found if isinstance(found, str) else ""

    def _unknown(self, ctx: click.Context, error: click.NoSuchOption) -> Exception:
        chosen: RecipeOptions | None = ctx.meta.get(_CHOSEN)
        if chosen is None:
            return error
        known = [name for one in self.get_params(ctx) for name in (*one.opts, *one.secondary_opts) if name[:2] == "--"]
        near = difflib.get_close_matches(error.option_name.replace("_", "-"), known, n=2, cutoff=0.6)
        allowed = ", ".join(chosen.names.values()) or "none"
        message = f"the recipe {chosen.recipe.name} has no such argument; it takes: {allowed}."
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        return InvalidArgumentError(error.option_name, message + hint)


def _as_option(error: InvalidArgumentError, chosen: RecipeOptions) -> InvalidArgumentError:
    """The same refusal, with the option's name in place of the argument's."""
    if isinstance(error, InvalidArgumentsError):
        return InvalidArgumentsError([_as_option(fault, chosen) for fault in error.faults])
    option = chosen.names.get(error.argument)
    if option is None:
        return error
    reason = error.message.removeprefix(f"{error.argument}: ")
    return InvalidArgumentError(option, reason, next_step=error.next_step, code=error.code)


def _read_arguments(source: str) -> dict[str, Any]:
    try:
        text = sys.stdin.read() if source == "-" else Path(os.path.expanduser(source)).read_text("utf-8")  # noqa: PTH111 - never raises
        values = json.loads(text)
    except OSError as error:
        raise InvalidArgumentError("--arguments", f"{source} cannot be read: {error.strerror}.") from None
    except ValueError as error:  # neither UTF-8 nor JSON
        raise InvalidArgumentError("--arguments", f"{source} is not JSON: {error}.") from None
    if not isinstance(values, dict):
        raise InvalidArgumentError("--arguments", f'{source} must hold an object such as {{"brief": "…"}}.')
    return values
