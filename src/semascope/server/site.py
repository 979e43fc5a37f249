"""A static copy of some features: the page, and the answers of the API as files at their addresses.

The page finds out of its head that it is a copy, which pages it has and which features; it then asks for files
(``api/runs/demo/features/12.json``), and searches and sorts the list of features by itself.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from semascope import progress
from semascope.errors import ConfigError, InputError, UnavailableError
from semascope.files import folder_written_atomically, write_json
from semascope.server import around, contexts, corpus, features, maps, runs
from semascope.server.page import FOLDER
from semascope.server.security import POLICY
from semascope.server.served import ServedRun
from semascope.server.shown import context, summaries

MOST_FEATURES = 10_000

_DESCRIPTION = "semascope-site.json"
_OURS = frozenset({_DESCRIPTION, "api", "assets", "index.html", "LICENSES.txt"})
_PER_INTERVAL = 3
_CHARSET = '<meta charset="utf-8" />'
_JSON: TypeAdapter[Any] = TypeAdapter(Any)


@dataclass(frozen=True, slots=True)
class SiteSize:
    """What a static copy is on disk."""

    n_features: int
    n_files: int
    n_bytes: int


def export_site(run: ServedRun, folder: Path, chosen: Sequence[int], *, page: Path = FOLDER) -> SiteSize:
    """Write a static copy of some features of a run, in place of an earlier copy in the folder.

    Labels and stars come along; notes and lists do not. ``page``: the folder of the built page. Raises InputError for
    no feature, more than 10,000 or one that is not there, ConfigError for a folder that holds something else, and
    UnavailableError where the page was not built or the disk is full; the folder is then as it was.
    """
    folder, ids = folder.resolve(), sorted(set(chosen))
    _check(run, folder, ids, page)
    with folder_written_atomically(folder) as made:
        shutil.copytree(page, made, dirs_exist_ok=True)
        _mark(made / "index.html", run, ids)
        _write(made, _of_run(run, ids))
        with progress.task("Export", total=len(ids), unit="features") as shown:
            for feature in ids:
                _write(made, _of_feature(run, feature))
                shown.advance()
        write_json(made / _DESCRIPTION, {"made_with": f"semascope {version('semascope')}", "features": len(ids)})
    sizes = [file.stat().st_size for file in folder.rglob("*") if file.is_file()]
    return SiteSize(len(ids), len(sizes), sum(sizes))


def _check(run: ServedRun, folder: Path, ids: Sequence[int], page: Path) -> None:
    if not ids:
        raise InputError("there is no feature to export: choose some")
    if len(ids) > MOST_FEATURES:
        raise InputError(
            f"{len(ids):,} features were chosen, and a static copy has at most {MOST_FEATURES:,}, because a browser "
            "searches them by itself: choose fewer, or let others use 'semascope serve'"
        )
    for feature in ids:
        if feature not in run.index:
            raise InputError(
                f"there is no feature {feature}: the index of '{run.name}' holds 0 to {run.index.n_features - 1}"
            )
    if not (page / "index.html").is_file():
        raise UnavailableError(
            "the page has not been built, as it is when Semascope is installed: run 'make web' in a copy of its "
            "repository, then try again"
        )
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file: choose a folder")
    there = {path.name for path in folder.iterdir()} if folder.exists() else set[str]()
    if there and (_DESCRIPTION not in there or not there <= _OURS):
        strange = ", ".join(sorted(there - _OURS)[:3]) or "something else"
        raise ConfigError(
            f"{folder} holds {strange}, which is not of a static copy, and a copy replaces all that is there: choose "
            "another folder"
        )


def _mark(index: Path, run: ServedRun, ids: Sequence[int]) -> None:
    """Tell the page in its head that it is a copy, and the browser what it may do, as the server's headers would."""
    pages = ["overview", "features", "feature", *(["map"] if run.map else [])]
    # A policy in a page can say nothing about frames.
    policy = "; ".join(part for part in POLICY if not part.startswith("frame-ancestors"))
    head = (
        _CHARSET,
        f'<meta http-equiv="Content-Security-Policy" content="{policy}" />',
        '<meta name="referrer" content="no-referrer" />',
        f'<meta name="semascope-pages" content="{" ".join(pages)}" />',
        f'<meta name="semascope-features" content="{" ".join(map(str, ids))}" />',
    )
    html = index.read_text(encoding="utf-8")
    assert html.count(_CHARSET) == 1
    index.write_text(html.replace(_CHARSET, "\n    ".join(head)), encoding="utf-8")


def _write(folder: Path, answers: Mapping[str, Any]) -> None:
    for address, answer in answers.items():
        file = folder / "api" / f"{address}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(_JSON.dump_json(answer))


def _of_run(run: ServedRun, ids: Sequence[int]) -> dict[str, Any]:
    """What the API says of the run at its addresses, as far as it is about these features."""
    wanted, address = set(ids), f"runs/{run.name}"
    overview = runs.get_run(run)
    overview.n_labelled = len(wanted.intersection(run.catalog.labelled()))
    overview.n_starred = len(wanted.intersection(run.catalog.starred()))
    listed = summaries(run, run.index.of(ids))
    answers: dict[str, Any] = {
        "runs": [overview.model_dump(include=set(runs.RunSummary.model_fields))],
        address: overview,
        f"{address}/features": features.FeaturePage(total=len(listed), features=listed),
    }
    if run.map:
        answers[f"{address}/map"] = _points(maps.get_map(run), wanted)
        names = maps.get_map_names(run)
        answers[f"{address}/map/names"] = maps.NamesOnMap(
            labels={feature: label for feature, label in names.labels.items() if feature in wanted},
            concepts={feature: concepts for feature, concepts in names.concepts.items() if feature in wanted},
        )
    return answers


def _points(told: maps.PointsOfMap, wanted: set[int]) -> maps.PointsOfMap:
    kept = [place for place, feature in enumerate(told.feature) if feature in wanted]
    return maps.PointsOfMap(
        feature=[told.feature[place] for place in kept],
        x=[told.x[place] for place in kept],
        y=[told.y[place] for place in kept],
        density=[told.density[place] for place in kept],
        regions=told.regions,
    )


def _of_feature(run: ServedRun, feature: int) -> dict[str, Any]:
    """What the API says of a feature at its addresses."""
    address = f"runs/{run.name}/features/{feature}"
    page = run.index.page(feature, per_interval=_PER_INTERVAL, context=contexts.WIDTHS["medium"])
    return {
        address: features.get_feature(run, feature).model_copy(update={"note": None, "lists": []}),
        f"{address}/around": around.get_around(run, feature),
        f"{address}/contexts": [context(run, one) for one in page.top],
        f"{address}/intervals": [contexts.ShownInterval.of(run, one) for one in page.intervals],
        f"{address}/together": corpus.list_together(run, feature),
        f"{address}/sources": corpus.list_sources(run, feature),
    }
