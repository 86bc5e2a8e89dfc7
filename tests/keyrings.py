"""Keyrings of the tests' own, and which one a process sees: never that of the machine."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import keyring
from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked

if TYPE_CHECKING:
    import pytest


class MemoryKeyring(KeyringBackend):
    """Keeps keys as long as the test lasts, and counts how often it was looked into."""

    priority = 5

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # untyped in the library
        self.kept: dict[tuple[str, str], str] = {}
        self.looks = 0

    def get_password(self, service: str, username: str) -> str | None:
        self.looks += 1
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.kept[service, username]


class LockedKeyring(MemoryKeyring):
    """The person closes the question for the password."""

    def get_password(self, service: str, username: str) -> str | None:
        self.looks += 1
        raise KeyringLocked("Failed to unlock the collection!")

    def set_password(self, service: str, username: str, password: str) -> None:
        raise KeyringLocked("Failed to unlock the collection!")


class SilentKeyring(MemoryKeyring):
    """Nobody answers its question until `answer` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = threading.Event()

    def get_password(self, service: str, username: str) -> str | None:
        self.looks += 1
        self.answer.wait()
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.answer.wait()


class NoKeyring(MemoryKeyring):
    """What the library finds on a machine without one."""

    priority = 0


def use(monkeypatch: pytest.MonkeyPatch, found: MemoryKeyring) -> MemoryKeyring:
    """Have the library find `found`."""
    monkeypatch.setattr(keyring.core, "_keyring_backend", found)
    return found
