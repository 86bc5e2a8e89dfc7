"""What makes two paid requests the same intention."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any


def digest_of(
    *,
    account: str,
    route: str,
    body: Mapping[str, Any],
    inputs: Mapping[str, str] | None = None,
    variant: int = 0,
    repeat: str = "",
) -> str:
    """A digest that is equal for every replay of one intention and for nothing else.

    Args:
        account: Who pays.
        route: Name of the API route.
        body: The request's fields after normalisation. `None` counts as absent, so that spelling out a default that
            is "absent" changes nothing; the order of keys does not matter, the order of lists does.
        inputs: For every value in `body` that stands for a local file, the hash of the file's content. An upload URL
            changes from upload to upload, the content does not.
        variant: Number of the variant where one call starts several.
        repeat: Anything that makes a wanted repeat a new intention, such as the id of the job being repeated.
    """
    known = inputs or {}
    intention = [account, route, _normal(body, known), variant, repeat]
    text = json.dumps(intention, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _normal(value: Any, inputs: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return {"sha256": inputs[value]} if value in inputs else value
    if isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {str(key): _normal(item, inputs) for key, item in value.items() if item is not None}
    if isinstance(value, Sequence):
        return [_normal(item, inputs) for item in value]
    return value


def group_digest(digests: Sequence[str]) -> str:
    """One digest for several requests that are asked about together."""
    return digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()
