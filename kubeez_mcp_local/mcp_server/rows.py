"""Models, jobs, recipes and library entries as short rows, for lists that enter a conversation."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from kubeez_mcp_local.catalogue.voices import about_voices, dialogue_voices
from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.jobs.job import door_of
from kubeez_mcp_local.operations import Described, by_model, estimate

if TYPE_CHECKING:
    from kubeez_mcp_local.catalogue.listing import Listing
    from kubeez_mcp_local.catalogue.models import Model
    from kubeez_mcp_local.cookbook.format import Argument, Column
    from kubeez_mcp_local.cookbook.library import Entry
    from kubeez_mcp_local.jobs.job import Job
    from kubeez_mcp_local.media.library import Asset, Character

_SOUND = {"toggle": "toggle_via_sound_param", "included": "included"}


def model_row(model: Model, listing: Listing) -> dict[str, Any]:
    """A model with the field names of the API and the hosted `get_models`; what is not recorded is absent.

    Ours: `returns`, what comes back; `takes`, lengths and counts beyond the row's; `sound_adds`, the credits that sound
    costs more, or `unknown`; `voices`, what is known of them.
    """
    operation = by_model(model)
    about = operation.about(model) if operation else {"returns": "nothing, since no tool here runs it"}
    bounds = operation.lengths(model.id) if operation else None
    voices = dialogue_voices(model) if model.type == "speech" else ()
    return known(
        model_id=model.id,
        display_name=model.name,
        model_type=model.type,
        provider=model.provider,
        cost_per_generation=model.credits,
        estimated_time_seconds=model.seconds,
        generation_types=list(model.generation_types),
        requires_input_media=model.requires_input,
        input_media_types=list(model.input_types),
        capabilities=_capabilities(model),
        returns=about.get("returns"),
        takes="; ".join(filter(None, [about.get("takes"), _length(bounds)])),
        sound_adds=_sound_adds(model, listing),
        cost_note=model.cost_note,
        usage_notes=model.usage_notes,
        voice_allowlist=list(model.voices),
        voices=about_voices(voices) if voices else None,
    )


def _length(bounds: tuple[int, int] | None) -> str:
    if bounds is None:
        return ""
    return f"{bounds[0]} to {bounds[1]} s" if bounds[0] else f"a file of at most {bounds[1]} s"


def _sound_adds(model: Model, listing: Listing) -> float | str | None:
    """Credits that native sound costs more; `unknown`; `None` where there is no choice."""
    if model.type != "video" or model.sound in ("included", "none"):
        return None
    try:
        silent, heard = (estimate(listing, Described(model.id, sound=sound)).credits for sound in (False, True))
    except InvalidArgumentError:
        return None
    return "unknown" if silent is None or heard is None else round(heard - silent, 2)


def _capabilities(model: Model) -> dict[str, Any]:
    return known(
        prompt_max_chars=model.prompt_max,
        aspect_ratio_options=list(model.ratios),
        duration_options=[
            f"{seconds}s" for seconds in ([model.fixed_seconds] if model.fixed_seconds else model.durations)
        ],
        resolution=[model.tier] if model.tier else list(model.resolutions),
        quality=list(model.qualities),
        max_input_images=model.max_images or None,
        max_input_videos=model.max_videos or None,
        max_input_audios=model.max_audios or None,
        video_audio=_SOUND.get(model.sound),
    )


def known(**facts: Any) -> dict[str, Any]:
    """Those of `facts` that say something."""
    return {name: value for name, value in facts.items() if value not in (None, "", [], {})}


def job_params(job: Job | None) -> dict[str, Any] | None:
    """The settings that a job of this machine was started with; the history tells none of other programs' jobs."""
    if job is None:
        return None
    told = ("prompt", "model", "generation_type")
    return known(**{name: value for name, value in job.arguments.items() if name not in told})


def job_row(job: Job) -> dict[str, Any]:
    """A job of the ledger. Credits; times in UTC; `door` where it is not that of the API key."""
    return known(
        job=job.id,
        door=door if (door := door_of(job.account)) != "rest" else None,
        generation_ids=list(job.generation_ids),
        state=job.state.value,
        tool=job.tool,
        model=job.model,
        prompt=job.prompt,
        created_at=job.created.isoformat(timespec="seconds"),
        quoted=job.quote_credits,
        reserved=job.reserved or None,
        charged=job.charged,
        files=[file.path for file in job.files],
        urls=[file.url for file in job.files],
        error=job.error,
        save_error=job.save_error,
        client=job.client,
        recipe=job.recipe,
    )


def job_details(job: Job) -> dict[str, Any]:
    """All there is to know of one job: its row, how it was asked for, and when what happened to it."""
    return job_row(job) | known(
        generation_type=job.generation_type,
        settings=job_params(job),
        quote_basis=job.quote_basis,
        error_code=job.error_code,
        accepted_at=None if job.accepted_at is None else _moment(job.accepted_at),
        settled_at=None if job.settled_at is None else _moment(job.settled_at),
    )


def asset_row(asset: Asset) -> dict[str, Any]:
    """A named file with the hosted field names; `url` goes wherever media is taken."""
    return known(
        name=asset.name,
        id=asset.id,
        kind=asset.media.kind,
        size_bytes=asset.media.size_bytes,
        mime_type=asset.media.mime,
        url=asset.reference,
        source_url=asset.media.url,
        created_at=_moment(asset.created_at),
    )


def character_row(character: Character) -> dict[str, Any]:
    """A character with the hosted field names; `character_id` goes into `character_ids`."""
    return known(
        id=character.id,
        character_id=character.id,
        character_name=character.name,
        description=character.description,
        voice_id=character.voice_id,
        image_url=character.reference if character.image else None,
        created_at=_moment(character.created_at),
    )


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def entry_row(entry: Entry) -> dict[str, Any]:
    """A recipe as a list shows it; required arguments have a star."""
    summary = entry.summary
    row: dict[str, Any] = {
        "name": entry.name,
        "title": summary.title,
        "description": summary.description,
        "arguments": ", ".join(name + "*" * argument.required for name, argument in summary.arguments.items()),
        "tags": ", ".join(summary.tags),
        "source": entry.origin.where,
    }
    if entry.overrides:
        row["overrides"] = ", ".join(entry.overrides)
    return row


def argument_row(name: str, argument: Argument) -> dict[str, Any]:
    """One argument with what is allowed."""
    limits = {limit: getattr(argument, limit) for limit in ("default", "minimum", "maximum", "max_length")}
    return known(
        name=name,
        type=argument.type,
        description=argument.description,
        required=argument.required or None,
        choices=list(argument.choices),
        of=argument.of if argument.of != "string" else None,
        kinds=list(argument.kinds),
        columns=[column_row(name, column) for name, column in argument.columns.items()],
        **limits,
    )


def column_row(name: str, column: Column) -> dict[str, Any]:
    """One column of a table with what is allowed; what is as usual is left out."""
    limits = {limit: getattr(column, limit) for limit in ("minimum", "maximum", "max_length")}
    return known(
        name=name,
        type=column.type if column.type != "string" else None,
        description=column.description or None,
        required=column.required or None,
        choices=list(column.choices),
        kinds=list(column.kinds),
        **limits,
    )
