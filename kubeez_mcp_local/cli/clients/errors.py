"""What can keep us from changing a client's config. In every case nothing was changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubeez_mcp_local.errors import KubeezError

if TYPE_CHECKING:
    from pathlib import Path


class ParseError(Exception):
    """A text is not of its format.

    Attributes:
        reason: What the parser says.
        line: Where, counted from 1; 0 when it is not known.
        column: Likewise.
    """

    def __init__(self, reason: str, line: int = 0, column: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.line = line
        self.column = column


class EditError(Exception):
    """A text is sound, but laid out in a way that cannot be edited safely; says how."""


class BrokenConfigError(KubeezError):
    """A client's config cannot be read or parsed."""

    code = "broken_config"

    def __init__(self, path: Path, reason: str, *, line: int = 0, column: int = 0) -> None:
        where = f"{path}:{line}:{column}" if line else f"{path}"
        super().__init__(
            f"{where}: {reason}. Nothing was changed.",
            next_step="Mend the file, or paste the entry that --print shows yourself.",
        )
        self.path = path
        self.reason = reason
        self.line = line


class ConfigConflictError(KubeezError):
    """The config holds a `kubeez` entry that is not ours, or changed while we worked."""

    code = "config_conflict"


class CannotEditError(KubeezError):
    """The config is sound, but editing it is better left to a person."""

    code = "cannot_edit"


class UnwritableConfigError(KubeezError):
    """The config cannot be written."""

    code = "unwritable_config"


class NoCommandError(KubeezError):
    """No command is known, or the one given does not start the server."""

    code = "no_command"
