"""Building a feature index from the codes of a pass over a corpus, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from itertools import repeat
from pathlib import Path
from types import TracebackType
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from torch import Tensor

from semascope.errors import DataError, InputError, MismatchError, NumericalError
from semascope.features import format
from semascope.features.building import IndexedText
from semascope.features.parts import Decoder, spilling_database, write_parts
from semascope.features.rowgroups import RowGroupWriter
from semascope.features.sources import SourcesWriter
from semascope.features.together import CodesByToken, TogetherWriter
from semascope.features.tokens import write_tokens
from semascope.features.words import WordsWriter
from semascope.files import folder_written_atomically
from semascope.records import Codes, TokenBatch

_ACTIVATIONS_AT_ONCE = 1 << 18

_OUTSIDE_WINDOWS = """
SELECT used."window", used.position
FROM (SELECT "window", max(position) AS position FROM {incoming} GROUP BY "window") AS used
LEFT JOIN (SELECT "window", len(tokens) AS length FROM {windows}) AS held USING ("window")
WHERE used.position >= coalesce(length, 0)
ORDER BY ALL LIMIT 1
"""


class IndexBuilder:
    """Builds the feature index at ``path``, which appears, or replaces an earlier one, when the block ends well.

        with IndexBuilder(folder, n_features=8192) as builder:
            for ...:
                builder.add_windows(batch)
                builder.add(codes, tokens_N, windows_N, positions_N)
            builder.finish(W_dec_FD, promoted=logits, token_text=text, provenance=provenance)

    Windows come in ascending order, activations in any. When an error leaves the block, what was at ``path`` stays
    as it was.
    """

    def __init__(self, path: Path, *, n_features: int) -> None:
        self._path = path
        self._n_features = n_features
        self._n_tokens = 0
        self._n_windows = 0
        self._next_window = 0
        self._n_active_F: NDArray[np.int64] = np.zeros(n_features, np.int64)
        self._tokens: set[int] = set()
        self._finished = False
        self._windows: RowGroupWriter | None = None
        self._stack = ExitStack()

    def __enter__(self) -> IndexBuilder:
        self._folder = self._stack.enter_context(folder_written_atomically(self._path))
        self._stack.push(self._refuse_unfinished)
        self._files = self._stack.enter_context(ExitStack())
        self._incoming_file = self._folder / "incoming.parquet"
        self._incoming = self._files.enter_context(
            RowGroupWriter(self._incoming_file, format.ACTIVATIONS_SCHEMA, _ACTIVATIONS_AT_ONCE)
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, traceback)

    def _refuse_unfinished(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None and not self._finished:
            raise InputError(f"the index {self._path} was not finished: call finish() before the block ends")

    def add_windows(self, batch: TokenBatch) -> None:
        """Append windows, whose tokens are shown around activations. Raises DataError when they go backwards."""
        if batch.first_window < self._next_window:
            raise DataError(
                f"window {batch.first_window} came after window {self._next_window - 1}: add each window once, in order"
            )
        n_windows, length = batch.tokens_BT.shape
        if self._windows is None:
            rows = max(1, format.TOKENS_PER_ROW_GROUP // length)
            self._windows = self._files.enter_context(
                RowGroupWriter(self._folder / format.WINDOWS_FILE, format.WINDOWS_SCHEMA, rows)
            )
        tokens, documents = _int32(batch.tokens_BT), _int32(batch.documents_BT)
        offsets = np.arange(0, tokens.size + 1, length, dtype=np.int32)
        self._windows.write(
            {
                "window": np.arange(batch.first_window, batch.first_window + n_windows, dtype=np.int32),
                "tokens": pa.ListArray.from_arrays(offsets, tokens.ravel()),
                "documents": pa.ListArray.from_arrays(offsets, documents.ravel()),
            }
        )
        self._tokens.update(np.unique(tokens).tolist())
        self._n_windows += n_windows
        self._next_window = batch.first_window + n_windows

    def add(self, codes: Codes, tokens_N: Tensor, windows_N: Tensor, positions_N: Tensor) -> None:
        """Append the activations of N tokens; ``codes`` has a row for each.

        Raises MismatchError when the codes are of another dictionary's width, NumericalError when a value is
        negative, infinite or undefined.
        """
        if codes.n_features != self._n_features:
            raise MismatchError(
                f"codes of {codes.n_features:,} features were given to an index of {self._n_features:,}: "
                "build it from the codes of one dictionary"
            )
        lengths = {len(tokens_N), len(windows_N), len(positions_N), codes.n_rows}
        if len(lengths) != 1:
            raise InputError(
                f"codes of {codes.n_rows} tokens came with {len(tokens_N)} tokens, {len(windows_N)} windows and "
                f"{len(positions_N)} positions: expected as many of each"
            )
        values = codes.values.detach().float().cpu().numpy()
        if not bool(np.isfinite(values).all()) or bool((values < 0).any()):
            raise NumericalError("the codes hold values that are negative, infinite or undefined: check the dictionary")
        active = values > 0  # TopK keeps its k entries even where fewer are above zero
        rows = codes.row_ids().cpu().numpy()[active]
        features = _int32(codes.feature_ids)[active]
        self._incoming.write(
            {
                "feature": features,
                "window": _int32(windows_N)[rows],
                "position": _int32(positions_N)[rows],
                "token": _int32(tokens_N)[rows],
                "value": values[active],
            }
        )
        self._tokens.update(tokens_N.unique().tolist())
        self._n_active_F += np.bincount(features, minlength=self._n_features)
        self._n_tokens += codes.n_rows

    def finish(
        self,
        W_dec_FD: Tensor,
        *,
        promoted: Callable[[Tensor], Tensor] | None,
        token_text: Callable[[int], str],
        decode: Callable[[Sequence[int]], str] | None = None,
        sources: Iterable[str] | None = None,
        provenance: Mapping[str, Any],
    ) -> None:
        """Sort the activations, derive the statistics and describe the whole in index.json.

        ``promoted`` takes decoder directions [n, D] to logits [n, V]; None at a site outside the residual stream.
        ``token_text``: a token as it reads in the middle of a text; ``decode``: several together, for texts whose
        tokens are parts of characters. ``sources``: the source of every document of the text, in order; None when
        they have but one.
        ``provenance``: what the index was made from, kept as it is. Raises NumericalError when no feature was
        active, DataError when an activation lies outside the windows that were added or there are fewer sources than
        documents, MismatchError when the decoder is of another width.
        """
        if W_dec_FD.shape[0] != self._n_features:
            raise MismatchError(
                f"a decoder of {W_dec_FD.shape[0]:,} features was given to an index of {self._n_features:,}: "
                "give the decoder of the dictionary that the codes come from"
            )
        if not self._n_active_F.any():
            raise NumericalError(
                f"no feature was active on any of {self._n_tokens:,} tokens: check that the dictionary belongs to this "
                "model and site, and that its input is scaled as in training"
            )
        if self._windows is None:
            raise DataError("no windows were added: an index needs the tokens that its activations came from")
        self._files.close()
        decoder = Decoder(W_dec_FD.detach(), promoted)
        with spilling_database(self._folder / "spill") as connection:
            self._check_places(connection)
            text = IndexedText.read(self._folder / format.WINDOWS_FILE)
            codes = CodesByToken.read([self._incoming_file], text, int(self._n_active_F.sum()))
            with (
                SourcesWriter(self._folder, text, repeat("text") if sources is None else sources) as by_source,
                WordsWriter(self._folder, connection, text, token_text, decode, self._n_features) as by_word,
                TogetherWriter(self._folder, codes, self._n_active_F, self._n_tokens) as together,
            ):
                self._tokens |= write_parts(
                    connection,
                    self._folder,
                    self._incoming_file,
                    self._n_active_F,
                    self._n_tokens,
                    decoder,
                    text,
                    [by_source, by_word, together],
                )
            texts = {token: token_text(token) for token in self._tokens}
            write_tokens(connection, self._folder, texts, self._n_features)
        self._incoming_file.unlink()
        format.write_index_file(
            self._folder,
            {
                "n_features": self._n_features,
                "n_alive": int(np.count_nonzero(self._n_active_F)),
                "n_activations": int(self._n_active_F.sum()),
                "n_tokens": self._n_tokens,
                "n_windows": self._n_windows,
                "provenance": dict(provenance),
            },
        )
        self._finished = True

    def _check_places(self, connection: duckdb.DuckDBPyConnection) -> None:
        query = _OUTSIDE_WINDOWS.format(
            incoming=format.sql_source(self._incoming_file),
            windows=format.sql_source(self._folder / format.WINDOWS_FILE),
        )
        if outside := connection.execute(query).fetchone():
            raise DataError(
                f"an activation lies at position {outside[1]} of window {outside[0]}, which is not among the "
                f"{self._n_windows:,} windows that were added: add the windows of every token that is encoded"
            )


def _int32(tensor: Tensor) -> NDArray[np.int32]:
    return tensor.cpu().numpy().astype(np.int32)
