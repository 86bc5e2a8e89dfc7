"""The form of a recipe: its fields, what can be wrong with it, and how its words are made fit to be shown.

Recipes are untrusted: one line stays one line, without control characters and without posing as the system.
"""

from __future__ import annotations

import difflib
import json
import re
import unicodedata
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictInt, StrictStr, field_validator

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.text import cut

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


FieldPath = tuple[str | int, ...]
"""A field of the front matter, such as `("steps", 0, "with")`."""


class RecipeError(KubeezError):
    """A recipe file cannot be used as it is. Nothing was run and nothing was charged.

    Attributes:
        file: The file at fault, as its reader knows it.
        line: Line in that file, counted from 1; 0 when the whole file is meant.
        field: Dotted field such as `arguments.brief.type`; empty when no single field is at fault.
        reason: What is wrong, with the value at fault and the allowed ones.
        others: What else is wrong with the file.
    """

    code = "invalid_recipe"

    def __init__(self, file: str, line: int, field: str, reason: str, *, next_step: str = "") -> None:
        place = f"{file}:{line}" if line else file
        message = f"{place}: {field}: {reason}" if field else f"{place}: {reason}"
        super().__init__(message, next_step=next_step or "Correct it and try again.")
        self.file = file
        self.line = line
        self.field = field
        self.reason = reason
        self.others: tuple[RecipeError, ...] = ()


class TemplateError(KubeezError):
    """A template or expression cannot be rendered: wrong syntax, an unknown name, or more work than is allowed.

    `line` counts from 1 within the template; 0 when that is not known.
    """

    code = "invalid_template"

    def __init__(self, reason: str, *, line: int = 0, code: str | None = None) -> None:
        super().__init__(f"Line {line} of the template: {reason}" if line > 1 else reason, code=code)
        self.reason = reason
        self.line = line


def dotted(path: FieldPath) -> str:
    """`("steps", 0, "with")` as `steps[0].with`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def nearest(path: FieldPath, lines: Mapping[FieldPath, int]) -> FieldPath:
    """The longest part of `path` that is a field of the file."""
    while path and path not in lines:
        path = path[:-1]
    return path


def near(word: str, allowed: Iterable[str]) -> str:
    """The sentence ` Did you mean …?`, or nothing when no allowed word is near."""
    matches = difflib.get_close_matches(word, list(allowed), n=3, cutoff=0.6)
    return f" Did you mean {' or '.join(matches)}?" if matches else ""


MAX_DESCRIPTION = 200
MAX_TITLE = 80
WITHHELD = "(withheld: it reads as instructions to the assistant, not as a description)"

_ROLE_MARK = re.compile(r"<\|[^|>]{0,40}\|>|</?\s*[a-zA-Z_][^<>]{0,60}>|\[/?(?:INST|SYS|SYSTEM)\]|<<\s*/?SYS\s*>>")
_ROLE_START = re.compile(r"(?:^|(?<=[.!?;#*]))[\s#*]*(?:system|assistant|developer|user|human)\s*(?:prompt)?\s*:", re.I)
_ORDERS = re.compile(
    r"\b(?:ignore|disregard|forget|override)\b.{0,40}\b(?:instruction|prompt|rule|polic|guideline|limit|confirmation)"
    r"|\byou (?:are now|must now|must always)\b|\bdo not (?:ask|tell|confirm)\b|\bwithout (?:asking|confirm)",
    re.I,
)
_PLAIN = re.compile(r"[A-Za-z0-9 ,.()'/&+-]*\Z")


def one_line(text: str, limit: int = MAX_DESCRIPTION) -> str:
    """`text` on one line of at most `limit` characters, without control, format or private-use characters."""
    if len(text) <= limit and _PLAIN.match(text) and not _ORDERS.search(text):
        return text.strip()
    visible = "".join(" " if unicodedata.category(char)[0] in "CZ" else char for char in text[: limit * 8])
    calm = " ".join(_ROLE_START.sub(" ", _ROLE_MARK.sub(" ", visible)).split())
    if _ORDERS.search(calm):
        return WITHHELD
    return cut(calm, limit)


MAX_FILE_BYTES = 64 * 1024
ValueType = Literal["string", "integer", "number", "boolean", "model", "ratio", "voice", "path"]
ArgumentType = ValueType | Literal["text", "script", "list", "table"]
MediaKind = Literal["image", "video", "audio"]
LENGTHS: dict[str, MediaKind] = {"reference_video_seconds": "video", "reference_audio_seconds": "audio"}
"""What a step's `quote` may declare: the length of what cannot be measured, by kind."""
VALUE_TYPES: tuple[str, ...] = get_args(ValueType)
ARGUMENT_TYPES: tuple[str, ...] = (*VALUE_TYPES, "text", "script", "list", "table")
RESERVED_NAMES = frozenset({"args", "steps", "item", "index", "loop", "recipe", "range", "true", "false", "none"})

