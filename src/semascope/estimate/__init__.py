"""What a run will take, before it is begun, on this machine or on others."""

from semascope.estimate.estimate import Estimate, Team, estimate, gigabytes, step_shape
from semascope.estimate.hardware import HERE, SHEETS, Hardware, known_gpu
from semascope.estimate.machine import measure_here

__all__ = [
    "HERE",
    "SHEETS",
    "Estimate",
    "Hardware",
    "Team",
    "estimate",
    "gigabytes",
    "known_gpu",
    "measure_here",
    "step_shape",
]
