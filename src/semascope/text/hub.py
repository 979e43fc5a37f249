"""Datasets of the Hugging Face hub, streamed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from semascope.errors import DataError, UnavailableError

_NAME = re.compile(r"(?P<dataset>[\w.-]+/[\w.-]+)(/(?P<configuration>[\w.-]+))?(:(?P<split>[\w.]+))?")
_SHARD_BUFFER_ROWS = 1_000


@dataclass(frozen=True)
class HubName:
    """``owner/name``, and optionally a configuration and a split of it."""

    dataset: str
    configuration: str | None
    split: str

    def __str__(self) -> str:
        return f"{self.dataset}{f'/{self.configuration}' if self.configuration else ''}:{self.split}"


def parse_hub_name(text: str) -> HubName | None:
    """Read ``owner/name[/configuration][:split]``; None when the text has another form."""
    found = _NAME.fullmatch(text)
    if found is None:
        return None
    return HubName(found["dataset"], found["configuration"], found["split"] or "train")


def read_hub_rows(name: HubName, *, shuffle_seed: int | None) -> Iterator[dict[str, Any]]:
    """Stream the rows of a dataset, its shards in the order of ``shuffle_seed`` if one is given.

    Raises DataError when the dataset, its configuration or its split does not exist, and UnavailableError when the
    hub cannot be reached.
    """
    # Imported here because it takes a second, and most corpora are files.
    import datasets
    from datasets.exceptions import DatasetNotFoundError

    try:
        rows = datasets.load_dataset(name.dataset, name.configuration, split=name.split, streaming=True)
        if shuffle_seed is not None:
            rows = rows.shuffle(seed=shuffle_seed, buffer_size=_SHARD_BUFFER_ROWS)
        yield from rows
    except DatasetNotFoundError as error:
        raise DataError(
            f"'{name.dataset}' is neither a file or folder here nor a dataset of the hub that you may read: "
            "check the spelling, or log in with 'hf auth login' if it is gated"
        ) from error
    except ValueError as error:
        raise DataError(f"the dataset '{name}' cannot be read: {error}") from error
    except OSError as error:
        raise UnavailableError(
            f"the dataset '{name}' cannot be reached ({error}): check the network, or give a local file or folder"
        ) from error