Line = Annotated[StrictStr, AfterValidator(partial(one_line, limit=MAX_DESCRIPTION))]
Title = Annotated[StrictStr, AfterValidator(partial(one_line, limit=MAX_TITLE)), Field(min_length=1)]
Name = Annotated[StrictStr, Field(pattern=r"^[a-z0-9](?:-?[a-z0-9])*$", max_length=64)]
ArgumentName = Annotated[StrictStr, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)]
StepId = Annotated[StrictStr, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)]
ToolName = Annotated[StrictStr, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]
Tag = Annotated[StrictStr, Field(pattern=r"^[a-z0-9](?:[ -]?[a-z0-9])*$", max_length=30)]
Scalar = StrictStr | bool | StrictInt | float
Credits = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class _Value(_Strict):
    """What limits a value."""

    required: bool = Field(False, description="Whether the recipe cannot work without it.")
    choices: tuple[Scalar, ...] = Field((), max_length=100, description="The only values allowed.")
    minimum: float | None = Field(
        None, description="Smallest number allowed, or fewest entries of a list, rows of a table, speakers of a script."
    )
    maximum: float | None = Field(
        None, description="Largest number allowed, or most entries of a list, rows of a table, speakers of a script."
    )
    max_length: int | None = Field(
        None, ge=1, le=20_000, description="Most characters allowed; by default 4,000, and 20,000 of a text or script."
    )
    kinds: tuple[MediaKind, ...] = Field((), max_length=3, description="What a `path` may lead to; all when left out.")


class Column(_Value):
    """One column of a table; a cell is checked like an argument. A cell that may be empty comes to nothing."""

    description: Line = Field("", description="What stands in it, in one sentence of at most 200 characters.")
    type: ValueType = Field("string", description="What a cell holds; `path` is a local file or an https URL.")


class Argument(_Value):
    """One argument of a recipe: it becomes an MCP prompt argument, a command-line option and a template name."""

    description: Line = Field(description="What to give, in one sentence of at most 200 characters.")
    type: ArgumentType = Field(
        "string",
        description="`text` and `script` are long texts, or the path of a text file; each line of a script is "
        "`name: words`. `list` is text with commas or lines between the entries. `table` is a CSV file or CSV text. "
        "`path` is a local file or an https URL.",
    )
    of: ValueType = Field(
        "string", description="What the entries of a `list` are; patterns such as `shots/*.png` stand for `path`s."
    )
    columns: dict[ArgumentName, Column] = Field(
        default_factory=dict, max_length=100, description="The columns of a `table` by name; others are left aside."
    )
    default: Scalar | None = Field(None, description="Used when it is not given; not for `path` and `table`.")


class Step(_Strict):
    """One tool call of a recipe that can be run without an assistant. A paid call is over when its job is."""

    id: StepId = Field(description="Name by which later steps refer to it: `{{ steps.ID.outputs[0].url }}`.")
    tool: ToolName = Field(description="A tool that `tools` declares.")
    with_: dict[StrictStr, Any] = Field(default_factory=dict, alias="with", description="The tool's arguments.")
    for_each: StrictStr | list[Any] | None = Field(
        None, description="A list, or an expression that gives one; the call is made for each `item` (at `index`)."
    )
    when: StrictStr | bool | None = Field(None, description="An expression; the call is left out when it is false.")
    quote: dict[StrictStr, Any] = Field(
        default_factory=dict,
        description="Length of a file that cannot be measured, such as a URL: reference_video_seconds or "
        "reference_audio_seconds.",
    )
    pause: bool = Field(
        False, description="A run ends before it, and goes on with it when it is asked for again, after another yes."
    )
    at_most: Credits | None = Field(None, description="Credits to reserve for one call when its price is unknown.")


class Expect(_Strict):
    """What a rehearsal must come to."""

    files: int | None = Field(None, ge=0, description="Saved files, at least.")
    count: int | None = Field(None, ge=0, description="Finished paid calls, exactly.")
    ratio: StrictStr | None = Field(
        None, description="Aspect ratio of every picture, such as `1:1`; may be a template."
    )
    credits: Credits | None = Field(None, description="Credits, at most.")
    with_: dict[ArgumentName, Any] = Field(
        default_factory=dict,
        alias="with",
        description="Arguments of the rehearsal. `sample:image`, `sample:audio` and `sample:video` name ready files.",
    )


