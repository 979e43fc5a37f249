"""The training of one run, or of several on the same activations."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from semascope.activations import ActivationStore, LiveBatches, StoredBatches
from semascope.files import alone_in
from semascope.runs.folder import RunFolder
from semascope.sae import SparseAutoencoder, hook_name, save_dictionary
from semascope.team import Team
from semascope.training import Columns, Trainer, train, whole


def alone(folder: Path, team: Team) -> AbstractContextManager[None]:
    """See `files.alone_in`: for all processes of a team together."""
    return alone_in(folder) if team.first else nullcontext()


def train_together(runs: Mapping[str, RunFolder], store: ActivationStore | None, checkpoints_folder: Path) -> None:
    """Train the dictionaries of runs, by name, on the same activations, and save each when its steps are done.

    The runs share source and batches; ``store`` holds the activations of all, or the model gives them. The first
    process of a team saves.
    """
    longest = max(runs.values(), key=lambda run: run.config.training.tokens)
    team = longest.source.team
    stream = longest.source.batches(longest.config.training, store)

    def trainer(run: RunFolder) -> Trainer:
        outputs = stream.columns[run.output_site] if run.config.output_site else None
        columns = Columns(stream.columns[run.site], outputs, run.config.skip)
        return Trainer(run.config.training, columns, folder=run.folder, device=longest.model.device, team=team)

    trainers = {name: trainer(run) for name, run in runs.items()}

    def finish(name: str) -> None:
        if team.first:
            save(runs[name], whole(name, trainers[name], checkpoints_folder), stream)
        del trainers[name]

    train(stream, trainers, checkpoints_folder, finish)
    if team.first:
        # The settings of a run never change, so there is nothing left to resume.
        shutil.rmtree(checkpoints_folder)
    team.wait()


def save(run: RunFolder, trained: SparseAutoencoder, stream: StoredBatches | LiveBatches) -> None:
    """Save a dictionary that was trained on scaled activations, folded, with what it was made from."""
    config, scales = run.config, stream.scales
    medians = dict(zip(stream.columns, stream.outliers.recent_medians, strict=True))
    output = {"output_site": str(run.output_site), "hook_name_out": hook_name(run.output_site)}
    save_dictionary(
        trained.folded(scales[run.site], scales[run.output_site]),
        run.folder / "dictionary",
        {
            "model_name": config.model.name,
            "model_revision": run.model.revision,
            "hook_name": hook_name(run.site),
            "site": str(run.site),
            **(output if config.output_site else {}),
            "context_size": config.corpus.context_tokens,
            "prepend_bos": run.tokenizer.bos_id is not None,
            "corpus": config.corpus.model_dump(mode="json"),
            "activation_scale": scales[run.site],
            "recent_medians": [medians[site] for site in config.sites],
            "left_out": asdict(stream.outliers.counts),
            "training": config.training.model_dump(mode="json"),
            "dead_fraction": run.metrics[-1]["dead_fraction"],
            "dead_counted_over_tokens": config.training.dead_after_tokens,
            "semascope_version": version("semascope"),
        },
    )
