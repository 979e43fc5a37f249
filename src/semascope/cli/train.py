"""semascope train: harvest, train and evaluate a dictionary for one's own model and text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from semascope.cli.terminal import console
from semascope.cli.values import count
from semascope.cli.variants import variant_settings


def train(
    model: Annotated[
        str, typer.Argument(help="A Hugging Face name or folder, 'smollm2-135m', 'gemma3-270m' or 'tiny'.")
    ],
    data: Annotated[str, typer.Option(help="A file, a folder, a Hugging Face dataset, or 'sample'.")],
    layer: Annotated[str, typer.Option(help="A layer (its output), or a site: mlp_out.15, attn_out.3, resid_pre.0 …")],
    out: Annotated[Path, typer.Option(help="The folder of the run.")],
    variant: Annotated[
        str, typer.Option(help="How codes are made sparse: topk, batchtopk, jumprelu, gated, l1 or kl.")
    ] = "topk",
    matryoshka: Annotated[bool, typer.Option(help="Prefixes of 1/16, 1/8, 1/4 and 1/2 must reconstruct too.")] = False,
    features: Annotated[int, typer.Option(parser=count, help="Features of the dictionary.", metavar="N")] = 8192,
    l0: Annotated[int | None, typer.Option(help="Active features a token; default 32, except for l1.")] = None,
    coefficient: Annotated[
        float | None, typer.Option(help="λ of the sparsity penalty, instead of an L0 (l1: default 5; jumprelu, gated).")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="Another setting of the variant, NAME=VALUE; may be repeated.")
    ] = None,
    tokens: Annotated[int, typer.Option(parser=count, help="Activations shown in all.", metavar="N")] = 2_000_000,
    passes: Annotated[int, typer.Option(help="Passes over tokens / passes harvested activations, kept on disk.")] = 1,
    keep_activations: Annotated[bool, typer.Option(help="Keep them on disk also with one pass.")] = False,
    batch: Annotated[int, typer.Option(parser=count, help="Tokens a step.", metavar="N")] = 2048,
    learning_rate: Annotated[float | None, typer.Option(help="Default: from the features and the steps.")] = None,
    context: Annotated[int, typer.Option(help="Tokens of a window of text.")] = 256,
    field: Annotated[str | None, typer.Option(help="Where the text is in JSONL, Parquet or a dataset.")] = None,
    held_out: Annotated[float, typer.Option(help="Part of the documents kept for evaluation.")] = 0.1,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of the model.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 …")] = "auto",
    dtype: Annotated[str, typer.Option(help="Of the model: auto, float32, bfloat16, float16.")] = "auto",
    precision: Annotated[str, typer.Option(help="Of float32 products on a CPU: auto, full, fast.")] = "auto",
    trust_remote_code: Annotated[bool, typer.Option(help="Run code that comes with the model.")] = False,
    seed: Annotated[int, typer.Option(help="Of the order of the text, the start and the batches.")] = 0,
) -> None:
    """Learn a dictionary of features from a model's activations on a text, and measure it.

    Interrupted, the same command goes on. Afterwards: `semascope index RUN`, `semascope features RUN`.

    Example: `semascope train smollm2-135m --data texts.jsonl --layer 15 --features 8192 --l0 32 --tokens 2M --out
    runs/mine`
    """
    from semascope.cli.screen import figures
    from semascope.config import ModelConfig, RunConfig
    from semascope.records import Site
    from semascope.runs import Run
    from semascope.text import CorpusConfig
    from semascope.training import TrainingConfig

    config = RunConfig(
        model=ModelConfig.model_validate(
            {
                "name": model,
                "revision": revision,
                "device": device,
                "dtype": dtype,
                "precision": precision,
                "trust_remote_code": trust_remote_code,
            }
        ),
        site=str(Site.parse(layer)),
        corpus=CorpusConfig(source=data, field=field, context_tokens=context, held_out_fraction=held_out, seed=seed),
        training=TrainingConfig.model_validate(
            {
                "variant": variant_settings(
                    variant, l0=l0, coefficient=coefficient, matryoshka=matryoshka, options=option or ()
                ),
                "features": features,
                "tokens": tokens,
                "batch_tokens": batch,
                "learning_rate": learning_rate,
                "seed": seed,
            }
        ),
        passes=passes,
        keep_activations=keep_activations,
    )
    run = Run.begin(out, config)
    settings = run.config.training
    console.print(
        f"[bold]{escape(model)}[/] at {run.site}: {settings.features:,} features ({variant}), {settings.steps:,} steps "
        f"of {settings.batch_tokens:,} tokens, learning rate {settings.learning_rate:.2g}, dead after "
        f"{settings.dead_after_tokens:,} tokens, precision {settings.precision}, seed {seed}"
    )
    run.train()
    console.print(figures(run.evaluate()))
    console.print(f"Next: [cyan]semascope index {escape(str(out))}[/]")
