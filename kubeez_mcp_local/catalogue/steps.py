"""The workflow steps of a plan, in words an assistant can follow with the tools of this server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubeez_mcp_local.catalogue.check_media import MAX_VARIANTS

if TYPE_CHECKING:
    from kubeez_mcp_local.catalogue.pick import Choice
    from kubeez_mcp_local.catalogue.wish import Candidate, Wish

SKILLS = ("model-selection", "billing-confirmation", "media-upload", "polling")
_TOOL_OF_TASK = {"text-to-music": "generate_music", "text-to-dialogue": "generate_dialogue"}
_WAIT = "wait_for_generation(id): the finished files are saved and their paths returned."
_CONFIRM = "Tell the user the price and wait for a yes."
_TOOL_OF_JOB = {
    "captions": ("generate_captions", "media_url", "reference_video_seconds"),
    "separation": ("generate_separation", "media_url", "reference_audio_seconds"),
    "dubbing": ("generate_dubbing", "video_url, languages", "reference_video_seconds"),
    "sound": ("generate_sound", "video_url, prompt", "reference_video_seconds"),
    "remove_background": ("remove_background", "image_url", ""),
    "ad_copy": ("create_ad_copy", "reference_ad_url", ""),
}


def making_steps(best: Candidate, wish: Wish, ratio: str | None) -> tuple[str, ...]:
    """Steps to make `wish.count` results with the model of `best`."""
    tool = _TOOL_OF_TASK.get(wish.task, "generate_media")
    variants = wish.count if 1 < wish.count <= MAX_VARIANTS and tool == "generate_media" else None
    steps = [
        f"estimate({_listed([('model', best.model.id), *_sizing(best), ('variant_count', variants)])}): the price.",
        _CONFIRM,
        f"{tool}({_arguments(tool, best, wish, ratio, variants)}){_repeated(tool, wish.count, variants)}.",
        _WAIT,
    ]
    if wish.inputs:
        files = " and then the ".join(wish.inputs)
        steps.insert(0, f"Ask for the {files} if it is not there yet: a local path or an https URL.")
    if wish.task.endswith("image"):
        steps.append("view_media(output_id): look at the result before offering changes.")
    return tuple(steps)


def nothing_fits_steps(choice: Choice) -> tuple[str, ...]:
    """What to do when no model does what is wanted."""
    steps = [f"Tell the user: {choice.summary}"]
    nearest, wanted = choice.nearest, choice.wish.duration
    if nearest and wanted:
        longest = nearest.model.fixed_seconds or max(nearest.model.durations, default=0)
        if 0 < longest < int(wanted):
            steps.append("Offer several shorter clips; each can begin with the last frame of the one before.")
    return tuple(steps)


def job_steps(job: str, model_id: str | None, seconds: int | None) -> tuple[str, ...]:
    """Steps for a job on one file, or for a sound; `seconds` is its length where that is known."""
    if job == "trim":
        return ("Ask which part to keep.", "trim_video(source_url, start_s, end_s): cut on this machine, no credits.")
    if job == "sound" and model_id and "-text-to-" in model_id:
        arguments = _listed([("model", model_id), ("duration", seconds)])
        return (f"estimate({arguments}): the price.", _CONFIRM, f"generate_sound(prompt, {arguments}).", _WAIT)
    tool, arguments, length = _TOOL_OF_JOB[job]
    steps = [f"Ask for the file if it is not there yet: a local path or an https URL ({arguments})."]
    if model_id:
        sized = f", {length}={seconds or '…'}" if length else ""
        steps.append(f"estimate(model={model_id!r}{sized}): the price.")
    chosen = f"model={model_id!r}, " if job in ("sound", "dubbing") else ""
    return (*steps, _CONFIRM, f"{tool}({chosen}{arguments}).", _WAIT)


def _sizing(best: Candidate) -> list[tuple[str, object]]:
    """What moves the price."""
    request = best.request
    if request is None:
        return []
    return [
        ("generation_type", request.generation_type),
        ("duration", request.duration),
        ("resolution", request.resolution),
        ("sound", request.sound),
    ]


def _arguments(tool: str, best: Candidate, wish: Wish, ratio: str | None, variants: int | None) -> str:
    if tool == "generate_dialogue":
        return "text"
    if tool == "generate_music":
        return "prompt"
    named = _listed(
        [("model", best.model.id), *_sizing(best), ("aspect_ratio", ratio), ("variant_count", variants)],
    )
    urls = f", source_media_urls=[{', '.join(wish.inputs)}]" if wish.inputs else ""
    return f"prompt, {named}{urls}"


def _listed(named: list[tuple[str, object]]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in named if value is not None)


def _repeated(tool: str, count: int, variants: int | None) -> str:
    """The same call twice is one job, so that whoever wants more has to change something."""
    if count == 1 or variants:
        return ""
    if tool == "generate_media":
        return f", {count} in all: variant_count up to {MAX_VARIANTS} a call, each call with another seed"
    return f", {count} times, each with words of its own"
