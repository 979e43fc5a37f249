"""The run folder: what is in it (`folder`), its stages (`run`), several trained together (`together`), and what is
asked of its model with a text (`reading`, `explaining`).
"""

from semascope.runs.card import card
from semascope.runs.explaining import explaining
from semascope.runs.folder import RunFolder
from semascope.runs.reading import Reading, read, text_tokens
from semascope.runs.run import Run
from semascope.runs.together import alone, train_together

__all__ = ["Reading", "Run", "RunFolder", "alone", "card", "explaining", "read", "text_tokens", "train_together"]
