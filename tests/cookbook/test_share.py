"""Recipes are shared through folders and git repositories, with their origin on record."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from kubeez_mcp_local.cookbook.library import Library
from kubeez_mcp_local.cookbook.share import GitSource, Sharing, variables_for_git
from kubeez_mcp_local.errors import InvalidArgumentError, KubeezError

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio


def git(folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    identity = ("-c", "user.name=Ann", "-c", "user.email=ann@example.com", "-c", "commit.gpgsign=false")
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


class Team:
    """A repository of recipes, and somebody who uses it."""

    def __init__(self, folder: Path, plain: str) -> None:
        self.repository = folder / "team"
        self.plain = plain
        self.state = folder / "state"
        self.repository.mkdir()
        git(self.repository, "init", "--quiet", "--initial-branch=main")
        self.write("team-recipe")
        self.commit("first")
        self.url = self.repository.as_uri()
        self.time = 0.0
        self.sharing = Sharing(self.state, clock=self.tick)

    def tick(self) -> float:
        self.time += 1
        return self.time

    def write(self, name: str, title: str = "A plain recipe", folder: str = "") -> None:
        text = self.plain.replace("name: plain", f"name: {name}").replace("A plain recipe", title)
        (self.repository / folder).mkdir(exist_ok=True)
        (self.repository / folder / f"{name}.md").write_text(text, encoding="utf-8")

    def commit(self, message: str) -> str:
        git(self.repository, "add", "--all")
        git(self.repository, "commit", "--quiet", "-m", message)
        return git(self.repository, "rev-parse", "HEAD")

    def library(self) -> Library:
        return Library.of((), self.state)


@pytest.fixture
def team(tmp_path: Path, plain: str) -> Team:
    return Team(tmp_path, plain)


async def test_a_repository_is_added_and_its_recipes_say_where_they_come_from(team: Team) -> None:
    head = git(team.repository, "rev-parse", "HEAD")
    added = await team.sharing.add(team.url)

    assert added.recipes == ("team-recipe",)
    assert added.provenance.commit == head
    entry = team.library().index().entries["team-recipe"]
    assert entry.origin.kind == "added"
    assert entry.origin.where == f"{team.url}@default branch ({head[:10]})"
    assert team.library().get("team-recipe").steps[0].id == "hero"


async def test_a_branch_a_tag_or_a_commit_can_be_chosen(team: Team) -> None:
    first = git(team.repository, "rev-parse", "HEAD")
    git(team.repository, "tag", "v1")
    git(team.repository, "checkout", "--quiet", "-b", "feature/new")
    team.write("team-recipe", "The new one")
    team.commit("second")
    git(team.repository, "checkout", "--quiet", "main")

    assert (await team.sharing.add(f"{team.url}@v1")).provenance.commit == first
    await team.sharing.add(f"{team.url}@feature/new", override=True)
    assert team.library().index().entries["team-recipe"].summary.title == "The new one"


async def test_an_update_brings_what_changed_and_takes_away_what_was_deleted(team: Team) -> None:
    slug = (await team.sharing.add(team.url)).provenance.slug
    team.write("team-recipe", "Changed")
    team.write("second")
    team.commit("second")

    [updated] = await team.sharing.update(slug)

    assert updated.recipes == ("second", "team-recipe")
    assert team.library().index().entries["team-recipe"].summary.title == "Changed"
    (team.repository / "second.md").unlink()
    team.commit("third")
    assert (await team.sharing.update())[0].recipes == ("team-recipe",)


async def test_what_was_added_can_be_removed(team: Team) -> None:
    slug = (await team.sharing.add(team.url)).provenance.slug
    team.sharing.remove(slug)
    assert "team-recipe" not in team.library().index().entries
    assert team.sharing.list() == ()
    with pytest.raises(KubeezError, match="added so far: nothing"):
        team.sharing.remove(slug)


async def test_a_folder_is_used_where_it_lies(team: Team, tmp_path: Path) -> None:
    added = await team.sharing.add(str(team.repository))
    assert (added.provenance.kind, added.recipes) == ("folder", ("team-recipe",))
    team.write("team-recipe", "Edited in place")
    assert team.library().index().entries["team-recipe"].summary.title == "Edited in place"
    team.sharing.remove(added.provenance.slug)
    assert (team.repository / "team-recipe.md").exists()


async def test_hiding_another_recipe_must_be_wanted(team: Team) -> None:
    team.write("three-ad-variants", "Not the pack's")
    team.commit("second")
    with pytest.raises(KubeezError, match="there already: three-ad-variants") as caught:
        await team.sharing.add(team.url)
    assert "--override" in caught.value.next_step
    assert team.sharing.list() == ()

    added = await team.sharing.add(team.url, override=True)
    assert added.overrides == ("three-ad-variants",)
    entry = team.library().index().entries["three-ad-variants"]
    assert (entry.summary.title, entry.overrides) == ("Not the pack's", ("the recipe pack",))


async def test_an_update_that_begins_to_hide_another_recipe_must_be_wanted_too(team: Team) -> None:
    slug = (await team.sharing.add(team.url)).provenance.slug
    team.write("three-ad-variants", "Not the pack's")
    team.commit("second")
    with pytest.raises(KubeezError, match="there already: three-ad-variants"):
        await team.sharing.update(slug)
    assert team.library().index().entries["three-ad-variants"].overrides == ()

    assert (await team.sharing.update(slug, override=True))[0].overrides == ("three-ad-variants",)
    assert (await team.sharing.update(slug))[0].overrides == ("three-ad-variants",)


async def test_only_recipe_files_arrive(team: Team, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    hook = team.repository / "hooks" / "post-checkout"
    hook.parent.mkdir()
    hook.write_text(f"#!/bin/sh\ntouch {marker}\n", encoding="utf-8")
    (team.repository / ".gitattributes").write_text("* filter=evil\n", encoding="utf-8")
    (team.repository / "README.md").write_text("# Ours", encoding="utf-8")
    (team.repository / "evil.py").write_text("print()", encoding="utf-8")
    (team.repository / "link.md").symlink_to("/etc/passwd")
    (team.repository / "huge.md").write_bytes(b"x" * 100_000)
    team.write("nested", folder="recipes")
    team.write("elsewhere", folder="other")
    team.commit("second")

    added = await team.sharing.add(team.url)

    kept = sorted(path.name for path in (team.state / "recipes" / added.provenance.slug).iterdir())
    assert kept == ["nested.md", "provenance.json", "team-recipe.md"]
    assert not marker.exists()


async def test_broken_recipes_are_named_and_the_others_arrive(team: Team) -> None:
    (team.repository / "broken.md").write_text("---\nname: [\n---\n", encoding="utf-8")
    team.commit("second")
    added = await team.sharing.add(team.url)
    assert added.recipes == ("team-recipe",)
    assert added.problems[0].startswith("broken.md:")


async def test_adding_twice_is_refused(team: Team) -> None:
    await team.sharing.add(team.url)
    with pytest.raises(KubeezError, match="added before"):
        await team.sharing.add(team.url)


async def test_a_failed_update_keeps_what_was_there(team: Team) -> None:
    slug = (await team.sharing.add(team.url)).provenance.slug
    (team.repository / "team-recipe.md").unlink()
    (team.repository / "notes.txt").write_text("nothing here", encoding="utf-8")
    team.commit("second")
    with pytest.raises(KubeezError, match="no usable recipe"):
        await team.sharing.update(slug)
    assert "team-recipe" in team.library().index().entries


async def test_a_repository_that_is_not_there_is_explained(team: Team, tmp_path: Path) -> None:
    with pytest.raises(KubeezError, match=r"git fetch failed: fatal: .*nowhere") as failed:
        await team.sharing.add((tmp_path / "nowhere").as_uri())
    assert failed.value.code == "git_failed"
    with pytest.raises(KubeezError, match="git fetch failed"):
        await team.sharing.add(f"{team.url}@no-such-branch")
    with pytest.raises(InvalidArgumentError, match="neither a folder nor a git URL"):
        await team.sharing.add(str(tmp_path / "nowhere"))


async def test_a_damaged_record_is_ignored(team: Team) -> None:
    slug = (await team.sharing.add(team.url)).provenance.slug
    record = team.state / "recipes" / slug / "provenance.json"
    for text in ("", "[]", json.dumps({"slug": "../../x", "kind": "folder", "source": "/"})):
        record.write_text(text, encoding="utf-8")
        assert team.sharing.list() == ()
        assert "three-ad-variants" in team.library().index().entries


@pytest.mark.parametrize(
    ("text", "url", "ref"),
    [
        ("https://host.example/team/recipes.git", "https://host.example/team/recipes.git", ""),
        ("https://host.example/team/recipes.git@v1", "https://host.example/team/recipes.git", "v1"),
        ("https://host.example/team/recipes@feature/x", "https://host.example/team/recipes", "feature/x"),
        ("git@host.example:team/recipes.git", "git@host.example:team/recipes.git", ""),
        ("git@host.example:team/recipes.git@v1", "git@host.example:team/recipes.git", "v1"),
        ("ssh://git@host.example/team/recipes", "ssh://git@host.example/team/recipes", ""),
        ("ssh://git@host-with-dash.example/team/re-cipes", "ssh://git@host-with-dash.example/team/re-cipes", ""),
        ("ssh://my-host/x", "ssh://my-host/x", ""),
        ("ssh://git@host.example/team/recipes@main", "ssh://git@host.example/team/recipes", "main"),
    ],
)
def test_a_url_may_carry_a_ref(text: str, url: str, ref: str) -> None:
    assert GitSource.parse(text) == GitSource(url, ref)


@pytest.mark.parametrize(
    "text",
    [
        "ext::sh -c id",
        "http://host.example/x",
        "git://host.example/x",
        "https://ann:secret@host.example/x",
        "https://host.example/x@--upload-pack=id",
        "https://host.example/x@a..b",
        "ssh://-oProxyCommand=id/x",
        "ssh://git@-oProxyCommand=id/x",
        "-oProxyCommand=id@host.example:x",
        "--upload-pack=id",
        "https://host.example/a b",
    ],
)
def test_a_url_that_could_run_something_or_leak_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgumentError):
        GitSource.parse(text)


async def test_the_repository_that_the_environment_names_is_left_alone(
    team: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    git(victim, "init", "--quiet")
    before = sorted(path for path in victim.rglob("*"))
    ran = tmp_path / "ran"
    for name, value in {
        "GIT_DIR": str(victim / ".git"),
        "GIT_WORK_TREE": str(victim),
        "GIT_INDEX_FILE": str(victim / "index"),
        "GIT_OBJECT_DIRECTORY": str(victim / ".git" / "objects"),
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "uploadpack.packObjectsHook",
        "GIT_CONFIG_VALUE_0": f"touch {ran};",
        "GIT_TRACE": str(ran),
        "GIT_ALLOW_PROTOCOL": "none",
    }.items():
        monkeypatch.setenv(name, value)
    await team.sharing.add(team.url)
    assert sorted(path for path in victim.rglob("*")) == before
    assert not ran.exists()


def test_git_asks_nobody_and_keeps_what_the_network_needs() -> None:
    given = {
        "PATH": "/bin",
        "GIT_SSH_COMMAND": "ssh -i k",
        "GIT_SSL_CAINFO": "/ca.pem",
        "GIT_DIR": "/x",
        "GIT_ASKPASS": "gui",
    }
    assert variables_for_git(given) == {
        "PATH": "/bin",
        "GIT_SSH_COMMAND": "ssh -i k",
        "GIT_SSL_CAINFO": "/ca.pem",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "",
        "GCM_INTERACTIVE": "never",
    }
