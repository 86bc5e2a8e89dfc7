"""Voices: those of the dialogue model, and those of Gemini Omni.

`DIALOGUE_VOICES` was copied by a first-party client from the public catalogue in spring 2026 (API reference §2.10:
inferred); the row's own `voice_allowlist` wins wherever it is present. `OMNI_VOICES` is inferred: the hosted server
has 30 entries, names kore, puck and achernar among them, and 30 is the number of standard Gemini speech voices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from kubeez_mcp_local.errors import InvalidArgumentError

if TYPE_CHECKING:
    from kubeez_mcp_local.catalogue.models import Model

DIALOGUE_VOICES: tuple[str, ...] = (
    *("Rachel", "Drew", "Clyde", "Paul", "Aria", "Domi", "Dave", "Roger", "Fin", "Sarah", "James", "Jane", "Juniper"),
    *("Arabella", "Hope", "Bradford", "Reginald", "Gaming", "Austin", "Kuon", "Blondie", "Priyanka", "Alexandra"),
    *("Monika", "Mark", "Grimblewood"),
)


@dataclass(frozen=True)
class OmniVoice:
    """A voice of the Gemini Omni models; `id` goes into `voice_id`."""

    id: str
    label: str
    gender: Literal["female", "male"]
    description: str
    evidence: str = "inferred"


_OMNI = (
    "Achernar f soft, Achird m friendly, Algenib m gravelly, Algieba m smooth, Alnilam m firm, Aoede f breezy, "
    "Autonoe f bright, Callirrhoe f easy-going, Charon m informative, Despina f smooth, Enceladus m breathy, "
    "Erinome f clear, Fenrir m excitable, Gacrux f mature, Iapetus m clear, Kore f firm, Laomedeia f upbeat, "
    "Leda f youthful, Orus m firm, Puck m upbeat, Pulcherrima f forward, Rasalgethi m informative, "
    "Sadachbia m lively, Sadaltager m knowledgeable, Schedar m even, Sulafat f warm, Umbriel m easy-going, "
    "Vindemiatrix f gentle, Zephyr f bright, Zubenelgenubi m casual"
)
OMNI_VOICES = tuple(
    OmniVoice(label.lower(), label, "female" if gender == "f" else "male", f"{manner.capitalize()} voice")
    for label, gender, manner in map(str.split, _OMNI.split(", "))
)


def omni_voice(voice_id: str) -> OmniVoice:
    """The Gemini Omni voice with this id, the case of letters aside; others are refused as `invalid_voice_id`."""
    found = next((voice for voice in OMNI_VOICES if voice.id == voice_id.strip().lower()), None)
    if found is None:
        ids = ", ".join(voice.id for voice in OMNI_VOICES)
        message = f"there is no voice {voice_id!r:.60}; there are {ids}."
        raise InvalidArgumentError("voice_id", message, code="invalid_voice_id")
    return found


def dialogue_voices(model: Model | None) -> tuple[str, ...]:
    """The voices that the dialogue model takes: the row's own list, else the recorded one."""
    return model.voices if model and model.voices else DIALOGUE_VOICES
