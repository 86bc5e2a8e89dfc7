"""Answers the handshake and the lists before anything heavy is loaded, then hands the pipe to the real server.

Loading the SDK takes twenty times as long as starting Python, and most windows never call a tool. So an earlier start
has written down what the server says of itself (`mcp_server/snapshot.py`). Here it is read back and said again, for as
long as the client asks for nothing else. The first message that is not understood whole, to its last member, is left
in the pipe together with all that follows: the real server is loaded, told the handshake again, and goes on from there.

Only the standard library is imported, and of that what costs nothing: no `json`, `re`, `typing` or `threading`.
"""

from __future__ import annotations

import io
import os
import time
from _queue import Empty, SimpleQueue
from _thread import allocate_lock, start_new_thread

from kubeez_mcp_local.environment import Look, code, file_of, name_of
from kubeez_mcp_local.messages import (
    BATCHES,
    CANCELLED,
    CHANGES,
    CLOSED,
    HANDSHAKES,
    HELLO,
    LISTEN_PARAMS,
    MODERN,
    MODERN_PARAMS,
    PARAMS,
    error,
    fits,
    id_in_json,
    in_one,
    last_word,
    refusal,
    same_id,
    scan,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from signal import SIG_IGN, SIGINT, SIGTERM, getsignal, signal
    from typing import Any, NoReturn
else:
    from _signal import SIG_IGN, SIGINT, SIGTERM, getsignal, signal

LISTS = ("tools/list", "prompts/list", "resources/list", "resources/templates/list")
LISTEN = "subscriptions/listen"
PLACE_OF_ID = '"kubeez-id-of-the-request"'
"""Stands in an answer of the snapshot where the id of the request belongs."""

_WATCHED = ("prompts/list", "resources/list", LISTEN)
_LOOK_EVERY_SECONDS = 2.0
_LEDGER_AFTER_SECONDS = 2.0
_LONGEST_WAIT_SECONDS = 1.0 if os.name == "nt" else None  # nothing interrupts a longer one on Windows, not even Ctrl-C
_LAST_WORDS_SECONDS = 0.2
_MOST_LOOKS = 10
_LONGEST_LINE = 1 << 16
_MOST_WAITING = 1 << 25
_LARGEST_SNAPSHOT = 1 << 24
_MOST_STREAMS = 16

_RESTART = (
    "so it cannot go on. Restart the server (in most programs: switch it off and on, or reload the window). "
    "Nothing was sent and nothing was charged."
)
_GONE = f"kubeez-mcp-local was upgraded or removed while this server was waiting, {_RESTART}"
_OTHER_SETTINGS = f"The settings of kubeez-mcp-local were changed while this server was waiting, {_RESTART}"


# What was written down


class Snapshot:
    """What an earlier start wrote down for this one.

    Attributes:
        answers: By revision and method the whole answer, with `PLACE_OF_ID` where the id belongs.
        settings: The files of the settings, looked at before they were read.
        recipes: What was where a recipe may lie when the lists were made.
        listed: A digest of the recipe files of the lists.
        ledger: The ledger's file, empty where it is a database; and `work`, a query with a row when it holds jobs that
            are to be followed.
    """

    def __init__(self, content: dict[str, Any]) -> None:
        texts: list[str] = content["texts"]
        if not all(PLACE_OF_ID in text for text in texts):
            raise ValueError("an answer without a place for the id")
        self.answers: dict[str, dict[str, str]] = {
            revision: {method: texts[number] for method, number in content["answers"][revision].items()}
            for revision in (*HANDSHAKES, MODERN)
        }
        self.settings = Look(*content["settings"])
        self.recipes = Look(*content["recipes"])
        self.listed: str = content["listed"]
        self.ledger: str = content["ledger"]
        self.work: str = content["work"]
        self.debug: bool = content["debug"]
        told = (self.listed, self.ledger, self.work, *self.settings.places, *self.recipes.places)
        if not all(type(each) is str for each in told):
            raise TypeError("a text is none")

    @staticmethod
    def written_for(name: str, code_now: Any) -> Snapshot | None:
        """The snapshot of that name; `None` if it is missing, broken, of somebody else, or older than a change."""
        file = file_of(name)
        try:
            content: Any = scan(_read(file).decode()) if file else None
            if content["name"] != name or content["code"] != code_now:
                return None
            snapshot = Snapshot(content)
            return snapshot if snapshot.settings.still_holds() else None
        except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
            return None


def _read(file: str) -> bytes:
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    handle = os.open(file, flags | getattr(os, "O_NONBLOCK", 0))
    try:
        status = os.fstat(handle)
        if status.st_mode & 0o170000 != 0o100000 or status.st_size > _LARGEST_SNAPSHOT:
            raise ValueError("no snapshot")
        if hasattr(os, "geteuid") and (status.st_uid != os.geteuid() or status.st_mode & 0o022):
            raise ValueError("somebody else may have written it")
        parts = []
        while part := os.read(handle, 1 << 20):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(handle)


# The conversation


class Beginning:
    """What is said before the real server takes over. Bytes in, bytes out; of the disk, recipes are looked at.

    Attributes:
        over: Whether a message was met that only the real server can answer. It stands at the beginning of `rest`.
        watching: Whether the client has seen a list that may change.
        refusing: Why requests for the real server are refused; empty if they are not.
        said: What was answered, and why nothing more is; for the log.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self.rest = b""
        self.over = False
        self.watching = False
        self.refusing = ""
        self.said: list[str] = []
        self._snapshot = snapshot
        self._revision = ""
        self._opening: dict[str, Any] = {}
        self._initialized = b""
        self._streams: dict[Any, bytes] = {}

    def receive(self, data: bytes) -> bytes:
        """The answers to the messages that are whole with `data`."""
        self.rest += data
        answers = []
        while not self.over:
            line, end, rest = self.rest.partition(b"\n")
            if not end:
                # A lone \r ends a line too; the last one may be half of \r\n.
                self.over = not self.refusing and (len(line) > _LONGEST_LINE or b"\r" in line[:-1])
                break
            answer = self._answer(line)
            if answer is None:
                self.over = True
            else:
                self.rest = rest
                answers.append(answer)
        return b"".join(answers)

    def end(self) -> bytes:
        """What is still said when the input ends, which ends its last line too: to who waits for changes, and to what
        was left to the real server, that it is not there for it any more."""
        said = [self.receive(b"\n")] if self.rest and not self.over else []
        said += [last_word(line, self._revision) for line in self.rest.splitlines()]
        said += [error(id_in_json(name) or "", -32000, CLOSED) for name in self._streams]
        return b"".join(said)

    def replayed(self, mark: str) -> bytes:
        """The lines that bring the real server to where the client is; their answers have been given.

        What opened the conversation goes out as a request of ours with the id `mark`, so that its answer cannot be
        taken for one to the client.
        """
        from json import dumps

        lines = [dumps({**self._opening, "id": mark}).encode()] if self._opening else []
        lines += [self._initialized] if self._initialized else []
        return b"".join(line + b"\n" for line in (*lines, *self._streams.values()))

    @property
    def streams(self) -> list[Any]:
        """The ids of the requests whose acknowledgement has been given."""
        return list(self._streams)

    def _answer(self, line: bytes) -> bytes | None:
        """The answer to a line, empty where it gets none; `None` if it is not understood."""
        try:
            # Half a character can only be written as an escape, and is mended by the real server.
            message = None if len(line) > _LONGEST_LINE or b"\\u" in line else scan(line.decode())
            found = self._understood(message, line) if type(message) is dict and b"\r" not in line[:-1] else None
        except (ValueError, RecursionError):
            found, message = None, None
        return self._refusal(line, message) if found is None and self.refusing else found

    def _understood(self, message: dict[str, Any], line: bytes) -> bytes | None:
        members = {"jsonrpc", "id", "method", "params"}
        method, params = message.get("method"), message.get("params", {})
        if not message.keys() <= members or message.get("jsonrpc") != "2.0" or type(method) is not str:
            return None
        if "id" not in message:
            return b"" if self._noted(method, params, line) else None
        request_id = id_in_json(message["id"])
        if request_id is None or same_id(message["id"]) in map(same_id, self._streams):
            return None
        revision = self._revision or MODERN
        if method == "initialize":
            if self._revision or not fits(params, HELLO) or params["protocolVersion"] not in HANDSHAKES:
                return None
            revision = params["protocolVersion"]
        elif self._revision in HANDSHAKES:
            if not fits(params, PARAMS):
                return None
        elif method == LISTEN:
            return self._listened(params, line, message["id"], request_id)
        elif not fits(params, MODERN_PARAMS):
            return None
        answer = self._snapshot.answers[revision].get(method)
        if answer is None or (method in _WATCHED and not self._snapshot.recipes.still_holds()):
            return None
        if not self._revision:
            self._revision, self._opening = revision, message
        self.watching |= method in _WATCHED
        return self._filled(answer, request_id, method)

    def _listened(self, params: Any, line: bytes, stream: Any, request_id: str) -> bytes | None:
        if not fits(params, LISTEN_PARAMS) or len(self._streams) >= _MOST_STREAMS:
            return None
        wanted = "".join(name[0] for name in CHANGES if params["notifications"].get(name))
        answer = self._snapshot.answers[MODERN].get(f"{LISTEN} {wanted}")
        if answer is None or not self._snapshot.recipes.still_holds():
            return None
        self._revision = MODERN
        self._streams[stream] = line
        self.watching = True
        return self._filled(answer, request_id, LISTEN)

    def _filled(self, answer: str, request_id: str, method: str) -> bytes:
        self.said.append(f"{method} answered from the snapshot")
        before, _, after = answer.partition(PLACE_OF_ID)
        return f"{before}{request_id}{after}\n".encode()

    def _noted(self, method: str, params: Any, line: bytes) -> bool:
        """Whether a notification is understood, and has been taken note of."""
        if method == "notifications/cancelled" and self._revision:
            if not fits(params, CANCELLED):
                return False
            wanted = same_id(params["requestId"])
            kept = {name: opened for name, opened in self._streams.items() if same_id(name) != wanted}
            if len(kept) < len(self._streams) and not self._opening:
                return False  # that stream is all that tells the real server which protocol is spoken
            self._streams = kept
            return True
        if self._revision not in HANDSHAKES or params != {}:
            return False
        if method == "notifications/initialized" and not self._initialized:
            self._initialized = line
            return True
        return method == "notifications/roots/list_changed"

    def _refusal(self, line: bytes, message: Any) -> bytes:
        if message is None:
            from json import loads

            try:
                message = loads(line)
            except (ValueError, RecursionError):
                return b""
        each = message if isinstance(message, list) else [message]
        asking = [one for one in each if type(one) is dict and "method" in one and type(one.get("id")) in (int, str)]
        lines = [refusal(one, self._revision, -32603, self.refusing) for one in asking]
        return in_one(lines) if isinstance(message, list) and self._revision == BATCHES else b"".join(lines)


# The pipe


class Pipe(io.RawIOBase):
    """Standard input, read by a thread until the real server reads it itself, so that its end is never missed.

    Attributes:
        loading: Whether the real server is being loaded. Nobody waits for it any more once the input has ended.
        writing: Whether the front stands before the client, which may read no more.
        farewell: Answers what nobody has read when the input ends while the real server is being loaded.
        leave: Ends the process.
    """

    def __init__(self, handle: int, leave: Callable[[int], object] = os._exit) -> None:
        self.loading = False
        self.writing = False
        self.farewell: Callable[[bytes], object] = bytes
        self._leave = leave
        self._handle = handle
        self._direct = False
        self._ahead = b""
        self._chunks: SimpleQueue[bytes] = SimpleQueue()
        self._drained = False
        self._at_end = False
        self._turn = allocate_lock()
        start_new_thread(self._read, ())

    def next(self, seconds: float | None) -> bytes | None:
        """What came, empty at the end of the input; `None` if nothing came within `seconds`."""
        try:
            return self._chunks.get(timeout=seconds)
        except Empty:
            return None

    def put_back(self, data: bytes) -> None:
        """Have `data` read first by whoever reads this as a file from now on."""
        self._ahead = data

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._direct:
            with self._turn:  # waits for ever where this process is leaving
                self._direct = True
        while not self._ahead and not self._drained:
            self._ahead = self._chunks.get()
            self._drained = not self._ahead
        data = self._ahead[: len(buffer)]
        if not data and not self._at_end:  # a terminal goes on after its end
            data = os.read(self._handle, len(buffer))
        self._ahead = self._ahead[len(data) :]
        buffer[: len(data)] = data
        return len(data)

    def _read(self) -> None:
        waiting = 0
        while not self._direct and waiting < _MOST_WAITING:
            try:
                data = os.read(self._handle, _LONGEST_LINE)
            except OSError:
                data = b""
            if not data:
                self._ended()
                return
            waiting += len(data) if self.loading else 0
            self._chunks.put(data)
        self._chunks.put(b"")

    def _ended(self) -> None:
        self._at_end = True
        for _ in range(0 if self.loading else _MOST_LOOKS):
            self._chunks.put(b"")
            time.sleep(_LAST_WORDS_SECONDS)
            if self.loading or self.writing or self._direct:
                break
        with self._turn:
            if self._direct:
                self._chunks.put(b"")
                return
            if self.loading:
                start_new_thread(self._say_farewell, ())
                time.sleep(_LAST_WORDS_SECONDS)
            self._leave(0)

    def _say_farewell(self) -> None:
        left = []
        try:
            while True:
                left.append(self._chunks.get_nowait())
        except Empty:
            self.farewell(b"".join(left))
        self._leave(0)


class HandedOver:
    """What the real server takes over from the front.

    Attributes:
        input: The client's messages: first those that were answered already and are told again, then all others.
        mark: The id of what is told again and is not to be answered to the client.
        streams: The ids of `subscriptions/listen` requests that are told again; their acknowledgements have been given.
        watching: Whether the client has seen a list that may change.
        snapshot: What it was told.
        refuse: Has the front refuse whatever comes, because what the client was told is not true any more.
    """

    def __init__(
        self,
        conversation: Beginning,
        source: Pipe,
        snapshot: Snapshot,
        refuse: Callable[[], NoReturn] = lambda: os._exit(0),
    ) -> None:
        self.mark = f"front-{os.urandom(8).hex()}"
        self.input: io.RawIOBase = source
        self.streams = conversation.streams
        self.watching = conversation.watching
        self.snapshot = snapshot
        self.refuse = refuse
        source.put_back(conversation.replayed(self.mark) + conversation.rest)


class Door:
    """How this process was entered.

    Attributes:
        name: Of the snapshot to be written; `None` where none is wanted.
        code: The code that was there at the start.
        handed: What the front has said already, if it was the front that answered first.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self.code: Any = None
        self.handed: HandedOver | None = None
        try:
            self.name = name_of(arguments)
            self.code = code()
        except OSError:
            self.name = None


def enter(arguments: Sequence[str]) -> Door:
    """Serve from the snapshot for as long as that can be done, if there is one for a server started like this.

    Returns when the real server is needed, or a person at a terminal is to be told what this is; does not return when
    the input ends or a signal comes.
    """
    door = Door(arguments)
    bare = "serve" not in arguments and os.isatty(0)
    snapshot = Snapshot.written_for(door.name, door.code) if door.name and not bare else None
    handle = None if snapshot is None else _private_input()
    if snapshot is not None and handle is not None:
        leave_on_signals()
        greet()
        front = _Front(Beginning(snapshot), snapshot, Pipe(handle), door.code)
        door.handed = front.serve()
    return door


def greet() -> None:
    """Tell a person who typed the command at a terminal what it waits for; to clients nothing is said."""
    if os.isatty(0):
        os.write(2, b"An MCP server: it waits for its client, which starts it. See install, --help; Ctrl-C ends it.\n")


def leave_on_signals() -> None:
    """From now on SIGINT and SIGTERM end this process at once with 130 and 143, until somebody takes them over."""
    for number in (SIGINT, SIGTERM):
        if getsignal(number) is not SIG_IGN:
            signal(number, lambda signum, _frame: os._exit(128 + signum))


def _private_input() -> int | None:
    """A duplicate of standard input that no child inherits; `None` where the front had better not touch it."""
    try:
        if not os.get_blocking(0) or not os.get_blocking(1):
            return None
        handle = os.dup(0)
        if handle > 2:
            return handle
        os.close(handle)
    except (OSError, AttributeError):  # Windows before Python 3.12 cannot tell
        pass
    return None


class _Front:
    def __init__(self, conversation: Beginning, snapshot: Snapshot, source: Pipe, code_then: Any) -> None:
        self._conversation = conversation
        self._snapshot = snapshot
        self._source = source
        self._code = code_then
        self._look_at: float | None = None
        self._ledger_at: float | None = time.monotonic() + _LEDGER_AFTER_SECONDS

    def serve(self) -> HandedOver:
        """Answer until the real server is needed."""
        while True:
            due = [max(at - time.monotonic(), 0.0) for at in (self._look_at, self._ledger_at) if at is not None]
            due += [] if _LONGEST_WAIT_SECONDS is None else [_LONGEST_WAIT_SECONDS]
            data = self._source.next(min(due, default=None))
            if data:
                self._write(self._conversation.receive(data))
                if self._conversation.watching and self._look_at is None:
                    self._look_at = time.monotonic() + _LOOK_EVERY_SECONDS
            elif data is not None:
                self._write(self._conversation.end())
                os._exit(0)
            reason = "a message is for it" if self._conversation.over else self._noticed()
            if reason and not self._conversation.refusing:
                if self._still_there():
                    return self._handed_over(reason)
                self._begin_to_refuse(_GONE)

    def _begin_to_refuse(self, why: str) -> None:
        self._conversation.over, self._conversation.refusing = False, why
        self._write(self._conversation.receive(b""))

    def _refuse(self) -> NoReturn:
        self._say("the settings are others than the client was told")
        self._source.loading = False
        self._begin_to_refuse(_OTHER_SETTINGS)
        self.serve()
        os._exit(0)

    def _noticed(self) -> str:
        """Why the real server is needed although nobody asked for it; empty if it is not."""
        now = time.monotonic()
        if self._ledger_at is not None and now >= self._ledger_at:
            self._ledger_at = None
            if _has_work(self._snapshot):
                return "there are jobs to follow"
        if self._look_at is not None and now >= self._look_at:
            self._look_at = now + _LOOK_EVERY_SECONDS
            if not self._snapshot.recipes.still_holds():
                return "a recipe has changed"
        return ""

    def _still_there(self) -> bool:
        try:
            return bool(code() == self._code)
        except OSError:
            return False

    def _handed_over(self, reason: str) -> HandedOver:
        self._say(f"the server itself is loaded: {reason}")
        self._source.farewell = self._farewell
        self._source.loading = True
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)  # what is started later must not read the client's messages
        os.close(nothing)
        return HandedOver(self._conversation, self._source, self._snapshot, self._refuse)

    def _farewell(self, left: bytes) -> None:
        self._conversation.rest += left
        self._write(self._conversation.end())

    def _write(self, data: bytes) -> None:
        while self._conversation.said:
            self._say(self._conversation.said.pop(0))
        self._source.writing = True
        try:
            while data:
                data = data[os.write(1, data) :]
        except OSError:  # nobody reads the answers any more
            os._exit(0)
        self._source.writing = False

    def _say(self, words: str) -> None:
        try:
            if self._snapshot.debug:
                os.write(2, f"DEBUG kubeez_mcp_local.front: {words}\n".encode())
        except OSError:  # nobody reads the log
            pass


def _has_work(snapshot: Snapshot) -> bool:
    """Whether the ledger holds jobs to be followed, or cannot be read from here, so that the real server has to say."""
    if not snapshot.ledger:
        return True
    if not os.path.exists(snapshot.ledger):
        return False
    import sqlite3

    logged = os.path.exists(f"{snapshot.ledger}-wal")
    try:
        address = f"{_as_uri(snapshot.ledger)}?mode=ro{'' if logged else '&immutable=1'}"
        connection = sqlite3.connect(address, uri=True, timeout=0.1)
        try:
            return connection.execute(snapshot.work).fetchone() is not None
        finally:
            connection.close()
    except sqlite3.Error:
        return True


def _as_uri(path: str) -> str:
    from urllib.parse import quote

    slashed = path.replace(os.sep, "/")
    return "file:" + quote(slashed if slashed.startswith("/") else f"/{slashed}")
