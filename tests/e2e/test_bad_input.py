"""Bad input: each answer names what is wrong and what to do, nothing is charged, the server lives on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.conftest import KEY
from tests.e2e.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.sandbox_server import RunningSandbox

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de"
    "0000000c49444154789c63f8cfc0000003010100c9fe92ef0000000049454e44ae426082"
)
IMAGE = {"prompt": "a kite", "model": "nano-banana-2"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, sandbox_process: RunningSandbox) -> Iterator[Server]:
    """One live server that asks nobody, for all tests here: it has to survive them all."""
    folder = tmp_path_factory.mktemp("bad-input")
    with Server(folder, api_key=KEY, base_url=sandbox_process.url, ask_above=500) as running:
        running.initialize()
        yield running


@pytest.fixture
def server(api: RunningSandbox, shared: Server) -> Iterator[Server]:
    """Whatever a test does with it, nothing may be charged and it must live on."""
    yield shared
    assert shared.call("estimate", model="z-image")["structuredContent"]["credits"] == 4
    assert charged(api) == 0


def charged(api: RunningSandbox) -> int:
    """How many charges there are in the API's books."""
    entries = [entry for account in api.control.books()["accounts"] for entry in account["entries"]]
    return sum(entry["kind"] == "charge" for entry in entries)


def refusal(server: Server, **arguments: Any) -> str:
    result = server.call("generate_media", **arguments)
    assert result["isError"], result
    error = result["structuredContent"]["error"]
    assert error["credits_spent"] is False
    text: str = result["content"][0]["text"]
    return text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({**IMAGE, "model": "nano-banan"}, ["model", "nano-banana"]),
        ({**IMAGE, "model": "flux-2"}, ["family", "flux-2-1K"]),
        ({**IMAGE, "aspect_ratio": "7:3"}, ["aspect_ratio", "16:9"]),
        ({**IMAGE, "prompt": ""}, ["prompt", "empty"]),
        ({**IMAGE, "prompt": "x" * 20_001}, ["prompt", "20001", "20000"]),
        ({"prompt": "a kite"}, ["model", "required"]),
        ({**IMAGE, "aspect": "1:1"}, ["aspect", "aspect_ratio"]),
        ({**IMAGE, "variant_count": 9}, ["variant_count"]),
        ({**IMAGE, "seed": "many"}, ["seed"]),
        ({"prompt": "waves", "model": "kling-3-0-std", "duration": "99s"}, ["duration", "15"]),
        ({"prompt": "waves", "model": "grok-image-to-video"}, ["source_media_urls", "none was given"]),
        ({**IMAGE, "model": "V5"}, ["generate_music"]),
        ({**IMAGE, "source_media_urls": ["ftp://example.com/a.png"]}, ["source_media_urls", "https"]),
        ({**IMAGE, "source_media_urls": ["data:image/png;base64,AAAA"]}, ["source_media_urls"]),
        ({**IMAGE, "generation_type": "text-to-video"}, ["generation_type", "text-to-image"]),
    ],
)
def test_a_request_the_model_does_not_take(server: Server, arguments: dict[str, Any], said: list[str]) -> None:
    text = refusal(server, **arguments)
    assert all(words in text for words in said), text


def _outside(folder: Path) -> Path:
    path = folder / "outside.png"
    path.write_bytes(PNG)
    return path


def _linked(folder: Path) -> Path:
    link = folder / "inputs" / "link.png"
    link.symlink_to(_outside(folder))
    return link


def _hidden(folder: Path) -> Path:
    path = folder / "inputs" / ".ssh" / "key.png"
    path.parent.mkdir()
    path.write_bytes(PNG)
    return path


def _empty(folder: Path) -> Path:
    path = folder / "inputs" / "empty.png"
    path.touch()
    return path


def _too_large(folder: Path) -> Path:
    path = folder / "inputs" / "large.png"
    with path.open("wb") as file:
        file.write(PNG)
        os.ftruncate(file.fileno(), 501 * 1024 * 1024)
    return path


