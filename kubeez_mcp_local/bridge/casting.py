"""Putting characters of the local library into a request.

Saved characters of kubeez.com have no public API. A local one is sent as what it consists of: its picture as one more
input, its description in the prompt, its voice where the model takes one. Any other id is passed on as it is.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kubeez_mcp_local.catalogue.refusals import verify_media_kind
from kubeez_mcp_local.catalogue.voices import omni_voice
from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.media.library_errors import NotInLibraryError
from kubeez_mcp_local.rest.failures import NotOfferedError
from kubeez_mcp_local.rest.routes import ROUTES, Request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kubeez_mcp_local.catalogue.media_request import MediaRequest
    from kubeez_mcp_local.media.inputs import Inputs
    from kubeez_mcp_local.media.library import Library
    from kubeez_mcp_local.media.library_store import Character
    from kubeez_mcp_local.rest.contract import Contract


class Casting:
    """Resolves characters and voices.

    Args:
        library: The local characters.
        inputs: Finds their pictures.
        contract: Knows whether the API takes a voice at all.
    """

    def __init__(self, library: Library, inputs: Inputs, contract: Contract) -> None:
        self._library = library
        self._inputs = inputs
        self._contract = contract

    async def create(self, name: str, description: str, *, voice_id: str = "", image: str = "") -> Character:
        """Note down a character, its voice and picture checked; both may be left out.

        Raises:
            HostedError: `invalid_voice_id`.
            InvalidArgumentError: About name, description or picture.
        """
        voice = omni_voice(voice_id).id if voice_id.strip() else None
        picture = await self._inputs.resolve(image, argument="url") if image.strip() else None
        verify_media_kind("url", picture.kind if picture else None, ("image",))
        return await self._library.create_character(name, description, voice_id=voice, image=picture)

    async def cast(self, request: MediaRequest, sources: Sequence[str]) -> tuple[MediaRequest, list[str]]:
        """The request and its inputs with local characters put in.

        Raises:
            HostedError: `invalid_voice_id`.
        """
        if request.voice_id:
            request = replace(request, voice_id=omni_voice(request.voice_id).id)
        elsewhere: list[str] = []
        files = list(sources)
        for wanted in request.character_ids:
            try:
                character = await self._library.character(wanted)
            except NotInLibraryError:
                elsewhere.append(wanted)
                continue
            if character.image is not None:
                files.append(character.reference)
            request = await self._with(request, character)
        return replace(request, character_ids=tuple(elsewhere)), files

    async def _with(self, request: MediaRequest, character: Character) -> MediaRequest:
        parts = "its picture and description" if character.image else "its description"
        request = replace(request, prompt=f"{request.prompt}\n\n{character.name}: {character.description}")
        request = request.noting(f"The local character {character.name} was put in as {parts}.")
        if not character.voice_id or request.voice_id or not request.model.lower().startswith("gemini-omni"):
            return request
        if await self._takes_voices():
            return replace(request, voice_id=character.voice_id)
        return request.noting(f"Its voice {character.voice_id} is left out: the API publishes no field for it.")

    async def _takes_voices(self) -> bool:
        try:
            await self._contract.prepare(Request(ROUTES["generate_media"], {"voice_id": "-"}))
        except (NotOfferedError, InvalidArgumentError):
            return False
        return True
