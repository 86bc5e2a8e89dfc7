"""What can be turned on the stand-in: time, limits, and faults to rehearse against."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import ConfigDict, Field

from kubeez_mcp_local.sandbox.answers import ApiError, Body

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubeez_mcp_local.sandbox.books import Bucket


FaultKind = Literal[
    "status",
    "html",
    "not_json",
    "slow",
    "slow_answer",
    "cut_before_acceptance",
    "cut_after_acceptance",
    "drop_stream",
    "expire_token",
    "revoke_token",
    "rpc_error",
]


Count = Annotated[int, Field(ge=0, le=1_000_000)]
LARGEST = 2**63 - 1


class Fault(Body):
    """Something that goes wrong for the next calls of a route."""

    model_config = ConfigDict(extra="forbid")

    on: str = Field(
        description="Which calls: method and path with wildcards, e.g. `POST /v1/generate/media`, `GET /v1/*`, `*`; of "
        "the hosted door with the method and tool, e.g. `POST /mcp tools/call generate_captions`, `POST /mcp *`."
    )
    kind: FaultKind = Field(
        description=(
            "`status`: answer with `status` and `body`. `html`: an HTML page with `status`. `not_json`: broken JSON. "
            "`slow`: wait `seconds`, then answer normally. `slow_answer`: do everything at once, and wait before the "
            "answer. `cut_before_acceptance`: close the connection and do "
            "nothing. `cut_after_acceptance`: do everything, then close the connection instead of answering. "
            "`drop_stream`: end the event stream after its first heartbeat, and at the hosted door before its answer. "
            "`expire_token`, `revoke_token`: the hosted token of this call ends before it is looked at. "
            "`rpc_error`: the hosted answer is an event with the JSON-RPC error `body`, and nothing is done."
        )
    )
    times: Count = Field(1, description="How many calls; counts down.")
    skip: Count = Field(0, description="How many matching calls pass unharmed first.")
    status: Annotated[int, Field(ge=200, le=599)] = Field(500, description="HTTP status of `status` and `html`.")
    body: dict[str, object] | None = Field(None, description="JSON body of `status`; a fitting one by default.")
    retry_after: Annotated[float, Field(ge=0, le=86_400)] | None = Field(
        None, description="Seconds for a `Retry-After` header; none by default."
    )
    seconds: Annotated[float, Field(ge=0, le=600)] = Field(
        1.0, description="Real seconds that `slow` and `slow_answer` wait."
    )


class Knobs(Body):
    """The knobs. Fields that a request leaves out keep their value."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    speed: Annotated[float, Field(ge=0.001, le=1_000_000)] = Field(
        30, description="How many times faster than life jobs run; a change also applies to the running ones."
    )
    rate_limits: Literal["on", "off", "scaled"] = Field(
        "scaled", description="Per-minute buckets: as documented, none, or with minutes that pass at `speed`."
    )
    concurrency_caps: bool = Field(True, description="At most 10 media, 5 music and 5 dialogue jobs at once.")
    assumed_routes: bool = Field(True, description="Serve the routes that the real API is only assumed to have.")
    success_code: Literal[200, 202] = Field(200, description="HTTP status of an accepted generation.")
    no_credits_as: Literal[400, 402] = Field(400, description="HTTP status when the balance does not suffice.")
    early_404: Count = Field(0, description="The first N status reads of each new job: 404.")
    null_urls: Count = Field(0, description="The first N status reads of each completed job show null URLs.")
    cdn_404: Count = Field(0, description="The first N downloads of each file: 404.")
    music_streaming: bool = Field(
        False, description="Music shows the status `streaming` with `stream_url` only, before it is completed."
    )
    fail_next: Count = Field(0, description="The next N accepted jobs will fail; counts down.")
    fail_probability: Annotated[float, Field(ge=0, le=1)] = Field(0, description="Chance that an accepted job fails.")
    fail_seed: Annotated[int, Field(ge=-LARGEST, le=LARGEST)] = Field(
        0, description="Seed of that chance: the same seed fails the same jobs in sequence."
    )
    failure_message: str = Field("The provider could not finish this job.", description="Their `error_message`.")
    refuse_next: Count = Field(0, description="The next N jobs meet moderation; counts down.")
    moderation: Literal["job", "request"] = Field(
        "job", description="Moderation fails the job (and refunds it), or refuses the request with 400."
    )
    refund_failures: bool = Field(True, description="Give the credits of failed jobs back.")
    heartbeat_seconds: Annotated[float, Field(gt=0, le=60)] = Field(5, description="Between heartbeats of a stream.")
    drawing: Literal["rich", "plain"] = Field(
        "rich", description="`plain` is cheap: flat pictures, ready-made clips, one note; type, ratio and length stay."
    )
    token_seconds: Annotated[float, Field(gt=0, le=10_000_000)] = Field(
        3600, description="Real seconds that an access token of the hosted door lasts from its issue."
    )
    refresh_tokens: Literal["rotate", "stay"] = Field(
        "rotate",
        description="`rotate`: a refresh gives a new refresh token, and the old one's second use takes the whole "
        "sign-in back. `stay`: it gives none, and the old one goes on.",
    )
    oauth: Literal[
        "right", "other_issuer", "other_issuer_in_answer", "other_resource", "no_registration", "no_revocation", "none"
    ] = Field(
        "right",
        description="What signing in at the hosted door gets wrong or lacks: `other_issuer` in metadata, "
        "`other_issuer_in_answer` on the way back, `other_resource`, `no_registration`, `no_revocation`, or `none`.",
    )
    hosted_errors: Literal["structured", "text", "result"] = Field(
        "structured",
        description="How a hosted tool refuses: as an error with `error` and `message`, as an error in words only, or "
        "as a result like any other.",
    )
    scope_refusals: Literal["http", "tool"] = Field(
        "http", description="A missing scope at the hosted door: HTTP 403, or an error of the tool."
    )
    tools: dict[str, dict[str, object] | None] = Field(
        default_factory=dict,
        description="Changes of hosted tools by name, merged into their entries in `tools/list` (null takes away): "
        '`{"get_status": {"name": "get_generation_status"}, "estimate": null}`.',
    )
    faults: list[Fault] = Field(default_factory=list, description="Faults of coming calls; replaces the list.")


