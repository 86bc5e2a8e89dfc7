"""The shipped catalogue, and the smallest request that each of its models accepts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from kubeez_mcp_local.catalogue.media_request import MediaRequest
from kubeez_mcp_local.catalogue.rows import parse_row
from kubeez_mcp_local.catalogue.snapshot import snapshot_listing

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubeez_mcp_local.catalogue.listing import Listing
    from kubeez_mcp_local.catalogue.model import InputKind, Model


@pytest.fixture(scope="session")
def listing() -> Listing:
    return snapshot_listing()


@pytest.fixture(scope="session")
def minimal() -> Callable[[Model], MediaRequest]:
    """Build the smallest request from a model's own capabilities."""

    def build(model: Model) -> MediaRequest:
        inputs: tuple[InputKind, ...] = ()
        if model.needs_input:
            inputs = ("image", "image") if "first-and-last" in model.id else ("image",)
            inputs = (*inputs, "video") if model.max_videos else inputs
        return MediaRequest("a red kite", model.id, inputs=inputs)

    return build


@pytest.fixture(scope="session")
def make_model() -> Callable[..., Model]:
    """A model from a row with these capabilities; keywords that are row fields go to the row."""
    row_fields = {
        "model_id",
        "display_name",
        "model_type",
        "cost_per_generation",
        "generation_types",
        "requires_input_media",
        "cost_note",
        "input_media_types",
        "voice_allowlist",
    }

    def build(model_id: str, **fields: Any) -> Model:
        row: dict[str, Any] = {
            "model_id": model_id,
            "model_type": "video",
            "cost_per_generation": 10,
            "capabilities": {},
        }
        for name, value in fields.items():
            (row if name in row_fields else row["capabilities"])[name] = value
        return parse_row(row)

    return build
