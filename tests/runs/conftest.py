"""Fixtures for the tests of runs."""

from tests.recipe_tools import plain, tools

__all__ = ["plain", "tools"]
