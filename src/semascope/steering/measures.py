"""What an intervention does: to predictions on a text, and to what the model writes.

V variants of interventions, P prompts, W windows, R rows, T positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from semascope.concepts import ConceptProbe
from semascope.records import Intervention
from semascope.steering.events import Written
from semascope.steering.generation import Steering
from semascope.steering.sampling import Sampling

# Logits that are held at once: 8 Mi numbers are 32 MiB in float32, and a few tensors of them exist together.
_LOGITS_AT_ONCE = 1 << 23
_RUN_TOKENS = 3


@dataclass(frozen=True, slots=True)
class OnText:
    """What variants do to the predictions on given windows: [V, W] each, means over the positions of a window.

    ``kl_VW``: of the model's predictions from those under the intervention, nats a token. ``log_odds_VW``: by how much
    the log-odds that the next token is one of the feature's own rise, in nats; 0 where it has none.
    """

    kl_VW: Tensor
    log_odds_VW: Tensor


@dataclass(frozen=True, slots=True)
class OnWriting:
    """What variants do to what the model writes: [V, P] each.

    ``echo_VP``: how strongly the feature fires when the untouched model reads what was written: its largest activation
    on it, in multiples of its maximum. ``surprise_VP``: the cross-entropy of what was written for the untouched model,
    nats a token. ``repetition_VP``: the share of runs of 3 tokens that were there before in the text. ``concept_VP``:
    how far it is about the concept of a probe, as the untouched model reads it; not a number without a probe.
    """

    echo_VP: Tensor
    surprise_VP: Tensor
    repetition_VP: Tensor
    concept_VP: Tensor


@torch.no_grad()
def on_text(
    steering: Steering, windows_WT: Tensor, variants: Sequence[Sequence[Intervention]], own_tokens: Sequence[int]
) -> OnText:
    """Run windows with each variant. ``own_tokens``: those that the feature promotes."""
    model = steering.model
    own = torch.tensor(own_tokens, dtype=torch.int64, device=model.device)
    at_once = max(1, _LOGITS_AT_ONCE // (windows_WT.shape[1] * model.vocabulary))
    found: list[list[Tensor]] = [[] for _ in variants]
    for chunk_RT in windows_WT.to(model.device).split(at_once):
        # Nothing can be changed at position 0.
        log_p_RTV = model.logits(chunk_RT)[:, 1:].float().log_softmax(dim=-1)
        before_RT = _log_odds(log_p_RTV, own)
        for rows, variant in zip(found, variants, strict=True):
            log_q_RTV = steering.logits(chunk_RT, steering.edits([variant]))[:, 1:].float().log_softmax(dim=-1)
            kl_RT = F.kl_div(log_q_RTV, log_p_RTV, log_target=True, reduction="none").sum(dim=2)
            gain_RT = _log_odds(log_q_RTV, own) - before_RT
            rows.append(torch.stack([kl_RT.mean(dim=1), gain_RT.mean(dim=1)], dim=1).cpu())
    return OnText(*torch.stack([torch.cat(rows) for rows in found]).unbind(dim=2))


def _log_odds(log_p_RTV: Tensor, own: Tensor) -> Tensor:
    """[R, T]: the log-odds that the next token is one of ``own``."""
    if not len(own):
        return log_p_RTV.new_zeros(log_p_RTV.shape[:2])
    log_p_RT = log_p_RTV[..., own].logsumexp(dim=2).clamp_max(-1e-6)
    return log_p_RT - (-log_p_RT.exp()).log1p()


@torch.no_grad()
def on_writing(
    steering: Steering,
    feature: int,
    prompts: Sequence[Sequence[int]],
    variants: Sequence[Sequence[Intervention]],
    sampling: Sampling,
    probe: ConceptProbe | None = None,
) -> OnWriting:
    """Let the model go on from prompts with each variant, a sample each, and read what it wrote without them."""
    written: dict[tuple[int, int], list[int]] = {}
    for event in steering.generate(prompts, *variants, sampling=sampling):
        if isinstance(event, Written):
            written.setdefault((event.row.variant, event.row.prompt), []).extend(event.tokens)
    measured_VPC = torch.zeros(len(variants), len(prompts), 4)
    by_lengths: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for (variant, prompt), tokens in written.items():
        by_lengths.setdefault((len(prompts[prompt]), len(tokens)), []).append((variant, prompt))
    for (start, length), rows in by_lengths.items():
        at_once = max(1, _LOGITS_AT_ONCE // ((start + length) * steering.model.vocabulary))
        for first in range(0, len(rows), at_once):
            part = rows[first : first + at_once]
            tokens_RT = torch.tensor([[*prompts[prompt], *written[variant, prompt]] for variant, prompt in part])
            places = tuple(torch.tensor(part).T)
            measured_VPC[places] = _read(steering, feature, tokens_RT.to(steering.model.device), start, probe)
    return OnWriting(*measured_VPC.unbind(dim=2))


def _read(steering: Steering, feature: int, tokens_RT: Tensor, start: int, probe: ConceptProbe | None) -> Tensor:
    """[R, 4]: echo, surprise, repetition and concept of texts that were written from position ``start`` on."""
    read: list[Tensor] = []

    def remember(x_RTD: Tensor) -> Tensor:
        read.append(x_RTD)
        return x_RTD

    logits_RTV = steering.model.splice(tokens_RT, steering.site, remember)[:, start - 1 : -1].float()
    written_RT, x_RTD = tokens_RT[:, start:], read[0][:, start:].float()
    [values_RT] = steering.activations(x_RTD, [feature]).unbind(dim=2)
    surprise_RT = F.cross_entropy(logits_RTV.transpose(1, 2), written_RT, reduction="none")
    repetition = torch.tensor([_repetition(tokens) for tokens in written_RT.tolist()])
    echo_R = values_RT.amax(dim=1).cpu() / steering.maximum(feature)
    concept_R = torch.full_like(echo_R, torch.nan)
    if probe is not None:
        # Massive activations had no part in training the probe either.
        read_RT1 = (x_RTD.norm(dim=2, keepdim=True) <= steering.massive_above).float()
        concept_R = probe.score((x_RTD * read_RT1).sum(dim=1) / read_RT1.sum(dim=1).clamp_min(1)).cpu()
    return torch.stack([echo_R, surprise_RT.mean(dim=1).cpu(), repetition, concept_R], dim=1)


def _repetition(tokens: Sequence[int]) -> float:
    runs = [tuple(tokens[i : i + _RUN_TOKENS]) for i in range(len(tokens) - _RUN_TOKENS + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0
