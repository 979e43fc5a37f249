"""Steering: features turned up and down while a model writes, and how far that can go."""

from semascope.steering.calibration import Calibration, CalibrationSettings, Level, OnConcept, calibrate
from semascope.steering.choosing import Tested
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
from semascope.steering.saved import SavedSteering
from semascope.steering.scores import feature_scores

__all__ = [
    "Calibration",
    "CalibrationSettings",
    "Edits",
    "Ended",
    "Event",
    "Level",
    "OnConcept",
    "Row",
    "Sampling",
    "SavedSteering",
    "Steering",
    "Tested",
    "Written",
    "calibrate",
    "feature_scores",
    "intervention_from_json",
    "intervention_json",
    "intervention_text",
    "parse_intervention",
    "texts",
]
