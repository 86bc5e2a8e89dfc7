"""What the studio is asked to make."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

WorkKind = Literal[
    "picture", "clip", "music", "speech", "effect", "vocals", "instrumental", "cutout", "retake", "thumbnail"
]

MEDIA_TYPES = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "mp4": "video/mp4",
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
}


@dataclass(frozen=True)
class Work:
    """One file to make. The same work makes the same bytes.

    Attributes:
        extension: Decides the format; a key of `MEDIA_TYPES`.
        prompt: Shown on pictures and clips; the words of speech, one line for each speaker's turn.
        label: What tells siblings apart, such as a language, an effect or a voice for each line.
        width: Pixels; likewise `height`. `seconds` is the length of sound and clips.
        inputs: Stored files that went in, by their name in the files folder.
        sound: Whether a clip has an audio track.
    """

    kind: WorkKind
    extension: str
    model: str
    prompt: str
    seed: int
    label: str = ""
    width: int | None = None
    height: int | None = None
    seconds: float | None = None
    inputs: tuple[str, ...] = ()
    sound: bool = False

    @property
    def media_type(self) -> str:
        """MIME type of the file."""
        return MEDIA_TYPES[self.extension]

    def as_dict(self) -> dict[str, Any]:
        """For the books."""
        return {**asdict(self), "inputs": list(self.inputs), "media_type": self.media_type}

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Work:
        """Back from the books."""
        fields = {name: value for name, value in stored.items() if name in cls.__dataclass_fields__}
        return cls(**{**fields, "inputs": tuple(stored.get("inputs", ()))})
