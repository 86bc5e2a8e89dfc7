"""Why the local library could not do something."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from kubeez_mcp_local.errors import InvalidArgumentError, KubeezError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class InvalidNameError(InvalidArgumentError):
    """The name does not keep the rules for names."""

    code = "invalid_name"

    def __init__(self, argument: str, name: str) -> None:
        super().__init__(
            argument,
            f"{name!r:.100} cannot be a name; allowed are 1 to 64 lowercase letters a-z, digits, '_' and '-'.",
            next_step="Choose a name such as hero-shot_2.",
        )


class NameTakenError(InvalidArgumentError):
    """Another asset or character has the name."""

    code = "name_taken"

    def __init__(self, argument: str, name: str, what: str) -> None:
        super().__init__(
            argument, f"the library already has a {what} named {name}.", next_step="Choose another name or delete it."
        )


class NotInLibraryError(InvalidArgumentError):
    """No asset or character has this name or id."""

    code = "not_in_library"

    def __init__(self, argument: str, wanted: str, names: Sequence[str]) -> None:
        close = get_close_matches(wanted.lower(), names, n=3, cutoff=0.5)
        near = f" Similar names: {', '.join(close)}." if close else ""
        super().__init__(
            argument,
            f"the local library has no {wanted!r:.100}.{near}",
            next_step="Call list_assets to see what there is; manage_library adds to it.",
        )
        self.near = tuple(close)


class NoImageError(InvalidArgumentError):
    """The character has no reference picture, so it cannot be used as an input."""

    code = "character_without_image"

    def __init__(self, argument: str, name: str) -> None:
        super().__init__(
            argument,
            f"the character {name} has no picture.",
            next_step="Create it again with an image, or put its description into the prompt.",
        )


class LibraryFileGoneError(KubeezError):
    """The library's own copy of a file was removed or changed from outside."""

    code = "library_file_gone"

    def __init__(self, name: str, path: Path) -> None:
        super().__init__(
            f"the library's copy of {name} ({path}) is missing or was changed.",
            next_step="Delete the entry with manage_library and add the file again.",
        )


class LibraryDamagedError(KubeezError):
    """The library's index cannot be used."""

    code = "library_damaged"

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"the library's index {path} cannot be used: {reason}.",
            next_step="Restore it from a backup, or move it away to start anew; the files beside it stay as they are.",
        )


class LibraryNotWritableError(KubeezError):
    """The library's folder cannot be written. Nothing was changed."""

    code = "library_not_writable"

    def __init__(self, folder: Path, reason: str) -> None:
        super().__init__(
            f"the library in {folder} cannot be written: {reason}.",
            next_step="Free some space or make the folder writable; KUBEEZ_STATE_DIR names another one.",
        )
