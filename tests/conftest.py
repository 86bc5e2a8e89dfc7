"""Fixtures shared by every test: a throw-away home and state, no keyring, and no environment that leaks in."""

from __future__ import annotations

import gc
import json
import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from kubeez_mcp_local.catalogue.listing import snapshot_listing
from kubeez_mcp_local.catalogue.models import parse_row
from kubeez_mcp_local.operations.media_check import MediaRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from kubeez_mcp_local.catalogue.listing import Listing
    from kubeez_mcp_local.catalogue.models import InputKind, Model
    from tests.keyrings import MemoryKeyring


# Property tests name how much of this they need, as a part or a multiple of it.
settings.register_profile("ci", max_examples=60, deadline=None)
settings.register_profile("nightly", max_examples=1_000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def throw_away_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test gets an empty home of its own and sees no KUBEEZ_ or proxy variable of the machine."""
    home = tmp_path / "home"
    home.mkdir()
    for name in list(os.environ):
        if name.startswith(("KUBEEZ_", "XDG_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    return home


@pytest.fixture(scope="session", autouse=True)
def schemas_are_checked_once() -> Iterator[None]:
    """Every client checks the output schemas of its server anew, each for as long as some calls take together."""
    validator: Any = import_module("jsonschema").Draft202012Validator  # which has no types
    check, known = validator.check_schema, set[str]()

    def checked(schema: Any, **options: Any) -> None:
        told = json.dumps(schema, sort_keys=True, default=repr)
        if told not in known:
            check(schema, **options)
            known.add(told)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(validator, "check_schema", staticmethod(checked))
        yield


@pytest.fixture
def ring(monkeypatch: pytest.MonkeyPatch) -> MemoryKeyring:
    """The keyring that is found; without it there is none."""
    from tests.keyrings import MemoryKeyring, use

    return use(monkeypatch, MemoryKeyring())


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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long is begun first, so that at the end no worker is waited for."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


def pytest_collection() -> None:
    gc.disable()  # what is imported and collected stays; looking through it again and again only costs time


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.set_threshold(20_000, 20)  # a tenth of all the time would go into looking for circles every 700 objects
    gc.enable()


def pytest_xdist_auto_num_workers() -> int:
    """Half of the tests wait for other processes, so that two workers leave two cores idle."""
    return max(4, os.cpu_count() or 4)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-snapshots", action="store_true", help="Write the tools' schema snapshots anew.")
