"""What a recipe's steps come to: what each depends on, the calls with their arguments, and the budget of it all."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from jinja2 import nodes

from kubeez_mcp_local.cookbook.format import TemplateError
from kubeez_mcp_local.cookbook.templates import condition, evaluate, evaluate_all, in_braces, syntax_tree
from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.jobs.naming import told_apart
from kubeez_mcp_local.operations import operations
from kubeez_mcp_local.text import cut

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kubeez_mcp_local.cookbook.format import Recipe, Step
    from kubeez_mcp_local.jobs.job import RunCall


PAID_TOOLS = frozenset({*operations(), "regenerate"})
READING_TOOLS = frozenset(
    {"estimate", "get_balance", "get_generation", "get_generations", "get_models", "get_skill", "get_status"}
    | {"pick_model", "plan", "view_media", "wait_for_generation", "list_gemini_omni_voices"}
)
FORBIDDEN_TOOLS = frozenset({"run_recipe", "save_recipe", "manage_library"})
FILE_ARGUMENTS = frozenset(
    {"source_url", "source_urls", "path", "paths", "file", "files", "url", "audio_url"}
    | {argument for operation in operations().values() for argument in operation.files}
)


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
        """Call `tool`; `run` names a paid call of a run: a second one of that name gets the job of the first."""

    async def quote(
        self, tool: str, arguments: Mapping[str, Any], coming: Mapping[str, Mapping[str, Any]] | None = None
    ) -> Mapping[str, Any]:
        """What a call of a paid tool would be: checked and priced, nothing more.

        `coming` says what stands for results that do not exist yet (see `bridge.orders.COMING`).
        """


async def read(call: ToolCaller, tool: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What a free tool tells; `KubeezError` if it refused, or picked no model, which nothing can be made with."""
    answer = dict(await call(tool, arguments))
    if tool == "pick_model" and not answer.get("model"):
        raise ToolCallError(str(answer.get("summary") or "No model fits."), code="no_model_fits")
    return answer


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

    `ceiling` is what the settings leave for today, in credits; nothing in a recipe can raise it. Raises `RecipeError`
    if the budget is not a number of credits.
    """
    wanted = _budget_asked(recipe, arguments)
    if wanted is None:
        return Budget(ceiling, "The recipe states no budget; your own ceiling holds.")
    if wanted <= ceiling:
        return Budget(wanted)
    return Budget(ceiling, f"The recipe asks for {number(wanted)} credits; your ceiling of {number(ceiling)} holds.")


def _budget_asked(recipe: Recipe, arguments: Mapping[str, Any]) -> float | None:
    budget = recipe.front.budget
    if budget is None or isinstance(budget, (int, float)):
        return budget
    try:
        value = evaluate(budget, scope_of(arguments))
    except TemplateError as error:
        raise recipe.error(error.message, "budget") from None
    try:
        credits_ = float(value)
    except (TypeError, ValueError):
        raise recipe.error(f"must come to a number of credits, not {cut(repr(value), 60)}", "budget") from None
    if not math.isfinite(credits_) or credits_ < 0:
        raise recipe.error(f"comes to {value!r}; it must be a number from 0 up", "budget")
    return credits_


def number(credits_: float) -> str:
    """Credits for people: no decimals where there are none."""
    return f"{credits_:,.2f}".rstrip("0").rstrip(".") if math.isfinite(credits_) else "no limit"


MAX_CALLS = 10_000


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a step: `key` is its id, or `id[index]` in a loop.

    There, `label` says what its item is about, in words, and `part` which of how many it is where they do not tell.
    """

    key: str
    step: Step
    item: Any = None
    index: int = 0
    label: str = ""
    part: str = ""


def texts_of(step: Step) -> Iterator[str]:
    """Every template text of a step."""
    if isinstance(step.when, str):
        yield in_braces(step.when)
    yield from (text for text in leaves([step.with_, step.for_each, step.quote]) if "{" in text)


def names_in(source: str) -> set[str]:
    """The names a template uses that it does not set itself; `TemplateError` if it cannot be read."""
    tree = syntax_tree(source)
    used = {node.name for node in tree.find_all(nodes.Name) if node.ctx == "load"}
    return used - {node.name for node in tree.find_all(nodes.Name) if node.ctx == "store"}


def fields_of(source: str, name: str) -> set[str]:
    """The fields `x` that a template reads as `name.x` or `name["x"]`; `TemplateError` if it cannot be read."""
    return set(_fields(syntax_tree(source), name))


def _fields(tree: nodes.Template, name: str) -> list[str]:
    """Each time that a template reads a field of `name`, the field."""
    found = [(one.node, one.attr) for one in tree.find_all(nodes.Getattr)]
    items = tree.find_all(nodes.Getitem)
    found += [(one.node, str(one.arg.value)) for one in items if isinstance(one.arg, nodes.Const)]
    return [field for node, field in found if isinstance(node, nodes.Name) and node.name == name]


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
    return sum(node.name == name for node in tree.find_all(nodes.Name)) > len(_fields(tree, name))


