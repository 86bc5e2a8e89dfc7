"""From a documented request to the jobs it starts: checked, priced, and with the files they will make."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kubeez_mcp_local.sandbox.catalogue import DEFAULT_MUSIC_MODEL
from kubeez_mcp_local.sandbox.frames import clip_size, picture_size, tier_of
from kubeez_mcp_local.sandbox.inputs import Source, look_up_all
from kubeez_mcp_local.sandbox.pace import times
from kubeez_mcp_local.sandbox.pricing import price
from kubeez_mcp_local.sandbox.records import JobDraft
from kubeez_mcp_local.sandbox.refusals import invalid
from kubeez_mcp_local.sandbox.studio.sounds import sound_extension, speech_seconds
from kubeez_mcp_local.sandbox.studio.work import Work
from kubeez_mcp_local.sandbox.validation import (
    check_duration,
    check_generation_type,
    check_prompt,
    check_ratio,
    check_sources,
    check_voices,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kubeez_mcp_local.sandbox.catalogue import Row
    from kubeez_mcp_local.sandbox.desk import Desk
    from kubeez_mcp_local.sandbox.records import Bucket, JobKind
    from kubeez_mcp_local.sandbox.requests import AdCopyRequest, DialogueRequest, MediaRequest, MusicRequest

CLIP_SECONDS = 5.0
SONG_SECONDS = 14.0
SIMPLE_PROMPT_MAX = 400


@dataclass(frozen=True)
class Placed:
    """A file of a job, by the part it plays: `output`, `thumbnail`, `song`, `cover`, `vocals` or `instrumental`."""

    role: str
    position: int
    work: Work


def draft(
    desk: Desk,
    account: str,
    row: Row,
    *,
    kind: JobKind,
    bucket: Bucket,
    prompt: str,
    generation_type: str,
    request: dict[str, Any],
    credits_: float,
    works: Sequence[Placed],
) -> JobDraft:
    """A job of that row with its price in credits and, from the row and the speed, its times."""
    wait, total = times(row, desk.panel.knobs.speed)
    return JobDraft(
        account=account,
        kind=kind,
        bucket=bucket,
        model=row["model_id"],
        prompt=prompt,
        generation_type=generation_type,
        request=request,
        credits=credits_,
        wait=wait,
        total=total,
        works=tuple((placed.role, placed.position, placed.work.as_dict()) for placed in works),
    )


def with_thumbnail(work: Work, position: int = 0) -> list[Placed]:
    """A picture or clip as an output, with its thumbnail."""
    thumbnail = Work(
        "thumbnail",
        "jpg",
        work.model,
        work.prompt,
        work.seed,
        label=work.kind,
        width=work.width,
        height=work.height,
        inputs=work.inputs,
    )
    return [Placed("output", position, work), Placed("thumbnail", position, thumbnail)]


def order_media(desk: Desk, account: str, body: MediaRequest) -> JobDraft:
    """An image or video job.

    Raises:
        Refusal: 400 when the request does not fit the row.
    """
    row = desk.row(body.model)
    if row["model_type"] not in ("image", "video") or row["model_id"] == "ad-copy":
        raise invalid(f"{body.model} is not an image or video model")
    check_generation_type(row, body.generation_type)
    check_prompt(row, body.prompt)
    sources = look_up_all(desk.books, body.source_media_urls)
    check_sources(row, body.generation_type, sources)
    ratio = check_ratio(row, body.aspect_ratio)
    seconds = check_duration(row, body.duration)
    work = _media_work(desk, row, body, sources, ratio, seconds)
    credits_ = price(row, seconds=seconds, resolution=(body.resolution or "").upper())
    return draft(
        desk,
        account,
        row,
        kind="media",
        bucket="media",
        prompt=body.prompt,
        generation_type=body.generation_type,
        request=body.model_dump(exclude_none=True),
        credits_=credits_,
        works=with_thumbnail(work),
    )


def _media_work(
    desk: Desk, row: Row, body: MediaRequest, sources: Sequence[Source], ratio: str, seconds: int | None
) -> Work:
    model = row["model_id"]
    natural = next((source.size for source in sources if source.size), None)
    names = tuple(source.name for source in sources if source.name and source.kind in ("image", "video"))
    seed = desk.seed(body.seed)
    if model == "remove-background":
        width, height = natural or (1024, 1024)
        return Work("cutout", "png", model, body.prompt, seed, width=width, height=height, inputs=names)
    if row["model_type"] == "video":
        followed = next((source.seconds for source in sources if source.kind == "video" and source.seconds), None)
        width, height = clip_size(ratio, natural)
        loud = row["capabilities"].get("video_audio") == "included" or model.endswith("-audio") or bool(body.sound)
        length = float(seconds or followed or CLIP_SECONDS)
        return Work(
            "clip", "mp4", model, body.prompt, seed, "", width, height, seconds=length, inputs=names, sound=loud
        )
    tier = tier_of(model, body.resolution, body.quality)
    width, height = picture_size(ratio, tier, natural)
    extension = "jpg" if row["provider"] == "ByteDance" else "png"
    return Work("picture", extension, model, body.prompt, seed, width=width, height=height, inputs=names)


def order_music(desk: Desk, account: str, body: MusicRequest) -> JobDraft:
    """A music job of two songs. An unknown engine is silently the default one, as the API does it.

    Raises:
        Refusal: 400 when the two modes are mixed or incomplete.
    """
    row = desk.catalogue.get(body.model or "")
    if row is None or row["model_type"] != "music":
        row = desk.row(DEFAULT_MUSIC_MODEL)
    prompt = _music_text(body)
    seed = desk.seed(None)
    title = body.title or prompt[:40].title()
    works = [
        Placed(role, number, work)
        for number in (0, 1)
        for role, work in (
            (
                "song",
                Work("music", sound_extension(), row["model_id"], prompt, seed + number, title, seconds=SONG_SECONDS),
            ),
            ("cover", Work("picture", "jpg", row["model_id"], title, seed + number, width=512, height=512)),
        )
    ]
    return draft(
        desk,
        account,
        row,
        kind="music",
        bucket="music",
        prompt=prompt,
        generation_type="text-to-music",
        request=body.model_dump(exclude_none=True),
        credits_=price(row),
        works=works,
    )


def _music_text(body: MusicRequest) -> str:
    if bool(body.title) != bool(body.style):
        raise invalid("title and style belong together: give both for advanced mode, or neither")
    if not body.title:
        if not (body.prompt or "").strip():
            raise invalid("prompt is required in simple mode")
        prompt = body.prompt or ""
        if len(prompt) > SIMPLE_PROMPT_MAX:
            raise invalid(f"prompt is too long: {len(prompt)} characters, at most {SIMPLE_PROMPT_MAX} in simple mode")
        return prompt
    if bool(body.lyrics) == bool(body.song_description):
        raise invalid("advanced mode takes exactly one of lyrics and song_description")
    if body.instrumental and body.lyrics:
        raise invalid("an instrumental has no lyrics: use song_description")
    if not body.instrumental and body.vocal_gender is None:
        raise invalid("vocal_gender is required in advanced mode: m, f or random")
    return body.lyrics or body.song_description or ""


def order_dialogue(desk: Desk, account: str, body: DialogueRequest) -> JobDraft:
    """A speech job; each line is a turn of its voice.

    Raises:
        Refusal: 400 for a voice outside the allowlist, or fewer than 5 or more than 5,000 characters in total.
    """
    row = desk.row("text-to-dialogue-v3")
    if body.provider == "elevenlabs":
        check_voices(row, [line.voice for line in body.dialogue])
    total = sum(len(line.text) for line in body.dialogue)
    if not 5 <= total <= 5000:
        raise invalid(f"dialogue must have 5 to 5000 characters in total, got {total}")
    text = "\n".join(line.text.replace("\n", " ") for line in body.dialogue)
    voices = "\n".join(line.voice or "Rachel" for line in body.dialogue)
    work = Work("speech", sound_extension(), row["model_id"], text, 1, voices, seconds=speech_seconds(text))
    return draft(
        desk,
        account,
        row,
        kind="media",
        bucket="dialogue",
        prompt=text,
        generation_type="text-to-dialogue",
        request=body.model_dump(),
        credits_=price(row),
        works=[Placed("output", 0, work)],
    )


def order_ad_copy(desk: Desk, account: str, body: AdCopyRequest) -> list[JobDraft]:
    """One job for each variant.

    Raises:
        Refusal: 400 for a URL that is no media.
    """
    row = desk.row("ad-copy")
    urls = [body.reference_ad_url, *([body.product_image_url] if body.product_image_url else [])]
    sources = look_up_all(desk.books, urls)
    width, height = picture_size(body.aspect_ratio)
    names = tuple(source.name for source in sources if source.name)
    prompt = body.product_text or "Ad after a reference"
    seed = desk.seed(None)
    return [
        draft(
            desk,
            account,
            row,
            kind="media",
            bucket="ads",
            prompt=prompt,
            generation_type="image-to-image",
            request=body.model_dump(exclude_none=True),
            credits_=price(row),
            works=with_thumbnail(
                Work(
                    "picture",
                    "png",
                    "ad-copy",
                    prompt,
                    seed + number,
                    label=f"Variant {number + 1}" if body.variant_count > 1 else "",
                    width=width,
                    height=height,
                    inputs=names,
                )
            ),
        )
        for number in range(body.variant_count)
    ]
