"""A recipe, with its arguments filled in, as a bash script with curl and jq against the REST API."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from dataclasses import dataclass, field
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from kubeez_mcp_local.cookbook.export.to_python import IMPLIED_TOOLS, NotExportableError, rest_call, steps_to_export
from kubeez_mcp_local.cookbook.format import TemplateError
from kubeez_mcp_local.cookbook.steps import (
    FILE_ARGUMENTS,
    Call,
    arguments_of,
    budget_of,
    calls_of,
    number,
    scope_for,
    wanted,
)
from kubeez_mcp_local.jobs.naming import language_of, name_of_call, own_name, portable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kubeez_mcp_local.cookbook.format import Recipe, Step
    from kubeez_mcp_local.operations import Operation

AT_ONCE = 5
MAX_CALLS = 200
_OUTPUTS = 4


def shell_script(recipe: Recipe, arguments: Mapping[str, Any]) -> str:
    """The source of the script.

    Raises:
        NotExportableError: No steps, too many calls, or a step that REST cannot do.
        RecipeError, TemplateError: The steps cannot be planned.
    """
    needs = steps_to_export(recipe)
    writer = _Writer(recipe, arguments, _nonce(recipe, arguments))
    for step in recipe.steps:
        try:
            writer.step(step)
        except TemplateError as error:
            if not needs[step.id]:
                raise
            reason = f"{step.id} calculates with the result of an earlier step, which the shell export cannot say."
            raise NotExportableError(reason, next_step="Export it to python.") from error
    runtime = (files("kubeez_mcp_local.cookbook.export") / "runtime.sh").read_text(encoding="utf-8")
    given = [f"#   {name}: {json.dumps(value, ensure_ascii=False)[:200]}" for name, value in arguments.items()]
    budget = budget_of(recipe, arguments).credits
    head = [
        "#!/usr/bin/env bash",
        f"# {recipe.title}",
        f"# {recipe.description}",
        "#",
        f"# Exported from the Kubeez recipe {recipe.name}, version {recipe.version}, for these arguments:",
        *given,
        "#",
        "# Needs bash, curl and jq, and file to upload. Set KUBEEZ_API_KEY; KUBEEZ_BASE_URL to rehearse in a sandbox.",
        "# When it is cut off, start it again: it goes on, and nothing is paid for twice.",
        "# shellcheck disable=SC2034 # not every result is used by a later step",
        "set -euo pipefail",
        f'out="${{OUTPUT_DIR:-{recipe.name}-files}}"',
        f'run="$out/.run-{writer.nonce}"',
        f'budget="${{MAX_CREDITS:-{number(budget).replace(",", "") if budget < 1e9 else 1_000_000}}}"',
    ]
    tail = ['echo "Done. $(spent) credits, files in $out."', 'rm -rf "$run"', ""]
    return "\n".join([*head, runtime.strip(), "", *writer.lines, *tail])


@dataclass(slots=True)
class _Writer:
    recipe: Recipe
    arguments: Mapping[str, Any]
    nonce: str
    lines: list[str] = field(default_factory=list)
    results: dict[str, Any] = field(default_factory=dict)
    uploads: dict[str, str] = field(default_factory=dict)
    stems: dict[str, str] = field(default_factory=dict)
    count: int = 0

    def step(self, step: Step) -> None:
        """Write the calls of one step: started together, at most five at once, then awaited."""
        calls = calls_of(self.recipe, step, scope_for(self.arguments, self.results))
        found: list[Any] = []
        chosen: list[tuple[str, Call, dict[str, Any]]] = []
        for call in calls:
            scope = scope_for(self.arguments, self.results, call)
            if not wanted(call, scope):
                found.append({"outputs": [], "songs": [], "files": []})
                continue
            name = step.id if step.for_each is None else f"{step.id}_{call.index + 1}"
            chosen.append((name, call, arguments_of(self.recipe, call, scope)))
            found.append(_marked(name, self.nonce))
        self.results[step.id] = found if step.for_each is not None else found[0]
        self.count += len(chosen)
        if self.count > MAX_CALLS:
            raise NotExportableError(f"More than {MAX_CALLS} calls make no good shell script; export to python.")
        self.lines.append(f"# {step.id}: {step.tool}" + ("" if chosen else " (left out)"))
        for first in range(0, len(chosen), AT_ONCE):
            self._batch(step, chosen[first : first + AT_ONCE])
        self.lines.append("")

    def _batch(self, step: Step, calls: list[tuple[str, Call, dict[str, Any]]]) -> None:
        if step.tool in IMPLIED_TOOLS:
            return
        if step.tool == "get_balance":
            self.lines += [f'r_{name}="$(read_json /v1/balance)"' for name, _, _ in calls]
            return
        if step.tool == "pick_model":
            for name, _, values in calls:
                self._body(values, f'r_{name}="$(pick_model ', ')"')
            return
        operation = rest_call(step.tool)
        route = operation.route
        if route.evidence == "assumed":
            self.lines.append(f"must_offer {route.path}")
        for name, call, values in calls:
            self.stems[name] = self._stem(call, values, operation)
            if values.pop("variant_count", 1) not in (None, 1):
                raise NotExportableError(f"{step.id} uses variant_count; write it as for_each to export it.")
            if operation.script == "dialogue" and "text" in values:
                voice = values.pop("voice", None)
                values["dialogue"] = [{"text": values.pop("text"), **({"voice": voice} if voice else {})}]
            at_most = "''" if step.at_most is None else f"{step.at_most:g}"
            self._body(values, f"start {name} {route.path} {shlex.quote(operation.model)} {at_most} ", "")
        for name, _, _ in calls:
            self.lines.append(f'r_{name}="$(finish {name} {route.kind} {shlex.quote(self.stems[name])})"')

    def _stem(self, call: Call, values: dict[str, Any], operation: Operation) -> str:
        """What its files are called, as in a run; what an earlier step has made is called as that step's files."""
        inputs = [value for name, value in values.items() if name in FILE_ARGUMENTS and value]
        first = str(inputs[0][0] if inputs and isinstance(inputs[0], list) else inputs[0]) if inputs else ""
        made = self._mark.search(first)
        named = portable(str(values.pop("name", None) or "")) or name_of_call(
            call.step.id,
            call.label,
            call.part,
            source=self.stems.get(made[1], "") if made else own_name(first) if first else "",
            makes="clip" if str(values.get("generation_type")).endswith("-to-video") else operation.makes,
            wordless=not any(values.get(name) for name in ("prompt", "text", "dialogue", "product_text")),
            language=language_of(values),
        )
        return f"{named}-{call.part}" if call.part else named

    def _body(self, values: dict[str, Any], before: str, after: str) -> None:
        """A line that hands a JSON body to a function of the script."""
        names: set[str] = set()
        for key, value in values.items():
            if key in FILE_ARGUMENTS:
                values[key] = [self._file(one) for one in value] if isinstance(value, list) else self._file(value)
        if isinstance(values.get("source_media_urls"), str):
            values["source_media_urls"] = [values["source_media_urls"]]
        program = self._mark.sub(lambda mark: _reference(mark, names), json.dumps(values, ensure_ascii=False, indent=2))
        options = "".join(f' --argjson {name} "${name}"' for name in sorted(names))
        self.lines.append(f'{before}"$(jq -n{options} {shlex.quote(program)})"{after}')

    def _file(self, value: Any) -> Any:
        if not isinstance(value, str) or value.startswith("https://") or self._mark.search(value):
            return value
        if value not in self.uploads:
            self.uploads[value] = f"upload_{len(self.uploads) + 1}"
            self.lines.append(f'r_{self.uploads[value]}="$(upload {shlex.quote(value)})"')
        return f"@{self.nonce}:{self.uploads[value]}|.url@"

    @property
    def _mark(self) -> re.Pattern[str]:
        return re.compile(rf"@{self.nonce}:([a-z0-9_]+)\|([^@]+)@")


def _reference(mark: re.Match[str], names: set[str]) -> str:
    names.add(f"r_{mark[1]}")
    return f"\\($r_{mark[1]}{mark[2]})"


def _nonce(recipe: Recipe, arguments: Mapping[str, Any]) -> str:
    """What sets our marks apart from the recipe's own text, which cannot contain its own hash."""
    given = json.dumps(dict(arguments), sort_keys=True, default=str)
    return hashlib.sha256((recipe.text + given).encode()).hexdigest()[:16]


def _marked(name: str, nonce: str) -> dict[str, Any]:
    """A result whose values are marks, to be replaced by references into the real one."""

    def mark(path: str) -> str:
        return f"@{nonce}:{name}|{path}@"

    outputs = [
        {key: mark(f".outputs[{number}].{key}") for key in ("id", "url", "duration", "width", "height", "media_type")}
        for number in range(_OUTPUTS)
    ]
    songs = [{key: mark(f".songs[{number}].{key}") for key in ("id", "title", "audio_url")} for number in range(2)]
    fields = {key: mark(f".{key}") for key in ("generation_id", "model", "credits", "vocals_url", "instrumental_url")}
    return {"status": "completed", "outputs": outputs, "songs": songs, "files": [], **fields}