def dependencies(recipe: Recipe) -> dict[str, frozenset[str]]:
    """For each step, the ids of the steps whose results it uses; `RecipeError` if one of them is no earlier step."""
    found: dict[str, frozenset[str]] = {}
    for position, step in enumerate(recipe.steps):
        try:
            used = frozenset().union(*(fields_of(text, "steps") for text in texts_of(step)))
        except TemplateError as error:
            raise recipe.error(error.message, "steps", position) from None
        unknown = sorted(used - found.keys())
        if unknown:
            earlier = ", ".join(found) or "none"
            raise recipe.error(
                f"uses steps.{unknown[0]}, which is no earlier step (earlier: {earlier})", "steps", position
            )
        found[step.id] = used
    return found


def calls_of(recipe: Recipe, step: Step, scope: Mapping[str, Any]) -> list[Call]:
    """The calls that a step comes to; `RecipeError` if `for_each` is not a list, or too long."""
    if step.for_each is None:
        return [Call(step.id, step)]
    field = ("steps", recipe.steps.index(step), "for_each")
    try:
        items = evaluate_all(step.for_each, scope)
    except TemplateError as error:
        raise recipe.error(error.message, *field) from None
    if not isinstance(items, list):
        raise recipe.error(f"must come to a list, not {type(items).__name__}", *field)
    if len(items) > MAX_CALLS:
        raise recipe.error(f"has {len(items):,} entries; at most {MAX_CALLS:,} are allowed", *field)
    return [
        Call(f"{step.id}[{index}]", step, item, index, *labels)
        for index, (item, labels) in enumerate(zip(items, told_apart(items), strict=True))
    ]


def scope_for(arguments: Mapping[str, Any], results: Mapping[str, Any], call: Call | None = None) -> dict[str, Any]:
    """The names that a step's templates see."""
    scope = {**scope_of(arguments), "steps": dict(results)}
    if call is not None and call.step.for_each is not None:
        scope |= {"item": call.item, "index": call.index}
    return scope


def wanted(call: Call, scope: Mapping[str, Any]) -> bool:
    """Whether `when` lets this call happen; `TemplateError` if that cannot be told."""
    return call.step.when is None or condition(call.step.when, scope)


def arguments_of(recipe: Recipe, call: Call, scope: Mapping[str, Any]) -> dict[str, Any]:
    """The tool's arguments for one call; what comes to nothing is left out.

    Raises:
        TemplateError: They cannot be evaluated.
        RecipeError: The tool is not allowed, or the recipe itself names a local file.
    """
    position = recipe.steps.index(call.step)
    if call.step.tool not in recipe.tools:
        raise recipe.error(f"{call.step.tool} is not declared in `tools`", "steps", position, "tool")
    if call.step.tool in FORBIDDEN_TOOLS:
        raise recipe.error(f"{call.step.tool} cannot be called by a recipe", "steps", position, "tool")
    values = {name: evaluate_all(value, scope) for name, value in call.step.with_.items()}
    _refuse_own_files(recipe, position, values, scope)
    return {name: value for name, value in values.items() if value is not None}


def hints_of(call: Call, scope: Mapping[str, Any]) -> dict[str, Any]:
    """The lengths that the step's `quote` declares; `TemplateError` if it cannot be evaluated."""
    hints = {name: evaluate(v, scope) if isinstance(v, str) else v for name, v in call.step.quote.items()}
    for name, value in hints.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise TemplateError(f"{name} must come to a number of seconds, not {cut(repr(value), 60)}.")
    return {name: value for name, value in hints.items() if value is not None}


def _refuse_own_files(recipe: Recipe, position: int, values: Mapping[str, Any], scope: Mapping[str, Any]) -> None:
    """A recipe may pass on files that its user named or its steps made, but never name one itself."""
    named = {name: list(leaves(value)) for name, value in values.items() if name in FILE_ARGUMENTS}
    if not any(named.values()):
        return
    allowed: set[str] = set(leaves(scope["steps"]))
    for name, argument in recipe.arguments.items():
        if argument.type in ("path", "list", "table"):
            own = str(argument.default or "").replace(",", " ").split()
            allowed |= set(leaves(scope["args"].get(name))) - set(own)
    for name, texts in named.items():
        for text in texts:
            if text not in allowed and not text.startswith("https://"):
                reason = f"names {text[:80]!r} itself; only whoever runs the recipe may name a file (a `path` argument)"
                raise recipe.error(reason, "steps", position, "with", name)


def leaves(value: Any) -> Iterator[str]:
    """All texts inside a nested value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from leaves(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from leaves(inner)
