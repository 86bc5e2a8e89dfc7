"""What stands before the sky: hills, a sea or a skyline."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw

from kubeez_mcp_local.sandbox.studio.colours import mix

if TYPE_CHECKING:
    import random

    from kubeez_mcp_local.sandbox.studio.colours import Mood


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
