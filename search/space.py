"""What is searched: a file with the values that each setting may take, checked before anything trains."""

import json
import math
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING
from typing import Any
from typing import get_args

from ..errors import InputError
from ..errors import nearest
from ..errors import show
from ..settings.fold_settings import as_block
from ..settings.fold_settings import why_fixed
from ..settings.fold_settings import with_values
from ..settings.recipe import ALIASES
from ..settings.settings import FIELDS
from ..settings.settings import Settings
from ..settings.settings import check_setting
from ..settings.tuning import without_effect
from ..settings.values import parse_json
from ..settings.values import training_argument
from ..settings.values import training_argument_kinds

if TYPE_CHECKING:
    from optuna import Trial

_KEYS = ("low", "high", "step", "log", "choices")
_FORMS = '{"low": 1e-4, "high": 1e-2, "log": true} or {"choices": [64, 128, 256]}'
_COMBINATIONS = 512  # that are looked at, at most
_FEW = 16  # values of a range that are all looked at


@dataclass(frozen=True)
class Dimension:
    """The values that a setting may take.

    Args:
        name: of the setting.
        choices: all of them; () for a range.
        low, high: the ends of a range, both in it; of whole numbers where the setting is one.
        step: between two values of a range; None, any (1 of whole numbers).
        log: whether values are drawn evenly on a logarithmic scale.
    """

    name: str
    choices: tuple[Any, ...] = ()
    low: int | float = 0
    high: int | float = 0
    step: int | float | None = None
    log: bool = False

    def suggest(self, trial: "Trial") -> Any:
        """The value that a trial tries."""
        if self.choices:
            return trial.suggest_categorical(self.name, self.choices)
        if isinstance(self.low, int):
            return trial.suggest_int(self.name, self.low, self.high, step=self.step or 1, log=self.log)
        return trial.suggest_float(self.name, self.low, self.high, step=self.step, log=self.log)

    def __contains__(self, value: Any) -> bool:
        """Whether a trial could try this value."""
        if self.choices:
            return any(value == each and type(value) is type(each) for each in self.choices)
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            return False
        steps = 0 if self.step is None else (value - self.low) / self.step
        return math.isclose(steps, round(steps), abs_tol=1e-9)

    @property
    def some(self) -> tuple[Any, ...]:
        """All values where they are few, else the ends of the range: what shows whether it goes with others."""
        if self.choices:
            return self.choices
        step = self.step or (1 if isinstance(self.low, int) else 0)
        steps = round((self.high - self.low) / step) if step else _FEW
        if steps >= _FEW:
            return (self.low, self.high)
        return tuple(type(self.low)(round(self.low + number * step, 12)) for number in range(steps + 1))

    def __str__(self) -> str:
        if self.choices:
            return ", ".join(map(show, self.choices))
        step = "" if self.step is None else f" in steps of {self.step:g}"
        return f"{self.low:g} to {self.high:g}{step}{', logarithmic' if self.log else ''}"

    def card(self) -> dict[str, Any]:
        """As in the file."""
        if self.choices:
            return {"choices": list(self.choices)}
        step = {} if self.step is None else {"step": self.step}
        return {"low": self.low, "high": self.high, **step, **({"log": True} if self.log else {})}


@dataclass(frozen=True)
class Space:
    """All that is searched.

    Args:
        dimensions: a setting each.
    """

    dimensions: tuple[Dimension, ...]

    @property
    def names(self) -> list[str]:
        """Of the settings."""
        return [dimension.name for dimension in self.dimensions]

    def suggest(self, trial: "Trial") -> dict[str, Any]:
        """The settings that a trial tries, by name."""
        return {dimension.name: dimension.suggest(trial) for dimension in self.dimensions}

    def own_values(self, settings: Settings) -> dict[str, Any] | None:
        """The values that settings have already, in the types of the space; None where some can't be tried."""
        found = {}
        for dimension in self.dimensions:
            value = value_of(settings, dimension.name)
            if not dimension.choices and isinstance(dimension.low, float) and isinstance(value, int):
                value = float(value)
            if value not in dimension:
                return None
            found[dimension.name] = value
        return found

    def card(self) -> dict[str, Any]:
        """As in the file."""
        return {dimension.name: dimension.card() for dimension in self.dimensions}


def value_of(settings: Settings, name: str) -> Any:
    """The value of a setting, or of a field of TrainingArguments; None of one of these that was not given."""
    return getattr(settings, name) if name in FIELDS else settings.training_arguments.get(name)


