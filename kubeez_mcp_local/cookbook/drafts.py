"""New recipes: a small one to start from, that works as it is, and drafts made of finished jobs.

A draft has a step for each job, or one for several that are alike: what differs between those is a table of its own.
Inputs are chained, varying parts are arguments.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import yaml

from kubeez_mcp_local.cookbook.arguments import as_text
from kubeez_mcp_local.cookbook.format import MAX_FILE_BYTES
from kubeez_mcp_local.cookbook.steps import FILE_ARGUMENTS, PAID_TOOLS
from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.jobs.job import as_ordered, step_and_index
from kubeez_mcp_local.operations import media, operations
from kubeez_mcp_local.text import cut

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from kubeez_mcp_local.bridge import Bridge
    from kubeez_mcp_local.cookbook.format import Recipe
    from kubeez_mcp_local.jobs.job import Job
    from kubeez_mcp_local.settings import Settings


MAX_JOBS = 40
_MOST_ARGUMENTS = 40
_MOST_TEXTS = 25
"""Texts beyond these stay in the steps: a recipe has at most 40 arguments, and settings and files need some."""
# Settings a team varies; when several jobs agree on one it becomes one argument of the recipe.
_SETTINGS = {"model": "model", "aspect_ratio": "ratio", "resolution": "string", "duration": "string", "voice": "voice"}
_TEXTS = ("prompt", "text", "song_description", "lyrics", "product_text", "music_prompt", "sfx_prompt")
_NEVER = ("approval", "seed")


@dataclass(frozen=True, slots=True)
class RecordedJob:
    """A job as the recorder needs it: the tool that made it and its arguments as they were given.

    `outputs` are URLs and `files` paths, both in order; `credits` is what it cost, `None` when unknown. `step` is
    the step of a run that made it; empty without one.
    """

    id: str
    tool: str
    arguments: Mapping[str, Any]
    outputs: Sequence[str] = ()
    files: Sequence[str] = ()
    credits: float | None = None
    step: str = ""


def record_recipe(jobs: Sequence[RecordedJob], name: str, title: str = "", description: str = "") -> str:
    """The text of a recipe draft that makes what finished `jobs` made, in their order.

    Title and description are by default made from the name and the jobs. Raises `InvalidArgumentError`: no jobs, too
    many, a tool that recipes cannot repeat, or more text than a recipe holds.
    """
    if not jobs:
        raise InvalidArgumentError("job_ids", "name at least one finished job")
    if len(jobs) > MAX_JOBS:
        raise InvalidArgumentError("job_ids", f"{len(jobs)} jobs; at most {MAX_JOBS} fit into one recipe")
    for job in jobs:
        if job.tool not in PAID_TOOLS or job.tool == "regenerate":
            raise InvalidArgumentError("job_ids", f"{job.id} was made by {job.tool}, which a recipe cannot repeat")
    draft = _Draft(list(jobs))
    draft.collect()
    if len(draft.arguments) >= _MOST_ARGUMENTS:
        raise InvalidArgumentError("job_ids", "they start from more files than a recipe can ask for; choose fewer jobs")
    words = title or name.replace("-", " ").capitalize()
    text = draft.text(name, words, description or f"Makes what {len(jobs)} recorded jobs made, from your own input.")
    if len(text.encode()) > MAX_FILE_BYTES:
        raise InvalidArgumentError("job_ids", "their prompts are longer than one recipe may be; choose fewer jobs")
    return text


@dataclass(slots=True)
class _Draft:
    jobs: list[RecordedJob]
    arguments: dict[str, dict[str, Any]] = field(default_factory=dict)
    steps: list[dict[str, Any]] = field(default_factory=list)
    samples: dict[str, Any] = field(default_factory=dict)
    _made: dict[str, str] = field(default_factory=dict)
    _known: dict[tuple[str, str], str] = field(default_factory=dict)
    _shared: set[tuple[str, str]] = field(default_factory=set)

    def collect(self) -> None:
        """Work through the jobs in order, each once."""
        seen = Counter(
            (name, str(value)) for job in self.jobs for name, value in job.arguments.items() if name in _SETTINGS
        )
        self._shared = {pair for pair, count in seen.items() if count > 1 or len(self.jobs) == 1}
        for number, group in enumerate(_groups(self.jobs), start=1):
            step_id = f"step_{number}"
            if len(group) == 1:
                values = {name: self._value(step_id, group[0].tool, name, one) for name, one in _said(group[0]).items()}
                self.steps.append({"id": step_id, "tool": group[0].tool, "with": values})
            else:
                self.steps.append(self._loop(step_id, group))
            for index, job in enumerate(group):
                place = step_id if len(group) == 1 else f"{step_id}[{index}]"
                for position, made in [*enumerate(job.outputs), *enumerate(job.files)]:
                    self._made[made] = f"{{{{ steps.{place}.outputs[{position}].url }}}}"

    def _loop(self, step_id: str, group: Sequence[RecordedJob]) -> dict[str, Any]:
        """One step for jobs that are alike; what differs between them becomes the columns of a table."""
        said = [_said(job) for job in group]
        columns: dict[str, dict[str, Any]] = {}
        rows: list[dict[str, str]] = [{} for _ in group]
        values: dict[str, Any] = {}
        for name, first in said[0].items():
            found = [one[name] for one in said]
            if all(one == first for one in found):
                values[name] = self._value(step_id, group[0].tool, name, first)
            elif name in FILE_ARGUMENTS:
                many = isinstance(first, (list, tuple))
                columns[name] = {"type": "path", "required": True}
                values[name] = [f"{{{{ item.{name} }}}}"] if many else f"{{{{ item.{name} }}}}"
                for row in rows:
                    row[name] = f"sample:{_kind_of(group[0].tool)}"
            else:
                before, after = _around([str(one) for one in found]) if name in _TEXTS else ("", "")
                kind = {} if name not in _SETTINGS or _SETTINGS[name] == "string" else {"type": _SETTINGS[name]}
                columns[name] = {**kind, "required": True}
                values[name] = f"{_escaped_text(before)}{{{{ item.{name} }}}}{_escaped_text(after)}"
                for row, one in zip(rows, found, strict=True):
                    row[name] = str(one)[len(before) : len(str(one)) - len(after)]
        described = {"description": "One row for each result", "type": "table", "required": True, "columns": columns}
        reference = self._argument(("rows", step_id), "rows", described)
        self.samples[list(self.arguments)[-1]] = rows
        return {"id": step_id, "tool": group[0].tool, "for_each": reference, "with": values}

    def _value(self, step_id: str, tool: str, name: str, value: Any) -> Any:
        if name in FILE_ARGUMENTS:
            many = isinstance(value, (list, tuple))
            return [self._file(tool, str(one)) for one in value] if many else self._file(tool, str(value))
        if name in _TEXTS and isinstance(value, str):
            return self._text(step_id, name, value)
        if name == "dialogue":
            lines = [dict(line) for line in value]
            return [
                {**_escaped(line), "text": self._text(step_id, f"line_{number}", str(line.get("text", "")))}
                for number, line in enumerate(lines, start=1)
            ]
        if (name, str(value)) in self._shared:
            default = str(value)
            described = {"description": name.replace("_", " ").capitalize(), "default": default}
            kind = {} if _SETTINGS[name] == "string" else {"type": _SETTINGS[name]}
            return self._argument((name, default), name, described | kind)
        return _escaped(value)

    def _text(self, step_id: str, name: str, value: str) -> Any:
        """An argument with `value` as its default; the words themselves once a recipe has as many as it may have."""
        if len(self.arguments) >= _MOST_TEXTS and (name, value) not in self._known:
            return _escaped(value)
        words = f"{name.replace('_', ' ').capitalize()} of {step_id.replace('_', ' ')}"
        longest = max(4000, min(len(value), 20_000))
        described = {"description": words, "default": value, "max_length": longest}
        return self._argument((name, value), f"{step_id}_{name}", described)

    def _file(self, tool: str, value: str) -> str:
        """A result of an earlier job by reference; anything else is asked for, so that no path gets into the draft."""
        if value in self._made:
            return self._made[value]
        described = {"description": "Picture, clip or sound to start from", "type": "path", "required": True}
        before = len(self.arguments)
        reference = self._argument(("file", value), "input", described)
        kind = _kind_of(tool)
        if len(self.arguments) > before and kind != "video":
            self.samples[list(self.arguments)[-1]] = f"sample:{kind}"
        return reference

    def _argument(self, key: tuple[str, str], name: str, described: dict[str, Any]) -> str:
        """A reference to the argument for `key`, declared when it is new; names that are taken get a number."""
        if key not in self._known:
            free, number = name, 2
            while free in self.arguments:
                free, number = f"{name}_{number}", number + 1
            self.arguments[free] = described
            self._known[key] = free
        return f"{{{{ args.{self._known[key]} }}}}"

    def text(self, name: str, title: str, description: str) -> str:
        spent = sum(job.credits or 0 for job in self.jobs)
        described = {"description": "Ceiling for the whole recipe, in credits", "type": "integer", "minimum": 1}
        self.arguments["max_credits"] = described | {"default": int(max(spent * 1.25, 1)) + 1}
        front: dict[str, Any] = {
            "name": name,
            "title": title,
            "description": description,
            "version": 1,
            "tags": _Flow(["recorded"]),
            "arguments": self.arguments,
            "budget": "{{ max_credits }}",
            "tools": _Flow(["estimate", *dict.fromkeys(job.tool for job in self.jobs), "wait_for_generation"]),
            "steps": self.steps,
            "expect": {"count": len(self.jobs), **({"with": self.samples} if self.samples else {})},
        }
        head = yaml.dump(front, Dumper=_Block, sort_keys=False, allow_unicode=True, width=110)
        return f"---\n{head}---\n{self._body()}"

    def _body(self) -> str:
        lines = ["Repeat this work with my own input, step by step, in this order.", ""]
        for number, step in enumerate(self.steps, start=1):
            each = f"For each row of {_told(step['for_each'])}, call" if "for_each" in step else "Call"
            lines.append(f"{number}. {each} `{step['tool']}` with:")
            for name, value in step["with"].items():
                lines.append(f"   - `{name}`: {_told(value)}")
        used = [f"- {name}: {_shown(name, one)}" for name, one in self.arguments.items()]
        lines += ["", "What I give:", "", *used, ""]
        lines.append("Price every step with `estimate` first, tell me the sum, and wait for my yes.")
        return "\n".join(lines) + "\n"


class _Flow(list[str]):
    """A list of a few words that stands on one line."""


class _Block(yaml.SafeDumper):
    """Writes YAML as people do: blocks, long texts folded, lines of a text on lines of their own."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _text_node(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else ">" if len(text) > _FOLDED_FROM else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_FOLDED_FROM = 90
