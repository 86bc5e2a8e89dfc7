"""Hosted tools around jobs: plans and skills, looking at media, cutting clips, the account's library, voices, links."""

import base64
import re
import time
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from anyio.from_thread import run as run_from_thread
from mcp.types import AudioContent, ContentBlock, ImageContent, TextContent
from pydantic import Field

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.media.trim import check_range, trim
from kubeez_mcp_local.media.video import NotInstalledError
from kubeez_mcp_local.sandbox import free_routes
from kubeez_mcp_local.sandbox.answers import ApiError, invalid, not_found
from kubeez_mcp_local.sandbox.books import File, Work
from kubeez_mcp_local.sandbox.catalogue import look_up
from kubeez_mcp_local.sandbox.hosted.tools import DESTROYS, LINKS, READS, WRITES, Asked, Call, Nothing, Toolbox
from kubeez_mcp_local.sandbox.service import moment
from kubeez_mcp_local.sandbox.studio.sounds import sound_extension

box = Toolbox()

# Planning, and what an agent reads first

SKILLS = {
    "model-selection": "Use only ids that `get_models` returns. In the sandbox every model draws or plays a stand-in.",
    "billing-confirmation": "Quote with `estimate`, wait for an explicit yes, then start the job. Nothing is refunded "
    "but what failed.",
    "media-upload": "Open a session with `get_upload_url`, send the files to `direct_upload_url`, and read "
    "`get_upload_session` until `billing_readiness` is `exact`.",
    "polling": "Look first after 10 s for a picture, 20 s for a separation, 30 s for a clip or song; then every 5 s.",
}
SCHEME = "kubeez://skills/"

_TASKS = (
    (("caption", "subtitle"), "auto-caption"),
    (("vocals", "stems", "separate", "split"), "mvsep-40"),
    (("dub", "translate"), "sonilo-dubbing"),
    (("song", "music"), "V6"),
    (("background",), "remove-background"),
)


def _fitting(call: Call, words: str, *, video: bool) -> dict[str, Any]:
    """The row of a model for these words; the first that makes a clip or a picture from text where none is named."""
    found = next((model for marks, model in _TASKS if any(mark in words.lower() for mark in marks)), None)
    if found is not None:
        return call.service.row(found)
    makes = "text-to-video" if video or re.search("video|clip|animat", words.lower()) else "text-to-image"
    return next(row for row in call.service.catalogue.served() if makes in row["generation_types"])


class Plan(Asked):
    intent: str = Field(description="Assumed name.")
    has_local_files: bool = False
    has_video_reference: bool = False


@box.add(None, READS)
def plan(call: Call, asked: Plan) -> dict[str, Any]:
    """Choose a model and steps for what the user wants; free, runs no model. The sandbox goes by a few words only."""
    row = _fitting(call, asked.intent, video=asked.has_video_reference)
    upload = asked.has_local_files or asked.has_video_reference
    return {
        "recommended_model": row["model_id"],
        "estimated_credits": row["cost_per_generation"],
        "estimated_seconds": row["estimated_time_seconds"],
        "requires_upload": upload,
        "suggested_aspect_ratio": "1:1",
        "workflow_steps": [*(["get_upload_url", "get_upload_session"] if upload else []), "estimate", "get_status"],
        "skills_to_fetch": [
            "model-selection",
            "billing-confirmation",
            *(["media-upload"] if upload else []),
            "polling",
        ],
    }


class PickModel(Asked):
    task: str


@box.add(None, None)
def pick_model(call: Call, asked: PickModel) -> dict[str, Any]:
    """Choose a model for a task. Assumed: all but the name."""
    row = _fitting(call, asked.task, video=False)
    return {"model_id": row["model_id"], "estimated_credits": row["cost_per_generation"]}


class GetSkill(Asked):
    name: str


