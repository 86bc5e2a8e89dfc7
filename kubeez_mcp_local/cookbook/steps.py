"""What a recipe's steps come to: what each depends on, the calls with their arguments, and the budget of it all."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from jinja2 import nodes

from kubeez_mcp_local.cookbook.format import RecipeError, TemplateError
from kubeez_mcp_local.cookbook.templates import condition, evaluate, evaluate_all, in_braces, syntax_tree
from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.operations import operations

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kubeez_mcp_local.cookbook.format import Recipe, Step
    from kubeez_mcp_local.jobs.job import RunCall


PAID_TOOLS = frozenset({*operations(), "regenerate"})
READING_TOOLS = frozenset(
    {
        "estimate",
        "get_balance",
        "get_generation",
        "get_generations",
        "get_models",
        "get_skill",
        "get_status",
        "pick_model",
    }
    | {"plan", "view_media", "wait_for_generation", "list_gemini_omni_voices"}
)
FORBIDDEN_TOOLS = frozenset({"run_recipe", "save_recipe", "manage_library"})
FILE_ARGUMENTS = frozenset(
    {"source_url", "path", "paths", "file", "files", "url", "audio_url"}
    | {argument for operation in operations().values() for argument in operation.files}
)
# What `estimate` needs to know; everything else in a call does not move the price.
_PRICED_BY = ("model", "generation_type", "duration", "resolution", "quality", "sound", "variant_count")


class ToolCallError(KubeezError):
    """A tool refused or failed. `code` is the tool's own code where it is known."""

    code = "tool_failed"


class ToolCaller(Protocol):
    """Calls a tool as any client would, and returns its structured result.

    Raises a `KubeezError` (such as `ToolCallError`) when the tool refuses; `spent=None` says its fate is unknown.
    """

    async def __call__(
        self, tool: str, arguments: Mapping[str, Any], *, run: RunCall | None = None
    ) -> Mapping[str, Any]:
        """Call `tool`.

        Args:
            tool: Its name.
            arguments: Its arguments.
            run: For paid calls of a run, which one it is: a second call of that name gets the job of the first.
        """
        ...