_Block.add_representer(str, _text_node)
_Block.add_representer(_Flow, lambda dumper, words: dumper.represent_sequence("tag:yaml.org,2002:seq", words, True))


def _said(job: RecordedJob) -> dict[str, Any]:
    """The arguments of a job that another one like it would have."""
    return {name: one for name, one in job.arguments.items() if name not in _NEVER and one not in (None, "", [], {})}


def _groups(jobs: Sequence[RecordedJob]) -> list[list[RecordedJob]]:
    """Jobs that follow each other and are alike, together."""
    groups: list[list[RecordedJob]] = []
    made: set[str] = set()
    for job in jobs:
        if groups and _alike(groups[-1][0], job, made) and job.step == groups[-1][0].step:
            groups[-1].append(job)
        else:
            groups.append([job])
        made |= {*job.outputs, *job.files}
    return groups


def _alike(first: RecordedJob, job: RecordedJob, made: Collection[str]) -> bool:
    """Whether one step can make both: the same tool and arguments, of which only single values differ."""
    one, other = _said(first), _said(job)
    if first.tool != job.tool or one.keys() != other.keys() or one == other:
        return False
    for name, value in one.items():
        if value == other[name]:
            continue
        pair = [value, other[name]]
        if name in FILE_ARGUMENTS:
            files = [list(x) if isinstance(x, (list, tuple)) else [x] for x in pair]
            if len(files[0]) != 1 or len(files[1]) != 1 or {str(files[0][0]), str(files[1][0])} & set(made):
                return False
        elif not all(isinstance(x, str) for x in pair) or type(pair[0]) is not type(pair[1]):
            return False
    return True