# ---- the file -------------------------------------------------------------------------------------------------------


def read_space(path: str | Path) -> Space:
    """The space in a JSON file: {setting: {"low", "high", "step", "log"} or {"choices"}}.

    Raises:
        InputError: naming file, setting, key and value, and what would be right.
    """
    try:
        found = parse_json(Path(path).expanduser().read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--space {path}: can't be read as a text file: {error}") from None
    except ValueError as error:
        raise InputError(f"--space {path}: no valid JSON: {error}") from None
    if not isinstance(found, dict) or not found:
        raise InputError(f"--space {path}: is {show(found)}, but must be an object: a setting's name, then {_FORMS}.")
    dimensions: dict[str, Dimension] = {}
    for given, values in found.items():
        name = ALIASES.get(given, given)
        _check_name(path, name)
        if name in dimensions:
            raise InputError(f"--space {path}: {given} and {name} mean the same: give one.")
        dimensions[name] = _dimension(f"--space {path}", name, values)
    return Space(tuple(dimensions.values()))


def _check_name(path: str | Path, name: str) -> None:
    reason = why_fixed(name)
    if reason is not None:
        raise InputError(f"--space {path}: {name} can't be searched: {reason}.")
    kinds = training_argument_kinds()
    if name not in FIELDS and name not in kinds:
        names = [each for each in (*FIELDS, *kinds, *ALIASES) if why_fixed(each) is None]
        raise InputError(f"--space {path}: there is no setting {name!r}.{nearest(name, names)}")


def _dimension(where: str, name: str, values: Any) -> Dimension:
    if not isinstance(values, dict):
        raise InputError(f"{where}: {name} is {show(values)}, but must be {_FORMS}.")
    for key in values:
        if key not in _KEYS:
            raise InputError(
                f"{where}: {name} has the key {key!r} ({show(values[key])}).{nearest(key, _KEYS)} Keys: low, high, "
                "step and log, or choices alone."
            )
    if "choices" in values:
        return _of_choices(where, name, values)
    missing = [key for key in ("low", "high") if key not in values]
    if missing:
        raise InputError(f"{where}: {name} has no {missing[0]}: give low and high, or choices.")
    return _of_range(where, name, values)


def _of_choices(where: str, name: str, values: Mapping[str, Any]) -> Dimension:
    choices = values["choices"]
    if len(values) > 1:
        other = next(key for key in values if key != "choices")
        raise InputError(f"{where}: {name} has choices and {other} ({show(values[other])}): give one or the other.")
    if not isinstance(choices, list) or len(choices) < 2:
        raise InputError(f"{where}: choices of {name} is {show(choices)}, but must be a list of two values or more.")
    for choice in choices:
        if isinstance(choice, list | dict):
            raise InputError(f"{where}: choices of {name} holds {show(choice)}, but must hold single values.")
    checked = [_checked(where, name, "choices", choice) for choice in choices]
    if len({show(each) for each in checked}) < len(checked):
        raise InputError(f"{where}: choices of {name} is {show(choices)}, but must hold each value once.")
    return Dimension(name, tuple(checked))


def _of_range(where: str, name: str, values: Mapping[str, Any]) -> Dimension:
    kind = FIELDS[name].type if name in FIELDS else training_argument_kinds()[name]
    arms = get_args(kind) or (kind,)
    for key in ("low", "high", "step"):
        number = values.get(key, 0)
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise InputError(f"{where}: {key} of {name} is {show(number)}, but must be a number.")
    if int not in arms and float not in arms:
        raise InputError(f"{where}: {name} is no number, so it has no low and high: give choices.")
    low, high = (_checked(where, name, key, values[key]) for key in ("low", "high"))
    whole = float not in arms
    if low >= high:
        raise InputError(f"{where}: low of {name} is {low:g} and high {high:g}, but low must be below high.")
    step, log = values.get("step"), values.get("log", False)
    if not isinstance(log, bool):
        raise InputError(f"{where}: log of {name} is {show(log)}, but must be true or false.")
    if log and low <= 0:
        raise InputError(f"{where}: log of {name} is true and low {low:g}, but there low must be above 0.")
    if step is not None:
        if log:
            raise InputError(f"{where}: {name} has log and step ({step:g}): give one of them.")
        if step <= 0 or step > high - low or (whole and not isinstance(step, int)):
            kinds = "a whole number" if whole else "a number"
            raise InputError(
                f"{where}: step of {name} is {step:g}, but must be {kinds} above 0 and of at most high - low "
                f"({high - low:g})."
            )
        last = low + math.floor((high - low) / step + 1e-9) * step  # the last value that there is
        high = high if math.isclose(last, high) else round(last, 12)
    kind_of = int if whole else float
    return Dimension(name, (), kind_of(low), kind_of(high), None if step is None else kind_of(step), log)


def _checked(where: str, name: str, key: str, value: Any) -> Any:
    """A value of a setting, within its own limits."""
    if name in FIELDS:
        return check_setting(name, value, f"{where}: {key}")
    return training_argument(name, value, f"{where}: {key}", FIELDS)


# ---- with a recipe --------------------------------------------------------------------------------------------------


def check_space(
    space: Space, settings: Settings, check: Callable[[Settings], Any] = lambda settings: None
) -> list[str]:
    """What there is to say of a space with an experiment's other settings: combinations that can't be trained.

    Args:
        check: raises InputError for settings that can't be trained, beyond what they say themselves.

    Raises InputError where a setting changes nothing of the experiment, or a value goes with no others.
    """
    nowhere: dict[str, str] | None = None
    refused: dict[tuple[str, str], str] = {}
    taken: set[tuple[str, str]] = set()
    tried, failed, reason = 0, 0, ""
    for values in _combinations(space.dimensions):
        pairs = {(name, json.dumps(value)) for name, value in values.items()}
        tried += 1
        try:
            made = with_values(settings, as_block(values))
            check(made)
        except InputError as error:
            failed, reason = failed + 1, reason or str(error)
            refused |= {pair: str(error) for pair in pairs - refused.keys()}
            continue
        taken |= pairs
        idle = {name: why for name, why in without_effect(made).items() if name in values and why}
        nowhere = idle if nowhere is None else {name: why for name, why in nowhere.items() if name in idle}
    where = f"experiment {settings.name!r}"
    for name, why in (nowhere or {}).items():
        raise InputError(f"{where}: {name} is searched, but changes nothing there: {why}.")
    for (name, value), why in refused.items():
        if (name, value) not in taken and (_are_few(space.dimensions) or not taken):
            raise InputError(f"{where}: {name} can't be {value} with any of the other values searched: {why}")
    notes = _curriculum_notes(space, settings)
    if failed:
        looked = "" if _are_few(space.dimensions) else " that were looked at"
        notes.append(f"{failed} of {tried} combinations{looked} can't be trained, and fail as trials: {reason}")
    return notes


def _curriculum_notes(space: Space, settings: Settings) -> list[str]:
    """What trials of few epochs do with a curriculum, which can't be longer than its training."""
    values = {dimension.name: dimension.some for dimension in space.dimensions}
    if not values.keys() & {"num_epochs", "curriculum_epochs"}:
        return []
    fewest = min(values.get("num_epochs", [settings.num_epochs]))
    longest = max(values.get("curriculum_epochs", [settings.curriculum_epochs]))
    if longest <= fewest:
        return []
    return [
        f"num_epochs can be {fewest}, and curriculum_epochs {longest}: where a trial has fewer epochs than its "
        "curriculum, the curriculum lasts as long as the trial, and nothing comes after it"
    ]


def _are_few(dimensions: Sequence[Dimension]) -> bool:
    """Whether all combinations are looked at."""
    return math.prod(len(dimension.some) for dimension in dimensions) <= _COMBINATIONS


def _combinations(dimensions: Sequence[Dimension]) -> Iterator[dict[str, Any]]:
    """All of the values that stand for each setting; where these are too many, each value with the first of the
    others, and others drawn at random."""
    names = [dimension.name for dimension in dimensions]
    if _are_few(dimensions):
        for values in product(*(dimension.some for dimension in dimensions)):
            yield dict(zip(names, values, strict=True))
        return
    first = {dimension.name: dimension.some[0] for dimension in dimensions}
    for dimension in dimensions:
        for value in dimension.some:
            yield {**first, dimension.name: value}
    draws = Random(0)
    for _ in range(_COMBINATIONS):
        yield {dimension.name: draws.choice(dimension.some) for dimension in dimensions}


__all__ = ["Dimension", "Space", "check_space", "read_space", "value_of"]
