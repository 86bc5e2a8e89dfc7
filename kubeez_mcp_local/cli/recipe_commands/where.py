"""`--sandbox` and `--live`: where a command's requests go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubeez_mcp_local.cli.main import Options
    from kubeez_mcp_local.settings import Settings

F = TypeVar("F", bound="Callable[..., Any]")


def where(command: F) -> F:
    """Give a command the options `--sandbox` and `--live`, as the parameter `mode`."""
    live = click.option("--live", "mode", flag_value="live", help="Against your account; needs a key.")
    sandbox = click.option("--sandbox", "mode", flag_value="sandbox", help="Against the sandbox; free.")
    return sandbox(live(command))


def settings_for(options: Options, mode: str | None) -> Settings:
    """The settings, with the mode that was asked for, and all tools: toolsets limit what a model sees, not a person.

    Raises:
        SettingsError: A setting cannot be used, or `--live` lacks a key.
    """
    return options.settings(toolsets="all", **({"mode": mode} if mode else {}))
