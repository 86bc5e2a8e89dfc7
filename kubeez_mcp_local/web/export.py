"""The gallery as a folder: a page that works where it is opened as a file and under any static host, for others to see.

It holds copies of the files, a sidecar beside each, small pictures, and one script with everything that is said about
them; no key, and no path of this machine.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections import Counter
from dataclasses import KW_ONLY, asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import anyio.to_thread

from kubeez_mcp_local.errors import KubeezError
from kubeez_mcp_local.text import without_keys
from kubeez_mcp_local.web.gallery import MOST_AT_ONCE, NAME, SCRIPTS, STYLES, TITLE
from kubeez_mcp_local.web.pages import Page, files_of, markup
from kubeez_mcp_local.web.server import static_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

    from kubeez_mcp_local.web.gallery import Output, Source, Wanted

_OWN = "'self' file:"  # not every browser counts the files beside a page that is opened as a file as its own
_POLICY = (
    f'<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; script-src {_OWN}; style-src {_OWN}; '
    f"img-src {_OWN}; media-src {_OWN}; base-uri 'none'; form-action 'none'\">"
)
_NOT_IN_NAMES = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*%#]')
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
"""What Windows takes for a device, whatever comes after the point."""
_LONGEST_NAME = 120
_MOST_TEXT = 100_000


@dataclass(frozen=True)
class Exported:
    """How many outputs are in the folder, and how many are only named since their files are gone."""

    outputs: int
    missing: int


@dataclass
class Export:
    """One export into `folder`, which must not be there yet or be empty: nothing is ever overwritten.

    Attributes:
        told: Called with how many outputs are done, and of how many.
    """

    source: Source
    folder: Path
    wanted: Wanted
    _: KW_ONLY
    told: Callable[[int, int], None] = lambda _done, _all: None
    _taken: set[str] = field(default_factory=set, init=False)
    _numbers: Counter[str] = field(default_factory=Counter, init=False)

    async def write(self) -> Exported:
        """Write it.

        Raises:
            KubeezError: The folder holds something, or cannot be written to.
        """
        try:
            await anyio.to_thread.run_sync(self._begin)
            total = sum(count for _, count in await self.source.days(self.wanted))
            outputs: list[dict[str, Any]] = []
            jobs: dict[str, dict[str, Any]] = {}
            while found := await self.source.outputs(self.wanted, len(outputs), MOST_AT_ONCE):
                for output in found:
                    if output.job not in jobs:
                        jobs[output.job] = asdict(await self.source.shared(output.job))
                    outputs.append(await self._output(output, len(outputs)))
                    self.told(len(outputs), max(total, len(outputs)))
            for job in jobs.values():
                del job["outputs"]
            data = without_keys(json.dumps({"outputs": outputs, "jobs": jobs}))
            await anyio.to_thread.run_sync(self._new, "data.js", f"window.kubeezExport = {data};\n".encode())
        except OSError as error:
            raise KubeezError(
                f"{self.folder} cannot be written: {error.strerror or type(error).__name__}.",
                next_step="Choose another folder, or free some space.",
                code="export_folder",
            ) from None
        return Exported(len(outputs), sum(1 for each in outputs if each["missing"]))

    def _begin(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if any(self.folder.iterdir()):
            raise KubeezError(
                f"{self.folder} is not empty, and nothing is overwritten.",
                next_step="Name a new folder.",
                code="export_folder",
            )
        page = Page(NAME, TITLE, scripts=SCRIPTS, styles=STYLES)
        self._new("index.html", markup(page, [page], head=_POLICY, before=["data.js"]).encode())
        for name in files_of(page):
            self._new(f"static/{name}", static_text(name).encode())

    async def _output(self, output: Output, number: int) -> dict[str, Any]:
        row = {**asdict(output), "path": output.name}
        if output.missing:
            return row
        try:
            file, _ = await self.source.opened(output.job, output.number)
            place = await anyio.to_thread.run_sync(self._copied, file, output)
        except KubeezError as error:
            return {**row, "missing": error.message}
        row |= {"path": place, "file": quote(place)}
        beside = str(Path(place).with_suffix(".json").as_posix())
        sidecar = await self.source.sidecar(output.job, output.number)
        await anyio.to_thread.run_sync(self._new, self._free(beside), sidecar.encode())
        try:
            if output.unseen:
                return row
            if output.kind in ("image", "video"):
                small = f"small/{number}.webp"
                await anyio.to_thread.run_sync(self._new, small, await self.source.picture(output.job, output.number))
                row["picture"] = small
            elif output.kind == "audio":
                row["waveform"] = json.loads(await self.source.waveform(output.job, output.number))
            elif output.kind == "text":
                text = await anyio.to_thread.run_sync((self.folder / place).read_bytes)
                row["text"] = text[:_MOST_TEXT].decode("utf-8", "replace")
        except KubeezError:
            return row  # the page says that there is no small view
        return row

    def _copied(self, file: BinaryIO, output: Output) -> str:
        place = self._free(f"files/{output.day}/{_portable(output.name)}")
        target = self.folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        with file, target.open("xb") as copy:
            shutil.copyfileobj(file, copy, 1 << 20)
        return place

    def _free(self, place: str) -> str:
        """`place`, or with a number if it is taken; also where only the case differs."""
        stem, extension = os.path.splitext(place)  # noqa: PTH122 - the folder stays as it is written
        free = place
        while free.casefold() in self._taken:
            self._numbers[place.casefold()] += 1
            free = f"{stem}-{self._numbers[place.casefold()] + 1}{extension}"
        self._taken.add(free.casefold())
        return free

    def _new(self, place: str, content: bytes) -> None:
        target = self.folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            file.write(content)


def _portable(name: str) -> str:
    """A file name that every system and host takes."""
    told = _NOT_IN_NAMES.sub("_", name.encode("utf-8", "replace").decode())
    stem, extension = os.path.splitext(told)  # noqa: PTH122 - a name, not a path
    short = stem.strip(" .").encode()[:_LONGEST_NAME].decode("utf-8", "ignore").rstrip(" .") or "file"
    return f"{'_' if _DEVICE.fullmatch(short) else ''}{short}{extension[:12]}"
