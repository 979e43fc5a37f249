"""semascope train: harvest, train and evaluate a dictionary for one's own model and text."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from semascope.cli.options import (
    Coefficient,
    ContextTokens,
    Device,
    Dtype,
    Field,
    L0s,
    Precision,
    Revision,
    TrustRemoteCode,
    VariantOptions,
    chosen_model,
)
from semascope.cli.terminal import console
from semascope.cli.values import count, each, whole_number
from semascope.cli.variants import variant_settings

if TYPE_CHECKING:
    from semascope.runs import Run


def train(
    ctx: typer.Context,
    model: Annotated[
        str, typer.Argument(help="A Hugging Face name or folder, 'smollm2-135m', 'gemma3-270m' or 'tiny'.")
    ],
    data: Annotated[str, typer.Option(help="A file, a folder, a Hugging Face dataset, or 'sample'.")],
    layer: Annotated[
        str, typer.Option(help="A layer (its output), or a site: mlp_out.15, attn_out.3 … Or several: 10,15.")
    ],
    out: Annotated[Path, typer.Option(help="The folder of the run.")],
    variant: Annotated[
        str, typer.Option(help="How codes are made sparse: topk, batchtopk, jumprelu, gated, l1, kl. Or several.")
    ] = "topk",
    to: Annotated[
        str | None, typer.Option(help="Makes it a transcoder: the site that it predicts, such as mlp_out.15.")
    ] = None,
    skip: Annotated[bool, typer.Option(help="A linear connection beside a transcoder's features.")] = False,
    matryoshka: Annotated[bool, typer.Option(help="Prefixes of 1/16, 1/8, 1/4 and 1/2 must reconstruct too.")] = False,
    features: Annotated[
        str, typer.Option(help="Features of the dictionary. Or several: 4096,16k.", metavar="N[,N…]")
    ] = "8192",
    l0: L0s = None,
    coefficient: Coefficient = None,
    option: VariantOptions = None,
    tokens: Annotated[int, typer.Option(parser=count, help="Activations shown in all.", metavar="N")] = 2_000_000,
    auto: Annotated[
        str | None,
        typer.Option(
            help="Let --law choose features, tokens and learning rate: FLOP, 30min, 8xH100:24h …", metavar="BUDGET"
        ),
    ] = None,
    law: Annotated[
        Path | None, typer.Option(help="Of --auto: the folder of 'semascope scaling'.", metavar="FOLDER")
    ] = None,
    borrow: Annotated[
        bool, typer.Option(help="Of --auto: take the law of another model or site all the same.")
    ] = False,
    passes: Annotated[int, typer.Option(help="Passes over tokens / passes harvested activations, kept on disk.")] = 1,
    keep_activations: Annotated[bool, typer.Option(help="Keep them on disk also with one pass.")] = False,
    batch: Annotated[int, typer.Option(parser=count, help="Tokens a step.", metavar="N")] = 2048,
    learning_rate: Annotated[float | None, typer.Option(help="Default: from the features and the steps.")] = None,
    dead_after: Annotated[
        int | None,
        typer.Option(
            parser=count,
            help="A feature silent for so many tokens is dead. Default: 10M, or an eighth of a shorter training.",
            metavar="N",
        ),
    ] = None,
    context: ContextTokens = 256,
    field: Field = None,
    held_out: Annotated[float, typer.Option(help="Part of the documents kept for evaluation.")] = 0.1,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    precision: Precision = "auto",
    trust_remote_code: TrustRemoteCode = False,
    seed: Annotated[
        str, typer.Option(help="Of the start; the first of several also of the order of the text.", metavar="N[,N…]")
    ] = "0",
    data_parallel: Annotated[
        int, typer.Option(help="Under torchrun: into how many parts batches are divided; the rest divides features.")
    ] = 1,
) -> None:
    """Learn a dictionary of features from a model's activations on a text, and measure it.

    Several layers, variants, features, L0s or seeds make as many dictionaries, trained on one pass over the model; each
    becomes a run of its own in the folder. Interrupted, the same command goes on. Afterwards: `semascope index RUN`,
    `semascope features RUN`.

    Example: `semascope train smollm2-135m --data texts.jsonl --layer 15 --features 8192 --l0 32 --tokens 2M --out
    runs/mine`

    With `--auto 30min --law scaling/mine` the sizes are those that `semascope recommend` gives for the budget.

    Several processes: `torchrun --nproc-per-node 4 -m semascope train …` divides the features among them.
    """
    from semascope.cli.auto import auto_config
    from semascope.cli.screen import comparison, figures
    from semascope.config import RunConfig
    from semascope.errors import ConfigError
    from semascope.records import Site
    from semascope.runs import Run
    from semascope.sweeps import Sweep
    from semascope.text import CorpusConfig
    from semascope.training import TrainingConfig
    from semascope.training.distributed import joined

    seeds = [whole_number(text) for text in each(seed)]
    shared: dict[str, Any] = {
        "model": chosen_model(
            model,
            revision=revision,
            device=device,
            dtype=dtype,
            precision=precision,
            trust_remote_code=trust_remote_code,
        ),
        "corpus": CorpusConfig(
            source=data, field=field, context_tokens=context, held_out_fraction=held_out, seed=seeds[0]
        ),
        "passes": passes,
        "keep_activations": keep_activations,
        "output_site": str(Site.parse(to)) if to else None,
        "skip": skip,
    }
    l0s = [None] if l0 is None else [whole_number(text) for text in each(l0)]
    if auto is None and (law or borrow):
        raise ConfigError("--law and --borrow belong to --auto BUDGET, and there is none: give one, or leave them out")
    if auto is not None:
        if max(map(len, (each(layer), seeds, l0s))) > 1:
            raise ConfigError("--auto spends the budget on one dictionary: give one --layer, --l0 and --seed")
        base = RunConfig(site=str(Site.parse(layer)), training=TrainingConfig(seed=seeds[0]), **shared)
        configs = [auto_config(ctx, auto, law, base, out, l0=l0s[0], borrow=borrow)]
    else:
        configs = [
            RunConfig(
                site=str(Site.parse(one_layer)),
                training=TrainingConfig.model_validate(
                    {
                        "variant": variant_settings(
                            one_variant, l0=one_l0, coefficient=coefficient, matryoshka=matryoshka, options=option or ()
                        ),
                        "features": count(one_size),
                        "tokens": tokens,
                        "batch_tokens": batch,
                        "learning_rate": learning_rate,
                        "dead_after_tokens": dead_after,
                        "seed": one_seed,
                    }
                ),
                **shared,
            )
            for one_layer, one_variant, one_size, one_l0, one_seed in product(
                each(layer), each(variant), each(features), l0s, seeds
            )
        ]
    with joined(data_parallel=data_parallel, device=device) as team:
        many = len(configs) > 1
        together = Sweep.begin(out, configs, team=team) if many else Run.begin(out, configs[0], team=team)
        runs = together.runs if isinstance(together, Sweep) else [together]
        console.print(f"[bold]{escape(model)}[/]" + (f", {len(runs)} dictionaries on one pass" if many else ""))
        if team.size > 1:
            console.print(f"  {team.size} processes: features in {team.feature_parts} parts, rows in {team.row_parts}")
        for run in runs:
            console.print(f"  {_settings(run)}")
        together.train()
    if not team.first:
        return
    evaluated = [(run.folder.name, run.config, run.evaluate()) for run in runs]
    console.print(comparison(evaluated) if len(runs) > 1 else figures(evaluated[0][2]))
    console.print(f"Next: [cyan]semascope index {escape(str(runs[0].folder))}[/]")


def _settings(run: Run) -> str:
    """What was asked for and what followed from it, in a line."""
    settings = run.config.training
    to = f" to {run.output_site}" if run.config.output_site else ""
    return (
        f"at {run.site}{to}: {settings.features:,} features ({settings.variant.variant}), {settings.steps:,} steps of "
        f"{settings.batch_tokens:,} tokens, learning rate {settings.learning_rate:.2g}, dead after "
        f"{settings.dead_after_tokens:,} tokens, precision {settings.precision}, seed {settings.seed}"
    )
