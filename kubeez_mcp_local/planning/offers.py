"""What would do where no model does all that is wished for: for each wish that gives way, the nearest offer.

Some wishes are met all the same, by several tools together: a longer clip is cut by `trim_video`, a silent one gets
sound from `generate_sound`, a long one is made as several. Others are met as nearly as the catalogue allows: another
ratio, fewer results, a higher price. All of it is computed over the catalogue; every price is the one of the tools.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import combinations, product
from typing import TYPE_CHECKING, Any

from kubeez_mcp_local.catalogue.checks import parse_seconds
from kubeez_mcp_local.operations import Described, media, sound
from kubeez_mcp_local.operations.media import MAX_VARIANTS
from kubeez_mcp_local.planning.intent import does_task, tasks
from kubeez_mcp_local.planning.pick import Needs, candidates, height, held_against, in_standing_order, order
from kubeez_mcp_local.text import spoken

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kubeez_mcp_local.catalogue.listing import Listing
    from kubeez_mcp_local.catalogue.models import InputKind, Model
    from kubeez_mcp_local.operations import Operation
    from kubeez_mcp_local.planning.pick import Candidate, Choice

MOST_OFFERS = 5
THING: dict[InputKind, str] = {"image": "picture", "video": "clip", "audio": "recording"}
LONGEST_CUT = 60
"""Seconds that `trim_video` cuts at most."""
MOST_JOINED, LONGEST_JOINED = 20, 300
"""Clips, and seconds of what they come to, that `join_videos` takes."""
_FEW = 6
"""So many ways are tried of each wish where several give way together."""
_NO_CHOICE = 10_000
"""How far it is from a wish that a model cannot meet it at all."""
_NEAREST = 3
"""So many other ratios and resolutions are tried."""
_DEARER_FOR_FEWER = 1.25
"""How much dearer than the cheapest a row of clips may be that needs fewer of them."""


@dataclass(frozen=True)
class Step:
    """A call of a tool.

    Attributes:
        credits: For all of its `times`; `None` where the price is not known.
        inputs: Kinds of the files that go in. seconds: Length of what is made, or of the file that goes in.
    """

    tool: str
    arguments: Mapping[str, Any]
    credits: float | None
    times: int = 1
    exact: bool = True
    note: str = ""
    inputs: tuple[InputKind, ...] = ()
    seconds: int | None = None

    @property
    def says(self) -> str:
        """In short, such as `2 x generate_sound sonilo-text-to-sfx, 10 s (20 credits)`."""
        model = str(self.arguments.get("model", ""))
        what = model if self.tool == "generate_media" else f"{self.tool} {model}".rstrip()
        price = "price not known" if self.credits is None else spoken(self.credits) if self.credits else "free"
        return f"{f'{self.times} x ' * (self.times > 1)}{what}{self.note} ({price})"


After = Callable[["int | None"], "tuple[Step, ...]"]


@dataclass(frozen=True)
class Offer:
    """Something that can be had. `gives_way` names the wishes that are met in another way, or not."""

    gives_way: tuple[str, ...]
    says: str
    credits: float | None
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class _Way:
    """How a wish gives way.

    Attributes:
        changes: What one call is asked for instead.
        far: How far that is from the wish; 0 if several tools meet it together.
        words: What the user gets instead.
        cut: Seconds to which a clip is cut. parts: How many calls make the whole. sounded: Whether sound is added.
        dear: Whether the budget counts no longer.
        only: The only model that can be meant.
    """

    changes: Mapping[str, Any] = field(default_factory=dict)
    far: float = 0
    words: str = ""
    cut: int | None = None
    parts: int = 1
    sounded: bool = False
    dear: bool = False
    only: str = ""


@dataclass(frozen=True)
class _Whole:
    """What becomes of the results, as `offers` takes it."""

    can_cut: bool
    joined: bool
    after: After


@dataclass(frozen=True)
class _Found:
    key: tuple[float, ...]
    parts: int
    price: float
    offer: Offer
    met: bool


def offers(
    listing: Listing,
    needs: Needs,
    *,
    can_cut: bool = True,
    joined: bool = False,
    after: After = lambda _seconds: (),
    spoken_in: bool = False,
) -> tuple[Offer, ...]:
    """The nearest offer for each wish that gives way alone; if none does so, for two or more wishes together.

    Args:
        needs: As `pick` settled them.
        can_cut: Whether `trim_video` and `join_videos` work here.
        joined: Whether all results are to be one film.
        after: What is done with it then, by its seconds; its price counts.
        spoken_in: Whether what is made needs speech, which neither silence nor `generate_sound` is.
    """
    ways = {name: found for name, found in _ways(listing, needs, can_cut).items() if found}
    if spoken_in:
        ways.pop("sound", None)
    whole = _Whole(can_cut, joined, after)

    @cache
    def doing(task: str) -> list[Model]:
        return [model for model in in_standing_order(listing, task) if does_task(model, task)]

    @cache
    def fitting(changed: Needs) -> list[Candidate]:
        held = (held_against(model, listing, changed, misfits=False) for model in doing(changed.task))
        return [candidate for candidate in held if candidate and not candidate.misses]

    for together in range(1, len(ways) + 1):
        tried = ways if together == 1 else {name: [*found[:_FEW], *found[_FEW:][-1:]] for name, found in ways.items()}
        nearest = [
            _nearest(listing, needs, names, [tried[name] for name in names], fitting, whole)
            for names in combinations(ways, together)
        ]
        found = [one for one in nearest if one]
        if found:
            found.sort(key=lambda one: (not one.met, one.price))
            return tuple(one.offer for one in found[:MOST_OFFERS])
    return ()


def cheaper(listing: Listing, choice: Choice, *, can_cut: bool = True) -> Offer | None:
    """Where something fits: how several tools together make the same for less; `None` where they do not.

    Args:
        can_cut: As for `offers`.
    """
    needs, best = choice.needs, choice.chosen
    if best is None or best.quote.credits is None or needs.prefer != "price" or needs.task not in media.TASKS:
        return None
    same = {name: [way for way in found if _is_same(way)] for name, found in _ways(listing, needs, can_cut).items()}
    ways = {name: found for name, found in same.items() if found}
    alone = _Whole(can_cut, False, lambda _seconds: ())
    made = [
        one
        for together in range(1, len(ways) + 1)
        for names in combinations(ways, together)
        for chosen in product(*(ways[name] for name in names))
        for model in in_standing_order(listing, needs.task)
        if does_task(model, needs.task)
        and (candidate := held_against(model, listing, _changed(needs, chosen), misfits=False))
        and not candidate.misses
        and (one := _offered(listing, needs, names, chosen, candidate, alone))
    ]
    least = min(made, key=lambda one: (one.price, len(one.offer.steps)), default=None)
    return least.offer if least and least.price < best.quote.credits else None


def _is_same(way: _Way) -> bool:
    """Whether the user gets what was wished for, in one piece."""
    return not (way.far or way.dear or way.words or way.only) and way.parts == 1


def _nearest(
    listing: Listing,
    needs: Needs,
    names: tuple[str, ...],
    ways: Sequence[Sequence[_Way]],
    fitting: Callable[[Needs], list[Candidate]],
    whole: _Whole,
) -> _Found | None:
    found = [
        one
        for chosen in product(*ways)
        for candidate in fitting(_changed(needs, chosen))
        if (one := _offered(listing, needs, names, chosen, candidate, whole))
    ]
    if not found:
        return None
    best = min(one.key[: len(names)] for one in found)
    near = [one for one in found if one.key[: len(names)] == best]
    if needs.prefer == "price" and any(one.parts > 1 for one in near):
        most = min(one.price for one in near) * _DEARER_FOR_FEWER
        return min((one for one in near if one.price <= most), key=lambda one: (one.parts, one.price, one.key))
    return min(near, key=lambda one: one.key)


def _changed(needs: Needs, ways: Sequence[_Way]) -> Needs:
    changes: dict[str, Any] = {}
    for way in ways:
        changes |= way.changes
    return replace(needs, max_credits=None, **changes)


def _offered(
    listing: Listing, needs: Needs, names: tuple[str, ...], ways: Sequence[_Way], candidate: Candidate, whole: _Whole
) -> _Found | None:
    """What this candidate comes to; `None` if it does not go with these ways, or not into the budget."""
    model, sounded = candidate.model, any(way.sounded for way in ways)
    if (sounded and model.sound == "included") or any(way.only not in ("", model.id.lower()) for way in ways):
        return None
    changed = _changed(needs, ways)
    parts = max(way.parts for way in ways)
    steps = [_made(changed, candidate, parts, apart=parts > 1 or whole.joined)]
    cut = next((way.cut for way in ways if way.cut), None)
    if cut is not None:
        steps = _cut(steps, changed, cut, parts)
    if sounded:
        seconds = cut if cut and parts == 1 else _seconds(candidate)
        steps.append(_sounded(listing, seconds, parts * changed.count))
    clips = parts * (changed.count if whole.joined else 1)
    several = changed.task.endswith("-video") and clips > 1
    joins = several and whole.can_cut and joinable(clips, clips * (_seconds(candidate) or 0))
    if joins:
        steps.append(joining(1 if whole.joined else changed.count))
    lasts = needs.seconds if cut is not None or parts > 1 else _seconds(candidate)
    after = whole.after(lasts and lasts * (changed.count if whole.joined else 1))
    if after and several and not joins:
        return None
    steps += after
    prices = [step.credits for step in steps]
    total = None if any(price is None for price in prices) else round(sum(price or 0 for price in prices), 2)
    price = math.inf if total is None else total
    if needs.max_credits is not None and price > needs.max_credits and not any(way.dear for way in ways):
        return None
    rank = order(replace(candidate, quote=replace(candidate.quote, credits=total)), needs)
    exact = all(step.exact for step in steps)
    words = [way.words for way in ways if way.words]
    if several and not joins:
        words.append("as separate clips")
    known = "price not known" if total is None else spoken(total)
    start = known if total is None else f"{known} exactly" if exact else f"about {known}"
    says = f"{start}: {', then '.join(step.says for step in steps)}{''.join(f'; {word}' for word in words)}"
    met = not any(way.far or way.dear for way in ways)
    return _Found((*(way.far for way in ways), *rank), parts, price, Offer(names, says, total, tuple(steps)), met)


def _made(needs: Needs, candidate: Candidate, parts: int, *, apart: bool) -> Step:
    """The call, or calls, that make the thing itself; `apart`: each with a prompt of its own."""
    operation, request = tasks()[needs.task], candidate.request
    arguments: dict[str, Any] = {}
    if request is not None:
        named = ("model", "generation_type", "aspect_ratio", "duration", "resolution", "sound")
        arguments = {name: value for name in named if (value := getattr(request, name)) is not None}
    elif "model" in operation.route.fields:
        arguments = {"model": candidate.model.id}
        if "duration" in operation.route.fields and not _takes_its_length(operation, candidate.model):
            arguments |= {"duration": needs.duration} if needs.duration else {}
    if needs.languages and "languages" in operation.route.fields:
        arguments["languages"] = list(needs.languages)
    together = needs.count if request is not None and not apart and 1 < needs.count <= MAX_VARIANTS else 1
    if together > 1:
        arguments["variant_count"] = together
    seconds = _seconds(candidate) if request is not None else needs.seconds
    price = candidate.quote.credits
    return Step(
        operation.name,
        arguments,
        None if price is None else round(price * parts, 2),
        parts * needs.count // together,
        candidate.quote.exact,
        (f", {seconds} s" if seconds else "") + (", a prompt each" if apart and request is not None else ""),
        needs.inputs,
        seconds,
    )


def _takes_its_length(operation: Operation, model: Model) -> bool:
    """Whether the model's length is that of a file."""
    return "video" in model.input_types or (bool(operation.files) and model.needs_input)


