"""A recipe in other forms: scripts really run, against the sandbox; the rest reads as its program wants."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from kubeez_mcp_local.cookbook.arguments import check_arguments
from kubeez_mcp_local.cookbook.check import sample_arguments
from kubeez_mcp_local.cookbook.export import FORMATS, export_recipe, write_files
from kubeez_mcp_local.cookbook.export.calls_rest import REST_CALLS, NotExportableError
from kubeez_mcp_local.cookbook.export.python_script import python_script
from kubeez_mcp_local.cookbook.format import Origin, Recipe
from kubeez_mcp_local.cookbook.library import Library
from kubeez_mcp_local.cookbook.parse import parse_recipe
from kubeez_mcp_local.cookbook.samples import Samples
from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.rest.routes import ROUTES
from tests.sandbox_server import KEY, RunningSandbox, running_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PACK = list(Library.of().index().entries)


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[RunningSandbox]:
    with running_sandbox(tmp_path / "state", speed=5_000) as running:
        yield running


def recipe_of(text: str) -> Recipe:
    return parse_recipe(text, Origin("draft", "a test"), file="plain.md")


def given_options(recipe: Recipe, arguments: dict[str, Any]) -> list[str]:
    """The arguments of a rehearsal as options of the exported script."""
    options: list[str] = []
    for name, argument in recipe.arguments.items():
        value, option = arguments[name], f"--{name.replace('_', '-')}"
        if value in (None, []):
            continue
        if argument.type == "boolean":
            options.append(option if value else option.replace("--", "--no-", 1))
        elif argument.type == "table":
            rows = [",".join(value[0])] + [",".join(f'"{cell}"' for cell in row.values()) for row in value]
            options += [option, "\n".join(rows)]
        else:
            options += [option, "\n".join(value) if isinstance(value, list) else str(value)]
    return options


def run(command: list[str], sandbox: RunningSandbox | None, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "KUBEEZ_API_KEY": KEY, "POLL_SECONDS": "0.1", "OUTPUT_DIR": str(folder / "made")}
    environment["KUBEEZ_BASE_URL"] = sandbox.url if sandbox else "http://127.0.0.1:9"
    return subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


def paid_calls(sandbox: RunningSandbox) -> int:
    return len(sandbox.control.account()["jobs"])


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


@pytest.mark.parametrize("name", PACK)
def test_every_recipe_of_the_pack_runs_as_a_python_script(name: str, sandbox: RunningSandbox, tmp_path: Path) -> None:
    recipe = Library.of().get(name)
    expect = recipe.front.expect
    assert expect is not None
    arguments = sample_arguments(recipe, Samples(tmp_path / "samples"))
    [script] = write_files(tmp_path, export_recipe(recipe, "python", arguments))

    command = [sys.executable, str(script), "--output", str(tmp_path / "made"), "--poll-seconds", "0.05"]
    done = run([*command, *given_options(recipe, arguments)], sandbox, tmp_path)

    assert done.returncode == 0, done.stderr
    made = list((tmp_path / "made").iterdir())
    assert len(made) >= (expect.files or 0)
    assert all(path.stat().st_size > 100 for path in made)
    assert paid_calls(sandbox) == expect.count


@pytest.mark.skipif(not shutil.which("jq") or not shutil.which("curl"), reason="needs curl and jq")
@pytest.mark.parametrize(
    "name", ["three-ad-variants", "pick-a-video-model", "product-photo-set", "storyboard-to-clips", "podcast-intro"]
)
def test_recipes_run_as_a_shell_script(name: str, sandbox: RunningSandbox, tmp_path: Path) -> None:
    recipe = Library.of().get(name)
    expect = recipe.front.expect
    assert expect is not None
    arguments = sample_arguments(recipe, Samples(tmp_path / "samples"))
    [script] = write_files(tmp_path, export_recipe(recipe, "curl", arguments))

    done = run(["bash", str(script)], sandbox, tmp_path)

    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "made").iterdir())) >= (expect.files or 0)
    assert paid_calls(sandbox) == expect.count
    assert KEY not in script.read_text(encoding="utf-8")


@pytest.mark.parametrize("form", ["python", "curl"])
def test_a_script_waits_when_the_api_is_busy_and_pays_once(
    form: str, plain: str, sandbox: RunningSandbox, tmp_path: Path
) -> None:
    if form == "curl" and not (shutil.which("jq") and shutil.which("curl")):
        pytest.skip("needs curl and jq")
    recipe = recipe_of(plain)
    sandbox.control.fault("POST /v1/generate/media", "status", status=429, retry_after=0)
    sandbox.control.fault("GET /v1/generate/media/*", "status", status=503, retry_after=0)
    sandbox.control.knobs(early_404=2, null_urls=2, cdn_404=1)
    arguments = check_arguments(recipe.front, {"subject": "tea"})
    [script] = write_files(tmp_path, export_recipe(recipe, form, arguments))

    shell = ["bash", str(script)]
    python = [sys.executable, str(script), "--subject", "tea", "--output", "made", "--poll-seconds", "0.05"]
    done = run(python if form == "python" else shell, sandbox, tmp_path)

    assert done.returncode == 0, done.stderr
    assert paid_calls(sandbox) == 1


@pytest.mark.parametrize("form", ["python", "curl"])
def test_a_script_never_repeats_a_payment_whose_fate_is_unknown(
    form: str, plain: str, sandbox: RunningSandbox, tmp_path: Path
) -> None:
    if form == "curl" and not (shutil.which("jq") and shutil.which("curl")):
        pytest.skip("needs curl and jq")
    recipe = recipe_of(plain)
    sandbox.control.fault("POST /v1/generate/media", "cut_after_acceptance")
    arguments = check_arguments(recipe.front, {"subject": "tea"})
    [script] = write_files(tmp_path, export_recipe(recipe, form, arguments))

    python = [sys.executable, str(script), "--subject", "tea", "--output", "made", "--poll-seconds", "0.05"]
    done = run(python if form == "python" else ["bash", str(script)], sandbox, tmp_path)

    assert done.returncode == 1
    assert "may have been charged" in done.stderr
    assert paid_calls(sandbox) == 1


def python_command(recipe: Recipe, folder: Path, *options: str) -> list[str]:
    [script] = write_files(folder, export_recipe(recipe, "python", {}))
    return [sys.executable, str(script), "--output", str(folder / "made"), "--poll-seconds", "0.05", *options]


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


@pytest.mark.skipif(not shutil.which("jq") or not shutil.which("curl"), reason="needs curl and jq")
def test_a_shell_script_that_was_killed_goes_on_and_pays_once(
    plain: str, sandbox: RunningSandbox, tmp_path: Path
) -> None:
    recipe = recipe_of(plain)
    [script] = write_files(tmp_path, export_recipe(recipe, "curl", check_arguments(recipe.front, {"subject": "tea"})))
    sandbox.control.knobs(speed=0.001)
    environment = {**os.environ, "KUBEEZ_API_KEY": KEY, "KUBEEZ_BASE_URL": sandbox.url, "OUTPUT_DIR": "made"}
    with subprocess.Popen(
        ["bash", str(script)], env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True
    ) as cut_off:
        assert cut_off.stderr is not None
        assert "started" in cut_off.stderr.readline()
        cut_off.kill()

    sandbox.control.knobs(speed=5_000)
    sandbox.control.fault("GET /v1/models", "status", status=503, retry_after=0)
    done = run(["bash", str(script)], sandbox, tmp_path)

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
@pytest.mark.parametrize("form", ["python", "curl"])
def test_a_script_picks_the_model_that_the_recipe_would(
    form: str, options: list[str], model: str, sandbox: RunningSandbox, tmp_path: Path
) -> None:
    if form == "curl" and not (shutil.which("jq") and shutil.which("curl")):
        pytest.skip("needs curl and jq")
    recipe = Library.of().get("pick-a-video-model")
    given = {"shot": "A boat", "sound": "--sound" in options, "seconds": 8 if "8" in options else 4}
    [script] = write_files(tmp_path, export_recipe(recipe, "curl", check_arguments(recipe.front, given)))
    command = python_command(recipe, tmp_path, "--shot", "A boat", *options)
    done = run(command if form == "python" else ["bash", str(script)], sandbox, tmp_path)
    assert done.returncode == 0, done.stderr
    [job] = sandbox.control.account()["jobs"]
    assert job["model"] == model


@pytest.mark.parametrize(("balance", "most"), [(1000, 40), (80, 40), (1000, 13)])
def test_a_script_chooses_within_the_balance_as_the_recipe_does(
    balance: int, most: int, sandbox: RunningSandbox, tmp_path: Path
) -> None:
    sandbox.control.key(KEY, credits=balance)
    recipe = Library.of().get("check-balance-and-choose")
    options = ["--idea", "A teapot", "--max-credits", str(most)]
    done = run(python_command(recipe, tmp_path, *options), sandbox, tmp_path)
    assert done.returncode == 0, done.stderr
    with sandbox.client() as client:
        rows = client.get("/v1/models").json()["models"]
    limit = min(balance - 50, most)
    prices = [
        row["cost_per_generation"]
        for row in rows
        if "text-to-image" in row["generation_types"]
        and "16:9" in row["capabilities"].get("aspect_ratio_options", [])
        and row["cost_per_generation"] <= limit
    ]
    [job] = sandbox.control.account()["jobs"]
    assert job["credits"] == max(prices)


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


def test_the_paths_of_scripts_are_those_of_the_client() -> None:
    for tool, call in REST_CALLS.items():
        assert call.path == ROUTES[tool].path
        assert call.kind == ROUTES[tool].kind
        assert call.assumed == (ROUTES[tool].evidence == "assumed")


HOSTILE = "\"\"\"'; import os; os.system('x') #\n{{ 7 }} ${HOME} $(id) `id` \\(env.KUBEEZ_API_KEY) @@x|.y@@ %s {x}"


def test_odd_values_cannot_break_out_of_a_script(plain: str, sandbox: RunningSandbox, tmp_path: Path) -> None:
    if not (shutil.which("jq") and shutil.which("curl")):
        pytest.skip("needs curl and jq")
    recipe = recipe_of(plain.replace("max_length: 100", "max_length: 1000"))
    arguments = check_arguments(recipe.front, {"subject": HOSTILE})
    [script] = write_files(tmp_path, export_recipe(recipe, "curl", arguments))
    done = run(["bash", str(script)], sandbox, tmp_path)
    assert done.returncode == 0, done.stderr
    assert sandbox.control.account()["jobs"][0]["prompt"] == f"A picture of {HOSTILE}"


def test_odd_words_of_a_recipe_cannot_break_out_of_a_script(plain: str) -> None:
    text = plain.replace("One picture of one thing.", json.dumps(HOSTILE)).replace(
        "A plain recipe", json.dumps(HOSTILE)
    )
    text = text.replace("A picture of {{ args.subject }}", "x {{ args.subject }} \\\" ''' {% raw %}{{ 1 }}{% endraw %}")
    compile(python_script(recipe_of(text)), "script", "exec")


@pytest.mark.parametrize("name", ["class", "import", "output", "help", "print", "kubeez"])
def test_odd_names_of_arguments_and_steps_do_not_clash(plain: str, name: str) -> None:
    text = plain.replace("subject", name).replace("id: hero", f"id: {name}")
    compile(python_script(recipe_of(text)), "script", "exec")


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("A picture of {{ args.subject }}", "{{ os }}", "does not know"),
        ("A picture of {{ args.subject }}", "{% set a = 1 %}{{ a }}", "cannot translate"),
        ("generate_media", "trim_video", "no counterpart in the REST API"),
    ],
)
def test_what_a_script_cannot_say_is_refused(plain: str, before: str, after: str, words: str) -> None:
    with pytest.raises(NotExportableError, match=words):
        python_script(recipe_of(plain.replace(before, after)))


def test_a_shell_script_that_would_have_to_calculate_with_results_is_refused() -> None:
    recipe = Library.of().get("check-balance-and-choose")
    with pytest.raises(NotExportableError, match="choice calculates with the result of an earlier step"):
        export_recipe(recipe, "curl", sample_arguments(recipe))


def test_a_recipe_without_steps_is_no_script(plain: str) -> None:
    recipe = recipe_of(plain[: plain.index("steps:")] + "---\nMake {{ subject }} {{ aspect_ratio }}\n")
    for form in ("python", "curl"):
        with pytest.raises(NotExportableError, match="no steps"):
            export_recipe(recipe, form, {})


@pytest.mark.parametrize("name", PACK)
def test_a_skill_has_what_agents_look_for(name: str) -> None:
    recipe = Library.of().get(name)
    files = export_recipe(recipe, "skill", {})

    head, body = files[f"{name}/SKILL.md"].split("---\n", 2)[1:]
    front = yaml.safe_load(head)
    assert front["name"] == name
    assert recipe.description.rstrip(".") in front["description"]
    assert len(front["description"]) <= 1024
    assert f"`{recipe.tools[0]}`" in body
    assert files[f"{name}/references/{name}.md"] == recipe.text
    assert f"{name}/scripts/{name}.py" in files


@pytest.mark.parametrize("name", PACK)
def test_a_goose_recipe_keeps_gooses_rules(name: str) -> None:
    recipe = Library.of().get(name)
    content = yaml.safe_load(export_recipe(recipe, "goose", {})[f"{name}.yaml"])

    assert {"version", "title", "description", "instructions", "prompt", "extensions"} <= content.keys()
    for parameter in content["parameters"]:
        assert parameter["requirement"] in ("required", "optional")
        assert ("default" in parameter) == (parameter["requirement"] == "optional")
        assert (parameter["input_type"] == "select") == ("options" in parameter)
    text = content["prompt"] + content["instructions"]
    assert all("{{ " + parameter["key"] + " }}" in text for parameter in content["parameters"])
    assert content["extensions"][0]["available_tools"] == list(recipe.tools)


@pytest.mark.parametrize("name", PACK)
def test_a_prompt_file_asks_for_the_arguments_and_names_the_tools(name: str) -> None:
    recipe = Library.of().get(name)
    text = export_recipe(recipe, "prompt", {})[f"{name}.prompt.md"]
    front = yaml.safe_load(text.split("---\n")[1])

    assert front["tools"] == [f"kubeez/{tool}" for tool in recipe.tools]
    assert all("${input:" + key + ":" in text for key in recipe.arguments)
    assert ":16 9}" not in text
    assert "{{" not in text


def test_an_unknown_form_is_refused_with_the_known_ones(plain: str) -> None:
    with pytest.raises(
        InvalidArgumentError, match=r"allowed: python, curl, skill, goose, prompt\. Did you mean python"
    ):
        export_recipe(recipe_of(plain), "pyton", {})
    assert len(FORMATS) == 5


def test_an_exported_file_never_replaces_another_unasked(plain: str, tmp_path: Path) -> None:
    files = export_recipe(recipe_of(plain), "prompt", {})
    [path] = write_files(tmp_path, files)
    path.write_text("mine", encoding="utf-8")
    with pytest.raises(InvalidArgumentError, match="there already"):
        write_files(tmp_path, files)
    write_files(tmp_path, files, overwrite=True)
    assert path.read_text(encoding="utf-8") != "mine"
