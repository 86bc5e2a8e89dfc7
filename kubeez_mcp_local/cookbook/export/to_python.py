"""What scripts are made of: the REST call of each tool, and a recipe's templates and expressions as Python source."""

from __future__ import annotations

import json
import keyword
import re
from typing import TYPE_CHECKING, Any

from jinja2 import nodes

from kubeez_mcp_local.cookbook.steps import dependencies
from kubeez_mcp_local.cookbook.templates import TO_EXPORT, in_braces, only_part, syntax_tree
from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.operations import operations

if TYPE_CHECKING:
    from collections.abc import Collection

    from kubeez_mcp_local.cookbook.format import Recipe
    from kubeez_mcp_local.operations import Operation


_AS_DOCUMENT = "Export it as `skill`, `goose` or `prompt` instead."


class NotExportableError(KubeezError):
    """The recipe does something that the wanted form cannot say; the message names it."""

    code = "not_exportable"


# Steps that a script does by itself, or does not need.
IMPLIED_TOOLS = frozenset({"estimate", "get_status", "get_generation", "plan", "view_media", "wait_for_generation"})


def rest_call(tool: str) -> Operation:
    """The operation that `tool` is."""
    if tool not in operations():
        raise NotExportableError(
            f"The tool {tool} has no counterpart in the REST API, so this recipe cannot become a script.",
            next_step=_AS_DOCUMENT,
        )
    return operations()[tool]


def steps_to_export(recipe: Recipe) -> dict[str, frozenset[str]]:
    """What each step of a recipe depends on, as `dependencies`.

    Raises:
        NotExportableError: There are no steps.
        RecipeError: A step refers to what is not there.
    """
    if not recipe.steps:
        reason = f"{recipe.name} has no steps, so there is nothing a script could do."
        raise NotExportableError(reason, next_step=_AS_DOCUMENT)
    return dependencies(recipe)


_OPERATORS = {
    nodes.Add: "+", nodes.Sub: "-", nodes.Mul: "*", nodes.Div: "/", nodes.FloorDiv: "//", nodes.Mod: "%",
    nodes.And: "and", nodes.Or: "or",
}  # fmt: skip
_COMPARE = {
    "eq": "==", "ne": "!=", "gt": ">", "gteq": ">=", "lt": "<", "lteq": "<=", "in": "in", "notin": "not in",
}  # fmt: skip
_SIMPLE = {
    "upper": "str({0}).upper()", "lower": "str({0}).lower()", "title": "str({0}).title()", "trim": "str({0}).strip()",
    "capitalize": "str({0}).capitalize()", "string": "str({0})", "int": "int({0})", "float": "float({0})",
    "length": "len({0})", "count": "len({0})", "first": "{0}[0]", "last": "{0}[-1]", "list": "list({0})",
    "sort": "sorted({0})", "unique": "list(dict.fromkeys({0}))", "sum": "sum({0})", "min": "min({0})",
    "max": "max({0})", "abs": "abs({0})", "zip": "list(zip({0}, {1}))", "pluck": "[one[{1}] for one in {0}]",
    "replace": "str({0}).replace({1}, {2})",
}  # fmt: skip
HELPERS = frozenset(function.__name__ for function in TO_EXPORT)
_TEXTS = frozenset({"sentence", "slug", "truncate"})
_WIDTH = 88
# What a script calls its own things.
_TAKEN = frozenset(
    {
        *HELPERS,
        "text",
        "entries",
        "table",
        "long_text",
        "args",
        "kubeez",
        "item",
        "index",
        "main",
        "run",
        "read_arguments",
        "output",
    }
    | {"poll_seconds", "argparse", "csv", "io", "mimetypes", "os", "random", "re", "sys", "time", "httpx", "range"}
    | {"str", "int", "float", "len", "list", "dict", "sorted", "sum", "min", "max", "abs", "zip", "round", "enumerate"}
    | {"items", "label", "portable", "telling", "own_name", "joined", "item_words", "told_apart", "name_of_call"}
    | {"language_of", "unicodedata", "zip", "unquote", "urlsplit", "Iterable", "Mapping", "Sequence"}
    | {"print", "parsed", "pause", "file_urls", "urljoin", "hashlib", "json", "fits", "record_name", "Callable"}
)


