"""Rules by which texts are watched, which are a YAML file.

rules:
  - name: SQL injection
    label: sql-injection     # what labelled texts call it; the name, unless given
    any:                     # or all
      - {feature: 166, above: 12}      # an activation
      - {feature: 45, above: 0.3x}     # a multiple of the feature's maximum in the index
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from semascope.concepts.declared import declared, require_different
from semascope.errors import ConfigError
from semascope.records import Condition
from semascope.text import read_text_file


@dataclass(frozen=True)
class Rule:
    """Flags a text when any (or all) of its conditions hold somewhere in it.

    ``label``: that of labelled texts which it should flag.
    """

    name: str
    label: str
    conditions: tuple[Condition, ...]
    needs_all: bool = False


class _Clause(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    feature: Annotated[int, Field(ge=0)]
    above: float | str


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[str, Field(min_length=1)]
    label: str | None = None
    any: list[_Clause] = []
    all: list[_Clause] = []

    @model_validator(mode="after")
    def _one_list(self) -> _Entry:
        if bool(self.any) == bool(self.all):
            raise ValueError("expected conditions under 'any' or under 'all'")
        return self


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    rules: Annotated[list[_Entry], Field(min_length=1)]


def read_rules(path: Path, n_features: int) -> tuple[Rule, ...]:
    """The rules of a file, for a dictionary of so many features.

    Raises ConfigError when it is missing or not what is expected, and for a feature that does not exist.
    """
    if not path.is_file():
        raise ConfigError(f"{path} does not exist: expected a YAML file of rules")
    expected = "a list 'rules' of entries with a name and a list 'any' or 'all' of {feature: 166, above: 12}"
    text, place = read_text_file(path), str(path)
    entries = declared(text, _File, place=place, what="file of rules", expected=expected, error=ConfigError).rules
    require_different((entry.name for entry in entries), what="rule", place=place, error=ConfigError)
    return tuple(_rule(entry, path, n_features) for entry in entries)


def _rule(entry: _Entry, path: Path, n_features: int) -> Rule:
    def condition(clause: _Clause) -> Condition:
        place = f"{path}, rule '{entry.name}'"
        if clause.feature >= n_features:
            raise ConfigError(
                f"{place}: there is no feature {clause.feature}, the dictionary has features 0 to {n_features - 1}"
            )
        text = str(clause.above)
        try:
            threshold = Condition(clause.feature, float(text.removesuffix("x")), in_maxima=text.endswith("x"))
        except ValueError:
            raise ConfigError(
                f"{place}: '{text}' is no threshold: expected an activation such as 12, or a multiple of the maximum "
                "such as 0.3x"
            ) from None
        if threshold.above < 0:
            raise ConfigError(f"{place}: the threshold {text} is below zero, which every token exceeds")
        return threshold

    clauses = entry.any or entry.all
    return Rule(entry.name, entry.label or entry.name, tuple(map(condition, clauses)), needs_all=bool(entry.all))