def _around(texts: Sequence[str]) -> tuple[str, str]:
    """What all texts begin and end with, in whole words, where that is long enough to be meant."""
    before = _common(texts)
    before = before[: before.rfind(" ") + 1]
    rest = [text[len(before) :] for text in texts]
    after = _common([text[::-1] for text in rest])[::-1]
    after = after[after.find(" ") :] if " " in after else ""
    if any(len(text) <= len(after) for text in rest):
        after = ""
    return (before if len(before) >= _SHARED else ""), (after if len(after) >= _SHARED else "")


def _common(texts: Sequence[str]) -> str:
    """What all texts begin with."""
    differs = (at for at, chars in enumerate(zip(*texts, strict=False)) if len(set(chars)) > 1)
    return texts[0][: next(differs, min(map(len, texts)))]


_SHARED = 12


def _kind_of(tool: str) -> str:
    """The kind of file that a tool works on."""
    operation = operations().get(tool)
    return next(iter(operation.files.values()))[0] if operation and operation.files else "image"


def _shown(name: str, described: Mapping[str, Any]) -> str:
    """An argument in the body; of a table the number of its rows."""
    return f"{{{{ {name} | length }}}} rows" if described.get("type") == "table" else f"{{{{ {name} }}}}"


def fixed_in(recipe: Recipe) -> list[str]:
    """What a recipe's steps keep the same every time, such as `generation_type: text-to-image`; each once."""
    found: dict[str, None] = {}
    for step in recipe.steps:
        for name, value in step.with_.items():
            words = [value] if isinstance(value, str) else value
            if isinstance(words, list) and all(isinstance(one, str) for one in words):
                literal = " … ".join(filter(None, (one.strip() for one in _TEMPLATE.split(" ".join(words)))))
                literal = _QUOTED.sub("", literal).strip()
            else:
                literal = as_text(value)
            if literal:
                found[f"{name}: {cut(literal, 80)}"] = None
    return list(found)


