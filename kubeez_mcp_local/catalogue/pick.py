"""Which model fits: a calculation over the catalogue, with a reason for every model that fell out."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kubeez_mcp_local.catalogue.music import music_engines
from kubeez_mcp_local.catalogue.wish import Candidate, Wish, does_task, held_against, settled_wish

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from kubeez_mcp_local.catalogue.listing import Listing
    from kubeez_mcp_local.catalogue.model import Model

_UNKNOWN = float("inf")


@dataclass(frozen=True)
class Rejection:
    """One reason, in words that follow "it", and the models that it applies to."""

    reason: str
    models: tuple[str, ...]
    families: tuple[str, ...]


@dataclass(frozen=True)
class Choice:
    """The answer to a wish.

    Attributes:
        wish: The wish as it was understood.
        chosen: The best fitting model; `None` if nothing fits.
        ranked: All fitting models, best first.
        rejected: Why the others of the same kind of work fell out, the commonest reason first.
        nearest: Where nothing fits, the model that misses least.
        summary: All of this in a sentence or two.
    """

    wish: Wish
    chosen: Candidate | None
    ranked: tuple[Candidate, ...]
    rejected: tuple[Rejection, ...]
    nearest: Candidate | None
    summary: str


def pick(listing: Listing, wish: Wish) -> Choice:
    """The models that fit `wish`, ranked, and why the others do not.

    A fitting model's request has passed `check_media`; its quote is for all results together. Models without a
    known price rank last, and do not fit a budget.

    Raises:
        InvalidArgumentError: The wish itself is malformed; the message lists what is allowed.
    """
    wish = settled_wish(wish)
    working = [model for model in _in_standing_order(listing, wish.task) if does_task(model, wish.task)]
    held = [held for model in working if (held := held_against(model, listing, wish))]
    order = _order(wish)
    ranked = tuple(sorted((candidate for candidate in held if not candidate.misses), key=order))
    misfits = [candidate for candidate in held if candidate.misses]
    nearest = None
    if not ranked and misfits:
        nearest = min(misfits, key=lambda held: (len(held.misses), *_gaps(held, wish), *_by_price(held)))
    rejected = _grouped(misfits)
    chosen = ranked[0] if ranked else None
    return Choice(wish, chosen, ranked, rejected, nearest, _summary(wish, ranked, rejected, nearest))


def _in_standing_order(listing: Listing, task: str) -> tuple[Model, ...]:
    """The order among equals: newest engine first for music, else by id."""
    if task == "text-to-music":
        return music_engines(listing)
    return tuple(sorted(listing.models, key=lambda model: model.id))


def _gaps(candidate: Candidate, wish: Wish) -> tuple[float, float]:
    """How far the lengths and resolutions on offer are from those that were wished for."""
    model = candidate.model
    lengths = [model.fixed_seconds] if model.fixed_seconds else list(model.durations)
    tiers = [tier for tier in (model.tier, *model.resolutions) if tier] or ["1K"]
    return (
        _gap(int(wish.duration) if wish.duration else None, lengths),
        _gap(_lines(wish.resolution) if wish.resolution else None, [_lines(tier) for tier in tiers]),
    )


def _gap(wished: float | None, offered: Iterable[float]) -> float:
    return 0 if wished is None else min((abs(one - wished) for one in offered), default=_UNKNOWN)


def _lines(tier: str) -> float:
    """The height of a picture of this tier, near enough to compare `1080p` and `4K`."""
    number = re.match(r"\d+(\.\d+)?", tier)
    size = float(number.group()) if number else 0.0
    return size * 540 if tier.upper().endswith("K") else size


def _by_price(candidate: Candidate) -> tuple[float, float]:
    return _credits(candidate), candidate.model.seconds or _UNKNOWN


def _order(wish: Wish) -> Callable[[Candidate], tuple[float, ...]]:
    def by_speed(candidate: Candidate) -> tuple[float, float]:
        return candidate.model.seconds or _UNKNOWN, _credits(candidate)

    def by_tier(candidate: Candidate) -> tuple[float, float]:
        known = candidate.quote.credits
        return _UNKNOWN if known is None else -known, candidate.model.seconds or _UNKNOWN

    preferred = {"price": _by_price, "speed": by_speed, "tier": by_tier}[wish.prefer]
    return lambda candidate: (candidate.model.only_logos and not wish.logo, *preferred(candidate))


def _credits(candidate: Candidate) -> float:
    return _UNKNOWN if candidate.quote.credits is None else candidate.quote.credits


def _grouped(misfits: Iterable[Candidate]) -> tuple[Rejection, ...]:
    by_reason: dict[str, list[Candidate]] = {}
    for candidate in misfits:
        for reason in candidate.misses:
            by_reason.setdefault(reason, []).append(candidate)
    rejections = [
        Rejection(
            reason,
            tuple(candidate.model.id for candidate in candidates),
            tuple(dict.fromkeys(candidate.model.family for candidate in candidates)),
        )
        for reason, candidates in by_reason.items()
    ]
    return tuple(sorted(rejections, key=lambda rejection: (-len(rejection.models), rejection.reason)))


def _summary(
    wish: Wish, ranked: tuple[Candidate, ...], rejected: tuple[Rejection, ...], nearest: Candidate | None
) -> str:
    fell_out = _fell_out(rejected)
    if ranked:
        best = ranked[0]
        others = len(ranked) - 1
        also = f" {others} other{'s' if others > 1 else ''} would do." if others else ""
        return f"{best.model.id} fits: {_price(best, wish.count)}.{also}{fell_out}"
    if nearest is None:
        return f"Nothing fits: no model in this catalogue does {wish.task}."
    misses = " and it ".join(nearest.misses)
    return (
        f"Nothing fits. The nearest is {nearest.model.id} ({_price(nearest, wish.count)}), but it {misses}.{fell_out}"
    )


def _price(candidate: Candidate, count: int) -> str:
    known = candidate.quote.credits
    together = f" for {count}" if count > 1 else ""
    return "price not known" if known is None else f"{known:g} credits{together}"


def _fell_out(rejected: tuple[Rejection, ...]) -> str:
    if not rejected:
        return ""
    counts = Counter({rejection.reason: len(rejection.models) for rejection in rejected})
    parts = [f"{reason} ({number})" for reason, number in counts.most_common(5)]
    return f" Why others fell out: {'; '.join(parts)}."