def _cut(steps: list[Step], needs: Needs, cut: int, parts: int) -> list[Step]:
    """With the cut behind what was made, or, where a file of the user is too long, before it."""
    arguments = {"start_s": 0, "end_s": cut}
    if needs.task not in media.TASKS:
        return [Step("trim_video", arguments, 0, parts, note=f" into parts of at most {cut} s"), *steps]
    which = " the last" if parts > 1 else ""
    return [*steps, Step("trim_video", arguments, 0, needs.count, note=f"{which} to {cut} s")]


def joinable(clips: int, seconds: float) -> bool:
    """Whether `join_videos` takes so many and so long."""
    return clips <= MOST_JOINED and seconds <= LONGEST_JOINED


def joining(times: int = 1) -> Step:
    """Several clips made one on this machine."""
    return Step("join_videos", {}, 0, times)


def _sounded(listing: Listing, seconds: int | None, times: int) -> Step:
    quote = tasks()["sound"].quote(listing, Described(sound.ONTO_CLIP, video_seconds=seconds, count=times))
    return Step(
        "generate_sound", {"model": sound.ONTO_CLIP}, quote.credits, times, quote.exact, "", ("video",), seconds
    )


def _seconds(candidate: Candidate) -> int | None:
    chosen = parse_seconds(candidate.request.duration) if candidate.request else None
    return candidate.model.fixed_seconds or chosen


