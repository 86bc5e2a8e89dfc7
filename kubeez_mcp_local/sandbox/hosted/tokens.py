"""Who may use the hosted door: tokens with an account, scopes and an end, kept in the books by their fingerprint."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers

from kubeez_mcp_local.sandbox.books import SCOPES, Account, fingerprint

if TYPE_CHECKING:
    from starlette.types import Scope

    from kubeez_mcp_local.sandbox.books import Books

PREFIX = "kbz_pat_"
"""How the sandbox's own personal access tokens begin, any of which is taken. What real ones look like is not known."""
KIND = "token"
MCP_PATH = "/mcp"


@dataclass(frozen=True)
class Grant:
    """What a token stands for.

    Attributes:
        use: `static`, `access` or `refresh`; a refresh token that was used is `spent`.
        client: Who it was given to; the token's own mark for a static one.
        family: What is revoked together: all tokens that came of one sign-in.
        expires_at: Seconds since the epoch; None for never.
    """

    account: str
    scopes: tuple[str, ...]
    use: str
    client: str
    family: str
    expires_at: float | None = None
    revoked: bool = False
    spent: bool = False

    def caller(self) -> Account:
        return Account(self.account, self.scopes, self.revoked)


@dataclass(frozen=True)
class Tokens:
    """All tokens of one stand-in. Blocking; nothing is kept but in the books, so that a restart changes nothing."""

    books: Books

    def grant(self, token: str) -> Grant | None:
        """What is known of a token, be it expired or revoked; the sandbox's own static ones are known on sight."""
        mark = fingerprint(token)
        if self.books.noted(KIND, mark) is not None:
            return self._noted(mark)
        return self.register(token) if token.startswith(PREFIX) and len(token) > len(PREFIX) else None

    def valid(self, token: str) -> Grant | None:
        """What an access or static token stands for now, if anything."""
        found = self.grant(token)
        if found is None or found.revoked or found.use == "refresh":
            return None
        return None if found.expires_at is not None and found.expires_at <= self.books.clock() else found

    def register(self, token: str, **changes: Any) -> Grant:
        """Make any text a static token, or change a token; as `change`."""
        mark = fingerprint(token)
        if self.books.noted(KIND, mark) is None:
            self.keep(token, Grant(f"account-{mark}", SCOPES, "static", client=mark, family=mark))
        return self.change(mark, **changes)

    def change(
        self,
        mark: str,
        *,
        credits: float | None = None,  # noqa: A002 - its name everywhere
        expires_in: float | None = None,
        **changes: Any,
    ) -> Grant:
        """Change a token by its fingerprint: `account`, `scopes`, `revoked`; what is None keeps its value.

        Args:
            mark: One of `marks`.
            credits: Sets the account's balance.
            expires_in: Seconds from now until it ends.
            changes: Other members of a grant.
        """
        given = {name: value for name, value in changes.items() if value is not None}
        if expires_in is not None:
            given["expires_at"] = self.books.clock() + expires_in
        self.books.change_note(KIND, mark, **given)
        grant = self._noted(mark)
        self.books.open_account(grant.account, credits)
        return grant

    def marks(self, *, refreshing: bool) -> list[str]:
        """Fingerprints of all tokens, with or without the refresh tokens."""
        return [mark for mark, about in self.books.notes(KIND).items() if refreshing or about["use"] != "refresh"]

    def keep(self, token: str, grant: Grant) -> None:
        self.books.note(KIND, fingerprint(token), grant.account, asdict(grant))

    def expire(self, token: str) -> None:
        """End a token now."""
        self.books.change_note(KIND, fingerprint(token), expires_at=self.books.clock())

    def revoke(self, token: str) -> None:
        """Take a token back, with all that came of the same sign-in."""
        self.revoke_family((self.books.noted(KIND, fingerprint(token)) or {}).get("family", ""))

    def revoke_family(self, family: str) -> None:
        """Take back all that came of one sign-in."""
        for mark, about in self.books.notes(KIND).items():
            if family == about["family"]:
                self.books.change_note(KIND, mark, revoked=True)

    def _noted(self, mark: str) -> Grant:
        about = self.books.noted(KIND, mark) or {}
        return Grant(**{**about, "scopes": tuple(about["scopes"])})


def bearer(scope: Scope) -> str:
    """The token that a request brings, or nothing."""
    kind, _, token = Headers(scope=scope).get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""
