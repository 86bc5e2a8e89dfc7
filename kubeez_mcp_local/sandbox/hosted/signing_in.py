"""OAuth 2.1 at the hosted door: metadata, registration, the page that asks a person, codes, tokens that are refreshed.

Flows and checks are the SDK's (`mcp.server.auth`); what it leaves to a provider is kept in the books. How the real
server does this is not known beyond "OAuth in the browser, consent for each scope, short-lived refreshable tokens,
revocable": the addresses, the look of tokens and what a refresh token's second use does are the sandbox's own.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, replace
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from anyio.to_thread import run_sync
from mcp.server.auth.handlers.authorize import AuthorizationHandler
from mcp.server.auth.handlers.register import RegistrationHandler
from mcp.server.auth.handlers.revoke import RevocationHandler
from mcp.server.auth.handlers.token import TokenHandler
from mcp.server.auth.middleware.client_auth import ClientAuthenticator
from mcp.server.auth.provider import (
    AccessToken,
    AuthorizationCode,
    AuthorizationParams,
    AuthorizeError,
    OAuthAuthorizationServerProvider,
    RefreshToken,
    TokenError,
    construct_redirect_uri,
)
from mcp.server.auth.settings import ClientRegistrationOptions
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from kubeez_mcp_local.sandbox.books import SCOPES, fingerprint
from kubeez_mcp_local.sandbox.hosted.tokens import KIND, MCP_PATH, Grant, Tokens
from kubeez_mcp_local.sandbox.service import origin_of
from kubeez_mcp_local.web.server import foreign_page

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from kubeez_mcp_local.sandbox.service import Service

ELSEWHERE = "https://elsewhere.example"
"""Who metadata names when a knob makes it wrong; nobody is there."""
CONSENT_PATH = "/authorize/consent"
METADATA_PATH = f"/.well-known/oauth-protected-resource{MCP_PATH}"
_CLIENT, _REQUEST, _CODE = "oauth client", "oauth request", "oauth code"
_SECONDS_TO_ANSWER = 600
_SECONDS_OF_A_CODE = 60


@dataclass(frozen=True)
class Provider(OAuthAuthorizationServerProvider[AuthorizationCode, RefreshToken, AccessToken]):
    """What the SDK's handlers ask for. A second use of a code or refresh token takes the whole sign-in back."""

    service: Service

    @property
    def tokens(self) -> Tokens:
        return Tokens(self.service.books)

    async def get_client(self, client_id: str) -> OAuthClientInformationFull | None:
        """The client as it registered; any may ask for any scope, since a person answers."""
        about = await run_sync(self.service.books.noted, _CLIENT, client_id)
        return (
            None if about is None else OAuthClientInformationFull.model_validate({**about, "scope": " ".join(SCOPES)})
        )

    async def register_client(self, client_info: OAuthClientInformationFull) -> None:
        about = client_info.model_dump(mode="json", exclude_none=True)
        await run_sync(self.service.books.note, _CLIENT, client_info.client_id, "", about)

    async def authorize(self, client: OAuthClientInformationFull, params: AuthorizationParams) -> str:
        """Keep what is asked for, and send the browser to the page that asks the person."""
        if params.resource is not None and urlsplit(params.resource).path.rstrip("/") != MCP_PATH:
            raise AuthorizeError("invalid_target", f"There is no resource {params.resource} here")
        request_id = secrets.token_urlsafe(24)
        about = {
            "client": client.client_id,
            "name": client.client_name or "A program without a name",
            "until": time.time() + _SECONDS_TO_ANSWER,
            "params": params.model_dump(mode="json"),
        }
        await run_sync(self.service.books.note, _REQUEST, request_id, "", about)
        return f"{CONSENT_PATH}?request={request_id}"

    async def load_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: str
    ) -> AuthorizationCode | None:
        about = await run_sync(self.service.books.noted, _CODE, fingerprint(authorization_code))
        return (
            None if about is None else AuthorizationCode.model_validate({**about["code"], "code": authorization_code})
        )

    async def exchange_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: AuthorizationCode
    ) -> OAuthToken:
        return await run_sync(self._exchange_code, authorization_code)

    def _exchange_code(self, code: AuthorizationCode) -> OAuthToken:
        mark = fingerprint(code.code)
        about = self.service.books.change_note(_CODE, mark, spent=True)
        if about is None or about.get("spent"):
            self.tokens.revoke_family(mark)
            raise TokenError("invalid_grant", "authorization code was used before")
        account, scopes = str(code.subject), tuple(code.scopes)
        self.service.books.open_account(account)
        return self._issue(Grant(account, scopes, "access", code.client_id, family=mark))

    async def load_refresh_token(self, client: OAuthClientInformationFull, refresh_token: str) -> RefreshToken | None:
        grant = await run_sync(self.tokens.grant, refresh_token)
        if grant is None or grant.use != "refresh" or grant.revoked:
            return None
        return RefreshToken(token=refresh_token, client_id=grant.client, scopes=list(grant.scopes))

    async def exchange_refresh_token(
        self, client: OAuthClientInformationFull, refresh_token: RefreshToken, scopes: list[str]
    ) -> OAuthToken:
        return await run_sync(self._refresh, refresh_token.token, tuple(scopes))

    def _refresh(self, token: str, scopes: tuple[str, ...]) -> OAuthToken:
        rotates = self.service.panel.knobs.refresh_tokens == "rotate"
        before = self.service.books.change_note(KIND, fingerprint(token), **({"spent": True} if rotates else {}))
        grant = self.tokens.grant(token)
        if before is None or before["spent"] or grant is None:
            self.tokens.revoke(token)
            raise TokenError("invalid_grant", "refresh token was used before")
        return self._issue(replace(grant, use="access", spent=False), scopes, renewing=rotates)

    def _issue(self, grant: Grant, scopes: tuple[str, ...] | None = None, *, renewing: bool = True) -> OAuthToken:
        """An access token with some of the grant's scopes, and, when `renewing`, what the next one is got with."""
        lasts = self.service.panel.knobs.token_seconds
        access, refresh = f"kbz_at_{secrets.token_urlsafe(32)}", f"kbz_rt_{secrets.token_urlsafe(32)}"
        narrower = replace(grant, scopes=scopes or grant.scopes, expires_at=self.service.books.clock() + lasts)
        self.tokens.keep(access, narrower)
        if renewing:
            self.tokens.keep(refresh, replace(grant, use="refresh"))
        return OAuthToken(
            access_token=access,
            expires_in=round(lasts),
            scope=" ".join(narrower.scopes),
            refresh_token=refresh if renewing else None,
        )

    async def load_access_token(self, token: str) -> AccessToken | None:
        grant = await run_sync(self.tokens.grant, token)
        if grant is None or grant.use == "refresh":
            return None
        return AccessToken(token=token, client_id=grant.client, scopes=list(grant.scopes), subject=grant.account)

    async def revoke_token(self, token: AccessToken | RefreshToken) -> None:
        await run_sync(self.tokens.revoke, token.token)


