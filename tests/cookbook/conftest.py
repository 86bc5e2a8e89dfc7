"""A plain recipe for the tests to read, change and break."""

from __future__ import annotations

import pytest

PLAIN = """---
name: plain
title: A plain recipe
description: One picture of one thing.
version: 2
tags: [image]
arguments:
  subject: {description: What is shown, required: true, max_length: 100}
  aspect_ratio: {description: Frame, type: ratio, choices: ["1:1", "16:9"], default: "1:1"}
  max_credits: {description: Ceiling, type: integer, minimum: 1, maximum: 500, default: 60}
budget: "{{ max_credits }}"
tools: [estimate, generate_media, wait_for_generation]
steps:
  - id: hero
    tool: generate_media
    with: {model: nano-banana-2, prompt: "A picture of {{ args.subject }}", aspect_ratio: "{{ args.aspect_ratio }}"}
---
Make a picture of {{ subject }} in {{ aspect_ratio }}.
"""


@pytest.fixture
def plain() -> str:
    """The text of a sound recipe called `plain`."""
    return PLAIN
