"""The run folder: what is in it (`folder`), its stages (`run`), several trained together (`together`) or compared
(`comparing`), and what is asked of its model with a text (`reading`, `attributing`, `explaining`).
"""

from semascope.runs.attributing import AttributedReading, read_for
from semascope.runs.card import card
from semascope.runs.comparing import compare_runs, find_compared, why_not_comparable
from semascope.runs.explaining import explaining
from semascope.runs.folder import RunFolder
from semascope.runs.ordering import FeatureSort, Scores, ordered
from semascope.runs.reading import Reading, read, text_tokens
from semascope.runs.run import Run
from semascope.runs.together import alone, train_together

__all__ = [
    "AttributedReading",
    "FeatureSort",
    "Reading",
    "Run",
    "RunFolder",
    "Scores",
    "alone",
    "card",
    "compare_runs",
    "explaining",
    "find_compared",
    "ordered",
    "read",
    "read_for",
    "text_tokens",
    "train_together",
    "why_not_comparable",
]
