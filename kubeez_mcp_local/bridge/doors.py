"""Doors: ways to Kubeez, each with the account behind it and all the parts that belong to that account.

There are two: the REST API by key, and the hosted server by token. A new job goes through one of them, and whatever
becomes of it is looked after by that one. Ceilings, repeats and unknown fates hold over both; see `rows.Transaction`.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, BinaryIO, Protocol

from kubeez_mcp_local.bridge.api import Api, HostedApi
from kubeez_mcp_local.bridge.files import SharedWork
from kubeez_mcp_local.bridge.orders import Orders
from kubeez_mcp_local.bridge.pricing import Pricing
from kubeez_mcp_local.catalogue.listing import Catalogue
from kubeez_mcp_local.jobs.budget import Ceilings
from kubeez_mcp_local.jobs.following import Follower
from kubeez_mcp_local.jobs.guard import Limits
from kubeez_mcp_local.jobs.ledger import open_ledger
from kubeez_mcp_local.jobs.outputs import OutputStore
from kubeez_mcp_local.jobs.reconcile import Reconciler
from kubeez_mcp_local.jobs.sending import Pacer, Sender
from kubeez_mcp_local.jobs.spender import Asking, Spender
from kubeez_mcp_local.media.inputs import Uploads
from kubeez_mcp_local.operations import Sources
from kubeez_mcp_local.rest.errors import NotOfferedError, UnauthorizedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from kubeez_mcp_local.bridge.orders import Regenerating
    from kubeez_mcp_local.bridge.sheets import Sheets
    from kubeez_mcp_local.hosted.contract import HostedContract
    from kubeez_mcp_local.jobs.job import DoorName, Job
    from kubeez_mcp_local.jobs.ledger import Ledger
    from kubeez_mcp_local.jobs.sending import Background
    from kubeez_mcp_local.media.inputs import Inputs, LocalInput
    from kubeez_mcp_local.media.library import Library
    from kubeez_mcp_local.rest.contract import Contract, Terms
    from kubeez_mcp_local.rest.routes import Route
    from kubeez_mcp_local.settings import Settings

_SETTLING_SECONDS = 10.0


class House(Protocol):
    """What all doors have in common. `speed` is how fast the API's clock runs, `cache` a folder."""

    @property
    def settings(self) -> Settings: ...
    @property
    def background(self) -> Background: ...
    @property
    def cache(self) -> Path: ...
    @property
    def speed(self) -> float: ...
    @property
    def inputs(self) -> Inputs: ...
    @property
    def library(self) -> Library: ...
    @property
    def sheets(self) -> Sheets: ...
    def door_of(self, job: Job) -> Door: ...


