"""Text that a model writes while its features are held, side by side with what it writes by itself."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semascope.errors import ConfigError, MismatchError, ModelError
from semascope.models import LanguageModel, Replacement, require_width
from semascope.records import Intervention, Site
from semascope.sae import SparseAutoencoder
from semascope.steering.edits import Edits
from semascope.steering.events import Ended, Event, Row, TextStream, Written
from semascope.steering.sampling import Chance, Sampling, next_tokens


class Steering:
    """A language model whose features, as a dictionary has them, can be changed while it runs.

        steering = Steering(run.model, run.site, run.dictionary, run.features.maxima())  # or run.steering
        for event in steering.generate("The weather", [], [Intervention(123, "clamp", 5)]):
            ...

    Args:
        maxima_F: each feature's largest activation, the unit of strengths; None where only activations are given.
        output_site: that of a transcoder, whose features are read at ``site`` and act at ``output_site``.
        massive_above: the norm at ``site`` above which activations are left as they are.

    Raises MismatchError for a dictionary of another width than the model's, SiteError for a site that it does not have.
    """

    def __init__(
        self,
        model: LanguageModel,
        site: Site,
        dictionary: SparseAutoencoder,
        maxima_F: Tensor | NDArray[np.float64] | None = None,
        *,
        output_site: Site | None = None,
        massive_above: float = math.inf,
    ) -> None:
        self.model, self.site, self.output_site = model, site, output_site or site
        self.dictionary = dictionary.to(model.device)
        self.maxima_F = None if maxima_F is None else torch.as_tensor(maxima_F, dtype=torch.float32)
        self.massive_above = massive_above
        require_width(model, self.site, dictionary.width)
        require_width(model, self.output_site, dictionary.output_width)
        if self.maxima_F is not None and len(self.maxima_F) != dictionary.features:
            raise MismatchError(
                f"maxima of {len(self.maxima_F):,} features were given for a dictionary of {dictionary.features:,}"
            )

    def tokens(self, prompt: str, *, chat: bool | None = None) -> list[int]:
        """The tokens of a prompt: a request in the model's chat template, where it has one (or must, if ``chat``), or a
        text to go on with. Raises ModelError where it has none, or for an empty text that nothing begins."""
        tokenizer = self.model.tokenizer
        if tokenizer.has_chat_template if chat is None else chat:
            return tokenizer.encode_chat(prompt)
        begin = tokenizer.bos_id if tokenizer.bos_id is not None or prompt else tokenizer.separator_id
        ids = [*([] if begin is None else [begin]), *tokenizer.encode([prompt])[0]]
        if not ids:
            raise ModelError("the prompt is empty, and this model has no token that begins a text: write something")
        return ids

    def maximum(self, feature: int) -> float:
        """A feature's largest activation. Raises ConfigError where maxima are not known."""
        if self.maxima_F is None:
            raise ConfigError("the maxima of features are not known without a feature index: build it")
        return float(self.maxima_F[feature])

    def activations(self, x_RTD: Tensor, features: Sequence[int]) -> Tensor:
        """[R, T, n]: those of some features, from activations at the site; 0 where these are massive."""
        ids_n = torch.tensor(features, dtype=torch.int64, device=x_RTD.device)
        values_RTn = self.dictionary.encode_some(x_RTD.flatten(0, 1).float(), ids_n).view(*x_RTD.shape[:2], -1)
        return values_RTn * (x_RTD.norm(dim=2, keepdim=True) <= self.massive_above)

    def edits(self, variants: Sequence[Sequence[Intervention]], *, reply_start: int = 0) -> Edits:
        """The interventions of each variant, checked, for rows that are grouped by variant."""
        return Edits(
            self.dictionary, self.maxima_F, variants, reply_start=reply_start, massive_above=self.massive_above
        )

    def replacements(self, edits: Edits, first_position: int) -> Mapping[Site, Replacement]:
        """What carries out edits in a forward pass over the positions from ``first_position`` on."""
        if not edits:
            return {}
        if self.output_site == self.site:
            return {self.site: lambda x_RTD: edits.apply(x_RTD, x_RTD, first_position)}
        read: list[Tensor] = []

        def remember(x_RTD: Tensor) -> Tensor:
            read[:] = [x_RTD]
            return x_RTD

        return {self.site: remember, self.output_site: lambda y_RTO: edits.apply(read[0], y_RTO, first_position)}

    def logits(self, tokens_RT: Tensor, edits: Edits) -> Tensor:
        """[R, T, V]: those of whole windows, with edits."""
        if not edits:
            return self.model.logits(tokens_RT)
        # The input of a transcoder comes before what its features change, at every position.
        read_RTD = None if self.output_site == self.site else self.model.activations(tokens_RT, self.site)
        return self.model.splice(
            tokens_RT, self.output_site, lambda y_RTO: edits.apply(y_RTO if read_RTD is None else read_RTD, y_RTO, 0)
        )

    def generate(
        self,
        prompts: str | Sequence[str] | Sequence[Sequence[int]],
        *variants: Sequence[Intervention],
        sampling: Sampling = Sampling(),
        chat: bool | None = None,
    ) -> Generator[Event]:
        """Write on from one or several prompts with each variant of interventions, an empty one being the model itself.

        Events come as tokens are chosen; whoever stops taking them stops the generation. Texts of one prompt and sample
        share their chance (see `Chance`). Prompts of the same length run together, without padding; those of another
        length afterwards.

        Args:
            prompts: texts, see `tokens` for ``chat``; or their tokens.
            variants: lists of interventions; none at all is the model by itself.

        Raises, before the first event: ConfigError for interventions that cannot be carried out, ModelError for a
        prompt beyond the context.
        """
        given = [prompts] if isinstance(prompts, str) else list(prompts)
        ids = [self.tokens(one, chat=chat) if isinstance(one, str) else [*one] for one in given]
        if not ids:
            raise ConfigError("there is no prompt: give at least one text")
        limit = self.model.context_limit
        for prompt in ids:
            if len(prompt) >= limit:
                raise ModelError(
                    f"the prompt has {len(prompt):,} tokens, and '{self.model.name}' sees {limit:,} at once, its reply "
                    "included: shorten the prompt"
                )
        by_length: dict[int, list[int]] = {}
        for number, prompt in enumerate(ids):
            by_length.setdefault(len(prompt), []).append(number)
        every = variants or ([],)
        groups = [(self.edits(every, reply_start=n), {i: ids[i] for i in group}) for n, group in by_length.items()]
        return (event for edits, group in groups for event in self._write(group, len(every), edits, sampling))

    def _write(
        self, prompts: Mapping[int, list[int]], n_variants: int, edits: Edits, sampling: Sampling
    ) -> Iterator[Event]:
        """The texts of prompts of one length."""
        texts = [(prompt, sample) for prompt in prompts for sample in range(sampling.samples)]
        rows = [Row(prompt, variant, sample) for variant in range(n_variants) for prompt, sample in texts]
        chances = [Chance(sampling, prompts[prompt], sample, self.model.device) for prompt, sample in texts]
        streams = {row: TextStream(self.model.tokenizer, prompts[row.prompt]) for row in rows}
        continuation = self.model.continuation()
        tokens_RT = torch.tensor([prompts[row.prompt] for row in rows], device=self.model.device)
        for step in range(1, sampling.max_tokens + 1):
            replacements = self.replacements(edits, continuation.length)
            logits_RV = continuation.extend(tokens_RT, replacements)
            numbers_RV = None
            if sampling.temperature:
                numbers_RV = torch.stack([chance.draw(logits_RV.shape[1]) for chance in chances]).repeat(n_variants, 1)
            chosen_R = next_tokens(logits_RV, sampling, numbers_RV)
            reason = "length" if step == sampling.max_tokens else None
            if continuation.length == self.model.context_limit:
                reason = "context"
            for row, token in zip(rows, chosen_R.tolist(), strict=True):
                if row in streams:
                    yield from self._written(row, token, streams, reason)
            if not streams:
                return
            tokens_RT = chosen_R[:, None]

    def _written(self, row: Row, token: int, streams: dict[Row, TextStream], reason: str | None) -> Iterator[Event]:
        """What a row's next token tells; a row that is at its end leaves ``streams``."""
        stream, stops = streams[row], token in self.model.stop_ids
        text, tokens = ("", ()) if stops else stream.add(token)
        if tokens:
            yield Written(row, text, tokens)
        if stops or reason:
            del streams[row]
            text, tokens = stream.rest()
            if tokens:
                yield Written(row, text, tokens)
            yield Ended(row, "stop" if stops else "context" if reason == "context" else "length")
