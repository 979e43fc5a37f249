"""Concepts: which ones a dictionary knows, by labelled texts that it was not trained on."""

from semascope.concepts.finding import PromptFeature, find_by_prompts, find_by_texts
from semascope.concepts.knowledge import ConceptScore, score_concepts
from semascope.concepts.ranking import LEAST_AUC, LEVEL, RankedFeature, Ranking
from semascope.concepts.reading import TextReader
from semascope.concepts.suite import EMBEDDED_SUITE, Concept, Suite, read_suite, suite_names

__all__ = [
    "EMBEDDED_SUITE",
    "LEAST_AUC",
    "LEVEL",
    "Concept",
    "ConceptScore",
    "PromptFeature",
    "RankedFeature",
    "Ranking",
    "Suite",
    "TextReader",
    "find_by_prompts",
    "find_by_texts",
    "read_suite",
    "score_concepts",
    "suite_names",
]
