"""The run folder: what is in it (`folder`), its stages (`run`), several trained together (`together`) or compared."""

from semascope.runs.card import card
from semascope.runs.comparing import compare_runs, find_compared, why_not_comparable
from semascope.runs.folder import RunFolder
from semascope.runs.reading import Reading, read, text_tokens
from semascope.runs.run import Run
from semascope.runs.together import alone, train_together

__all__ = [
    "Reading",
    "Run",
    "RunFolder",
    "alone",
    "card",
    "compare_runs",
    "find_compared",
    "read",
    "text_tokens",
    "train_together",
    "why_not_comparable",
]
