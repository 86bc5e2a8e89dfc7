"""The machine as clients see it: platform, home, variables, programs. Tests describe other machines with it."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Machine:
    """Where programs keep their files.

    Attributes:
        platform: As `sys.platform` has it: `linux`, `darwin`, `win32`.
        home: The user's home folder.
        project: The folder whose project configs are meant.
        variables: The process environment.
    """

    platform: str
    home: Path
    project: Path
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def this(cls) -> Machine:
        """The machine this runs on, in the working folder."""
        from kubeez_mcp_local.settings import environment

        return cls(sys.platform, Path.home(), Path.cwd(), environment())

    def folder(self, variable: str, default: Path) -> Path:
        """The folder that `variable` names, or `default`; a relative one counts as not given."""
        named = Path(self.variables.get(variable, ""))
        return named if named.is_absolute() else default

    @property
    def roaming(self) -> Path:
        """Windows' folder for settings."""
        return self.folder("APPDATA", self.home / "AppData" / "Roaming")

    @property
    def local(self) -> Path:
        """Windows' folder for what stays on this machine."""
        return self.folder("LOCALAPPDATA", self.home / "AppData" / "Local")

    @property
    def config(self) -> Path:
        """The folder for settings on Linux, and of programs that keep to it on macOS."""
        return self.folder("XDG_CONFIG_HOME", self.home / ".config")

    @property
    def applications(self) -> Path:
        """Where desktop applications keep their settings."""
        if self.platform == "darwin":
            return self.home / "Library" / "Application Support"
        return self.roaming if self.platform == "win32" else self.config

    @property
    def typed(self) -> str:
        """How this program is called here at a terminal."""
        if "UV_RUN_RECURSION_DEPTH" in self.variables:
            return "uv run kubeez-mcp-local"
        return "uvx kubeez-mcp-local" if "UV" in self.variables else "kubeez-mcp-local"

    def which(self, program: str) -> str | None:
        """The path of a program that can be started by its name, or by its path."""
        return shutil.which(program, path=self.variables.get("PATH"))
