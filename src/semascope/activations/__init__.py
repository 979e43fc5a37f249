"""From a model and text to batches for training: harvested, without outliers, mixed and scaled; on disk if wanted."""

from semascope.activations.harvest import harvest
from semascope.activations.mix import MixingBuffer
from semascope.activations.outliers import OutlierCounts, OutlierFilter, massive_norm
from semascope.activations.store import ActivationStore, StoreWriter
from semascope.activations.streams import BatchStream, LiveBatches, StoredBatches

__all__ = [
    "ActivationStore",
    "BatchStream",
    "LiveBatches",
    "MixingBuffer",
    "OutlierCounts",
    "OutlierFilter",
    "StoreWriter",
    "StoredBatches",
    "harvest",
    "massive_norm",
]
