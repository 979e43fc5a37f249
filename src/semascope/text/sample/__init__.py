"""The embedded sample: a labelled corpus out of pinned packages, for a first run without any hub."""

from semascope.text.sample.mix import read_sample
from semascope.text.sample.wikipedia import encyclopedia_names, wikipedia_in_other_languages

__all__ = ["encyclopedia_names", "read_sample", "wikipedia_in_other_languages"]
