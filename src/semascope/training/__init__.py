"""Training dictionaries: the loop, one trainer each, schedule, record of dead features, checkpoints and metrics."""

from semascope.training.config import TrainingConfig
from semascope.training.loop import train, whole
from semascope.training.metrics import read_metrics
from semascope.training.trainer import Columns, Trainer

__all__ = ["Columns", "Trainer", "TrainingConfig", "read_metrics", "train", "whole"]
