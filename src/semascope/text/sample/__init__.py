"""The embedded sample: a labelled corpus out of pinned packages, for a first run without any hub."""

from semascope.text.sample.mix import read_sample

__all__ = ["read_sample"]