def _ways(listing: Listing, needs: Needs, can_cut: bool) -> dict[str, list[_Way]]:
    """Every wish that was uttered, with the ways in which it can give way."""
    doing = [model for model in listing.models if does_task(model, needs.task)]
    is_media = needs.task in media.TASKS
    length = _other_lengths if is_media else _other_lengths_of_jobs
    return {
        "duration": list(length(listing, needs, doing, can_cut)) if needs.duration else [],
        "sound": list(_other_sound(listing, needs)),
        "aspect_ratio": _others(needs, "aspect_ratio", (ratio for model in doing for ratio in model.ratios), _shape),
        "resolution": _others(
            needs, "resolution", (tier for model in doing for tier in (model.tier or "1K", *model.resolutions)), height
        ),
        "inputs": list(_other_inputs(listing, needs, doing)),
        "languages": [
            _Way(
                {"languages": needs.languages[:some]},
                len(needs.languages) - some,
                f"only {', '.join(needs.languages[:some])}",
            )
            for some in range(1, len(needs.languages))
        ],
        "count": list(_fewer(listing, needs)),
        "max_credits": [_Way(dear=True, words="over the budget")] if needs.max_credits is not None else [],
    }


def _other_lengths(listing: Listing, needs: Needs, doing: Sequence[Model], can_cut: bool) -> Iterator[_Way]:
    wanted = int(needs.duration or 0)
    offered = {model.fixed_seconds for model in doing if model.fixed_seconds}
    offered |= {seconds for model in doing if not model.fixed_seconds for seconds in model.durations}
    for seconds in sorted(offered - {wanted}, key=lambda seconds: (abs(seconds - wanted), seconds)):
        change = {"duration": seconds}
        if seconds > wanted and can_cut and wanted <= LONGEST_CUT:
            yield _Way(change, cut=wanted)
        elif seconds < wanted:
            parts = math.ceil(wanted / seconds)
            rest = wanted - (parts - 1) * seconds
            cut = rest if rest < seconds and can_cut else None
            yield _Way(change, parts=parts, cut=cut)
        yield _Way(change, abs(seconds - wanted), f"{seconds} s instead of {wanted} s")
    yield _Way({"duration": None}, _NO_CHOICE, "without a choice of length")


