"""How good a dictionary is, measured on text that it was not trained on."""

from semascope.evaluation.bootstrap import interval
from semascope.evaluation.reconstruction import ReconstructionReport, evaluate_reconstruction

__all__ = ["ReconstructionReport", "evaluate_reconstruction", "interval"]