def _text(folder: Path) -> Path:
    path = folder / "inputs" / "notes.png"
    path.write_text("not a picture")
    return path


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_outside, "KUBEEZ_INPUT_DIRS"),
        (_linked, "KUBEEZ_INPUT_DIRS"),
        (_hidden, "hidden"),
        (lambda folder: folder / "inputs" / "missing.png", "missing.png"),
        (lambda folder: folder / "inputs", "folder"),
        (_empty, "empty"),
        (_too_large, "500 MB"),
        (_text, "accepted"),
    ],
)
def test_a_file_that_cannot_be_used(server: Server, make: Callable[[Path], Path], said: str) -> None:
    text = refusal(server, **IMAGE, source_media_urls=[str(make(server.folder))])
    assert said in text, text


def test_too_many_inputs(server: Server) -> None:
    paths = []
    for number in range(9):
        path = server.folder / "inputs" / f"{number}.png"
        path.write_bytes(PNG)
        paths.append(str(path))
    text = refusal(server, **IMAGE, source_media_urls=paths)
    assert "9" in text
    assert "8" in text


def test_lists_sent_as_text_and_numbers_sent_as_text_are_understood(server: Server) -> None:
    result = server.call("generate_media", **IMAGE, source_media_urls='["/nowhere.png"]', variant_count="2", seed="7")
    assert "/nowhere.png" in result["content"][0]["text"]
    assert "KUBEEZ_INPUT_DIRS" in result["content"][0]["text"]


def test_a_state_that_no_job_has_is_refused_with_those_there_are(server: Server) -> None:
    result = server.call("get_generations", status="done")
    assert result["isError"]
    assert "'pending', 'processing', 'completed' or 'failed'" in result["content"][0]["text"]


@pytest.mark.parametrize(
    ("change", "tool", "code", "said"),
    [
        ({"revoked": True}, "get_balance", "unauthorized", "settings/api-keys"),
        ({"revoked": True}, "generate_media", "unauthorized", "settings/api-keys"),
        ({"scopes": ["read:balance"]}, "generate_media", "missing_scope", "generate:media"),
    ],
)
def test_a_key_that_may_not(
    server: Server, api: RunningSandbox, change: dict[str, Any], tool: str, code: str, said: str
) -> None:
    server.call("get_models", limit=1)
    api.control.key(KEY, **change)
    result = server.call(tool, **(IMAGE if tool == "generate_media" else {}))
    assert result["structuredContent"]["error"]["code"] == code
    assert said in result["content"][0]["text"]


def test_a_web_page_instead_of_an_answer(server: Server, api: RunningSandbox) -> None:
    api.control.fault("GET /v1/balance", "html", status=200)
    result = server.call("get_balance")
    assert result["structuredContent"]["error"]["code"] == "unexpected_answer"
    assert "KUBEEZ_BASE_URL" in result["content"][0]["text"]


@pytest.mark.parametrize("body", [{"models": "none"}, {"models": [{"model_id": 5}]}, {}])
def test_a_catalogue_that_does_not_parse_is_replaced_by_the_snapshot_and_marked(
    tmp_path: Path, api: RunningSandbox, live: dict[str, Any], body: dict[str, Any]
) -> None:
    api.control.fault("GET /v1/models", "status", status=200, body=body, times=9)
    with Server(tmp_path, **live) as server:
        server.initialize()
        listed = server.call("get_models", limit=1)["structuredContent"]
        assert listed["source"] == "snapshot"
        assert listed["notes"]
        assert server.call("get_balance")["structuredContent"]["credits"] == 1000


def test_an_output_folder_that_cannot_be_written_loses_nothing(
    tmp_path: Path, api: RunningSandbox, live: dict[str, Any]
) -> None:
    (tmp_path / "out").write_text("a file where the folder should be")
    with Server(tmp_path, **live, ask_above=500) as server:
        server.initialize()
        job = server.call("generate_media", **IMAGE)["structuredContent"]["generation_id"]
        done = server.call("wait_for_generation", id=job)["structuredContent"]
        assert done["status"] == "completed"
        assert done["outputs"][0]["url"]
        assert "files" not in done
        assert any("KUBEEZ_OUTPUT_DIR" in note for note in done["notes"])
        (tmp_path / "out").unlink()
        assert f"wait_for_generation(id='{job}')" in done["next_step"]
        again = server.call("wait_for_generation", id=job)["structuredContent"]
        assert len(again["files"]) == 1
        assert "notes" not in again
