"""One file a paid operation. Whatever lists operations asks here; a new file in this folder is found by itself."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from kubeez_mcp_local.catalogue.checks import verify_variant_count
from kubeez_mcp_local.catalogue.prices import flat_quote
from kubeez_mcp_local.rest import routes as free
from kubeez_mcp_local.settings import TOOLSETS

if TYPE_CHECKING:
    from kubeez_mcp_local.catalogue.listing import Listing
    from kubeez_mcp_local.catalogue.models import InputKind, Model
    from kubeez_mcp_local.catalogue.prices import Quote
    from kubeez_mcp_local.operations.operation import Described, Operation
    from kubeez_mcp_local.rest.routes import Route


@cache
def operations() -> dict[str, Operation]:
    """Every operation by its name: those of the `core` toolset first, then as the toolsets stand in the settings."""
    files = sorted(file.stem for file in Path(__file__).parent.glob("*.py") if file.stem != "__init__")
    modules = [import_module(f"{__name__}.{stem}") for stem in files]
    found: list[Operation] = [module.OPERATION for module in modules if hasattr(module, "OPERATION")]
    found.sort(key=lambda operation: (not operation.core, TOOLSETS.index(operation.family)))
    return {operation.name: operation for operation in found}


@cache
def routes() -> dict[str, Route]:
    """Every route, the free ones first."""
    paid = [route for operation in operations().values() for route in (operation.route, *operation.also)]
    return {**free.ROUTES, **{route.name: route for route in paid}}


@cache
def kinds() -> tuple[str, ...]:
    """How jobs are followed: the `media` of `media_status`."""
    return tuple(name.removesuffix("_status") for name in routes() if name.endswith("_status"))


def by_id(model_id: str) -> Operation | None:
    """The operation that claims this id, whether or not the catalogue has a row for it."""
    return next((operation for operation in operations().values() if operation.claims(model_id)), None)


def by_model(model: Model) -> Operation | None:
    """The operation that runs `model`."""
    of_type = (operation for operation in operations().values() if model.type in operation.types)
    return by_id(model.id) or next(of_type, None)


def runs(model: Model) -> str:
    """The name of the operation that runs `model`; empty if none does."""
    operation = by_model(model)
    return operation.name if operation else ""


def accepted(listing: Listing, model_id: str) -> tuple[tuple[InputKind, ...], int]:
    """Which kinds of files a model takes, and how many of them.

    Raises:
        UnknownModelError: There is no such model.
    """
    operation = by_id(model_id) or by_model(listing.get(model_id))
    return operation.takes(listing, model_id) if operation else ((), 0)


def estimate(listing: Listing, job: Described) -> Quote:
    """The price of a job that is only described.

    Raises:
        InvalidArgumentError: The model does not exist, or does not offer what was described.
    """
    verify_variant_count(job.count)
    model = listing.get(job.model)
    operation = by_model(model)
    return operation.quote(listing, job) if operation else flat_quote(model, count=job.count)
