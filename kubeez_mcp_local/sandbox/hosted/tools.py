"""What a hosted tool is: its arguments, scope and annotations, and how it answers and refuses.

Real tools of these names are described by a public directory of 2026 and by older documentation. What stands in neither
is a guess, which the description of the tool or of its argument says: "Assumed".
"""

import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from mcp.types import CallToolResult, ContentBlock, TextContent, ToolAnnotations
from mcp.types import Tool as ToolOnTheWire
from pydantic import ConfigDict, ValidationError

from kubeez_mcp_local.sandbox.answers import ApiError, Body
from kubeez_mcp_local.sandbox.books import Account, Bucket
from kubeez_mcp_local.sandbox.service import Service, Viewer

Answer = dict[str, Any] | list[ContentBlock]
"""A free-form object; or content alone, of tools without an output schema."""


class Asked(Body):
    """A tool's arguments; more are refused."""

    model_config = ConfigDict(extra="forbid")


class Nothing(Asked):
    """No arguments."""


@dataclass(frozen=True)
class Call:
    """One call: by whom, and what serves it."""

    service: Service
    viewer: Viewer
    caller: Account


@dataclass(frozen=True)
class Tool:
    """A hosted tool. `scope` is None for those that any authenticated caller may use."""

    name: str
    description: str
    arguments: type[Asked]
    run: Callable[[Call, Any], Answer]
    scope: str | None
    bucket: Bucket
    annotations: ToolAnnotations | None
    free_form: bool

    @cached_property
    def entry(self) -> dict[str, Any]:
        """In `tools/list`. Made once, since that takes milliseconds."""
        schema = self.arguments.model_json_schema()
        schema.pop("description", None)
        shown = ToolOnTheWire(
            name=self.name,
            description=self.description,
            input_schema=schema,
            output_schema={"type": "object", "additionalProperties": True} if self.free_form else None,
            annotations=self.annotations,
        )
        return shown.model_dump(mode="json", by_alias=True, exclude_none=True)


READS = ToolAnnotations(read_only_hint=True, idempotent_hint=True)
LINKS = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)
WRITES = ToolAnnotations(read_only_hint=False, idempotent_hint=False, destructive_hint=False)
DESTROYS = ToolAnnotations(read_only_hint=False, idempotent_hint=False, destructive_hint=True)

Run = Callable[[Call, Any], Answer]


@dataclass
class Toolbox:
    """The tools of one file, in their order."""

    tools: list[Tool] = field(default_factory=list)

    def add(
        self, scope: str | None, annotations: ToolAnnotations | None, bucket: Bucket = "read", *, free_form: bool = True
    ) -> Callable[[Run], Run]:
        """Make a function a tool of its name; its docstring is the description, its second argument the arguments."""

        def added(run: Run) -> Run:
            asked = list(inspect.signature(run).parameters.values())[1].annotation
            words = inspect.cleandoc(run.__doc__ or "")
            self.tools.append(Tool(run.__name__, words, asked, run, scope, bucket, annotations, free_form))
            return run

        return added


def answered(answer: Answer) -> CallToolResult:
    """A success, complete as text and as an object."""
    if isinstance(answer, list):
        return CallToolResult(content=answer)
    return CallToolResult(content=[_text(json.dumps(answer))], structured_content=answer)


_CODES = {401: "unauthorized", 402: "insufficient_credits", 403: "insufficient_scope", 404: "not_found"}
_CODES |= {413: "too_large", 429: "rate_limited"}


def refused(name: str, error: ApiError, form: str) -> CallToolResult:
    """An error of a tool. The codes are documented, their form is not: the knob `hosted_errors` chooses one."""
    said = error.body
    about = {
        "error": said.get("error", _CODES.get(error.status, "invalid_parameters")),
        "message": said.get("message") or said.get("detail") or said.get("error", "refused"),
    }
    if said.get("purchase_url"):
        about["purchase_url"] = said["purchase_url"]
    about.update({key: value for key, value in said.items() if key not in (*about, "detail")})
    if form == "text":
        words = f"Error executing tool {name}: {about['error']}: {about['message']}"
        return CallToolResult(content=[_text(words)], is_error=True)
    text = [_text(json.dumps(about))]
    return CallToolResult(content=text, structured_content=about, is_error=form == "structured")


def _text(words: str) -> TextContent:
    return TextContent(type="text", text=words)


def checked(arguments: type[Asked], schema: dict[str, Any], given: dict[str, Any]) -> Asked:
    """The arguments by the schema as it is served now, which a knob may have changed, and then by the tool itself.

    Raises:
        ApiError: 400 `invalid_parameters`, which names what does not fit.
    """
    known = schema.get("properties") or {}
    problems = [f"{name}: Field required" for name in schema.get("required", ()) if name not in given]
    problems += [f"{name}: Unexpected argument" for name in given if name not in known]
    if not problems:
        own = {name: value for name, value in given.items() if name in arguments.model_fields}
        try:
            return arguments.model_validate(own)
        except ValidationError as error:
            problems = [misfits(error)]
    raise ApiError(400, {"error": "invalid_parameters", "message": "; ".join(problems)})


def misfits(error: ValidationError) -> str:
    """What does not fit, argument by argument."""
    found = [(".".join(map(str, each["loc"])), each["msg"]) for each in error.errors()]
    return "; ".join(f"{place}: {words}" if place else words for place, words in found)
