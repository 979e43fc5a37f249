"""What do features do? Ten concepts of the paper's kinds, found, read, and turned up.

    python examples/concept_study.py runs/demo --out study --accept-license AGPL-3.0-or-later

For each concept: the feature that half of the labelled texts choose, its AUC on the other half beside a probe and an
untrained dictionary, the contexts where it is strongest, and what three strengths of it do to what the model writes:
how far it is about the concept by a probe on raw activations, how strongly the feature echoes, and the damage.

Everything measured is kept in study/study.json as it comes; interrupted, the same command goes on. At the end stand
study/study.md, study/*.csv and study/*.svg. Concepts whose texts are under a licence that was not accepted are left
out, and so is what is written with features of offensive concepts. Needs about ten minutes of one core.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import matplotlib as mpl
from attribution_study import code
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from semascope.concepts import Concept, ConceptProbe, ReadTokens, Suite, TextReader, read_concept, score_concepts
from semascope.errors import ConfigError, MismatchError
from semascope.features import Context, Example
from semascope.files import read_json, write_json
from semascope.records import Intervention
from semascope.runs import Run
from semascope.steering import CalibrationSettings, Sampling, calibrate, texts
from semascope.text import token_text

CONCEPTS = (
    "languages:french", "character:sycophantic", "things:person", "danger:Dangerous requests that ask How",
    "security:sql-injection", "bias:gender", "emotions:angry", "character:deceptive", "character:tyrant",
    "security:vulnerable-code",
)  # fmt: skip
PROMPT = "Tell me about your weekend."
SHOWN = Context(before=12, after=6)


@dataclass(frozen=True)
class Settings:
    """How much is read and written, and the strengths, in multiples of the median norm of activations: where half of it
    is added, most texts break, whatever the maximum of the feature is."""

    texts_each: int = 40
    context_tokens: int = 48
    of_norm: tuple[float, ...] = (0.2, 0.35, 0.5)
    texts: int = 8
    tokens: int = 12
    controls: int = 5
    windows: int = 1
    seed: int = 0


class Remembering(TextReader):
    """Reads the same texts once: those that score a feature train the probe too."""

    @cached_property
    def _known(self) -> dict[str, list[ReadTokens]]:
        return {}

    def read(self, texts: Sequence[Sequence[int]]) -> Iterator[ReadTokens]:
        """As any reader reads them."""
        asked = repr(texts)
        if asked not in self._known:
            self._known[asked] = list(super().read(texts))
        return iter(self._known[asked])


def study(run: Run, file: Path, accepted: str | None, settings: Settings, names: Sequence[str] = CONCEPTS) -> Any:
    """Measure what ``file`` has not yet, and keep it there. Raises MismatchError when it has other settings."""
    wanted = {
        "model": run.config.model.name,
        "site": str(run.site),
        "features": run.dictionary.features,
        "settings": asdict(settings) | {"of_norm": list(settings.of_norm)},
    }
    kept: dict[str, Any] = read_json(file) if file.exists() else {**wanted, "concepts": {}}
    if {name: kept[name] for name in wanted} != wanted:
        raise MismatchError(f"{file} is of another run or of other settings: choose another folder, or delete it")
    if missing := [name for name in names if name not in kept["concepts"]]:
        for name, found in _concepts(run, _readable(missing, accepted), accepted, settings):
            kept["concepts"][name] = found
            write_json(file, kept)
    return kept


def _readable(names: Sequence[str], accepted: str | None) -> dict[str, tuple[Concept, Suite]]:
    found: dict[str, tuple[Concept, Suite]] = {}
    for name in names:
        concept, suite = read_concept(name)
        if any(file.must_accept not in (None, accepted) for file in suite.files):
            print(f"left out: {name}, whose texts are under a licence that was not accepted")
        else:
            found[name] = concept, suite
    return found


def _concepts(
    run: Run, asked: Mapping[str, tuple[Concept, Suite]], accepted: str | None, settings: Settings
) -> Iterator[tuple[str, dict[str, Any]]]:
    fetched = {suite.name: suite.documents(accepted) for _, suite in asked.values()}
    every = [document for documents in fetched.values() for document in documents]
    fresh = {document.id for document in run.corpus.not_trained_on(every)}
    sample = run.corpus.labelled()
    windows_WT = next(run.source.windows(held_out=True)).tokens_BT[: settings.windows]
    norm = run.model.activations(windows_WT, run.output_site)[:, 1:].float().norm(dim=2).median().item()
    for name, (concept, suite) in asked.items():
        documents = [*sample, *(one for one in fetched[suite.name] if one.id in fresh)]
        # The probe learns from the texts that the feature is scored on; sisters would be read for nothing else.
        reader = Remembering(**vars(run.reader))
        [score] = score_concepts(
            reader, documents, [replace(concept, sisters=())], texts_each=settings.texts_each,
            context_tokens=settings.context_tokens, seed=settings.seed,
        )  # fmt: skip
        probe = ConceptProbe.train(
            reader, documents, concept.name, has=concept.is_positive, lacks=concept.is_negative,
            texts_each=settings.texts_each, context_tokens=settings.context_tokens, seed=settings.seed,
        )  # fmt: skip
        maximum = run.features.statistics(score.feature).maximum
        strengths = tuple(round(share * norm / maximum, 2) for share in settings.of_norm)
        tried = CalibrationSettings(strengths, settings.texts, settings.tokens, settings.controls, seed=settings.seed)
        calibration = calibrate(run.steering, run.features, score.feature, windows_WT, tried, probe=probe)
        variants = [[], *([Intervention(score.feature, "clamp", one)] for one in strengths)]
        written = texts(run.steering.generate(PROMPT, *variants, sampling=Sampling(24, seed=settings.seed)))
        statistics = run.features.statistics(score.feature)
        yield (
            name,
            {
                "concept": concept.name,
                "offensive": suite.offensive,
                "score": score.as_json(),
                "density": statistics.density,
                "fires_on": [token.text for token in statistics.top_tokens[:6]],
                "promotes": [token.text for token in statistics.promoted[:6]],
                "contexts": [_shown(one, run) for one in run.features.top(score.feature, 3, context=SHOWN)],
                "calibration": calibration.as_json(),
                "written": None if suite.offensive else list(written.values()),
            },
        )


def _shown(one: Example, run: Run) -> dict[str, Any]:
    """A context, cut where the feature is strongest."""
    peak = one.position - one.start
    parts = (one.tokens[:peak], one.tokens[peak : peak + 1], one.tokens[peak + 1 :])
    before, at, after = ("".join(token_text(token, run.tokenizer) for token in part) for part in parts)
    return {"activation": one.value, "before": before, "at": at, "after": after}


def concept_rows(kept: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One for each concept: the feature, how well it tells the concept, and whether it steers."""
    rows: list[dict[str, Any]] = []
    for one in kept["concepts"].values():
        score, on, by_echo = one["score"], one["calibration"]["on_concept"], one["calibration"]
        rows.append(
            {
                "concept": one["concept"], "feature": score["feature"], "exists": score["exists"], "auc": score["auc"],
                "auc_low": score["interval"][0], "auc_high": score["interval"][1], "p": score["p_value"],
                "probe": score["probe_auc"], "untrained": score["untrained_auc"],
                "texts": f"{score['positives']}+{score['negatives']}", "density": one["density"],
                "steers_by_echo": by_echo["recommended"], "steers_by_concept": on["recommended"],
                "untouched": on["untouched"], "asked": on["asked"],
            }
        )  # fmt: skip
    return rows