# The page that asks


_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Allow access? (sandbox)</title>
<meta name="viewport" content="width=device-width"><style>body{{font:16px/1.5 system-ui;max-width:34em;margin:3em auto;
padding:0 1em}}label{{display:block}}button{{font:inherit;padding:.4em 1.2em;margin:1em 1em 0 0}}</style>
<h1>Allow access?</h1><p><strong>{name}</strong> wants to use this sandbox account. Nothing here costs anything.</p>
<form method="post" action="{action}"><input type="hidden" name="request" value="{request}">
<p><label>Account <select name="account">{accounts}</select></label></p>
<fieldset><legend>It may</legend>{scopes}</fieldset>
<button name="answer" value="allow">Allow</button><button name="answer" value="deny">Deny</button></form></html>"""
_GONE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Gone (sandbox)</title>
<h1>This question is gone</h1><p>It was answered, or is too old. Start again from the program that asked.</p></html>"""


@dataclass(frozen=True)
class SignIn:
    """The routes of signing in."""

    service: Service

    def routes(self) -> list[Route]:
        provider = Provider(self.service)
        authenticator = ClientAuthenticator(provider)
        everything = ClientRegistrationOptions(enabled=True, valid_scopes=list(SCOPES), default_scopes=list(SCOPES))
        register = self._unless("no_registration", RegistrationHandler(provider, everything).handle)
        revoke = self._unless("no_revocation", RevocationHandler(provider, authenticator).handle)
        return [
            Route(METADATA_PATH, self._resource),
            Route("/.well-known/oauth-protected-resource", self._resource),
            Route("/.well-known/oauth-authorization-server", self._server),
            Route("/authorize", AuthorizationHandler(provider).handle, methods=["GET", "POST"]),
            Route(CONSENT_PATH, self._consent, methods=["GET", "POST"]),
            Route("/token", TokenHandler(provider, authenticator).handle, methods=["POST"]),
            Route("/register", register, methods=["POST"]),
            Route("/revoke", revoke, methods=["POST"]),
        ]

    @property
    def _kind(self) -> str:
        return self.service.panel.knobs.oauth

    def _unless(
        self, kind: str, handler: Callable[[Request], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def handle(request: Request) -> Response:
            return Response(status_code=404) if self._kind in (kind, "none") else await handler(request)

        return handle

    async def _resource(self, request: Request) -> Response:
        """RFC 9728."""
        origin = origin_of(request)
        about = {
            "resource": f"{ELSEWHERE if self._kind == 'other_resource' else origin}{MCP_PATH}",
            "authorization_servers": [origin],
            "scopes_supported": SCOPES,
            "bearer_methods_supported": ["header"],
            "resource_name": "Kubeez (sandbox)",
        }
        return Response(status_code=404) if self._kind == "none" else JSONResponse(about)

    async def _server(self, request: Request) -> Response:
        """RFC 8414."""
        origin = origin_of(request)
        authenticated = ["none", "client_secret_post", "client_secret_basic"]
        about: dict[str, Any] = {
            "issuer": ELSEWHERE if self._kind == "other_issuer" else origin,
            "authorization_endpoint": f"{origin}/authorize",
            "token_endpoint": f"{origin}/token",
            "scopes_supported": SCOPES,
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "token_endpoint_auth_methods_supported": authenticated,
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
        }
        if self._kind != "no_registration":
            about["registration_endpoint"] = f"{origin}/register"
        if self._kind != "no_revocation":
            about["revocation_endpoint"] = f"{origin}/revoke"
            about["revocation_endpoint_auth_methods_supported"] = authenticated
        return Response(status_code=404) if self._kind == "none" else JSONResponse(about)

    async def _consent(self, request: Request) -> Response:
        if request.method == "POST":
            return await self._answered(request)
        asked_id = request.query_params.get("request", "")
        asked = await run_sync(self._open_request, asked_id)
        if asked is None:
            return HTMLResponse(_GONE, 410)
        page = await run_sync(self._page, asked_id, asked)
        return HTMLResponse(page, headers=_page_headers(asked["params"]["redirect_uri"]))

    def _open_request(self, request_id: str) -> dict[str, Any] | None:
        asked = self.service.books.noted(_REQUEST, request_id)
        return None if asked is None or asked.get("answered") or asked["until"] < time.time() else asked

    def _page(self, request_id: str, asked: dict[str, Any]) -> str:
        books = self.service.books
        accounts = [f'<option value="{escape(each)}">{escape(each)}</option>' for each in books.accounts()]
        wanted = asked["params"]["scopes"] or SCOPES
        box = '<label><input type="checkbox" name="scope" value="{0}" checked> {0}</label>'
        return _PAGE.format(
            name=escape(asked["name"]),
            action=CONSENT_PATH,
            request=escape(request_id),
            accounts="".join([*accounts, '<option value="">a new one</option>']),
            scopes="".join(box.format(escape(scope)) for scope in wanted),
        )

    async def _answered(self, request: Request) -> Response:
        if page := foreign_page(request.scope):
            return JSONResponse({"error": "foreign_request", "message": page}, 403)
        async with request.form(max_files=0, max_fields=20) as form:
            request_id, answer = str(form.get("request", "")), str(form.get("answer", ""))
            account, scopes = str(form.get("account", "")), [str(scope) for scope in form.getlist("scope")]
        if await run_sync(self._open_request, request_id) is None or answer not in ("allow", "deny"):
            return HTMLResponse(_GONE, 410)
        asked = await run_sync(lambda: self.service.books.change_note(_REQUEST, request_id, answered=True))
        if asked is None or asked.get("answered"):
            return HTMLResponse(_GONE, 410)
        params = AuthorizationParams.model_validate(asked["params"])
        wanted = [scope for scope in params.scopes or SCOPES if scope in scopes]
        said: dict[str, str | None] = {"error": "access_denied", "error_description": "The person said no"}
        if answer == "allow" and wanted:
            said = {"code": await run_sync(self._new_code, asked["client"], params, wanted, account)}
        issuer = ELSEWHERE if self._kind == "other_issuer_in_answer" else origin_of(request)
        back = construct_redirect_uri(str(params.redirect_uri), **said, state=params.state, iss=issuer)
        return RedirectResponse(back, 302, {"Cache-Control": "no-store"})

    def _new_code(self, client: str, params: AuthorizationParams, scopes: list[str], account: str) -> str:
        code = secrets.token_urlsafe(32)
        about = AuthorizationCode(
            code="",
            scopes=scopes,
            expires_at=time.time() + _SECONDS_OF_A_CODE,
            client_id=client,
            code_challenge=params.code_challenge,
            redirect_uri=params.redirect_uri,
            redirect_uri_provided_explicitly=params.redirect_uri_provided_explicitly,
            resource=params.resource,
            subject=account if account in self.service.books.accounts() else f"account-{fingerprint(client)}",
        )
        self.service.books.note(_CODE, fingerprint(code), "", {"code": about.model_dump(mode="json")})
        return code


def _page_headers(redirect_uri: str) -> dict[str, str]:
    """The browser may follow the form's answer to where the program listens, and do nothing else."""
    back = urlsplit(redirect_uri)
    where = f"{back.scheme}://{back.netloc}" if back.netloc else f"{back.scheme}:"
    return {
        "Content-Security-Policy": (
            f"default-src 'none'; style-src 'unsafe-inline'; form-action 'self' {where}; frame-ancestors 'none'; "
            "base-uri 'none'"
        ),
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }
