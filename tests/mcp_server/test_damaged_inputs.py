"""Every operation looks at every file it is given, before anybody is asked about a price."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest

from kubeez_mcp_local.media import measure as measuring
from kubeez_mcp_local.media.video import NotInstalledError
from kubeez_mcp_local.operations import operations
from tests.damaged import Damaged, damaged_files, encoded, film
from tests.mcp_server.driving import call, client_of, made, picture, refused, song

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mcp import Client

    from tests.sandbox_server import RunningSandbox

pytestmark = pytest.mark.anyio

BESIDES: dict[str, dict[str, Any]] = {
    "generate_media": {"prompt": "waves", "model": "nano-banana-2"},
    "generate_dubbing": {"languages": ["de"]},
    "generate_sound": {"model": "sonilo-video-to-video-sfx", "prompt": "rain"},
}
"""What an operation needs besides its files; a new one that needs nothing is found by itself."""
HEARD = ("generate_captions", "generate_dubbing", "generate_separation")


@cache
def files() -> list[Damaged]:
    return damaged_files()


def files_of(operation: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    yield from operations()[operation].files.items()


def arguments(operation: str, argument: str, path: Path, whole: Path) -> dict[str, Any]:
    """A call in which nothing is wrong but the file in `argument`; other files are whole ones."""
    first = {name: str(whole) for name in operations()[operation].files}
    return {**BESIDES.get(operation, {}), **first, argument: str(path)}


def without_the_extra(patch: pytest.MonkeyPatch) -> None:
    def missing(_what: str) -> None:
        raise NotInstalledError("PyAV is missing.")

    patch.setattr(measuring, "load_av", missing)


def posts(api: RunningSandbox) -> dict[str, int]:
    """How often something was started or uploaded."""
    return {called: count for called, count in api.control.books()["calls"].items() if called.startswith("POST")}


TAKE_FILES = [name for name, operation in operations().items() if operation.files]


@pytest.mark.parametrize("operation", TAKE_FILES)
@pytest.mark.parametrize("extra", [True, False], ids=["with the extra", "without it"])
async def test_whatever_is_damaged_is_refused_before_the_quote(
    operation: str, extra: bool, connected: Client, api: RunningSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not extra:
        without_the_extra(monkeypatch)
    whole = Path(picture(tmp_path))
    before = posts(api)
    tried = 0
    async with connected as client:
        for argument, kinds in files_of(operation):
            for damaged in files():
                if damaged.kind not in kinds or (damaged.only_with_extra and not extra):
                    continue
                path = damaged.put(tmp_path)
                error = await refused(client, operation, **arguments(operation, argument, path, whole))
                assert error["message"].startswith(f"{argument}: "), (damaged.name, error)
                assert damaged.name in error["message"], error
                assert damaged.says in error["message"], error
                assert error["code"] in ("damaged_file", "unsupported_media_type", "file_empty"), error
                assert error["next_step"]
                tried += 1
        assert tried >= 6
        assert (await call(client, "get_generations"))["generations"] == []
    assert posts(api) == before


@pytest.mark.parametrize("operation", HEARD)
@pytest.mark.parametrize("extra", [True, False], ids=["with the extra", "without it"])
async def test_a_film_without_sound_is_refused_where_its_sound_is_worked_on(
    operation: str, extra: bool, connected: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not extra:
        without_the_extra(monkeypatch)
    (argument, _), *_ = files_of(operation)
    (tmp_path / "silent.mp4").write_bytes(film())
    (tmp_path / "heard.mp4").write_bytes(film(audio="aac"))
    async with connected as client:
        silent = arguments(operation, argument, tmp_path / "silent.mp4", tmp_path)
        error = await refused(client, operation, **silent)
        assert (error["code"], error["message"].partition(" and ")[0]) == (
            "no_sound",
            f"{argument}: silent.mp4 has no sound track,",
        )
        assert "the version that has sound" in error["next_step"]
        heard = await call(client, operation, **{**silent, argument: str(tmp_path / "heard.mp4")})
        assert heard["cost"]["quoted"] is not None


def test_what_works_on_sound_is_listed() -> None:
    """A new operation of the audio family that takes a film is either heard or may be given a silent one."""
    takes_films = {
        name
        for name, operation in operations().items()
        if operation.family == "audio" and any("video" in kinds for kinds in operation.files.values())
    }
    assert takes_films == {*HEARD, "generate_sound"}


async def test_what_only_the_extra_reads_is_not_refused_and_said(
    api: RunningSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_the_extra(monkeypatch)
    (tmp_path / "talk.webm").write_bytes(encoded("webm", video="libvpx"))
    async with client_of(api, tmp_path, KUBEEZ_MODE="live") as client:
        for media, named in (
            (str(tmp_path / "talk.webm"), "talk.webm (too large, or only the extra 'video' reads it)"),
            ("https://media.example.com/talk.mp4?signature=secret", "media.example.com/…/talk.mp4 (a URL)"),
        ):
            asked = await call(client, "generate_captions", media_url=media)
            assert (asked["status"], asked["cost"].get("quoted")) == ("approval_required", None)
            question = asked["notes"][0].partition(" Of: ")[0]
            assert f"Not looked at: {named}." in question
            assert "a price that is not known in advance" in question
            assert "secret" not in question


async def test_an_output_of_ours_counts_as_looked_at(connected: Client) -> None:
    async with connected as client:
        first = await made(client, "generate_media", prompt="a kite", model="z-image")
        edited = await call(
            client,
            "generate_media",
            prompt="with a tail",
            model="nano-banana-2",
            source_media_urls=[first["outputs"][0]["url"]],
        )
        assert not any("Not looked at" in note for note in edited.get("notes", ()))


async def test_a_source_that_has_been_damaged_since_is_not_paid_for_again(
    connected: Client, api: RunningSandbox, tmp_path: Path
) -> None:
    async with connected as client:
        source = picture(tmp_path)
        first = await made(client, "generate_media", prompt="a kite", model="nano-banana-2", source_media_urls=[source])
        paid = api.control.account()["credits"]
        content = await anyio.Path(source).read_bytes()
        await anyio.Path(source).write_bytes(content[: len(content) // 2])
        error = await refused(client, "regenerate", id=first["generation_id"])
        assert (error["code"], "teal.png" in error["message"]) == ("damaged_file", True)
        assert api.control.account()["credits"] == paid


async def test_an_upload_names_all_damaged_files_and_sends_none(
    connected: Client, api: RunningSandbox, tmp_path: Path
) -> None:
    wanted = [damaged for damaged in files() if damaged.name in ("cut.png", "cut.wav", "no-index.mp4")]
    paths = [str(damaged.put(tmp_path)) for damaged in wanted]
    before = posts(api)
    async with connected as client:
        error = await refused(client, "upload_media", paths=[picture(tmp_path), *paths, song(tmp_path)])
        assert error["code"] == "damaged_file"
        assert all(damaged.name in error["message"] for damaged in wanted)
        assert "teal.png" not in error["message"]
        assert posts(api) == before
        measured = await call(client, "upload_media", paths=[picture(tmp_path), song(tmp_path)])
        assert [item.get("duration_seconds") for item in measured["media"]] == [None, 3.0]


async def test_the_upload_page_takes_nothing_damaged(connected: Client) -> None:
    cut = next(damaged for damaged in files() if damaged.name == "cut.mkv")
    async with connected as client:
        page = await call(client, "get_upload_url")
        async with httpx.AsyncClient(trust_env=False, verify=False) as http:
            part = [("file", ("cut.mkv", cut.content, "video/x-matroska"))]
            answer = await http.post(page["direct_upload_url"], data={"token": page["token"]}, files=part)
        assert answer.status_code == 400
        assert "'cut.mkv' is damaged: it was cut off" in answer.text
        assert (await call(client, "get_upload_session", token=page["token"]))["count"] == 0