class Panel:
    """The knobs of one running stand-in, shared by its requests. Safe across threads."""

    def __init__(self, knobs: Knobs | None = None) -> None:
        self._knobs = knobs or Knobs()
        self._lock = threading.Lock()

    @property
    def knobs(self) -> Knobs:
        """The present state; treat it as read-only."""
        return self._knobs

    def change(self, changes: Knobs) -> Knobs:
        """Take over the fields that `changes` was given explicitly."""
        with self._lock:
            given = {name: getattr(changes, name) for name in changes.model_fields_set}
            self._knobs = Knobs.model_validate({**dict(self._knobs), **given})
            return self._knobs

    def reset(self) -> Knobs:
        """Put every knob back to how it starts, but the speed and the drawing."""
        with self._lock:
            self._knobs = Knobs(speed=self._knobs.speed, drawing=self._knobs.drawing)
            return self._knobs

    def take_fault(self, call: str) -> Fault | None:
        """Use up one occurrence of the first fault that matches `call`, e.g. `GET /v1/balance`."""
        with self._lock:
            for fault in self._knobs.faults:
                if fault.times == 0 or not fnmatchcase(call, fault.on):
                    continue
                if fault.skip:
                    fault.skip -= 1
                    return None
                fault.times -= 1
                return fault.model_copy()
            return None

    def take(self, knob: Literal["fail_next", "refuse_next"]) -> bool:
        """Use up one of what counts down; whether there was one."""
        with self._lock:
            left: int = getattr(self._knobs, knob)
            setattr(self._knobs, knob, max(0, left - 1))
            return left > 0


PER_MINUTE: dict[Bucket, int] = {"media": 30, "music": 10, "dialogue": 10, "ads": 5, "upload": 60, "read": 120}
AT_ONCE: dict[Bucket, int] = {"media": 10, "music": 5, "dialogue": 5}


@dataclass
class RateLimits:
    """Sliding minutes, one for each account and bucket. Kept in memory: a restart forgets them."""

    panel: Panel
    clock: Callable[[], float]
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _calls: defaultdict[tuple[str, Bucket], deque[float]] = field(default_factory=lambda: defaultdict(deque))

    def count(self, account: str, bucket: Bucket) -> None:
        """Note one request.

        Raises:
            ApiError: 429 when the minute's number is used up.
        """
        knobs = self.panel.knobs
        if knobs.rate_limits == "off":
            return
        minute = 60 / knobs.speed if knobs.rate_limits == "scaled" else 60.0
        now = self.clock()
        with self._lock:
            calls = self._calls[account, bucket]
            while calls and calls[0] <= now - minute:
                calls.popleft()
            if len(calls) >= PER_MINUTE[bucket]:
                raise ApiError(429, f"Rate limit exceeded: {PER_MINUTE[bucket]} {bucket} requests per minute")
            calls.append(now)

    def forget(self) -> None:
        """Start all minutes anew."""
        with self._lock:
            self._calls.clear()


class Calls:
    """How often each method and path was called. Safe across threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counter: Counter[str] = Counter()

    def count(self, call: str) -> None:
        """Note one call; status reads and downloads are counted under their route, not their id."""
        method, _, path = call.partition(" ")
        parts = path.split("/")
        known = ("generate", "estimate", "upload", "models", "balance", "generations")
        if parts[1:2] == ["files"]:
            path = "/files/{name}"
        elif parts[1:2] == ["v1"] and method == "GET" and parts[2:3] == ["generate"]:
            path = "/".join(["/v1/generate", parts[3] if len(parts) > 3 else "", "{id}", *parts[5:6]])
        elif parts[1:2] == ["v1"] and parts[2:3] and parts[2] not in known:
            path = "/v1/{other}"
        with self._lock:
            self._counter[f"{method} {path}"] += 1

    def so_far(self) -> dict[str, int]:
        with self._lock:
            return dict(self._counter)

    def forget(self) -> None:
        """Count from zero."""
        with self._lock:
            self._counter.clear()
