"""What people declare in YAML, suites and rules: read and checked against a form, with errors that say where."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from semascope.errors import SemascopeError

Form = TypeVar("Form", bound=BaseModel)


def declared(text: str, form: type[Form], *, place: str, what: str, expected: str, error: type[SemascopeError]) -> Form:
    """The content of the YAML file ``place``, ``what`` as "suite of concepts". Raises ``error`` for any other."""
    try:
        content: Any = yaml.safe_load(text)
    except yaml.YAMLError as wrong:
        raise error(f"{place} is not YAML ({' '.join(str(wrong).split())}): correct it") from wrong
    try:
        return form.model_validate(content)
    except ValidationError as wrong:
        first = wrong.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise error(
            f"{place} is no {what}: {where}: {first['msg']} (given: {first['input']!r}); expected {expected}"
        ) from wrong


def require_different(names: Iterable[str], *, what: str, place: str, error: type[SemascopeError]) -> None:
    """Raise ``error`` when two entries have one name. ``what``: such as "rule"."""
    names = list(names)
    if repeated := sorted({one for one in names if names.count(one) > 1}):
        raise error(f"{place} has more than one {what} named {', '.join(repeated)}: give each its own name")
