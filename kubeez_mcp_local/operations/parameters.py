"""Parameters that several tools share: type, limits and the words the model reads.

Limits stand in the description too, because some hosts drop `minimum`, `maximum` and `pattern` from schemas.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema


def _as_text(value: Any) -> Any:
    """Numbers where text is expected, such as `duration: 5`."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _as_list(value: Any) -> Any:
    """One value where a list is expected, and lists that a host sent as JSON text."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        import json

        try:
            return json.loads(value)
        except ValueError:
            return [value]
    return [value] if value.strip() else []


def _as_seconds(value: Any) -> Any:
    """Seconds written as `5s`, as for videos."""
    return value.strip().lower().removesuffix("s") if isinstance(value, str) else value


class SpokenLine(BaseModel):
    """One line of a dialogue; anything else in it is refused rather than silently not spoken."""

    model_config = ConfigDict(extra="forbid")

    text: str
    voice: str | None = None


Text = Annotated[str, BeforeValidator(_as_text)]
Seconds = Annotated[int | None, BeforeValidator(_as_seconds)]
Texts = Annotated[list[str], BeforeValidator(_as_list)]
Lines = Annotated[
    list[SpokenLine], BeforeValidator(_as_list), WithJsonSchema({"type": "array", "items": {"type": "object"}})
]

Prompt = Annotated[str, Field(description="What to make, in words. Each model has a length limit (see get_models).")]
ModelId = Annotated[str, Field(description="Model id from get_models, for example nano-banana-2.")]
GenerationType = Annotated[
    str,
    Field(
        description="text-to-image, image-to-image, text-to-video or image-to-video. "
        "Left out: chosen by model and inputs."
    ),
]
SourceMedia = Annotated[
    Texts,
    Field(
        description="Inputs: https URLs, local paths (uploaded for you) or library:NAME, one or many, order kept. "
        "First = first frame, second = last frame; motion control: image, then video."
    ),
]
AspectRatio = Annotated[str, Field(description="Such as 1:1, 16:9, 9:16, 4:5; each model offers some.")]
Duration = Annotated[Text, Field(description="Length of a video: 5, '5' or '5s'; one of the model's options.")]
Quality = Annotated[str, Field(description="Model-specific: standard, fast, pro, high, 720p …")]
Resolution = Annotated[str, Field(description="1K, 2K or 4K on models that offer it.")]
Sound = Annotated[bool | None, Field(description="Native audio, on models with a sound switch; may change the price.")]
Seed = Annotated[
    int | None,
    Field(description="Same seed, similar result. 0: the provider chooses.", ge=0, le=2**31 - 1),
]
NegativePrompt = Annotated[str, Field(description="What to avoid, on models that take it.")]
VariantCount = Annotated[int, Field(description="1 to 4 jobs of the same request; each is paid.", ge=1, le=4)]
Approval = Annotated[str, Field(description="Code of a quote the user has agreed to.")]
FileName = Annotated[str, Field(description="Name for the files.", max_length=200)]
JobId = Annotated[
    str, Field(description="generation_id (or separation_id) from a generate call.", min_length=1, max_length=200)
]
