"""What tools about files that go in answer: uploads, upload pages, cuts."""

from __future__ import annotations

from typing import Any

from kubeez_mcp_local.mcp_server.results import Result


class UploadResult(Result):
    """Files made available to the API, in the order given; `status` is processing while some are missing."""

    published = ("media_urls", "media", "count")

    status: str
    media_urls: list[str]
    media: list[dict[str, Any]]
    count: int
    total_video_seconds: float | None = None
    total_audio_seconds: float | None = None


class UploadPageResult(Result):
    """Where files can be handed over."""

    published = ("url", "direct_upload_url", "token")

    url: str
    direct_upload_url: str
    direct_upload_fallback_url: str
    direct_upload_allowlist_domains: list[str]
    direct_upload_curl_example: str
    direct_upload_python_example: str
    token: str
    model_id: str
    accepted_kinds: list[str]
    max_files: int
    max_file_bytes: int
    expires_at: str
    expires_in_seconds: int


class UploadSessionResult(Result):
    """What arrived in an upload session."""

    published = ("count", "media_urls", "billing_readiness")

    count: int
    media_urls: list[str]
    media: list[dict[str, Any]]
    total_video_seconds: float
    total_audio_seconds: float
    unknown_duration_count: int
    billing_readiness: str | None = None
    expired: bool = False


class TrimResult(Result):
    """A cut video; while `status` is processing, nothing but that. Seconds and bytes."""

    published = ("status", "url", "path", "duration_s")

    status: str
    url: str | None = None
    path: str | None = None
    size_bytes: int | None = None
    duration_s: float | None = None
    start_s: float | None = None
    end_s: float | None = None
    elapsed_s: float | None = None
