"""Concepts: which ones a dictionary knows, by labelled texts that it was not trained on."""

from semascope.concepts.knowledge import ConceptScore, score_concepts
from semascope.concepts.suite import EMBEDDED_SUITE, Concept

__all__ = ["EMBEDDED_SUITE", "Concept", "ConceptScore", "score_concepts"]
