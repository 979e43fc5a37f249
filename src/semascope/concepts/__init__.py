"""Concepts: which ones a dictionary knows, by labelled texts that it was not trained on."""

from semascope.concepts.knowledge import LEAST_AUC, LEVEL, ConceptScore, score_concepts
from semascope.concepts.suite import EMBEDDED_SUITE, Concept, Suite, read_suite, suite_names

__all__ = [
    "EMBEDDED_SUITE",
    "LEAST_AUC",
    "LEVEL",
    "Concept",
    "ConceptScore",
    "Suite",
    "read_suite",
    "score_concepts",
    "suite_names",
]
