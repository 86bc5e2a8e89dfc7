"""Files on their way in: cuts, upload pages, library names, characters, and lengths that make quotes exact."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest

from kubeez_mcp_local.mcp_server.tools import files
from kubeez_mcp_local.media import measure as measuring
from kubeez_mcp_local.media.measure import measure
from kubeez_mcp_local.media.video import NotInstalledError
from tests.damaged import encoded
from tests.e2e.clients import text_of
from tests.mcp_server.driving import call, client_of, clip, made, picture, refused, song
from tests.sandbox_server import KEY

if TYPE_CHECKING:
    from mcp import Client

    from tests.sandbox_server import RunningSandbox

pytestmark = pytest.mark.anyio


async def test_a_cut_of_a_url_is_a_file_a_url_and_an_input(connected: Client, tmp_path: Path) -> None:
    async with connected as client:
        uploaded = await call(client, "upload_media", paths=[await clip(client)])
        cut = await call(client, "trim_video", source_url=uploaded["media_urls"][0], start_s=0.5, end_s=2)
        path = Path(cut["path"])
        assert path.is_relative_to(tmp_path / "out")
        assert path.name == "video-cut-0.5-2s.mp4"
        assert cut["sound"] is True
        shown = text_of(await client.call_tool("trim_video", {"source_url": str(path), "end_s": 1}))
        assert "1 s, with sound, " in shown
        assert "next_step: Done; tell the user where it is." in shown
        assert abs(((await measure(path)).seconds or 0) - 1.5) < 0.1
        assert (cut["start_s"], cut["end_s"]) == (0.5, pytest.approx(2, abs=0.1))  # whole frames
        assert cut["size_bytes"] == (await anyio.Path(path).stat()).st_size
        same = await call(client, "trim_video", source_url=uploaded["media_urls"][0], start_s=0.5, end_s=2)
        assert same["path"] == cut["path"]
        quoted = await call(client, "generate_captions", media_url=cut["url"])
        assert quoted["cost"]["quoted"] is not None


async def test_a_cut_is_found_again_and_never_overwrites_a_file(
    connected: Client, api: RunningSandbox, tmp_path: Path
) -> None:
    async with connected as client:
        video = await clip(client)
        first = await call(client, "trim_video", source_url=video, end_s=1)
    async with client_of(api, tmp_path) as client:
        assert (await call(client, "trim_video", source_url=video, end_s=1))["path"] == first["path"]
    await anyio.Path(first["path"]).write_bytes(b"edited by hand")
    async with client_of(api, tmp_path) as client:
        assert (await call(client, "trim_video", source_url=video, end_s=1))["path"] != first["path"]
    assert await anyio.Path(first["path"]).read_bytes() == b"edited by hand"


async def test_cuts_are_refused_with_the_hosted_names(connected: Client, tmp_path: Path) -> None:
    async with connected as client:
        for arguments, code in (
            ({"source_url": " ", "end_s": 1}, "missing_source_url"),
            ({"source_url": "https://127.0.0.1:9/x.mp4", "start_s": 3, "end_s": 3}, "invalid_trim_range"),
            ({"source_url": "https://127.0.0.1:9/x.mp4", "start_s": -1, "end_s": 3}, "invalid_trim_range"),
            ({"source_url": "https://127.0.0.1:9/x.mp4", "end_s": 60.5}, "trim_too_long"),
            ({"source_url": "https://127.0.0.1:9/x.mp4", "end_s": 5}, "source_fetch_failed"),
            ({"source_url": picture(tmp_path), "end_s": 5}, "invalid_argument"),
        ):
            assert (await refused(client, "trim_video", **arguments))["code"] == code, arguments
        video = await clip(client)
        assert (await refused(client, "trim_video", source_url=video, start_s=90, end_s=95))["code"] == (
            "invalid_trim_range"
        )


async def test_a_cut_that_takes_long_goes_on_and_is_joined(connected: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "TRIM_PATIENCE", 0.0)
    async with connected as client:
        video = await clip(client)
        answer = await call(client, "trim_video", source_url=video, end_s=1)
        assert (answer["status"], "url" in answer) == ("processing", False)
        assert "same arguments" in answer["next_step"]
        monkeypatch.setattr(files, "TRIM_PATIENCE", 30.0)
        assert (await call(client, "trim_video", source_url=video, end_s=1))["status"] == "completed"


async def test_without_the_extra_the_cut_says_what_to_install(
    connected: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected as client:
        video = await clip(client)

        monkeypatch.setitem(sys.modules, "av", None)  # as if it were not installed
        error = await refused(client, "trim_video", source_url=video, end_s=1)
        assert error["code"] == "processor_unavailable"
        assert "kubeez-mcp-local[video]" in error["next_step"]


async def test_a_cut_that_cannot_be_uploaded_is_kept(connected: Client, api: RunningSandbox) -> None:
    async with connected as client:
        video = await clip(client)
        api.control.key(KEY, scopes=["read:generations"])
        cut = await call(client, "trim_video", source_url=video, end_s=1)
        assert "url" not in cut
        assert await anyio.Path(cut["path"]).is_file()
        assert "generate:media" in cut["notes"][0]


async def test_a_measured_upload_makes_the_quote_exact(connected: Client, tmp_path: Path) -> None:
    async with connected as client:
        page = await call(client, "get_upload_url", model_id="mvsep-40")
        assert page["accepted_kinds"] == ["audio", "video"]
        content = await anyio.Path(song(tmp_path)).read_bytes()
        part = [("file", ("song.wav", content, "audio/wav"))]
        async with httpx.AsyncClient(trust_env=False, verify=False) as http:
            assert (await call(client, "get_upload_session", token=page["token"]))["count"] == 0
            await http.post(page["direct_upload_url"], data={"token": page["token"]}, files=part)
        state = await call(client, "get_upload_session", token=page["token"])
        assert (state["billing_readiness"], state["total_audio_seconds"]) == ("exact", 3)
        quote = await call(client, "estimate", model="mvsep-40", reference_audio_seconds=state["total_audio_seconds"])
        started = await call(client, "generate_separation", media_url=state["media_urls"][0])
        assert started["cost"]["quoted"] == quote["credits"]
        assert started["separation_id"] == started["generation_id"]
        assert (await call(client, "get_status", id=started["separation_id"], kind="separation"))[
            "kind"
        ] == "separation"


async def test_an_upload_page_for_any_model_and_one_for_none(connected: Client) -> None:
    async with connected as client:
        assert (await call(client, "get_upload_url"))["accepted_kinds"] == ["image", "video", "audio"]
        assert (await refused(client, "get_upload_url", model_id="z-image"))["code"] == "invalid_argument"
        assert (await refused(client, "get_upload_url", model_id="z-imag"))["code"] == "unknown_model"


async def test_a_character_keeps_face_and_voice(connected: Client, tmp_path: Path) -> None:
    async with connected as client:
        created = await call(
            client,
            "manage_library",
            kind="character",
            action="create",
            name="ada",
            description="An engineer in a grey coat",
            url=picture(tmp_path),
            voice_id="kore",
        )
        (row,) = (await call(client, "list_gemini_omni_characters"))["characters"]
        assert row == created["entry"]
        request = {"prompt": "She waves", "model": "gemini-omni-video-hd-8s", "character_ids": [row["character_id"]]}
        done = await made(client, "generate_media", **request)
        assert "grey coat" in done["prompt"]
        assert done["generation_type"] == "image-to-video"
        await call(client, "manage_library", kind="character", action="delete", name="ada")
        assert (await call(client, "list_gemini_omni_characters"))["count"] == 0


async def test_what_a_local_library_cannot_do_is_said(connected: Client, tmp_path: Path) -> None:
    async with connected as client:
        shared = await refused(client, "manage_library", action="add", name="x", url=picture(tmp_path), shared=True)
        assert "team library" in shared["message"]
        assert (await refused(client, "manage_library", action="add", name="No Spaces", url=picture(tmp_path)))[
            "code"
        ] == "invalid_name"
        assert (await refused(client, "manage_library", action="rename", kind="character"))[
            "code"
        ] == "invalid_argument"
        assert (await refused(client, "manage_library", action="delete", asset_id="none"))["code"] == "not_in_library"
        gone = {"prompt": "x", "model": "nano-banana-2", "source_media_urls": "library:none"}
        assert (await refused(client, "generate_media", **gone))["code"] == "not_in_library"
        assert "kubeez.com" in (await call(client, "list_assets"))["notes"][0]


async def test_the_next_step_after_an_upload_depends_on_its_lengths(connected: Client) -> None:
    async with connected as client:
        video = await clip(client)
        page = await call(client, "get_upload_url", model_id="auto-caption")
        waiting = await call(client, "get_upload_session", token=page["token"])
        assert (waiting["count"], waiting["billing_readiness"]) == (0, "pessimistic_fallback")
        assert "Nothing has arrived yet" in waiting["next_step"]
        async with httpx.AsyncClient(trust_env=False, verify=False) as http:
            part = [("file", ("clip.mp4", await anyio.Path(video).read_bytes(), "video/mp4"))]
            answer = await http.post(page["direct_upload_url"], data={"token": page["token"]}, files=part)
            assert answer.status_code == 200, answer.text
        arrived = await call(client, "get_upload_session", token=page["token"])
        assert (arrived["unknown_duration_count"], arrived["billing_readiness"]) == (0, "exact")
        assert "Pass media_urls to the tool" in arrived["next_step"]


async def test_a_length_that_only_the_extra_can_measure_names_the_extra(
    connected: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _without_pyav(monkeypatch)
    speech = tmp_path / "song.ogg"
    await anyio.Path(speech).write_bytes(encoded("ogg", audio="libopus"))
    async with connected as client:
        page = await call(client, "get_upload_url", model_id="mvsep-40")
        async with httpx.AsyncClient(trust_env=False, verify=False) as http:
            part = [("file", ("song.ogg", await anyio.Path(speech).read_bytes(), "audio/ogg"))]
            await http.post(page["direct_upload_url"], data={"token": page["token"]}, files=part)
        state = await call(client, "get_upload_session", token=page["token"])
        assert (state["media"][0]["measurement"], state["billing_readiness"]) == ("unavailable", "pessimistic_fallback")
        assert "kubeez-mcp-local[video]" in state["next_step"]
        direct = await call(client, "upload_media", paths=str(speech))
        assert direct["media"][0]["measurement"] == "unavailable"
        assert "kubeez-mcp-local[video]" in direct["next_step"]


async def test_what_went_wrong_is_said_of_the_argument_that_was_given(connected: Client, tmp_path: Path) -> None:
    face = {"action": "create", "kind": "character", "name": "n", "description": "d"}
    async with connected as client:
        for tool, arguments, words in (
            ("pick_model", {"task": "image", "inputs": "pdf"}, "inputs: 'pdf' is not one of image, video, audio"),
            ("manage_library", {"action": "delete"}, "asset_id: is required for delete"),
            ("manage_library", {"action": "rename", "new_name": "x"}, "asset_id: is required for rename"),
            ("manage_library", {**face, "url": song(tmp_path)}, "url: is an audio file"),
            ("upload_media", {"paths": [picture(tmp_path)] * 51}, "names 51 files; at most 50"),
            ("get_upload_url", {"model_id": "x" * 5000}, f"there is no model '{'x' * 79}…'"),
            ("generate_music_persona", {"song_id": "", "name": "a", "description": "b"}, "song_id: '' is refused"),
            ("generate_music_persona", {"song_id": "no", "name": "a", "description": "b"}, "Song not found"),
        ):
            error = await refused(client, tool, **arguments)
            assert words in error["message"], (tool, error)
            assert len(error["message"]) < 300
        assert "songs[]" in error["next_step"]
        unknown = await call(client, "estimate", model="auto-caption")
        assert "credits" not in unknown
        assert "price is not known" in unknown["next_step"]


async def test_uploads_are_named_after_their_content(connected: Client, api: RunningSandbox, tmp_path: Path) -> None:
    disguised = await anyio.Path(picture(tmp_path, "olive")).rename(tmp_path / "inputs" / "shot.mp4")
    async with connected as client:
        uploaded = await call(client, "upload_media", paths=str(disguised))
        assert uploaded["media"][0]["mime_type"] == "image/png"
    assert api.control.account()["uploads"][-1]["name"] == "shot.png"


async def test_a_token_serves_until_its_session_is_full_however_many_send_at_once(
    connected: Client, tmp_path: Path
) -> None:
    pictures = [await anyio.Path(picture(tmp_path, name)).read_bytes() for name in ("red", "green", "blue", "gold")]
    answers: list[httpx.Response] = []
    async with connected as client, httpx.AsyncClient(trust_env=False, verify=False) as http:
        page = await call(client, "get_upload_url", model_id="veo3-1-first-and-last-frames")
        assert page["max_files"] == 2

        async def send(content: bytes) -> None:
            files = [("file", ("a.png", content, "image/png"))]
            answers.append(await http.post(page["direct_upload_url"], data={"token": page["token"]}, files=files))

        async with anyio.create_task_group() as senders:
            for content in pictures:
                senders.start_soon(send, content)
        assert sorted(answer.status_code for answer in answers) == [200, 200, 400, 400]
        assert {answer.json().get("error") for answer in answers} == {None, "too_many_files"}
        assert (await call(client, "get_upload_session", token=page["token"]))["count"] == 2


def _without_pyav(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(what: str) -> Any:
        raise NotInstalledError(what)

    monkeypatch.setattr(measuring, "load_av", missing)
    monkeypatch.setattr(files, "find_spec", lambda _name: None)
