"""What this process finds around it: the variables, read here and nowhere else, and what tells one start from another.

Only the standard library is imported, and of that what is loaded anyway: the front starts with it.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # the typing module itself would cost the front a tenth of its time
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

APP = "kubeez-mcp-local"
KEY = "KUBEEZ_API_KEY"
TOKEN = "KUBEEZ_MCP_TOKEN"  # noqa: S105 - its name
TRIAL = "KUBEEZ_TRIAL"
"""Set by `doctor` and `install` for the server they try, which is to prove itself: no snapshot is used or written."""
COMPLETING = "_KUBEEZ_MCP_LOCAL_COMPLETE"
"""Set by a shell that wants to know how a command line could go on."""

_FORMAT = 1
"""Of the snapshot; another one makes all that were written useless."""
_PACKAGES = ("mcp", "mcp_types")
_HERE = os.path.dirname(os.path.abspath(__file__))
_FOLDERS = ("HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA")
_XDG = ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME")


def user_and_host() -> str:
    """Who works where, such as `ana@desk`."""
    import getpass
    import socket

    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):
        user = "somebody"
    return f"{user}@{socket.gethostname()}"


def variables() -> Mapping[str, str]:
    """Every variable of this process."""
    return os.environ


def reach_the_session() -> None:
    """Say where the message bus of the desktop's session is, by which the keyring is asked: on Linux it has a fixed
    place, and clients start servers without the variable that names it."""
    name = "DBUS_SESSION_BUS_ADDRESS"
    if sys.platform == "linux" and not os.environ.get(name):
        bus = os.path.join(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}", "bus")
        if os.path.exists(bus):
            os.environ[name] = f"unix:path={bus}"


def _cache_folder() -> str | None:
    """The platform's cache folder of this program; `None` where the variables do not say where that is."""
    given = os.environ.get
    if sys.platform == "win32":
        base = given("LOCALAPPDATA") or _under(given("USERPROFILE"), "AppData", "Local")
        return os.path.join(base, APP, "Cache") if base and os.path.isabs(base) else None
    usual = ("Library", "Caches") if sys.platform == "darwin" else (".cache",)
    base = (sys.platform != "darwin" and given("XDG_CACHE_HOME")) or _under(given("HOME"), *usual)
    return os.path.join(base, APP) if base and os.path.isabs(base) else None


def _under(folder: str | None, *parts: str) -> str:
    return os.path.join(folder, *parts) if folder else ""


def _what_answers_depend_on() -> list[tuple[str, str]] | None:
    """The variables that decide what this server says of itself. Of key and token only whether there is one.

    `None` where that cannot be told without reading on: key or token look like none, or the server is only tried, or
    none is wanted.
    """
    found = []
    for name, value in os.environ.items():
        if name in (TRIAL, COMPLETING):
            return None
        if name in (KEY, TOKEN):
            if value and not _looks_good(name, value.strip()):
                return None
            found.append((name, "given" if value else ""))
        elif name.startswith("KUBEEZ_") or name in _FOLDERS or name in _XDG:
            found.append((name, value))
    return sorted(found)


def _looks_good(name: str, value: str) -> bool:
    bare = value.replace("-", "").replace("_", "")
    if name == TOKEN:
        bare = "" if value[:3].lower() == "sk_" else bare.replace(".", "")
    return bare.isascii() and bare.isalnum()


def name_of(arguments: Sequence[str]) -> str | None:
    """Names the snapshot of a server started like this one; `None` where none is to be used or written.

    Of what may be a secret only a digest is in it, and of key and token not even that.
    """
    variables = _what_answers_depend_on()
    if variables is None:
        return None
    try:
        from _blake2 import blake2b
    except ImportError:  # another Python than CPython
        from hashlib import blake2b
    python = (sys.prefix, sys.version, sys.flags.optimize, sys.path)  # optimized, it has no docstrings
    about = (_FORMAT, list(arguments), *python, _HERE, os.getcwd(), variables)
    return blake2b(repr(about).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def file_of(name: str) -> str | None:
    """Where that snapshot lies."""
    folder = _cache_folder()
    return None if folder is None else os.path.join(folder, "front", f"{name}.json")


def code() -> list[list[int]]:
    """Tells the installed code from any other: of our package and of the SDK's, how many files, and their
    times of change and sizes added up.

    Raises:
        OSError: A part of it is gone.
    """
    found = [_HERE]
    for package in _PACKAGES:
        places = (os.path.join(place or ".", package) for place in sys.path)
        found += [place for place in places if os.path.isfile(os.path.join(place, "__init__.py"))][:1]
    return [_size_of(folder) for folder in found]


def _size_of(folder: str) -> list[int]:
    count = times = size = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                found = [0, 0, 0] if entry.name == "__pycache__" else _size_of(entry.path)
            else:
                status = entry.stat()
                found = [1, status.st_mtime_ns, status.st_size]
            count, times, size = count + found[0], times + found[1], size + found[2]
    return [count, times, size]


class Look:
    """What was at some places at some moment: time of the last change and size, of a folder those of what it holds.

    Attributes:
        places: Files and folders, there or not.
    """

    def __init__(self, places: Sequence[str], seen: Any) -> None:
        self.places = places
        self._seen = seen

    @classmethod
    def at(cls, places: Sequence[str | os.PathLike[str]]) -> Look:
        """What is there now."""
        found = [os.fspath(place) for place in places]
        return cls(found, [_look_at(place) for place in found])

    @property
    def as_json(self) -> list[Any]:
        """What makes the same look again, as arguments."""
        return [self.places, self._seen]

    def still_holds(self) -> bool:
        """Whether nothing has changed since."""
        return bool(self._seen == [_look_at(place) for place in self.places])


def _look_at(place: str) -> Any:
    try:
        status = os.stat(place)
        if not os.path.isdir(place):
            return [status.st_mtime_ns, status.st_size]
        with os.scandir(place) as entries:
            return sorted(_stamp(entry) for entry in entries if entry.name.endswith(".md") or entry.is_dir())
    except OSError:
        return "missing"


def _stamp(entry: os.DirEntry[str]) -> list[Any]:
    try:
        status = entry.stat()
    except OSError:
        return [entry.name, 0, 0]
    return [entry.name] if entry.is_dir() else [entry.name, status.st_mtime_ns, status.st_size]
