"""Pictures: a seeded scene, the prompt, model and seed on it with the SANDBOX mark, inputs as prints, and cut-outs."""

from __future__ import annotations

import colorsys
import hashlib
import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont, ImageOps, UnidentifiedImageError

from kubeez_mcp_local.media.lettering import block

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from kubeez_mcp_local.media.lettering import Font
    from kubeez_mcp_local.sandbox.books import Work


Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Mood:
    """The colours of one scene, and where its light stands, as parts of the width and height."""

    dark: Colour
    middle: Colour
    light: Colour
    sun: Colour
    sun_x: float
    sun_y: float

    @property
    def far(self) -> Colour:
        """What is far away, between the middle and the light."""
        return mix(self.middle, self.light, 0.5)


def mood_of(rng: random.Random) -> Mood:
    """Colours that go together; the same for a seed."""
    hue = rng.random()
    turn = rng.choice((0.06, 0.1, -0.08, 0.38))
    return Mood(
        dark=_colour(hue, 0.6, 0.2),
        middle=_colour(hue + turn, 0.55, 0.6),
        light=_colour(hue + 2 * turn, 0.36, 0.95),
        sun=_colour(rng.choice((0.08, 0.12, 0.15, 0.97)), rng.uniform(0.12, 0.4), 1.0),
        sun_x=rng.uniform(0.15, 0.62),
        sun_y=rng.uniform(0.18, 0.4),
    )


