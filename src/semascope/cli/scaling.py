"""semascope scaling: which dictionary a budget of compute should train, found out by training many small ones."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

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
from semascope.cli.values import count, each, number, whole_number
from semascope.cli.variants import variant_settings


def scaling(
    model: Annotated[str, typer.Argument(help="A Hugging Face name or folder, 'smollm2-135m', 'gemma3-270m', 'tiny'.")],
    data: Annotated[str, typer.Option(help="A file, a folder, a Hugging Face dataset, or 'sample'.")],
    layer: Annotated[str, typer.Option(help="A layer (its output), or a site: mlp_out.15, attn_out.3 …")],
    budgets: Annotated[
        str, typer.Option(help="Of compute, in FLOP (12 · width · features · tokens).", metavar="FLOP,FLOP[,…]")
    ],
    out: Annotated[Path, typer.Option(help="The folder of the study.")],
    features: Annotated[
        str | None,
        typer.Option(help="Widths to try; default: doublings about a guess of the optimum.", metavar="N,N,N,N[,…]"),
    ] = None,
    rates: Annotated[
        str, typer.Option(help="Learning rates, in multiples of the default one.", metavar="X[,X…]")
    ] = "1,2,4",
    variant: Annotated[str, typer.Option(help="topk, batchtopk, jumprelu, gated, l1 or kl.")] = "topk",
    l0: L0s = None,
    coefficient: Coefficient = None,
    option: VariantOptions = None,
    tokens: Annotated[int, typer.Option(parser=count, help="Activations to harvest.", metavar="N")] = 1_000_000,
    passes: Annotated[int, typer.Option(help="How often they may be shown to a dictionary.", min=1)] = 4,
    batch: Annotated[int, typer.Option(parser=count, help="Tokens a step.", metavar="N")] = 512,
    measure_on: Annotated[
        int, typer.Option(parser=count, help="Held-out activations to measure on.", metavar="N")
    ] = 16_384,
    context: ContextTokens = 256,
    field: Field = None,
    held_out: Annotated[float, typer.Option(help="Part of the documents kept for measuring.")] = 0.1,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    precision: Precision = "auto",
    trust_remote_code: TrustRemoteCode = False,
    seed: Annotated[int, typer.Option(help="Of the start and of the order of the text.", min=0)] = 0,
    plan_only: Annotated[bool, typer.Option(help="Print what would be trained, and stop.")] = False,
) -> None:
    """Train dictionaries of several widths, lengths and learning rates at several budgets, and fit laws to the best.

    Each budget buys wide dictionaries for few tokens or narrow ones for many; the best lies between. Budgets should
    span a factor of 30 or more: from four on, a law with a floor is fitted. All learn from one set of stored
    activations. Interrupted, the same command goes on; with more budgets, widths or rates it trains what is new.

    Example: `semascope scaling smollm2-135m --data sample --layer 15 --budgets 5e11,2e12,8e12,3.2e13 --out
    scaling/smollm2`
    """
    from semascope.cli.laws import law_tables, plan_table
    from semascope.records import Site
    from semascope.scaling import ScalingConfig, Study
    from semascope.text import CorpusConfig

    content: dict[str, Any] = {
        "model": chosen_model(
            model,
            revision=revision,
            device=device,
            dtype=dtype,
            precision=precision,
            trust_remote_code=trust_remote_code,
        ),
        "site": str(Site.parse(layer)),
        "corpus": CorpusConfig(source=data, field=field, context_tokens=context, held_out_fraction=held_out, seed=seed),
        "variant": variant_settings(variant, coefficient=coefficient, options=option or ()),
        "l0s": [] if l0 is None else [whole_number(text) for text in each(l0)],
        "budgets": [number(text) for text in each(budgets)],
        "features": None if features is None else [count(text) for text in each(features)],
        "rate_factors": [number(text) for text in each(rates)],
        "stored_tokens": tokens,
        "passes": passes,
        "batch_tokens": batch,
        "held_out_tokens": measure_on,
        "seed": seed,
    }
    command = shlex.join(["semascope", *sys.argv[1:]])
    study = Study.begin(out, ScalingConfig.model_validate(content), command=command)
    console.print(f"[bold]{escape(model)}[/] at {study.site}")
    console.print(plan_table(study.plan))
    if plan_only:
        return
    study.train()
    law = study.fit()
    console.print(law_tables(law))
    console.print(f"Written: {escape(str(study.report(law)))}, law.json, points.csv, figures/")
