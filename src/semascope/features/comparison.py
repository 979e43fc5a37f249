"""Two dictionaries of one site beside each other: what they share, what is in one alone, and how features split.

    counterparts/KEY/narrower.parquet   the counterparts of the narrower dictionary's features in the wider one
    counterparts/KEY/wider.parquet      the other way round
    counterparts/KEY/comparison.json    whether both were indexed on the same tokens, what is chance; written last

It lies in the index's folder of the narrower one, and goes when that index is built again. KEY is made from the
identities of both, so what is read is of these two and no other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from semascope.errors import InputError, MismatchError
from semascope.features import format
from semascope.features.building import IndexedText
from semascope.features.counterparts import Counterpart, Counterparts, Side, write_counterparts
from semascope.features.decoder import chance_cosine, unit_rows
from semascope.features.index import FeatureIndex
from semascope.files import folder_written_atomically, read_json, write_json

_FOLDER = "counterparts"
_NARROWER, _WIDER, _DESCRIPTION = "narrower.parquet", "wider.parquet", "comparison.json"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Indexed:
    """An index and the identity of the dictionary and the index, which changes when either does."""

    index: FeatureIndex
    identity: str


@dataclass(frozen=True, slots=True)
class Family:
    """A feature of one dictionary and its children: the features of the other whose best counterpart it is."""

    parent: int
    children: tuple[Counterpart, ...]


@dataclass(frozen=True)
class Comparison:
    """Two dictionaries: ``here`` the counterparts of the first one's features in the second, ``there`` the other way
    round.

    ``chance``: the cosine that 99 % of random directions, spread as the features of either, do not reach with any
    feature of the other. ``threshold``: features whose cosine is below it are not taken for counterparts.
    """

    here: Counterparts
    there: Counterparts
    chance: float
    threshold: float

    @cached_property
    def turned(self) -> Comparison:
        """The same from the other side."""
        return replace(self, here=self.there, there=self.here)

    def at(self, threshold: float) -> Comparison:
        """The same with another threshold."""
        return replace(self, threshold=threshold)

    @property
    def same_text(self) -> bool:
        """Whether both were indexed on the same tokens, so that it is known which features fire together."""
        return self.here.same_text

    def alone(self) -> NDArray[np.intp]:
        """The features of the first that fire and have no counterpart in the second, the least like anything first."""
        found = np.flatnonzero((self.here.n_active_F > 0) & (self.here.cosine_F < self.threshold))
        return found[np.argsort(self.here.cosine_F[found], kind="stable")]

    def split(self) -> NDArray[np.intp]:
        """The features of the first with several children in the second, those with the most first."""
        n_children_F = self.n_children()
        found = np.flatnonzero(n_children_F > 1)
        return found[np.argsort(-n_children_F[found], kind="stable")]

    def shared(self) -> NDArray[np.intp]:
        """The features of the first that are the best counterpart of their best counterpart, the most alike first."""
        best_F, cosine_F = self.here.best_F, self.here.cosine_F
        found = np.flatnonzero((best_F >= 0) & (cosine_F >= self.threshold))
        found = found[self.there.best_F[best_F[found]] == found]
        return found[np.argsort(-cosine_F[found], kind="stable")]

    def n_children(self) -> NDArray[np.int64]:
        """How many children each feature of the first has, [F]."""
        best = self.there.best_F[(self.there.cosine_F >= self.threshold) & (self.there.best_F >= 0)]
        return np.bincount(best, minlength=len(self.here.n_active_F))

    def counterparts(self, feature: int) -> list[Counterpart]:
        """The counterparts in the second of a feature of the first, the nearest first; also those below the threshold.

        Those of which it is the best counterpart are told with the same figures as in ``family``.
        """
        children = {one.feature: one for one in self.there.as_best(feature, self.there.with_best(feature))}
        return [children.get(one.feature, one) for one in self.here.of(feature)]

    def family(self, parent: int) -> Family:
        """A feature of the first with its children in the second, the nearest first."""
        children = self.there.with_best(parent)
        children = children[self.there.cosine_F[children] >= self.threshold]
        children = children[np.argsort(-self.there.cosine_F[children], kind="stable")]
        return Family(parent, tuple(self.there.as_best(parent, children)))

    def histogram(self, bins: int) -> NDArray[np.int64]:
        """How many features of the first that fire have a best cosine in each of equal intervals from 0 to 1."""
        alive_F = self.here.n_active_F > 0
        return np.histogram(self.here.cosine_F[alive_F].clip(0, 1), bins, (0, 1))[0]


def find_comparison(first: Indexed, second: Indexed) -> Comparison | None:
    """The comparison of two dictionaries that was made before, if it was.

    Raises DamagedError when it is damaged, InputError when they are one and the same.
    """
    narrower, wider = _ordered(first, second)
    folder = _folder(narrower, wider)
    if not (folder / _DESCRIPTION).is_file():
        return None
    found = _read(folder, (folder / _DESCRIPTION).stat().st_mtime_ns, narrower.index, wider.index)
    return found if narrower is first else found.turned


@lru_cache(maxsize=8)
def _read(folder: Path, made_ns: int, narrower: FeatureIndex, wider: FeatureIndex) -> Comparison:
    """What is in ``folder``; what is derived from it is kept, too, as long as nobody makes it again."""
    del made_ns
    described = read_json(folder / _DESCRIPTION)
    same_text, chance = bool(described["same_text"]), float(described["chance"])
    n_narrower, n_wider = (one.summary.n_active_F for one in (narrower, wider))
    return Comparison(
        Counterparts(folder / _NARROWER, n_narrower, n_wider, same_text=same_text),
        Counterparts(folder / _WIDER, n_wider, n_narrower, same_text=same_text),
        chance,
        threshold=chance,
    )


def make_comparison(first: Indexed, second: Indexed, W_first_FD: Tensor, W_second_GD: Tensor) -> Comparison:
    """Compare two dictionaries by their decoder directions, and keep the comparison beside the narrower one's index.

    Raises MismatchError when the directions are of different widths or do not belong to the indexes, NumericalError
    when a weight is not finite.
    """
    if W_first_FD.shape[1] != W_second_GD.shape[1]:
        raise MismatchError(
            f"directions of width {W_first_FD.shape[1]:,} cannot be compared with those of width "
            f"{W_second_GD.shape[1]:,}: give two dictionaries of one model and site"
        )
    for one, W_FD in ((first, W_first_FD), (second, W_second_GD)):
        if len(W_FD) != one.index.n_features:
            raise MismatchError(
                f"a decoder of {len(W_FD):,} features was given for an index of {one.index.n_features:,}: give the "
                "decoder of the dictionary that was indexed"
            )
    sides = {
        one.identity: Side(one.index, unit_rows(W_FD).cpu())
        for one, W_FD in ((first, W_first_FD), (second, W_second_GD))
    }
    narrower, wider = _ordered(first, second)
    text = _common_text(narrower.index, wider.index)
    here, there = sides[narrower.identity], sides[wider.identity]
    with folder_written_atomically(_folder(narrower, wider)) as folder:
        write_counterparts(folder / _NARROWER, here, there, text)
        write_counterparts(folder / _WIDER, there, here, text)
        write_json(folder / _DESCRIPTION, {"same_text": text is not None, "chance": _chance(here, there)})
    found = find_comparison(first, second)
    assert found is not None
    return found


def _ordered(first: Indexed, second: Indexed) -> tuple[Indexed, Indexed]:
    if first.identity == second.identity:
        raise InputError("a dictionary has nothing to be compared with in itself: give two dictionaries")
    narrower, wider = sorted((first, second), key=lambda one: (one.index.n_features, one.identity))
    return narrower, wider


def _folder(narrower: Indexed, wider: Indexed) -> Path:
    key = blake2b(f"{_VERSION} {narrower.identity} {wider.identity}".encode(), digest_size=16).hexdigest()
    return narrower.index.folder / _FOLDER / key


def _chance(here: Side, there: Side) -> float:
    return max(chance_cosine(here.firing_nD, there.firing_nD), chance_cosine(there.firing_nD, here.firing_nD))


def _common_text(first: FeatureIndex, second: FeatureIndex) -> IndexedText | None:
    """What both were indexed on, if that is the same."""
    if (first.n_tokens, first.n_windows) != (second.n_tokens, second.n_windows):
        return None
    here, there = (IndexedText.read(one.folder / format.WINDOWS_FILE) for one in (first, second))
    same = all(
        np.array_equal(getattr(here, name), getattr(there, name)) for name in ("windows_W", "starts_W", "tokens_N")
    )
    return here if same else None
