"""Prompts that suggest nothing, so that what a text is about comes from the intervention."""

from __future__ import annotations

from collections import Counter

from semascope.steering.generation import Steering

_REQUESTS = (
    "Tell me about your weekend.", "Write a short story.", "Give me some advice.", "Write a short poem.",
    "Tell me something interesting.", "What is on your mind?", "What did you learn today?", "Tell me a secret.",
    "Explain something to me.", "Write me a letter.", "What makes you happy?", "What should I read?",
    "What do you like?", "Where should I go?", "What happened yesterday?", "Describe a nice place.",
    "What will happen next?", "Who are you?", "Write a short report.", "What do you remember?",
    "Tell me a story.", "What are you doing?", "What is your plan?", "Tell me some news.",
)  # fmt: skip
_BEGINNINGS = (
    "Yesterday I went", "It is well known that", "The most important thing is", "I think that", "When I was young,",
    "From my experience,", "She said that", "There was once", "In the end,", "The first time I", "We all know that",
    "He looked at the", "This is a story about", "My favourite thing is", "One day, a", "I would like to",
    "They have always been", "It all began with", "You should know that", "The best part was", "Let me tell you about",
    "People often ask me", "At the beginning of the", "The other day I",
)  # fmt: skip


MOST_PROMPTS = min(len(_REQUESTS), len(_BEGINNINGS))


def neutral_prompts(steering: Steering, n: int, *, about: str | None = None) -> list[list[int]]:
    """The tokens of ``n`` prompts, at most `MOST_PROMPTS`: requests to a chat model, beginnings of texts for another.

    Those of the commonest lengths, for prompts of one length run together. ``about``: what they are to be about, which
    makes them the control that asks instead of steering.
    """
    chat = steering.model.tokenizer.has_chat_template
    texts = list(_REQUESTS if chat else _BEGINNINGS)
    if about is not None:
        texts = [f"{text} It should be about {about}." if chat else f"A text about {about}: {text}" for text in texts]
    prompts = [steering.tokens(text, chat=chat) for text in texts]
    lengths = Counter(map(len, prompts))
    return sorted(prompts, key=lambda prompt: (-lengths[len(prompt)], len(prompt)))[:n]