def _other_lengths_of_jobs(listing: Listing, needs: Needs, doing: Sequence[Model], can_cut: bool) -> Iterator[_Way]:
    wanted, operation = int(needs.duration or 0), tasks()[needs.task]
    bounds = {bounds for model in doing if (bounds := operation.lengths(model.id))}
    for least, most in bounds:
        of_clip = least == 0
        if wanted > most and (can_cut or not of_clip):
            longest = min(most, LONGEST_CUT) if of_clip else most
            parts = math.ceil(wanted / longest)
            each = math.ceil(wanted / parts)
            yield _Way({"duration": each}, words=f"in {parts} parts", parts=parts, cut=each if of_clip else None)
        elif wanted > most:
            yield _Way({"duration": most}, wanted - most, f"of a file of {most} s instead of {wanted} s")
        elif wanted < least:
            yield _Way({"duration": least}, least - wanted, f"{least} s instead of {wanted} s")
    if not bounds:
        follows = (
            "the length follows from the text" if needs.task == "text-to-dialogue" else "the engine chooses the length"
        )
        yield _Way({"duration": None}, 1, follows)
    if needs.task == "text-to-music" and listing.find(sound.MUSIC):
        yield _Way({"task": "sound"}, words="an instrumental of this length", only=sound.MUSIC)


