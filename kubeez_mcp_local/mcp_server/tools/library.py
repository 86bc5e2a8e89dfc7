"""The user's own named files and characters, kept on this machine."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from kubeez_mcp_local.catalogue.checks import verify_media_kind
from kubeez_mcp_local.catalogue.voices import omni_voice
from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.mcp_server.call import Call
from kubeez_mcp_local.mcp_server.inventory import tool
from kubeez_mcp_local.mcp_server.results import AssetsResult, CharactersResult, LibraryResult
from kubeez_mcp_local.mcp_server.rows import asset_row, character_row

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