async def read(call: ToolCaller, tool: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What a free tool tells.

    Raises:
        KubeezError: It refused, or it picked no model, which nothing can be made with.
    """
    answer = dict(await call(tool, arguments))
    if tool == "pick_model" and not answer.get("model"):
        raise ToolCallError(str(answer.get("summary") or "No model fits."), code="no_model_fits")
    return answer


def estimate_arguments(tool: str, arguments: Mapping[str, Any], hints: Mapping[str, Any]) -> dict[str, Any] | None:
    """Arguments for `estimate` that price a call of `tool`, or `None` when it cannot be priced beforehand."""
    priced = {name: arguments[name] for name in _PRICED_BY if arguments.get(name) is not None}
    operation = operations().get(tool)
    model = priced.get("model") or (operation.model if operation else "")
    return {**priced, "model": model, **hints} if model else None


@dataclass(frozen=True, slots=True)
class Budget:
    """Credits that one run may spend. `note` says when a ceiling lowered what the recipe asked for."""

    credits: float
    note: str = ""


def scope_of(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The names a template sees: every argument by itself, and all of them as `args`."""
    return {**arguments, "args": dict(arguments)}


def budget_of(recipe: Recipe, arguments: Mapping[str, Any], ceiling: float = math.inf) -> Budget:
    """The budget of one run in credits; without one in the recipe, the ceiling.

    Args:
        recipe: The recipe.
        arguments: Its checked arguments.
        ceiling: What the settings leave for today, in credits; nothing in a recipe can raise it.

    Raises:
        RecipeError: The budget is not a number of credits.
    """
    wanted = _wanted(recipe, arguments)
    if wanted is None:
        return Budget(ceiling, "The recipe states no budget; your own ceiling holds.")
    if wanted <= ceiling:
        return Budget(wanted)
    return Budget(ceiling, f"The recipe asks for {number(wanted)} credits; your ceiling of {number(ceiling)} holds.")


def _wanted(recipe: Recipe, arguments: Mapping[str, Any]) -> float | None:
    from kubeez_mcp_local.cookbook.templates import evaluate

    budget = recipe.front.budget
    if budget is None or isinstance(budget, (int, float)):
        return budget
    line = recipe.line_of("budget")
    try:
        value = evaluate(budget, scope_of(arguments))
        credits_ = float(value)
    except TemplateError as error:
        raise RecipeError(recipe.file, line, "budget", error.message) from None
    except (TypeError, ValueError):
        raise RecipeError(recipe.file, line, "budget", f"must come to a number of credits, not {budget!r}") from None
    if not math.isfinite(credits_) or credits_ < 0:
        raise RecipeError(recipe.file, line, "budget", f"comes to {value!r}; it must be a number from 0 up")
    return credits_


def number(credits_: float) -> str:
    """Credits for people: no decimals where there are none."""
    return f"{credits_:,.2f}".rstrip("0").rstrip(".") if math.isfinite(credits_) else "no limit"


MAX_CALLS = 5_000


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a step: `key` is its id, or `id[index]` in a loop."""

    key: str
    step: Step
    item: Any = None
    index: int = 0


def texts_of(step: Step) -> Iterator[str]:
    """Every template text of a step."""
    if isinstance(step.when, str):
        yield in_braces(step.when)
    yield from (text for text in _leaves([step.with_, step.for_each, step.quote]) if "{" in text)


def names_in(source: str) -> set[str]:
    """The names a template uses that it does not set itself.

    Raises:
        TemplateError: It cannot be read.
    """
    tree = syntax_tree(source)
    used = {node.name for node in tree.find_all(nodes.Name) if node.ctx == "load"}
    return used - {node.name for node in tree.find_all(nodes.Name) if node.ctx == "store"}


def fields_of(source: str, name: str) -> set[str]:
    """The fields `x` that a template reads as `name.x` or `name["x"]`.

    Raises:
        TemplateError: It cannot be read.
    """
    found: set[str] = set()
    tree = syntax_tree(source)
    for attribute in tree.find_all(nodes.Getattr):
        if isinstance(attribute.node, nodes.Name) and attribute.node.name == name:
            found.add(attribute.attr)
    for item in tree.find_all(nodes.Getitem):
        if isinstance(item.node, nodes.Name) and item.node.name == name and isinstance(item.arg, nodes.Const):
            found.add(str(item.arg.value))
    return found


def deciding(recipe: Recipe, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that decide what is made: all but those that only the budget uses.

    A run that its budget has stopped is still the same run when it gets a larger one.
    """
    budget = recipe.front.budget
    if not isinstance(budget, str):
        return dict(arguments)
    try:
        spared = names_in(budget) | fields_of(budget, "args")
        for step in recipe.steps:
            for text in texts_of(step):
                spared -= names_in(text) | fields_of(text, "args")
                if _reads_whole(text, "args"):
                    return dict(arguments)
    except TemplateError:
        return dict(arguments)  # told when the steps are planned
    return {name: value for name, value in arguments.items() if name not in spared}


def _reads_whole(source: str, name: str) -> bool:
    """Whether a template uses `name` otherwise than as `name.x` or `name["x"]`."""
    tree = syntax_tree(source)
    used = sum(node.name == name for node in tree.find_all(nodes.Name))
    fields = sum(isinstance(node.node, nodes.Name) and node.node.name == name for node in tree.find_all(nodes.Getattr))
    items = sum(
        isinstance(node.node, nodes.Name) and node.node.name == name and isinstance(node.arg, nodes.Const)
        for node in tree.find_all(nodes.Getitem)
    )
    return used > fields + items


def dependencies(recipe: Recipe) -> dict[str, frozenset[str]]:
    """For each step, the ids of the steps whose results it uses.

    Raises:
        RecipeError: A step uses a later step, itself, or one that is not there.
    """
    found: dict[str, frozenset[str]] = {}
    for position, step in enumerate(recipe.steps):
        try:
            used = frozenset().union(*(fields_of(text, "steps") for text in texts_of(step)))
        except TemplateError as error:
            raise _at(recipe, position, error.message) from None
        unknown = sorted(used - found.keys())
        if unknown:
            earlier = ", ".join(found) or "none"
            raise _at(recipe, position, f"uses steps.{unknown[0]}, which is no earlier step (earlier: {earlier})")
        found[step.id] = used
    return found


def calls_of(recipe: Recipe, step: Step, scope: Mapping[str, Any]) -> list[Call]:
    """The calls that a step comes to.

    Raises:
        RecipeError: `for_each` is not a list, or too long.
    """
    if step.for_each is None:
        return [Call(step.id, step)]
    position = recipe.steps.index(step)
    try:
        items = evaluate_all(step.for_each, scope)
    except TemplateError as error:
        raise _at(recipe, position, error.message, "for_each") from None
    if not isinstance(items, list):
        raise _at(recipe, position, f"must come to a list, not {type(items).__name__}", "for_each")
    if len(items) > MAX_CALLS:
        raise _at(recipe, position, f"has {len(items):,} entries; at most {MAX_CALLS:,} are allowed", "for_each")
    return [Call(f"{step.id}[{index}]", step, item, index) for index, item in enumerate(items)]


def scope_for(arguments: Mapping[str, Any], results: Mapping[str, Any], call: Call | None = None) -> dict[str, Any]:
    """The names that a step's templates see."""
    scope = {**scope_of(arguments), "steps": dict(results)}
    if call is not None and call.step.for_each is not None:
        scope |= {"item": call.item, "index": call.index}
    return scope


def wanted(call: Call, scope: Mapping[str, Any]) -> bool:
    """Whether `when` lets this call happen.

    Raises:
        TemplateError: It cannot be evaluated.
    """
    return call.step.when is None or condition(call.step.when, scope)


def arguments_of(recipe: Recipe, call: Call, scope: Mapping[str, Any]) -> dict[str, Any]:
    """The tool's arguments for one call; what comes to nothing is left out.

    Raises:
        TemplateError: They cannot be evaluated.
        RecipeError: The tool is not allowed, or the recipe itself names a local file.
    """
    position = recipe.steps.index(call.step)
    if call.step.tool not in recipe.tools:
        raise _at(recipe, position, f"{call.step.tool} is not declared in `tools`", "tool")
    if call.step.tool in FORBIDDEN_TOOLS:
        raise _at(recipe, position, f"{call.step.tool} cannot be called by a recipe", "tool")
    values = {name: evaluate_all(value, scope) for name, value in call.step.with_.items()}
    _refuse_own_files(recipe, position, values, scope)
    return {name: value for name, value in values.items() if value is not None}


def hints_of(call: Call, scope: Mapping[str, Any]) -> dict[str, Any]:
    """What the step's `quote` adds to `estimate`.

    Raises:
        TemplateError: It cannot be evaluated.
    """
    hints = {
        name: evaluate(value, scope) if isinstance(value, str) else value for name, value in call.step.quote.items()
    }
    return {name: value for name, value in hints.items() if value is not None}


def _refuse_own_files(recipe: Recipe, position: int, values: Mapping[str, Any], scope: Mapping[str, Any]) -> None:
    """A recipe may pass on files that its user named or its steps made, but never name one itself."""
    named = {name: list(_leaves(value)) for name, value in values.items() if name in FILE_ARGUMENTS}
    if not any(named.values()):
        return
    allowed: set[str] = set(_leaves(scope["steps"]))
    for name, argument in recipe.arguments.items():
        if argument.type in ("path", "list", "table"):
            allowed |= set(_leaves(scope["args"].get(name))) - set(
                str(argument.default or "").replace(",", " ").split()
            )
    for name, texts in named.items():
        for text in texts:
            if text not in allowed and not text.startswith("https://"):
                reason = f"names {text[:80]!r} itself; only whoever runs the recipe may name a file (a `path` argument)"
                raise _at(recipe, position, reason, "with", name)


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _leaves(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _leaves(inner)


def _at(recipe: Recipe, position: int, reason: str, *field: str) -> RecipeError:
    dotted = ".".join([f"steps[{position}]", *field])
    return RecipeError(recipe.file, recipe.line_of("steps", position, *field), dotted, reason)
