"""The routes we use beside what the API publishes, on the command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from kubeez_mcp_local.cli.main import cli
from kubeez_mcp_local.operations import routes
from tests.sandbox_server import KEY, RunningSandbox, running_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from click.testing import Result

DOCUMENT = "GET /openapi.json"


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSandbox]:
    with running_sandbox(tmp_path_factory.mktemp("api")) as running:
        yield running


@pytest.fixture
def api(sandbox: RunningSandbox) -> RunningSandbox:
    sandbox.control.reset()
    sandbox.control.knobs(assumed_routes=True, faults=[])
    return sandbox


@pytest.fixture
def live(api: RunningSandbox, tmp_path: Path) -> dict[str, str]:
    return {"KUBEEZ_STATE_DIR": str(tmp_path / "state"), "KUBEEZ_API_KEY": KEY, "KUBEEZ_BASE_URL": api.url}


def contract(variables: dict[str, str], *arguments: str, code: int = 0) -> Result:
    done = CliRunner().invoke(cli, ["contract", *arguments], env=variables)
    assert done.exit_code == code, done.output
    assert KEY not in done.output
    return done


def facts_of(variables: dict[str, str], *arguments: str, code: int = 0) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(contract(variables, "--json", *arguments, code=code).stdout)
    facts["rows"] = {row["name"]: row for row in facts["rows"]}
    return facts


def publish(api: RunningSandbox, document: dict[str, Any]) -> None:
    """Make the API describe itself otherwise than it is."""
    api.control.fault(DOCUMENT, "status", status=200, body=document, times=9)


def test_without_a_key_the_built_in_sandbox_is_compared(tmp_path: Path) -> None:
    done = contract({"KUBEEZ_STATE_DIR": str(tmp_path)}, "--strict")
    assert "the built-in sandbox (sandbox)" in done.stdout
    assert "read just now" in done.stdout
    assert done.stdout.index("Documented") < done.stdout.index("Assumed")
    assert all(f" {name} " in done.stdout for name, route in routes().items() if route.keyed)


def test_a_standalone_sandbox_is_named_by_its_origin(api: RunningSandbox, live: dict[str, str]) -> None:
    facts = facts_of({**live, "KUBEEZ_MODE": "sandbox"})
    assert (facts["mode"], facts["origin"]) == ("sandbox", api.url)


def test_each_route_stands_beside_what_is_published(live: dict[str, str]) -> None:
    facts = facts_of(live, "--strict")
    assert (facts["mode"], facts["document_age_seconds"]) == ("live", 0)
    assert facts["published_operations"] >= len(facts["rows"])
    assert facts["rows"]["generate_media"] == {
        "name": "generate_media",
        "method": "POST",
        "path": "/v1/generate/media",
        "scope": "generate:media",
        "evidence": "documented",
        "published": "POST /v1/generate/media",
        "differences": [],
    }
    assert "the API marks it assumed" in facts["rows"]["generate_dubbing"]["differences"]


def test_an_assumed_route_that_is_not_published_is_missing(api: RunningSandbox, live: dict[str, str]) -> None:
    api.control.knobs(assumed_routes=False)
    rows = facts_of(live)["rows"]
    assert {row["evidence"] for row in rows.values() if row["published"] is None} == {"assumed"}
    assert rows["generate_captions"]["differences"] == ["the API publishes no such operation"]
    shown = contract(live, "--strict", code=1).stdout
    assert "(12 of 12 fit)" in shown
    assert "(0 of 8 fit)" in shown


def test_a_documented_route_that_lacks_a_field_or_wants_another_does_not_fit(
    api: RunningSandbox, live: dict[str, str]
) -> None:
    body = {"type": "object", "properties": {"prompt": {}, "brand": {}, "extra": {}}, "required": ["brand"]}
    operation = {"requestBody": {"content": {"application/json": {"schema": body}}}}
    publish(api, {"openapi": "3.1.0", "paths": {"/v1/generate/media": {"post": operation}}})
    row = facts_of(live, "--strict", code=1)["rows"]["generate_media"]
    lacking, guarded, unused, required = row["differences"]
    assert lacking.startswith("not published: aspect_ratio, duration")
    assert guarded == "not published, so never sent: character_ids, fixed_lens, voice_id"
    assert (unused, required) == ("published, not used here: extra", "required, unknown here: brand")


def test_what_is_never_sent_and_what_is_not_used_do_no_harm(api: RunningSandbox, live: dict[str, str]) -> None:
    with api.client() as http:
        document = http.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    (media,) = [schema for schema in schemas.values() if "fixed_lens" in schema.get("properties", {})]
    media["properties"]["novelty"] = media["properties"].pop("fixed_lens")
    publish(api, document)
    differences = facts_of(live, "--strict")["rows"]["generate_media"]["differences"]
    assert differences == ["not published, so never sent: fixed_lens", "published, not used here: novelty"]


def test_an_api_without_a_description_is_said_to_have_none(api: RunningSandbox, live: dict[str, str]) -> None:
    api.control.fault(DOCUMENT, "status", status=404, times=9)
    assert "publishes no /openapi.json" in contract(live).stdout
    facts = facts_of(live, "--strict", code=1)
    assert facts["published_operations"] == 0
    assert {row["published"] for row in facts["rows"].values()} == {None}


def test_an_api_that_cannot_be_reached_is_an_explained_error(live: dict[str, str]) -> None:
    done = contract({**live, "KUBEEZ_BASE_URL": "http://127.0.0.1:1"}, code=2)
    assert done.stdout == ""
    assert "http://127.0.0.1:1" in done.stderr


def test_the_last_copy_serves_while_the_api_cannot_be_read(
    api: RunningSandbox, live: dict[str, str], tmp_path: Path
) -> None:
    contract(live)
    (copy,) = (tmp_path / "state").rglob("openapi-*.json")
    kept = json.loads(copy.read_text("utf-8"))
    copy.write_text(json.dumps({**kept, "fetched_at": kept["fetched_at"] - 7_200}), "utf-8")
    api.control.fault(DOCUMENT, "status", status=403, times=9)
    assert "as it was 2 h ago, because it cannot be read now" in contract(live).stdout
