"""Keeping the voice of a finished song for later ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kubeez_mcp_local.bridge.api import Api
    from kubeez_mcp_local.rest.contract import Contract


class Personas:
    """Makes personas. The hosted tool is documented as free and as answering at once.

    Args:
        api: The API.
        contract: Knows how the assumed route is really called.
    """

    def __init__(self, api: Api, contract: Contract) -> None:
        self._api = api
        self._contract = contract

    async def keep(self, song_id: str, name: str, description: str, style: str | None) -> str:
        """The id of the new persona.

        Raises:
            NotFoundError: The API knows no such song.
            NotOfferedError: The API publishes no such operation.
            UnexpectedAnswerError: It answered without an id.
        """
        from kubeez_mcp_local.operations.music import PERSONA
        from kubeez_mcp_local.rest.failures import NotFoundError, UnexpectedAnswerError
        from kubeez_mcp_local.rest.routes import Request

        body = {"song_id": song_id, "name": name, "description": description, **({"style": style} if style else {})}
        operation = await self._contract.prepare(Request(PERSONA, body))
        try:
            answer = await self._api.call(operation)
        except NotFoundError as error:
            error.next_step = error.next_step or "Take the id inside songs[] of a finished generate_music job."
            raise
        found = answer.get("persona_id") or answer.get("id")
        if not isinstance(found, str | int):
            raise UnexpectedAnswerError(
                "The API took the request but named no persona.",
                next_step="Look for it on https://kubeez.com before asking again.",
                spent=None,
            )
        return str(found)
