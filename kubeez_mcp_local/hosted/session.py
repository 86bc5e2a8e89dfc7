"""The connection to the hosted server: opened at the first call, opened anew after it broke."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pydantic import SecretStr


class TokenSource(Protocol):
    """Where the bearer token for the hosted server comes from."""

    async def token(self) -> SecretStr:
        """One that is valid now; refreshed first if that is needed.

        Raises:
            UnauthorizedError: There is none; it names `kubeez-mcp-local login --hosted`.
        """
        ...

    async def refused(self, token: SecretStr) -> SecretStr:
        """Another one, after a 401 came for `token`.

        Raises:
            UnauthorizedError: There is no other; it names `kubeez-mcp-local login --hosted`.
        """
        ...
