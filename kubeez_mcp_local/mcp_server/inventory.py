"""What a tool is, described once; and from that description how it is listed, checked and called.

Toolsets, read-only mode and documentation are filters over this inventory. The schemas are flat, small, and free of
nullable unions, and describe every parameter: some hosts drop or refuse `$ref`, `anyOf [X, null]` and `title`, and
every conversation pays for the bytes (reference: limits of the clients measured in 2026).
"""

from __future__ import annotations

import difflib
import inspect
import logging
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from mcp import MCPError
from mcp.types import INVALID_PARAMS, CallToolResult, InputRequiredResult, Tool, ToolAnnotations
from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from kubeez_mcp_local.catalogue.checks import verify_characters
from kubeez_mcp_local.errors import InvalidArgumentError, KubeezError
from kubeez_mcp_local.jobs.errors import LedgerError
from kubeez_mcp_local.mcp_server.answers import answer, refusal
from kubeez_mcp_local.mcp_server.call import QuestionPendingError, TookTooLongError, timely
from kubeez_mcp_local.mcp_server.shaping import cost_so_far
from kubeez_mcp_local.text import LONGEST_NAME, cut, on_one_line

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from kubeez_mcp_local.mcp_server.call import Call
    from kubeez_mcp_local.mcp_server.results import Result
    from kubeez_mcp_local.settings import Settings

HOSTED = "hosted"
Effect = Literal["read", "write", "spend", "delete"]
Handler = Callable[..., Awaitable[Any]]
_NO_VALUES = ("null", "undefined", "None")
"""What programs write that mean to leave something out."""
_EMPTY: tuple[object, ...] = (None, "", [], {}, False)
"""Defaults that go without saying."""
APP = "ui://kubeez/app"
"""Where hosts with MCP Apps read the page that they show with the results of some tools."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class tool:  # noqa: N801 - a decorator
    """Describes the decorated handler as a tool of the inventory.

    Attributes:
        family: The toolset it belongs to.
        effect: `read` changes nothing, `write` changes something but costs nothing, `spend` can cost credits,
            `delete` removes something of the user's.
        remote: Whether it talks to the API.
        route: Name of the REST route behind it, if any.
        core: Whether the `core` toolset offers it too.
        aliases: Older names of the hosted server, accepted but not listed.
        unlisted: Names of further arguments that are accepted but not listed; the handler checks them.
        app: Whether hosts with MCP Apps show its results in our page.
        anything: Whether nobody here knows what a call may change.
    """

    title: str
    family: str
    result: type[Result]
    effect: Effect = "read"
    remote: bool = True
    route: str | None = None
    core: bool = False
    aliases: tuple[str, ...] = ()
    unlisted: Callable[[], Iterable[str]] = tuple
    app: bool = False
    anything: bool = False

    def __call__(self, handler: Handler) -> ToolSpec:
        return ToolSpec(**vars(self), name=handler.__name__, description=described(handler), handler=handler)


@dataclass(frozen=True, kw_only=True)
class ToolSpec(tool):
    """One tool of the inventory.

    Attributes:
        name: The hosted server's name for it.
        description: What the model reads; the handler's docstring.
        handler: `async (call, **arguments) -> result`; its annotations are the input schema.
        parameters: The operation behind a paid tool, whose parameters are the tool's; the handler's own come behind.
    """

    name: str
    description: str
    handler: Handler
    parameters: Callable[..., Any] | None = None

    def arguments(self) -> list[inspect.Parameter]:
        """The tool's arguments, in the order in which they are listed."""
        own = [one for one in _parameters(self.handler) if one.kind is not one.VAR_KEYWORD]
        return own if self.parameters is None else [*_parameters(self.parameters), *own]

    @property
    def spends(self) -> bool:
        """Whether a call can cost credits."""
        return self.effect == "spend"


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """All but the first, which is the call."""
    return list(inspect.signature(function, eval_str=True).parameters.values())[1:]


