"""A ledger whose jobs have made things: pictures, films, sounds, texts, files that are gone."""

from __future__ import annotations

import array
import json
import math
import wave
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageDraw

from kubeez_mcp_local.jobs.budget import Ceilings
from kubeez_mcp_local.jobs.job import SavedFile
from kubeez_mcp_local.jobs.ledger import LedgerFile
from kubeez_mcp_local.jobs.rows import insert

if TYPE_CHECKING:
    from pathlib import Path

NOON = 1_795_953_600.0
"""29 November 2026, 12:00 UTC."""
DAY = 86_400.0


@dataclass
class Made:
    """Writes jobs into a ledger as if they had been sent, and their files below `folder`."""

    state_dir: Path
    folder: Path
    count: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.ledger = LedgerFile(self.state_dir, "live-0123456789abcdef", Ceilings(500, 2000, 500))
        self.folder.mkdir(parents=True, exist_ok=True)

    def job(self, *files: Path, prompt: str = "a red kite over the sea", **other: Any) -> str:
        """A job that has made `files`; returns its id. `other` are columns of the ledger."""
        with self.ledger.writing() as tx:
            return self.insert(tx.connection, files, prompt, **other)

    def insert(self, connection: Any, files: tuple[Path, ...], prompt: str, **other: Any) -> str:
        self.count += 1
        at = other.pop("created_at", NOON + self.count)
        credits_ = other.pop("credits", 5.0)
        saved = [self._saved(each) for each in files]
        row = {
            "id": f"{self.count:08x}" * 4,
            "account": self.ledger.account,
            "state": "completed",
            "digest": str(self.count),
            "tool": "generate_media",
            "route": "generate_media",
            "bucket": "media",
            "kind": "media",
            "model": "nano-banana-2",
            "prompt": prompt,
            "arguments": json.dumps({"prompt": prompt, "model": "nano-banana-2", "aspect_ratio": "4:5"}),
            "owner": "nobody",
            "day": _day(at),
            "quote": None if credits_ is None else int(credits_ * 1e6),
            "quote_basis": "catalogue",
            "reserved": 0,
            "charged": None if credits_ is None else int(credits_ * 1e6),
            "results": "[]",
            "files": json.dumps(saved),
            "created_at": at,
            "sent_at": at,
            "settled_at": at + 9,
            "saved_at": at + 10,
            **other,
        }
        insert(connection, "jobs", row)
        return str(row["id"])

    def _saved(self, path: Path) -> dict[str, Any]:
        types = {
            ".png": "image/png",
            ".jpg": "image/jpeg",
            ".mp4": "video/mp4",
            ".wav": "audio/wav",
            ".mp3": "audio/mpeg",
        }
        size = path.stat().st_size if path.is_file() else 1000
        return vars(
            SavedFile(str(path), f"https://media.example.com/{self.count}", types.get(path.suffix, "text/plain"), size)
        )

    def picture(self, name: str, size: tuple[int, int] = (320, 400), hue: int = 20) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.new("HSV", size, (hue % 256, 150, 200))
        pen = ImageDraw.Draw(image)
        for step in range(12):
            edge = size[0] * step // 24
            pen.ellipse(
                (edge, edge, size[0] - edge, size[0] - edge),
                fill=((hue + step * 6) % 256, 170 - step * 6, 120 + step * 10),
            )
        image.convert("RGB").save(path)
        return path

    def sound(self, name: str, seconds: float = 2.0) -> Path:
        path = self.folder / name
        samples = array.array("h")
        for at in range(int(8000 * seconds)):
            loud = abs(math.sin(at / 8000 * math.pi / seconds * 3)) * 28_000
            samples.append(int(math.sin(at * 0.35) * loud))
        with wave.open(str(path), "wb") as sound:
            sound.setnchannels(1)
            sound.setsampwidth(2)
            sound.setframerate(8000)
            sound.writeframes(samples.tobytes())
        return path


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")
