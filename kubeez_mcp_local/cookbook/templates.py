"""The sandbox in which a recipe's templates and expressions are evaluated.

Recipes are untrusted text. The sandbox is an allow-list: of syntax (no macros, includes, blocks or calls other than
`range`), of filters, and of attributes (keys of mappings and the loop's counters), and all work is metered.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from jinja2 import StrictUndefined, TemplateSyntaxError, UndefinedError, nodes
from jinja2.exceptions import TemplateRuntimeError
from jinja2.runtime import LoopContext, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from kubeez_mcp_local.cookbook.filters import recipe_filters
from kubeez_mcp_local.cookbook.meter import MAX_TEXT, Meter, TooMuchWork, counted, meter, metered, weigh
from kubeez_mcp_local.cookbook.problems import TemplateError, near

if TYPE_CHECKING:
    from collections.abc import Callable

    from jinja2 import Template
    from jinja2.runtime import Context

MAX_RANGE = 1_000
_Result = TypeVar("_Result")
_LOOP = frozenset({"index", "index0", "revindex", "revindex0", "first", "last", "length"})
_TESTS = frozenset({"defined", "undefined", "none", "true", "false", "string", "number", "even", "odd", "eq", "ne"})
_ALLOWED: tuple[type[nodes.Node], ...] = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.For, nodes.If, nodes.Assign, nodes.Name, nodes.Const,
    nodes.List, nodes.Tuple, nodes.Dict, nodes.Pair, nodes.Getattr, nodes.Getitem, nodes.Slice, nodes.Filter,
    nodes.Test, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.CondExpr, nodes.Concat,
    nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Neg, nodes.Pos, nodes.Call,
    nodes.Keyword,
)  # fmt: skip
_WORDS = {
    "Macro": "macros", "CallBlock": "call blocks", "FilterBlock": "filter blocks", "AssignBlock": "block sets",
    "Include": "include", "Import": "import", "FromImport": "import", "Extends": "extends", "Block": "blocks",
    "Pow": "powers (**)", "With": "with blocks", "NSRef": "namespaces",
}  # fmt: skip


class _Guard(NodeTransformer):
    """Refuses syntax that is not on the list, and puts the meter into loops and joined text."""

    def visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(node, _ALLOWED):
            kind = type(node).__name__
            _refuse(node, f"recipes cannot use {_WORDS.get(kind, kind)}")
        if isinstance(node, nodes.Name) and (node.name.startswith("_") or node.name == "self"):
            _refuse(node, f"the name {node.name!r} is private")
        if isinstance(node, nodes.Getattr) and node.attr.startswith("_"):
            _refuse(node, f"the attribute {node.attr!r} is private")
        if isinstance(node, nodes.Call) and not (isinstance(node.node, nodes.Name) and node.node.name == "range"):
            _refuse(node, "recipes can call nothing but range(); use filters instead")
        if isinstance(node, nodes.For) and node.recursive:
            _refuse(node, "loops cannot be recursive")
        if isinstance(node, nodes.Mul | nodes.Mod) and _is_text(node.left):
            _refuse(node, "text cannot be multiplied or formatted with %")
        return super().visit(node, *args, **kwargs)

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 - the visitor's naming
        self.generic_visit(node)
        node.iter = nodes.Filter(node.iter, "_counted", [], [], None, None, lineno=node.lineno)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        parts = nodes.List(node.nodes, lineno=node.lineno)
        return nodes.Filter(parts, "_concat", [], [], None, None, lineno=node.lineno)


def _refuse(node: nodes.Node, reason: str) -> None:
    raise TemplateSyntaxError(reason, node.lineno)


def _is_text(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Const) and isinstance(node.value, str)


def _concat(parts: list[Any]) -> str:
    texts = [str(shown(part)) for part in parts]
    meter().text(sum(map(len, texts)))
    return "".join(texts)


def _short_range(*bounds: int) -> range:
    values = range(*bounds)
    if len(values) > MAX_RANGE:
        raise TooMuchWork(f"range() gives {len(values):,} numbers; {MAX_RANGE:,} are allowed.")
    return values


def shown(value: Any) -> Any:
    """How a value appears in text: nothing for `None`, whole numbers without a point."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple, dict)):
        return weigh(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


class _Sandbox(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree: nodes.Template = _Guard().visit(super()._parse(source, name, filename))
        return tree

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        sized = (str, list, tuple)
        if operator != "+" and (isinstance(left, sized) or isinstance(right, sized)):
            raise TemplateError(f"The operator {operator} works on numbers only.")
        if isinstance(left, sized) and isinstance(right, sized):
            meter().text(len(left) + len(right))
        return weigh(super().call_binop(context, operator, weigh(left), weigh(right)))

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, Undefined):
            obj._fail_with_undefined_error()
        if isinstance(obj, Mapping):
            return obj[attribute] if attribute in obj else self.undefined(obj=obj, name=attribute)
        if isinstance(obj, LoopContext) and attribute in _LOOP:
            return getattr(obj, attribute)
        return self.undefined(obj=obj, name=attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        if isinstance(obj, (Mapping, list, tuple, str)):
            try:
                return obj[argument]
            except (LookupError, TypeError):
                pass
        return self.undefined(obj=obj, name=argument)

    def is_safe_callable(self, obj: Any) -> bool:
        return obj is _short_range


@functools.cache
def environment() -> _Sandbox:
    """The one sandbox of this process."""
    sandbox = _Sandbox(
        undefined=StrictUndefined,
        finalize=shown,
        optimized=False,  # constants are computed when rendered, on the meter, not while compiling
        trim_blocks=True,
        lstrip_blocks=True,
        cache_size=0,
        keep_trailing_newline=True,
    )
    sandbox.globals = {"range": _short_range}
    sandbox.filters = recipe_filters() | {"_counted": counted, "_concat": _concat}
    sandbox.tests = {name: test for name, test in sandbox.tests.items() if name in _TESTS}
    return sandbox


def render(source: str, values: Mapping[str, Any]) -> str:
    """Render a template.

    Raises:
        TemplateError: Wrong syntax, an unknown name, or more work than is allowed.
    """

    def run() -> str:
        template = _template(source)
        parts: list[str] = []
        length = 0
        for part in template.generate(dict(values)):
            length += len(part)
            if length > MAX_TEXT:
                raise TooMuchWork(f"The template writes more than {MAX_TEXT:,} characters.")
            parts.append(part)
        return "".join(parts)

    return _guarded(run)


def evaluate(source: str, values: Mapping[str, Any]) -> Any:
    """The value of a text: `{{ expression }}` alone keeps its type, anything else renders to text.

    Raises:
        TemplateError: As `render`.
    """
    if "{" not in source:
        return source
    expression = _guarded(lambda: _expression(source))
    if expression is None:
        return render(source, values)

    def run() -> Any:
        context = expression.new_context(dict(values))
        for _ in expression.root_render_func(context):
            pass
        result = context.vars["result"]
        if isinstance(result, Undefined):
            result._fail_with_undefined_error()
        return list(result) if isinstance(result, (range, tuple)) else result

    return _guarded(run)


def evaluate_all(value: Any, values: Mapping[str, Any]) -> Any:
    """`evaluate` every text inside a nested value."""
    if isinstance(value, str):
        return evaluate(value, values)
    if isinstance(value, dict):
        return {key: evaluate_all(inner, values) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [evaluate_all(inner, values) for inner in value]
    return value


def condition(source: str | bool, values: Mapping[str, Any]) -> bool:
    """The truth of a `when`: an expression with or without its braces.

    Raises:
        TemplateError: As `render`.
    """
    if isinstance(source, bool):
        return source
    return bool(evaluate(source if "{{" in source else "{{ (" + source + ") }}", values))


def syntax_tree(source: str) -> nodes.Template:
    """The checked syntax tree of a template, as written (without the meter).

    Raises:
        TemplateError: Wrong syntax, or syntax that recipes cannot use.
    """

    def run() -> nodes.Template:
        environment()._parse(source, None, None)
        return ImmutableSandboxedEnvironment._parse(environment(), source, None, None)

    return _guarded(run)


@functools.lru_cache(maxsize=256)
def _template(source: str) -> Template:
    return environment().from_string(source)


@functools.lru_cache(maxsize=1024)
def _expression(source: str) -> Template | None:
    """A template that stores the one expression of `source` in `result`; `None` when there is more than that."""
    tree = environment()._parse(source.strip(), None, None)
    body = tree.body
    if len(body) != 1 or not isinstance(body[0], nodes.Output) or len(body[0].nodes) != 1:
        return None
    expression = body[0].nodes[0]
    if isinstance(expression, nodes.TemplateData):
        return None
    store = nodes.Assign(nodes.Name("result", "store", lineno=1), expression, lineno=1)
    template = nodes.Template([store], lineno=1)
    template.set_environment(environment())
    return environment().from_string(template)


def _guarded(run: Callable[[], _Result]) -> _Result:
    try:
        with metered(Meter()):
            return run()
    except TemplateSyntaxError as error:
        reason = error.message or "cannot be read"
        hint = near(reason.split("'")[1], environment().filters) if "No filter named" in reason else ""
        raise TemplateError(f"{reason}{hint}", line=error.lineno or 0) from None
    except UndefinedError as error:
        reason = f"The template uses something that is not there: {error.message}."
        raise TemplateError(reason, line=_line(error)) from None
    except (TemplateRuntimeError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        raise TemplateError(f"The template cannot be rendered: {error}", line=_line(error)) from None
    except (RecursionError, MemoryError, SyntaxError):
        raise TooMuchWork("The template is nested too deeply.") from None


def _line(error: Exception) -> int:
    """The line of the template on which rendering broke off, where Jinja has put it into the traceback; else 0."""
    line, trace = 0, error.__traceback__
    while trace is not None:
        if "__jinja_exception__" in trace.tb_frame.f_globals:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
