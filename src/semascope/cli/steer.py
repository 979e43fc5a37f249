"""semascope steer: what the model writes by itself, and with features turned up or down, side by side."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from semascope.cli.terminal import console

if TYPE_CHECKING:
    from semascope.records import Intervention
    from semascope.runs import Run
    from semascope.steering import Row

_NAMES = ("default", "steered")


def steer(
    run: Annotated[Path, typer.Argument(help="The folder of a run with a feature index.")],
    prompt: Annotated[str, typer.Argument(help="A request to a chat model, or a text to go on with.")],
    feature: Annotated[
        list[str],
        typer.Option(
            "--feature",
            "-f",
            help="`123=5x` clamps to 5 times the feature's maximum, `123=40` to an activation; `123+=2x` adds, "
            "`123*=0.5` scales, `123=off` ablates. Then perhaps `from 12`, `from reply`, `where 45>0.2x`. Can be given "
            "several times.",
        ),
    ],
    max_tokens: Annotated[int, typer.Option(help="How many tokens to write, at most.")] = 80,
    temperature: Annotated[float, typer.Option(help="0 always takes the likeliest token.")] = 0.7,
    top_p: Annotated[float, typer.Option(help="Only the likeliest tokens that together have this probability.")] = 1.0,
    samples: Annotated[int, typer.Option(help="How many texts of each kind.")] = 1,
    seed: Annotated[int, typer.Option(help="Default and steered texts share it, sample by sample.")] = 0,
    chat: Annotated[
        bool | None, typer.Option("--chat/--no-chat", help="Through the chat template. [default: if there is one]")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, when all is written.")] = False,
) -> None:
    """Write with features turned up or down, beside what the model writes by itself.

    Both texts are sampled with the same chance, so that they differ by the features alone. The first position and
    massive activations are left as they are.

    Example: `semascope steer runs/demo -f 3892=2x "Tell me about your weekend."`
    """  # fmt: skip
    from semascope.runs import Run
    from semascope.steering import Ended, Row, Sampling, Written, intervention_json, parse_intervention

    interventions = [parse_intervention(text) for text in feature]
    sampling = Sampling(max_tokens, temperature, top_p, samples, seed)
    opened = Run.open(run)
    events = opened.steering.generate(prompt, [], interventions, sampling=sampling, chat=chat)
    rows = [Row(0, variant, sample) for sample in range(samples) for variant in (0, 1)]
    texts, ends = dict.fromkeys(rows, ""), dict.fromkeys(rows, "")

    if not as_json:
        _introduce(opened, interventions)
    with Live(console=console, transient=True, refresh_per_second=8) if _animated(as_json) else _Nothing() as live:
        for event in events:
            match event:
                case Written(row, text):
                    texts[row] += text
                    live.update(_columns(texts))
                case Ended(row, reason):
                    ends[row] = reason
    if as_json:
        written = [
            {"variant": _NAMES[row.variant], "sample": row.sample, "text": texts[row], "ended": ends[row]}
            for row in rows
        ]
        changes = [intervention_json(one) for one in interventions]
        content = {"prompt": prompt, "interventions": changes, "sampling": asdict(sampling), "texts": written}
        typer.echo(json.dumps(content, ensure_ascii=False, indent=2))
    elif console.is_terminal:
        console.print(_columns(texts))
    else:
        for row, text in texts.items():
            number = f" {row.sample + 1}" if samples > 1 else ""
            console.print(Text(f"--- {_NAMES[row.variant]}{number}\n{_printable(text)}"), soft_wrap=True)


class _Nothing:
    """In place of a screen that changes."""

    def __enter__(self) -> _Nothing:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, _: Table) -> None:
        pass


def _animated(as_json: bool) -> bool:
    return console.is_terminal and not as_json


def _introduce(run: Run, interventions: list[Intervention]) -> None:
    """What each intervention changes."""
    from semascope.cli.screen import token_list
    from semascope.steering import intervention_text

    for one in interventions:
        statistics = run.features.statistics(one.feature)
        console.print(
            f"[bold magenta]{escape(intervention_text(one))}[/]  [dim]maximum {statistics.maximum:.1f}, fires on[/] "
            f"{escape(token_list(statistics.top_tokens))}"
        )


def _columns(texts: dict[Row, str]) -> Table:
    """Default and steered texts side by side, a line for each sample."""
    table = Table(box=None, padding=(0, 2, 1, 0), expand=True)
    for name in _NAMES:
        table.add_column(name.capitalize(), ratio=1, style="" if name == "default" else "cyan", overflow="fold")
    shown = [Text(_printable(text)) for text in texts.values()]
    for default, steered in zip(shown[::2], shown[1::2], strict=True):
        table.add_row(default, steered)
    return table


def _printable(text: str) -> str:
    """Without characters that would control a terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)
