"""`plan`: from a wish to a model, a price and the steps. Deterministic; asks no model and spends nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from kubeez_mcp_local.catalogue.prices import Quote, unknown_quote
from kubeez_mcp_local.errors import InvalidArgumentError
from kubeez_mcp_local.operations import Described, ad_copy, media, sound
from kubeez_mcp_local.operations.media import MAX_VARIANTS
from kubeez_mcp_local.planning.intent import (
    TRIM,
    does_task,
    exactly_named,
    kinds_of_work,
    known_tasks,
    named_models,
    read_intent,
    tasks,
    tasks_named,
)
from kubeez_mcp_local.planning.offers import Offer, offers
from kubeez_mcp_local.planning.pick import LONGEST_SECONDS, Needs, described, pick, recommended
from kubeez_mcp_local.text import quoted, spoken

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kubeez_mcp_local.catalogue.listing import Listing
    from kubeez_mcp_local.catalogue.models import InputKind
    from kubeez_mcp_local.operations import Operation
    from kubeez_mcp_local.planning.intent import Intent
    from kubeez_mcp_local.planning.pick import Candidate, Choice

LONGEST_INTENT = 4000
_SKILLS = ("model-selection", "billing-confirmation", "media-upload", "polling")
_WAIT = "wait_for_generation(id): saves the files, returns their paths."
_WHICH = (
    "The words leave open which kind of work this is. Call plan again with task set to the one that is meant; for "
    "several in a row, once for each."
)
_THING: dict[InputKind, str] = {"image": "picture", "video": "clip", "audio": "recording"}


@dataclass(frozen=True)
class Plan:
    """What to do about a wish; field names as the hosted server has them, ours behind.

    Attributes:
        recommended_model: The id to use; `None` if nothing fits, or if it is open what is wished for.
        requires_upload: Whether a file of the user goes in. Local paths are uploaded when they are used.
        task: The kind of work; `None` if it has to be asked for.
        tasks: What to choose from then, with what each makes.
        count: How many results.
        quote: For all results together. job: what it is the price of.
        read: What was taken from the sentence.
        reasons: What else would do, or why nothing does, and what is not covered.
        offers: Where nothing fits, what would do.
        alternatives: Other fitting ids.
    """

    task: str | None
    workflow_steps: tuple[str, ...]
    skills_to_fetch: tuple[str, ...] = ()
    recommended_model: str | None = None
    requires_upload: bool = False
    suggested_aspect_ratio: str | None = None
    count: int = 1
    quote: Quote = field(default_factory=lambda: unknown_quote(None, "nothing was chosen"))
    job: Described | None = None
    read: str = ""
    reasons: tuple[str, ...] = ()
    tasks: Mapping[str, str] = field(default_factory=dict)
    offers: tuple[Offer, ...] = ()
    alternatives: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """All that has to be said of it."""
        known = self.job and self.quote.credits is not None
        priced = f"{self.recommended_model or self.task} costs {self.quote.said}." if known else ""
        return tuple(filter(None, (self.read, priced, self.quote.note if self.job else "", *self.reasons)))


def plan(
    intent: str,
    listing: Listing,
    *,
    task: str = "",
    has_local_files: bool = False,
    has_video_reference: bool = False,
    can_cut: bool = True,
) -> Plan:
    """A plan for `intent`.

    Args:
        task: Any name of a kind of work (see `tasks_named`); without it, only unmistakable words decide.
        has_local_files: The user has pictures or sounds that should go in.
        has_video_reference: The user has a video that should be changed or followed.
        can_cut: Whether `trim_video` works here.

    Raises:
        InvalidArgumentError: The intent is empty or longer than 4,000 characters, or `task` names no kind of work.
    """
    if not intent.strip():
        raise InvalidArgumentError("intent", "is empty.", next_step="Say in a sentence what should be made.")
    if len(intent) > LONGEST_INTENT:
        raise InvalidArgumentError("intent", f"has {len(intent)} characters; at most {LONGEST_INTENT} are allowed.")
    understood = read_intent(intent)
    named = known_tasks("task", task, listing) if task.strip() else understood.tasks
    inputs = _inputs(understood, has_local_files, has_video_reference)
    meant = _meant(named, inputs, asked=bool(task.strip()))
    if len(meant) != 1:
        lines = kinds_of_work()
        return Plan(None, (_WHICH,), tasks={name: lines[name] for name in meant or lines}, read=_read(understood, None))
    (kind,) = meant
    if kind == TRIM:
        return _trim(understood)
    return _planned(kind, intent, understood, _narrowed(intent, kind, listing), inputs, can_cut)


def _inputs(intent: Intent, has_local_files: bool, has_video_reference: bool) -> tuple[InputKind, ...]:
    """The files that go in, as far as flags, file names and numbers tell."""
    files: list[InputKind] = list(intent.files) or ["image"] * (intent.own_pictures or int(has_local_files))
    if has_video_reference and "video" not in files:
        files.append("video")
    return tuple(files)


def _meant(named: Sequence[str], inputs: Sequence[InputKind], *, asked: bool) -> tuple[str, ...]:
    """Of the kinds of work that a word names, the one that goes with the files; a clip to be changed is no picture."""
    if len(named) < 2:
        return tuple(named)
    if not asked and "video" in inputs and "text-to-image" in named:
        return ()
    fitting = [task for task in named if task.startswith("text-to-") != bool(inputs)]
    return tuple(fitting) if len(fitting) == 1 else tuple(named)


def _narrowed(text: str, task: str, listing: Listing) -> Listing:
    """The listing, narrowed to the models that the user names."""
    named = named_models(text, [model for model in listing.models if does_task(model, task)])
    return replace(listing, models=named) if named else listing


def _planned(
    task: str, text: str, intent: Intent, listing: Listing, inputs: tuple[InputKind, ...], can_cut: bool
) -> Plan:
    operation, seen = tasks()[task], task in media.TASKS
    needs = Needs(
        task=task,
        inputs=_going_in(task, operation, intent, inputs),
        aspect_ratio=intent.ratio if seen else None,
        duration=min(intent.seconds, LONGEST_SECONDS) if intent.seconds and task not in _NO_LENGTH else None,
        sound=intent.sound if task.endswith("-video") else None,
        resolution=intent.resolution if seen else None,
        max_credits=intent.max_credits,
        count=max(intent.count, 0 if seen else intent.own_pictures or len(intent.files)),
        languages=intent.languages if task == "dubbing" else (),
    )
    choice = pick(listing, needs)
    needs = choice.needs
    best = recommended(choice, exactly_named(text, listing.models))
    uploads = bool(needs.inputs) or (bool(operation.files) and not seen and task != "sound")
    ratio = needs.aspect_ratio or _usual_ratio(best, needs)
    found = Plan(
        task,
        (),
        skills_to_fetch=tuple(name for name in _SKILLS if uploads or name != "media-upload"),
        requires_upload=uploads,
        suggested_aspect_ratio=ratio,
        count=needs.count,
        read=_read(intent, needs),
        reasons=tuple(_covers(task, text, intent, needs)),
    )
    if best:
        return replace(
            found,
            recommended_model=best.model.id,
            quote=best.quote,
            job=described(best, needs),
            workflow_steps=tuple(_steps(operation, best, needs, ratio, uploads)),
            reasons=(*_why(choice, best), *found.reasons),
            alternatives=tuple(held.model.id for held in choice.ranked if held != best)[:5],
        )
    if not choice.rejected and operation.model:
        return _uncatalogued(found, operation, needs, listing)
    made = offers(listing, needs, can_cut=can_cut)
    step = "Offer the user these with their prices; then make the calls of the one that is chosen."
    return replace(
        found,
        offers=made,
        workflow_steps=(step,) if made else (f"Tell the user: {choice.summary}",),
        reasons=(choice.summary, *found.reasons),
    )


def _uncatalogued(found: Plan, operation: Operation, needs: Needs, listing: Listing) -> Plan:
    """The catalogue has no row for this work; whether the API does it, and for how much, shows when it is called."""
    job = Described(operation.model, video_seconds=needs.seconds, count=needs.count)
    model = operation.model if "model" in operation.route.fields or operation.files else None
    quote = operation.quote(listing, job)
    return replace(
        found,
        recommended_model=None if operation.job == "ad_copy" else model,
        quote=quote,
        job=job,
        workflow_steps=tuple(_steps(operation, None, needs, None, found.requires_upload)),
    )


def _going_in(task: str, operation: Operation, intent: Intent, inputs: tuple[InputKind, ...]) -> tuple[InputKind, ...]:
    """What is known of the files that go into this kind of work."""
    if task.startswith("text-to-"):
        return ()
    if task in media.TASKS:
        return inputs
    kinds = {kind for kinds in operation.files.values() for kind in kinds}
    return tuple(dict.fromkeys(intent.files or (kind for kind in inputs if kind in kinds)))


_NO_LENGTH = {
    "text-to-music": f"The engine chooses the length; generate_sound with {sound.MUSIC} takes one (instrumental).",
    "text-to-dialogue": "The length follows from the text.",
}
_SPOKEN_OF = ("captions", "dubbing", "separation", "remove-background", "text-to-music", "text-to-dialogue")


def _covers(task: str, text: str, intent: Intent, needs: Needs) -> list[str]:
    """What the user may take for granted and does not get by this plan alone."""
    said = []
    if intent.seconds and task in _NO_LENGTH:
        said.append(_NO_LENGTH[task])
    if intent.seconds and intent.seconds > LONGEST_SECONDS:
        said.append(f"Only {LONGEST_SECONDS} s are planned here.")
    if task == "image-to-image":
        said.append("The picture is drawn anew, larger too; details can change.")
    if task == "image-to-video" and "video" in needs.inputs:
        said.append("A new clip is made that follows the user's; nothing here mends a clip in place.")
    if task == "captions" and intent.languages:
        said.append("Captions are in the language spoken; for another one, dub first.")
    if task == "dubbing" and not intent.languages:
        said.append("Priced for one language; each is paid.")
    if task == "sound":
        said.append(
            "The model named makes effects; for music take one whose id says music, for both one that says sound."
        )
    words = re.findall(r"[a-z]+(?:-[a-z]+)*", text.lower())
    others = dict.fromkeys(other for word in words for other in tasks_named(word) if other in _SPOKEN_OF)
    rest = [other for other in others if other != task]
    one_thing = task not in media.TASKS and "prompt" not in tasks()[task].names
    if rest or one_thing:
        more = " and ".join(rest) if rest else f"the rest of the wish{_rest_of(text)}, if there is any"
        said.append(f"This covers only {kinds_of_work()[task].partition(';')[0]}; call plan again for {more}.")
    return said


def _rest_of(text: str) -> str:
    """The second clause of a wish, if it is one."""
    clauses = [clause.split() for clause in re.split(r"\b(?:and|then|und|y|et)\b|[,;.]\s", text)[1:]]
    longest = max(clauses, key=len, default=[])
    return f" ({quoted(' '.join(longest), 60)})" if len(longest) > 2 else ""


def _why(choice: Choice, best: Candidate) -> list[str]:
    cheapest = choice.chosen
    least = cheapest.quote.credits if cheapest else None
    if cheapest and least is not None and best.quote.credits is not None and least < best.quote.credits:
        return [f"The cheapest that fits is {cheapest.model.id} ({spoken(least)})."]
    return []


def _read(intent: Intent, needs: Needs | None) -> str:
    """What was taken from the sentence, so that a mistake shows."""
    told = [
        f"{needs.count if needs else intent.count} result{'s' if (needs.count if needs else intent.count) > 1 else ''}",
        *(f"a {_THING[kind]}" for kind in intent.files),
        intent.ratio,
        f"{intent.seconds} s" if intent.seconds else None,
        {True: "with sound", False: "without sound", None: None}[intent.sound],
        intent.resolution,
        f"at most {spoken(intent.max_credits)}" if intent.max_credits is not None else None,
        f"languages {', '.join(intent.languages)}" if intent.languages else None,
    ]
    unread = f" Numbers not used: {', '.join(intent.unread[:5])}." if intent.unread else ""
    return f"Read from the words are {', '.join(filter(None, told))}.{unread}"


def _usual_ratio(best: Candidate | None, needs: Needs) -> str | None:
    """What goes with inputs keeps their shape where the model can; else video is wide and pictures are square."""
    if best is None or not best.model.ratios:
        return None
    if needs.inputs:
        return next((ratio for ratio in best.model.ratios if ratio.lower() in ("auto", "adaptive")), None)
    usual = "16:9" if best.model.type == "video" else "1:1"
    return usual if usual in best.model.ratios else best.model.ratios[0]


def _steps(operation: Operation, best: Candidate | None, needs: Needs, ratio: str | None, uploads: bool) -> list[str]:
    """The calls that make `needs.count` results. The paid one is its own quote, so that nothing is asked for twice."""
    steps = []
    if uploads:
        kinds = needs.inputs or tuple(dict.fromkeys(kind for kinds in operation.files.values() for kind in kinds))
        joined = (" and the " if needs.inputs else " or ").join(_THING[kind] for kind in kinds)
        steps.append(f"Ask for the {joined} if it is not there yet: a local path or an https URL.")
    named: list[tuple[str, object]] = []
    most = {"media": MAX_VARIANTS, "ad_copy": ad_copy.MAX_VARIANTS}.get(operation.job, 1)
    variants = needs.count if 1 < needs.count <= most else None
    if best and best.request:
        sizing = ("generation_type", "duration", "resolution", "sound")
        named = [("model", best.model.id), *((name, getattr(best.request, name)) for name in sizing)]
        named.append(("aspect_ratio", ratio))
    elif best and "model" in operation.route.fields:
        length = needs.duration if operation.job == "sound" and "video" not in needs.inputs else None
        named = [("model", best.model.id), ("duration", length), ("languages", list(needs.languages) or None)]
    named.append(("variant_count", variants))
    inputs = f", source_media_urls=[{', '.join(needs.inputs)}]" if operation.core and needs.inputs else ""
    names = operation.names
    if operation.job == "sound" and "video" not in needs.inputs:
        names = "prompt"
    elif needs.languages:
        names = names.replace(", languages", "")
    settings = "".join(f", {name}={value!r}" for name, value in named if value is not None)
    again = _repeated(operation, needs.count, variants)
    steps += [f"{operation.name}({names}{settings}{inputs}){again}.", _WAIT]
    if needs.task.endswith("image"):
        steps.append("view_media(output_id): look at the result before offering changes.")
    return steps


def _repeated(operation: Operation, count: int, variants: int | None) -> str:
    """The same call twice is one job, so that whoever wants more has to change something."""
    if count == 1 or variants:
        return ""
    if operation.core:
        return f", {count} in all: variant_count up to {MAX_VARIANTS} a call, each call with another seed"
    return f", {count} times, each with {'a file' if operation.files else 'words'} of its own"


def _trim(intent: Intent) -> Plan:
    """Trimming is local and free."""
    return Plan(
        TRIM,
        ("Ask which part to keep.", "trim_video(source_url, start_s, end_s): cut on this machine, free."),
        requires_upload=True,
        count=intent.count,
        quote=Quote(0.0, "catalogue"),
        read=_read(intent, None),
    )
