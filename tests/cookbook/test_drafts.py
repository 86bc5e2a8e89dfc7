"""New recipes: one to start from, and drafts of finished jobs that make the like again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from kubeez_mcp_local.cookbook.check import check_recipe, sample_arguments
from kubeez_mcp_local.cookbook.drafts import MAX_JOBS, RecordedJob, fixed_in, record_recipe, starter, write_starter
from kubeez_mcp_local.cookbook.format import Origin, Recipe
from kubeez_mcp_local.cookbook.library import read_recipe
from kubeez_mcp_local.cookbook.parse import parse_recipe
from kubeez_mcp_local.errors import InvalidArgumentError
from tests.recipe_tools import no_sleep, run_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("title", ["", "Spring sale", 'Odd: "title" #1 {x}', "true", "Über uns\nzwei"])
def test_a_starter_is_sound_under_any_title(tmp_path: Path, title: str) -> None:
    recipe = read_recipe(write_starter(tmp_path, "spring-sale", title))
    assert check_recipe(recipe) == ()
    assert recipe.title == (" ".join(title.split()) or "Spring sale")


@pytest.mark.parametrize("name", ["", "Spring", "a b", "../x", "a--b", "-a", "x" * 65])
def test_an_odd_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidArgumentError, match="name"):
        write_starter(tmp_path, name)
    assert list(tmp_path.glob("*.md")) == []


def test_a_file_that_is_there_is_never_replaced(tmp_path: Path) -> None:
    path = write_starter(tmp_path, "mine")
    path.write_text("my work", encoding="utf-8")
    with pytest.raises(InvalidArgumentError, match="there already"):
        write_starter(tmp_path, "mine")
    assert path.read_text(encoding="utf-8") == "my work"


def test_nothing_of_this_machine_gets_into_a_file_that_will_be_shared() -> None:
    assert "file:" not in starter("shared")


pytestmark = pytest.mark.anyio

JOBS = [
    RecordedJob(
        "g1",
        "generate_media",
        {
            "prompt": 'A bottle, "steel" {{ not a template }}\nsecond line',
            "model": "nano-banana-2",
            "aspect_ratio": "4:5",
            "source_media_urls": ["/home/ann/Pictures/bottle.png"],
            "seed": 7,
        },
        ["https://media.example/1.png"],
        ["/home/ann/Kubeez/1.png"],
        14,
    ),
    RecordedJob(
        "g2",
        "generate_media",
        {
            "prompt": "The bottle turns",
            "model": "nano-banana-2",
            "aspect_ratio": "4:5",
            "source_media_urls": ["/home/ann/Kubeez/1.png", "/home/ann/Pictures/bottle.png"],
        },
        ["https://media.example/2.png"],
        credits=14,
    ),
    RecordedJob(
        "g3", "remove_background", {"image_url": "https://media.example/2.png"}, ["https://media.example/3.png"]
    ),
]


def draft_of(jobs: list[RecordedJob]) -> Recipe:
    return parse_recipe(record_recipe(jobs, "bottle", "The bottle"), Origin("draft", "recorded"))


def test_the_sequence_is_kept_and_inputs_are_chained() -> None:
    recipe = draft_of(JOBS)

    assert [step.tool for step in recipe.steps] == ["generate_media", "generate_media", "remove_background"]
    assert recipe.steps[1].with_["source_media_urls"] == ["{{ steps.step_1.outputs[0].url }}", "{{ args.input }}"]
    assert recipe.steps[2].with_["image_url"] == "{{ steps.step_2.outputs[0].url }}"


def test_what_varies_becomes_arguments_and_no_path_of_mine_gets_in() -> None:
    recipe = draft_of(JOBS)

    assert list(recipe.arguments) == [
        "step_1_prompt",
        "model",
        "aspect_ratio",
        "input",
        "step_2_prompt",
        "max_credits",
    ]
    assert recipe.arguments["model"].type == "model"
    assert recipe.arguments["step_1_prompt"].default == JOBS[0].arguments["prompt"]
    assert recipe.arguments["input"].required
    assert "/home/ann" not in recipe.text
    assert "seed" not in recipe.text


def test_the_draft_writes_switches_as_people_do() -> None:
    quiet = RecordedJob("job-9", "generate_media", {"prompt": "x", "model": "z-image", "sound": False})
    assert "`sound`: false" in draft_of([quiet]).body


def test_the_draft_is_sound() -> None:
    assert [str(finding) for finding in check_recipe(draft_of(JOBS))] == []


async def test_the_draft_replays_what_was_made(tools: Any, tmp_path: Path) -> None:
    tools.prices["remove-background"] = 5.0
    recipe = draft_of(JOBS)
    arguments = sample_arguments(recipe, lambda kind: f"/samples/{kind}.png")
    report = await run_of(recipe, arguments, tmp_path, budget=100).carry_out(tools, tools, sleep=no_sleep)

    assert report.status == "completed"
    first, second = tools.made()
    assert first == {
        "prompt": JOBS[0].arguments["prompt"],
        "model": "nano-banana-2",
        "aspect_ratio": "4:5",
        "source_media_urls": ["/samples/image.png"],
    }
    assert second["source_media_urls"] == ["https://media.example/job-1.png", "/samples/image.png"]


async def test_lines_of_a_dialogue_become_arguments_with_their_words_as_they_were(tools: Any, tmp_path: Path) -> None:
    lines = [{"text": "Ready? {{ not a template }}", "voice": "Rachel"}, {"text": "Go."}]
    recipe = draft_of([RecordedJob("g", "generate_dialogue", {"dialogue": lines, "stability": 0.5}, credits=9)])
    assert list(recipe.arguments) == ["step_1_line_1", "step_1_line_2", "max_credits"]
    assert [str(finding) for finding in check_recipe(recipe)] == []
    tools.prices["text-to-dialogue-v3"] = 9.0

    arguments = sample_arguments(recipe)
    await run_of(recipe, arguments, tmp_path, budget=100).carry_out(tools, tools, sleep=no_sleep)

    assert tools.made("generate_dialogue") == [{"dialogue": lines, "stability": 0.5}]


def test_the_texts_of_many_jobs_stay_in_the_steps_where_arguments_run_out() -> None:
    settings: list[dict[str, Any]] = [{"model": "m"}, {"model": "m", "sound": False}]  # no two in a row are alike
    jobs = [
        RecordedJob(f"g{n}", "generate_media", {"prompt": f"{n} {{{{ x }}}}", **settings[n % 2]})
        for n in range(MAX_JOBS)
    ]
    recipe = draft_of(jobs)
    assert len(recipe.arguments) == 26
    assert recipe.steps[-1].with_["prompt"] == '{{ "39 {{ x }}" }}'


@pytest.mark.parametrize(
    ("jobs", "words"),
    [
        ([], "at least one"),
        (
            [RecordedJob(f"{n}", "generate_captions", {"media_url": f"/{n}.mp4", f"x{n}": 1}) for n in range(40)],
            "more files",
        ),
        ([RecordedJob("g", "regenerate", {"id": "x"})], "cannot repeat"),
        ([RecordedJob("g", "view_media", {"output_id": "x"})], "cannot repeat"),
        ([RecordedJob("g", "generate_media", {"prompt": "x"})] * (MAX_JOBS + 1), "at most 40"),
        ([RecordedJob("g", "generate_media", {"prompt": f"{n}" * 9000}) for n in range(9)], "longer than one recipe"),
    ],
)
def test_what_cannot_be_recorded_is_refused(jobs: list[RecordedJob], words: str) -> None:
    with pytest.raises(InvalidArgumentError, match=words):
        record_recipe(jobs, "draft")


CITIES = ["Lisbon: a yellow tram", "Oslo: a wool mitten {{ x }}", "Athens: three olives"]
ALIKE = [
    RecordedJob(
        f"g{number}",
        "generate_media",
        {
            "prompt": f"{words}. Style of the whole campaign: overhead photograph. No text.",
            "model": "nano-banana-2",
            "aspect_ratio": ratio,
            "generation_type": "text-to-image",
            "seed": number,
        },
        [f"https://media.example/{number}.png"],
        credits=14,
        step="pictures",
    )
    for number, (words, ratio) in enumerate(zip(CITIES, ["1:1", "1:1", "4:5"], strict=True))
]


def test_jobs_that_are_alike_become_one_step_with_a_table_of_what_differs() -> None:
    recipe = draft_of(ALIKE)

    [step] = recipe.steps
    assert step.for_each == "{{ args.rows }}"
    assert step.with_["prompt"] == "{{ item.prompt }} Style of the whole campaign: overhead photograph. No text."
    assert step.with_["aspect_ratio"] == "{{ item.aspect_ratio }}"
    assert step.with_["model"] == "{{ args.model }}"
    columns = recipe.arguments["rows"].columns
    assert {name: (column.type, column.required) for name, column in columns.items()} == {
        "prompt": ("string", True),
        "aspect_ratio": ("ratio", True),
    }
    assert recipe.front.expect is not None
    assert [row["prompt"] for row in recipe.front.expect.with_["rows"]] == [f"{words}." for words in CITIES]
    assert [str(finding) for finding in check_recipe(recipe)] == []
    assert fixed_in(recipe) == [
        "prompt: Style of the whole campaign: overhead photograph. No text.",
        "generation_type: text-to-image",
    ]


async def test_a_folded_draft_replays_what_was_made(tools: Any, tmp_path: Path) -> None:
    recipe = draft_of(ALIKE)
    await run_of(recipe, sample_arguments(recipe), tmp_path, budget=100).carry_out(tools, tools, sleep=no_sleep)
    made = sorted(tools.made(), key=lambda given: str(given["prompt"]))
    wanted = sorted(ALIKE, key=lambda job: str(job.arguments["prompt"]))
    assert made == [{name: value for name, value in job.arguments.items() if name != "seed"} for job in wanted]


def test_files_that_differ_are_a_column_and_results_of_a_row_are_chained() -> None:
    cuts = [
        RecordedJob(f"c{n}", "remove_background", {"image_url": f"/home/ann/{n}.png"}, [f"https://media.example/{n}"])
        for n in range(3)
    ]
    last = RecordedJob("z", "generate_media", {"prompt": "x", "source_media_urls": ["https://media.example/1"]})
    recipe = draft_of([*cuts, last])

    assert recipe.steps[0].with_ == {"image_url": "{{ item.image_url }}"}
    assert recipe.arguments["rows"].columns["image_url"].type == "path"
    assert recipe.steps[1].with_["source_media_urls"] == ["{{ steps.step_1[1].outputs[0].url }}"]
    assert "/home/ann" not in recipe.text
    arguments = sample_arguments(recipe, lambda kind: f"/samples/{kind}.png")
    assert [row["image_url"] for row in arguments["rows"]] == ["/samples/image.png"] * 3


@pytest.mark.parametrize(
    "changes",
    [
        {"sound": False},
        {"prompt": ALIKE[0].arguments["prompt"], "aspect_ratio": "1:1"},
        {"source_media_urls": ["https://media.example/0.png"]},
    ],
)
def test_what_is_not_alike_stays_a_step_of_its_own(changes: dict[str, Any]) -> None:
    other = RecordedJob("g9", "generate_media", {**ALIKE[0].arguments, "prompt": "other", **changes})
    recipe = draft_of([RecordedJob("g0", "generate_media", ALIKE[0].arguments, ALIKE[0].outputs), other])
    assert [step.for_each for step in recipe.steps] == [None, None]


def test_steps_of_different_loops_of_a_run_are_not_mixed() -> None:
    before, after = (replace(job, step=step) for job, step in zip(ALIKE[:2], ("old", "new"), strict=True))
    assert len(draft_of([before, after]).steps) == 2


def test_the_draft_is_yaml_as_people_write_it() -> None:
    text = draft_of([*ALIKE, *JOBS]).text
    head = text.split("---")[1]
    assert "tools: [estimate, generate_media, remove_background, wait_for_generation]" in head
    assert not any(line.lstrip().startswith(("{", "- {")) for line in head.splitlines())
    assert "&id" not in head
    assert max(map(len, head.splitlines())) <= 115
    assert "  - id: step_1\n    tool: generate_media\n    for_each: '{{ args.rows }}'\n    with:\n" in head
