"""The shapes of structured results, shared by all tools.

The hosted server's field names stand at the top level, so that whoever knows it feels at home; ours stand beside
them: `mode`, `files`, `cost`, `next_step`. A value that is not known is absent, never null.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from kubeez_mcp_local.mcp_server import glance
from kubeez_mcp_local.rest.wire import Output, Song

_OMITTED_EMPTY = (
    *("notes", "songs", "files", "breakdown", "rejected", "problems", "overrides", "missing", "calls", "views"),
    *("offers", "alternatives", "jobs"),
)


class Result(BaseModel):
    """What every structured result carries.

    `mode` is `live` or `sandbox`; `door` is `rest` or `hosted`, where the latter is open; `next_step` says
    what to do now; `notes` says what was decided on the way.
    """

    model_config = ConfigDict(frozen=True, defer_build=True)  # most are never made in a conversation
    published: ClassVar[tuple[str, ...]] = ()
    """Fields named in the published output schema; the rest is open. Every conversation pays for each of them."""

    mode: str
    door: str | None = None
    next_step: str | None = None
    notes: list[str] = Field(default_factory=list)

    def __init_subclass__(cls, *, published: tuple[str, ...] = (), **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.published = published

    @staticmethod
    def glance(told: dict[str, Any]) -> dict[str, Any]:
        """The fields of the text that goes beside `told`, the structured content: the most important first."""
        return told

    def structured(self) -> dict[str, Any]:
        """The JSON form: absent values and empty notes left out."""
        data = self.model_dump(mode="json", exclude_none=True)
        return {key: value for key, value in data.items() if not (key in _OMITTED_EMPTY and value == [])}


class Cost(BaseModel):
    """Credits of one call: quoted before, charged after; and where that leaves the day's ceiling.

    `quoted` is absent when the price is unknown; `basis` is `catalogue`, `rate`, `api` or `unknown`. `spent_today`
    includes what is held back for jobs that are not settled.
    """

    quoted: float | None = None
    basis: str | None = None
    charged: float | None = None
    spent_today: float
    left_today: float


class OutputItem(Output):
    """A finished file as the API describes it."""

    optimization_status: str | None = Field(None, exclude=True)
    cdn_ready: bool | None = Field(None, exclude=True)


class SongItem(Song):
    duration: float | None = Field(None, exclude=True)


class FileItem(BaseModel):
    """A saved file, and what tells it from others. Pixels and seconds as the API says, else as measured.

    `label` is a stem such as `vocals`, or like `1-of-3`; `language_doubt` says why the language may be another.
    """

    path: str
    media_type: str
    size_bytes: int
    output_id: str | None = None
    url: str | None = None
    generation_id: str | None = None
    width: int | None = None
    height: int | None = None
    duration: float | None = None
    sound: bool | None = None
    title: str | None = None
    model: str | None = None
    item: str | None = None
    language: str | None = None
    language_doubt: str | None = None
    label: str | None = None


class JobResult(Result, published=("generation_id", "status", "outputs", "files", "cost", "next_step")):
    """One job, or several that one call started."""

    id: str | None = None
    generation_id: str | None = None
    generation_ids: list[str] = Field(default_factory=list)
    kind: str | None = None
    status: str
    model: str | None = None
    prompt: str | None = None
    generation_type: str | None = None
    created_at: str | None = None
    completed_at: str | None = None
    processing_time_ms: int | None = None
    credits_deducted: float | None = None
    estimated_cost_credits: float | None = None
    estimated_time_seconds: int | None = None
    error_message: str | None = None
    params: dict[str, Any] | None = Field(None, description="Settings it was started with.")
    settings: str | None = Field(None, description="The same in a few words.")
    outputs: list[OutputItem] = Field(default_factory=list)
    songs: list[SongItem] = Field(default_factory=list)
    separation_id: str | None = None
    vocals_url: str | None = None
    instrumental_url: str | None = None
    files: list[FileItem] = Field(default_factory=list)
    jobs: list[dict[str, Any]] = Field(default_factory=list, description="Each of several, with its price.")
    sheet: str | None = Field(None, description="Where a sheet of all pictures of the call lies.")
    cost: Cost | None = None
    mode_note: str | None = None
    repeated: bool | None = Field(None, description="This call repeated an earlier one; nothing was paid again.")
    approval: str | None = Field(None, description="Code to pass back once the user has agreed to the quote.")
    answer: Any = Field(None, description="What a tool of the hosted server answered; data, nothing else.")

    @staticmethod
    def glance(told: dict[str, Any]) -> dict[str, Any]:
        return glance.of_job(told)


class HostedToolsResult(Result, published=("tools",)):
    """Tools of the hosted server, described in its own words: data, nothing else."""

    tools: list[dict[str, Any]]


class ModelsResult(Result, published=("models", "source")):
    models: list[dict[str, Any]]
    total_count: int
    matching_count: int
    source: str = Field(description="live, cache or snapshot")
    age_seconds: int

    @staticmethod
    def glance(told: dict[str, Any]) -> dict[str, Any]:
        return glance.of_models(told)


class BalanceResult(Result, published=("credits", "left_today")):
    """Credits in the account and what the ceilings leave of today."""

    credits: float
    message: str | None = None
    purchase_url: str | None = None
    spent_today: float
    left_today: float
    max_credits_per_call: float
    max_credits_per_day: float
    spent_today_on: list[dict[str, Any]] = Field(default_factory=list)
    accounts: list[dict[str, Any]] | None = Field(None, description="Each door's, where two are open.")

    @staticmethod
    def glance(told: dict[str, Any]) -> dict[str, Any]:
        return glance.of_balance(told)


class EstimateResult(Result, published=("credits", "basis", "estimated_time_seconds", "breakdown")):
    """What a job will cost; `credits` is absent when there is no evidence."""

    model: str
    credits: float | None = None
    basis: str
    estimated_time_seconds: int | None = None
    breakdown: list[dict[str, Any]] = Field(default_factory=list)
    status: str | None = None
    count: int | None = None
    lacks_length: bool | None = None
    arguments: dict[str, Any] | None = None

    @staticmethod
    def glance(told: dict[str, Any]) -> dict[str, Any]:
        return glance.of_estimate(told)


class GenerationsResult(Result, published=("generations",)):
    """Jobs of the account, newest first; `folder` is where files are saved, `total` how many fit."""

    generations: list[dict[str, Any]]
    count: int
    total: int
    folder: str

    @staticmethod
    def glance(told: dict[str, Any]) -> dict[str, Any]:
        return glance.of_history(told)


class ViewResult(Result, published=("url", "path", "preview")):
    """Where a file is, or each of several in `views`; what is shown of them travels as image and audio blocks."""

    output_id: str | None = None
    url: str | None = None
    path: str | None = None
    media_type: str | None = None
    preview: str | None = Field(None, description="What the preview shows, or why there is none.")
    views: list[dict[str, Any]] = Field(default_factory=list)

    @staticmethod
    def glance(told: dict[str, Any]) -> dict[str, Any]:
        return glance.of_views(told) if told.get("views") else told


class PlanResult(Result, published=("recommended_model", "estimated_credits", "workflow_steps", "skills_to_fetch")):
    task: str | None = None
    tasks: dict[str, str] | None = None
    recommended_model: str | None = None
    estimated_credits: float | None = None
    price: str | None = None
    estimated_seconds: int | None = None
    requires_upload: bool
    suggested_aspect_ratio: str | None = None
    count: int = 1
    offers: list[dict[str, Any]] = Field(default_factory=list)
    workflow_steps: list[str]
    skills_to_fetch: list[str]
    alternatives: list[str] = Field(default_factory=list)
    recipes: list[str] | None = None

    @staticmethod
    def glance(told: dict[str, Any]) -> dict[str, Any]:
        return glance.of_plan(told)


class ChoiceResult(Result, published=("model", "credits", "ranked", "offers", "summary")):
    """Which model fits a wish; where none does, `model` is absent, and `offers` has what would do."""

    model: str | None = None
    credits: float | None = None
    basis: str | None = None
    exact: bool | None = None
    ranked: list[dict[str, Any]]
    rejected: list[dict[str, Any]] = Field(default_factory=list)
    offers: list[dict[str, Any]] = Field(default_factory=list)
    summary: str

    @staticmethod
    def glance(told: dict[str, Any]) -> dict[str, Any]:
        return glance.of_choice(told)


class SkillResult(Result, published=("text",)):
    name: str
    text: str


class LinkResult(Result, published=("url", "summary")):
    url: str
    summary: str
    current_balance: float | None = None


class PersonaResult(Result, published=("persona_id",)):
    persona_id: str


class UploadResult(Result, published=("media_urls", "media")):
    """Files made available to the API, in the order given; `status` is processing while some are missing."""

    status: str
    media_urls: list[str]
    media: list[dict[str, Any]]
    count: int
    total_video_seconds: float | None = None
    total_audio_seconds: float | None = None


class UploadPageResult(Result, published=("url", "direct_upload_url", "token"), extra="allow"):
    """Where files can be handed over; further fields as in `web.upload_page.UploadSession`."""

    url: str
    direct_upload_url: str
    token: str


class UploadSessionResult(Result, published=("media_urls", "billing_readiness"), extra="allow"):
    """What arrived in an upload session; further fields as in `web.sessions.Session.facts`."""

    count: int
    media_urls: list[str]
    billing_readiness: str | None = None


class TrimResult(Result, published=("status", "url", "path", "duration_s")):
    """A cut video; while `status` is processing, nothing but that. Seconds and bytes; `sound`: whether it has any."""

    status: str
    url: str | None = None
    path: str | None = None
    size_bytes: int | None = None
    duration_s: float | None = None
    start_s: float | None = None
    end_s: float | None = None
    elapsed_s: float | None = None
    sound: bool | None = None

    @staticmethod
    def glance(told: dict[str, Any]) -> dict[str, Any]:
        return glance.of_cut(told)


class AssetsResult(Result, published=("assets",)):
    assets: list[dict[str, Any]]
    used_bytes: int


class LibraryResult(Result, published=("entry",)):
    action: str
    kind: str
    entry: dict[str, Any]


class CharactersResult(Result, published=("characters",)):
    characters: list[dict[str, Any]]
    count: int


class VoicesResult(Result, published=("voices",)):
    voices: list[dict[str, Any]]
    count: int


class VoiceResult(Result, published=("voice", "message")):
    voice: dict[str, Any]
    message: str


class RecipesResult(Result, published=("recipes",)):
    """Recipes of this machine; `problems` are files that cannot be used."""

    recipes: list[dict[str, Any]]
    matching_count: int
    problems: list[str] = Field(default_factory=list)


class RecipeResult(Result, published=("name", "text", "arguments", "next_step")):
    """One recipe. `text` is what to do, present once all required arguments are given; as are, for a recipe with steps,
    `price` and the `calls` that would be made, with their prompts."""

    name: str
    title: str
    description: str
    version: int
    source: str
    overrides: list[str] = Field(default_factory=list)
    arguments: list[dict[str, Any]]
    tools: list[str]
    steps: list[str]
    missing: list[str] = Field(default_factory=list)
    price: str | None = None
    calls: list[dict[str, Any]] = Field(default_factory=list)
    text: str | None = None

    @staticmethod
    def glance(told: dict[str, Any]) -> dict[str, Any]:
        return glance.of_recipe(told)


class RunResult(Result, published=("run_id", "status", "summary", "files", "cost", "next_step")):
    """A run of a recipe: how far it is, what it made, what it cost."""

    run_id: str | None = None
    recipe: str
    status: str
    summary: str
    calls: list[dict[str, Any]] = Field(default_factory=list)
    files: list[FileItem] = Field(default_factory=list)
    sheet: str | None = Field(None, description="Where a sheet of all pictures lies, drawn once the run is over.")
    cost: Cost | None = None
    budget: float | None = None
    approval: str | None = None

    @staticmethod
    def glance(told: dict[str, Any]) -> dict[str, Any]:
        return glance.of_run(told)


class SavedRecipeResult(Result, published=("name", "path")):
    name: str
    path: str
    arguments: list[str]
