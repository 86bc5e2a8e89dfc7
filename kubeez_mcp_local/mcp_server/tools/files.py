"""Files in both directions: looking at outputs, uploading inputs, cutting videos."""

from __future__ import annotations

import base64
from dataclasses import asdict
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any

from mcp.types import AudioContent, ImageContent
from pydantic import BeforeValidator, Field, WithJsonSchema

from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.mcp_server.answers import link
from kubeez_mcp_local.mcp_server.call import Call
from kubeez_mcp_local.mcp_server.inventory import tool
from kubeez_mcp_local.mcp_server.results import (
    TrimResult,
    UploadPageResult,
    UploadResult,
    UploadSessionResult,
    ViewResult,
)
from kubeez_mcp_local.media.video import EXTRA
from kubeez_mcp_local.operations import parameters as p

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kubeez_mcp_local.bridge.trimming import Cut

_SAFE = "send it as plain MP4, MOV, MP3 or WAV"


def media_next_step(media: Iterable[Mapping[str, Any]]) -> str:
    """The next step after `media` has arrived."""
    problems = {each.get("measurement") for each in media}
    if "unavailable" in problems and find_spec("av") is None:
        return (
            "A length could not be measured, because the extra 'video' (PyAV) is not installed: "
            f"have the user install {EXTRA}, restart the server and upload again. "
            "Jobs billed by length cannot be quoted until then."
        )
    if "unavailable" in problems:
        return f"A length could not be measured; {_SAFE}. Jobs billed by length cannot be quoted until then."
    return "Pass media_urls to the tool, such as generate_media as source_media_urls."


UPLOAD_PATIENCE = 38.0
"""Seconds a call waits for uploads; clients give up on calls that last a minute."""
TRIM_PATIENCE = 40.0
"""Seconds a call waits for a cut."""


def _names(value: Any) -> Any:
    """Several names with commas, or as a list, also where a host sent it as JSON text."""
    return value.split(",") if isinstance(value, str) and not value.lstrip().startswith("[") else value


Names = Annotated[
    p.Texts, BeforeValidator(_names), WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 4000})
]


@tool(title="Look at outputs", family="media", result=ViewResult, route="generations", core=True, app=True)
async def view_media(
    call: Call,
    output_id: Annotated[
        Names, Field(description="Id in outputs[], job or run id, or local path; several with commas.")
    ],
    max_kilobytes: Annotated[
        int,
        Field(
            description="Size limit of the preview, 20 to 3500; default 200. Bigger costs more context.", ge=20, le=3500
        ),
    ] = 200,
    at_s: Annotated[float | None, Field(description="Moment of a film or sound, in seconds.", ge=0, le=86_400)] = None,
) -> ViewResult:
    """A small preview of outputs or local files, so that you can see or hear them. Free.

    Several come on one sheet with what differs and what each cost; of a film you see six moments; long audio is
    shortened. The full file is on disk and at its URL; never fetch the URL yourself.
    """
    names = [name.strip() for name in output_id if name.strip()]
    if not names:
        raise InvalidArgumentError("output_id", "is empty.", next_step="Take an id from outputs[], or a local path.")
    shown = await call.bridge.viewing.view(names, max_bytes=max_kilobytes * 1000, at_s=at_s)
    for content, media_type in shown.previews:
        data = base64.b64encode(content).decode()
        if media_type.startswith("audio/"):
            call.blocks.append(AudioContent(type="audio", data=data, mime_type=media_type))
        else:
            call.blocks.append(ImageContent(type="image", data=data, mime_type=media_type))
    rows = []
    for view in shown.views:
        target = view.path.as_uri() if view.path else view.url
        if target:
            call.blocks.append(link(target, view.name, view.media_type))
        path = str(view.path) if view.path else None
        row = {**asdict(view), "path": path}
        rows.append({name: value for name, value in row.items() if value})
    if len(shown.views) > 1:
        return ViewResult(mode=call.mode, preview=shown.note, views=rows)
    (view,) = shown.views
    return ViewResult(
        mode=call.mode,
        output_id=view.output_id,
        url=view.url,
        path=str(view.path) if view.path else None,
        media_type=view.media_type,
        preview=shown.note,
    )


