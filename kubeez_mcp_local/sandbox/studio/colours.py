"""The colours of a scene."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

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
