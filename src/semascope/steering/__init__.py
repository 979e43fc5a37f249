"""Steering: features turned up and down while a model writes, and how far that can go."""

from semascope.steering.edits import Edits
from semascope.steering.events import Ended, Event, Row, Written, texts
from semascope.steering.generation import Steering
from semascope.steering.notation import (
    intervention_from_json,
    intervention_json,
    intervention_text,
    parse_intervention,
)
from semascope.steering.sampling import Sampling

__all__ = [
    "Edits",
    "Ended",
    "Event",
    "Row",
    "Sampling",
    "Steering",
    "Written",
    "intervention_from_json",
    "intervention_json",
    "intervention_text",
    "parse_intervention",
    "texts",
]