@box.add(None, READS)
def get_skill(call: Call, asked: GetSkill) -> dict[str, Any]:
    """The text of a skill, the same as the resource kubeez://skills/NAME. The sandbox has short texts of its own."""
    if asked.name not in SKILLS:
        raise not_found(f"There is no skill {asked.name}. Skills: {', '.join(SKILLS)}")
    return {"name": asked.name, "text": SKILLS[asked.name]}


# Looking and cutting

_MOST_INLINE = 3_670_016


class ViewMedia(Asked):
    output_id: str


@box.add("read:generations", READS, free_form=False)
def view_media(call: Call, asked: ViewMedia) -> list[ContentBlock]:
    """Show an output of yours: pictures and sound inline, clips and what is over 3.5 MiB as text with the address."""
    file = call.service.books.file_with_id(asked.output_id)
    if file is None or file.account != call.caller.id or not file.job or not call.service.books.is_finished(file.job):
        raise not_found("Output not found")
    file = call.service.studio.ready(file)
    if file.kind == "video" or (file.size or 0) > _MOST_INLINE:
        return [TextContent(type="text", text=f"The {file.kind} is at {call.viewer.url(file)}")]
    data = base64.b64encode(call.service.books.path_of(file).read_bytes()).decode()
    kind = ImageContent if file.kind == "image" else AudioContent
    return [kind.model_validate({"type": file.kind, "data": data, "mimeType": file.media_type})]


class TrimVideo(Asked):
    source_url: str
    end_s: float
    start_s: float = 0


@box.add("generate:media", WRITES, "media")
def trim_video(call: Call, asked: TrimVideo) -> dict[str, Any]:
    """Cut a window of at most 60 s out of a video, and host it. The sandbox cuts exactly, and its own files only."""
    began = time.monotonic()
    try:
        check_range(asked.start_s, asked.end_s)
        books, source = call.service.books, _stored(call, asked.source_url)
        target = free_routes.waiting_file(books).with_suffix(".mp4")
        made = run_from_thread(trim, books.path_of(source), target, asked.start_s, asked.end_s)
    except KubeezError as error:
        code = "processor_unavailable" if isinstance(error, NotInstalledError) else error.code
        raise ApiError(400, {"error": code, "message": error.message}) from None
    file = free_routes.keep_upload(books, call.caller.id, target, "trimmed", "hosted")
    return {
        "url": call.viewer.url(file),
        "size_bytes": file.size,
        "duration_s": made.duration_s,
        "start_s": asked.start_s,
        "end_s": asked.end_s,
        "elapsed_s": round(time.monotonic() - began, 3),
    }


def _stored(call: Call, url: str) -> File:
    """The file behind a URL of this stand-in, which fetches nothing from elsewhere."""
    source = look_up(call.service.books, url)
    file = call.service.books.file_named(source.name) if source.name else None
    if file is None:
        raise ApiError(400, {"error": "source_fetch_failed", "message": f"The sandbox fetches nothing: {url}"})
    return call.service.studio.ready(file)


# The account's library

_ASSET, _CHARACTER = "asset", "character"
_QUOTA_BYTES = 50_000_000


class ManageLibrary(Asked):
    action: Literal["add", "rename", "delete", "create"]
    kind: Literal["asset", "character"] = Field("asset", description="Assumed default.")
    name: Annotated[str, Field(pattern="^[a-z0-9_-]{1,64}$")] | None = None
    url: str | None = None
    shared: bool | None = None
    asset_id: str | None = None
    new_name: Annotated[str, Field(pattern="^[a-z0-9_-]{1,64}$")] | None = None
    description: str | None = None
    image_url: str | None = Field(None, description="Assumed name.")
    voice_id: str | None = None
    character_id: str | None = Field(None, description="Assumed name.")