class Summary(_Strict):
    """The part of the front matter that a list of recipes needs."""

    name: Name = Field(description="The file's name without `.md`.")
    title: Title = Field(description="A few words; at most 80 characters.")
    description: Line = Field(description="What it makes, in one sentence of at most 200 characters.")
    version: int = Field(1, ge=1, le=1_000_000, description="Raised when the recipe changes.")
    tags: tuple[Tag, ...] = Field((), max_length=20, description="Words to find it by.")
    arguments: dict[ArgumentName, Argument] = Field(
        default_factory=dict, max_length=40, description="By name, in the order in which they are asked for."
    )
    budget: StrictStr | Credits | None = Field(
        None, description="Ceiling for one run, in credits: a number, or an expression over the arguments."
    )
    tools: tuple[ToolName, ...] = Field((), max_length=40, description="What it may call, and nothing else.")

    @field_validator("arguments")
    @classmethod
    def _no_reserved_names(cls, value: dict[str, Argument]) -> dict[str, Argument]:
        taken = sorted(RESERVED_NAMES & value.keys())
        if taken:
            raise ValueError(f"{', '.join(taken)} cannot be an argument's name: templates use it")
        return value


class FrontMatter(Summary):
    """Front matter of a Kubeez recipe."""

    steps: tuple[Step, ...] = Field((), max_length=60, description="The same work as tool calls, to run it headless.")
    expect: Expect | None = Field(None, description="What `recipes check` holds a rehearsal against.")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a recipe came from: `kind`, and `where` in words a person recognises (a folder, a repository, the pack)."""

    kind: Literal["pack", "folder", "added", "draft"]
    where: str
    path: Path | None = None


@dataclass(frozen=True, slots=True)
class Recipe:
    """A recipe file, read and checked: front matter, the Jinja2 `body` below it, and the whole `text`.

    `body_line` is where the body starts, `lines` where each field of the front matter is, both counted from 1.
    """

    front: FrontMatter
    body: str
    body_line: int
    text: str
    origin: Origin
    lines: Mapping[FieldPath, int]

    @property
    def name(self) -> str:
        return self.front.name

    @property
    def title(self) -> str:
        return self.front.title

    @property
    def description(self) -> str:
        return self.front.description

    @property
    def version(self) -> int:
        return self.front.version

    @property
    def arguments(self) -> Mapping[str, Argument]:
        return self.front.arguments

    @property
    def tools(self) -> tuple[str, ...]:
        return self.front.tools

    @property
    def steps(self) -> tuple[Step, ...]:
        return self.front.steps

    @property
    def file(self) -> str:
        """How error messages call the file."""
        return str(self.origin.path or f"{self.name}.md")

    def line_of(self, *field: str | int) -> int:
        """Line (from 1) of a field, or of the nearest field around it; 0 when unknown."""
        return self.lines.get(nearest(field, self.lines), 0)

    def error(self, reason: str, *field: str | int) -> RecipeError:
        """What is wrong with a field."""
        return RecipeError(self.file, self.line_of(*field), dotted(field), reason)

    def body_error(self, error: TemplateError) -> RecipeError:
        """What is wrong with the body."""
        return RecipeError(self.file, self.body_line + max(error.line - 1, 0), "", error.reason)


COUNTED = {"list": " entries", "table": " rows", "script": " speakers"}
"""What `minimum` and `maximum` of a type count, if not its value."""


def limits_in_words(argument: Argument) -> str:
    """Its range or longest text, such as `1 to 200`, `at most 12 entries` or `at most 400 characters`; else nothing.

    The range of a list, table or script counts its entries, rows or speakers.
    """
    low, high = argument.minimum, argument.maximum
    if low is None and high is None:
        return f"at most {argument.max_length:,} characters" if argument.max_length else ""
    unit = COUNTED.get(argument.type, "")
    if low == high and unit:
        return f"{high:,.15g}{unit}"
    if low is None:
        return f"at most {high:,.15g}{unit}"
    return f"at least {low:,.15g}{unit}" if high is None else f"{low:,.15g} to {high:,.15g}{unit}"


SCHEMA_FILE = Path(__file__).with_name("recipe.schema.json")


def schema_text() -> str:
    """What `recipe.schema.json` must hold: JSON Schema of the front matter, generated from the models that check it."""
    told = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Kubeez recipe"}
    return json.dumps(told | FrontMatter.model_json_schema(by_alias=True) | told, indent=2, ensure_ascii=False) + "\n"
