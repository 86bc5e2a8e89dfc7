"""`plan`: from a wish to a model, a price and the steps. Deterministic; asks no model and spends nothing."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from kubeez_mcp_local.catalogue.prices import Quote, rate_of, unknown_quote
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
from kubeez_mcp_local.planning.offers import THING, After, Offer, Step, cheaper, joinable, offers
from kubeez_mcp_local.planning.pick import LONGEST_SECONDS, Needs, described, pick, recommended
from kubeez_mcp_local.text import amount, quoted, spoken

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kubeez_mcp_local.catalogue.listing import Listing
    from kubeez_mcp_local.catalogue.models import InputKind
    from kubeez_mcp_local.operations import Operation
    from kubeez_mcp_local.planning.intent import Intent
    from kubeez_mcp_local.planning.pick import Candidate, Choice

LONGEST_INTENT = 4000
_SKILLS = ("model-selection", "billing-confirmation", "media-upload", "polling")
_WAIT = "wait_for_generation(id): saves the files, returns their paths."
_WHICH = "It is open which work is meant: call plan again with task= one of these, or another of pick_model's."
_MOST_ASKED = 5
_USUAL_WORK: dict[InputKind | None, tuple[str, ...]] = {
    None: ("text-to-image", "text-to-video", "text-to-music", "text-to-dialogue", "sound"),
    "image": ("image-to-image", "image-to-video", "remove-background", "ad-copy"),
    "video": ("captions", "dubbing", "sound", TRIM, "image-to-video"),
    "audio": ("separation", "image-to-video"),
}
_NOT_HERE = "Not possible: nothing here mends a clip in place. The nearest is a new clip."


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
    if understood.mends and (not named or "image-to-video" in named):
        return _not_here(listing)
    if len(meant) != 1:
        loose = has_local_files and not understood.files
        possible = meant or _possible(understood, inputs, loose=loose)
        return Plan(None, (_WHICH,), tasks={name: _line(name, listing, inputs) for name in possible})
    (kind,) = meant
    if kind == TRIM:
        return _trim(understood)
    return _planned(kind, intent, understood, _narrowed(intent, kind, listing), inputs, can_cut)


def _possible(intent: Intent, inputs: Sequence[InputKind], *, loose: bool) -> tuple[str, ...]:
    """Two to five kinds of work: those that the words speak of, of them those that take the files; then the usual ones.

    Args:
        loose: It is not known whether the files are pictures or recordings.
    """
    kinds = {*inputs, *(["audio"] if loose else [])}
    spoken_of = [task for name in intent.likely for task in tasks_named(name)]
    usual = [task for kind in (inputs or (None,)) for task in _USUAL_WORK[kind]]
    takes = {TRIM: {"video"}, **{task: _taken(task, operation) for task, operation in tasks().items()}}
    fitting = [task for task in spoken_of if not kinds or kinds & takes[task] or not takes[task]]
    fitting = [task for task in fitting if not (kinds and task.startswith(("text-to-image", "text-to-video")))]
    enough = fitting if len(set(fitting)) > 1 else [*fitting, *usual]
    return tuple(dict.fromkeys(enough))[:_MOST_ASKED]


def _taken(task: str, operation: Operation) -> set[str]:
    """Kinds of the files that this work may begin with."""
    if task in media.TASKS:
        return {"image-to-video": {"image", "video", "audio"}, "image-to-image": {"image"}}.get(task, set())
    return {kind for kinds in operation.files.values() for kind in kinds}


def _line(task: str, listing: Listing, inputs: Sequence[InputKind]) -> str:
    """What a kind of work makes, and what the cheapest of it costs."""
    makes = re.split(r"[:;]", kinds_of_work()[task])[0]
    if inputs and ", or one that" in makes:
        pictures, clip = makes.split(", or ")
        makes = clip if "video" in inputs else pictures
    if task == TRIM:
        return makes
    going_in = tuple(kind for kind in inputs if task == "image-to-video" or kind == "image")
    best = pick(listing, Needs(task, inputs=going_in if task.startswith("image-to-") else ())).chosen
    if best and best.quote.credits is not None:
        return f"{makes}, from {spoken(best.quote.credits)}"
    rate = rate_of(best.model) if best else None
    return f"{makes}, {amount(rate.per_second * 60)} credits a minute" if rate else makes


def _not_here(listing: Listing) -> Plan:
    """A clip of the user that is to be changed in place: the honest answer, and what comes nearest."""
    made = []
    nearest: dict[InputKind, str] = {"video": "a new clip that follows the user's", "image": "a new clip from a still"}
    for kind, words in nearest.items():
        choice = pick(listing, Needs("image-to-video", inputs=(kind,)))
        best = recommended(choice) if kind == "video" else choice.chosen
        if best:
            step = Step(
                "generate_media",
                {"model": best.model.id, "generation_type": "image-to-video"},
                best.quote.credits,
                exact=best.quote.exact,
                inputs=(kind,),
            )
            made.append(Offer(("in place",), f"{words}: {step.says}", best.quote.credits, (step,)))
    honest = "Tell the user that it cannot be done here; make a new clip only if they want one."
    return Plan(None, (honest,), reasons=(_NOT_HERE,), offers=tuple(made))


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
    seconds, parts_of_film = intent.seconds, intent.joined and task.endswith("-video") and intent.count > 1
    if seconds and intent.in_all and intent.count > 1:
        seconds = math.ceil(seconds / intent.count)
    then = _afterwards(task, text, intent, listing, joined=parts_of_film)
    after = then(intent.seconds if intent.in_all or not parts_of_film else seconds and seconds * intent.count)
    needs = Needs(
        task=task,
        inputs=_going_in(task, operation, intent, inputs),
        aspect_ratio=intent.ratio if seen else None,
        duration=min(seconds, LONGEST_SECONDS) if seconds and task not in _NO_LENGTH else None,
        sound=(intent.sound if intent.sound is not None else bool(after) or None) if task.endswith("-video") else None,
        resolution=intent.resolution if seen else None,
        max_credits=_left(intent.max_credits, after),
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
        reasons=tuple(_covers(task, text, intent, needs, [step.tool for step in after])),
    )
    if best:
        return replace(
            found,
            recommended_model=best.model.id,
            quote=best.quote,
            job=described(best, needs),
            workflow_steps=(
                *_steps(operation, best, needs, ratio, uploads, apart=parts_of_film),
                *_then(needs, intent, after, apart=parts_of_film, can_cut=can_cut),
            ),
            reasons=(
                *_in_all(best.quote, after),
                *_why(choice, best),
                *([] if after or parts_of_film else _cheaper(listing, choice, best, can_cut)),
                *found.reasons,
            ),
            alternatives=tuple(held.model.id for held in choice.ranked if held != best)[:5],
        )
    if not choice.rejected and operation.model:
        return _uncatalogued(found, operation, needs, listing)
    made = offers(
        listing,
        replace(needs, max_credits=intent.max_credits),
        can_cut=can_cut,
        joined=parts_of_film,
        after=then,
        spoken_in=bool(after),
    )
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


def _afterwards(task: str, text: str, intent: Intent, listing: Listing, *, joined: bool) -> After:
    """What is done with a new clip then, by the seconds that it lasts. All of it needs speech in the clip."""
    named = {other for word in _words(text) for other in tasks_named(word)} if task.endswith("-video") else set()
    times = 1 if joined else intent.count

    def step(name: str, seconds: int | None) -> Step:
        operation, languages = tasks()[name], intent.languages if name == "dubbing" else ()
        job = Described(operation.model, video_seconds=seconds, languages=max(len(languages), 1), count=times)
        quote = operation.quote(listing, job)
        said = {"languages": list(languages)} if languages else {}
        return Step(operation.name, said, quote.credits, times, quote.exact, inputs=("video",), seconds=seconds)

    return lambda seconds: tuple(step(name, seconds) for name in ("dubbing", "captions") if name in named)


def _left(budget: float | None, after: Sequence[Step]) -> float | None:
    """What a budget leaves for the clip itself."""
    return None if budget is None else max(0.0, budget - sum(step.credits or 0 for step in after))


def _then(needs: Needs, intent: Intent, after: Sequence[Step], *, apart: bool, can_cut: bool) -> Iterator[str]:
    """The calls that make one film of the clips, and what is done with it."""
    if apart and can_cut and joinable(needs.count, needs.count * (needs.seconds or 0)):
        over = needs.count * (needs.seconds or 0) - (intent.seconds or 0) if intent.in_all else 0
        if over:
            yield f"trim_video: cut {over} s of the last clip (free)."
        yield "join_videos(source_urls): one film of them, on this machine (free)."
    for step in after:
        yield f"{step.says}, with the finished film."


def _in_all(quote: Quote, after: Sequence[Step]) -> Iterator[str]:
    if not after:
        return
    prices = [quote.credits, *(step.credits for step in after)]
    if all(price is not None for price in prices):
        exact = quote.exact and all(step.exact for step in after)
        total = spoken(sum(price or 0 for price in prices))
        yield f"With {' and '.join(step.says for step in after)} {'' if exact else 'about '}{total} in all."


_NO_LENGTH = {
    "text-to-music": f"The engine chooses the length; generate_sound with {sound.MUSIC} takes one (instrumental).",
    "text-to-dialogue": "The length follows from the text.",
}
_SPOKEN_OF = ("captions", "dubbing", "separation", "remove-background", "text-to-music", "text-to-dialogue")


def _covers(task: str, text: str, intent: Intent, needs: Needs, after: Sequence[str] = ()) -> list[str]:
    """What the user may take for granted and does not get by this plan alone; `after` are the tools it goes on with."""
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
    if after:
        said.append("Captions and dubbing need speech: write the words to be said into the prompt.")
    others = dict.fromkeys(other for word in _words(text) for other in tasks_named(word) if other in _SPOKEN_OF)
    rest = [other for other in others if other != task and tasks()[other].name not in after]
    one_thing = task not in media.TASKS and "prompt" not in tasks()[task].names
    if rest or one_thing:
        more = " and ".join(rest) if rest else f"the rest of the wish{_rest_of(text)}, if there is any"
        said.append(f"This covers only {kinds_of_work()[task].partition(';')[0]}; call plan again for {more}.")
    return said


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]+(?:-[a-z]+)*", text.lower())


def _rest_of(text: str) -> str:
    """The second clause of a wish, if it is one."""
    clauses = [clause.split() for clause in re.split(r"\b(?:and|then|und|y|et)\b|[,;.]\s", text)[1:]]
    longest = max(clauses, key=len, default=[])
    return f" ({quoted(' '.join(longest), 60)})" if len(longest) > 2 else ""


def _why(choice: Choice, best: Candidate) -> list[str]:
    cheapest = choice.chosen
    least = cheapest.quote.credits if cheapest else None
    if cheapest and least is not None and best.quote.credits is not None and least < best.quote.credits:
        return [f"The cheapest that fits is {cheapest.model.id} ({spoken(least)}); for it put its id into the step."]
    return []


def _cheaper(listing: Listing, choice: Choice, best: Candidate, can_cut: bool) -> list[str]:
    offer = cheaper(listing, choice, can_cut=can_cut)
    price = best.quote.credits
    return [f"Cheaper: {offer.says}."] if offer and offer.credits is not None and (price or 0) > offer.credits else []


def _read(intent: Intent, needs: Needs | None) -> str:
    """What was taken from the sentence, so that a mistake shows."""
    told = [
        f"{needs.count if needs else intent.count} result{'s' if (needs.count if needs else intent.count) > 1 else ''}",
        *(f"a {THING[kind]}" for kind in intent.files),
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


def _steps(
    operation: Operation,
    best: Candidate | None,
    needs: Needs,
    ratio: str | None,
    uploads: bool,
    *,
    apart: bool = False,
) -> list[str]:
    """The calls that make `needs.count` results, `apart`: with a prompt each. The paid one is its own quote, so that
    nothing is asked for twice."""
    steps = []
    if uploads:
        kinds = needs.inputs or tuple(dict.fromkeys(kind for kinds in operation.files.values() for kind in kinds))
        joined = (" and the " if needs.inputs else " or ").join(THING[kind] for kind in kinds)
        steps.append(f"Ask for the {joined} if it is not there yet: a local path or an https URL.")
    named: list[tuple[str, object]] = []
    most = {"media": MAX_VARIANTS, "ad_copy": ad_copy.MAX_VARIANTS}.get(operation.job, 1)
    variants = needs.count if 1 < needs.count <= most and not apart else None
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
    again = f", {needs.count} times: one call for each prompt" if apart else _repeated(operation, needs.count, variants)
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
