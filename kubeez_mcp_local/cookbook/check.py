"""Checks a recipe before a team relies on it: what can be seen in the file, and example values for a rehearsal."""

from __future__ import annotations

import io
import math
import sys
import wave
from array import array
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from kubeez_mcp_local.cookbook.arguments import check_arguments
from kubeez_mcp_local.cookbook.format import RESERVED_NAMES, WITHHELD, Argument, RecipeError, TemplateError, near
from kubeez_mcp_local.cookbook.render import render_body
from kubeez_mcp_local.cookbook.steps import (
    FORBIDDEN_TOOLS,
    PAID_TOOLS,
    budget_of,
    dependencies,
    fields_of,
    names_in,
    texts_of,
)
from kubeez_mcp_local.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from pathlib import Path

    from kubeez_mcp_local.cookbook.format import Column, Expect, Recipe


_SECONDS = 6
_RATE = 16_000


@dataclass
class Samples:
    """Writes sample files into `folder`, which must be among the input folders for the tools to read them."""

    folder: Path
    _count: int = 0

    def __call__(self, kind: str) -> str:
        """The path of a new sample file; an `InvalidArgumentError` for another kind, or a video without its extra."""
        makers: dict[str, tuple[Callable[[int], bytes], str]] = {
            "image": (_image, "png"),
            "audio": (_audio, "wav"),
            "video": (_video, "mp4"),
        }
        if kind not in makers:
            allowed = ", ".join(f"sample:{name}" for name in makers)
            raise InvalidArgumentError("expect.with", f"there is no sample:{kind}; allowed: {allowed}")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._count += 1
        made, ending = makers[kind]
        path = self.folder / f"sample-{self._count}.{ending}"
        path.write_bytes(made(self._count))
        return str(path)


def _image(number: int) -> bytes:
    """A simple product shot: a bottle on a table; each number has its own colour."""
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", (768, 768), (236, 232, 224))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 560, 768, 768), fill=(204, 190, 170))
    colour = ((47 * number) % 200 + 30, (91 * number) % 200 + 30, (139 * number) % 200 + 30)
    draw.rounded_rectangle((304, 220, 464, 620), radius=48, fill=colour)
    draw.rectangle((348, 150, 420, 230), fill=(60, 60, 64))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


@lru_cache(maxsize=4)
def _audio(number: int) -> bytes:
    """A few seconds of a rising tone, mono, 16 bit."""
    sin, low, turn = math.sin, 220 + 40 * number, 2 * math.pi / _RATE
    frames = array("h", [int(12_000 * sin(turn * (low + at / 400) * at)) for at in range(_SECONDS * _RATE)])
    if sys.byteorder == "big":
        frames.byteswap()
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(_RATE)
        sound.writeframes(frames.tobytes())
    return file.getvalue()


