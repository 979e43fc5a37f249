"""Activations on disk: shards of safetensors with checksums, that many trainings can read.

activations/
  manifest.json            what they are, the list of shards, what was left out; written last, after each shard
  shard-00000.safetensors  activations [N, D], tokens, windows, positions [N]; window_tokens, window_documents [W, T]

D is the width of all sites together: the activations of a token at several sites stand side by side.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from itertools import accumulate
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import safe_open
from torch import Tensor

from semascope.activations.outliers import OutlierCounts, OutlierFilter
from semascope.errors import ConfigError, DamagedError, MismatchError, NumericalError
from semascope.files import read_json, sha256, write_json, write_tensors
from semascope.records import ActivationBatch, Site, TokenBatch

# A shard is written when it is this large, or this old: what an interruption can lose is bounded both ways.
SHARD_BYTES = 1 << 28
SHARD_SECONDS = 20.0

STORED_TYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}


class Shard(BaseModel):
    """One file of a store."""

    model_config = ConfigDict(frozen=True)
    file: str
    rows: int
    windows: int
    bytes: int
    sha256: str


class Manifest(BaseModel):
    """What a store holds. ``origin`` says what it was made from, and is compared as a whole.

    ``widths``: the sites, in the order of their columns, each with its width. ``squared_norm_sums`` and
    ``recent_medians`` (of the outlier filter): one of each for every site.
    """

    format: Literal[2] = 2
    origin: dict[str, Any]
    widths: dict[str, int]
    dtype: str
    shards: list[Shard] = []
    squared_norm_sums: list[float] = []
    outliers: OutlierCounts = OutlierCounts()
    recent_medians: list[list[float]] = []
    complete: bool = False

    @property
    def rows(self) -> int:
        """How many activations there are."""
        return sum(shard.rows for shard in self.shards)

    @property
    def windows(self) -> int:
        """How many windows they come from."""
        return sum(shard.windows for shard in self.shards)

    @property
    def columns(self) -> dict[Site, slice]:
        """Where the activations of each site are."""
        return side_by_side({Site.parse(site): width for site, width in self.widths.items()})


def side_by_side(widths: Mapping[Site, int]) -> dict[Site, slice]:
    """The columns of sites that stand side by side in this order."""
    ends = list(accumulate(widths.values(), initial=0))
    return {site: slice(first, last) for site, first, last in zip(widths, ends, ends[1:], strict=False)}


def _read_manifest(folder: Path) -> Manifest:
    file = folder / "manifest.json"
    if not file.is_file():
        raise DamagedError(f"{folder} holds no manifest.json: it is no store of activations")
    try:
        return Manifest.model_validate(read_json(file))
    except ValidationError as error:
        raise DamagedError(
            f"{file} is no manifest of activations that this version reads ({error}): delete {folder} and harvest again"
        ) from error


class StoreWriter:
    """Writes a store, shard by shard; opened on an unfinished one, it goes on after its last shard.

    A block that ends by an error or an interruption, whatever the moment, leaves the shards written so far. Raises
    MismatchError for a store of another origin.
    """

    def __init__(
        self, folder: Path, *, origin: dict[str, Any], widths: Mapping[Site, int], dtype: str = "float16",
        writes: bool = True,
    ) -> None:  # fmt: skip
        """``writes``: False where another process writes what this one sees too."""
        if dtype not in STORED_TYPES:
            raise ConfigError(f"activations cannot be stored as '{dtype}': choose one of {', '.join(STORED_TYPES)}")
        self._folder, self._writes = folder, writes
        named = {str(site): width for site, width in widths.items()}
        if (folder / "manifest.json").exists():
            self.manifest = _read_manifest(folder)
            if (self.manifest.origin, self.manifest.widths) != (origin, named):
                raise MismatchError(
                    f"{folder} holds activations of {self.manifest.origin}, and {origin} was asked for: "
                    "choose another folder, or delete that one"
                )
        else:
            self.manifest = Manifest(origin=origin, widths=named, dtype=dtype, squared_norm_sums=[0.0] * len(named))
        self.outliers = OutlierFilter(*self.manifest.recent_medians, counts=self.manifest.outliers)
        self._pending: list[tuple[TokenBatch, ActivationBatch]] = []
        self._pending_bytes = 0
        self._last_flush = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._writes:
            self._flush(complete=True)

    def add(self, windows: TokenBatch, activations: ActivationBatch) -> None:
        """Append the activations of a batch of windows."""
        stored = activations.values_ND.to(STORED_TYPES[self.manifest.dtype])
        if not torch.isfinite(stored).all():
            raise NumericalError(
                f"activations of up to {activations.values_ND.abs().max().item():.3g} do not fit into "
                f"{self.manifest.dtype}: store them as bfloat16 or float32"
            )
        if not self._writes:
            return
        squares_D = activations.values_ND.double().square().sum(dim=0)
        sums = zip(self.manifest.squared_norm_sums, self.manifest.columns.values(), strict=True)
        self.manifest.squared_norm_sums = [so_far + squares_D[columns].sum().item() for so_far, columns in sums]
        self._pending.append(
            (windows, ActivationBatch(stored, activations.tokens_N, activations.windows_N, activations.positions_N))
        )
        self._pending_bytes += stored.nbytes
        if self._pending_bytes >= SHARD_BYTES or time.monotonic() - self._last_flush >= SHARD_SECONDS:
            self._flush(complete=False)

    def _flush(self, *, complete: bool) -> None:
        manifest = self.manifest
        if self._pending:
            windows, batches = zip(*self._pending, strict=True)
            file = self._folder / f"shard-{len(manifest.shards):05d}.safetensors"
            write_tensors(
                file,
                {
                    "activations": torch.cat([b.values_ND for b in batches]).cpu(),
                    "tokens": torch.cat([b.tokens_N for b in batches]).int().cpu(),
                    "windows": torch.cat([b.windows_N for b in batches]).int().cpu(),
                    "positions": torch.cat([b.positions_N for b in batches]).int().cpu(),
                    "window_tokens": torch.cat([w.tokens_BT for w in windows]).int().cpu(),
                    "window_documents": torch.cat([w.documents_BT for w in windows]).int().cpu(),
                },
            )
            n_windows = sum(len(w.tokens_BT) for w in windows)
            rows = sum(len(b) for b in batches)
            shard = Shard(file=file.name, rows=rows, windows=n_windows, bytes=file.stat().st_size, sha256=sha256(file))
            manifest.shards = [*manifest.shards, shard]
            self._pending, self._pending_bytes, self._last_flush = [], 0, time.monotonic()
        manifest.complete = complete
        manifest.recent_medians = self.outliers.recent_medians
        write_json(self._folder / "manifest.json", manifest.model_dump())


class ActivationStore:
    """A finished store, read through the page cache: random access to rows costs no memory of its own."""

    def __init__(self, folder: Path) -> None:
        """Open a store. Raises DamagedError, naming the file, when a shard is missing or of another length."""
        self.folder = folder
        self.manifest = _read_manifest(folder)
        if not self.manifest.complete:
            raise DamagedError(f"{folder} is unfinished: run the command that harvested it again, and it goes on")
        for shard in self.manifest.shards:
            file = folder / shard.file
            length = file.stat().st_size if file.is_file() else None
            if length != shard.bytes:
                raise DamagedError(
                    f"{file} is {'missing' if length is None else f'{length} bytes long'}, and should be {shard.bytes} "
                    f"bytes long: delete {folder} and harvest again"
                )
        self._activations = [self._tensor(shard, "activations") for shard in self.manifest.shards]
        self._first_rows = torch.tensor([0] + [s.rows for s in self.manifest.shards]).cumsum(0)

    @staticmethod
    def is_complete(folder: Path) -> bool:
        """Whether a finished store is there; raises DamagedError when its manifest cannot be read."""
        return (folder / "manifest.json").exists() and _read_manifest(folder).complete

    def __len__(self) -> int:
        return self.manifest.rows

    @property
    def columns(self) -> dict[Site, slice]:
        """Where the activations of each site are in a row."""
        return self.manifest.columns

    @property
    def mean_squared_norms(self) -> dict[Site, float]:
        """The mean of ``‖x‖²`` over all stored activations of each site."""
        sums = self.manifest.squared_norm_sums
        return {site: total / max(1, len(self)) for site, total in zip(self.columns, sums, strict=True)}

    def verify(self, *, part: int = 0, parts: int = 1) -> None:
        """Read every byte, or one of several parts. Raises DamagedError, naming the file, when a checksum differs."""
        for shard in self.manifest.shards[part::parts]:
            if sha256(self.folder / shard.file) != shard.sha256:
                raise DamagedError(
                    f"{self.folder / shard.file} is not what was written (its checksum differs): delete {self.folder} "
                    "and harvest again"
                )

    def rows(self, rows_N: Tensor) -> Tensor:
        """float32 [N, D]: the activations with the given row numbers."""
        out_ND = torch.empty(len(rows_N), sum(self.manifest.widths.values()))
        shards_N = torch.bucketize(rows_N, self._first_rows, right=True) - 1
        for shard, activations_ND in enumerate(self._activations):
            chosen = (shards_N == shard).nonzero().flatten()
            if len(chosen):
                out_ND[chosen] = activations_ND[rows_N[chosen] - self._first_rows[shard]].float()
        return out_ND

    def batches(self, site: Site, *, rows: int = 8192) -> Iterator[tuple[TokenBatch | None, ActivationBatch]]:
        """All activations of a site in the order of the text; a shard's windows come with its first batch."""
        first_window = 0
        for shard, activations_ND in zip(self.manifest.shards, self._activations, strict=True):
            names = ("tokens", "windows", "positions")
            tokens, windows, positions = (self._tensor(shard, name).long() for name in names)
            text: TokenBatch | None = TokenBatch(
                self._tensor(shard, "window_tokens").long(),
                self._tensor(shard, "window_documents").long(),
                first_window,
            )
            for start in range(0, shard.rows, rows):
                part = slice(start, start + rows)
                values_ND = activations_ND[part, self.columns[site]].float()
                yield text, ActivationBatch(values_ND, tokens[part], windows[part], positions[part])
                text = None
            first_window += shard.windows

    def _tensor(self, shard: Shard, name: str) -> Tensor:
        with safe_open(self.folder / shard.file, framework="pt") as file:
            return file.get_tensor(name)
