"""What a run of a recipe came to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from kubeez_mcp_local.cookbook.budget import number

CallStatus = Literal["completed", "failed", "skipped", "stopped"]


@dataclass(frozen=True, slots=True)
class CallReport:
    """One call of a run.

    Attributes:
        key: The step's id, with `[index]` in a loop.
        tool: The tool that was called.
        status: `completed`; `failed`; `skipped` (by `when`, or as it needs what failed); `stopped` (by a limit).
        credits: Credits charged.
        result: The tool's result, empty when there is none.
        reason: Why it did not complete.
        resumed: Whether the result comes from an earlier attempt at the same run.
    """

    key: str
    tool: str
    status: CallStatus
    credits: float = 0.0
    result: dict[str, Any] | None = None
    reason: str = ""
    resumed: bool = False

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of the files it saved."""
        found = (self.result or {}).get("files") or []
        return tuple(str(file["path"]) for file in found if isinstance(file, dict) and file.get("path"))


@dataclass(frozen=True, slots=True)
class RunEvent:
    """A moment of a run, for a progress bar: `done` of `total` calls known so far, `spent` credits."""

    kind: Literal["started", "completed", "failed", "skipped", "stopped"]
    key: str
    tool: str
    done: int
    total: int
    spent: float
    message: str = ""


@dataclass(frozen=True, slots=True)
class RunReport:
    """A run of a recipe, over.

    Attributes:
        status: `completed`, `failed` (some call failed) or `stopped` (by budget, ceiling or balance).
        spent: Credits of all calls of this run id, earlier attempts included.
        budget: Credits it might have spent.
        notes: What the reader should know, one sentence each.
    """

    run_id: str
    recipe: str
    mode: str
    status: Literal["completed", "failed", "stopped"]
    calls: tuple[CallReport, ...]
    spent: float
    budget: float
    notes: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(path for call in self.calls for path in call.files))

    @property
    def exit_code(self) -> int:
        """0 when everything completed, 1 when something failed, 3 when a limit stopped it."""
        return {"completed": 0, "failed": 1, "stopped": 3}[self.status]

    def _reasons(self) -> list[str]:
        """Why calls did not complete, each reason once."""
        alike: dict[tuple[str, str], list[str]] = {}
        for call in self.calls:
            if call.reason:
                alike.setdefault((call.status, call.reason), []).append(call.key)
        return [
            f"- {keys[0]}{f' and {len(keys) - 1} more' if len(keys) > 1 else ''}: {status}: {reason}"
            for (status, reason), keys in alike.items()
        ]

    def summary(self) -> str:
        """The outcome in a few lines for people."""
        counts: dict[str, int] = {}
        for call in self.calls:
            counts[call.status] = counts.get(call.status, 0) + 1
        parts = ", ".join(f"{count} {status}" for status, count in counts.items()) or "nothing to do"
        spent = f"{number(self.spent)} of {number(self.budget)} credits"
        files = "1 file" if len(self.files) == 1 else f"{len(self.files)} files"
        lines = [f"{self.recipe}: {self.status} – {parts}; {spent}; {files}."]
        lines += self._reasons()[:20]
        lines += [f"- {note}" for note in self.notes]
        if self.status != "completed":
            lines.append(f"Run again with the run id {self.run_id} to go on; finished work is not paid for twice.")
        return "\n".join(lines)