@box.add("generate:media", DESTROYS)
def manage_library(call: Call, asked: ManageLibrary) -> dict[str, Any]:
    """Add, rename or delete assets; create or delete characters. Assumed: the answers, which are rows of the lists."""
    if asked.shared is not None:
        raise invalid("shared: this account has no team")
    if asked.kind == "character":
        return _manage_characters(call, asked)
    if asked.action == "create":
        raise invalid("action: assets are added, renamed or deleted")
    if asked.action == "add":
        return _add_asset(call, asked)
    asset_id = asked.asset_id or ""
    if asked.action == "delete":
        return _deleted(call, _ASSET, asset_id)
    if asset_id not in call.service.books.notes(_ASSET, call.caller.id):
        raise not_found("Asset not found")
    call.service.books.change_note(_ASSET, asset_id, name=_free(call, asked.new_name))
    return _asset(call, asset_id, call.service.books.notes(_ASSET, call.caller.id)[asset_id])


def _add_asset(call: Call, asked: ManageLibrary) -> dict[str, Any]:
    file = _stored(call, asked.url or "")
    about = {"name": _free(call, asked.name), "kind": file.kind, "size_bytes": file.size, "file": file.path}
    asset_id = call.service.books.new_id()
    call.service.books.note(_ASSET, asset_id, call.caller.id, about)
    return _asset(call, asset_id, about)


def _free(call: Call, name: str | None) -> str:
    """The name, if it is given and no asset of the account has it."""
    if not name:
        raise invalid("name: lowercase letters, digits, _ and -, at most 64")
    if any(about["name"] == name for about in call.service.books.notes(_ASSET, call.caller.id).values()):
        raise invalid(f"name: there is an asset {name} already")
    return name


def _deleted(call: Call, kind: str, note_id: str) -> dict[str, Any]:
    if not call.service.books.forget_note(kind, note_id, call.caller.id):
        raise not_found(f"{kind.capitalize()} not found")
    return {"deleted": note_id}


def _asset(call: Call, asset_id: str, about: dict[str, Any]) -> dict[str, Any]:
    shown = {name: about[name] for name in ("name", "kind", "size_bytes")}
    return {**shown, "id": asset_id, "url": f"{call.viewer.origin}/files/{about['file']}"}


def _manage_characters(call: Call, asked: ManageLibrary) -> dict[str, Any]:
    if asked.action == "delete":
        found = [
            about["id"] for about in _characters(call) if asked.character_id in (about["id"], about["character_id"])
        ]
        return _deleted(call, _CHARACTER, found[0] if found else "")
    if asked.action != "create" or not (asked.name and asked.description and asked.image_url):
        raise invalid("action: characters are created, with name, description and image_url, or deleted")
    if asked.voice_id is not None:
        _voice(asked.voice_id)
    look_up(call.service.books, asked.image_url)
    about = {
        "id": call.service.books.new_id(),
        "character_id": f"char-{call.service.books.new_id()[:8]}",
        "character_name": asked.name,
        "image_url": asked.image_url,
        "description": asked.description,
        "voice_id": asked.voice_id,
        "created_at": moment(call.service.books.clock()),
    }
    call.service.books.note(_CHARACTER, about["id"] or "", call.caller.id, about)
    return about


def _characters(call: Call) -> list[dict[str, Any]]:
    return list(call.service.books.notes(_CHARACTER, call.caller.id).values())


@box.add("generate:media", READS)
def list_assets(call: Call, asked: Nothing) -> dict[str, Any]:
    """Named files of the account, with what they take up in bytes. The sandbox's addresses do not end after an hour."""
    notes = call.service.books.notes(_ASSET, call.caller.id)
    assets = [_asset(call, asset_id, about) for asset_id, about in notes.items()]
    used = sum(asset["size_bytes"] for asset in assets)
    return {"assets": assets, "quota_bytes": _QUOTA_BYTES, "used_bytes": used, "kling_elements": []}


@box.add("generate:media", READS)
def list_gemini_omni_characters(call: Call, asked: Nothing) -> dict[str, Any]:
    """Characters of the account, newest first."""
    return {"characters": _characters(call)}


# Voices. Assumed: that they are the 30 of Gemini's speech models, in lower case

