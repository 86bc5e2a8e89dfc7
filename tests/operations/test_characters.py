"""Local characters go into a request as what they consist of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from kubeez_mcp_local.catalogue.listing import Catalogue
from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.media.containers import UNSEEN, Measured
from kubeez_mcp_local.media.inputs import Inputs
from kubeez_mcp_local.media.library import Library
from kubeez_mcp_local.media.path_guard import PathGuard
from kubeez_mcp_local.operations import Sources
from kubeez_mcp_local.operations.media import with_characters
from kubeez_mcp_local.operations.media_check import MediaRequest
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


def sources_of(folder: Path, *published: str) -> Sources:
    async def fetch() -> dict[str, Any]:
        return openapi(published)

    async def unseen(_: object) -> Measured:
        return UNSEEN

    library = Library(folder / "library")
    inputs = Inputs(PathGuard((folder,)), unseen, library)
    catalogue = Catalogue(no_rows, folder / "catalogue.json")
    return Sources(catalogue, inputs, library, Contract(fetch, folder / "openapi.json"))


async def no_rows() -> list[object]:
    return []


async def ada(sources: Sources, folder: Path, *, voice_id: str | None = None) -> str:
    path = folder / "ada.png"
    Image.new("RGB", (64, 64), "teal").save(path)
    picture = await sources.inputs.resolve(str(path), argument="url")
    character = await sources.library.create_character(
        "ada", "An engineer in a grey coat", voice_id=voice_id, image=picture
    )
    return character.id


async def test_picture_description_and_voice_go_in(tmp_path: Path) -> None:
    sources = sources_of(tmp_path, "voice_id")
    wanted = await ada(sources, tmp_path, voice_id="kore")
    request, files = await with_characters(
        sources, MediaRequest("She waves", OMNI, character_ids=(wanted,)), ["first.png"]
    )
    assert files == ["first.png", "library:ada"]
    assert request.prompt == "She waves\n\nada: An engineer in a grey coat"
    assert (request.voice_id, request.character_ids) == ("kore", ())
    assert "picture" in request.notes[0]


async def test_a_name_stands_for_the_character_too(tmp_path: Path) -> None:
    sources = sources_of(tmp_path)
    await ada(sources, tmp_path)
    _, files = await with_characters(sources, MediaRequest("She waves", OMNI, character_ids=("ada",)), [])
    assert files == ["library:ada"]


async def test_a_voice_named_in_the_call_wins(tmp_path: Path) -> None:
    sources = sources_of(tmp_path, "voice_id")
    wanted = await ada(sources, tmp_path, voice_id="kore")
    request, _ = await with_characters(sources, MediaRequest("x", OMNI, voice_id="PUCK", character_ids=(wanted,)), [])
    assert request.voice_id == "puck"


async def test_a_voice_that_the_api_has_no_field_for_is_left_out_and_said(tmp_path: Path) -> None:
    sources = sources_of(tmp_path)
    wanted = await ada(sources, tmp_path, voice_id="kore")
    request, _ = await with_characters(sources, MediaRequest("x", OMNI, character_ids=(wanted,)), [])
    assert request.voice_id is None
    assert any("left out" in note for note in request.notes)


async def test_other_models_get_picture_and_description_only(tmp_path: Path) -> None:
    sources = sources_of(tmp_path, "voice_id")
    wanted = await ada(sources, tmp_path, voice_id="kore")
    request, files = await with_characters(sources, MediaRequest("x", "nano-banana-2", character_ids=(wanted,)), [])
    assert (request.voice_id, files) == (None, ["library:ada"])


async def test_an_id_from_elsewhere_is_passed_on(tmp_path: Path) -> None:
    request, files = await with_characters(
        sources_of(tmp_path), MediaRequest("x", OMNI, character_ids=("hosted-1",)), []
    )
    assert (request.character_ids, request.prompt, files) == (("hosted-1",), "x", [])


async def test_an_unknown_voice_is_refused_by_its_hosted_name(tmp_path: Path) -> None:
    sources = sources_of(tmp_path)
    with pytest.raises(InvalidArgumentError) as refusal:
        await with_characters(sources, MediaRequest("x", OMNI, voice_id="nobody"), [])
    assert refusal.value.code == "invalid_voice_id"
