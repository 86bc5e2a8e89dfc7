"""The API: can it be reached, does it take the key, what is in the account. Free reads, briefly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from kubeez_mcp_local.cli.checks.finding import ok, problem, warning
from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.settings import Mode, environment, is_loopback
from kubeez_mcp_local.text import spoken

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from kubeez_mcp_local.cli.checks.finding import Finding
    from kubeez_mcp_local.rest.client import RestClient
    from kubeez_mcp_local.settings import Settings

_SECONDS = 8.0
_CONNECT_SECONDS = 5.0
_PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
_SANDBOX_KEY = "sk_live_sandbox"


async def check_api(settings: Settings) -> list[Finding]:
    """What the API says; in the built-in sandbox it is not asked."""
    if settings.effective_mode is Mode.SANDBOX and not settings.standalone_sandbox:
        return [ok("API", "not asked: the sandbox is built in and needs no network")]
    import httpx

    from kubeez_mcp_local.rest.client import RestClient
    from kubeez_mcp_local.rest.retrying import Patience

    key = settings.api_key.get_secret_value() if settings.api_key else _SANDBOX_KEY
    timeout = httpx.Timeout(_SECONDS, connect=_CONNECT_SECONDS)
    client = RestClient(settings.base_url, key, patience=Patience(attempts=1), timeout=timeout)
    found: list[Finding] = []
    try:
        with anyio.fail_after(3 * _SECONDS):
            async for finding in _asked(client, settings):
                found.append(finding)  # noqa: PERF401 - what was found before a time-out is kept
    except TimeoutError:
        found.append(problem("API", f"{settings.base_url} is too slow to be asked", "Try again later."))
    finally:
        with anyio.CancelScope(shield=True):
            await client.aclose()
    return found


async def _asked(client: RestClient, settings: Settings) -> AsyncIterator[Finding]:
    from kubeez_mcp_local.rest.failures import ApiError, MissingScopeError, UnauthorizedError, UnreachableError

    try:
        await client.health()
    except UnreachableError as error:
        yield problem("API", f"{error.message}{_proxy(settings)}", error.next_step)
        return
    except KubeezError as error:
        yield problem("API", error.message, error.next_step or "Look at https://kubeez.com, and try again later.")
        return
    yield ok("API", f"{settings.base_url} answers{_proxy(settings)}")
    try:
        balance = await client.balance()
    except UnauthorizedError as error:
        yield problem("account", "the API does not accept the key", error.next_step)
        return
    except MissingScopeError:
        yield warning("account", "the key may not read the balance", "Make a key with the scope read:balance.")
    except (ApiError, UnreachableError) as error:
        yield problem("account", error.message, error.next_step)
        return
    else:
        credits_left = f"the key is accepted; {spoken(balance.credits)}"
        if balance.credits <= 0:
            yield warning("account", credits_left, "Credits: https://kubeez.com/billing")
        else:
            yield ok("account", credits_left)
    yield await _history(client)


async def _history(client: RestClient) -> Finding:
    from kubeez_mcp_local.rest.failures import MissingScopeError

    try:
        await client.generations(limit=1)
    except MissingScopeError:
        return warning(
            "scopes",
            "the key may not read the history, which settles jobs whose answer was lost",
            "Make a key with the scope read:generations.",
        )
    except KubeezError as error:
        return warning("scopes", error.message, error.next_step)
    return ok("scopes", "balance and history can be read; what it may make shows when it is tried")


def _proxy(settings: Settings) -> str:
    if is_loopback(settings.base_url):
        return ""
    name = next((name for name in _PROXIES if environment().get(name)), None)
    return f" (through the proxy in {name})" if name else ""
