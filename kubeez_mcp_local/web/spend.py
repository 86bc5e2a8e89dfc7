"""The spend page: what was paid on which day and for what, what the ceilings leave, and what is still open.

What it shows comes from a `Source`, which knows the ledger and the settings; here are the addresses under which a
browser asks for it, and the files that a spreadsheet or a program reads.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import KW_ONLY, asdict, dataclass, fields
from typing import TYPE_CHECKING, Protocol

from starlette.responses import Response
from starlette.routing import Route

from kubeez_mcp_local.web.pages import Page, Seal
from kubeez_mcp_local.web.server import Json

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from starlette.requests import Request

NAME, TITLE = "spend", "Spend"
PERIODS = (7, 30, 90)
"""How many days can be shown, today included."""
_STEERS_A_SPREADSHEET = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_FORMATS = {"csv": "text/csv; charset=utf-8", "json": "application/json"}


@dataclass(frozen=True)
class Entry:
    """What one model cost on one UTC day with one tool and recipe at one door, in credits.

    Attributes:
        jobs: Every attempt, also refused ones.
        held: Not charged yet, but held back of the day's ceiling.
        door: `rest` or `hosted`.
    """

    day: str
    tool: str
    model: str
    recipe: str
    jobs: int
    charged: float
    held: float
    door: str = "rest"


@dataclass(frozen=True)
class Part:
    """What one day, model, recipe, tool or door came to; as `Entry`."""

    name: str
    jobs: int
    charged: float
    held: float


@dataclass(frozen=True)
class Open:
    """A job that holds credits back.

    Attributes:
        at: When it was ordered, in seconds since 1970.
        why: What is not known yet.
        ways: What can be done about it: in words, and the command that does it.
    """

    job: str
    state: str
    prompt: str
    model: str
    at: float
    held: float
    why: str
    ways: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Account:
    """Everything that the page shows, in credits; days are UTC.

    Attributes:
        today: The day whose ceiling counts; `spent` on it includes `held`, and `left` is what its ceiling leaves.
        per_call: Ceilings of the settings; `per_run` and `per_day` likewise.
        asks_above: Up to here nobody is asked; `None` where nobody is asked at all.
        days: Every day of the period in order, also those without jobs.
        models: Dearest first; `recipes`, `tools` and `doors` likewise.
        remarks: What else a person should know, one sentence each.
    """

    mode: str
    today: str
    spent: float
    held: float
    left: float
    per_call: float
    per_run: float
    per_day: float
    asks_above: float | None
    days: Sequence[Part]
    models: Sequence[Part]
    recipes: Sequence[Part]
    tools: Sequence[Part]
    open: Sequence[Open]
    remarks: Sequence[str] = ()
    doors: Sequence[Part] = ()


class Source(Protocol):
    """Knows what was spent."""

    async def account(self, days: int) -> Account:
        """The last `days` days, today included."""

    async def entries(self, days: int) -> list[Entry]:
        """The same in detail, in the order of the days."""


@dataclass(frozen=True)
class Spend:
    """The page's routes over a `Source`."""

    source: Source
    _: KW_ONLY
    seal: Seal

    def page(self) -> Page:
        """The page for the site."""
        return Page(
            NAME,
            TITLE,
            scripts=("spend.js",),
            styles=("spend.css",),
            data=[Route("/spend/account", self._account)],
            files=[Route("/spend/{seal}/{days:int}/{name}", self._file)],
        )

    async def _account(self, request: Request) -> Response:
        asked = request.query_params.get("days", "")
        days = int(asked) if asked in map(str, PERIODS) else PERIODS[1]
        files = {kind: f"media/spend/{self.seal.of(NAME, days)}/{days}/kubeez-spend.{kind}" for kind in _FORMATS}
        return Json({**asdict(await self.source.account(days)), "files": files})

    async def _file(self, request: Request) -> Response:
        asked = request.path_params
        kind = asked["name"].rpartition(".")[2]
        if kind not in _FORMATS or not self.seal.fits(asked["seal"], NAME, asked["days"]):
            return Response(status_code=404)
        entries = await self.source.entries(asked["days"])
        content = as_csv(entries) if kind == "csv" else as_json(entries)
        headers = {"Content-Disposition": f'attachment; filename="kubeez-spend-{asked["days"]}-days.{kind}"'}
        return Response(content, media_type=_FORMATS[kind], headers=headers)


def as_csv(entries: Iterable[Entry]) -> str:
    """A table for a spreadsheet, which takes none of its texts for a formula."""
    file = io.StringIO()
    rows = csv.writer(file)
    rows.writerow([each.name for each in fields(Entry)])
    rows.writerows([_harmless(value) for value in vars(entry).values()] for entry in entries)
    return file.getvalue()


def _harmless(value: str | float) -> str | float:
    """A text that a spreadsheet might compute begins with an apostrophe, as such programs mark a text."""
    return f"'{value}" if isinstance(value, str) and value.lstrip(" ").startswith(_STEERS_A_SPREADSHEET) else value


def as_json(entries: Iterable[Entry]) -> str:
    """The same for a program."""
    return json.dumps([asdict(entry) for entry in entries], indent=2)
