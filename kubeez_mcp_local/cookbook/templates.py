"""The sandbox in which a recipe's templates and expressions are evaluated.

Recipes are untrusted text. The sandbox is an allow-list: of syntax (no macros, includes, blocks or calls other than
`range`), of filters, and of attributes (keys of mappings and the loop's counters). All work is counted as it is
done, so that a hostile template stops soon instead of filling the machine.
"""

from __future__ import annotations

import functools
import json
import re
import time
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from jinja2 import StrictUndefined, TemplateSyntaxError, UndefinedError, nodes
from jinja2.exceptions import TemplateRuntimeError
from jinja2.filters import FILTERS
from jinja2.runtime import LoopContext, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from kubeez_mcp_local.cookbook.format import TemplateError, near
from kubeez_mcp_local.text import cut

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jinja2 import Template
    from jinja2.runtime import Context


MAX_TEXT = 200_000
MAX_NUMBER = 10**15


def too_costly(reason: str) -> TemplateError:
    """A template asked for more loops, text or time than a recipe may use."""
    return TemplateError(reason, code="template_too_costly")


_MOST = {"rounds": 20_000, "characters": 5_000_000, "entries": 500_000}
_SECONDS = 2.0
_TOO_MUCH = {
    "rounds": "The template loops too often; 20,000 rounds are allowed in all.",
    "characters": "The template builds too much text.",
    "entries": "The template builds lists that are too long or nested too often.",
}


@dataclass(slots=True)
class Allowance:
    """What one rendering may still use: rounds of loops, characters built, entries of lists, and time."""

    clock: Callable[[], float] = time.monotonic
    left: dict[str, int] = field(default_factory=_MOST.copy)
    deadline: float = field(init=False)

    def __post_init__(self) -> None:
        self.deadline = self.clock() + _SECONDS

    def use(self, what: str, amount: int) -> None:
        self.left[what] -= amount
        if self.left[what] < 0:
            raise too_costly(_TOO_MUCH[what])
        if self.clock() > self.deadline:
            raise too_costly(f"The template took longer than {_SECONDS:g} s.")

    def text(self, length: int) -> None:
        if length > MAX_TEXT:
            raise too_costly(f"The template builds a text of {length:,} characters; {MAX_TEXT:,} are allowed.")
        self.use("characters", length)


_current: ContextVar[Allowance | None] = ContextVar("allowance", default=None)


def allowance() -> Allowance:
    """The allowance of the rendering under way."""
    return _current.get() or Allowance()


def counted(values: Any) -> Iterator[Any]:
    """`values`, each round of the loop over them charged."""
    for value in values:
        allowance().use("rounds", 1)
        yield value


def weigh(value: Any) -> Any:
    """`value`, charged by its size with all it holds; numbers beyond 10^15 are refused."""
    if isinstance(value, str):
        allowance().text(len(value))
    elif isinstance(value, (list, tuple, dict)):
        _weigh_nested(value)
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) > MAX_NUMBER:
        raise too_costly("The template computes with numbers beyond 10^15.")
    return value


def _weigh_nested(value: Any) -> None:
    """Charge every entry as often as it would be written: a list that holds itself many times is huge as text."""
    charge = allowance()
    waiting = [value]
    while waiting:
        entries = waiting.pop()
        charge.use("entries", len(entries) + 1)
        inner = entries.values() if isinstance(entries, dict) else entries
        waiting.extend(entry for entry in inner if isinstance(entry, (list, tuple, dict)))


# Left out of Jinja's own: those that pad or format to any width (center, indent, format, wordwrap, filesizeformat),
# reach attributes (attr), call others by name (map, select, reject), are random, or mark text as safe.
_FROM_JINJA = (
    "abs", "capitalize", "default", "d", "first", "float", "int", "last", "list", "lower", "max",
    "min", "reverse", "sort", "string", "sum", "title", "trim", "unique", "upper", "urlencode", "wordcount",
)  # fmt: skip


def length(values: Any) -> int:
    """How many entries there are; for a list that an export does not know yet, a phrase that says so."""
    number = getattr(values, "number", None)
    return number if isinstance(number, int) else len(values)


def join(values: Any, separator: str = ", ") -> str:
    """The values as one text."""
    parts = [str(value) for value in values]
    allowance().text(sum(map(len, parts)) + len(separator) * len(parts))
    return str(separator).join(parts)


def replace(text: Any, old: str, new: str) -> str:
    """The text with each `old` replaced by `new`."""
    source, old, new = str(text), str(old), str(new)
    if not old:
        raise TemplateError("replace: the text to replace is empty.")
    allowance().text(len(source) + source.count(old) * max(len(new) - len(old), 0))
    return source.replace(old, new)


