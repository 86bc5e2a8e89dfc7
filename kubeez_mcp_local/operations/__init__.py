"""One file a paid operation: data and functions. Whatever lists operations asks here; a new file is found by itself."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubeez_mcp_local.catalogue.checks import verify_media_kind, verify_variant_count
from kubeez_mcp_local.catalogue.prices import Quote, flat_quote
from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.media.inputs import LocalInput, RemoteInput
from kubeez_mcp_local.rest import routes as free
from kubeez_mcp_local.settings import TOOLSETS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from kubeez_mcp_local.catalogue.listing import Catalogue, Listing
    from kubeez_mcp_local.catalogue.models import InputKind, Model
    from kubeez_mcp_local.media.inputs import ComingInput, Inputs
    from kubeez_mcp_local.media.library import Library
    from kubeez_mcp_local.rest.contract import Terms
    from kubeez_mcp_local.rest.routes import Route

    Files = Mapping[str, tuple[InputKind, ...]]

Input = LocalInput | RemoteInput


@dataclass(frozen=True)
class Draft:
    """A request that has been checked and priced, with its inputs not yet uploaded.

    Attributes:
        route: Where it goes; the tool that asked for it has the same name, unless `tool` says otherwise.
        body: Its JSON body; an input stands where its URL will be, and `None` where nothing is said.
        model: Catalogue id it is priced by.
        quote: Price of one run.
        prompt: What the user asked for; empty for work without a prompt.
        notes: What the check changed, in words for the user.
        mode_note: The one of them that the hosted server has a field for.
        count: How many runs.
        repeat: Makes a wanted repeat a new intention, such as the id of the job being repeated.
        described: What `quote` is the price of, for the API's own estimate where the quote is unknown; `None` where
            that could not be told all that decides the price.
        implied: What decides and is said by no argument, in a few words each, for the question: `12 s`, `with sound`.
        called: What its files are called, where that does not follow from what it makes.
    """

    route: Route
    body: Mapping[str, Any]
    model: str
    quote: Quote
    prompt: str = ""
    generation_type: str | None = None
    notes: tuple[str, ...] = ()
    mode_note: str | None = None
    count: int = 1
    repeat: str = ""
    tool: str = ""
    described: Described | None = None
    implied: tuple[str, ...] = ()
    called: str = ""

    @property
    def credits(self) -> float | None:
        """The price of all runs; `None` where it is not known."""
        return None if self.quote.credits is None else round(self.quote.credits * self.count, 6)


@dataclass(frozen=True)
class Described:
    """A job in outline, for a price; what was left out takes the model's default.

    Attributes:
        duration: Of what is made, such as `5s`.
        video_seconds: Length of all attached clips together.
        audio_seconds: Length of all attached audio together.
        languages: How many target languages, each of them billed.
        characters: Of all that is to be spoken.
        count: How many of it.
    """

    model: str
    generation_type: str | None = None
    duration: str | None = None
    resolution: str | None = None
    quality: str | None = None
    sound: bool | None = None
    video_seconds: float | None = None
    audio_seconds: float | None = None
    languages: int = 1
    characters: int | None = None
    count: int = 1

    @property
    def file_seconds(self) -> float | None:
        """Length of the one file, whichever argument it came in."""
        return self.audio_seconds if self.video_seconds is None else self.video_seconds


@dataclass(frozen=True)
class Wish:
    """What a model is held against before a request for it exists.

    Attributes:
        inputs: The kinds of the files that will be attached.
        languages: Codes of the languages that something is to be spoken in.
    """

    inputs: Sequence[InputKind] = ()
    languages: Sequence[str] = ()


@dataclass(frozen=True)
class Sources:
    """What an operation looks at while it drafts a request. Nothing of it costs credits.

    Attributes:
        library: The user's own files and characters.
        inputs: Finds the files that arguments name and looks at them.
    """

    catalogue: Catalogue
    inputs: Inputs
    library: Library
    contract: Terms

    def expecting(self, coming: Mapping[str, ComingInput]) -> Sources:
        """The same, where arguments may also name what is still to come: these names stand for such files."""
        return replace(self, inputs=replace(self.inputs, coming=coming))

    async def file(
        self, value: str, argument: str, kinds: Sequence[str], *, sound_for: str = ""
    ) -> tuple[Input, float | None]:
        """The input behind a local path, URL or library name, and its length in seconds if it has one that is known.

        Args:
            sound_for: What happens to its sound, such as `captions are made`; empty where it may be silent.

        Raises:
            InvalidArgumentError: It may not be read, is damaged, of none of `kinds`, or silent; names `argument`.
        """
        item = await self.inputs.resolve(value, argument=argument)
        verify_media_kind(argument, item.kind, kinds)
        if sound_for and item.measured.has_sound is False:
            raise InvalidArgumentError(
                argument,
                f"{item.name} has no sound track, and {sound_for} from its sound.",
                next_step="Give the version that has sound; generate_sound can put effects or music on a silent clip.",
                code="no_sound",
            )
        return item, item.measured.seconds


@dataclass(frozen=True)
class Operation:
    """One thing that the API does for credits.

    Attributes:
        route: Where it is sent; its name is the tool's.
        title: For people.
        family: The toolset it belongs to.
        draft: `async (sources, **arguments) -> Draft`: from the tool's arguments to a checked and priced request. Its
            parameters are the tool's, its docstring is what models read. Raises `InvalidArgumentError` for what cannot
            work; nothing is charged.
        job: What plans call it, such as `captions`.
        quote: The price of a job that is only described; raises `InvalidArgumentError` for what cannot be had.
        model: Id of the usual model; empty where the caller has to name one.
        ids: Pattern that the ids of its models match, in lower case.
        types: Types of the rows that it runs, where no operation claims their id.
        tasks: What `plan` and `pick_model` call it, and in a few words what that makes.
        files: The arguments that take a file, with the kinds they take.
        names: The arguments that plans name, as the tool takes them.
        by_length: Whether it is billed by the length of a file.
        core: Whether the `core` toolset offers it too.
        stand_ins: For a model and the tool's arguments as given: those that a price needs and that are missing, with
            likely values; and what must be said about them.
        likely: For a described job, the files that it may have, the likeliest first: their kinds, by argument.
        accepts: Which kinds of files a model takes and how many, where `files` does not say.
        unfit: Why a model does not do what is wished for, in words that follow "it"; empty if it does.
        lengths: The least and the most seconds that a model makes, or that its file may have; `None` if that is open.
        about: What `get_models` adds to the row of a model: `returns`, what comes back; `takes`, lengths and counts.
        also: Routes that belong to it, such as the one on which its jobs are followed.
        script: How exported scripts build its body.
        makes: What its files are called beside the name of the file they are made of, such as `cutout`.
    """

    route: Route
    title: str
    family: str
    draft: Callable[..., Awaitable[Draft]]
    job: str
    quote: Callable[[Listing, Described], Quote] = lambda listing, job: flat_quote(
        listing.get(job.model), count=job.count
    )
    model: str = ""
    ids: str = ""
    types: tuple[str, ...] = ()
    tasks: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, tuple[InputKind, ...]] = field(default_factory=dict)
    names: str = ""
    by_length: bool = False
    core: bool = False
    stand_ins: Callable[[Model, Mapping[str, Any]], tuple[Mapping[str, Any], str]] = lambda model, given: ({}, "")
    likely: Callable[[Model, Described], Iterable[Files]] | None = None
    accepts: Callable[[Listing, str], tuple[tuple[InputKind, ...], int]] | None = None
    unfit: Callable[[str, Wish], str] = lambda _model, _wish: ""
    lengths: Callable[[str], tuple[int, int] | None] = lambda _model: None
    about: Callable[[Model], Mapping[str, str]] = lambda _model: {}
    also: tuple[Route, ...] = ()
    script: str = "plain"
    makes: str = ""

    @property
    def name(self) -> str:
        """The tool's name."""
        return self.route.name

    @cached_property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """The tool's own, by name."""
        return dict(list(inspect.signature(self.draft).parameters.items())[1:])

    def likely_files(self, model: Model, job: Described) -> Iterable[Files]:
        """As `likely`; where nothing is said, a file for each argument that may not be left out."""
        if self.likely is not None:
            return self.likely(model, job)
        empty, parameters = inspect.Parameter.empty, self.parameters
        return [{name: kinds[:1] for name, kinds in self.files.items() if parameters[name].default is empty}]

    def claims(self, model_id: str) -> bool:
        """Whether the id is one of its models'."""
        return bool(self.ids) and re.fullmatch(self.ids, model_id.strip().lower()) is not None

    def takes(self, listing: Listing, model_id: str) -> tuple[tuple[InputKind, ...], int]:
        """Which kinds of files the model takes, and how many of them."""
        if self.accepts is not None:
            return self.accepts(listing, model_id)
        return tuple(dict.fromkeys(kind for kinds in self.files.values() for kind in kinds)), len(self.files)


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


def accepted(listing: Listing, model_id: str) -> tuple[tuple[InputKind, ...], int]:
    """Which kinds of files a model takes, and how many of them. Raises `InvalidArgumentError`: `unknown_model`."""
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
    return operation.quote(listing, job) if operation else unpriced(model)


def unpriced(model: Model) -> Quote:
    """The price of what nothing here can make: none. The website has models that no endpoint takes."""
    why = "the API has no endpoint that takes it, so no tool runs it"
    return Quote(None, "unknown", note=f"{model.id} has no price: {why}.")


def made_by(operation: Operation, listing: Listing, model_id: str) -> Model:
    """The model with this id.

    Raises:
        InvalidArgumentError: There is none (`unknown_model`), or another operation runs it.
    """
    model = listing.get(model_id)
    other = by_model(model)
    if other is operation:
        return model
    if other is None:
        raise InvalidArgumentError("model", unpriced(model).note, next_step="pick_model chooses among those that run.")
    is_not = "makes no pictures or clips from a prompt" if operation.job == "media" else f"is no {operation.job} model"
    raise InvalidArgumentError(
        "model", f"{operation.name} does not run {model.id}, which {is_not}.", next_step=f"Use {other.name}."
    )
