"""Documents and the catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import httpx

    from tests.sandbox_server import RunningSandbox

ASSUMED = {
    "generate_captions", "generate_dubbing", "generate_sound", "remove_background", "generate_separation",
    "get_separation", "generate_music_persona", "estimate",
}  # fmt: skip


def _operations(document: dict[str, dict[str, dict[str, dict[str, str]]]]) -> dict[str, str | None]:
    return {
        operation["operationId"]: operation.get("x-kubeez-evidence")
        for item in document["paths"].values()
        for operation in item.values()
    }


def test_health_and_the_catalogue_page_need_no_key(sandbox: RunningSandbox) -> None:
    with sandbox.client(key=None) as client:
        assert client.get("/health").json() == {"status": "healthy"}
        assert client.get("/docs/models.json").json()["total_count"] > 100
        assert client.get("/v1/models").status_code == 401


def test_the_guide_for_agents_names_every_operation_and_needs_no_key(sandbox: RunningSandbox) -> None:
    with sandbox.client(key=None) as client:
        guide = client.get("/llms.txt")
        assert guide.headers["content-type"].startswith("text/plain")
        assert str(client.base_url) in guide.text
        for path, item in client.get("/openapi.json").json()["paths"].items():
            assert all(f"- {method.upper()} {path}: " in guide.text for method in item)


def test_rows_hold_no_notes_of_ours_and_website_only_models_are_hidden(http: httpx.Client) -> None:
    listing = http.get("/v1/models").json()
    assert listing["total_count"] == len(listing["models"])
    assert not [key for row in listing["models"] for key in row if key.startswith("_")]
    ids = {row["model_id"] for row in listing["models"]}
    assert {"nano-banana-2", "V5_5", "mvsep-40", "remove-background", "ad-copy"} <= ids
    assert not ids & {"suno-add-vocals", "suno-add-instrumental", "flux-2", "veo3-1"}


def test_invented_prices_say_so(http: httpx.Client) -> None:
    row = http.get("/docs/models/remove-background.json").json()
    assert "invented" in row["cost_note"]


def test_every_row_has_an_estimate_and_says_which_are_assumed(http: httpx.Client) -> None:
    rows = {row["model_id"]: row for row in http.get("/v1/models").json()["models"]}
    assert not [name for name, row in rows.items() if not row["estimated_time_seconds"]]
    assert "estimated_time_note" not in rows["nano-banana-2"]
    assert "Assumed" in rows["kling-3-0-std"]["estimated_time_note"]


def test_music_rows_have_no_capabilities(http: httpx.Client) -> None:
    rows = http.get("/v1/models", params={"model_type": "music"}).json()["models"]
    assert [row["capabilities"] for row in rows] == [{}] * len(rows)


@pytest.mark.parametrize(
    "model",
    [
        *("seedance-2-mini", "seedance-2-480p", "seedance-2-fast-480p", "kling-3-0-turbo", "p-video", "gpt-image-2"),
        *(f"seedance-2-{tier}-video-ref" for tier in ("480p", "720p", "fast-480p", "fast-720p")),
    ],
)
def test_models_of_the_official_skill_are_there_with_prices_that_say_they_are_assumed(
    http: httpx.Client, model: str
) -> None:
    row = http.get(f"/docs/models/{model}.json").json()
    assert row["cost_per_generation"] > 0
    assert "Sandbox price" in row["cost_note"]
    assert row["capabilities"]["prompt_max_chars"] >= 2000


def test_the_listing_can_be_narrowed_to_a_type(http: httpx.Client) -> None:
    rows = http.get("/v1/models", params={"model_type": "music"}).json()["models"]
    assert {row["model_type"] for row in rows} == {"music"}


def test_a_family_name_lists_its_variants(http: httpx.Client) -> None:
    rows = http.get("/docs/models/kling-3-0.json").json()["models"]
    assert {"kling-3-0-std", "kling-3-0-pro"} <= {row["model_id"] for row in rows}
    assert http.get("/docs/models/no-such-model.json").status_code == 404


def test_speech_carries_its_voices(http: httpx.Client) -> None:
    voices = http.get("/docs/models/text-to-dialogue-v3.json").json()["voice_allowlist"]
    assert len(voices) == 26
    assert "Rachel" in voices


def test_the_openapi_document_marks_every_operation_with_its_evidence(http: httpx.Client) -> None:
    operations = _operations(http.get("/openapi.json").json())
    assert {name for name, evidence in operations.items() if evidence == "assumed"} == ASSUMED
    public = {name: evidence for name, evidence in operations.items() if not name.startswith("sandbox_")}
    assert set(public.values()) == {"assumed", "documented"}


def test_the_openapi_document_declares_every_refusal_with_its_body(http: httpx.Client) -> None:
    document = http.get("/openapi.json").json()
    for path, item in document["paths"].items():
        for method, operation in item.items():
            declared = operation["responses"]
            wanted = {"421", "424"}
            if operation.get("security"):
                wanted |= {"401", "429"}
            if operation.get("requestBody"):
                wanted |= {"400", "413", "422"}
            if path.startswith("/v1/generate/") and method == "post":
                wanted |= {"403"} | (set() if path.endswith("/persona") else {"202", "402"})
            if "{" in path:
                wanted |= {"404", "422"}
            assert wanted <= declared.keys(), (method, path, wanted - declared.keys())
            for status in wanted:
                schema = declared[status]["content"]["application/json"]["schema"]
                parts = schema.get("anyOf", [schema])
                assert all(part["$ref"].startswith("#/components/schemas/") for part in parts)


def test_streams_are_declared_as_event_streams(http: httpx.Client) -> None:
    paths = http.get("/openapi.json").json()["paths"]
    for kind in ("media", "music"):
        answers = paths[f"/v1/generate/{kind}/{{generation_id}}/stream"]["get"]["responses"]
        assert list(answers["200"]["content"]) == ["text/event-stream"]
        assert list(answers["404"]["content"]) == ["application/json"]


@pytest.mark.parametrize("path", ["/v1/generate/captions", "/v1/estimate", "/v1/generate/separation"])
def test_assumed_routes_can_be_switched_off(sandbox: RunningSandbox, http: httpx.Client, path: str) -> None:
    sandbox.control.knobs(assumed_routes=False)
    assert http.post(path, json={}).status_code == 404
    document = http.get("/openapi.json").json()
    assert not set(_operations(document)) & ASSUMED
    assert "generate_media" in _operations(document)
    sandbox.control.knobs(assumed_routes=True)
    assert http.post(path, json={}).status_code == 422