_TEMPLATE = re.compile(r"\{\{.*?\}\}", re.S)
_QUOTED = re.compile(r"^[\s…]+$")


def _escaped_text(text: str) -> str:
    """A piece of a template that stands for itself."""
    return "{{ " + json.dumps(text, ensure_ascii=False) + " }}" if "{" in text else text


def _escaped(value: Any) -> Any:
    """A literal that templates leave alone."""
    if isinstance(value, str) and "{" in value:
        return "{{ " + json.dumps(value, ensure_ascii=False) + " }}"
    if isinstance(value, dict):
        return {name: _escaped(one) for name, one in value.items()}
    return [_escaped(one) for one in value] if isinstance(value, (list, tuple)) else value


def _spoken(entry: Any) -> str:
    """One entry of a list; a line of dialogue as `voice: text`."""
    return ": ".join(str(part) for part in reversed(list(entry.values()))) if isinstance(entry, dict) else str(entry)


def _told(value: Any) -> str:
    """A step's value in the words of the body: references to results are described, arguments filled in."""
    text = ", ".join(map(_spoken, value)) if isinstance(value, list) else as_text(value)
    parts = []
    for piece in text.split("{{ "):
        inner, found, rest = piece.partition(" }}")
        if not found:
            parts.append(piece)
        elif inner.startswith("args."):
            parts.append(f"my `{inner.removeprefix('args.')}`{rest}")
        elif inner.startswith("item."):
            parts.append(f"its `{inner.removeprefix('item.')}`{rest}")
        elif inner.startswith("steps."):
            parts.append(f"the result of {inner.split('.')[1].replace('_', ' ')}{rest}")
        else:
            parts.append(f"{{{{ {inner} }}}}{rest}")
    return "".join(parts)


_NAME = re.compile(r"[a-z0-9](?:-?[a-z0-9])*\Z")
_STARTER = """---
name: {name}
title: {title}
description: One picture of one subject, in the style you name.
version: 1
tags: [image]
arguments:
  subject:
    description: What the picture shows, in one or two sentences
    required: true
    max_length: 1000
  style:
    description: How it looks
    choices: [photograph, watercolour, flat illustration]
    default: photograph
  aspect_ratio:
    description: Frame of the picture
    type: ratio
    choices: ["1:1", "4:5", "16:9"]
    default: "1:1"
  max_credits:
    description: Ceiling for the whole recipe, in credits
    type: integer
    minimum: 1
    maximum: 200
    default: 20
budget: "{{{{ max_credits }}}}"
tools: [estimate, generate_media, wait_for_generation, view_media]
steps:
  - id: picture
    tool: generate_media
    with:
      model: nano-banana-2
      aspect_ratio: "{{{{ args.aspect_ratio }}}}"
      prompt: "{{{{ args.subject | sentence }}}} Style: {{{{ args.style }}}}. No text, no watermark."
expect:
  files: 1
  count: 1
  ratio: "{{{{ args.aspect_ratio }}}}"
  credits: 20
  with:
    subject: A lighthouse on a rocky coast at dawn
---
Make one picture for me.

**Subject:** {{{{ subject }}}}
**Style:** {{{{ style }}}}, framed {{{{ aspect_ratio }}}}.

1. Write the prompt: subject, setting, light, framing, mood. Show it to me.
2. Price it with `estimate` and wait for my yes.
3. Make it with `generate_media`, wait with `wait_for_generation`, and look at it with `view_media`.
4. Show me the file. Say in one sentence what you would change, with the price of another try.
"""


