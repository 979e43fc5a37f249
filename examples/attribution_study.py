"""Does attribution tell what ablation does? The paper's two prompts, and five that a small model gets right.

    python examples/attribution_study.py runs/demo --out study

For each prompt every active feature is attributed and ablated, by place and by feature, and the two are compared, as in
"Scaling Monosemanticity" (Templeton et al., 2024), where attribution correlates with ablation at 0.81, activation at
0.12, and 8 of the 10 features with the largest effect are among the 10 with the largest attribution, 3 among the 10
that are most active. Writes study/attribution.md and study/attribution.png. The run is that of `semascope demo`, or any
other of a model that knows English; it takes two minutes on two cores.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from semascope.attribution import Agreement, By, Explanation, Question, explain
from semascope.features import FeatureIndex
from semascope.models import load_model
from semascope.runs import Run
from semascope.text import Tokenizer, token_text


@dataclass(frozen=True)
class Prompt:
    """What the model goes on with, the token that is right, and one that is wrong; ``kind``: what it takes."""

    kind: str
    text: str
    target: str
    baseline: str


PROMPTS = (
    Prompt("emotion (paper)", "John says, 'I want to be alone right now.' John feels", " sad", " happy"),
    Prompt(
        "two facts (paper)", "Fact: The capital of the state where Kobe Bryant played basketball is", " Sacramento",
        " Albany",
    ),
    Prompt("a fact", "Fact: The Eiffel Tower is in the city of", " Paris", " Rome"),
    Prompt("who is meant", "When Mary and John went to the store, John gave a drink to", " Mary", " John"),
    Prompt("grammar", "The keys to the cabinet", " are", " is"),
    Prompt("an opposite", "The opposite of hot is", " cold", " warm"),
    Prompt("program code", "def add(a, b):\n    return a", " +", " -"),
)  # fmt: skip
SHOWN = 5
EVERYTHING = 1_000_000


@dataclass(frozen=True)
class Studied:
    """A prompt explained twice: each feature at each position, and each feature over all positions."""

    prompt: Prompt
    by_place: Explanation
    by_feature: Explanation


def study(run: Run, prompts: Sequence[Prompt] = PROMPTS) -> list[Studied]:
    """Attribute and ablate every active feature of every prompt."""
    model = load_model(**run.config.model.exact().model_dump())
    autoencoder, medians = run.dictionary.to(model.device), run.saved.metadata["recent_medians"]

    def explained(prompt: Prompt, by: By) -> Explanation:
        question = Question.read(model.tokenizer, prompt.text, prompt.target, prompt.baseline)
        return explain(model, run.site, autoencoder, question, by=by, ablations=EVERYTHING, recent_medians=medians)

    return [Studied(prompt, explained(prompt, "place"), explained(prompt, "feature")) for prompt in prompts]


def markdown(studied: Sequence[Studied], tokenizer: Tokenizer, index: FeatureIndex | None) -> str:
    """What was found, as tables: what the model says, the correlations, and the strongest features of each prompt."""
    lines = ["| | prompt | target − baseline | the model's first choice | target | baseline | logit difference |"]
    lines.append("|---" * 7 + "|")
    for number, one in enumerate(studied, 1):
        found = one.by_place
        question, [first] = found.attribution.question, found.attribution.predictions(1)
        ranks = [found.attribution.prediction(token) for token in (question.target, question.baseline or 0)]
        cells = [
            f"{number}, {one.prompt.kind}", code(one.prompt.text),
            f"{code(one.prompt.target)} − {code(one.prompt.baseline)}",
            f"{code(token_text(first.token, tokenizer))} {first.probability:.0%}",
            *(f"{rank.probability:.2%}, number {rank.rank}" for rank in ranks),
            f"{found.attribution.parts.total:+.2f}",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", *_correlations(studied), ""]
    for number, one in enumerate(studied, 1):
        lines += [
            f"**{number}, {one.prompt.kind}**: {code(one.prompt.text)}",
            "",
            *_strongest(one, tokenizer, index),
            "",
        ]
    return "\n".join(lines)


def _correlations(studied: Sequence[Studied]) -> list[str]:
    names = "Pearson | Spearman | of the top 10"
    lines = [f"| | compared | attribution: {names} | activation: {names} |", "|---|---|---|---|---|---|---|---|"]
    for number, one in enumerate(studied, 1):
        for what, found in (("places", one.by_place), ("features", one.by_feature)):
            both = [_cells(agreement) for agreement in (found.of_attribution, found.of_activation)]
            lines.append(f"| {number} | {len(found.contributions)} {what} | {' | '.join(both)} |")
    return lines


def _cells(one: Agreement) -> str:
    low, high = one.pearson_interval or (float("nan"), float("nan"))
    return f"{one.pearson or 0:.2f} ({low:.2f} to {high:.2f}) | {one.spearman or 0:.2f} | {one.shared_top}"


def _strongest(one: Studied, tokenizer: Tokenizer, index: FeatureIndex | None) -> list[str]:
    lines = [
        "| feature | at | activation | attribution | ablation | fires on | promotes |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in one.by_place.as_json(tokenizer)["contributions"][:SHOWN]:
        said = ["", ""]
        if index is not None:
            known = index.statistics(row["feature"])
            said = [" ".join(code(token.text) for token in tokens[:4]) for tokens in (known.top_tokens, known.promoted)]
        lines.append(
            f"| #{row['feature']} | {code(row['token'])} | {row['activation']:.1f} | {row['attribution']:+.3f} | "
            f"{row['ablation']:+.3f} | {' | '.join(said)} |"
        )
    return lines


def code(text: str) -> str:
    """A text as it stands, in a cell of a table."""
    return "`" + repr(text)[1:-1].replace("|", "\\|").replace("`", "'") + "`"


def draw(studied: Sequence[Studied], file: Path) -> None:
    """Ablation against attribution, and against activation, a point for each place of each prompt."""
    figure = Figure(figsize=(3 * len(studied), 6), layout="constrained")
    panels = figure.subplots(2, len(studied), squeeze=False)
    for column, one in enumerate(studied):
        found, effects_N = one.by_place, one.by_place.ablated.effects_N
        rows = (
            ("attribution", found.contributions.attributions_N, found.of_attribution),
            ("activation", found.contributions.activations_N, found.of_activation),
        )
        for panel, (name, values_N, agreement) in zip(panels[:, column], rows, strict=True):
            panel.scatter(values_N.cpu(), effects_N.cpu(), s=9, alpha=0.5, linewidths=0, color="#2563a8")
            panel.axhline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
            panel.spines[["top", "right"]].set_visible(False)
            panel.set_xlabel(name)
            panel.set_title(f"r = {agreement.pearson or 0:.2f}", fontsize=10)
            if not column:
                panel.set_ylabel("effect of ablation, logits")
        ends = [*panels[0, column].get_xlim(), *panels[0, column].get_ylim()]
        panels[0, column].axline((0, 0), slope=1, color="#bbbbbb", linewidth=0.8, zorder=0)
        panels[0, column].set(xlim=(min(ends), max(ends)), ylim=(min(ends), max(ends)))
        panels[0, column].set_title(f"{one.prompt.kind}\n{panels[0, column].get_title()}", fontsize=10)
    figure.savefig(file, dpi=80)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, default=Path("study"))
    options = parser.parse_args()
    run = Run.open(options.run)
    studied = study(run)
    index = run.features if FeatureIndex.is_complete(run.folder / "features") else None
    text = markdown(studied, run.tokenizer, index)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "attribution.md").write_text(text + "\n", encoding="utf-8")
    draw(studied, options.out / "attribution.png")
    print(text)


if __name__ == "__main__":
    main()
