"""How far a feature can be turned up: effect against damage, strength by strength, beside random features."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from semascope import progress
from semascope.concepts import ConceptProbe
from semascope.errors import ConfigError
from semascope.features import FeatureIndex
from semascope.records import Intervention
from semascope.steering.choosing import Choice, Tested, choose, likely
from semascope.steering.controls import matched_features
from semascope.steering.generation import Steering
from semascope.steering.measures import OnText, OnWriting, on_text, on_writing
from semascope.steering.prompts import MOST_PROMPTS, neutral_prompts
from semascope.steering.sampling import Sampling

_TOKENS_ASKED_FOR = 3


@dataclass(frozen=True, slots=True)
class CalibrationSettings:
    """What is tried, and how much damage is accepted.

    ``strengths``: what the feature is clamped to, in multiples of its maximum. ``texts`` of ``tokens`` tokens are
    written at each strength, and by each of ``controls`` random features. ``most_kl`` nats a token on held-out text,
    ``most_surprise`` nats a token and ``most_repetition`` more than without an intervention are accepted. Raises
    ConfigError for settings that cannot be.
    """

    strengths: tuple[float, ...] = (0.5, 1.0, 1.5, 2.0, 3.0)
    texts: int = 24
    tokens: int = 24
    controls: int = 6
    temperature: float = 0.7
    most_kl: float = 1.0
    most_surprise: float = 1.0
    most_repetition: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.strengths or not all(math.isfinite(strength) and strength for strength in self.strengths):
            raise ConfigError(f"strengths {self.strengths} cannot be tried: expected finite numbers other than 0")
        if self.texts < 4 or self.controls < 2 or self.tokens < 4:
            raise ConfigError(
                f"{self.texts} texts of {self.tokens} tokens beside {self.controls} random features tell nothing: at "
                "least 4 texts of 4 tokens, and 2 features"
            )
        if self.texts > MOST_PROMPTS:
            raise ConfigError(f"texts {self.texts}: there are {MOST_PROMPTS} neutral prompts for them to start from")


@dataclass(frozen=True, slots=True)
class Level:
    """What one strength does; see `measures` for effect (``echo``, ``log_odds``) and damage (the rest).

    ``of_norm``: the strength in multiples of the median norm of activations at the site. ``…_controls``: where a random
    feature's figure lies with 95 % probability, by theirs at the same strength (Student's t). ``acceptable``: whether
    the damage is within the bounds of the settings.
    """

    strength: float
    of_norm: float
    echo: float
    echo_controls: tuple[float, float]
    log_odds: float
    log_odds_controls: tuple[float, float]
    kl: float
    kl_controls: tuple[float, float]
    surprise: float
    repetition: float
    acceptable: bool


@dataclass(frozen=True, slots=True)
class Asked:
    """What the model writes without an intervention when the prompt asks for a text ``about`` something: means, as in
    `measures`. Where asking does as much as steering, the prompt is the simpler tool."""

    about: str
    echo: float
    surprise: float
    repetition: float


@dataclass(frozen=True, slots=True)
class OnConcept:
    """What steering does to a concept that labelled texts have, by a probe on raw activations (`ConceptProbe`).

    ``probe_auc``: how well the probe tells texts that did not train it. ``scores`` of each strength, and where a random
    feature's lies (``controls``, as in `Level`), ``untouched`` and ``asked``: means over what was written, 0 as in
    labelled texts without the concept and 1 as in those with it. ``chosen``, ``tested``, ``recommended``: as in
    `Calibration`, with this score for the echo.
    """

    name: str
    probe_auc: float
    untouched: float
    asked: float
    scores: tuple[float, ...]
    controls: tuple[tuple[float, float], ...]
    recommended: float | None
    chosen: float | None
    tested: Tested | None


@dataclass(frozen=True, slots=True)
class Calibration:
    """What is known about steering with a feature.

    ``recommended``, ``chosen``, ``tested``: as in `Choice`, by the echo, in multiples of ``maximum``. ``untouched``:
    echo, surprise and repetition of what the model writes by itself; ``asked``: when it is asked to. ``on_concept``:
    where a concept was given.
    """

    feature: int
    maximum: float
    recommended: float | None
    chosen: float | None
    tested: Tested | None
    untouched: dict[str, float]
    asked: Asked
    levels: tuple[Level, ...]
    controls: tuple[int, ...]
    on_concept: OnConcept | None = None
    settings: CalibrationSettings = field(default_factory=CalibrationSettings)

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def calibrate(
    steering: Steering,
    index: FeatureIndex,
    feature: int,
    windows_WT: Tensor,
    settings: CalibrationSettings = CalibrationSettings(),
    *,
    about: str | None = None,
    probe: ConceptProbe | None = None,
) -> Calibration:
    """Try a feature at several strengths on held-out windows and on neutral prompts.

    ``probe``: scores what is written for a concept too. ``about``: what the prompts of the control that asks name, by
    default that concept, or else the tokens on which the feature fires most. Raises ConfigError for a feature that
    never fires or does not exist.
    """
    steering.edits([[Intervention(feature, "clamp", settings.strengths[0])]])
    maximum = steering.maximum(feature)
    controls = matched_features(index, feature, settings.controls, seed=settings.seed)
    if len(controls) < 2:
        raise ConfigError(f"feature {feature} has fewer than two features beside it that fire: nothing to compare with")
    prompts = neutral_prompts(steering, settings.texts)
    sampling = Sampling(settings.tokens, settings.temperature, seed=settings.seed)
    statistics = index.statistics(feature)
    own_tokens = [token.token for token in statistics.promoted]
    most_fired_on = ", ".join(token.text.strip() for token in statistics.top_tokens[:_TOKENS_ASKED_FOR])
    about = about or (most_fired_on if probe is None else probe.name)
    norm = _median_norm(steering, windows_WT)

    with progress.task(f"Calibrate {feature}", total=2 + len(settings.strengths), unit="strengths") as shown:
        untouched = on_writing(steering, feature, prompts, [[]], sampling, probe)
        shown.advance()
        asking = neutral_prompts(steering, settings.texts, about=about)
        asked = on_writing(steering, feature, asking, [[]], sampling, probe)
        shown.advance()
        levels: list[Level] = []
        written: list[OnWriting] = []
        for strength in settings.strengths:
            amount = strength * maximum
            variants = [[Intervention(one, "clamp", amount, in_maxima=False)] for one in (feature, *controls)]
            text = on_text(steering, windows_WT, variants, own_tokens)
            writing = on_writing(steering, feature, prompts, variants, sampling, probe)
            levels.append(_level(strength, amount / norm, text, writing, untouched, settings))
            written.append(writing)
            shown.advance()
    by_echo = _chosen(levels, [writing.echo_VP for writing in written], settings.seed)
    return Calibration(
        feature=feature,
        maximum=maximum,
        recommended=by_echo.recommended,
        chosen=by_echo.chosen,
        tested=by_echo.tested,
        untouched=_means(untouched),
        asked=Asked(about, **_means(asked)),
        levels=tuple(levels),
        controls=tuple(controls),
        on_concept=_on_concept(probe, levels, written, untouched, asked, settings.seed) if probe else None,
        settings=settings,
    )


def _chosen(levels: Sequence[Level], effects: Sequence[Tensor], seed: int) -> Choice:
    pairs = zip(levels, effects, strict=True)
    return choose([(level.strength, effect_VP) for level, effect_VP in pairs if level.acceptable], seed=seed)


def _on_concept(
    probe: ConceptProbe,
    levels: Sequence[Level],
    written: Sequence[OnWriting],
    untouched: OnWriting,
    asked: OnWriting,
    seed: int,
) -> OnConcept:
    scores = [writing.concept_VP for writing in written]
    choice = _chosen(levels, scores, seed)
    return OnConcept(
        name=probe.name,
        probe_auc=probe.auc,
        untouched=float(untouched.concept_VP.mean()),
        asked=float(asked.concept_VP.mean()),
        scores=tuple(float(score_VP[0].mean()) for score_VP in scores),
        controls=tuple(likely(score_VP[1:].mean(dim=1)) for score_VP in scores),
        recommended=choice.recommended,
        chosen=choice.chosen,
        tested=choice.tested,
    )


def _means(writing: OnWriting) -> dict[str, float]:
    return {
        "echo": float(writing.echo_VP.mean()),
        "surprise": float(writing.surprise_VP.mean()),
        "repetition": float(writing.repetition_VP.mean()),
    }


def _median_norm(steering: Steering, windows_WT: Tensor) -> float:
    y_WTO = steering.model.activations(windows_WT, steering.output_site)
    return y_WTO[:, 1:].float().norm(dim=2).median().item()


def _level(
    strength: float,
    of_norm: float,
    text: OnText,
    writing: OnWriting,
    untouched: OnWriting,
    settings: CalibrationSettings,
) -> Level:
    kl_V, log_odds_V, echo_V = (table.mean(dim=1) for table in (text.kl_VW, text.log_odds_VW, writing.echo_VP))
    surprise, repetition = float(writing.surprise_VP[0].mean()), float(writing.repetition_VP[0].mean())
    return Level(
        strength=strength,
        of_norm=of_norm,
        echo=float(echo_V[0]),
        echo_controls=likely(echo_V[1:]),
        log_odds=float(log_odds_V[0]),
        log_odds_controls=likely(log_odds_V[1:]),
        kl=float(kl_V[0]),
        kl_controls=likely(kl_V[1:]),
        surprise=surprise,
        repetition=repetition,
        acceptable=float(kl_V[0]) <= settings.most_kl
        and surprise - float(untouched.surprise_VP.mean()) <= settings.most_surprise
        and repetition - float(untouched.repetition_VP.mean()) <= settings.most_repetition,
    )
