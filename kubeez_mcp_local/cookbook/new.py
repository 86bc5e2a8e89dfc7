"""Starts a recipe: a small one that works as it is, with every part explained by its own words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kubeez_mcp_local.errors import InvalidArgumentError

if TYPE_CHECKING:
    from pathlib import Path

_NAME = re.compile(r"[a-z0-9](?:-?[a-z0-9])*\Z")
_STARTER = """---
name: {name}
title: {title}
description: One picture of one subject, in the style you name.
version: 1
tags: [image]
arguments:
  subject:
    description: What the picture shows, in one or two sentences
    required: true
    max_length: 1000
  style:
    description: How it looks
    choices: [photograph, watercolour, flat illustration]
    default: photograph
  aspect_ratio:
    description: Frame of the picture
    type: ratio
    choices: ["1:1", "4:5", "16:9"]
    default: "1:1"
  max_credits:
    description: Ceiling for the whole recipe, in credits
    type: integer
    minimum: 1
    maximum: 200
    default: 20
budget: "{{{{ max_credits }}}}"
tools: [estimate, generate_media, wait_for_generation, view_media]
steps:
  - id: picture
    tool: generate_media
    with:
      model: nano-banana-2
      aspect_ratio: "{{{{ args.aspect_ratio }}}}"
      prompt: "{{{{ args.subject | sentence }}}} Style: {{{{ args.style }}}}. No text, no watermark."
expect:
  files: 1
  count: 1
  ratio: "{{{{ args.aspect_ratio }}}}"
  credits: 20
  with:
    subject: A lighthouse on a rocky coast at dawn
---
Make one picture for me.

**Subject:** {{{{ subject }}}}
**Style:** {{{{ style }}}}, framed {{{{ aspect_ratio }}}}.

1. Write the prompt: subject, setting, light, framing, mood. Show it to me.
2. Price it with `estimate` and wait for my yes.
3. Make it with `generate_media`, wait with `wait_for_generation`, and look at it with `view_media`.
4. Show me the file. Say in one sentence what you would change, with the price of another try.
"""


def check_name(name: str) -> str:
    """`name`, if a recipe can have it.

    Raises:
        InvalidArgumentError: It cannot.
    """
    if not _NAME.match(name) or len(name) > 64:
        raise InvalidArgumentError("name", f"{name!r}: use up to 64 lower-case letters, digits and single hyphens")
    return name


def starter(name: str, title: str = "") -> str:
    """The text of a new recipe called `name`.

    Raises:
        InvalidArgumentError: The name is not one a recipe can have.
    """
    words = " ".join(title.split())[:80] or name.replace("-", " ").capitalize()
    return _STARTER.format(name=check_name(name), title=_quoted(words))


def write_starter(folder: Path, name: str, title: str = "") -> Path:
    """Write a new recipe into `folder`; an existing file is never replaced.

    Raises:
        InvalidArgumentError: The name is not allowed or taken, or the folder cannot be written to.
    """
    return write_recipe(folder, name, starter(name, title))


def write_recipe(folder: Path, name: str, text: str) -> Path:
    """Write the text of a recipe as a new file.

    Raises:
        InvalidArgumentError: The name is taken, or the folder cannot be written to.
    """
    path = folder / f"{name}.md"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise InvalidArgumentError("name", f"{path} is there already; choose another name") from None
    except OSError as error:
        raise InvalidArgumentError("folder", f"{folder} cannot be written to: {error.strerror}") from None
    return path


def _quoted(text: str) -> str:
    """Text as a YAML scalar that means just itself."""
    import json

    return (
        text if re.fullmatch(r"[A-Za-z][A-Za-z0-9 ,.()-]*", text) and text.lower() not in _WORDS else json.dumps(text)
    )


_WORDS = ("true", "false", "null", "yes", "no")