class ToPython:
    """Translates for one recipe: its steps are variables of the script, its arguments attributes of `args`.

    `used` collects the names of the helpers that the source needs.
    """

    def __init__(self, steps: Collection[str], arguments: Collection[str]) -> None:
        self.steps = {step: variable(step) for step in steps}
        self.arguments = {name: variable(name) for name in arguments}
        self.used: set[str] = set()
        self._loops: list[str] = []

    def value(self, value: Any, indent: int) -> str:
        """Source of a nested value whose texts are templates."""
        pad = " " * (indent + 4)
        if isinstance(value, str):
            return self.text(value, indent)
        if isinstance(value, dict):
            lines = [f"{pad}{text_literal(key)}: {self.value(inner, indent + 4)},\n" for key, inner in value.items()]
            return "{\n" + "".join(lines) + " " * indent + "}" if lines else "{}"
        if isinstance(value, (list, tuple)):
            lines = [f"{pad}{self.value(inner, indent + 4)},\n" for inner in value]
            return "[\n" + "".join(lines) + " " * indent + "]" if lines else "[]"
        return repr(value)

    def text(self, source: str, indent: int = 0) -> str:
        """Source of a template: an expression alone keeps its type."""
        if "{" not in source:
            return _wrapped([source], indent)
        tree = syntax_tree(source.strip() if source.strip().startswith("{{") else source)
        if (only := only_part(tree)) is not None:
            return self.expression(only) if not isinstance(only, nodes.TemplateData) else text_literal(only.data)
        return _wrapped(self._pieces(tree.body), indent)

    def condition(self, source: str | bool) -> str:
        """Source of a `when`."""
        return repr(source) if isinstance(source, bool) else self.text(in_braces(source))

    def _pieces(self, body: list[Any]) -> list[str]:
        """A template as pieces of an f-string."""
        pieces: list[str] = []
        for node in body:
            if isinstance(node, nodes.Output):
                parts = node.nodes
                pieces += [
                    one.data if isinstance(one, nodes.TemplateData) else _Slot(self._shown(one)) for one in parts
                ]
            elif isinstance(node, nodes.If) and not node.elif_:
                yes, no = self._joined(node.body), self._joined(node.else_)
                pieces.append(_Slot(f"{yes} if {self.expression(node.test)} else {no}"))
            elif isinstance(node, nodes.For):
                pieces.append(_Slot(self._loop(node)))
            else:
                raise NotExportableError(f"A template uses {type(node).__name__}, which the export cannot translate.")
        return pieces

    def _loop(self, node: nodes.For) -> str:
        name = node.target.name if isinstance(node.target, nodes.Name) else ""
        if not name or node.else_ or node.test or variable(name) != name:
            raise NotExportableError("A template has a loop that the export cannot translate.")
        values = self.expression(node.iter)
        self._loops.append(name)
        inner = self._joined(node.body)
        self._loops.pop()
        return f"''.join({inner} for {name} in {values})"

    def _joined(self, body: list[Any]) -> str:
        parts = []
        for node in body:
            if not isinstance(node, nodes.Output):
                raise NotExportableError("A template nests loops or conditions, which the export cannot translate.")
            parts += [
                repr(part.data) if isinstance(part, nodes.TemplateData) else self._shown(part, force=True)
                for part in node.nodes
            ]
        return " + ".join(parts) if parts else "''"

    def _shown(self, node: nodes.Node, *, force: bool = False) -> str:
        source = self.expression(node)
        if isinstance(node, nodes.Filter) and node.name in _TEXTS:
            return source
        if force or isinstance(node, (nodes.CondExpr, nodes.Filter)) or source.startswith("args."):
            self.used.add("text")
            return f"text({source})"
        return source

    def expression(self, node: nodes.Node) -> str:
        """Source of one expression."""
        match node:
            case nodes.Const():
                return repr(node.value)
            case nodes.Name():
                return self._name(node.name)
            case nodes.Getattr():
                return self._attribute(node)
            case nodes.Getitem():
                return f"{self.expression(node.node)}[{self.expression(node.arg)}]"
            case nodes.Slice() if node.step is None:
                return ":".join(self.expression(bound) if bound else "" for bound in (node.start, node.stop))
            case nodes.List() | nodes.Tuple():
                return "[" + ", ".join(self.expression(item) for item in node.items) + "]"
            case nodes.Dict():
                pairs = [f"{self.expression(pair.key)}: {self.expression(pair.value)}" for pair in node.items]
                return "{" + ", ".join(pairs) + "}"
            case nodes.Not():
                return f"(not {self.expression(node.node)})"
            case nodes.Neg():
                return f"(-{self.expression(node.node)})"
            case nodes.BinExpr() if type(node) in _OPERATORS:
                return f"({self.expression(node.left)} {_OPERATORS[type(node)]} {self.expression(node.right)})"
            case nodes.Concat():
                self.used.add("text")
                return "(" + " + ".join(f"text({self.expression(part)})" for part in node.nodes) + ")"
            case nodes.CondExpr():
                other = self.expression(node.expr2) if node.expr2 else "None"
                return f"({self.expression(node.expr1)} if {self.expression(node.test)} else {other})"
            case nodes.Compare() if len(node.ops) == 1:
                operand = node.ops[0]
                return f"({self.expression(node.expr)} {_COMPARE[operand.op]} {self.expression(operand.expr)})"
            case nodes.Test() if node.name in ("none", "defined") and node.node is not None:
                return f"({self.expression(node.node)} {'is' if node.name == 'none' else 'is not'} None)"
            case nodes.Call():
                return "range(" + ", ".join(self.expression(one) for one in node.args) + ")"
            case nodes.Filter():
                return self._filter(node)
        raise NotExportableError(f"An expression uses {type(node).__name__}, which the export cannot translate.")

    def _name(self, name: str) -> str:
        if name in self.arguments:
            return f"args.{self.arguments[name]}"
        if name in ("item", "index", *self._loops):
            return name
        raise NotExportableError(f"An expression uses {name!r}, which the export does not know.")

    def _attribute(self, node: nodes.Getattr) -> str:
        if isinstance(node.node, nodes.Name):
            if node.node.name == "args" and node.attr in self.arguments:
                return f"args.{self.arguments[node.attr]}"
            if node.node.name == "steps" and node.attr in self.steps:
                return self.steps[node.attr]
            if node.node.name == "loop":
                raise NotExportableError("A template uses the loop's counters, which the export cannot translate.")
        return f"{self.expression(node.node)}[{node.attr!r}]"

    def _filter(self, node: nodes.Filter) -> str:
        if node.node is None or node.kwargs:
            raise NotExportableError(f"The filter {node.name} is used in a way the export cannot translate.")
        inner = self.expression(node.node)
        arguments = [self.expression(argument) for argument in node.args]
        if node.name in _SIMPLE:
            return _SIMPLE[node.name].format(inner, *arguments)
        if node.name == "join":
            self.used.add("text")
            return f"{arguments[0] if arguments else repr(', ')}.join(text(one) for one in {inner})"
        if node.name == "round":
            return f"round({inner}, {arguments[0]})" if arguments else f"round({inner})"
        if node.name in ("default", "d"):
            if "true" in str(arguments[1:]).lower():
                return f"({inner} or {arguments[0]})"
            return f"({inner} if {inner} is not None else {arguments[0]})"
        if node.name in HELPERS:
            self.used.add(node.name)
            return f"{node.name}({', '.join([inner, *arguments])})"
        raise NotExportableError(f"The filter {node.name} has no counterpart in the export.")