def check_name(name: str) -> str:
    """`name`, if a recipe can have it; else `InvalidArgumentError`."""
    if not _NAME.match(name) or len(name) > 64:
        raise InvalidArgumentError("name", f"{name!r}: use up to 64 lower-case letters, digits and single hyphens")
    return name


def starter(name: str, title: str = "") -> str:
    """The text of a new recipe called `name`."""
    words = " ".join(title.split())[:80] or name.replace("-", " ").capitalize()
    return _STARTER.format(name=check_name(name), title=json.dumps(words))  # quoted, it means just itself in YAML


def write_starter(folder: Path, name: str, title: str = "") -> Path:
    """Write a new recipe into `folder`; raises as `check_name` and `write_recipe`."""
    return write_recipe(folder, name, starter(name, title))


def write_recipe(folder: Path, name: str, text: str) -> Path:
    """Write the text of a recipe as a new file; an existing one is never replaced.

    Raises `InvalidArgumentError` if the name is taken, or the folder cannot be written to.
    """
    path = folder / f"{name}.md"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except FileExistsError:
        raise InvalidArgumentError("name", f"{path} is there already; choose another name") from None
    except OSError as error:
        raise InvalidArgumentError("folder", f"{folder} cannot be written to: {error.strerror}") from None
    return path


def recipe_folder(bridge: Bridge) -> Path:
    """Where new recipes go: the last folder of the setting `recipes`, else the user's own."""
    settings = bridge.settings
    return settings.recipes[-1] if settings.recipes else settings.own_recipes


def refuse_hiding(settings: Settings, name: str) -> None:
    """Refuse a new recipe that would hide one of the same name, in the pack or in another folder; blocking."""
    from kubeez_mcp_local.cookbook.library import Library

    entry = Library.of(settings.recipes, settings.state_dir, own=settings.own_recipes).index().entries.get(name)
    if entry is not None and entry.origin.path is not None:
        raise InvalidArgumentError("name", f"{name!r} is taken: {entry.origin.path}; choose another name")


async def save_draft(
    bridge: Bridge,
    job_ids: Sequence[str],
    name: str,
    *,
    title: str = "",
    description: str = "",
    folder: Path,
) -> Path:
    """Write a recipe that makes again what jobs of the ledger made.

    `job_ids` are ids or their unambiguous beginnings, in any order.

    Raises:
        InvalidArgumentError: A name that is taken or that no recipe can have; jobs that are not finished or cannot be
            repeated.
        UnknownJobError: The ledger has no such job.
        RecipeError: What came out is no recipe, such as one with an endless title.
    """
    from kubeez_mcp_local.cookbook.format import Origin
    from kubeez_mcp_local.cookbook.parse import parse_recipe

    check_name(name)
    jobs = {job.id: job for job in [await bridge.ledger.get(wanted) for wanted in job_ids]}
    unfinished = [job.generation_id or job.id for job in jobs.values() if job.state.value != "completed"]
    if unfinished:
        raise InvalidArgumentError("job_ids", f"{', '.join(unfinished)}: only completed jobs can be recorded.")
    text = record_recipe([_recorded(job) for job in as_ordered(jobs.values())], name, title, description)
    parse_recipe(text, Origin("draft", "recorded jobs"))
    return await anyio.to_thread.run_sync(write_recipe, folder, name, text)


def _recorded(job: Job) -> RecordedJob:
    urls = [str(output["url"]) for answer in job.results for output in answer.get("outputs") or () if output.get("url")]
    return RecordedJob(
        id=job.generation_id or job.id,
        tool=media.ROUTE.name if job.tool == "regenerate" else job.tool,
        arguments=job.arguments,
        outputs=urls,
        files=[file.path for file in job.files],
        credits=job.charged if job.charged is not None else job.quote_credits,
        step=step_and_index(job.labels.call)[0],
    )