def described(words: Callable[..., Any]) -> str:
    """The docstring that models read."""
    return inspect.cleandoc(words.__doc__ or "")


def selected(tools: Iterable[ToolSpec], settings: Settings) -> tuple[ToolSpec, ...]:
    """The tools that `settings` offers, in inventory order; those of the `HOSTED` family in every toolset."""
    wanted = set(settings.toolsets)

    def offered(spec: ToolSpec) -> bool:
        in_toolset = "all" in wanted or spec.family in (*wanted, HOSTED) or (spec.core and "core" in wanted)
        return in_toolset and not (settings.read_only and spec.effect != "read")

    return tuple(spec for spec in tools if offered(spec))


@dataclass
class BoundTool:
    """One tool of the inventory, ready to be listed and called. Its models are built on first use."""

    spec: ToolSpec

    @cached_property
    def _listed(self) -> type[BaseModel]:
        return arguments_model(self.spec.arguments(), self.spec.name)

    @cached_property
    def _arguments(self) -> type[BaseModel]:
        unlisted = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Any)
            for name in self.spec.unlisted()
            if name not in self._listed.model_fields
        ]
        return arguments_model([*self.spec.arguments(), *unlisted], self.spec.name) if unlisted else self._listed

    @cached_property
    def listing(self) -> Tool:
        """The tool as published in `tools/list`."""
        effect = self.spec.effect
        return Tool(
            name=self.spec.name,
            title=self.spec.title,
            description=self.spec.description,
            input_schema=input_schema(self._listed, others=self._arguments is not self._listed),
            output_schema=output_schema(self.spec.result, self.spec.result.published),
            # What the protocol takes for granted need not be paid for: reading destroys nothing and can be repeated,
            # nothing else is idempotent, the world is open.
            annotations=ToolAnnotations(
                read_only_hint=effect == "read",
                destructive_hint=None if effect == "read" else effect == "delete" or self.spec.anything,
                open_world_hint=None if self.spec.remote else False,
            ),
            # In every list, since a list may not vary by client; hosts without MCP Apps pass it over.
            _meta={"ui": {"resourceUri": APP}} if self.spec.app else None,
        )

    def checked(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """`arguments` with types and limits checked and defaults filled in.

        A null counts as left out where an argument may be: hosts with strict schemas send one for each that is unused.
        So does an empty text in place of a number or a switch, as forms send it.

        Raises:
            InvalidArgumentError: Names the argument and what is allowed.
        """
        optional = {name for name, field in self._arguments.model_fields.items() if not field.is_required()}
        given = {
            name: value for name, value in arguments.items() if name not in optional or not self._left_out(name, value)
        }
        for name, value in given.items():
            verify_characters(name, value)
            if name in optional and isinstance(value, str) and value.strip() in _NO_VALUES:
                raise InvalidArgumentError(
                    name,
                    f"is the text {value.strip()!r}, which would be taken at its word.",
                    next_step="Leave the argument out where there is nothing to say.",
                )
        try:
            model = self._arguments.model_validate(given)
        except ValidationError as error:
            raise self._explain(error) from None
        return {name: getattr(model, name) for name in type(model).model_fields}

    def _left_out(self, name: str, value: Any) -> bool:
        blank = isinstance(value, str) and not value.strip()
        return value is None or (blank and self._kinds.get(name) in ("integer", "number", "boolean"))

    @cached_property
    def _kinds(self) -> dict[str, Any]:
        return {name: field.get("type") for name, field in input_schema(self._arguments)["properties"].items()}

    async def run(self, call: Call, arguments: dict[str, Any]) -> CallToolResult:
        """Check, call the handler, shape the answer; anticipated failures become explained refusals.

        Raises:
            QuestionPendingError: The client has to ask its user and call again.
        """
        try:
            work = self.spec.handler(call, **self.checked(arguments))
            return answer(await timely(self.spec.name, work, spends=self.spec.spends), call.blocks)
        except KubeezError as error:
            return await self._refused(call, await call.asking_for_a_key(error))
        except (QuestionPendingError, MCPError):
            raise
        except Exception as error:  # noqa: BLE001 - the last stop: a crash must not end the conversation
            frames = "".join(traceback.format_tb(error.__traceback__))  # what it says may quote a prompt
            log.error("%s crashed: %s\n%s", self.spec.name, type(error).__name__, frames)  # noqa: TRY400
            crashed = KubeezError(
                f"{self.spec.name} failed inside this server; the log on stderr has the details.",
                next_step="Please report it. Other tools go on working.",
                spent=None if self.spec.spends else False,
                code="internal_error",
            )
            return await self._refused(call, crashed)

    async def _refused(self, call: Call, error: KubeezError) -> CallToolResult:
        """The explanation; of a paid tool with what is left of the day, unless the ledger may take long to tell."""
        slow = isinstance(error, LedgerError | TookTooLongError)
        return refusal(error, call.mode, await cost_so_far(call) if self.spec.spends and not slow else None)

    def _explain(self, error: ValidationError) -> InvalidArgumentError:
        found = error.errors(include_url=False)
        # A name that is not known is often why another argument is missing.
        unknown = (one for one in found if one["type"] == "extra_forbidden" and len(one["loc"]) == 1)
        first = next(unknown, found[0])
        name = ".".join(str(part) for part in first["loc"])
        if first["type"] == "missing":
            return InvalidArgumentError(name, "is required.", next_step=f"Call {self.spec.name} again with it.")
        if first["type"] != "extra_forbidden":
            reason = first["msg"].removeprefix("Value error, ")
            shown = cut(repr(first.get("input")), LONGEST_NAME)
            return InvalidArgumentError(name, f"{shown} is refused: {reason[:1].lower()}{reason[1:]}.")
        if len(first["loc"]) > 1:
            argument, entry = str(first["loc"][0]), first["loc"][-1]
            return InvalidArgumentError(argument, f"has an entry with {entry!r}, which nothing would come of.")
        known = list(self._listed.model_fields)
        reason = f"{self.spec.name} has no such argument.{_meant(name, known)}"
        return InvalidArgumentError(name, reason, next_step=f"Allowed: {', '.join(known) or 'none'}.")


def _meant(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean {near[0]}?" if near else ""


@cache
def _bound(spec: ToolSpec) -> BoundTool:
    """The tool of all servers in this process: what is built once serves whoever asks next."""
    return BoundTool(spec)


class Toolbox:
    """All tools on offer, by name.

    Args:
        specs: The selected part of the inventory, in the order in which it is listed.
        inventory: All of it, to tell what the settings leave out from what does not exist.
    """

    def __init__(self, specs: Iterable[ToolSpec], inventory: Iterable[ToolSpec] = ()) -> None:
        self._tools = {spec.name: _bound(spec) for spec in specs}
        self._known = {name for spec in inventory for name in (spec.name, *spec.aliases)}
        self._aliases = {alias: tool for tool in self._tools.values() for alias in tool.spec.aliases}

    def listing(self) -> list[Tool]:
        """Every tool as published; older names are accepted but not listed."""
        return [tool.listing for tool in self._tools.values()]

    async def call(self, call: Call, name: str, arguments: dict[str, Any]) -> CallToolResult | InputRequiredResult:
        """Run the tool `name`.

        Raises:
            MCPError: There is no such tool on offer.
        """
        tool = self._tools.get(name) or self._aliases.get(name)
        if tool is None:
            raise MCPError(code=INVALID_PARAMS, message=self._unknown(name))
        try:
            return await tool.run(call, arguments)
        except QuestionPendingError as pending:
            return pending.result

    def _unknown(self, name: str) -> str:
        named = on_one_line(name, LONGEST_NAME)
        if name in self._known:
            return f"Unknown tool: {named}. The user's settings leave it out: KUBEEZ_TOOLSETS or KUBEEZ_READ_ONLY."
        return f"Unknown tool: {named}.{_meant(name, self._tools)}"


def arguments_model(parameters: Iterable[inspect.Parameter], name: str) -> type[BaseModel]:
    """A model of these arguments, which refuses any other."""
    fields: dict[str, Any] = {
        parameter.name: (parameter.annotation, ... if parameter.default is parameter.empty else parameter.default)
        for parameter in parameters
    }
    return create_model(f"{name}_arguments", __config__=ConfigDict(extra="forbid"), **fields)


def input_schema(arguments: type[BaseModel], *, others: bool = False) -> dict[str, Any]:
    """The flat schema of `arguments`, as published in `tools/list`; `others` are accepted beside them."""
    schema = arguments.model_json_schema()
    published = {"type": "object", "properties": _flat_properties(schema), "additionalProperties": others}
    return published | ({"required": schema["required"]} if schema.get("required") else {})


def output_schema(result: type[BaseModel], published: Collection[str] = ()) -> dict[str, Any]:
    """The schema of a structured result: its top-level fields and their types; only those in `published`, if given.

    Absent values are left out of results rather than sent as null, so no field is nullable. The types are read from the
    annotations: whole JSON schemas, of which the rest is thrown away, took most of the time of a first `tools/list`.
    """
    named = {name: field for name, field in result.model_fields.items() if not published or name in published}
    outlines = {name: _outline(field.annotation) for name, field in named.items()}
    return {"type": "object", "properties": {"mode": {"type": "string"}} | outlines, "required": ["mode"]}


def _flat_properties(schema: dict[str, Any]) -> dict[str, Any]:
    definitions = schema.get("$defs", {})
    return {name: _flat(field, definitions) for name, field in schema.get("properties", {}).items()}


def _flat(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """`node` with references resolved, titles and empty defaults dropped, and `X | None` reduced to `X`."""
    choices = [choice for choice in node.get("anyOf", []) if choice.get("type") != "null"]
    if len(choices) == 1:
        node = choices[0] | {key: value for key, value in node.items() if key != "anyOf"}
    if "$ref" in node:
        node = definitions[node["$ref"].removeprefix("#/$defs/")] | node
    flat = {key: value for key, value in node.items() if key not in ("title", "$ref")}
    if flat.get("default") in _EMPTY:
        flat.pop("default", None)
    if flat.get("additionalProperties") is True:
        del flat["additionalProperties"]
    if isinstance(flat.get("items"), dict):
        flat["items"] = _flat(flat["items"], definitions)
    if isinstance(flat.get("properties"), dict):
        flat["properties"] = _flat_properties(flat | {"$defs": definitions})
    return flat


_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (bool, "boolean"),
    (int, "integer"),
    (float, "number"),
    (str, "string"),
    ((list, tuple), "array"),
    ((Mapping, BaseModel), "object"),
)
"""What JSON calls the types of results; the first that fits."""


def _outline(annotation: Any) -> dict[str, Any]:
    """Only the type of such a value; of a list also what it holds, unless that is objects."""
    kind, inner = _kind(annotation)
    if kind != "array":
        return {"type": kind} if kind else {}
    items = _kind(inner[0])[0] if inner else None
    return {"type": "array", "items": {"type": items}} if items not in (None, "object") else {"type": "array"}


def _kind(annotation: Any) -> tuple[str | None, tuple[Any, ...]]:
    """What JSON calls a value of this type, where that is one thing, and the types of what it holds."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(inner[0])
    if origin in (Union, UnionType):
        choices = [choice for choice in inner if choice is not NoneType]
        return _kind(choices[0]) if len(choices) == 1 else (None, ())
    kinds = {type(value) for value in inner} if origin is Literal else {origin or annotation}
    found = kinds.pop() if len(kinds) == 1 else None
    fits = (name for kind, name in _KINDS if isinstance(found, type) and issubclass(found, kind))
    return next(fits, None), inner
