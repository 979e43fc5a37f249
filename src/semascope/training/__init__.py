"""Training a dictionary: the loop, its schedule, its record of dead features, its checkpoints and metrics."""

from semascope.training.config import TrainingConfig
from semascope.training.loop import train
from semascope.training.metrics import read_metrics

__all__ = ["TrainingConfig", "read_metrics", "train"]
