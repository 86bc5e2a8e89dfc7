"""Builds the parts from the settings, each when it is first needed, and closes them again."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import anyio
import anyio.to_thread
from pydantic import SecretStr

from kubeez_mcp_local.bridge.doors import Door, HostedDoor, RestDoor, door_for
from kubeez_mcp_local.bridge.files import Measurements, SharedWork, Uploading
from kubeez_mcp_local.bridge.history import History
from kubeez_mcp_local.bridge.login import keep_key, key_in
from kubeez_mcp_local.bridge.sheets import Sheets
from kubeez_mcp_local.bridge.viewing import Viewing
from kubeez_mcp_local.environment import KEY, variables
from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.jobs.errors import UnknownJobError
from kubeez_mcp_local.jobs.following import Follower, query_for_work
from kubeez_mcp_local.jobs.job import State, accounts_of
from kubeez_mcp_local.jobs.sending import Background, Pacer
from kubeez_mcp_local.media.inputs import Inputs, Uploads
from kubeez_mcp_local.media.library import Library
from kubeez_mcp_local.media.path_guard import PathGuard
from kubeez_mcp_local.operations import by_id, by_model
from kubeez_mcp_local.rest.errors import UnauthorizedError
from kubeez_mcp_local.settings import Mode, NoKeyError, SettingsError, config_file

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from kubeez_mcp_local.bridge.api import Api
    from kubeez_mcp_local.bridge.approvals import Approvals
    from kubeez_mcp_local.bridge.files import UploadSessions
    from kubeez_mcp_local.bridge.gallery import Outputs
    from kubeez_mcp_local.bridge.hosted_calls import HostedCalls
    from kubeez_mcp_local.bridge.orders import Orders
    from kubeez_mcp_local.bridge.pricing import Pricing
    from kubeez_mcp_local.bridge.trimming import Trimming
    from kubeez_mcp_local.catalogue.listing import Catalogue
    from kubeez_mcp_local.jobs.job import DoorName, Job
    from kubeez_mcp_local.jobs.ledger import Ledger
    from kubeez_mcp_local.jobs.outputs import OutputStore
    from kubeez_mcp_local.jobs.proof import Row
    from kubeez_mcp_local.jobs.reconcile import Reconciler
    from kubeez_mcp_local.jobs.spender import Asking
    from kubeez_mcp_local.operations import Sources
    from kubeez_mcp_local.rest.contract import Contract
    from kubeez_mcp_local.rest.routes import Route
    from kubeez_mcp_local.settings import Settings
    from kubeez_mcp_local.web.key_page import KeyPage
    from kubeez_mcp_local.web.pages import Pages

_CLOSE_SECONDS = 0.2
_RESUME_AFTER_SECONDS = 2.0
LOGIN = "login --hosted"
_BALANCE_SECONDS = 5.0


@dataclass(frozen=True)
class Today:
    """The budget day (UTC) in credits.

    Attributes:
        spent: Charged, or held back for jobs that are not settled.
        reserved: The part of `spent` that is only held back.
        left: What the day's ceiling leaves.
    """

    day: str
    spent: float
    reserved: float
    left: float


class Bridge:
    """The product's parts, built lazily from the settings alone, as an async context manager.

    Leaving it ends background work promptly.

    Args:
        config: The user's own config file, where that is not the usual one; a key that is asked for is kept there.
    """

    def __init__(self, settings: Settings, *, config: Path | None = None) -> None:
        self.settings = settings
        self._config = config
        self.background = Background()
        self._hosted_calls: HostedCalls | None = None

    async def __aenter__(self) -> Self:
        await self.background.__aenter__()
        if self.settings.team_ledger or (self.settings.state_dir / "ledger.db").exists():
            for door in self.doors.values():
                self.background.start(self._resume, door)
        return self

    async def __aexit__(self, *details: object) -> None:
        try:
            await self.background.__aexit__(*details)  # raises when a signal has cancelled everything
        finally:
            with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
                for door in self.doors.values():
                    await door.ledger.aclose()
                for door in self.doors.values():
                    await door.api.aclose()

    @property
    def mode(self) -> Mode:
        return self.settings.effective_mode

    @property
    def published(self) -> Settings:
        """What the server says of itself goes by these."""
        return self.settings

    @cached_property
    def doors(self) -> Mapping[DoorName, Door]:
        """The doors that are open, the first one first."""
        accounts = accounts_of(self.settings)
        kinds: dict[DoorName, type[Door]] = {"rest": RestDoor, "hosted": HostedDoor}
        beside = {name: next((accounts[other] for other in accounts if other != name), "") for name in accounts}
        return {name: kinds[name](account, self, beside[name]) for name, account in accounts.items()}

    @property
    def door(self) -> Door:
        """The first door, whose parts are those of the bridge."""
        return next(iter(self.doors.values()))

    @property
    def two_doors(self) -> bool:
        """Whether it has to be said which one is meant."""
        return len(self.doors) > 1

    @property
    def names_doors(self) -> bool:
        """Whether results say which door was used: wherever it need not be that of the key."""
        return "hosted" in self.doors

    async def door_for(self, route: Route) -> Door:
        """Which door takes new work of this kind; raises as `doors.door_for`."""
        preferred = self.settings.prefer
        return await door_for(sorted(self.doors.values(), key=lambda door: door.name != preferred), route)

    def door_of(self, job: Job) -> Door:
        """The door that has taken a job, which looks after it whatever door would take it now."""
        return next(door for door in self.doors.values() if door.account == job.account)

    async def door_of_id(self, job_id: str) -> Door:
        """The door that has taken the job with this id, or shows it in its history; the first one where none does."""
        if not self.two_doors:
            return self.door
        with suppress(UnknownJobError):
            return self.door_of(await self.ledger.get(job_id))
        shown = await self.history.door_showing(job_id)
        return self.doors[shown] if shown else self.door

    async def pricing_for(self, model_id: str | None) -> Pricing:
        """What finishes prices where jobs of this model would be sent; where nobody takes them, the first door's."""
        if not model_id or not self.two_doors:
            return self.pricing
        try:
            operation = by_id(model_id) or by_model((await self.catalogue.listing()).get(model_id))
            return self.pricing if operation is None else (await self.door_for(operation.route)).pricing
        except KubeezError:
            return self.pricing

    @contextmanager
    def heard_by(self, listener: Callable[[], None]) -> Iterator[None]:
        """As `Ledger.heard_by`, for the ledgers of all doors."""
        with ExitStack() as stack:
            for door in self.doors.values():
                stack.enter_context(door.ledger.heard_by(listener))
            yield

    @property
    def account(self) -> str:
        """Fingerprint of the account that pays."""
        return self.door.account

    @property
    def ledger(self) -> Ledger:
        return self.door.ledger

    @property
    def pacer(self) -> Pacer:
        return self.door.pacer

    @property
    def api(self) -> Api:
        return self.door.api

    @property
    def catalogue(self) -> Catalogue:
        return self.door.catalogue

    @property
    def contract(self) -> Contract:
        """What the REST API publishes.

        Raises:
            NoKeyError: There is no key for it.
        """
        door = self.doors.get("rest")
        if not isinstance(door, RestDoor):
            step = "Run `kubeez-mcp-local login` with a key, which the REST API needs."
            raise NoKeyError("Only the hosted server's door is open.", next_step=step)
        return door.contract

    @property
    def uploads(self) -> Uploads:
        return self.door.uploads

    @property
    def reconciler(self) -> Reconciler:
        return self.door.reconciler

    @property
    def follower(self) -> Follower:
        return self.door.follower

    @property
    def outputs(self) -> OutputStore:
        return self.door.outputs

    @property
    def asking(self) -> Asking:
        return self.door.asking

    @property
    def orders(self) -> Orders:
        return self.door.orders

    @property
    def pricing(self) -> Pricing:
        return self.door.pricing

    @property
    def sources(self) -> Sources:
        return self.door.sources

    def hosted_calls(self, ours: Collection[str]) -> HostedCalls:
        """What calls tools of the hosted server that are not among `ours`.

        Raises:
            KubeezError: Its door is closed.
        """
        if self._hosted_calls is None:
            from kubeez_mcp_local.bridge.hosted_calls import HostedCalls

            door = self.doors.get("hosted")
            if not isinstance(door, HostedDoor):
                step = f"Run `kubeez-mcp-local {LOGIN}`, or set KUBEEZ_MCP_TOKEN."
                raise KubeezError("The hosted server's door is closed.", next_step=step, code="door_closed")
            self._hosted_calls = HostedCalls(door, self.background, ours)
        return self._hosted_calls

    @cached_property
    def history(self) -> History:
        return History(self.ledger, list(self.doors.values()), self.door_of)

    @cached_property
    def inputs(self) -> Inputs:
        return Inputs(PathGuard(self.settings.input_dirs), self.measurements.of, self.library)

    @cached_property
    def library(self) -> Library:
        return Library(self.settings.state_dir / "library")

    @cached_property
    def measurements(self) -> Measurements:
        return Measurements(self.ledger)

    @cached_property
    def sheets(self) -> Sheets:
        return Sheets(self.ledger, self.settings.sheets, self.background)

    @cached_property
    def trimming(self) -> Trimming:
        from kubeez_mcp_local.bridge.trimming import Trimming

        return Trimming(
            self.inputs,
            self.uploads,
            self.measurements,
            download=self.api.download,
            outputs=self.outputs,
            cuts=SharedWork(self.background.start, keep=True),
            work_dir=self.cache / "cuts",
        )

    @cached_property
    def upload_sessions(self) -> UploadSessions:
        from kubeez_mcp_local.bridge.files import UploadSessions

        inbox = self.cache / "inbox"
        return UploadSessions(
            self.catalogue, self.uploads, self.measurements, self.background, inbox, notice=self.page_notice
        )

    @cached_property
    def key_page(self) -> KeyPage:
        """Asks for the key, which is asked for in no other way."""
        from kubeez_mcp_local.web.key_page import KeyPage

        return KeyPage(self._keep_key, self.background.start)

    async def _keep_key(self, typed: str) -> str:
        """Check and keep the key that was typed, and go on with it where that is possible; returns what was done."""
        kept = await keep_key(key := key_in(typed, "key"), self.settings, self._config or config_file())
        door = self.doors.get("rest")
        if self.mode is Mode.LIVE and door is not None and kept.account == door.account:
            door.api.adopt(SecretStr(key))
            then = "Go back to your assistant and try again."
        else:
            now = "in the sandbox" if self.mode is Mode.SANDBOX else "with another key"
            then = f"The server was started {now}: {_restart()}"
        return f"{kept.checked} {kept.where} {then}"

    def lacks_key(self, error: KubeezError) -> bool:
        """Whether another key would help against `error`."""
        hosted = "rest" not in self.doors or LOGIN in (error.next_step or "")
        return self.mode is Mode.LIVE and error.code == UnauthorizedError.code and not hosted

    @cached_property
    def outputs_made(self) -> Outputs:
        from kubeez_mcp_local.bridge.gallery import Outputs
        from kubeez_mcp_local.media.thumbnails import Thumbnails

        settings = self.settings
        guard = PathGuard([Path(os.path.abspath(settings.output_dir)), *settings.input_dirs])  # noqa: PTH100 - keeps links
        return Outputs(self.ledger, guard, Thumbnails(self.cache / "thumbnails"))

    @cached_property
    def pages(self) -> Pages:
        """The pages about what was made and paid for, in the order of their navigation."""
        from kubeez_mcp_local.bridge.spending import Spending
        from kubeez_mcp_local.web.gallery import Gallery
        from kubeez_mcp_local.web.pages import Pages, Seal
        from kubeez_mcp_local.web.spend import Spend

        self.background.start(anyio.to_thread.run_sync, self.outputs_made.thumbnails.tidy)
        gallery = Gallery(self.outputs_made, seal=Seal())
        spend = Spend(Spending(self.ledger, self.settings, self.doubles), seal=Seal())
        return Pages([gallery.page(), spend.page()], start=self.background.start)

    @cached_property
    def approvals(self) -> Approvals:
        from kubeez_mcp_local.bridge.approvals import Approvals
        from kubeez_mcp_local.web.approval_page import ApprovalPage

        return Approvals(ApprovalPage(self.background.start), self.viewing, self.page_notice)

    @cached_property
    def viewing(self) -> Viewing:
        apis = {door.account: door.api for door in self.doors.values()}
        return Viewing(self.ledger, apis, self.inputs, self.cache / "views", SharedWork(self.background.start))

    @cached_property
    def uploading(self) -> Uploading:
        return Uploading(self.inputs, self.uploads, self.measurements)

    @property
    def query_for_work(self) -> str:
        """Tells whether the ledger holds jobs that `_resume` would pick up; for the front, which has only SQLite."""
        return query_for_work(self.account, self.reconciler.arrival_seconds, self.door.beside)

    @property
    def page_notice(self) -> str:
        """What every page says above all else; empty for nothing."""
        return "Sandbox: a free rehearsal." if self.mode is Mode.SANDBOX else ""

    async def today(self) -> Today:
        """What was spent and reserved today, over all processes, and what the day's ceiling leaves."""
        today = await self.ledger.today()
        used = today.spent + today.reserved
        return Today(today.day, used, today.reserved, max(self.settings.max_credits_per_day - used, 0.0))

    async def account_facts(self) -> dict[str, Any]:
        """Balance, ceilings and what of today is spent and reserved, in credits; the balance only if it can be had."""
        today = await self.today()
        settings = self.settings
        facts: dict[str, Any] = {
            "mode": self.mode.value,
            "credits": await self.credits_if_known(),
            "accounts": await self.balances() if self.two_doors else None,
            "spent_today": today.spent,
            "reserved": today.reserved,
            "left_today": today.left,
            "max_credits_per_call": settings.max_credits_per_call,
            "max_credits_per_day": settings.max_credits_per_day,
            "day": today.day,
            "unsettled_jobs": await self.unsettled() or None,
        }
        return {name: value for name, value in facts.items() if value is not None}

    async def unsettled(self) -> list[str]:
        """The jobs that were sent and of which nobody knows yet whether they were paid."""
        return [job.id for door in self.doors.values() for job in await door.ledger.in_state(State.UNKNOWN)]

    async def doubles(self) -> list[tuple[Row, Job]]:
        """As `Reconciler.doubles`, of all doors."""
        return [pair for door in self.doors.values() for pair in await door.reconciler.doubles()]

    async def balances(self) -> list[dict[str, Any]]:
        """What each door's account holds; without `credits` where that cannot be had quickly."""
        found = []
        for door in self.doors.values():
            credits_ = await self.credits_if_known(door)
            found.append({"door": door.name} | ({} if credits_ is None else {"credits": credits_}))
        return found

    async def credits_if_known(self, door: Door | None = None) -> float | None:
        """Credits in the account of a door, by default the first one, or `None` when they cannot be had quickly."""
        with anyio.move_on_after(_BALANCE_SECONDS), suppress(KubeezError):
            return await (door or self.door).credits()
        return None

    async def _resume(self, door: Door) -> None:
        """Pick up the jobs of earlier runs, once the client's first questions have been answered.

        A keyring is not opened for that: it might ask the person for a password when their editor starts.
        """
        await anyio.sleep(_RESUME_AFTER_SECONDS)
        if door.waits_for_a_person:
            await door.api.opened.wait()
        await door.follower.resume_all()
        await door.reconciler.settle_all()

    @property
    def cache(self) -> Path:
        return Path(os.path.realpath(self.settings.state_dir)) / "cache"

    @property
    def speed(self) -> float:
        """How fast the API's clock runs."""
        return self.settings.sandbox_speed if self.mode is Mode.SANDBOX else 1.0


