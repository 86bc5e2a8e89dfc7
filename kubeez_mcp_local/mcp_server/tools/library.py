"""The user's own named files and characters, kept on this machine; voices; and where to go on in the browser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from kubeez_mcp_local.catalogue.checks import verify_media_kind, verify_text
from kubeez_mcp_local.catalogue.voices import ADVICE, OMNI_VOICES, omni_voice
from kubeez_mcp_local.errors import InvalidArgumentError, KubeezError
from kubeez_mcp_local.mcp_server.call import Call
from kubeez_mcp_local.mcp_server.inventory import tool
from kubeez_mcp_local.mcp_server.results import (
    AssetsResult,
    CharactersResult,
    LibraryResult,
    LinkResult,
    VoiceResult,
    VoicesResult,
)
from kubeez_mcp_local.mcp_server.rows import asset_row, character_row
from kubeez_mcp_local.text import spoken

if TYPE_CHECKING:
    from kubeez_mcp_local.catalogue.voices import OmniVoice

_HERE = "This is the library on this machine; the one on kubeez.com has no public API: see https://kubeez.com."


@tool(title="List your library", family="library", result=AssetsResult, remote=False)
async def list_assets(call: Call) -> AssetsResult:
    """Files the user keeps under names on this machine. Look here before asking for a file again. Free.

    Pass an asset's url (library:name) wherever media is taken; it is uploaded when used.
    """
    library = call.bridge.library
    rows = [asset_row(asset) for asset in await library.assets()]
    return AssetsResult(mode=call.mode, assets=rows, used_bytes=await library.used_bytes(), notes=[_HERE])


@tool(title="Change your library", family="library", result=LibraryResult, effect="delete", remote=False)
async def manage_library(
    call: Call,
    action: Annotated[
        Literal["add", "rename", "delete", "create"],
        Field(description="For an asset add, rename or delete; for a character create or delete."),
    ],
    kind: Annotated[Literal["asset", "character"], Field(description="What it is about.")] = "asset",
    name: Annotated[str, Field(description="Up to 64 of a-z, 0-9, _ and -.")] = "",
    url: Annotated[str, Field(description="File to add, or picture of a character: path or https URL.")] = "",
    asset_id: Annotated[str, Field(description="Id or name, to rename or delete.")] = "",
    new_name: Annotated[str, Field(description="For rename.")] = "",
    description: Annotated[str, Field(description="Who the character is.")] = "",
    voice_id: Annotated[str, Field(description="The character's voice, such as kore.")] = "",
    shared: Annotated[bool, Field(description="Leave out: there is no team library here.")] = False,
) -> LibraryResult:
    """Add, rename or delete named files and characters on this machine. Free.

    Adding copies the file; deleting removes that copy and never the original.
    """
    if shared:
        raise InvalidArgumentError(
            "shared", "the team library has no public API.", next_step="Share it on https://kubeez.com."
        )
    library, wanted = call.bridge.library, asset_id or name
    if action in ("rename", "delete") and not wanted.strip():
        raise InvalidArgumentError("asset_id", f"is required for {action}.", next_step="list_assets tells the ids.")
    row: dict[str, Any]
    match kind, action:
        case "asset", "add":
            row = asset_row(await library.add(name, await call.bridge.inputs.resolve(url, argument="url")))
        case "asset", "rename":
            row = asset_row(await library.rename(wanted, new_name))
        case "asset", "delete":
            row = asset_row(await library.delete(wanted))
        case "character", "create":
            voice = omni_voice(voice_id).id if voice_id.strip() else None
            picture = await call.bridge.inputs.resolve(url, argument="url") if url.strip() else None
            verify_media_kind("url", picture.kind if picture else None, ("image",))
            row = character_row(await library.create_character(name, description, voice_id=voice, image=picture))
        case "character", "delete":
            row = character_row(await library.delete_character(wanted, argument="asset_id"))
        case _:
            raise InvalidArgumentError(
                "action", f"{action} does not go with {kind}; asset: add, rename, delete; character: create, delete."
            )
    return LibraryResult(mode=call.mode, action=action, kind=kind, entry=row, notes=[_HERE])


@tool(title="List characters", family="library", result=CharactersResult, remote=False)
async def list_gemini_omni_characters(call: Call) -> CharactersResult:
    """Characters kept on this machine, newest first; make one with manage_library. Free.

    Pass character_id in generate_media's character_ids, so that somebody looks and sounds the same in every clip.
    """
    rows = [character_row(character) for character in await call.bridge.library.characters()]
    return CharactersResult(mode=call.mode, characters=rows, count=len(rows), notes=[_HERE])


_EVIDENCE = "These are Gemini's standard voices; Kubeez publishes no list of its own over REST."


@tool(title="Omni voices", family="library", result=VoicesResult, remote=False)
async def list_gemini_omni_voices(call: Call) -> VoicesResult:
    """The 30 voices of the Gemini Omni models with gender and manner, for voice_id. Free."""
    rows = [_row(voice) for voice in OMNI_VOICES]
    return VoicesResult(mode=call.mode, voices=rows, count=len(rows), notes=[f"For {ADVICE['omni']}.", _EVIDENCE])


@tool(title="Hear an Omni voice", family="library", result=VoiceResult, remote=False)
async def play_gemini_omni_voice(
    call: Call, voice_id: Annotated[str, Field(description="Such as kore or puck.")]
) -> VoiceResult:
    """What is known of one voice. There is no sample to play over the REST API; kubeez.com has one. Free."""
    return VoiceResult(
        mode=call.mode,
        voice=_row(omni_voice(voice_id)),
        message="The REST API publishes no sample of this voice; listen to it on https://kubeez.com.",
        notes=[_EVIDENCE],
    )


def _row(voice: OmniVoice) -> dict[str, Any]:
    return {"id": voice.id, "label": voice.label, "gender": voice.gender, "description": voice.description}


MAX_PROMPT, MAX_WORD = 5_000, 100
"""Characters that are repeated in an answer."""
_SITE = "https://kubeez.com"


@tool(title="Open the studio", family="links", result=LinkResult, remote=False)
async def open_studio(
    call: Call,
    prompt: Annotated[str, Field(description="Shown in the summary, for the user to paste.")] = "",
    model: Annotated[str, Field(description="Shown in the summary.")] = "",
    aspect_ratio: Annotated[str, Field(description="Shown in the summary.")] = "",
) -> LinkResult:
    """The address of Kubeez's web studio, for a user who goes on in the browser. Hand it over; do not fetch it."""
    verify_text("prompt", prompt, MAX_PROMPT)
    verify_text("model", model, MAX_WORD)
    verify_text("aspect_ratio", aspect_ratio, MAX_WORD)
    given = ", ".join(value for value in (model, aspect_ratio, prompt) if value)
    settings = f" The link cannot carry settings; enter there: {given}." if given else ""
    return LinkResult(mode=call.mode, url=_SITE, summary=f"Open the studio and sign in.{settings}")


