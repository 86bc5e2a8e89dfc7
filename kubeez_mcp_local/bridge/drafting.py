"""Drafts of everything but images and video: checked against the catalogue, priced, inputs not yet uploaded."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from kubeez_mcp_local.bridge.orders import Draft
from kubeez_mcp_local.media.inputs import LocalInput
from kubeez_mcp_local.media.media_type import by_extension
from kubeez_mcp_local.rest.routes import ROUTES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from kubeez_mcp_local.bridge.lengths import Lengths
    from kubeez_mcp_local.bridge.orders import Input
    from kubeez_mcp_local.catalogue.ad_copy import AdCopyRequest
    from kubeez_mcp_local.catalogue.clips import DubbingRequest
    from kubeez_mcp_local.catalogue.music import MusicRequest
    from kubeez_mcp_local.catalogue.sound import SoundRequest
    from kubeez_mcp_local.catalogue.speech import DialogueRequest
    from kubeez_mcp_local.catalogue.store import Catalogue
    from kubeez_mcp_local.media.inputs import Inputs
    from kubeez_mcp_local.rest.routes import Route


class Drafting:
    """Makes drafts. Each method raises `InvalidArgumentError` when the request cannot work; nothing is charged.

    Args:
        catalogue: Models, limits and prices.
        inputs: Finds local files and URLs that go into a request.
        lengths: How long they are, for jobs billed by length.
        find_route: Makes sure that the API publishes an assumed route.
    """

    def __init__(
        self, catalogue: Catalogue, inputs: Inputs, lengths: Lengths, find_route: Callable[[Route], Awaitable[None]]
    ) -> None:
        self._catalogue = catalogue
        self._inputs = inputs
        self._lengths = lengths
        self._find_route = find_route

    async def music(self, request: MusicRequest) -> Draft:
        """Songs."""
        from kubeez_mcp_local.catalogue.music import check_music, quote_music

        listing = await self._catalogue.listing()
        checked = check_music(listing, request)
        fields = {name: getattr(checked, name) for name in ROUTES["generate_music"].fields}
        return Draft(
            route=ROUTES["generate_music"],
            body=fields,
            model=checked.model or "newest engine",
            quote=quote_music(listing, checked),
            prompt=checked.prompt or checked.song_description or checked.title or "",
            notes=checked.notes,
        )

    async def dialogue(self, request: DialogueRequest) -> Draft:
        """Speech."""
        from kubeez_mcp_local.catalogue.speech import MODEL_ID, check_dialogue, quote_dialogue, tag_note

        listing = await self._catalogue.listing()
        checked = check_dialogue(listing, request)
        lines = tuple(
            {name: value for name, value in (("text", line.text), ("voice", line.voice)) if value}
            for line in checked.lines
        )
        return Draft(
            route=ROUTES["generate_dialogue"],
            body={
                "dialogue": lines,
                "stability": checked.stability,
                "language_code": checked.language_code,
                "provider": None if checked.provider == "elevenlabs" else checked.provider,
            },
            model=MODEL_ID,
            quote=quote_dialogue(listing, checked),
            prompt="\n".join(line.text for line in checked.lines),
            generation_type="text-to-dialogue",
            notes=(note,) if (note := tag_note(checked)) else (),
        )

    async def ad_copy(self, request: AdCopyRequest) -> Draft:
        """Ads in the manner of a reference ad; both pictures are local paths or URLs."""
        from kubeez_mcp_local.catalogue.ad_copy import MODEL_ID, check_ad_copy, quote_ad_copy
        from kubeez_mcp_local.catalogue.refusals import verify_media_kind

        listing = await self._catalogue.listing()
        checked = check_ad_copy(listing, request)
        reference = await self._inputs.resolve(checked.reference_ad_url, argument="reference_ad_url")
        image = checked.product_image_url
        product = await self._inputs.resolve(image, argument="product_image_url") if image else None
        verify_media_kind("reference_ad_url", reference.kind, ("image", "video"))
        verify_media_kind("product_image_url", product.kind if product else None, ("image",))
        return Draft(
            route=ROUTES["create_ad_copy"],
            body={
                "reference_ad_url": reference,
                "product_image_url": product,
                "product_text": checked.product_text,
                "language": checked.language,
                "variant_count": checked.variant_count,
                "aspect_ratio": checked.aspect_ratio,
            },
            model=MODEL_ID,
            quote=quote_ad_copy(listing, checked),
            prompt=checked.product_text or "",
        )

    async def captions(self, media: str, *, quality: str, language: str | None) -> Draft:
        """A video with its words burned in."""
        from kubeez_mcp_local.catalogue.clips import CAPTION_MODEL, check_captions

        item, seconds = await self._file(media, "media_url")
        quality, language = check_captions(kind=item.kind, seconds=seconds, quality=quality, language=language)
        fields = {"media_url": item, "quality": quality, "language": language}
        return await self._by_length("captions", "generate_captions", fields, CAPTION_MODEL, seconds)

    async def separation(self, media: str) -> Draft:
        """Voice and accompaniment apart. The API takes its own uploads only.

        Raises:
            NotOfferedError: The API publishes no way to read the result, so it must not be paid for.
        """
        from kubeez_mcp_local.catalogue.clips import SEPARATION_MODEL, check_separation
        from kubeez_mcp_local.rest.failures import NotOfferedError
        from kubeez_mcp_local.rest.matching import not_offered

        item, seconds = await self._file(media, "media_url")
        check_separation(kind=item.kind)
        try:
            await self._find_route(ROUTES["separation_status"])
        except NotOfferedError as error:
            raise not_offered(ROUTES["generate_separation"], f"its result could not be read: {error.reason}") from None
        fields = {"media_url": item}
        return await self._by_length("separation", "generate_separation", fields, SEPARATION_MODEL, seconds)

    async def dubbing(self, video: str, request: DubbingRequest) -> Draft:
        """A video spoken in other languages."""
        from kubeez_mcp_local.catalogue.clips import check_dubbing

        item, seconds = await self._file(video, "video_url")
        checked = check_dubbing(request, kind=item.kind, seconds=seconds)
        fields = {
            "video_url": item,
            "languages": checked.languages,
            "model": checked.model,
            "source_language": checked.source_language,
            "cloning_strength": checked.cloning_strength,
            "ducking": checked.ducking,
        }
        return await self._by_length(
            "dubbing",
            "generate_dubbing",
            fields,
            checked.model,
            seconds,
            languages=len(checked.languages),
        )

    async def sound(self, request: SoundRequest, video: str | None) -> Draft:
        """Effects or a score, from text or for a clip."""
        from kubeez_mcp_local.catalogue.sound import check_sound

        item, seconds = await self._file(video, "video_url") if video else (None, None)
        checked = check_sound(
            replace(request, has_video=item is not None),
            video_kind=item.kind if item else None,
            video_seconds=seconds,
        )
        fields = {
            "model": checked.model,
            "prompt": checked.prompt,
            "video_url": item,
            "music_prompt": checked.music_prompt,
            "sfx_prompt": checked.sfx_prompt,
            "duration": checked.duration,
        }
        length = seconds if item else checked.duration
        prompt = checked.prompt or checked.music_prompt or checked.sfx_prompt or ""
        draft = await self._by_length("sound", "generate_sound", fields, checked.model, length)
        return replace(draft, prompt=prompt)

    async def background(self, image: str) -> Draft:
        """A picture's subject on a clear background."""
        from kubeez_mcp_local.catalogue.clips import BACKGROUND_MODEL, check_remove_background

        item = await self._inputs.resolve(image, argument="image_url")
        media_type = item.media_type if isinstance(item, LocalInput) else by_extension(urlsplit(item.url).path)
        check_remove_background(
            kind=item.kind,
            mime=media_type.mime if media_type else None,
            size=item.size if isinstance(item, LocalInput) else None,
        )
        return await self._by_length(
            "remove_background", "remove_background", {"image_url": item}, BACKGROUND_MODEL, None
        )

    async def _file(self, value: str, argument: str) -> tuple[Input, float | None]:
        item = await self._inputs.resolve(value, argument=argument)
        return item, await self._lengths.of(item)

    async def _by_length(
        self,
        job: Any,
        tool: str,
        fields: dict[str, Any],
        model: str,
        seconds: float | None,
        *,
        languages: int = 1,
    ) -> Draft:
        from kubeez_mcp_local.catalogue.job_quotes import quote_job

        listing = await self._catalogue.listing()
        quote = quote_job(job, listing, model_id=model, seconds=seconds, languages=languages)
        return Draft(route=ROUTES[tool], body=fields, model=model, quote=quote)
