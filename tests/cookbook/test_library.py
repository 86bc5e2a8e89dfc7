"""Recipes are found in folders, later ones win, broken files never break the list; and the ones that fit an intent."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kubeez_mcp_local.cookbook.format import RecipeError
from kubeez_mcp_local.cookbook.library import Library, Source, pack_folder, read_recipe, recipes_for
from kubeez_mcp_local.errors import KubeezError

if TYPE_CHECKING:
    from collections.abc import Callable

    Write = Callable[..., Path]


@pytest.fixture
def write(plain: str) -> Write:
    """Writes the plain recipe, or `text`, as `name` into a folder."""

    def write(folder: Path, name: str, text: str = plain) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.md"
        path.write_text(text.replace("name: plain", f"name: {name}"), encoding="utf-8")
        return path

    return write


def library(*folders: Path) -> Library:
    return Library(lambda: [Source("folder", folder, folder.name) for folder in folders])


def test_the_pack_is_there_and_sound() -> None:
    index = Library.of().index()

    assert index.problems == ()
    assert {"three-ad-variants", "pick-a-video-model"} <= index.entries.keys()
    assert all(entry.origin.where == "the recipe pack" for entry in index.entries.values())


def test_a_later_folder_wins_and_says_what_it_hides(tmp_path: Path, write: Write, plain: str) -> None:
    write(tmp_path / "one", "shared")
    write(tmp_path / "two", "shared", plain.replace("A plain recipe", "The second"))

    entry = library(tmp_path / "one", tmp_path / "two").index().entries["shared"]

    assert entry.summary.title == "The second"
    assert entry.overrides == ("one",)


def test_an_edited_file_shows_on_the_next_list_and_a_deleted_one_is_gone(
    tmp_path: Path, write: Write, plain: str
) -> None:
    path = write(tmp_path, "edited")
    recipes = library(tmp_path)
    assert recipes.index().entries["edited"].summary.title == "A plain recipe"

    path.write_text(plain.replace("name: plain", "name: edited").replace("A plain recipe", "Edited"), encoding="utf-8")
    os.utime(path, ns=(1, 1))
    assert recipes.index().entries["edited"].summary.title == "Edited"

    path.unlink()
    assert recipes.index().entries == {}


def test_an_unchanged_file_is_not_read_again(tmp_path: Path, write: Write) -> None:
    path = write(tmp_path, "still")
    recipes = library(tmp_path)
    before = recipes.index()
    stamp = path.stat()
    path.write_bytes(b"x" * stamp.st_size)
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))

    assert recipes.index().entries == before.entries


def test_a_broken_file_never_breaks_the_list(tmp_path: Path, write: Write, plain: str) -> None:
    write(tmp_path, "good")
    write(tmp_path, "broken", plain.replace("tags: [image]", "tags: [image"))
    (tmp_path / "wrong-name.md").write_text(plain, encoding="utf-8")
    (tmp_path / "huge.md").write_bytes(b"---\n" + b"x" * 70_000)
    (tmp_path / "README.md").write_text("# Not a recipe", encoding="utf-8")
    (tmp_path / "folder.md").mkdir()

    index = library(tmp_path).index()

    assert list(index.entries) == ["good"]
    assert sorted(Path(problem.file).name for problem in index.problems) == [
        "broken.md",
        "huge.md",
        "wrong-name.md",
    ]


def test_a_recipe_whose_file_is_not_called_like_one_is_named_and_other_texts_are_left_alone(
    tmp_path: Path, write: Write
) -> None:
    write(tmp_path, "My_Recipe")
    (tmp_path / "SKILL.md").write_text("---\nname: a-skill\n---\n", encoding="utf-8")
    (tmp_path / "README.md").write_text("# Our recipes", encoding="utf-8")
    [problem] = library(tmp_path).index().problems
    assert problem.file.endswith("My_Recipe.md")
    assert "lower-case letters, digits and hyphens" in problem.reason


def test_a_link_out_of_the_folder_is_refused_and_one_inside_is_followed(tmp_path: Path, write: Write) -> None:
    secret = write(tmp_path / "outside", "secret")
    inside = write(tmp_path / "recipes", "real")
    (tmp_path / "recipes" / "secret.md").symlink_to(secret)
    (tmp_path / "recipes" / "alias.md").symlink_to(inside)
    (tmp_path / "recipes" / "round.md").symlink_to("round.md")

    index = library(tmp_path / "recipes").index()

    assert "secret" not in index.entries
    assert any("leaves its folder" in problem.reason for problem in index.problems)


def test_a_file_that_became_a_link_out_of_the_folder_after_it_was_listed_is_not_read(
    tmp_path: Path, write: Write
) -> None:
    file = write(tmp_path / "recipes", "real")
    [listed] = library(tmp_path / "recipes").index().entries.values()
    secret = write(tmp_path / "outside", "real")
    file.unlink()
    file.symlink_to(secret)
    with pytest.raises(RecipeError, match="leaves its folder"):
        read_recipe(file, listed.origin)
    assert read_recipe(file).name == "real"  # named by the user, who may keep links


def test_a_missing_folder_is_a_problem_and_not_a_crash(tmp_path: Path) -> None:
    index = library(tmp_path / "nowhere").index()
    assert [problem.file for problem in index.problems] == [str(tmp_path / "nowhere")]


def test_one_recipe_is_read_in_full(tmp_path: Path, write: Write) -> None:
    write(tmp_path, "whole")
    recipe = library(tmp_path).get("whole")
    assert recipe.steps[0].id == "hero"
    assert recipe.origin.path == tmp_path / "whole.md"


def test_an_unknown_recipe_is_answered_with_near_matches(tmp_path: Path, write: Write) -> None:
    write(tmp_path, "three-ads")
    with pytest.raises(KubeezError, match="Did you mean three-ads"):
        library(tmp_path).get("tree-ads")
    with pytest.raises(KubeezError, match="There is no recipe"):
        library(tmp_path).get("../../etc/passwd")


def test_a_broken_recipe_says_why_when_asked_for_by_name(tmp_path: Path, write: Write, plain: str) -> None:
    write(tmp_path, "broken", plain.replace("tags: [image]", "tags: [image"))
    with pytest.raises(RecipeError, match="not valid YAML"):
        library(tmp_path).get("broken")


def test_the_pack_folder_holds_markdown_only() -> None:
    assert {path.suffix for path in pack_folder().iterdir()} == {".md"}


def test_what_was_read_is_known_to_the_next_process(tmp_path: Path, write: Write, plain: str) -> None:
    path = write(tmp_path / "recipes", "known")
    first = Library.of([tmp_path / "recipes"], tmp_path / "state")
    first.index()
    first.remember()
    stamp = path.stat()
    path.write_bytes(b"#" * stamp.st_size)  # nobody looks into a file whose time and size are the same
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))

    entry = Library.of([tmp_path / "recipes"], tmp_path / "state").index().entries["known"]

    assert entry.summary == first.index().entries["known"].summary
    write(tmp_path / "recipes", "known", plain.replace("A plain recipe", "Another title"))
    again = Library.of([tmp_path / "recipes"], tmp_path / "state").index().entries["known"]
    assert again.summary.title == "Another title"


@pytest.mark.parametrize("content", [b"", b"0.0.0\n{}", b"{", b"\xff\xfe", b'0.1.0\n{"x": 1}'])
def test_a_broken_memory_of_recipes_is_ignored(tmp_path: Path, write: Write, content: bytes) -> None:
    write(tmp_path / "recipes", "known")
    (tmp_path / "state" / "cache").mkdir(parents=True)
    (tmp_path / "state" / "cache" / "recipes.json").write_bytes(content)

    assert "known" in Library.of([tmp_path / "recipes"], tmp_path / "state").index().entries


PACK = list(Library.of().index().entries)


@pytest.mark.parametrize(
    ("intent", "recipe"),
    [
        ("a 30 second podcast intro with music and a voice", "podcast-intro"),
        ("Three ad variants for a running shoe", "three-ad-variants"),
        ("remove the background of 20 product shots", "remove-backgrounds"),
        ("put captions on my video", "video-with-captions"),
        ("turn this storyboard into clips", "storyboard-to-clips"),
        ("an ad campaign, one picture a row of my CSV", "campaign-from-csv"),
    ],
)
def test_the_closest_recipe_comes_first(intent: str, recipe: str) -> None:
    assert recipes_for(intent, PACK)[0] == recipe


@pytest.mark.parametrize("intent", ["", "a red kite", "a video of a boat from the harbour", "a picture for the wall"])
def test_one_common_word_is_not_enough(intent: str) -> None:
    assert recipes_for(intent, PACK) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("{{ args.subject }}", "{{ args.subject"),
        ("{{ args.subject }}", "{{ args.sujet }}"),
        ("{{ args.subject }}", "{{ steps.gone.outputs }}"),
        ("Make a picture of {{ subject }}", "Make a picture of {{ sujet }}"),
        ("tool: generate_media", "tool: generate_music"),
        ('budget: "{{ max_credits }}"', 'budget: "{{ subject }}"'),
        ("steps:", "expect: {files: many}\nsteps:"),
    ],
)
def test_a_recipe_that_nobody_could_use_is_a_problem_and_not_in_the_list(
    tmp_path: Path, write: Write, plain: str, before: str, after: str
) -> None:
    assert before in plain
    write(tmp_path, "broken", plain.replace(before, after, 1))
    write(tmp_path, "sound")
    index = library(tmp_path).index()
    assert list(index.entries) == ["sound"]
    assert [Path(problem.file).name for problem in index.problems] == ["broken.md"]