def rounded(value: Any, digits: int = 0) -> float | int:
    """The number with at most 6 digits after the point."""
    digits = min(max(int(digits), 0), 6)
    return round(float(value), digits) if digits else round(float(value))


def tojson(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def truncate(text: Any, length: int = 100) -> str:
    """The text cut to `length` characters, ending in … when it was longer."""
    source = str(text)
    length = max(int(length), 1)
    return source if len(source) <= length else source[: length - 1].rstrip() + "…"


def sentence(text: Any) -> str:
    """The text with a full stop at its end, unless it ends like a sentence already; nothing for nothing."""
    source = "" if text is None else str(text).strip()
    ended = source.rstrip("\"')»”’").endswith((".", "!", "?", "…", "。", "！", "？"))
    return source if ended or not source else f"{source}."


def words(text: Any) -> list[str]:
    """The entries of a text with commas, semicolons or lines between them."""
    if isinstance(text, (list, tuple)):
        return [str(entry) for entry in text]
    return [part.strip() for part in re.split(r"[,;\n]", str(text)) if part.strip()]


def lines(text: Any) -> list[str]:
    """The lines of a text that are not empty."""
    return [line.strip() for line in str(text).splitlines() if line.strip()]


def slug(text: Any) -> str:
    """The text as lower-case words joined by hyphens, at most 60 characters."""
    return re.sub(r"[^a-z0-9]+", "-", str(text).lower()).strip("-")[:60].rstrip("-")


def zipped(left: Any, right: Any) -> list[list[Any]]:
    """Pairs of the entries of two lists, as long as the shorter one."""
    return [list(pair) for pair in zip(left, right, strict=False)]


def pairs(values: Any) -> list[list[Any]]:
    """Each entry with the one after it: 1, 2, 3 becomes [1, 2], [2, 3]."""
    entries = list(values)
    return [entries[at : at + 2] for at in range(len(entries) - 1)]


def pluck(values: Any, key: str) -> list[Any]:
    """The field `key` of each entry."""
    return [value[key] for value in values]


def outputs(results: Any) -> list[Any]:
    """All outputs of a step's result, or of the list of results of a `for_each` step."""
    found = results if isinstance(results, list) else [results]
    return [output for result in found for output in result.get("outputs") or []]


def script(text: Any, voices: Any) -> list[dict[str, str]]:
    """Lines such as `Ann: Hello` as a dialogue; `voices` in the order in which the speakers appear."""
    chosen = [str(voice) for voice in voices if voice]
    spoken: list[dict[str, str]] = []
    names: list[str] = []
    for number, line in enumerate(str(text).splitlines(), start=1):
        name, colon, said = (part.strip() for part in line.partition(":"))
        if not line.strip():
            continue
        if not (name and colon and said):
            raise ValueError(f"line {number} of the script is not a name, a colon and words")
        if name not in names:
            names.append(name)
        if len(names) > len(chosen):
            raise ValueError(f"the script has {len(names)} speakers or more, and there are {len(chosen)} voices")
        spoken.append({"text": said, "voice": chosen[names.index(name)]})
    return spoken


def _cast(text: Any, voices: Any) -> list[dict[str, str]]:
    try:
        return script(text, voices)
    except ValueError as error:  # in words of our own
        raise TemplateError(str(error)) from None


# These stand alone: exported scripts carry their source.
TO_EXPORT: tuple[Callable[..., Any], ...] = (words, lines, sentence, slug, pairs, outputs, truncate, script)
_OWN: dict[str, Callable[..., Any]] = {function.__name__: function for function in TO_EXPORT}
_OWN |= {"length": length, "count": length, "join": join, "replace": replace, "round": rounded}
_OWN |= {"script": _cast, "tojson": tojson, "zip": zipped, "pluck": pluck}


def _weighed(function: Callable[..., Any]) -> Callable[..., Any]:
    """The filter, charging the allowance for what goes in and what comes out."""

    @functools.wraps(function)
    def charged(*arguments: Any, **options: Any) -> Any:
        for argument in arguments:
            weigh(argument)
        return weigh(function(*arguments, **options))

    return charged


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
    """Refuses syntax that is not on the list, and puts the allowance into loops and joined text."""

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
        left = node.left if isinstance(node, nodes.Mul | nodes.Mod) else None
        if isinstance(left, nodes.Const) and isinstance(left.value, str):
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


class _NotAllowedError(TemplateSyntaxError):
    """Syntax that recipes cannot use, in words of our own."""


def _refuse(node: nodes.Node, reason: str) -> None:
    raise _NotAllowedError(reason, node.lineno)


class _Missing(StrictUndefined):
    """What a template asks for and does not get, in words of our own."""

    __slots__ = ()

    @property
    def _undefined_message(self) -> str:
        name, around = self._undefined_name, self._undefined_obj
        if isinstance(name, int):
            return f"there is no entry {name + 1}"
        told = f"there is no `{name}`"
        if isinstance(around, Mapping) and around:
            return cut(f"{told}; there is {', '.join(map(str, around))}", 200)
        return told


def _concat(parts: list[Any]) -> str:
    texts = [str(shown(part)) for part in parts]
    allowance().text(sum(map(len, texts)))
    return "".join(texts)


def _short_range(*bounds: int) -> range:
    values = range(*bounds)
    if len(values) > MAX_RANGE:
        raise too_costly(f"range() gives {len(values):,} numbers; {MAX_RANGE:,} are allowed.")
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
            allowance().text(len(left) + len(right))
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
        undefined=_Missing,
        finalize=shown,
        optimized=False,  # constants are computed when rendered, on the allowance, not while compiling
        trim_blocks=True,
        lstrip_blocks=True,
        cache_size=0,
        keep_trailing_newline=True,
    )
    sandbox.globals = {"range": _short_range}
    filters = {name: FILTERS[name] for name in _FROM_JINJA} | _OWN
    sandbox.filters = {name: _weighed(function) for name, function in filters.items()}
    sandbox.filters |= {"_counted": counted, "_concat": _concat}
    sandbox.tests = {name: test for name, test in sandbox.tests.items() if name in _TESTS}
    return sandbox


