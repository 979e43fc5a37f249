"""Two runs beside each other: whether they can be compared, and their comparison, made once and kept."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

from semascope import progress
from semascope.errors import MismatchError
from semascope.features import Comparison, Indexed, find_comparison, make_comparison
from semascope.files import sha256
from semascope.runs.folder import RunFolder


def why_not_comparable(run: RunFolder, other: RunFolder) -> str | None:
    """Why two runs cannot be compared, for people; None when they can be.

    They have to be of one model, and read and write at the same sites.
    """
    told = {
        "models": [_model(one) for one in (run, other)],
        "sites": [str(one.site) for one in (run, other)],
        "sites that they write to": [str(one.output_site) for one in (run, other)],
    }
    for what, (here, there) in told.items():
        if here != there:
            return (
                f"{run.folder} and {other.folder} are of different {what}, {here} and {there}: "
                "only dictionaries of one model and site can be compared"
            )
    if run.folder.resolve() == other.folder.resolve():
        return f"{run.folder} was given twice: give two runs"
    return None


def find_compared(run: RunFolder, other: RunFolder) -> Comparison | None:
    """The comparison of two runs as they are now, if it was made. Raises MismatchError when they cannot be compared."""
    if why := why_not_comparable(run, other):
        raise MismatchError(why)
    return find_comparison(_indexed(run), _indexed(other))


def compare_runs(run: RunFolder, other: RunFolder) -> Comparison:
    """The comparison of two runs, from the first's side, made now if it was not made before.

    Raises MismatchError for runs of different models, sites or widths of activations.
    """
    if found := find_compared(run, other):
        progress.message("Reusing the comparison that was made before")
        return found
    return make_comparison(
        _indexed(run), _indexed(other), run.dictionary.W_dec_FO.detach(), other.dictionary.W_dec_FO.detach()
    )


def _model(run: RunFolder) -> str:
    model = run.config.model
    return model.name if model.revision is None else f"{model.name} at {model.revision}"


def _indexed(run: RunFolder) -> Indexed:
    index = run.features
    description = (index.folder / "index.json").read_bytes()
    return Indexed(index, blake2b(_weights(run).encode() + description, digest_size=16).hexdigest())


def _weights(run: RunFolder) -> str:
    """A hash of the dictionary's weights."""
    file = run.folder / "dictionary" / "sae_weights.safetensors"
    known = file.stat()
    return _hashed(file, known.st_mtime_ns, known.st_size)


@lru_cache(maxsize=64)
def _hashed(file: Path, changed_ns: int, size: int) -> str:
    """The hash of a file, computed once as long as it does not change."""
    del changed_ns, size
    return sha256(file)
