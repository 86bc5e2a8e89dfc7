"""Where the API is: the live one, a standalone sandbox, or the embedded one, started on first use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio
from pydantic import SecretStr

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.rest.failures import UnreachableError

if TYPE_CHECKING:
    from kubeez_mcp_local.sandbox.embedded import EmbeddedSandbox
    from kubeez_mcp_local.settings import Settings

SANDBOX_KEY = "sk_live_sandbox"


@dataclass(frozen=True)
class Origin:
    """An API to talk to."""

    base_url: str
    key: SecretStr


class Origins:
    """Finds the API that the settings name.

    Args:
        settings: Decide between live, standalone and embedded.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._embedded: EmbeddedSandbox | None = None
        self._lock = anyio.Lock()

    async def get(self) -> Origin:
        """The API's origin and key. Starts the embedded sandbox if that is the one.

        Raises:
            UnreachableError: It cannot be started, with the sandbox's own code.
        """
        settings = self._settings
        if settings.effective_mode == "live":
            return Origin(settings.base_url, settings.api_key or SecretStr(""))
        if settings.standalone_sandbox:
            return Origin(settings.standalone_sandbox, settings.api_key or SecretStr(SANDBOX_KEY))
        async with self._lock:
            if self._embedded is None:
                from kubeez_mcp_local.sandbox.embedded import EmbeddedSandbox

                self._embedded = EmbeddedSandbox(settings.state_dir, settings.sandbox_speed)
            try:
                return Origin(await self._embedded.start(), SecretStr(SANDBOX_KEY))
            except KubeezError as error:  # nothing was sent to it, so nothing was accepted either
                absent = UnreachableError(error.message, next_step=error.next_step)
                absent.code, absent.lasting = error.code, True
                raise absent from error

    async def aclose(self) -> None:
        """Stop the embedded sandbox, if it runs."""
        if self._embedded is not None:
            await self._embedded.stop()