def _restart() -> str:
    """What a server is told that goes on with the key it was started with."""
    if not variables().get(KEY):
        return "restart it in your program."
    return f"take {KEY} out of its entry in your program, since that one wins, and restart it."


_WITHOUT_SETTINGS = ("background", "trouble", "log_in_by", "key_page", "lacks_key", "_keep_key", "_config")


class UnusableBridge(Bridge):
    """Stands where none can be built because a setting cannot be used: whoever asks for a part is told why.

    What needs no part goes on working, so that whoever set it wrongly is told within the conversation.

    Args:
        trouble: The explanation.
        published: What the server says of itself goes by these.
        log_in_by: Where a key would be for, if a key is all that is missing.
        config: As for `Bridge`.
    """

    def __init__(
        self,
        trouble: SettingsError,
        published: Settings,
        *,
        log_in_by: Settings | None = None,
        config: Path | None = None,
    ) -> None:
        super().__init__(published, config=config)
        self.trouble = trouble
        self.log_in_by = log_in_by

    async def __aenter__(self) -> Self:
        await self.background.__aenter__()
        return self

    async def __aexit__(self, *details: object) -> None:
        await self.background.__aexit__(*details)

    async def _keep_key(self, typed: str) -> str:
        assert self.log_in_by is not None, "the page is not served otherwise"
        kept = await keep_key(key_in(typed, "key"), self.log_in_by, self._config or config_file())
        return f"{kept.checked} {kept.where} The server was started without a key: {_restart()}"

    def lacks_key(self, error: KubeezError) -> bool:
        return self.log_in_by is not None and isinstance(error, NoKeyError)

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("__") or name in _WITHOUT_SETTINGS:
            return super().__getattribute__(name)
        if name == "mode":
            return Mode.NONE
        if name == "published":
            return super().__getattribute__("settings")
        raise type(self.trouble)(self.trouble.message, next_step=self.trouble.next_step)
