"""Why a local path was refused. Each error names the argument, what is allowed and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubeez_mcp_local.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def folder_list(folders: Sequence[Path]) -> str:
    """The folders in words, for messages."""
    return ", ".join(str(folder) for folder in folders) or "none"


class PathRefusedError(InvalidArgumentError):
    """A path cannot be used as an input. Nothing was read, sent or charged."""

    code = "path_refused"


class MalformedPathError(PathRefusedError):
    """The text is not a path on this machine."""

    code = "malformed_path"


class OutsideFoldersError(PathRefusedError):
    """The path, or what it leads to, lies outside the allowed folders."""

    code = "path_outside_allowed_folders"

    def __init__(self, argument: str, path: Path, folders: Sequence[Path], *, leads_to: Path | None = None) -> None:
        via = f" leads to {leads_to}, which" if leads_to is not None else ""
        super().__init__(
            argument,
            f"{path}{via} is outside the folders that may be read: {folder_list(folders)}.",
            next_step="Copy the file into one of them, or add its folder to the KUBEEZ_INPUT_DIRS setting.",
        )


class HiddenPathError(PathRefusedError):
    """The path passes through a hidden file or folder, where keys and browser profiles live."""

    code = "hidden_path"

    def __init__(self, argument: str, path: Path, hidden: str, folders: Sequence[Path]) -> None:
        super().__init__(
            argument,
            f"{path} passes through {hidden!r}, which is hidden; hidden files and folders are not read. "
            f"Folders that may be read: {folder_list(folders)}.",
            next_step="Copy the file elsewhere, or name the hidden folder itself in KUBEEZ_INPUT_DIRS.",
        )


class MissingFileError(PathRefusedError):
    """There is no such file in an allowed folder."""

    code = "file_not_found"

    def __init__(self, argument: str, path: Path, near: Sequence[str], *, detail: str = "") -> None:
        hint = f" Similar names there: {', '.join(near)}." if near else ""
        super().__init__(
            argument,
            f"there is no file {path}.{detail}{hint}",
            next_step="Use one of these names."
            if near
            else "Check the path; relative ones start at the working folder.",
        )
        self.near = tuple(near)


class NotAFileError(PathRefusedError):
    """The path is a folder, a device, a pipe or a socket."""

    code = "not_a_file"

    def __init__(self, argument: str, path: Path, what: str) -> None:
        step = f"Name a file in it, or use a pattern such as {path.name}/*.png." if what == "a folder" else ""
        super().__init__(argument, f"{path} is {what}, not a file.", next_step=step or "Name a regular file.")


class EmptyFileError(PathRefusedError):
    """The file holds no bytes."""

    code = "file_empty"

    def __init__(self, argument: str, path: Path) -> None:
        super().__init__(argument, f"{path} is empty (0 bytes).", next_step="Save or download it again.")


class FileTooLargeError(PathRefusedError):
    """The file is larger than the API takes."""

    code = "file_too_large"

    def __init__(self, argument: str, path: Path, size: int, limit: int) -> None:
        super().__init__(
            argument,
            f"{path} has {size / 1024**2:,.0f} MB; at most {limit / 1024**2:,.0f} MB can be uploaded.",
            next_step="Shorten, scale down or compress it first; trim_video cuts a part out of a video.",
        )


class UnreadableFileError(PathRefusedError):
    """The file exists but this process may not read it."""

    code = "file_unreadable"

    def __init__(self, argument: str, path: Path, reason: str) -> None:
        super().__init__(argument, f"{path} cannot be read: {reason}.", next_step="Check its permissions.")


class TooManyFilesError(PathRefusedError):
    """A pattern stands for more files than the call takes."""

    code = "too_many_files"

    def __init__(self, argument: str, pattern: str, limit: int) -> None:
        super().__init__(
            argument,
            f"{pattern} stands for more than {limit} files.",
            next_step=f"Narrow the pattern, or pass at most {limit} at a time.",
        )
