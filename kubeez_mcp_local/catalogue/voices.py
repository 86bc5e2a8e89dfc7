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

_DIALOGUE = (
    "Rachel f calm, Drew m, Clyde m, Paul m, Aria f, Domi f, Dave m, Roger m laid-back, Fin m, Sarah f reassuring, "
    "James m husky and bold, Jane f audiobook reader, Juniper f grounded, Arabella f mysterious, Hope f upbeat, "
    "Bradford m expressive, Reginald m villain, Gaming ?, Austin m deep and raspy, Kuon ? cheerful, Blondie f, "
    "Priyanka f calm, Alexandra f, Monika f deep, Mark m relaxed, Grimblewood m snarky gnome"
)
DIALOGUE_MANNERS = {name: (gender, " ".join(manner)) for name, gender, *manner in map(str.split, _DIALOGUE.split(", "))}
"""Gender (`f`, `m`, `?`) and manner, empty where nothing is known. Assumed: a client's copy of the website's list of
2026, and what ElevenLabs says of its public voices of these names; nobody has checked that they are the same."""
DIALOGUE_VOICES: tuple[str, ...] = tuple(DIALOGUE_MANNERS)
ADVICE = {
    "dialogue": "calm: Priyanka, Rachel; lively: Hope, Kuon; narrating: Jane, James, Bradford",
    "omni": "calm: Vindemiatrix, Achernar; lively: Sadachbia, Puck; narrating: Charon, Sadaltager",
}
"""Whom to take for what, by those manners."""


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


def about_voices(voices: tuple[str, ...]) -> dict[str, str]:
    """Dialogue voices by gender, with their manner where it is known, and whom to take for what."""
    groups: dict[str, list[str]] = {"f": [], "m": [], "?": []}
    for voice in voices:
        gender, manner = DIALOGUE_MANNERS.get(voice, ("?", ""))
        groups[gender].append(f"{voice} ({manner})" if manner else voice)
    named = {"f": "female voices", "m": "male voices", "?": "voices of unknown gender"}
    told = {named[gender]: ", ".join(names) for gender, names in groups.items() if names}
    advice = {"voices for": ADVICE["dialogue"]} if set(DIALOGUE_VOICES) <= set(voices) else {}
    return {**told, **advice, "evidence": "assumed, not checked; where no manner stands, it is unknown"}


def dialogue_voices(model: Model | None) -> tuple[str, ...]:
    """The voices that the dialogue model takes: the row's own list, else the recorded one."""
    return model.voices if model and model.voices else DIALOGUE_VOICES
