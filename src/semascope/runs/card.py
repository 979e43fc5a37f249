"""What a run is, for people."""

from __future__ import annotations

from semascope.runs.folder import RunFolder
from semascope.sae import hook_name


def card(run: RunFolder) -> dict[str, str]:
    """What the run is, as labels and values for people."""
    training, corpus, metadata = run.config.training, run.config.corpus, run.saved.metadata
    left_out = metadata["left_out"]
    unsaid = {"variant"} if len(training.variant.prefixes) > 1 else {"variant", "prefixes"}
    harvested = f" ({run.config.passes} passes over {run.config.harvest_tokens:,})" if run.config.stored else ""
    return {
        "Model": ", ".join(filter(None, [run.config.model.name, metadata["model_revision"]])),
        "Site": f"{run.site} (hook {hook_name(run.site)})",
        "Dictionary": f"{training.features:,} features, {training.variant.variant}",
        "Settings": ", ".join(f"{k} {v}" for k, v in training.variant.model_dump(exclude=unsaid).items()),
        "Trained on": f"{training.tokens:,} tokens{harvested}, batches of {training.batch_tokens:,}",
        "Learning rate": f"{training.learning_rate:.2g}, decayed over the last {training.decay_fraction:.0%}",
        "Text": f"{corpus.source}, windows of {corpus.context_tokens} tokens, "
        f"{corpus.held_out_fraction:.0%} of the documents held out",
        "Left out of training": f"{left_out['first_position']:,} first positions and {left_out['massive']:,} "
        f"massive activations, of {left_out['tokens']:,} tokens",
        "Seed": str(training.seed),
        "Made with": f"semascope {metadata['semascope_version']}",
    }