class Door:
    """What both doors have. Each part is built when it is first needed.

    Attributes:
        account: Fingerprint of the account that pays.
        beside: The account of the other door; empty where only this one is open.
        called: What errors and results call it.
        whose: Which account pays, in a sentence.
    """

    name: DoorName
    called: str
    whose: str

    def __init__(self, account: str, house: House, beside: str = "") -> None:
        self.account = account
        self.beside = beside
        self._house = house
        self._settings = house.settings

    @cached_property
    def ledger(self) -> Ledger:
        settings = self._settings
        ceilings = Ceilings(settings.max_credits_per_call, settings.max_credits_per_day, settings.run_ceiling)
        return open_ledger(
            settings.state_dir,
            self.account,
            ceilings,
            server=settings.team_ledger,
            person=settings.who,
            beside=self.beside,
        )

    @cached_property
    def pacer(self) -> Pacer:
        return Pacer(self.ledger, Limits(speed=self._house.speed))

    @cached_property
    def api(self) -> Api:
        raise NotImplementedError

    @cached_property
    def contract(self) -> Terms:
        raise NotImplementedError

    @property
    def waits_for_a_person(self) -> bool:
        """Whether its secret is in a keyring, which is opened by the first call that needs it."""
        raise NotImplementedError

    async def verify_offers(self, route: Route) -> None:
        """Raise `NotOfferedError` if it does not take such work."""
        raise NotImplementedError

    @cached_property
    def catalogue(self) -> Catalogue:
        cache_file = self._house.cache / f"catalogue-{self.account}.json"
        return Catalogue(self.api.models, cache_file, fatal=(UnauthorizedError,))

    @cached_property
    def uploads(self) -> Uploads:

        async def upload(local: LocalInput, file: BinaryIO, on_progress: Callable[[int, int], None], model: str) -> str:
            name = f"{local.path.stem}{local.media_type.extension}"  # as its content is, whatever it was called
            mime = local.media_type.mime
            sent = await self.api.upload(
                file, filename=name, media_type=mime, on_progress=on_progress, model=model or None
            )
            return sent.url

        shared: SharedWork[str] = SharedWork(self._house.background.start)
        return Uploads(upload, self._house.cache / "uploads", self.account, share=shared.join)

    @cached_property
    def reconciler(self) -> Reconciler:
        return Reconciler(
            self.api, self.ledger, speed=self._house.speed, on_accepted=self.follower.follow, balance=self.credits
        )

    @cached_property
    def follower(self) -> Follower:
        house = self._house
        told = house.sheets.saved
        return Follower(self.api, self.ledger, self.outputs, house.background, speed=house.speed, on_saved=told)

    @cached_property
    def outputs(self) -> OutputStore:
        settings = self._settings
        return OutputStore(settings.output_dir, save_sidecars=settings.save_sidecars, download=self.api.download)

    @cached_property
    def spender(self) -> Spender:
        sender = Sender(
            self.api,
            self.ledger,
            self.pacer,
            self.reconciler,
            self._house.background,
            on_accepted=self.follower.follow,
            settling=self._settling,
        )
        house = self._house
        return Spender(
            sender,
            self.ledger,
            self.reconciler,
            self.asking,
            settling=self._settling,
            reconciler_of=lambda job: house.door_of(job).reconciler,
        )

    @cached_property
    def asking(self) -> Asking:
        return Asking(self.ledger, account=self.account, asks_above=self._settings.asks_above, balance=self.credits)

    @cached_property
    def orders(self) -> Orders:
        return Orders(
            self.account,
            self.uploads,
            self.contract,
            self.pricing,
            self.spender,
            self.ledger,
            beside=self.beside,
            whose=self.whose if self.beside else "",
        )

    @cached_property
    def pricing(self) -> Pricing:
        return Pricing(self.api, self.contract)

    @cached_property
    def sources(self) -> Sources:
        return Sources(self.catalogue, self._house.inputs, self._house.library, self.contract)

    @cached_property
    def regenerating(self) -> Regenerating:
        from kubeez_mcp_local.bridge.orders import Regenerating

        return Regenerating(self.ledger, self.api, self.sources)

    async def credits(self) -> float:
        """What is left in the account."""
        return (await self.api.balance()).credits

    @property
    def _settling(self) -> float:
        """How long a call waits for the history to settle a job whose answer never came, in seconds."""
        return max(_SETTLING_SECONDS / self._house.speed, 1.0)


class RestDoor(Door):
    """The REST API, by key; or a sandbox."""

    name = "rest"
    called = "the REST API"
    whose = "Paid by the account of the API key."

    @cached_property
    def api(self) -> Api:
        return Api(
            self._settings,
            self.pacer.read,
            lambda route: self.contract.locate(route),
            lambda rows: self.follower.notice(rows),
        )

    @cached_property
    def contract(self) -> Contract:
        from kubeez_mcp_local.rest.contract import Contract

        return Contract(self.api.openapi, self._house.cache / f"openapi-{self.account}.json")

    @property
    def waits_for_a_person(self) -> bool:
        return self._settings.effective_mode == "live" and self._settings.api_key is None

    async def verify_offers(self, route: Route) -> None:
        if route.evidence == "assumed":
            await self.contract.locate(route)


class HostedDoor(Door):
    """The hosted server, by token or sign-in."""

    name = "hosted"
    called = "the hosted server"
    whose = "Paid by the account of the hosted server."

    @cached_property
    def api(self) -> HostedApi:
        from kubeez_mcp_local.bridge.login import tokens_of

        return HostedApi(
            self._settings,
            self.pacer.read,
            lambda route: self.contract.locate(route),
            lambda rows: self.follower.notice(rows),
            tokens=tokens_of(self._settings),
            changed=lambda: self.contract.changed(),
        )

    @cached_property
    def contract(self) -> HostedContract:
        from kubeez_mcp_local.hosted.contract import HostedContract

        return HostedContract(self.api.tools, self._house.cache / f"tools-{self.account}.json")

    @property
    def waits_for_a_person(self) -> bool:
        from kubeez_mcp_local.hosted.tokens import Store

        return self._settings.mcp_token is None and not Store(None).file(self.account).exists()

    async def verify_offers(self, route: Route) -> None:
        await self.contract.locate(route)


async def door_for(doors: Sequence[Door], route: Route) -> Door:
    """The first of `doors`, the preferred one first, that takes such work. A single door is not asked here.

    Raises:
        NotOfferedError: None does.
        KubeezError: What the preferred door takes cannot be read. Nothing was sent, and no other door is taken for it.
    """
    if len(doors) == 1:
        return doors[0]
    reasons = []
    for door in doors:
        try:
            await door.verify_offers(route)
        except NotOfferedError as error:
            reasons.append(f"{door.called}: {error.reason}")
        else:
            return door
    raise NotOfferedError(route, "; ".join(reasons), through="either door")