@tool(
    title="Upload local files", family="uploads", result=UploadResult, effect="write", route="upload_media", core=True
)
async def upload_media(
    call: Call,
    paths: Annotated[
        p.Texts,
        Field(
            description="Local files or globs such as ~/Pictures/*.png, at most 50 files of 500 MB each; order kept."
        ),
    ],
) -> UploadResult:
    """Measure and upload local files; returns their URLs for source_media_urls and the like. Free.

    Rarely needed: tools that take a media URL take a local path too. Only undamaged files inside the allowed folders;
    the same content is uploaded once.
    """
    done = await call.bridge.uploading.upload(paths, call.progress, patience=UPLOAD_PATIENCE)
    uploaded = done.media
    more = f"{len(uploaded)} uploaded, {done.left} not yet; call again with the same paths to go on."
    return UploadResult(
        mode=call.mode,
        status="processing" if done.left else "completed",
        media_urls=[item["url"] for item in uploaded],
        media=uploaded,
        count=len(uploaded),
        total_video_seconds=sum(m.get("duration_seconds") or 0 for m in uploaded if m["kind"] == "video") or None,
        total_audio_seconds=sum(m.get("duration_seconds") or 0 for m in uploaded if m["kind"] == "audio") or None,
        next_step=more if done.left else media_next_step(uploaded),
    )


@tool(title="Cut a video", family="media", result=TrimResult, effect="write")
async def trim_video(
    call: Call,
    source_url: Annotated[str, Field(description="Video: https URL or local path, at most 500 MB.")],
    end_s: Annotated[float, Field(description="End in seconds; at most 60 s after start_s.")],
    start_s: Annotated[float, Field(description="Start in seconds.")] = 0,
) -> TrimResult:
    """Cut a window out of a video here, exact to the frame, and upload it. Free. The user chooses the window."""
    return _cut_result(call, await call.bridge.trimming.trim(source_url, start_s, end_s, patience=TRIM_PATIENCE))


@tool(title="Join videos", family="media", result=TrimResult, effect="write")
async def join_videos(
    call: Call,
    source_urls: Annotated[p.Texts, Field(description="2 to 20 videos of one shape, in order: paths or https URLs.")],
) -> TrimResult:
    """Join clips here to one of at most 300 s and upload it. Free."""
    return _cut_result(call, await call.bridge.trimming.join(source_urls, patience=TRIM_PATIENCE))


def _cut_result(call: Call, cut: Cut | None) -> TrimResult:
    if cut is None:
        again = "Still at work; call again with the same arguments to get the result."
        return TrimResult(mode=call.mode, status="processing", next_step=again)
    made = cut.trimmed
    call.blocks.append(link(made.path.as_uri(), made.path.name, "video/mp4", made.size_bytes))
    return TrimResult(
        mode=call.mode,
        status="completed",
        url=cut.url,
        **(asdict(made) | {"path": str(made.path)}),
        sound=cut.sound,
        notes=[f"The video is on disk but could not be uploaded: {cut.upload_error}"] if cut.upload_error else [],
        next_step="Done; tell the user where it is. Tools that work on it take the path.",
    )


@tool(title="Open an upload page", family="uploads", result=UploadPageResult, effect="write")
async def get_upload_url(
    call: Call,
    model_id: Annotated[str, Field(description="Model the files are for; decides how many and which kinds.")] = "",
) -> UploadPageResult:
    """A page on this machine where the user drops files (url), and a direct multipart upload: token + repeated file.

    Rarely needed: tools take local paths. Ask get_upload_session(token) what arrived. Open for an hour. Free.
    """
    session = await call.bridge.upload_sessions.open(model_id)
    step = "Give the user the url, then get_upload_session."
    return UploadPageResult(mode=call.mode, next_step=step, **asdict(session))


@tool(title="What was uploaded", family="uploads", result=UploadSessionResult, remote=False)
async def get_upload_session(
    call: Call, token: Annotated[str, Field(description="From get_upload_url.")]
) -> UploadSessionResult:
    """Files that arrived on the upload page, in order, measured. Quote by length once billing_readiness is exact."""
    facts = call.bridge.upload_sessions.state(token)
    if facts["media"]:
        step = media_next_step(facts["media"])
    elif facts["expired"]:
        step = "Nothing arrived in time; open another session with get_upload_url."
    else:
        step = "Nothing has arrived yet; ask again once the user or the upload is done."
    return UploadSessionResult(mode=call.mode, next_step=step, **facts)
