"""What is sent to start a job: one typed body a route (rest-api.md §2.5-2.11, §4b).

Lengths, ratios and prices are the catalogue's business; here only the spelling and the types are fixed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from kubeez_mcp_local.rest.routes import ROUTES, Route

if TYPE_CHECKING:
    from collections.abc import Mapping


class StartRequest(BaseModel):
    """A paid request before it is sent.

    Attributes:
        route: What it is sent to.
        unproven: Fields known only from the hosted MCP tool or from one old client. A server that does not know
            them ignores them silently, so `Contract.prepare` has to find them published before they are sent.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    route: ClassVar[Route]
    unproven: ClassVar[frozenset[str]] = frozenset()

    def body(self) -> dict[str, Any]:
        """The JSON body; fields that were not given are left out, so that the API's own defaults hold."""
        return self.model_dump(exclude_none=True)

    @property
    def path(self) -> str:
        return self.route.path


class GenerateMedia(StartRequest):
    """An image or a video. `duration` is one of the model's own spellings, such as `"5s"`."""

    route: ClassVar[Route] = ROUTES["generate_media"]
    unproven: ClassVar[frozenset[str]] = frozenset({"fixed_lens", "voice_id", "character_ids"})

    prompt: str
    model: str
    generation_type: str | None = None
    negative_prompt: str | None = None
    source_media_urls: tuple[str, ...] | None = None
    aspect_ratio: str | None = None
    duration: str | None = None
    quality: str | None = None
    resolution: str | None = None
    sound: bool | None = None
    seed: int | None = None
    fixed_lens: bool | None = None
    voice_id: str | None = None
    character_ids: tuple[str, ...] | None = None


class GenerateMusic(StartRequest):
    """Songs. Simple: `prompt`. Advanced: `title` and `style`, and one of `song_description` or `lyrics`."""

    route: ClassVar[Route] = ROUTES["generate_music"]
    unproven: ClassVar[frozenset[str]] = frozenset({"persona_id"})

    prompt: str | None = None
    instrumental: bool | None = None
    model: str | None = None
    title: str | None = None
    style: str | None = None
    vocal_gender: Literal["m", "f", "random"] | None = None
    song_description: str | None = None
    lyrics: str | None = None
    negative_tags: str | None = None
    style_weight: float | None = None
    weirdness_constraint: float | None = None
    audio_weight: float | None = None
    persona_id: str | None = None


class DialogueLine(BaseModel):
    """One line of speech; without a voice the API chooses."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    voice: str | None = None


class GenerateDialogue(StartRequest):
    """Speech, line by line."""

    route: ClassVar[Route] = ROUTES["generate_dialogue"]
    unproven: ClassVar[frozenset[str]] = frozenset({"provider"})

    dialogue: tuple[DialogueLine, ...] = Field(min_length=1)
    stability: float | None = None
    language_code: str | None = None
    provider: str | None = None


class GenerateAdCopy(StartRequest):
    """New ad creatives in the manner of a reference ad."""

    route: ClassVar[Route] = ROUTES["create_ad_copy"]

    reference_ad_url: str
    product_image_url: str | None = None
    product_text: str | None = None
    language: str | None = None
    variant_count: int | None = None
    aspect_ratio: str | None = None


class GenerateCaptions(StartRequest):
    """A video with its words burned in. Assumed route: send only through `Contract.prepare`."""

    route: ClassVar[Route] = ROUTES["generate_captions"]

    media_url: str
    quality: str | None = None
    language: str | None = None
    style: str | None = None


class GenerateSeparation(StartRequest):
    """Voice and accompaniment of a song apart. Assumed route: send only through `Contract.prepare`."""

    route: ClassVar[Route] = ROUTES["generate_separation"]

    media_url: str


class GenerateDubbing(StartRequest):
    """A video spoken in other languages. Assumed route: send only through `Contract.prepare`."""

    route: ClassVar[Route] = ROUTES["generate_dubbing"]

    video_url: str
    languages: tuple[str, ...] = Field(min_length=1)
    model: str | None = None
    source_language: str | None = None
    cloning_strength: float | None = None
    ducking: bool | None = None


class GenerateSound(StartRequest):
    """Effects or a score, from text or for a clip. Assumed route: send only through `Contract.prepare`."""

    route: ClassVar[Route] = ROUTES["generate_sound"]

    model: str
    prompt: str | None = None
    video_url: str | None = None
    music_prompt: str | None = None
    sfx_prompt: str | None = None
    duration: int | None = None


class RemoveBackground(StartRequest):
    """A picture's subject on a clear background. Assumed route: send only through `Contract.prepare`."""

    route: ClassVar[Route] = ROUTES["remove_background"]

    image_url: str


class CreatePersona(StartRequest):
    """A song's voice under a name. Assumed route: send only through `Contract.prepare`; answers at once."""

    route: ClassVar[Route] = ROUTES["generate_music_persona"]

    song_id: str
    name: str
    description: str
    style: str | None = None


class Estimate(StartRequest):
    """What a job would cost, from the API itself; free. Assumed route: send only through `Contract.prepare`."""

    route: ClassVar[Route] = ROUTES["estimate"]

    model: str
    generation_type: str | None = None
    duration: str | None = None
    resolution: str | None = None
    quality: str | None = None
    sound: bool | None = None
    reference_video_seconds: float | None = None
    reference_audio_seconds: float | None = None


@dataclass(frozen=True)
class Operation:
    """A request to an assumed route, in the words of the API's own document: real path, real field names."""

    route: Route
    method: str
    path: str
    payload: Mapping[str, Any]

    def body(self) -> dict[str, Any]:
        return dict(self.payload)


class Sendable(Protocol):
    """Whatever can be sent to start something: a `StartRequest`, or an `Operation` found in the API's document."""

    @property
    def route(self) -> Route: ...
    @property
    def path(self) -> str: ...
    def body(self) -> dict[str, Any]: ...


REQUESTS: tuple[type[StartRequest], ...] = (
    GenerateMedia,
    GenerateMusic,
    GenerateDialogue,
    GenerateAdCopy,
    GenerateCaptions,
    GenerateSeparation,
    GenerateDubbing,
    GenerateSound,
    RemoveBackground,
    CreatePersona,
    Estimate,
)
