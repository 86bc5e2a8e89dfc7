"""Making something again: what is taken over, what is paid, and what is no image or video job."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kubeez_mcp_local.mcp_server.tools.paid import _tool, regenerate
from kubeez_mcp_local.operations import operations
from tests.mcp_server.driving import call, made, picture, refused
from tests.sandbox_server import KEY

if TYPE_CHECKING:
    from mcp import Client

    from tests.sandbox_server import RunningSandbox

pytestmark = pytest.mark.anyio


async def test_the_original_settings_are_kept_but_not_its_seed(connected: Client) -> None:
    async with connected as client:
        first = await made(client, "generate_media", prompt="a kite", model="z-image", aspect_ratio="16:9", seed=7)
        again = await made(client, "regenerate", id=first["generation_id"])
        assert (again["prompt"], again["model"]) == ("a kite", first["model"])
        assert again["outputs"][0]["width"] == first["outputs"][0]["width"]
        assert again["generation_id"] != first["generation_id"]
        same_seed = await call(client, "regenerate", id=first["generation_id"], seed=7)
        assert same_seed["generation_id"] not in (first["generation_id"], again["generation_id"])


async def test_it_takes_whatever_the_operation_takes() -> None:
    takes = {parameter.name for parameter in regenerate.arguments()}
    assert takes >= {parameter.name for parameter in _tool(operations()["generate_media"]).arguments()}


async def test_what_is_given_is_changed_and_the_rest_stays(connected: Client, tmp_path: Path) -> None:
    async with connected as client:
        first = await made(client, "generate_media", prompt="a kite", model="nano-banana-2", aspect_ratio="16:9")
        larger = await made(client, "regenerate", id=first["generation_id"], resolution="2K")
        assert larger["model"] != first["model"] or larger["outputs"][0]["width"] > first["outputs"][0]["width"]
        other = await made(client, "regenerate", id=first["generation_id"], model="z-image")
        assert (other["model"], other["prompt"]) == ("z-image", "a kite")
        size = other["outputs"][0]
        assert abs(size["width"] / size["height"] - 16 / 9) < 0.02
        edited = await made(client, "regenerate", id=first["generation_id"], source_media_urls=[picture(tmp_path)])
        assert edited["generation_type"] == "image-to-image"
        names = [Path(each["files"][0]["path"]).stem for each in (first, other)]
        assert names == ["kite-16x9", "kite-16x9-z-image"]
        renamed = await made(client, "regenerate", id=first["generation_id"], prompt="a blue boat")
        assert Path(renamed["files"][0]["path"]).stem == "blue-boat-16x9"


async def test_one_replay_one_payment_whichever_id_is_used(connected: Client, api: RunningSandbox) -> None:
    async with connected as client:
        first = await made(client, "generate_media", prompt="two kites", model="z-image")
        paid = api.control.account()["credits"]
        once = await call(client, "regenerate", id=first["generation_id"], variant_count=2)
        assert len(once["generation_ids"]) == 2
        after = api.control.account()["credits"]
        replay = await call(client, "regenerate", id=first["generation_id"], variant_count=2)
        assert (replay["generation_ids"], replay["repeated"]) == (once["generation_ids"], True)
        assert api.control.account()["credits"] == after < paid
        next_take = await call(client, "regenerate", id=once["generation_id"])
        assert next_take["generation_id"] not in once["generation_ids"]


async def test_a_repeat_says_that_nothing_new_was_made_and_how_to_make_another(connected: Client) -> None:
    async with connected as client:
        first = await made(client, "generate_media", prompt="three kites", model="z-image")
        replay = await call(client, "generate_media", prompt="three kites", model="z-image")
        assert (replay["status"], replay["repeated"]) == ("completed", True)
        assert replay["next_step"] == (
            f"Nothing new was made. Another take: regenerate(id='{first['generation_id']}'), "
            "or this call with another seed."
        )
        another = await call(client, "regenerate", id=first["generation_id"])
        assert "repeated" not in another
        rain = {"model": "sonilo-text-to-sfx", "prompt": "rain", "duration": 5}
        await made(client, "generate_sound", **rain)
        sound = await call(client, "generate_sound", **rain)
        assert sound["next_step"].startswith("Nothing new was made. Another take: this call with something changed")


async def test_files_and_library_entries_go_in_again(connected: Client, tmp_path: Path) -> None:
    async with connected as client:
        await call(client, "manage_library", action="add", name="sea", url=picture(tmp_path))
        sources = ["library:sea", picture(tmp_path, "red")]
        first = await made(client, "generate_media", prompt="both", model="nano-banana-2", source_media_urls=sources)
        again = await made(client, "regenerate", id=first["generation_id"], prompt="both, at night")
        assert again["generation_type"] == "image-to-image"


async def test_a_job_of_another_program_is_made_again_from_what_the_history_tells(
    connected: Client, api: RunningSandbox
) -> None:
    body = {"prompt": "a foreign kite", "model": "z-image", "aspect_ratio": "9:16"}
    with api.client(KEY) as other:
        job_id = other.post("/v1/generate/media", json=body).json()["generation_id"]
    async with connected as client:
        again = await call(client, "regenerate", id=job_id)
        assert again["prompt"] == "a foreign kite"
        assert any("history tells" in note for note in again["notes"])
        assert (await refused(client, "regenerate", id="no-such-job"))["code"] == "unknown_job"


async def test_other_kinds_of_jobs_name_their_own_tool(connected: Client) -> None:
    async with connected as client:
        music = await call(client, "generate_music", prompt="calm piano")
        error = await refused(client, "regenerate", id=music["generation_id"])
        assert error["code"] == "invalid_argument"
        assert "generate_music" in error["next_step"]


async def test_a_change_is_checked_like_a_new_request(connected: Client) -> None:
    async with connected as client:
        first = await call(client, "generate_media", prompt="three kites", model="z-image")
        error = await refused(client, "regenerate", id=first["generation_id"], aspect_ratio="1:99")
        assert "aspect_ratio" in error["message"]
        too_many = await refused(client, "regenerate", id=first["generation_id"], variant_count=5)
        assert "variant_count" in too_many["message"]