def _other_sound(listing: Listing, needs: Needs) -> Iterator[_Way]:
    if needs.sound is None:
        return
    if needs.sound and needs.task.endswith("-video") and listing.find(sound.ONTO_CLIP):
        yield _Way({"sound": None}, sounded=True)
    yield _Way({"sound": None}, 1, "without sound" if needs.sound else "with sound")


def _others(needs: Needs, name: str, offered: Iterator[str], size: Callable[[str], float]) -> list[_Way]:
    """The nearest other values of a setting that has a size, and none at all."""
    wanted = getattr(needs, name)
    if wanted is None:
        return []
    goal = size(wanted)
    values = sorted(
        {value for value in offered if value != wanted and size(value)}, key=lambda value: abs(_log(size(value), goal))
    )
    ways = [
        _Way({name: value}, abs(_log(size(value), goal)) or 0.01, f"{value} instead of {wanted}")
        for value in values[:_NEAREST]
    ]
    return [*ways, _Way({name: None}, _NO_CHOICE, f"without a choice of {name.replace('_', ' ')}")]


def _log(one: float, other: float) -> float:
    return math.log(one / other) if one and other else 9.0


def _shape(ratio: str) -> float:
    width, _, tall = ratio.partition(":")
    return float(width) / float(tall) if width.isdecimal() and tall.isdecimal() and int(tall) else 0.0


def _other_inputs(listing: Listing, needs: Needs, doing: Sequence[Model]) -> Iterator[_Way]:
    given = needs.inputs
    if not given:
        return
    if needs.task not in media.TASKS:
        kinds = {kind for model in doing for kind in tasks()[needs.task].takes(listing, model.id)[0]}
        if not kinds:
            yield _Way({"inputs": ()}, 1, "from words alone")
        for kind in sorted(kinds):
            yield _Way({"inputs": (kind,)}, 1 + len(given), f"from one {THING[kind]} only")
        return
    most = max((model.limit("image") or 0 for model in doing), default=0)
    for kind in dict.fromkeys(given):
        rest = tuple(one for one in given if one != kind)
        number = given.count(kind)
        fewer = sorted({model.limit(kind) or 0 for model in doing}, reverse=True)
        for some in fewer:
            if 0 < some < number:
                yield _Way(
                    {"inputs": (kind,) * some + rest}, number - some, f"from {some} of the {number} {THING[kind]}s"
                )
        if rest:
            yield _Way({"inputs": rest}, 10 + number, f"without the {THING[kind]}{'s' if number > 1 else ''}")
    if most and "image" not in given:
        yield _Way({"inputs": ("image", *given)}, 1, "with a picture beside it")
    if needs.task.startswith("text-to-"):
        yield _Way({"inputs": ()}, 20 + len(given), "from words alone")
    elif given != ("image",):
        yield _Way({"inputs": ("image",)}, 20 + len(given), "from one picture alone")


def _fewer(listing: Listing, needs: Needs) -> Iterator[_Way]:
    """As many as the budget allows."""
    if needs.count == 1 or needs.max_credits is None:
        return
    one = candidates(listing, replace(needs, count=1))
    prices = [held.quote.credits for held in one if not held.misses and held.quote.credits]
    affordable = {int(needs.max_credits // min(prices)), 1} if prices else {1}
    for some in affordable:
        if 0 < some < needs.count:
            yield _Way({"count": some}, needs.count - some, f"{some} of {needs.count}")
