"""semascope estimate: what a run will take, before it is begun."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from semascope.cli.options import Dtype, Precision, Revision, TrustRemoteCode, chosen_model
from semascope.cli.terminal import console
from semascope.cli.values import count
from semascope.cli.variants import variant_settings

if TYPE_CHECKING:
    from semascope.estimate import Estimate


def estimate(
    model: Annotated[
        str, typer.Argument(help="A Hugging Face name or folder, 'smollm2-135m', 'gemma3-270m' or 'tiny'.")
    ],
    layer: Annotated[str, typer.Option(help="A layer (its output), or a site: mlp_out.15, attn_out.3 …")],
    hardware: Annotated[
        str, typer.Option(help="'here' (this machine, measured), or h200, h100, a100-80g, l4, rtx4090 …")
    ] = "here",
    processes: Annotated[int, typer.Option(min=1, help="Started with torchrun, each with hardware of its own.")] = 1,
    data_parallel: Annotated[int, typer.Option(min=1, help="Into how many parts they divide batches.")] = 1,
    variant: Annotated[str, typer.Option(help="topk, batchtopk, jumprelu, gated, l1 or kl.")] = "topk",
    to: Annotated[str | None, typer.Option(help="Of a transcoder: the site that it predicts.")] = None,
    skip: Annotated[bool, typer.Option(help="A linear connection beside a transcoder's features.")] = False,
    matryoshka: Annotated[bool, typer.Option(help="Prefixes of 1/16, 1/8, 1/4 and 1/2 must reconstruct too.")] = False,
    features: Annotated[int, typer.Option(parser=count, help="Features of the dictionary.", metavar="N")] = 8192,
    l0: Annotated[int | None, typer.Option(min=1, help="Active features a token; default 32, except for l1.")] = None,
    tokens: Annotated[int, typer.Option(parser=count, help="Activations shown in all.", metavar="N")] = 2_000_000,
    passes: Annotated[int, typer.Option(min=1, help="Passes over stored activations.")] = 1,
    keep_activations: Annotated[bool, typer.Option(help="Keep them on disk also with one pass.")] = False,
    batch: Annotated[int, typer.Option(parser=count, help="Tokens a step.", metavar="N")] = 2048,
    context: Annotated[int, typer.Option(min=2, help="Tokens of a window of text.")] = 256,
    revision: Revision = None,
    device: Annotated[str, typer.Option(help="Of 'here': auto, cpu, cuda …")] = "auto",
    dtype: Dtype = "auto",
    precision: Precision = "auto",
    trust_remote_code: TrustRemoteCode = False,
    as_json: Annotated[bool, typer.Option("--json", help="Everything, for programs.")] = False,
) -> None:
    """Say what a training and its index will take: time, memory of a process, disk; before anything is fetched.

    The options are those of `semascope train`. Of the model only the configuration is read. Figures of GPUs are
    arithmetic from data sheets; this machine is measured in seconds.

    Example: `semascope estimate smollm2-135m --layer 15 --features 1M --tokens 10M --hardware h100 --processes 2`
    """
    from semascope.config import RunConfig
    from semascope.errors import ConfigError
    from semascope.estimate import HERE, Team, known_gpu, measure_here
    from semascope.estimate import estimate as estimated
    from semascope.models.skeleton import Skeleton
    from semascope.records import Site
    from semascope.text import CorpusConfig
    from semascope.training import TrainingConfig

    if processes % data_parallel:
        raise ConfigError(
            f"{processes} processes cannot see a batch in {data_parallel} parts: choose a multiple of {data_parallel}"
        )
    chosen = chosen_model(
        model, revision=revision, device=device, dtype=dtype, precision=precision, trust_remote_code=trust_remote_code
    )
    config = RunConfig(
        model=chosen,
        site=str(Site.parse(layer)),
        output_site=str(Site.parse(to)) if to else None,
        skip=skip,
        corpus=CorpusConfig(context_tokens=context),
        training=TrainingConfig.model_validate(
            {
                "variant": variant_settings(variant, l0=l0, matryoshka=matryoshka),
                "features": features,
                "tokens": tokens,
                "batch_tokens": batch,
            }
        ),
        passes=passes,
        keep_activations=keep_activations,
    )
    gpu = None if hardware == HERE else known_gpu(hardware)
    skeleton = Skeleton.load(model, revision=revision, trust_remote_code=trust_remote_code)
    team = Team(processes // data_parallel, data_parallel)
    # This process has imported what a training imports, so it knows how long that takes.
    found = estimated(config, skeleton, gpu or measure_here(config, skeleton, start=time.process_time()), team)
    if as_json:
        typer.echo(json.dumps(found.as_json(), indent=2))
    else:
        _show(found, model, config.site)


def _show(found: Estimate, model: str, site: str) -> None:
    """The estimate as tables."""
    from semascope.estimate import gigabytes

    many = f"{found.processes} processes of " if found.processes > 1 else ""
    how = "measured just now" if found.measured else "arithmetic from its data sheet, not measured"
    console.print(
        f"[bold]{escape(model)}[/] at {site}, {found.steps:,} steps, on {many}{found.hardware} [dim]({how})[/]"
    )
    table = _table("Time", "Memory of a process")
    for stage, seconds in found.seconds.items():
        held = found.memory.get(stage)
        peak = " ←" if stage == found.peak_stage else ""
        table.add_row(stage, duration(seconds), f"{gigabytes(sum(held.values()))}{peak}" if held else "")
    table.add_section()
    table.add_row("all but the index", duration(found.total_seconds), gigabytes(found.peak_memory), style="bold cyan")
    console.print(table)
    memory = _table(f"Memory at '{found.peak_stage}'")
    for name, size in sorted(found.memory[found.peak_stage].items(), key=lambda part: -part[1]):
        memory.add_row(name, gigabytes(size))
    console.print(memory)
    disk = _table("Disk")
    for name, size in found.disk.items():
        disk.add_row(name, gigabytes(size))
    console.print(disk)
    step = _table("A step")
    for name, seconds in found.step.items():
        step.add_row(name, f"{1e3 * seconds:,.1f} ms")
    for name, size in found.exchanged.items():
        if size:
            step.add_row(f"receive {name}", f"{size / 1e6:,.1f} MB")
    if found.processes > 1:
        step.add_row("exchanges", f"{1e3 * found.exchange_seconds:,.1f} ms")
    console.print(step)
    if found.fits:
        console.print(f"[green]✓[/] fits: {gigabytes(found.peak_memory)} of {gigabytes(found.limit)}")
    else:
        console.print(f"[bold red]✗ does not fit:[/] {escape(found.advice)}")


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("", min_width=24)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def duration(seconds: float) -> str:
    """Seconds for people."""
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:,.1f} s"
