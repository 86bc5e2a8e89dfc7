"""Exported scripts really run, against the sandbox, and pay for nothing twice."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kubeez_mcp_local.cookbook.arguments import check_arguments
from kubeez_mcp_local.cookbook.check import Samples, sample_arguments
from kubeez_mcp_local.cookbook.export.documents import export_recipe, write_files
from kubeez_mcp_local.cookbook.export.python_script import python_script
from kubeez_mcp_local.cookbook.export.runtime import is_media
from kubeez_mcp_local.cookbook.export.to_python import NotExportableError
from kubeez_mcp_local.cookbook.library import Library
from kubeez_mcp_local.cookbook.steps import FILE_ARGUMENTS
from kubeez_mcp_local.cookbook.templates import TO_EXPORT
from kubeez_mcp_local.operations import operations, routes
from tests.cookbook.exporting import (
    PACK,
    SCRIPTS,
    OneCreditEach,
    RecordingApi,
    given_options,
    needs_shell_tools,
    paid_calls,
    python_command,
    recipe_of,
    run,
)
from tests.recipe_tools import FakeTools, no_sleep, run_of
from tests.sandbox_server import KEY, RunningSandbox

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--motifs", "\n".join("abcdefghijk")], "--motifs: allowed: 1 to 10 entries"),
        (["--motifs", "a", "--max-credits", "0"], "--max-credits: allowed: 1 to 500"),
        (["--motifs", "a", "--keep", "x" * 501], "--keep: allowed: at most 500 characters"),
    ],
)
def test_a_python_script_refuses_what_the_recipe_refuses(options: list[str], complaint: str, tmp_path: Path) -> None:
    [script] = write_files(tmp_path, export_recipe(Library.of().get("brand-series"), "python", {}))
    refused = run([sys.executable, str(script), "--reference", "https://example.com/a.png", *options], None, tmp_path)
    assert refused.returncode == 2
    assert complaint in refused.stderr


def test_a_python_script_names_what_it_needs() -> None:
    """As PEP 723 has it, so that `uv run` fetches what this package has tested it with."""
    (script,) = export_recipe(Library.of().get("brand-series"), "python", {}).values()
    (block,) = re.findall(r"^# /// script\n((?:# .*\n)+)# ///$", script, re.MULTILINE)
    needs = tomllib.loads(block.replace("# ", ""))
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
    assert needs["requires-python"] == project["requires-python"]
    assert needs["dependencies"] == [
        one.replace("[socks]", "") for one in project["dependencies"] if one.startswith("httpx[")
    ]


RUN = [
    ("product-photo-set", "python"),
    ("video-with-captions", "python"),
    pytest.param("podcast-intro", "curl", marks=needs_shell_tools),
]


NAMES = {  # as a run of the recipe calls them
    "product-photo-set": [f"shots-{shot}.png" for shot in ("packshot", "detail", "in-use", "flat-lay", "seasonal")],
    "video-with-captions": ["sample-1-captioned.mp4"],
    "podcast-intro": ["theme-1-of-2.mp3", "theme-2-of-2.mp3", "welcome.mp3"],
}


@pytest.mark.parametrize(("name", "form"), RUN)
def test_recipes_of_the_pack_run_as_scripts(name: str, form: str, sandbox: RunningSandbox, tmp_path: Path) -> None:
    recipe = Library.of().get(name)
    expect = recipe.front.expect
    assert expect is not None
    arguments = sample_arguments(recipe, Samples(tmp_path / "samples"))
    [script] = write_files(tmp_path, export_recipe(recipe, form, arguments))
    python = [sys.executable, str(script), "--output", str(tmp_path / "made"), "--poll-seconds", "0.05"]
    command = [*python, *given_options(recipe, arguments)] if form == "python" else ["bash", str(script)]

    done = run(command, sandbox, tmp_path)

    assert done.returncode == 0, done.stderr
    made = list((tmp_path / "made").iterdir())
    assert len(made) >= (expect.files or 0)
    assert all(path.stat().st_size > 100 for path in made)
    assert sorted(path.name for path in made) == sorted(NAMES[name])
    assert paid_calls(sandbox) == expect.count
    assert KEY not in script.read_text(encoding="utf-8")


@pytest.mark.anyio
@pytest.mark.parametrize("name", PACK)
async def test_every_script_asks_of_the_api_what_its_recipe_asks_of_the_tools(
    name: str, tools: FakeTools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Library.of().get(name)
    arguments = sample_arguments(recipe, Samples(tmp_path / "samples"))
    tools.prices = OneCreditEach()
    report = await run_of(recipe, arguments, tmp_path).carry_out(tools, tools, parallel=1, sleep=no_sleep)
    assert report.status == "completed", report.summary()
    api = RecordingApi()

    assert api.carry_out(python_script(recipe), given_options(recipe, arguments), tmp_path / "made", monkeypatch) == 0

    asked = [(routes()[tool].path, tool, values) for tool, values, run in tools.calls if run is not None]
    asked.sort(key=lambda call: (call[0], str(call[2].get("prompt") or call[2].get("text"))))
    paid = sorted(api.paid, key=lambda call: (call[0], str(call[1].get("prompt") or spoken(call[1]))))
    assert [path for path, _ in paid] == [path for path, _, _ in asked]
    for (_, tool, values), (_, body) in zip(asked, paid, strict=True):
        told = dict(values)
        if "text" in told:
            told["dialogue"] = [{name: told.pop(name) for name in ("text", "voice") if name in told}]
        if "pick_model" in recipe.tools:
            del told["model"]
        for argument in FILE_ARGUMENTS & told.keys():
            assert len(_listed(body[argument])) == len(_listed(told.pop(argument)))
        if tool == "generate_media":
            told = {name: value for name, value in told.items() if name not in ("duration", "sound")}
        assert {name: body.get(name) for name in told} == told


def spoken(body: dict[str, Any]) -> object:
    lines = body.get("dialogue") or [{}]
    return lines[0].get("text") if len(lines) == 1 else None


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


@needs_shell_tools
@pytest.mark.parametrize("name", PACK)
def test_every_shell_script_is_one(name: str, tmp_path: Path) -> None:
    recipe = Library.of().get(name)
    try:
        files = export_recipe(recipe, "curl", sample_arguments(recipe, Samples(tmp_path / "samples")))
    except NotExportableError:
        assert name == "check-balance-and-choose"
        return
    [script] = write_files(tmp_path, files)
    assert subprocess.run(["bash", "-n", str(script)], capture_output=True, check=False).stderr == b""
    started = {step.id for step in recipe.steps if step.tool in operations()}
    text = script.read_text("utf-8")
    assert {step for step in started if f"start {step}" in text or f'start "{step}' in text} == started


def command_of_tea(form: str, plain: str, folder: Path) -> list[str]:
    """Starts the plain recipe as a script, about tea."""
    recipe = recipe_of(plain)
    if form == "python":
        return python_command(recipe, folder, "--subject", "tea")
    [script] = write_files(folder, export_recipe(recipe, form, check_arguments(recipe.front, {"subject": "tea"})))
    return ["bash", str(script)]


@pytest.mark.parametrize("form", SCRIPTS)
def test_a_script_waits_when_the_api_is_busy_and_pays_once(
    form: str, plain: str, sandbox: RunningSandbox, tmp_path: Path
) -> None:
    sandbox.control.fault("POST /v1/generate/media", "status", status=429, retry_after=0)
    sandbox.control.fault("GET /v1/generate/media/*", "status", status=503, retry_after=0)
    sandbox.control.knobs(early_404=2, null_urls=2, cdn_404=1)
    done = run(command_of_tea(form, plain, tmp_path), sandbox, tmp_path)

    assert done.returncode == 0, done.stderr
    assert paid_calls(sandbox) == 1


@pytest.mark.parametrize("form", SCRIPTS)
def test_a_script_never_repeats_a_payment_whose_fate_is_unknown(
    form: str, plain: str, sandbox: RunningSandbox, tmp_path: Path
) -> None:
    sandbox.control.fault("POST /v1/generate/media", "cut_after_acceptance")
    done = run(command_of_tea(form, plain, tmp_path), sandbox, tmp_path)

    assert done.returncode == 1
    assert "may have been charged" in done.stderr
    assert paid_calls(sandbox) == 1


def test_a_script_that_was_killed_goes_on_and_pays_once(plain: str, sandbox: RunningSandbox, tmp_path: Path) -> None:
    sandbox.control.knobs(speed=0.001)
    environment = {**os.environ, "KUBEEZ_API_KEY": KEY, "KUBEEZ_BASE_URL": sandbox.url}
    command = python_command(recipe_of(plain), tmp_path, "--subject", "tea")
    with subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as cut_off:
        assert cut_off.stdout is not None
        assert "started" in cut_off.stdout.readline()
        cut_off.kill()

    sandbox.control.knobs(speed=5_000)
    done = run([*command, "--max-credits", "50"], sandbox, tmp_path)  # a larger budget is still the same run

    assert done.returncode == 0, done.stderr
    assert "Going on with the run" in done.stdout
    assert "Done. 14 credits" in done.stdout
    assert paid_calls(sandbox) == 1
    assert [path.suffix for path in (tmp_path / "made").iterdir()] == [".png"]


@needs_shell_tools
def test_a_shell_script_that_was_killed_goes_on_and_pays_once(
    plain: str, sandbox: RunningSandbox, tmp_path: Path
) -> None:
    command = command_of_tea("curl", plain, tmp_path)
    sandbox.control.knobs(speed=0.001)
    environment = {**os.environ, "KUBEEZ_API_KEY": KEY, "KUBEEZ_BASE_URL": sandbox.url, "OUTPUT_DIR": "made"}
    with subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as cut_off:
        assert cut_off.stderr is not None
        assert "started" in cut_off.stderr.readline()
        cut_off.kill()

    sandbox.control.knobs(speed=5_000)
    sandbox.control.fault("GET /v1/models", "status", status=503, retry_after=0)
    done = run(command, sandbox, tmp_path)

    assert done.returncode == 0, done.stderr
    assert "going on with" in done.stderr
    assert "Done. 14 credits" in done.stdout
    assert paid_calls(sandbox) == 1
    assert [path.suffix for path in (tmp_path / "made").iterdir()] == [".png"]


def test_a_finished_script_makes_another_beside_the_first(plain: str, sandbox: RunningSandbox, tmp_path: Path) -> None:
    command = python_command(recipe_of(plain), tmp_path, "--subject", "tea")
    for _ in range(2):
        assert run(command, sandbox, tmp_path).returncode == 0
    assert paid_calls(sandbox) == 2
    assert len(list((tmp_path / "made").iterdir())) == 2


@pytest.mark.parametrize("kind", ["cut_after_acceptance", "cut_before_acceptance", "status"])
def test_a_payment_of_unknown_fate_is_not_repeated_by_the_next_start_either(
    plain: str, sandbox: RunningSandbox, tmp_path: Path, kind: str
) -> None:
    sandbox.control.fault("POST /v1/generate/media", kind, **({"status": 500} if kind == "status" else {}))
    command = python_command(recipe_of(plain), tmp_path, "--subject", "tea")
    for _ in range(2):
        done = run(command, sandbox, tmp_path)
        assert done.returncode == 1
        assert "may have been charged" in done.stderr
    assert len(sandbox.control.books()["accounts"][0]["jobs"]) <= 1

    [record] = (tmp_path / "made").glob("run-*.json")
    record.write_text("{}", encoding="utf-8")  # the user looked, and nothing was there
    assert run(command, sandbox, tmp_path).returncode == 0


def test_a_refused_payment_is_sent_again_by_the_next_start(plain: str, sandbox: RunningSandbox, tmp_path: Path) -> None:
    sandbox.control.fault("POST /v1/generate/media", "status", status=400)
    command = python_command(recipe_of(plain), tmp_path, "--subject", "tea")
    refused = run(command, sandbox, tmp_path)
    assert (refused.returncode, "The same command goes on" in refused.stderr) == (1, True)
    assert run(command, sandbox, tmp_path).returncode == 0
    assert paid_calls(sandbox) == 1


@pytest.mark.parametrize(
    ("options", "model"),
    [
        ([], "seedance-1-5-pro-480p-4s"),
        (["--seconds", "8"], "seedance-1-5-pro-480p-8s"),
        (["--sound"], "seedance-1-5-pro-480p-4s-audio"),
    ],
)
def test_a_script_picks_the_model_that_the_recipe_would(
    options: list[str], model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api, script = RecordingApi(), python_script(Library.of().get("pick-a-video-model"))
    assert api.carry_out(script, ["--shot", "A boat", *options], tmp_path, monkeypatch) == 0
    assert [body["model"] for _, body in api.paid] == [model]


@needs_shell_tools
def test_a_shell_script_picks_the_model_that_the_recipe_would(sandbox: RunningSandbox, tmp_path: Path) -> None:
    recipe = Library.of().get("pick-a-video-model")
    given = check_arguments(recipe.front, {"shot": "A boat", "sound": True, "seconds": 4})
    [script] = write_files(tmp_path, export_recipe(recipe, "curl", given))
    done = run(["bash", str(script)], sandbox, tmp_path)
    assert done.returncode == 0, done.stderr
    assert [job["model"] for job in sandbox.control.account()["jobs"]] == ["seedance-1-5-pro-480p-4s-audio"]


@pytest.mark.parametrize(("balance", "most"), [(1000, 40), (80, 40), (1000, 13)])
def test_a_script_chooses_within_the_balance_as_the_recipe_does(
    balance: int, most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api, script = RecordingApi(balance), python_script(Library.of().get("check-balance-and-choose"))
    options = ["--idea", "A teapot", "--max-credits", str(most)]
    assert api.carry_out(script, options, tmp_path, monkeypatch) == 0
    limit = min(balance - 50, most)
    prices = {
        row["model_id"]: row["cost_per_generation"]
        for row in api.rows
        if "text-to-image" in row["generation_types"]
        and "16:9" in row["capabilities"].get("aspect_ratio_options", [])
        and row["cost_per_generation"] <= limit
    }
    assert [prices[body["model"]] for _, body in api.paid] == [max(prices.values())]


def test_what_the_user_gives_a_script_is_complained_of_in_words(sandbox: RunningSandbox, tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    for name, options, code in (
        ("remove-backgrounds", ["--pictures", missing], 1),
        ("campaign-from-csv", ["--rows", missing, "--style", "plain"], 2),
        ("campaign-from-csv", ["--rows", "name,idea\n", "--style", "plain"], 2),
    ):
        done = run(python_command(Library.of().get(name), tmp_path, *options), sandbox, tmp_path)
        assert done.returncode == code
        assert "Traceback" not in done.stderr
        (tmp_path / f"{name}.py").unlink()
    assert sandbox.control.books()["accounts"] == [] or paid_calls(sandbox) == 0


def test_a_script_sends_its_key_only_over_https_or_to_this_machine(plain: str, tmp_path: Path) -> None:
    environment = {**os.environ, "KUBEEZ_API_KEY": KEY, "KUBEEZ_BASE_URL": "http://127.0.0.1.example.com"}
    command = python_command(recipe_of(plain), tmp_path, "--subject", "tea")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "KUBEEZ_BASE_URL must be https, or on this machine.\n")


@pytest.mark.parametrize("function", TO_EXPORT, ids=lambda function: function.__name__)
def test_a_filter_that_scripts_carry_stands_alone(function: Callable[..., Any]) -> None:
    needed = set(inspect.getclosurevars(function).globals)
    assert needed <= {"re"}, "a script has none of these"


def test_a_script_carries_only_what_it_calls(plain: str) -> None:
    source = python_script(recipe_of(plain))
    assert "def media(" in source
    assert not [name for name in ("dialogue", "plain", "pick_model", "once", "fits") if f"def {name}(" in source]


def test_a_script_stops_at_its_budget(plain: str, sandbox: RunningSandbox, tmp_path: Path) -> None:
    [script] = write_files(tmp_path, export_recipe(recipe_of(plain), "python", {}))
    command = [sys.executable, str(script), "--subject", "tea", "--max-credits", "5"]
    done = run(command, sandbox, tmp_path)
    assert done.returncode == 1
    assert "costs 14 credits" in done.stderr
    assert sandbox.control.books()["accounts"] == [] or paid_calls(sandbox) == 0


def test_a_script_without_a_key_says_so(plain: str, tmp_path: Path) -> None:
    [script] = write_files(tmp_path, export_recipe(recipe_of(plain), "python", {}))
    done = subprocess.run(
        [sys.executable, str(script), "--subject", "tea"], capture_output=True, text=True, check=False, env={"PATH": ""}
    )
    assert (done.returncode, done.stderr) == (2, "Set KUBEEZ_API_KEY to your key.\n")


def test_an_exported_script_takes_no_page_for_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"", b"  <!DOCTYPE html>", b'{"detail": "gone"}', b"MZ\x90", b"#!/bin/sh", b"\x7fELF"):
        path.write_bytes(content)
        assert not is_media(path)
    for content in (b"\x89PNG\r\n", b"\0\0\0\x18ftypisom", b"ID3\4", b"RIFF"):
        path.write_bytes(content)
        assert is_media(path)
