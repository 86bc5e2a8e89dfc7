"""A paid request is an object before it is a call: described, priced and identified, and not yet sent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from kubeez_mcp_local.jobs.money import is_amount

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
class RunCall:
    """One paid call of a run of a recipe. The ledger pays each once, however often and late it is asked for again.

    Attributes:
        run: Names the run: its recipe and what it makes, so that nothing else is taken for a part of it.
        call: Names the call within the run.
        budget: Credits that the whole run may cost; can only lower the ceiling for one run.
        at_most: What the call costs at most, as far as its recipe knows; room for it must be left where its price is
            unknown, and without it such a call is refused.

    Raises:
        TypeError, ValueError: Something is missing, or no amount of credits.
    """

    run: str
    call: str
    budget: float
    at_most: float | None = None

    def __post_init__(self) -> None:
        named = isinstance(self.run, str) and isinstance(self.call, str) and self.run and self.call
        if not named or not is_amount(self.budget) or not (self.at_most is None or is_amount(self.at_most)):
            raise ValueError(f"{self!r} is no call of a run")


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
        run: The call of a run that it is, if it is one. Then an equal digest means the same however late it comes.
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
    run: RunCall | None = None
