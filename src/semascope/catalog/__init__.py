"""What people add to a run: labels, notes, stars and lists, in a database file of its own that is never rewritten."""

from semascope.catalog.catalog import Catalog
from semascope.catalog.entries import BY_HAND, Entry, FeatureList, Written

__all__ = ["BY_HAND", "Catalog", "Entry", "FeatureList", "Written"]
