"""Sounds one can hear: seeded melodies, murmured speech, effects."""

from __future__ import annotations

import math
import random
import wave
from array import array
from fractions import Fraction
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kubeez_mcp_local.sandbox.books import Work

RATE = 22_050
_PENTATONIC = (0, 2, 4, 7, 9)
_LOUD = 9_000
_SECONDS_PER_LETTER = 0.06
_LONGEST_SPEECH = 60.0
_LONGEST_SOUND = 60.0


def sound_extension() -> str:
    """`mp3` where an encoder is installed, else `wav`."""
    return "mp3" if find_spec("av") else "wav"


def speech_seconds(text: str) -> float:
    """How long the murmured speech of a text is, in seconds."""
    return round(min(max(1.0, len(text) * _SECONDS_PER_LETTER), _LONGEST_SPEECH), 2)


def render(work: Work, target: Path, *, plain: bool = False) -> None:
    """Make the sound of a work, as WAV or MP3; a `plain` one is a single note and then silence."""
    samples = samples_of(work, plain=plain)
    if work.extension == "mp3":
        write_mp3(samples, target)
        return
    with wave.open(str(target), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(RATE)
        sound.writeframes(samples.tobytes())


def samples_of(work: Work, *, plain: bool = False) -> array[int]:
    """Mono 16-bit samples, of exactly the length asked for."""
    seconds = min(work.seconds or 5.0, _LONGEST_SOUND)
    rng = random.Random(work.seed)  # noqa: S311 - a tune
    if plain:
        parts = iter([_note(rng.choice((57, 60, 62, 64)), 300)])
    elif work.kind == "speech":
        parts = _speech(work.prompt, work.label)
    elif work.kind == "effect":
        parts = _effect(rng)
    elif work.kind == "instrumental":
        parts = _bass(rng)
    else:
        parts = _melody(rng)
    wanted = int(seconds * RATE)
    samples = array("h")
    for part in parts:
        samples.extend(part)
        if len(samples) >= wanted:
            break
    samples.extend([0] * (wanted - len(samples)))
    return samples[:wanted]


@lru_cache(maxsize=512)
def _note(midi: int, milliseconds: int, bass: int = 0) -> array[int]:
    """A plucked note, with another an octave or more below it."""
    count = RATE * milliseconds // 1000
    step = 2 * math.pi * _hertz(midi) / RATE
    low = 2 * math.pi * _hertz(bass) / RATE if bass else 0.0
    sin = math.sin
    fade = 4.0 / count
    return array(
        "h",
        (
            int(
                _LOUD
                * (
                    math.exp(-index * fade) * (0.7 * sin(step * index) + 0.3 * sin(2 * step * index))
                    + 0.5 * sin(low * index) * (1 - index / count)
                )
                * min(1.0, index / 120)
            )
            for index in range(count)
        ),
    )


def _hertz(midi: int) -> float:
    return 440.0 * 2 ** ((midi - 69) / 12)


def _melody(rng: random.Random) -> Iterator[array[int]]:
    root, beat = rng.choice((57, 60, 62, 64)), rng.choice((180, 220, 260))
    chords = rng.sample((0, 5, 7, 9, 4), 4)
    while True:
        for chord in chords:
            for _ in range(4):
                pitch = root + chord + rng.choice(_PENTATONIC) + rng.choice((0, 0, 12))
                yield _note(pitch, beat * rng.choice((1, 1, 2)), root + chord - 24)


def _bass(rng: random.Random) -> Iterator[array[int]]:
    while True:
        yield _note(rng.choice((33, 36, 38, 41)), 300)


def _effect(rng: random.Random) -> Iterator[array[int]]:
    while True:
        for midi in range(84, 40, -rng.choice((2, 3, 5))):
            yield _note(midi, 60)


def _speech(text: str, voices: str) -> Iterator[array[int]]:
    """Each word is a few murmured syllables at its voice's pitch; lines take turns."""
    pause = array("h", [0] * (RATE // 14))
    names = voices.split("\n")
    for number, line in enumerate(text.split("\n")):
        voice = names[number] if number < len(names) else names[-1]
        pitch = 45 + sum(voice.encode()) % 17
        for word in line.split():
            for syllable in range(0, len(word), 3):
                yield _note(pitch + (sum(word.encode()) + syllable) % 4, 110)
            yield pause
        yield pause
        yield pause


def write_mp3(samples: array[int], target: Path) -> None:
    """Write mono 16-bit samples as MP3."""
    import av

    with av.open(str(target), "w", format="mp3") as container:
        stream: Any = container.add_stream("libmp3lame", rate=RATE, layout="mono")
        stream.bit_rate = 96_000
        encode_sound(container, stream, samples)


def encode_sound(container: Any, stream: Any, samples: array[int]) -> None:
    """Put mono 16-bit samples into a stream of an open container."""
    import av

    whole = av.AudioFrame(format="s16", layout="mono", samples=len(samples))
    whole.sample_rate, whole.pts, whole.time_base = RATE, 0, Fraction(1, RATE)
    data = samples.tobytes()
    whole.planes[0].update(data + bytes(whole.planes[0].buffer_size - len(data)))
    stream.codec_context.open(strict=False)
    resampler = av.AudioResampler(
        format=stream.codec_context.format, layout="mono", rate=RATE, frame_size=stream.codec_context.frame_size
    )
    for frame in (*resampler.resample(whole), *resampler.resample(None)):
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