def render(source: str, values: Mapping[str, Any]) -> str:
    """Render a template; raises `TemplateError` for wrong syntax, an unknown name, or more work than is allowed."""

    def run() -> str:
        template = _template(source)
        parts: list[str] = []
        length = 0
        for part in template.generate(dict(values)):
            length += len(part)
            if length > MAX_TEXT:
                raise too_costly(f"The template writes more than {MAX_TEXT:,} characters.")
            parts.append(part)
        return "".join(parts)

    return _guarded(run)


def evaluate(source: str, values: Mapping[str, Any]) -> Any:
    """The value of a text: `{{ expression }}` alone keeps its type, all else renders to text. Raises as `render`."""
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
    """The truth of a `when`; raises as `render`."""
    return source if isinstance(source, bool) else bool(evaluate(in_braces(source), values))


def in_braces(source: str) -> str:
    """The expression of a `when`, which may be written with or without its braces, as a template."""
    return source if "{{" in source else "{{ (" + source + ") }}"


@functools.lru_cache(maxsize=256)
def syntax_tree(source: str) -> nodes.Template:
    """The checked syntax tree of a template, as written, to be read only; raises `TemplateError` for syntax that
    recipes cannot use."""

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
    expression = only_part(environment()._parse(source.strip(), None, None))
    if expression is None or isinstance(expression, nodes.TemplateData):
        return None
    store = nodes.Assign(nodes.Name("result", "store", lineno=1), expression, lineno=1)
    template = nodes.Template([store], lineno=1)
    template.set_environment(environment())
    return environment().from_string(template)


def only_part(tree: nodes.Template) -> nodes.Expr | None:
    """The one expression, or the one piece of text, that a template is; `None` when there is more than that."""
    parts = tree.body[0].nodes if len(tree.body) == 1 and isinstance(tree.body[0], nodes.Output) else []
    return parts[0] if len(parts) == 1 else None


def _guarded(run: Callable[[], _Result]) -> _Result:
    token = _current.set(Allowance())
    try:
        return run()
    except TemplateSyntaxError as error:
        raise TemplateError(_syntax_fault(error), line=error.lineno or 0) from None
    except UndefinedError as error:
        raise TemplateError(f"{error.message}.", line=_line(error)) from None
    except (TemplateRuntimeError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        reason = "something cannot be computed with these values, such as a sum of text and a number."
        raise TemplateError(reason, line=_line(error)) from None
    except (RecursionError, MemoryError, SyntaxError):
        raise too_costly("The template is nested too deeply.") from None
    finally:
        _current.reset(token)


_NAMED = re.compile(r"(?:No (filter|test) named|unknown (tag)) '([^']{1,40})'")


def _syntax_fault(error: TemplateSyntaxError) -> str:
    """What is wrong with a template, in words of our own; the parser's are for programmers."""
    reason = error.message or ""
    if isinstance(error, _NotAllowedError):
        return reason
    if found := _NAMED.search(reason):
        kind, name = found[1] or found[2], found[3]
        return f"there is no {kind} {name!r}.{near(name, environment().filters) if kind == 'filter' else ''}"
    return "this cannot be read: a brace, bracket, quotation mark or word such as `endif` is missing or misplaced"


def _line(error: Exception) -> int:
    """The line of the template on which rendering broke off, where Jinja has put it into the traceback; else 0."""
    line, trace = 0, error.__traceback__
    while trace is not None:
        if "__jinja_exception__" in trace.tb_frame.f_globals:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