@tool(title="Open the gallery", family="links", result=LinkResult, remote=False)
async def open_gallery(
    call: Call,
    status: Annotated[str, Field(description="Shown in the summary.")] = "",
) -> LinkResult:
    """A page here of all outputs, and the address of the history on kubeez.com. For data call get_generations."""
    verify_text("status", status, MAX_WORD)
    wanted = f" The link cannot carry a filter; choose {status} there." if status else ""
    hosted = f"Those of the whole account: {_SITE}, after signing in.{wanted}"
    try:
        url = call.bridge.pages.address("gallery")
    except KubeezError as error:
        return LinkResult(mode=call.mode, url=_SITE, summary=f"{error.message} {hosted}")
    summary = f"Everything made on this machine, for as long as this server runs. {hosted}"
    return LinkResult(mode=call.mode, url=url, summary=summary)


@tool(title="Open pricing", family="links", result=LinkResult, route="balance")
async def open_pricing(call: Call) -> LinkResult:
    """Where credits are bought, with the balance now. Use it when credits run out or the user asks."""
    credits_ = await call.bridge.credits_if_known()
    known = "The balance is not known right now." if credits_ is None else f"The balance is {spoken(credits_)}."
    return LinkResult(mode=call.mode, url=f"{_SITE}/pricing", summary=known, current_balance=credits_)
