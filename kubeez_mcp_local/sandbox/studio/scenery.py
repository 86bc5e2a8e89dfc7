"""Seeded landscapes: a sky of two or three colours, a light in it, and something before it."""

from __future__ import annotations

import hashlib
import random

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from kubeez_mcp_local.sandbox.studio.colours import Colour, Mood, mood_of
from kubeez_mcp_local.sandbox.studio.motifs import hills, sea, skyline

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
        _glow(sky, rng, rng.choice((mood.light, mood.sun, mood.middle)))
    _sun(sky, rng, mood)
    return sky


def _glow(sky: Image.Image, rng: random.Random, colour: Colour) -> None:
    width, height = sky.size
    radius = rng.uniform(0.12, 0.4) * min(width, height)
    _disc(sky, colour, rng.uniform(0.1, 0.9) * width, rng.uniform(0.1, 0.5) * height, radius, 80, radius * 0.6)


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
