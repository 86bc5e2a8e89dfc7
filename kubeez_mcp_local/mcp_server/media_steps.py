"""What to do with files that were uploaded, depending on whether their lengths are known."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from kubeez_mcp_local.media.video import EXTRA

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_SAFE = "send it as plain MP4, MOV, MP3 or WAV"


def media_next_step(media: Iterable[Mapping[str, Any]]) -> str:
    """The next step after `media` has arrived."""
    problems = {each.get("measurement") for each in media}
    if "unavailable" in problems and find_spec("av") is None:
        return (
            "A length could not be measured, because the extra 'video' (PyAV) is not installed: "
            f"{EXTRA}, restart the server and upload again. Jobs billed by length cannot be quoted until then."
        )
    if problems & {"unavailable", "unreadable"}:
        return f"A length could not be measured; {_SAFE}. Jobs billed by length cannot be quoted until then."
    return "Pass media_urls to the tool, such as generate_media as source_media_urls; quote with estimate first."