def steering_rows(kept: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One for each concept and strength: effect and damage."""
    rows: list[dict[str, Any]] = []
    for one in kept["concepts"].values():
        calibration, on = one["calibration"], one["calibration"]["on_concept"]
        for level, score, (low, high) in zip(calibration["levels"], on["scores"], on["controls"], strict=True):
            rows.append(
                {
                    "concept": one["concept"], "feature": calibration["feature"], "strength": level["strength"],
                    "of_norm": level["of_norm"], "score": score, "random_low": low, "random_high": high,
                    "echo": level["echo"], "echo_random_high": level["echo_controls"][1], "kl": level["kl"],
                    "surprise": level["surprise"], "repeated": level["repetition"], "acceptable": level["acceptable"],
                }
            )  # fmt: skip
    return rows


def write_csv(rows: Sequence[Mapping[str, Any]], file: Path) -> None:
    """Figures with four digits, for people and spreadsheets."""
    with file.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({key: f"{x:.4g}" if isinstance(x, float) else x for key, x in row.items()})


def markdown(kept: Mapping[str, Any]) -> str:
    """What was measured, as tables and contexts."""
    yes: Callable[[Any], str] = lambda found: f"at {found:.2g}x" if found else "no"  # noqa: E731
    lines = [
        *_table(
            ["concept", "feature", "exists", "AUC (95 %)", "probe", "untrained", "density", "steers to it", "echoes"],
            (
                [
                    one["concept"], f"#{one['feature']}", "✓" if one["exists"] else "✗",
                    f"{one['auc']:.3f} ({one['auc_low']:.2f} to {one['auc_high']:.2f})",
                    f"{one['probe']:.3f}", f"{one['untrained']:.3f}",
                    f"{one['density']:.2%}", yes(one["steers_by_concept"]), yes(one["steers_by_echo"]),
                ]
                for one in concept_rows(kept)
            ),
        ),
        *_table(
            ["concept", "strength", "of norm", "score", "random", "echo", "random", "KL", "surprise", "repeated", ""],
            (
                [
                    one["concept"], f"{one['strength']:.2g}x", f"{one['of_norm']:.2f}", f"{one['score']:+.2f}",
                    f"{one['random_low']:+.2f} to {one['random_high']:+.2f}", f"{one['echo']:.3f}",
                    f"≤ {one['echo_random_high']:.3f}", f"{one['kl']:.2f}", f"{one['surprise']:.2f}",
                    f"{one['repeated']:.2f}", "" if one["acceptable"] else "damage",
                ]
                for one in steering_rows(kept)
            ),
        ),
    ]  # fmt: skip
    for one in kept["concepts"].values():
        lines += _read(one)
    return "\n".join(lines) + "\n"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), *rows)] + [""]


def _read(one: Mapping[str, Any]) -> list[str]:
    """A concept's feature where it fires, and what is written with it."""
    tokens = (" ".join(map(code, one[name])) for name in ("fires_on", "promotes"))
    lines = [f"**{one['concept']}**, #{one['score']['feature']}: fires on {' and promotes '.join(tokens)}", ""]
    for context in one["contexts"]:
        whole = f"{context['before']} «{context['at']}» {context['after']}"
        lines.append(f"- {context['activation']:.1f}: {code(' '.join(whole.split()))}")
    if one["written"] is not None:
        names = ["by itself", *(f"at {level['strength']:.2g}x" for level in one["calibration"]["levels"])]
        lines += [f"- {name}: {code(text)}" for name, text in zip(names, one["written"], strict=True)]
    return [*lines, ""]


def draw_steering(kept: Mapping[str, Any], file: Path) -> None:
    """The concept's score by strength, over where random features lie; hollow where the damage is too large."""
    concepts = list(kept["concepts"].values())
    rows = -(-len(concepts) // 5)
    figure = Figure(figsize=(13, 2.6 * rows), layout="constrained")
    panels: list[Axes] = list(figure.subplots(rows, 5, squeeze=False).flat)
    for panel in panels[len(concepts) :]:
        panel.set_axis_off()
    for panel, one in zip(panels, concepts, strict=False):
        calibration, on = one["calibration"], one["calibration"]["on_concept"]
        strengths = [level["of_norm"] for level in calibration["levels"]]
        low, high = zip(*on["controls"], strict=True)
        panel.fill_between(strengths, low, high, color="#d5dbe3", linewidth=0)
        panel.axhline(on["asked"], color="#b45f06", linewidth=1, linestyle=":")
        panel.plot([0, *strengths], [on["untouched"], *on["scores"]], color="#2563a8", linewidth=1.5)
        for level, score in zip(calibration["levels"], on["scores"], strict=True):
            face = "#2563a8" if level["acceptable"] else "white"
            panel.plot(level["of_norm"], score, "o", color="#2563a8", markerfacecolor=face, markersize=6)
        panel.spines[["top", "right"]].set_visible(False)
        panel.set_title(f"{one['concept']}\n#{calibration['feature']}", fontsize=9)
    figure.supxlabel("strength, in multiples of the median norm of activations", fontsize=10)
    figure.supylabel("score of what is written", fontsize=10)
    _save(figure, file)


def _save(figure: Figure, file: Path) -> None:
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "study", "font.family": "sans-serif"}):
        figure.savefig(file, metadata={"Date": None, "Creator": None})


def write(kept: Mapping[str, Any], out: Path) -> None:
    """Tables and figures of what was measured. Raises ConfigError when that is nothing."""
    if not kept["concepts"]:
        raise ConfigError("no concept was measured: accept the licence of their texts, or choose others")
    (out / "study.md").write_text(markdown(kept), encoding="utf-8")
    write_csv(concept_rows(kept), out / "concepts.csv")
    write_csv(steering_rows(kept), out / "steering.csv")
    draw_steering(kept, out / "steering.svg")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, default=Path("study"))
    parser.add_argument("--accept-license")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    kept = study(Run.open(options.run), options.out / "study.json", options.accept_license, Settings())
    write(kept, options.out)


if __name__ == "__main__":
    main()