def variable(name: str) -> str:
    """`name` as a variable that nothing else in the script is called."""
    return f"{name}_" if keyword.iskeyword(name) or name in _TAKEN else name


class _Slot(str):
    """An expression inside an f-string, without its braces."""

    __slots__ = ()


def text_literal(text: str) -> str:
    """A double-quoted Python literal."""
    return json.dumps(text, ensure_ascii=False)


def _wrapped(pieces: list[str], indent: int) -> str:
    """Text and slots as f-strings of readable width, in parentheses when there are several."""
    lines: list[list[str]] = [[]]
    width = 0
    pieces = [part for one in pieces for part in ([one] if isinstance(one, _Slot) else re.findall(r"\S+\s*|\s+", one))]
    for token in pieces:
        if width and width + len(token) > _WIDTH:
            lines.append([])
            width = 0
        lines[-1].append(token)
        width += len(token)
    sources = [_f_string(line) for line in lines]
    if any(source.startswith('"".join(') for source in sources):
        return _f_string(pieces)
    if len(sources) == 1:
        return sources[0]
    pad = "\n" + " " * (indent + 4)
    return "(" + "".join(pad + source for source in sources) + "\n" + " " * indent + ")"


def _f_string(tokens: list[str]) -> str:
    slots = [token for token in tokens if isinstance(token, _Slot)]
    if not slots:
        return text_literal("".join(tokens))
    if any('"' in slot or "\\" in slot or slot.startswith("{") for slot in slots):
        parts = ", ".join(f"str({one})" if isinstance(one, _Slot) else text_literal(one) for one in tokens)
        return f'"".join([{parts}])'
    texts = [
        f"{{{one}}}" if isinstance(one, _Slot) else text_literal(one)[1:-1].replace("{", "{{").replace("}", "}}")
        for one in tokens
    ]
    return f'f"{"".join(texts)}"'