@lru_cache(maxsize=4)
def _video(number: int) -> bytes:
    """Six seconds of a square that crosses the frame, H.264, with a tone that tools for speech take for it."""
    try:
        import av
    except ImportError:
        raise InvalidArgumentError(
            "expect.with",
            "sample:video needs the `video` extra",
            next_step="Install kubeez-mcp-local[video], or name a clip of your own.",
        ) from None
    from PIL import Image, ImageDraw

    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container, av.open(io.BytesIO(_audio(number)), "r") as tone:
        stream = container.add_stream("libx264", rate=10, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        voice = container.add_stream("aac", rate=_RATE)
        for at in range(_SECONDS * 10):
            picture = Image.new("RGB", (320, 180), (24, 28, 40))
            left = 4 * at + number
            ImageDraw.Draw(picture).rectangle((left, 70, left + 40, 110), fill=(230, 180, 60))
            frame: Any = av.VideoFrame
            for packet in stream.encode(frame.from_image(picture)):
                container.mux(packet)
        for heard in tone.decode(audio=0):
            for packet in voice.encode(heard):
                container.mux(packet)
        for last in (stream, voice):
            for packet in last.encode():
                container.mux(packet)
    return file.getvalue()


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about a recipe: an `error` keeps it from working, a `warning` from being good."""

    level: Literal["error", "warning"]
    file: str
    line: int
    field: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where}: {self.level}: {self.field + ': ' if self.field else ''}{self.message}"


def check_recipe(recipe: Recipe, tools: Collection[str] = ()) -> tuple[Finding, ...]:
    """Everything that can be found without running it; `tools` are those there are, empty when that is not known."""
    return tuple(_Checker(recipe, frozenset(tools)).findings())


def broken(recipe: Recipe) -> RecipeError | None:
    """What keeps a recipe from being used at all, whatever its arguments; `None` for one that works or may."""
    checker = _Checker(recipe, frozenset())
    for found in (*checker._body(), *checker._steps(), *checker._budget()):
        if found.level == "error" and not found.field.startswith("expect"):
            return RecipeError(found.file, found.line, found.field, found.message)
    return None


def sample_arguments(recipe: Recipe, samples: Callable[[str], str] | None = None) -> dict[str, Any]:
    """Checked arguments of a rehearsal: those of `expect.with`, and something plausible for what they leave out.

    `samples` turns `sample:image` and the like into the path of a ready file.
    """
    return check_arguments(recipe.front, example_values(recipe, samples))


def with_examples(recipe: Recipe, given: Mapping[str, Any], samples: Callable[[str], str]) -> dict[str, Any]:
    """`given`, with the recipe's own examples for what is required and missing, or for all where nothing was given."""
    examples = example_values(recipe, samples)
    wanted = {name for name, argument in recipe.arguments.items() if argument.required or not given}
    missing = {name for name in wanted if given.get(name) in (None, "", [])}
    return {**given, **{name: value for name, value in examples.items() if name in missing}}


def example_values(recipe: Recipe, samples: Callable[[str], str] | None = None) -> dict[str, Any]:
    """The values of `expect.with`, and something plausible for what is required beside them; unchecked."""
    values: dict[str, Any] = dict(recipe.front.expect.with_) if recipe.front.expect else {}
    for name, argument in recipe.arguments.items():
        if name not in values and argument.required:
            values[name] = _plausible(argument)
    if samples is not None:
        values = {name: _sampled(value, samples) for name, value in values.items()}
    return values


def _found(error: RecipeError, level: Literal["error", "warning"] = "error") -> Finding:
    return Finding(level, error.file, error.line, error.field, error.reason)


@dataclass
class _Checker:
    recipe: Recipe
    tools: frozenset[str]
    names: set[str] = field(default_factory=set)

    def findings(self) -> Iterator[Finding]:
        yield from self._words()
        yield from self._tables()
        yield from self._tools()
        yield from self._body()
        yield from self._steps()
        yield from self._unused()
        yield from self._budget()
        if self.recipe.front.expect is not None:
            yield from self._expect(self.recipe.front.expect)

    def _words(self) -> Iterator[Finding]:
        described: dict[tuple[str, ...], str] = {
            ("description",): self.recipe.description,
            ("title",): self.recipe.title,
        }
        for name, argument in self.recipe.arguments.items():
            described["arguments", name, "description"] = argument.description
        for where, text in described.items():
            if text == WITHHELD:
                yield self._error("reads as instructions to the assistant; describe what the recipe makes", *where)
            elif len(text) < 4:
                yield self._warning("says too little", *where)

    def _tables(self) -> Iterator[Finding]:
        for name, argument in self.recipe.arguments.items():
            if argument.type == "table" and not argument.columns:
                yield self._warning(
                    "declares no columns, so its rows are not checked before they are priced", *("arguments", name)
                )

    def _tools(self) -> Iterator[Finding]:
        for tool in self.recipe.tools:
            if tool in FORBIDDEN_TOOLS:
                yield self._error(f"{tool} cannot be used by a recipe", "tools")
            elif self.tools and tool not in self.tools:
                yield self._error(f"there is no tool {tool!r}.{near(tool, self.tools)}", "tools")
        if PAID_TOOLS.intersection(self.recipe.tools) and "estimate" not in self.recipe.tools:
            yield self._warning("it can spend but not `estimate`, so nobody learns the price first", "tools")

    def _body(self) -> Iterator[Finding]:
        if not self.recipe.body.strip():
            yield self._error("there is no text below the front matter, so it is no prompt")
            return
        try:
            used = names_in(self.recipe.body) | fields_of(self.recipe.body, "args")
        except TemplateError as error:
            yield _found(self.recipe.body_error(error))
            return
        self.names |= used
        unknown = sorted(used - self.recipe.arguments.keys() - RESERVED_NAMES)
        for name in unknown:
            message = f"the text uses {name!r}, which is no argument.{near(name, self.recipe.arguments)}"
            lines = self.recipe.body.splitlines()
            at = next((offset for offset, line in enumerate(lines) if name in line), 0)
            yield Finding("error", self.recipe.file, self.recipe.body_line + at, "", message)
        if unknown:
            return
        try:
            render_body(self.recipe, sample_arguments(self.recipe))
        except RecipeError as error:
            yield _found(error)
        except InvalidArgumentError as error:
            yield self._error(error.message, "expect", "with")

    def _steps(self) -> Iterator[Finding]:
        try:
            dependencies(self.recipe)
        except RecipeError as error:
            yield _found(error)
            return
        for position, step in enumerate(self.recipe.steps):
            for text in texts_of(step):
                names, fields = names_in(text), fields_of(text, "args")
                self.names |= names | fields
                unknown = sorted((names | fields) - self.recipe.arguments.keys() - RESERVED_NAMES)
                if unknown:
                    hint = near(unknown[0], self.recipe.arguments)
                    yield self._error(f"uses {unknown[0]!r}, which is no argument.{hint}", "steps", position)
                if names & {"item", "index"} and step.for_each is None:
                    yield self._error("uses `item` or `index` without `for_each`", "steps", position)

    def _unused(self) -> Iterator[Finding]:
        budget = self.recipe.front.budget
        if isinstance(budget, str):
            try:
                self.names |= names_in(budget) | fields_of(budget, "args")
            except TemplateError:
                return  # told by the budget's own check
        for name in self.recipe.arguments:
            if name not in self.names:
                yield self._warning("is never used", "arguments", name)

    def _budget(self) -> Iterator[Finding]:
        spends = PAID_TOOLS.intersection(self.recipe.tools)
        if self.recipe.front.budget is None:
            if spends:
                yield self._warning("there is none, so only the ceilings of whoever runs it hold", "budget")
            return
        try:
            budget = budget_of(self.recipe, sample_arguments(self.recipe))
        except RecipeError as error:
            yield _found(error)
        except InvalidArgumentError as error:
            yield self._error(error.message, "expect", "with")
        else:
            if spends and budget.credits <= 0:
                yield self._warning("is 0, so nothing can be made", "budget")

    def _expect(self, expect: Expect) -> Iterator[Finding]:
        if not self.recipe.steps:
            yield self._warning("there are no steps to rehearse", "expect")
        for name, argument in self.recipe.arguments.items():
            if argument.required and name not in expect.with_:
                yield self._warning(f"give the required argument {name!r} a value for the rehearsal", "expect", "with")

    def _error(self, message: str, *where: str | int) -> Finding:
        return _found(self.recipe.error(message, *where))

    def _warning(self, message: str, *where: str | int) -> Finding:
        return _found(self.recipe.error(message, *where), "warning")


def _plausible(argument: Argument | Column) -> Any:
    if argument.choices:
        return str(argument.choices[0])
    kind = argument.type
    if isinstance(argument, Argument) and kind == "list":
        return [_EXAMPLES.get(argument.of, one) for one in ("first", "second")]
    if isinstance(argument, Argument) and kind == "table":
        columns = {name: column for name, column in argument.columns.items() if column.required} or argument.columns
        return [{name: str(_plausible(column)) for name, column in columns.items()} or {"name": "first"}]
    if kind in ("integer", "number"):
        return int(argument.minimum or 1)
    return _EXAMPLES.get(kind, "a red paper boat on a calm pond")[: argument.max_length]


_EXAMPLES = {
    "boolean": "true",
    "model": "nano-banana-2",
    "ratio": "1:1",
    "voice": "Rachel",
    "path": "https://media.kubeez.com/images/example.png",
    "script": "Ann: The boat is red.",
}


def _sampled(value: Any, samples: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        parts = [part.strip() for part in value.split(",")]
        if any(part.startswith("sample:") for part in parts):
            return ", ".join(samples(part.removeprefix("sample:")) for part in parts)
    if isinstance(value, list):
        return [_sampled(one, samples) for one in value]
    if isinstance(value, dict):
        return {name: _sampled(one, samples) for name, one in value.items()}
    return value