_VOICES = (
    "zephyr:Bright puck:Upbeat charon:Informative kore:Firm fenrir:Excitable leda:Youthful orus:Firm aoede:Breezy "
    "callirrhoe:Easy-going autonoe:Bright enceladus:Breathy iapetus:Clear umbriel:Easy-going algieba:Smooth "
    "despina:Smooth erinome:Clear algenib:Gravelly rasalgethi:Informative laomedeia:Upbeat achernar:Soft alnilam:Firm "
    "schedar:Even gacrux:Mature pulcherrima:Forward achird:Friendly zubenelgenubi:Casual vindemiatrix:Gentle "
    "sadachbia:Lively sadaltager:Knowledgeable sulafat:Warm"
)
_FEMALE = (
    "zephyr kore leda aoede callirrhoe autonoe despina erinome laomedeia achernar gacrux pulcherrima "
    "vindemiatrix sulafat"
)


def _voices() -> list[dict[str, Any]]:
    pairs = [each.split(":") for each in _VOICES.split()]
    return [
        {
            "id": name,
            "label": name.capitalize(),
            "gender": "female" if name in _FEMALE.split() else "male",
            "description": words,
        }
        for name, words in pairs
    ]


def _voice(voice_id: str) -> dict[str, Any]:
    found = [voice for voice in _voices() if voice["id"] == voice_id]
    if not found:
        raise ApiError(400, {"error": "invalid_voice_id", "message": f"There is no voice {voice_id}"})
    return found[0]


@box.add(None, READS)
def list_gemini_omni_voices(call: Call, asked: Nothing) -> dict[str, Any]:
    """The 30 voices. Assumed: which these are, and the frame around them."""
    return {"voices": _voices()}


class PlayVoice(Asked):
    voice_id: str


@box.add(None, READS)
def play_gemini_omni_voice(call: Call, asked: PlayVoice) -> dict[str, Any]:
    """One voice with the address of a preview. The sandbox hums."""
    voice, books = _voice(asked.voice_id), call.service.books
    kept = next(
        (file for file in books.uploads(call.caller.id) if file.work.get("label") == f"voice {voice['id']}"), None
    )
    if kept is None:
        words = f"This is {voice['label']}."
        work = Work("speech", sound_extension(), "voices", words, 1, f"voice {voice['id']}", seconds=3).as_dict()
        kept = books.add_upload(call.caller.id, f".{work['extension']}", work["media_type"], work)
    url = call.viewer.url(kept)
    return {"voice": {**voice, "preview_url": url}, "preview_url": url, "message": f"Preview of {voice['label']}"}


# Links to the website. Assumed: their form

_SITE = "https://kubeez.com"


def _link(page: str, **query: str | None) -> str:
    asked = urlencode({name: value for name, value in query.items() if value is not None})
    return f"{_SITE}/{page}?{asked}" if asked else f"{_SITE}/{page}"


class OpenStudio(Asked):
    prompt: str | None = None
    model: str | None = None
    aspect_ratio: str | None = None


@box.add(None, LINKS)
def open_studio(call: Call, asked: OpenStudio) -> dict[str, Any]:
    """The address of the studio with these settings, to hand over. Assumed: its form."""
    return {"url": _link("studio", **asked.model_dump()), "summary": "The studio on the website."}


class OpenGallery(Asked):
    status: str | None = None


@box.add(None, LINKS)
def open_gallery(call: Call, asked: OpenGallery) -> dict[str, Any]:
    """The address of the history page. Assumed: its form."""
    return {"url": _link("gallery", status=asked.status), "summary": "Your history on the website."}


@box.add(None, LINKS)
def open_pricing(call: Call, asked: Nothing) -> dict[str, Any]:
    """The address where credits are bought, and the balance. Assumed: its form."""
    left = call.service.books.balance(call.caller.id)
    return {"url": _link("billing"), "summary": f"You have {left:g} sandbox credits.", "current_balance": left}
