"""Local characters go into a request as what they consist of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from kubeez_mcp_local.bridge.casting import Casting
from kubeez_mcp_local.catalogue.media_request import MediaRequest
from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.media.inputs import Inputs
from kubeez_mcp_local.media.library import Library
from kubeez_mcp_local.media.path_guard import PathGuard
from kubeez_mcp_local.rest.contract import Contract

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

pytestmark = pytest.mark.anyio

OMNI = "gemini-omni-video-hd-8s"


def openapi(fields: Sequence[str]) -> dict[str, Any]:
    properties = {name: {"type": "string"} for name in ("prompt", "model", *fields)}
    body = {"content": {"application/json": {"schema": {"type": "object", "properties": properties}}}}
    return {"paths": {"/v1/generate/media": {"post": {"operationId": "generate_media", "requestBody": body}}}}


def casting(folder: Path, *published: str) -> Casting:
    async def fetch() -> dict[str, Any]:
        return openapi(published)

    library = Library(folder / "library")
    return Casting(library, Inputs(PathGuard((folder,)), library), Contract(fetch, folder / "openapi.json"))


async def ada(cast: Casting, folder: Path, **details: Any) -> str:
    path = folder / "ada.png"
    Image.new("RGB", (64, 64), "teal").save(path)
    character = await cast.create("ada", "An engineer in a grey coat", image=str(path), **details)
    return character.id


async def test_picture_description_and_voice_go_in(tmp_path: Path) -> None:
    cast = casting(tmp_path, "voice_id")
    wanted = await ada(cast, tmp_path, voice_id="Kore")
    request, sources = await cast.cast(MediaRequest("She waves", OMNI, character_ids=(wanted,)), ["first.png"])
    assert sources == ["first.png", "library:ada"]
    assert request.prompt == "She waves\n\nada: An engineer in a grey coat"
    assert (request.voice_id, request.character_ids) == ("kore", ())
    assert "picture" in request.notes[0]


async def test_a_name_stands_for_the_character_too(tmp_path: Path) -> None:
    cast = casting(tmp_path)
    await ada(cast, tmp_path)
    _, sources = await cast.cast(MediaRequest("She waves", OMNI, character_ids=("ada",)), [])
    assert sources == ["library:ada"]


async def test_a_voice_named_in_the_call_wins(tmp_path: Path) -> None:
    cast = casting(tmp_path, "voice_id")
    wanted = await ada(cast, tmp_path, voice_id="kore")
    request, _ = await cast.cast(MediaRequest("x", OMNI, voice_id="PUCK", character_ids=(wanted,)), [])
    assert request.voice_id == "puck"


async def test_a_voice_that_the_api_has_no_field_for_is_left_out_and_said(tmp_path: Path) -> None:
    cast = casting(tmp_path)
    wanted = await ada(cast, tmp_path, voice_id="kore")
    request, _ = await cast.cast(MediaRequest("x", OMNI, character_ids=(wanted,)), [])
    assert request.voice_id is None
    assert any("left out" in note for note in request.notes)


async def test_other_models_get_picture_and_description_only(tmp_path: Path) -> None:
    cast = casting(tmp_path, "voice_id")
    wanted = await ada(cast, tmp_path, voice_id="kore")
    request, sources = await cast.cast(MediaRequest("x", "nano-banana-2", character_ids=(wanted,)), [])
    assert (request.voice_id, sources) == (None, ["library:ada"])


async def test_an_id_from_elsewhere_is_passed_on(tmp_path: Path) -> None:
    request, sources = await casting(tmp_path).cast(MediaRequest("x", OMNI, character_ids=("hosted-1",)), [])
    assert (request.character_ids, request.prompt, sources) == (("hosted-1",), "x", [])


async def test_an_unknown_voice_is_refused_by_its_hosted_name(tmp_path: Path) -> None:
    cast = casting(tmp_path)
    for attempt in (cast.cast(MediaRequest("x", OMNI, voice_id="nobody"), []), ada(cast, tmp_path, voice_id="nobody")):
        with pytest.raises(InvalidArgumentError) as refusal:
            await attempt
        assert refusal.value.code == "invalid_voice_id"