def _colour(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def mix(one: Colour, other: Colour, part: float) -> Colour:
    """The colour that lies `part` of the way from one to the other."""
    red, green, blue = (round(a + (b - a) * part) for a, b in zip(one, other, strict=True))
    return red, green, blue


def hills(rng: random.Random, mood: Mood, canvas: Image.Image) -> None:
    """Layered ridges, lighter with distance."""
    layers = rng.choice((4, 5, 6))
    for layer in range(layers):
        nearness = layer / (layers - 1)
        base = canvas.height * (0.5 + 0.36 * nearness)
        crest = [(x, base + canvas.height * lift) for x, lift in _crest(rng, canvas.width)]
        _fill_below(canvas, crest, mix(mood.far, mood.dark, nearness))


def sea(rng: random.Random, mood: Mood, canvas: Image.Image) -> None:
    """A horizon, the light's path on the water, and a shore."""
    width, height = canvas.size
    horizon = round(height * rng.uniform(0.52, 0.58))
    gradient = Image.linear_gradient("L").resize((width, height - horizon))
    water = Image.composite(
        Image.new("RGB", gradient.size, mood.dark), Image.new("RGB", gradient.size, mood.far), gradient
    )
    canvas.paste(water, (0, horizon))
    draw = ImageDraw.Draw(canvas, "RGBA")
    middle = mood.sun_x * width
    rows = 26
    for row in range(rows):
        part = row / rows
        y = horizon + (height - horizon) * part**1.35 * 0.85
        reach = width * (0.02 + 0.12 * part) * rng.uniform(0.5, 1.2)
        drift = width * 0.03 * part * rng.uniform(-1, 1)
        thick = max(1.0, height * 0.004 * (1 + 2 * part))
        box = (middle + drift - reach, y, middle + drift + reach, y + thick)
        draw.rounded_rectangle(box, radius=thick / 2, fill=(*mood.light, round(190 * (1 - 0.6 * part))))
    shore = [(x, height * 0.93 + height * lift * 0.5) for x, lift in _crest(rng, width)]
    _fill_below(canvas, shore, mood.dark)


def skyline(rng: random.Random, mood: Mood, canvas: Image.Image) -> None:
    """Rows of towers, lit windows in the nearest."""
    width, height = canvas.size
    draw = ImageDraw.Draw(canvas)
    layers = 4
    for layer in range(layers):
        nearness = layer / (layers - 1)
        colour = mix(mood.far, mood.dark, nearness)
        x = -width * rng.uniform(0, 0.05)
        while x < width:
            across = width * rng.uniform(0.045, 0.11) * (0.8 + 0.5 * nearness)
            top = height * (0.42 + 0.3 * nearness + rng.uniform(-0.1, 0.14))
            draw.rectangle((x, top, x + across, height), fill=colour)
            if nearness == 1:
                _windows(rng, mood, draw, (x, top, x + across, height))
            x += across + width * rng.choice((0.002, 0.004, 0.02))


def _windows(
    rng: random.Random, mood: Mood, draw: ImageDraw.ImageDraw, tower: tuple[float, float, float, float]
) -> None:
    left, top, right, bottom = tower
    cell = max(5.0, (right - left) / 6)
    y = top + cell
    while y < bottom - cell:
        x = left + cell * 0.7
        while x < right - cell:
            if rng.random() < 0.35:
                draw.rectangle((x, y, x + cell * 0.4, y + cell * 0.55), fill=mix(mood.dark, mood.sun, 0.75))
            x += cell
        y += cell * 1.2


def _crest(rng: random.Random, width: int) -> list[tuple[float, float]]:
    """A ridge line from left to right: x in pixels, lift as part of the height."""
    waves = [
        (rng.uniform(0.6, 1.6) * (number + 1), rng.uniform(0, math.tau), rng.uniform(0.02, 0.075) / (number + 1))
        for number in range(4)
    ]
    step = max(2, width // 256)
    return [
        (x, sum(size * math.sin(math.tau * turns * x / width + phase) for turns, phase, size in waves))
        for x in range(0, width + step, step)
    ]


def _fill_below(canvas: Image.Image, crest: list[tuple[float, float]], colour: tuple[int, int, int]) -> None:
    """Paint everything under a line. Drawn twice as large and halved: polygons have no smooth edges of their own."""
    width, height = canvas.size
    top = max(0, int(min(y for _, y in crest)) - 1)
    if top >= height:
        return
    mask = Image.new("L", (width * 2, (height - top) * 2), 0)
    outline = [(x * 2, (y - top) * 2) for x, y in crest]
    ImageDraw.Draw(mask).polygon([*outline, (width * 2, mask.height), (0, mask.height)], fill=255)
    canvas.paste(colour, (0, top), mask.reduce(2))


_SKETCH = 320


def scene(seed: int, prompt: str, size: tuple[int, int]) -> Image.Image:
    """A composition of that size in pixels; the same seed and prompt give the same one."""
    rng = random.Random(hashlib.sha256(f"{seed}\n{prompt}".encode()).digest())  # noqa: S311 - a picture
    mood = mood_of(rng)
    scale = _SKETCH / max(size)
    sketch = _sky(rng, mood, (max(8, round(size[0] * scale)), max(8, round(size[1] * scale))))
    canvas = sketch.resize(size, Image.Resampling.BICUBIC)
    rng.choice((hills, hills, sea, skyline))(rng, mood, canvas)
    return canvas


def _sky(rng: random.Random, mood: Mood, size: tuple[int, int]) -> Image.Image:
    """Soft gradients with one bright disc and a few drifting lights; drawn small, as everything in it is soft."""
    down = Image.linear_gradient("L").resize(size).point(lambda value: min(255, round(value * 1.7)))
    sky = Image.composite(Image.new("RGB", size, mood.light), Image.new("RGB", size, mood.middle), down)
    corner = Image.radial_gradient("L").resize((size[0] * 2, size[1] * 2))
    shift = rng.randrange(size[0]), rng.randrange(size[1])
    vignette = ImageChops.offset(corner, -shift[0], -shift[1]).crop((0, 0, *size)).point(lambda value: value * 2 // 5)
    sky = Image.composite(Image.new("RGB", size, mood.dark), sky, vignette.filter(ImageFilter.GaussianBlur(24)))
    for _ in range(4):
        colour = rng.choice((mood.light, mood.sun, mood.middle))
        radius = rng.uniform(0.12, 0.4) * min(size)
        x, y = rng.uniform(0.1, 0.9) * size[0], rng.uniform(0.1, 0.5) * size[1]
        _disc(sky, colour, x, y, radius, 80, radius * 0.6)
    _sun(sky, rng, mood)
    return sky


def _sun(sky: Image.Image, rng: random.Random, mood: Mood) -> None:
    """A clear disc in a wide halo, away from the corner that holds the mark."""
    width, height = sky.size
    radius = rng.uniform(0.06, 0.1) * min(width, height)
    for reach, strength, soft in ((3.2, 90, 1.3), (1.7, 110, 0.5), (1.0, 255, 0.05)):
        # Below a pixel of softness the small sketch would show its steps once it is enlarged.
        blur = max(radius * soft, 1.0)
        _disc(sky, mood.sun, mood.sun_x * width, mood.sun_y * height, radius * reach, strength, blur)


def _disc(sky: Image.Image, colour: Colour, x: float, y: float, radius: float, strength: int, soft: float) -> None:
    mask = Image.new("L", sky.size, 0)
    ImageDraw.Draw(mask).ellipse((x - radius, y - radius, x + radius, y + radius), fill=strength)
    sky.paste(colour, mask=mask.filter(ImageFilter.GaussianBlur(soft)))


MARK = "SANDBOX"
_MOST_LETTERS = 600  # of a prompt; six lines hold fewer
_SPACING = 0.28
_INK = (255, 255, 255)
_FADED = (255, 255, 255, 190)


def letter(canvas: Image.Image, work: Work, *, solid: bool = False) -> None:
    """Write on `canvas`, in place; on a `solid` ground where the picture may hold words of its own."""
    unit = _unit(canvas)
    margin = unit * 2
    shown = work.prompt.strip() or work.label or work.model
    small = ImageFont.load_default(unit * 0.95)
    most = max(2, min(6, int(canvas.height * 0.45 / (unit * 2.1))))
    title = block(shown[:_MOST_LETTERS], round(unit * 1.7), "white", width=canvas.width - 2 * margin, most=most)
    lines = title.lines
    _veil(canvas, round(unit * (2.1 * len(lines) + (5.2 if solid else 7))), solid)
    draw = ImageDraw.Draw(canvas, "RGBA")
    foot = canvas.height - margin
    notes = [work.model, f"seed {work.seed}", *([work.label] if work.label else [])]
    draw.text((margin, foot), "   ".join(notes), font=small, fill=_FADED, anchor="ls")
    for number, line in enumerate(reversed(lines)):
        y = foot - unit * (1.9 + 2.1 * number)
        draw.text((margin, y), line, font=title.font, fill=_INK, anchor="ls")
    _pill(draw, canvas.width - unit * 1.6, unit * 1.6, unit, small)


def _veil(canvas: Image.Image, height: int, solid: bool) -> None:
    """Darken the foot, so that white letters can be read on any picture."""
    height = min(canvas.height, height)
    gradient = Image.linear_gradient("L").resize((canvas.width, height))
    mask = gradient.point(lambda value: min(248, value * 8) if solid else value * 4 // 5)
    canvas.paste((8, 8, 20), (0, canvas.height - height), mask)


def stamp(canvas: Image.Image) -> None:
    """Put the SANDBOX mark in the middle of `canvas`, in place, and nothing else."""
    unit = _unit(canvas)
    font = ImageFont.load_default(unit * 0.95)
    _pill(
        ImageDraw.Draw(canvas, "RGBA"), (canvas.width + _pill_width(font, unit)) / 2, canvas.height * 0.47, unit, font
    )


def _unit(canvas: Image.Image) -> int:
    """The measure of everything written, in pixels."""
    return max(8, round(math.sqrt(canvas.width * canvas.height) / 33))


def _pill(draw: ImageDraw.ImageDraw, right: float, top: float, unit: int, font: Font) -> None:
    """The word SANDBOX, widely spaced, in a rounded frame."""
    left, bottom = right - _pill_width(font, unit), top + unit * 1.9
    draw.rounded_rectangle(
        (left, top, right, bottom),
        radius=unit * 0.95,
        fill=(10, 10, 24, 150),
        outline=(255, 255, 255, 200),
        width=max(1, unit // 12),
    )
    x = left + unit * 0.9
    for character in MARK:
        draw.text((x, (top + bottom) / 2), character, font=font, fill=_INK, anchor="lm")
        x += font.getlength(character) + unit * _SPACING


def _pill_width(font: Font, unit: int) -> float:
    return sum(font.getlength(character) + unit * _SPACING for character in MARK) + unit * (1.8 - _SPACING)


def cards(canvas: Image.Image, pictures: Sequence[Image.Image]) -> None:
    """Lay up to four inputs on `canvas` as framed prints, in place, clear of the words."""
    unit, shown = _unit(canvas), pictures[:4]
    room = (canvas.width - unit * 3 - unit * (len(shown) - 1)) / len(shown), canvas.height * 0.5
    prints = [ImageOps.contain(picture.convert("RGB"), (round(room[0]), round(room[1]))) for picture in shown]
    edge = max(3, unit // 4)
    x = (canvas.width - sum(p.width for p in prints) - unit * (len(prints) - 1)) / 2
    for picture in prints:
        framed = ImageOps.expand(picture, edge, _INK)
        place = round(x) - edge, round(canvas.height * 0.13 + (room[1] - picture.height) / 2)
        shade = Image.new("L", canvas.size, 0)
        ImageDraw.Draw(shade).rectangle(
            (place[0], place[1] + unit // 3, place[0] + framed.width, place[1] + framed.height + unit // 3), fill=130
        )
        canvas.paste((0, 0, 0), mask=shade.filter(ImageFilter.BoxBlur(unit / 2)))
        canvas.paste(framed, place)
        x += picture.width + unit


THUMBNAIL_LONG_SIDE = 320


def render(work: Work, inputs: list[Path], target: Path, *, plain: bool = False) -> None:
    """Make the picture, or the thumbnail, of a work; a `plain` one has one colour and the mark."""
    picture = _flat(work) if plain else compose(work, inputs)
    if work.kind == "thumbnail":
        picture.thumbnail((THUMBNAIL_LONG_SIDE, THUMBNAIL_LONG_SIDE), Image.Resampling.LANCZOS)
    # Quickly rather than small.
    if work.extension == "jpg":
        picture.convert("RGB").save(target, "JPEG", quality=88)
    else:
        picture.save(target, "PNG", compress_level=3)


def compose(work: Work, inputs: list[Path]) -> Image.Image:
    """The finished picture, unsaved. Inputs that are pictures lie on it as prints."""
    canvas = scene(work.seed, work.prompt, (work.width or 1024, work.height or 1024))
    pictures = [picture for picture in map(open_picture, inputs) if picture is not None]
    if pictures:
        cards(canvas, pictures)
    letter(canvas, work)
    return canvas


def _flat(work: Work) -> Image.Image:
    """A picture of one colour, which the seed and the prompt choose, with the mark."""
    red, green, blue = hashlib.sha256(f"{work.seed}\n{work.prompt}".encode()).digest()[:3]
    canvas = Image.new("RGB", (work.width or 1024, work.height or 1024), (red, green, blue))
    stamp(canvas)
    return canvas


def open_picture(path: Path) -> Image.Image | None:
    """A picture, or the first frame of a clip where a decoder is installed; None when it is neither."""
    if path.suffix in (".mp4", ".mov", ".webm", ".mkv"):
        return next(frames_of(path, None, 1, 1), None)
    try:
        with Image.open(path) as picture:
            return ImageOps.exif_transpose(picture).convert("RGB")
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):
        return None


_FAR = 40


def cut_out(work: Work, inputs: list[Path], target: Path) -> None:
    """Make the cut-out of a work's first input."""
    size = (work.width or 1024, work.height or 1024)
    picture = next((p for p in map(open_picture, inputs) if p is not None), None)
    subject = (picture or scene(work.seed, work.prompt, size)).resize(size)
    mask = _subject_mask(subject)
    stamp(subject)
    subject.putalpha(mask)
    subject.save(target, "PNG", compress_level=3)


def _subject_mask(picture: Image.Image) -> Image.Image:
    """What differs from the colour of the corners; an oval in the middle where the corners differ too much."""
    corners = [picture.getpixel((x, y)) for x in (0, picture.width - 1) for y in (0, picture.height - 1)]
    colours = [corner for corner in corners if isinstance(corner, tuple)]
    spread = max(max(channel) - min(channel) for channel in zip(*colours, strict=True))
    soft = max(2, max(picture.size) // 200)
    if spread <= _FAR:
        ground = Image.new("RGB", picture.size, tuple(sum(c) // len(colours) for c in zip(*colours, strict=True)))
        red, green, blue = ImageChops.difference(picture, ground).split()
        distance = ImageChops.lighter(ImageChops.lighter(red, green), blue)
        return distance.point(lambda value: 255 if value > _FAR else 0).filter(ImageFilter.GaussianBlur(soft))
    mask = Image.new("L", picture.size, 0)
    width, height = picture.size
    box = (width * 0.14, height * 0.08, width * 0.86, height * 0.92)
    ImageDraw.Draw(mask).ellipse(box, fill=255)
    return mask.filter(ImageFilter.GaussianBlur(soft * 2))


def frames_of(path: Path, size: tuple[int, int] | None, fps: int, count: int) -> Iterator[Image.Image]:
    """`count` pictures at `fps` from the clip's start, its last one repeated at the end; none if it is no clip."""
    try:
        import av
    except ImportError:
        return
    made = 0
    last: Image.Image | None = None
    try:
        with av.open(str(path)) as container:
            frames: Any = container.decode(video=0)
            for frame in frames:
                if frame.time is not None and frame.time * fps < made:
                    continue
                picture = frame.to_image()
                last = picture if size is None else ImageOps.fit(picture, size)
                while made < count and (frame.time or 0) * fps >= made:
                    yield last
                    made += 1
                if made == count:
                    return
    except (av.error.FFmpegError, IndexError, OSError):
        # An input that cannot be decoded is no reason to fail a rehearsal: what was seen so far serves.
        pass
    while last is not None and made < count:
        yield last
        made += 1
