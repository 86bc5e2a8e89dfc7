"""Documents that need no key, and the catalogue."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse

from kubeez_mcp_local.sandbox.answers import Health, Models
from kubeez_mcp_local.sandbox.deps import DOCUMENTED, AnyCaller, TheDesk
from kubeez_mcp_local.sandbox.refusals import not_found

router = APIRouter(tags=["Discovery"])

_GUIDE = """# Kubeez API (sandbox)

{about}

Base URL: {base}
Authentication: `X-API-Key: sk_live_…` or `Authorization: Bearer sk_live_…`, never in the query string.
Jobs: POST a generation, then read its status until it is `completed` and its URLs are there, or use its stream.
Models: {base}docs/models.json. Schemas: {base}openapi.json.

{operations}
"""


@router.get("/health", operation_id="health", openapi_extra=DOCUMENTED)
def health() -> Health:
    """Whether the service is up."""
    return Health(status="healthy")


@router.get("/llms.txt", operation_id="llms_txt", openapi_extra=DOCUMENTED, response_class=PlainTextResponse)
def guide(request: Request) -> str:
    """How to use this API, for agents."""
    document = request.app.openapi()
    operations = [
        f"- {method.upper()} {path}: {operation['description']}"
        for path, item in document["paths"].items()
        for method, operation in item.items()
    ]
    return _GUIDE.format(base=request.base_url, about=document["info"]["description"], operations="\n".join(operations))


@router.get("/docs/models.json", operation_id="list_public_models", openapi_extra=DOCUMENTED)
def public_models(desk: TheDesk) -> Models:
    """The whole catalogue."""
    return _models(desk.catalogue.served())


@router.get("/docs/models/{model_id}.json", operation_id="get_public_model", openapi_extra=DOCUMENTED)
def public_model(model_id: str, desk: TheDesk) -> dict[str, Any]:
    """One row, or every variant of a family."""
    rows = desk.catalogue.family(model_id)
    if not rows:
        raise not_found("Model not found")
    return rows[0] if desk.catalogue.get(model_id) else _models(rows).model_dump()


@router.get("/v1/models", operation_id="list_models", openapi_extra=DOCUMENTED)
def models(desk: TheDesk, caller: AnyCaller, model_type: str | None = None) -> Models:
    """The catalogue for this account."""
    return _models(desk.catalogue.served(model_type))


def _models(rows: list[dict[str, Any]]) -> Models:
    return Models(models=rows, total_count=len(rows))
