"""Concepts: which ones a dictionary knows, by labelled texts that it was not trained on."""

from semascope.concepts.checking import Check, Hits, check_rules, train_probes
from semascope.concepts.comparing import TextComparison, compare_texts
from semascope.concepts.completeness import Completeness, count_names, frequency, measure_completeness
from semascope.concepts.finding import PromptFeature, find_by_prompts, find_by_texts
from semascope.concepts.knowledge import ConceptScore, score_concepts
from semascope.concepts.monitoring import Flag, Monitor, Span, Watched
from semascope.concepts.probe import ConceptProbe
from semascope.concepts.ranking import LEAST_AUC, LEVEL, RankedFeature, Ranking
from semascope.concepts.reading import ReadTokens, TextReader
from semascope.concepts.rules import Rule, read_rules
from semascope.concepts.specificity import Specificity, measure_specificity
from semascope.concepts.suite import Concept, Suite
from semascope.concepts.suite_files import EMBEDDED_SUITE, read_concept, read_suite, suite_names

__all__ = [
    "EMBEDDED_SUITE",
    "LEAST_AUC",
    "LEVEL",
    "Check",
    "Completeness",
    "Concept",
    "ConceptProbe",
    "ConceptScore",
    "Flag",
    "Hits",
    "Monitor",
    "PromptFeature",
    "RankedFeature",
    "Ranking",
    "ReadTokens",
    "Rule",
    "Span",
    "Specificity",
    "Suite",
    "TextComparison",
    "TextReader",
    "Watched",
    "check_rules",
    "compare_texts",
    "count_names",
    "find_by_prompts",
    "find_by_texts",
    "frequency",
    "measure_completeness",
    "measure_specificity",
    "read_concept",
    "read_rules",
    "read_suite",
    "score_concepts",
    "suite_names",
    "train_probes",
]
