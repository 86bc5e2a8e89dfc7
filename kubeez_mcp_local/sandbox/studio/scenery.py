"""Seeded abstract landscapes: a sky of two or three colours, a light in it, and ridges before it."""

from __future__ import annotations

import colorsys
import hashlib
import math
import random

from PIL import Image, ImageChops, ImageDraw, ImageFilter

_SKETCH = 320
Colour = tuple[int, int, int]


def scene(seed: int, prompt: str, size: tuple[int, int]) -> Image.Image:
    """A composition of that size in pixels; the same seed and prompt give the same one."""
    rng = random.Random(hashlib.sha256(f"{seed}\n{prompt}".encode()).digest())  # noqa: S311 - a picture
    palette = _palette(rng)
    scale = _SKETCH / max(size)
    sketch = _sky(rng, palette, (max(8, round(size[0] * scale)), max(8, round(size[1] * scale))))
    canvas = sketch.resize(size, Image.Resampling.BICUBIC)
    _ridges(rng, palette, canvas)
    return canvas


def _palette(rng: random.Random) -> list[Colour]:
    """Dark, middle, light and accent of one mood."""
    hue = rng.random()
    turn = rng.choice((0.08, 0.12, -0.1, 0.42))
    plan = ((hue, 0.62, 0.22), (hue + turn, 0.58, 0.56), (hue + 2 * turn, 0.42, 0.92), (hue + 0.5 + turn, 0.6, 0.98))
    return [_colour(*tone) for tone in plan]


def _colour(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def _sky(rng: random.Random, palette: list[Colour], size: tuple[int, int]) -> Image.Image:
    """Soft gradients with one bright disc and a few drifting lights; drawn small, as everything in it is soft."""
    dark, middle, light, accent = palette
    down = Image.linear_gradient("L").resize(size)
    sky = Image.composite(Image.new("RGB", size, light), Image.new("RGB", size, middle), down)
    corner = Image.radial_gradient("L").resize((size[0] * 2, size[1] * 2))
    shift = rng.randrange(size[0]), rng.randrange(size[1])
    vignette = ImageChops.offset(corner, -shift[0], -shift[1]).crop((0, 0, *size)).point(lambda v: int(v * 0.45))
    sky = Image.composite(Image.new("RGB", size, dark), sky, vignette.filter(ImageFilter.GaussianBlur(12)))
    for _ in range(4):
        _glow(sky, rng, rng.choice((light, accent, middle)), (0.12, 0.4), 0.35)
    _glow(sky, rng, accent, (0.1, 0.16), 0.95, soft=0.12)
    return sky


def _glow(
    sky: Image.Image, rng: random.Random, colour: Colour, radii: tuple[float, float], strength: float, soft: float = 0.6
) -> None:
    width, height = sky.size
    radius = rng.uniform(*radii) * min(width, height)
    x, y = rng.uniform(0.15, 0.85) * width, rng.uniform(0.12, 0.5) * height
    mask = Image.new("L", sky.size, 0)
    ImageDraw.Draw(mask).ellipse((x - radius, y - radius, x + radius, y + radius), fill=round(255 * strength))
    sky.paste(colour, mask=mask.filter(ImageFilter.GaussianBlur(radius * soft)))


def _ridges(rng: random.Random, palette: list[Colour], canvas: Image.Image) -> None:
    """Layered hills, lighter with distance, crisp at full size."""
    dark, middle, light, _ = palette
    width, height = canvas.size
    draw = ImageDraw.Draw(canvas)
    layers = rng.choice((4, 5, 6))
    far = _mix(middle, light, 0.55)
    for layer in range(layers):
        nearness = layer / (layers - 1)
        base = height * (0.5 + 0.36 * nearness)
        waves = [
            (rng.uniform(0.6, 1.6) * (k + 1), rng.uniform(0, math.tau), rng.uniform(0.02, 0.075) / (k + 1))
            for k in range(4)
        ]
        step = max(2, width // 256)
        points = [
            (
                x,
                base
                + height * sum(size * math.sin(math.tau * turns * x / width + phase) for turns, phase, size in waves),
            )
            for x in range(0, width + step, step)
        ]
        draw.polygon([*points, (width, height), (0, height)], fill=_mix(far, dark, nearness))


def _mix(one: Colour, other: Colour, part: float) -> Colour:
    red, green, blue = (round(a + (b - a) * part) for a, b in zip(one, other, strict=True))
    return red, green, blue
