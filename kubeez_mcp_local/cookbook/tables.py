"""CSV for `table` arguments: the rows of a campaign."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

Table = list[dict[str, str]]

MAX_BYTES = 4 * 1024 * 1024
MAX_ROWS = 5_000
MAX_COLUMNS = 100
MAX_CELL = 4_000


class TableProblem(Exception):  # noqa: N818 - becomes an InvalidArgumentError that names the argument
    """Why a table cannot be used."""


def read_csv(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file by column name.

    Args:
        path: A file the caller has already allowed (see the path guard of `media/`); at most 4 MB, UTF-8.

    Raises:
        TableProblem: Missing, too large, not UTF-8, or not a table.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise TableProblem(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > MAX_BYTES:
        raise TableProblem(f"{path.name} is larger than {MAX_BYTES // 1024 // 1024} MB")
    try:
        return parse_csv(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise TableProblem(f"{path.name} is not UTF-8 text; save it as CSV UTF-8") from None


def parse_csv(text: str) -> list[dict[str, str]]:
    """Rows of CSV text by column name; commas, semicolons or tabs; empty lines are left out.

    Raises:
        TableProblem: No rows, a nameless or repeated column, a ragged row, or too much of anything.
    """
    first = text.lstrip().split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    try:
        lines = [row for row in csv.reader(io.StringIO(text.strip(), newline=""), delimiter=delimiter) if any(row)]
    except csv.Error as error:
        raise TableProblem(f"is not CSV: {error}") from None
    if len(lines) < 2:
        raise TableProblem("holds no rows below the line of column names")
    columns = [_column(name) for name in lines[0]]
    if "" in columns or len(set(columns)) < len(columns):
        raise TableProblem(f"needs a different name for each column; it has: {', '.join(lines[0])[:200]}")
    rows = []
    for number, cells in enumerate(lines[1:], start=1):
        if len(cells) > len(columns):
            raise TableProblem(
                f"row {number} has {len(cells)} cells for {len(columns)} columns; quote text with commas"
            )
        padded = [*cells, *[""] * (len(columns) - len(cells))]
        rows.append(dict(zip(columns, (cell.strip() for cell in padded), strict=True)))
    return _within_limits(rows)


def rows_of(value: Any) -> list[dict[str, str]]:
    """Rows given as a list of objects.

    Raises:
        TableProblem: Something else was given.
    """
    if not isinstance(value, list) or not value or not all(isinstance(row, dict) for row in value):
        raise TableProblem("must be CSV text, the path of a CSV file, or a list of objects")
    return _within_limits([{_column(str(key)): str(cell) for key, cell in row.items()} for row in value])


def _column(name: str) -> str:
    """A column's name as templates use it: `Brand voice` becomes `brand_voice`."""
    return "_".join("".join(char if char.isalnum() else " " for char in name.lower()).split())


def _within_limits(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    if len(rows) > MAX_ROWS:
        raise TableProblem(f"holds {len(rows):,} rows; at most {MAX_ROWS:,} are allowed")
    if len(rows[0]) > MAX_COLUMNS:
        raise TableProblem(f"holds {len(rows[0])} columns; at most {MAX_COLUMNS} are allowed")
    for number, row in enumerate(rows, start=1):
        for column, cell in row.items():
            if len(cell) > MAX_CELL or "\x00" in cell:
                raise TableProblem(f"row {number}, column {column}: at most {MAX_CELL:,} characters and no NUL")
    return rows


def table_reader(folders: Sequence[Path]) -> Callable[[str, str], Table]:
    """Reads CSV files that lie in `folders`; blocking.

    It raises `TableProblem` or, for a path that is not allowed, `InvalidArgumentError`.
    """
    from kubeez_mcp_local.media.path_guard import PathGuard

    guard = PathGuard(folders)

    def read(argument: str, path: str) -> Table:
        return read_csv(guard.check(path, argument=argument))

    return read
