"""A paid request is an object before it is a call: described, priced and identified, and not yet sent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from kubeez_mcp_local.rest.routes import Bucket, JobKind, Request


class Priced(Protocol):
    """What the ledger needs of a quote."""

    @property
    def credits(self) -> float | None:
        """Expected price; `None` when there is no evidence."""

    @property
    def basis(self) -> str:
        """Where the price comes from: `catalogue`, `rate` or `unknown`."""

    @property
    def seconds(self) -> int | None:
        """Expected processing time."""


@dataclass(frozen=True)
class Order:
    """One paid request.

    Attributes:
        tool: The tool or command that asked for it.
        route: Name of the API route it goes to.
        bucket: The API's rate bucket.
        kind: Which status route follows it.
        model: Catalogue id.
        prompt: What the user asked for; empty for work without a prompt.
        digest: Identifies the intention, see `digest_of`; equal digests are paid once.
        quote: Expected price.
        arguments: Everything needed to show or repeat the request, JSON types only; never the key.
        build: Uploads what must be uploaded and makes the request; runs after consent, before sending.
        generation_type: As the API's history names it.
        recipe: The recipe it belongs to.
        client: Name of the MCP client or command that asked.
        notes: What differs from what the user asked for, in words for the question.
        lasting: Whether an equal digest means the same intention however much later it comes.
    """

    tool: str
    route: str
    bucket: Bucket
    kind: JobKind
    model: str
    prompt: str
    digest: str
    quote: Priced
    build: Callable[[], Awaitable[Request]] = field(repr=False, compare=False)
    arguments: Mapping[str, Any] = field(default_factory=dict, repr=False)
    generation_type: str | None = None
    recipe: str | None = None
    client: str | None = None
    notes: tuple[str, ...] = ()
    lasting: bool = False
