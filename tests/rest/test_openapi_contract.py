"""Assumed routes are looked up in the API's own description, and never guessed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.operations import routes
from kubeez_mcp_local.rest.contract import DAY, Contract, compare, operations
from kubeez_mcp_local.rest.errors import NotFoundError, NotOfferedError, UnavailableError
from tests.requests import sent

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

VIDEO = "https://media.kubeez.com/v.mp4"
TEXT = {"type": "string"}


def schema(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


def post(body: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    content = {"requestBody": {"content": {"application/json": {"schema": body}}}} if body else {}
    return {"post": {**content, **more}}


class Api:
    """An API that publishes these paths, and counts how often its description is read."""

    def __init__(self, paths: dict[str, Any], *, components: dict[str, Any] | None = None) -> None:
        self.document: dict[str, Any] = {"openapi": "3.1.0", "paths": paths, "components": components or {}}
        self.error: Exception | None = None
        self.reads = 0
        self.now = 1_000_000.0

    async def fetch(self) -> dict[str, Any]:
        self.reads += 1
        if self.error:
            raise self.error
        return self.document

    def contract(self, folder: Path) -> Contract:
        return Contract(self.fetch, folder / "openapi.json", lambda: self.now)


async def test_a_documented_request_needs_no_description(tmp_path: Path) -> None:
    api = Api({})
    request = sent("generate_media", prompt="a", model="m")
    assert await api.contract(tmp_path).prepare(request) is request
    assert api.reads == 0


async def test_path_and_fields_come_from_the_api(tmp_path: Path) -> None:
    body = schema(("video_url",), video_url=TEXT, caption_style=TEXT)
    api = Api({"/v1/captions": post(body, operationId="create_captions_v1")})
    sendable = await api.contract(tmp_path).prepare(sent("generate_captions", media_url=VIDEO, style="bold"))
    assert (sendable.route.path, sendable.body) == ("/v1/captions", {"video_url": VIDEO, "caption_style": "bold"})
    assert sendable.route.name == "generate_captions"


async def test_an_operation_is_known_by_its_id_too(tmp_path: Path) -> None:
    api = Api({"/v1/tools/7": post(schema(url=TEXT), operationId="splitVocalsStemsSeparation")})
    sendable = await api.contract(tmp_path).prepare(sent("generate_separation", media_url=VIDEO))
    assert (sendable.route.path, sendable.body) == ("/v1/tools/7", {"url": VIDEO})


@pytest.mark.parametrize(
    ("published", "expected"),
    [
        ({"languages": {"type": "array", "items": TEXT}}, {"languages": ["de"]}),
        ({"target_languages": {"type": "array", "items": TEXT}}, {"target_languages": ["de"]}),
        ({"target_language": TEXT}, {"target_language": "de"}),
        ({"target_lang": {"anyOf": [TEXT, {"type": "null"}]}}, {"target_lang": "de"}),
        ({"language": {"type": ["string", "null"]}}, {"language": "de"}),
        ({"target_language": {"enum": ["DE", "FR"], "type": "string"}}, {"target_language": "DE"}),
    ],
)
async def test_one_or_several_values_as_the_api_wants_them(
    tmp_path: Path, published: dict[str, Any], expected: dict[str, Any]
) -> None:
    api = Api({"/v1/dub": post(schema(media_url=TEXT, **published))})
    sendable = await api.contract(tmp_path).prepare(sent("generate_dubbing", video_url=VIDEO, languages=("de",)))
    assert sendable.body == {"media_url": VIDEO, **expected}


async def test_several_values_where_one_is_taken_are_refused(tmp_path: Path) -> None:
    api = Api({"/v1/dub": post(schema(video_url=TEXT, target_language=TEXT))})
    with pytest.raises(InvalidArgumentError) as caught:
        await api.contract(tmp_path).prepare(sent("generate_dubbing", video_url=VIDEO, languages=("de", "fr")))
    assert caught.value.argument == "languages"


async def test_a_value_that_is_not_offered_is_refused_with_the_allowed_ones(tmp_path: Path) -> None:
    quality = {"type": "string", "enum": ["auto", "best"]}
    api = Api({"/v1/captions": post(schema(media_url=TEXT, quality=quality))})
    contract = api.contract(tmp_path)
    assert (await contract.prepare(sent("generate_captions", media_url=VIDEO, quality="BEST"))).body[
        "quality"
    ] == "best"
    with pytest.raises(InvalidArgumentError) as caught:
        await contract.prepare(sent("generate_captions", media_url=VIDEO, quality="ultra"))
    assert "auto, best" in caught.value.message


async def test_what_has_no_place_is_refused_instead_of_dropped(tmp_path: Path) -> None:
    api = Api({"/v1/captions": post(schema(media_url=TEXT))})
    with pytest.raises(InvalidArgumentError) as caught:
        await api.contract(tmp_path).prepare(sent("generate_captions", media_url=VIDEO, language="de"))
    assert caught.value.argument == "language"


async def test_no_two_of_our_fields_share_one_of_theirs(tmp_path: Path) -> None:
    api = Api({"/v1/dub": post(schema(video_url=TEXT, language=TEXT))})
    with pytest.raises(InvalidArgumentError):
        await api.contract(tmp_path).prepare(
            sent("generate_dubbing", video_url=VIDEO, languages=("de",), source_language="en", cloning_strength=3)
        )


async def test_a_required_field_we_do_not_have_makes_it_unusable(tmp_path: Path) -> None:
    api = Api({"/v1/captions": post(schema(("media_url", "campaign_id"), media_url=TEXT, campaign_id=TEXT))})
    with pytest.raises(NotOfferedError) as caught:
        await api.contract(tmp_path).prepare(sent("generate_captions", media_url=VIDEO))
    assert "campaign_id" in caught.value.message


async def test_a_required_field_with_one_possible_value_is_filled_in(tmp_path: Path) -> None:
    body = schema(("media_url", "model", "lang"), media_url=TEXT, model={"const": "mvsep-40"}, lang={"default": "auto"})
    api = Api({"/v1/separation": post(body)})
    sendable = await api.contract(tmp_path).prepare(sent("generate_separation", media_url=VIDEO))
    assert sendable.body == {"media_url": VIDEO, "model": "mvsep-40"}


async def test_references_and_compositions_are_followed(tmp_path: Path) -> None:
    components = {
        "schemas": {
            "Base": schema(("image_url",), image_url={"$ref": "#/components/schemas/Link"}),
            "Link": {"type": "string", "format": "uri"},
            "Request": {"allOf": [{"$ref": "#/components/schemas/Base"}, schema(size=TEXT)]},
        }
    }
    api = Api({"/v1/remove-background": post({"$ref": "#/components/schemas/Request"})}, components=components)
    sendable = await api.contract(tmp_path).prepare(sent("remove_background", image_url=VIDEO))
    assert sendable.body == {"image_url": VIDEO}


async def test_companions_of_an_operation_are_not_taken_for_it(tmp_path: Path) -> None:
    paths = {
        "/v1/generate/captions/estimate": post(schema(media_url=TEXT)),
        "/v1/generate/captions/preview": post(schema(media_url=TEXT)),
        "/v1/generate/captions/{id}/status": {"get": {}},
        "/v1/generate/captions": post(schema(media_url=TEXT)),
        "/v2/tools/captions": post(schema(media_url=TEXT)),
    }
    sendable = await Api(paths).contract(tmp_path).prepare(sent("generate_captions", media_url=VIDEO))
    assert sendable.route.path == "/v1/generate/captions"


@pytest.mark.parametrize(
    ("paths", "why"),
    [
        ({}, "publishes no such operation"),
        ({"/v1/captions": {"get": {}}}, "publishes no such operation"),
        ({"/v1/captions": post()}, "does not describe"),
        ({"/v1/things": post(schema(media_url=TEXT), summary="Captions and more")}, "publishes no such operation"),
        ({"/v1/captions/a": post(schema(u=TEXT)), "/v1/captions/b": post(schema(u=TEXT))}, "more than one"),
    ],
)
async def test_without_proof_nothing_is_offered(tmp_path: Path, paths: dict[str, Any], why: str) -> None:
    with pytest.raises(NotOfferedError) as caught:
        await Api(paths).contract(tmp_path).prepare(sent("generate_captions", media_url=VIDEO))
    assert why in caught.value.message
    assert "kubeez.com" in caught.value.next_step
    assert caught.value.spent is False


async def test_an_estimate_may_be_a_query(tmp_path: Path) -> None:
    parameters = [
        {"in": "query", "name": "model", "required": True, "schema": TEXT},
        {"in": "query", "name": "duration_seconds", "schema": {"type": "integer"}},
        {"in": "header", "name": "x", "required": True},
    ]
    api = Api({"/v1/cost": {"get": {"parameters": parameters}}})
    operation = await api.contract(tmp_path).prepare(sent("estimate", model="m", duration="5s"))
    assert (operation.route.method, operation.route.path, operation.body) == (
        "GET",
        "/v1/cost",
        {"model": "m", "duration_seconds": 5},
    )


async def test_the_status_path_of_a_separation_is_located(tmp_path: Path) -> None:
    api = Api({"/v1/separations/{sid}": {"get": {}}, "/v1/separations": post(schema(url=TEXT))})
    assert (await api.contract(tmp_path).locate(routes()["separation_status"])).path == "/v1/separations/{sid}"


async def test_sounds_and_personas_are_found(tmp_path: Path) -> None:
    paths = {
        "/v1/generate/sfx": post(schema(model_id=TEXT, text=TEXT, seconds={"type": "integer"})),
        "/v1/music/personas": post(schema(audio_id=TEXT, persona_name=TEXT, description=TEXT)),
    }
    contract = Api(paths).contract(tmp_path)
    sound = await contract.prepare(sent("generate_sound", model="m", prompt="rain", duration=5))
    assert sound.body == {"model_id": "m", "text": "rain", "seconds": 5}
    persona = await contract.prepare(sent("generate_music_persona", song_id="s", name="n", description="d"))
    assert persona.body == {"audio_id": "s", "persona_name": "n", "description": "d"}


async def test_a_field_known_from_the_hosted_tool_only_has_to_be_published(tmp_path: Path) -> None:
    request = sent("generate_media", prompt="a", model="gemini-omni", voice_id="kore")
    knows = Api({"/v1/generate/media": post(schema(prompt=TEXT, model=TEXT, voice_id=TEXT))})
    assert await knows.contract(tmp_path / "a").prepare(request) is request
    lacks = Api({"/v1/generate/media": post(schema(prompt=TEXT, model=TEXT))})
    with pytest.raises(InvalidArgumentError) as caught:
        await lacks.contract(tmp_path / "b").prepare(request)
    assert caught.value.argument == "voice_id"
    with pytest.raises(NotOfferedError):
        await Api({}).contract(tmp_path / "c").prepare(request)


CAPTIONS = sent("generate_captions", media_url=VIDEO)


async def test_the_description_is_read_once_a_day_and_kept_on_disk(tmp_path: Path) -> None:
    api = Api({"/v1/captions": post(schema(media_url=TEXT))})
    await api.contract(tmp_path).prepare(CAPTIONS)
    later = api.contract(tmp_path)
    await later.prepare(CAPTIONS)
    assert api.reads == 1
    api.now += DAY + 1
    await later.prepare(CAPTIONS)
    assert api.reads == 2


async def test_what_is_not_in_an_old_copy_is_looked_for_again(tmp_path: Path) -> None:
    api = Api({})
    contract = api.contract(tmp_path)
    for _ in range(2):
        with pytest.raises(NotOfferedError):
            await contract.prepare(CAPTIONS)
    assert api.reads == 1
    api.document["paths"] = {"/v1/captions": post(schema(media_url=TEXT))}
    api.now += 3600
    assert (await contract.prepare(CAPTIONS)).route.path == "/v1/captions"


async def test_an_old_copy_serves_while_the_api_is_down(tmp_path: Path) -> None:
    api = Api({"/v1/captions": post(schema(media_url=TEXT))})
    await api.contract(tmp_path).prepare(CAPTIONS)
    api.now, api.error = api.now + 10 * DAY, UnavailableError("down")
    assert (await api.contract(tmp_path).prepare(CAPTIONS)).route.path == "/v1/captions"


async def test_without_any_copy_the_failure_is_told(tmp_path: Path) -> None:
    api = Api({})
    api.error = UnavailableError("down")
    with pytest.raises(UnavailableError):
        await api.contract(tmp_path).prepare(CAPTIONS)


async def test_an_api_without_a_description_offers_nothing(tmp_path: Path) -> None:
    api = Api({})
    api.error = NotFoundError("no such page")
    with pytest.raises(NotOfferedError):
        await api.contract(tmp_path).prepare(CAPTIONS)


@pytest.mark.parametrize("content", ["", "[]", '{"fetched_at": "x"}', '{"fetched_at": 1, "document": 5}', "\x00"])
async def test_a_damaged_copy_is_replaced(tmp_path: Path, content: str) -> None:
    (tmp_path / "openapi.json").write_text(content)
    api = Api({"/v1/captions": post(schema(media_url=TEXT))})
    await api.contract(tmp_path).prepare(CAPTIONS)
    assert api.reads == 1
    assert json.loads((tmp_path / "openapi.json").read_text())["document"] == api.document


async def test_a_copy_that_cannot_be_kept_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    api = Api({"/v1/captions": post(schema(media_url=TEXT))})
    assert (await api.contract(tmp_path / "file").prepare(CAPTIONS)).route.path == "/v1/captions"


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"paths": []},
        {"paths": {"/a": None, "/b": {"post": 5}}},
        {"paths": {"/a": {"post": {"tags": 5, "parameters": 7, "requestBody": {"$ref": "#/x/y"}, "operationId": 3}}}},
        {"paths": {"/a": post({"$ref": "#/components/schemas/A"})}, "components": {"schemas": {"A": {"allOf": "x"}}}},
        {"paths": {"/a": post({"$ref": "#/a"})}, "a": {"$ref": "#/a"}},
        {"paths": {"/a": post({"$ref": "#/a"})}, "a": {"allOf": [{"$ref": "#/a"}, {"$ref": "#/a"}]}},
    ],
)
def test_no_document_can_crash_the_reader(document: dict[str, Any]) -> None:
    assert all(item.fields in (None, {}) for item in operations(document))


def test_the_comparison_names_every_route_and_what_differs() -> None:
    paths = {
        "/v1/balance": {"get": {"x-kubeez-evidence": "documented"}},
        "/v1/generate/media/{id}": {"get": {}},
        "/v1/generate/ad-copy": post(schema(("brand",), reference_ad_url=TEXT, brand=TEXT, tone=TEXT)),
        "/v1/captions": post(schema(media_url=TEXT), **{"x-kubeez-evidence": "assumed"}),
    }
    rows = {row.route.name: row for row in compare(operations({"paths": paths}), routes().values())}
    assert set(rows) == {name for name, route in routes().items() if route.keyed}
    assert (rows["balance"].published, rows["balance"].differences) == ("GET /v1/balance", ())
    assert rows["media_status"].differences == ()
    assert (rows["models"].published, rows["models"].differences) == (None, ("not published",))
    assert rows["generate_dubbing"].published is None
    captions = rows["generate_captions"].differences
    assert captions[:2] == ("published as POST /v1/captions", "the API marks it assumed")
    assert "required, unknown here: brand" in rows["create_ad_copy"].differences
    assert "published, not used here: tone" in rows["create_ad_copy"].differences
    assert any(line.startswith("not published: aspect_ratio, language") for line in rows["create_ad_copy"].differences)
