"""What follows from the operations: routes, lists of tools, what a model takes."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import kubeez_mcp_local
from kubeez_mcp_local.cookbook.steps import FILE_ARGUMENTS, PAID_TOOLS
from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.operations import accepted, kinds, operations, routes
from kubeez_mcp_local.rest.routes import SCOPES, Route

ROOT = Path(kubeez_mcp_local.__file__).parent

if TYPE_CHECKING:
    from kubeez_mcp_local.catalogue.listing import Listing
    from kubeez_mcp_local.operations import Operation


@pytest.mark.parametrize(
    ("model_id", "kinds", "most"),
    [
        ("nano-banana-2", ("image",), 8),
        ("veo3-1-first-and-last-frames", ("image",), 2),
        ("kling-2-6-motion-control-720p", ("image", "video"), 2),
        ("auto-caption", ("video",), 1),
        ("mvsep-40", ("audio", "video"), 1),
        ("remove-background", ("image",), 1),
        ("ad-copy", ("image", "video"), 2),
        ("elevenlabs-dubbing", ("video",), 1),
        ("sonilo-video-to-sfx", ("video",), 1),
        ("z-image", (), 0),
        ("sonilo-text-to-sfx", (), 0),
        ("text-to-dialogue-v3", (), 0),
    ],
)
def test_kinds_and_number(listing: Listing, model_id: str, kinds: tuple[str, ...], most: int) -> None:
    assert accepted(listing, model_id) == (kinds, most)


def test_a_text_only_model_takes_what_its_edit_twin_takes(listing: Listing) -> None:
    assert listing.get("nano-banana").only_from_text
    assert accepted(listing, "nano-banana") == accepted(listing, "nano-banana-edit")
    assert "image" in accepted(listing, "nano-banana")[0]


def test_an_unknown_model_is_refused(listing: Listing) -> None:
    with pytest.raises(InvalidArgumentError, match="no model"):
        accepted(listing, "nano-banan")


@pytest.mark.parametrize("route", routes().values(), ids=lambda route: route.name)
def test_each_route_is_sound(route: Route) -> None:
    assert routes()[route.name] is route
    assert route.path.startswith("/")
    assert route.scope in (None, *SCOPES)
    assert route.method == "POST" or not route.spends
    assert route.keyed == route.path.startswith("/v1/")
    assert route.kind is None or routes()[f"{route.kind}_status"].method == "GET"
    assert route.unproven <= set(route.fields)
    assert bool(route.fields) or not route.spends
    assert bool(route.called) == (route.evidence == "assumed")


def test_only_media_and_music_are_streamed() -> None:
    assert kinds() == ("media", "music", "separation")
    assert [f"{kind}_stream" in routes() for kind in kinds()] == [True, True, False]


@pytest.mark.parametrize("operation", operations().values(), ids=lambda operation: operation.name)
def test_each_operation_agrees_with_itself(operation: Operation) -> None:
    parameters = set(inspect.signature(operation.draft).parameters)
    assert set(operation.files) <= parameters & set(operation.route.fields)
    assert not operation.model or operation.claims(operation.model) or operation.types
    assert operation.route.spends
    assert operation.route.kind in kinds()
    assert not (parameters & set(operation.route.fields)) - parameters
    assert inspect.getdoc(operation.draft)
    assert operation.name in PAID_TOOLS
    assert set(operation.files) <= FILE_ARGUMENTS


def test_no_two_operations_claim_one_model(listing: Listing) -> None:
    for model in listing.models:
        claiming = [operation.name for operation in operations().values() if operation.claims(model.id)]
        assert len(claiming) <= 1, model.id


def test_paid_tools_and_model_ids_stand_in_their_operation_only() -> None:
    """Whoever adds or changes an operation opens its file; texts for people and the sandbox's half may name it too."""
    ids = {operation.model for operation in operations().values() if operation.model} - {"V5_5"}
    ids -= {task for operation in operations().values() for task in operation.tasks}  # plans may name those
    wrong = []
    for path in sorted(ROOT.rglob("*.py")):
        folder = path.relative_to(ROOT).parts[0]
        if folder in ("operations", "sandbox", "web"):
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in ids:
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.value}")
    assert wrong == []
