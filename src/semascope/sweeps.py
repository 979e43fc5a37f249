"""Many dictionaries from one pass over a model: sizes, L0s, variants, seeds and sites trained on the same activations.

runs/sweep/
  activations/              of all sites, when they are kept (see `activations.store`)
  checkpoints/              of all dictionaries together, until they are saved
  resid_post.10-f4096-l16/  a run like any other (see `runs`), which every command takes
  …
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from semascope import progress
from semascope.config import RunConfig, differences
from semascope.errors import ConfigError
from semascope.runs import Run, alone, train_together
from semascope.source import ActivationSource
from semascope.team import ALONE, Team

# In what the runs of a sweep may differ; they share everything that decides the activations and their order.
MAY_DIFFER = ("site", "output_site", "skip", "training.features", "training.variant.", "training.learning_rate",
              "training.seed", "training.dead_after_tokens", "training.tokens", "passes")  # fmt: skip


def name_of(config: RunConfig) -> str:
    """What tells a run from the others of its sweep, as the name of its folder."""
    training, variant = config.training, config.training.variant
    target = variant.target_l0()
    sparsity = f"l{target:g}" if target is not None else f"c{getattr(variant, 'coefficient', 0):g}"
    site = config.site if config.output_site is None else f"{config.site}-to-{config.output_site}"
    return f"{site}-{variant.variant}-f{training.features}-{sparsity}-s{training.seed}"


class Sweep:
    """A folder of runs that share their activations; some may be trained for longer than others."""

    def __init__(self, folder: Path, runs: Sequence[Run]) -> None:
        self.folder, self.runs = folder, runs

    @classmethod
    def begin(
        cls, folder: Path | str, configs: Sequence[RunConfig], *, name: Callable[[RunConfig], str] = name_of,
        team: Team = ALONE,
    ) -> Sweep:  # fmt: skip
        """Start runs in one folder, or go on with those that are there; the processes of a ``team`` train together.

        ``name``: gives a run its folder. Raises ConfigError for configurations that cannot share activations or are the
        same twice, and MismatchError when a run of another configuration is where one of these would be.
        """
        folder = Path(folder)
        if (folder / "run.json").exists():
            raise ConfigError(f"{folder} holds a single run: choose another folder for several dictionaries")
        for config in configs[1:]:
            different = [name for name in differences(configs[0], config) if not name.startswith(MAY_DIFFER)]
            if different:
                raise ConfigError(f"the dictionaries of a sweep must agree in {', '.join(different)}")
        if len({config.stored for config in configs}) > 1:
            raise ConfigError("the dictionaries of a sweep must agree in whether activations are kept")
        names = [name(config) for config in configs]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ConfigError(f"the same dictionary is asked for twice: {', '.join(sorted(twice))}")
        sites = [site for config in configs for site in config.sites]
        source = ActivationSource(configs[0].model, configs[0].corpus, sites, team)
        return cls(
            folder,
            [
                Run.begin(folder / own, config, activations="../activations", source=source, team=team)
                for own, config in zip(names, configs, strict=True)
            ],
        )

    def train(self) -> None:
        """Train the dictionaries that are not there yet, all on one pass over the model.

        Raises UnavailableError while another process trains them.
        """
        team = self.runs[0].source.team
        with alone(self.folder, team):
            missing = team.agree([run.folder.name for run in self.runs if not run.trained])
            untrained = {run.folder.name: run for run in self.runs if run.folder.name in missing}
            if len(untrained) < len(self.runs):
                progress.message(f"Reusing {len(self.runs) - len(untrained)} dictionaries in {self.folder}")
            if untrained:
                store = max(self.runs, key=lambda run: run.config.harvest_tokens).harvest()
                train_together(untrained, store, self.folder / "checkpoints")
