"""How good a dictionary is, measured on text that it was not trained on."""

from semascope.evaluation.bootstrap import interval
from semascope.evaluation.proportion import difference_interval, wilson_interval
from semascope.evaluation.reconstruction import ReconstructionReport, evaluate_reconstruction

__all__ = [
    "ReconstructionReport",
    "difference_interval",
    "evaluate_reconstruction",
    "interval",
    "wilson_interval",
]
