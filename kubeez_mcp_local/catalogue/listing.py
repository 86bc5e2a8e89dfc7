"""The models as one list: finding one, filtering, and saying what was meant when a name is wrong."""

from __future__ import annotations

from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from kubeez_mcp_local.catalogue import ids
from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.text import LONGEST_NAME, cut

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date

    from kubeez_mcp_local.catalogue.models import Model

Source = Literal["live", "cache", "snapshot"]
_SHOWN = 12


@dataclass(frozen=True)
class Listing:
    """The catalogue at one moment.

    Attributes:
        source: `live`: just fetched; `cache`: fetched earlier; `snapshot`: shipped with this package.
        age_seconds: How old the rows are.
        as_of: The day the rows are from.
        note: What a reader must know about them, for example why they are not live; empty if nothing.
    """

    models: tuple[Model, ...]
    source: Source
    age_seconds: float = 0.0
    as_of: date | None = None
    note: str = ""

    @cached_property
    def _by_id(self) -> dict[str, Model]:
        return {model.id: model for model in self.models}

    @cached_property
    def _by_folded_id(self) -> dict[str, Model]:
        return {model.id.lower(): model for model in reversed(self.models)}

    def find(self, model_id: str) -> Model | None:
        """The model with this id, the case of letters aside; `None` if there is none."""
        return self._by_id.get(model_id) or self._by_folded_id.get(model_id.strip().lower())

    def first_of(self, model_ids: Iterable[str]) -> Model | None:
        """The first of `model_ids` that exists."""
        return next((model for model_id in model_ids if (model := self.find(model_id))), None)

    def get(self, model_id: str) -> Model:
        """The model with this id, the case of letters aside.

        Raises:
            InvalidArgumentError: `unknown_model`; the message names near matches, or the ids behind a family name.
        """
        found = self.find(model_id)
        if found:
            return found
        shown = repr(cut(model_id, LONGEST_NAME))
        if members := self.members(model_id):
            message = f"{shown} is a family, not a model id; its ids are {_listed(members)}."
        else:
            near = self.near(model_id)
            message = f"there is no model {shown}." + (f" Did you mean {_listed(near, 'or')}?" if near else "")
        next_step = "Use an id from get_models, or let pick_model choose one."
        raise InvalidArgumentError("model", message, next_step=next_step, code="unknown_model")

    def members(self, container: str) -> tuple[str, ...]:
        """The concrete ids behind a family name such as `flux-2` or `veo3-1`; empty if it is no such name."""
        prefix = ids.container_prefix(container)
        if not prefix:
            return ()
        start = prefix if prefix == ids.MUSIC_ENGINES else f"{prefix}-"
        found = [
            model
            for model in self.models
            if (model.id.lower() == prefix or model.id.lower().startswith(start))
            and (prefix != ids.MUSIC_ENGINES or model.type == "music")
        ]
        named = container.strip().lower()
        return tuple(model.id for model in sorted(found, key=lambda model: model.name.lower() != named))

    def near(self, model_id: str, limit: int = 5) -> tuple[str, ...]:
        """Ids that may have been meant by `model_id`: by display name first, then by likeness."""
        wanted = model_id.strip().lower()
        named = [model.id for model in self.models if model.name.lower() == wanted]
        spellings: dict[str, str] = {}
        for model in self.models:
            spellings.setdefault(_squeezed(model.id), model.id)
            spellings.setdefault(_squeezed(model.name), model.id)
        alike = get_close_matches(_squeezed(wanted), spellings, n=limit, cutoff=0.6)
        found = dict.fromkeys([*named, *(spellings[match] for match in alike)])
        return tuple(found)[: max(limit, min(len(named), _SHOWN))]

    def filter(self, *, max_credits: float | None = None, query: str | None = None) -> Listing:
        """The part of the listing that fits every given condition; texts are compared without case."""
        words = (query or "").lower().split()

        def fits(model: Model) -> bool:
            text = f"{model.id} {model.name} {model.family} {model.provider} {model.usage_notes}".lower()
            affordable = max_credits is None or (model.credits is not None and model.credits <= max_credits)
            return affordable and all(word in text for word in words)

        return replace(self, models=tuple(model for model in self.models if fits(model)))


def _squeezed(text: str) -> str:
    return "".join(char for char in text.lower() if char.isalnum())


def _listed(values: Iterable[str], last: str = "and") -> str:
    shown = list(values)
    more = len(shown) - _SHOWN
    if more > 0:
        return f"{', '.join(shown[:_SHOWN])} and {more} more"
    return f" {last} ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else "".join(shown)
