"""The workflow steps of a plan, in words an assistant can follow with the tools of this server."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kubeez_mcp_local.catalogue.wish import Candidate, Wish

SKILLS = ("model-selection", "billing-confirmation", "media-upload", "polling")
_TOOL_OF_TASK = {"text-to-music": "generate_music", "text-to-dialogue": "generate_dialogue"}
_WAIT = "wait_for_generation(id): the finished files are saved and their paths returned."
_CONFIRM = "Tell the user the price and wait for a yes."
_TOOL_OF_JOB = {
    "captions": ("generate_captions", "media_url"),
    "separation": ("generate_separation", "media_url"),
    "dubbing": ("generate_dubbing", "video_url, languages"),
    "sound": ("generate_sound", "prompt"),
    "remove_background": ("remove_background", "image_url"),
    "ad_copy": ("create_ad_copy", "reference_ad_url"),
    "trim": ("trim_video", "source_url, start_s, end_s"),
}


def making_steps(task: str, best: Candidate, wish: Wish, ratio: str | None) -> tuple[str, ...]:
    """Steps to make `wish.count` results with the model of `best`."""
    tool = _TOOL_OF_TASK.get(task, "generate_media")
    times = f", {wish.count} times or with variant_count" if wish.count > 1 else ""
    steps = [
        f"estimate(model={best.model.id!r}{_sizing(best)}): the price.",
        _CONFIRM,
        f"{tool}({_arguments(tool, best, wish, ratio)}){times}.",
        _WAIT,
    ]
    if wish.inputs:
        files = " and then the ".join(wish.inputs)
        steps.insert(0, f"Ask for the {files} if it is not there yet: a local path or an https URL.")
    if task.endswith("image"):
        steps.append("view_media(output_id): look at the result before offering changes.")
    return tuple(steps)


def job_steps(job: str, model_id: str | None) -> tuple[str, ...]:
    """Steps for a job on one file."""
    tool, arguments = _TOOL_OF_JOB[job]
    if job == "trim":
        return ("Ask which part to keep.", f"{tool}({arguments}): cut on this machine, no credits.")
    if job == "sound":
        arguments = "video_url, prompt" if model_id and "-video-to-" in model_id else arguments
    steps = [f"Ask for the file if it is not there yet: a local path or an https URL ({arguments})."]
    if model_id:
        sized = "" if job == "remove_background" else " with the length of the file"
        steps.append(f"estimate(model={model_id!r}){sized}: the price.")
    chosen = f"model={model_id!r}, " if job in ("sound", "dubbing") else ""
    return (*steps, _CONFIRM, f"{tool}({chosen}{arguments}).", _WAIT)


def _sizing(best: Candidate) -> str:
    duration = best.request.duration if best.request else None
    return f", duration={duration!r}" if duration else ""


def _arguments(tool: str, best: Candidate, wish: Wish, ratio: str | None) -> str:
    if tool == "generate_dialogue":
        return "text"
    if tool == "generate_music":
        return "prompt"
    named: list[tuple[str, object]] = [("model", best.model.id)]
    if best.request:
        named.append(("generation_type", best.request.generation_type))
        named.append(("aspect_ratio", ratio))
        named.append(("duration", best.request.duration))
        named.append(("sound", best.request.sound))
    shown = [f"{name}={value!r}" for name, value in named if value is not None]
    urls = [f"source_media_urls=[{', '.join(wish.inputs)}]"] if wish.inputs else []
    return ", ".join(["prompt", *shown, *urls])
