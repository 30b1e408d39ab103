"""The folds of an experiment, made before any training and checked: whatever a protocol gives, nothing that is tested
was trained on or chose an epoch.

Test rows are in no other part, each is tested once, and no speaker is both trained on and tested, but where a user's
own protocol is registered so; then every result says it. Validation rows, on which epochs are chosen, are rows of the
training corpora.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..choices import VALIDATION_RULES
from ..errors import InputError
from ..registry import Entry
from ..registry import read_only
from .own_protocol import as_mask
from .own_protocol import asked
from .protocols import PROTOCOLS
from .protocols import SHARED_SPEAKERS
from .protocols import UNKNOWN_SESSIONS
from .protocols import ProtocolRows
from .protocols import Split
from .protocols import about
from .validation_rows import ValidationRule


@dataclass(frozen=True, eq=False)
class Part:
    """Rows of one corpus.

    Args:
        corpus: its name.
        rows: sorted int64 row indices into it.
    """

    corpus: str
    rows: np.ndarray


@dataclass(frozen=True)
class OwnProtocol:
    """A protocol of a user's own, as results say it.

    Args:
        name: `evaluation_mode`.
        about: what it does, in a line: of its docstring.
        names_validation: whether it names the validation rows itself.
        shares_speakers: whether tested speakers may be trained on.
    """

    name: str
    about: str
    names_validation: bool
    shares_speakers: bool


@dataclass(frozen=True, eq=False)
class Fold:
    """One split: what is trained on, what chooses the epoch, and what is tested once, afterwards.

    Args:
        name: unique within a plan: `session-3`, `IEMO-session-3` where there are several training corpora, or
            `cross-corpus`.
        train, validation, test: the rows of each, at most one part a corpus, none empty.
        description: the protocol in words.
        own: the protocol, where it is a user's own.
        speakers_trained_on: how many tested speakers have training or validation rows, which only a protocol of a
            user's own can allow; None where that is not known.
    """

    name: str
    train: tuple[Part, ...]
    validation: tuple[Part, ...]
    test: tuple[Part, ...]
    description: str
    own: OwnProtocol | None = None
    speakers_trained_on: int | None = 0


@dataclass(frozen=True, eq=False)
class Table:
    """What a plan needs to know of a corpus.

    Args:
        name: the corpus' name.
        labels: (n,) class numbers.
        speakers: (n,) speaker names, unique across corpora.
        sessions: (n,) session names; one of `UNKNOWN_SESSIONS` where it is not known.
        label_names: class names in the order of the class numbers.
        test_only: whether it must not be trained on.
        utterance_ids, transcripts: (n,), for users' own protocols.
    """

    name: str
    labels: np.ndarray
    speakers: np.ndarray
    sessions: np.ndarray
    label_names: tuple[str, ...]
    test_only: bool = False
    utterance_ids: np.ndarray | None = None
    transcripts: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)


def plan_folds(
    train: Sequence[Table],
    test: Sequence[Table],
    evaluation_mode: str,
    validation: str,
    validation_fraction: float = 0.2,
    seed: int = 0,
    module: str | None = None,
) -> list[Fold]:
    """The folds of an experiment, the same for the same arguments.

    Args:
        train: the training corpora.
        test: the other corpora that are tested on; `loso` does not read them.
        evaluation_mode: a name in `protocols`.
        validation: one of `VALIDATION_RULES`, for folds whose protocol doesn't name their validation rows.
        validation_fraction: share of speakers or rows that validates, strictly between 0 and 1.
        seed: draws validation speakers and rows.
        module: path of the Python file that registers the protocol, where it is a user's own; it has been run.

    Raises:
        InputError: an unknown choice, a corpus that cannot be used so, sessions or speakers that are too few, a row or
            a speaker on two sides, a row that is tested twice, a part without rows, a class without training rows; a
            user's own protocol that fails, or gives what are no folds.
    """
    known = (*PROTOCOLS.names(), *PROTOCOLS.names(module))
    given = (("evaluation_mode", evaluation_mode, known), ("validation", validation, VALIDATION_RULES))
    for key, value, choices in given:
        if value not in choices:
            raise InputError(f"{key} is {value!r}: choose one of {', '.join(dict.fromkeys(choices))}")
    if not 0 < validation_fraction < 1:
        raise InputError(f"validation_fraction is {validation_fraction}: it must lie between 0 and 1")
    test = [] if evaluation_mode == "loso" else test
    _check_tables(train, test)
    rows = _side_by_side(train, test, seed, validation)
    plan = _Plan(rows, ValidationRule(validation, validation_fraction, seed), evaluation_mode, module)
    return plan.folds()


def speakers_in_both(first: Sequence[Part], second: Sequence[Part], tables: Sequence[Table]) -> list[str]:
    """The speakers that have rows in both sets of parts, sorted: [] is what training and test must give."""
    by_name = {table.name: table for table in tables}
    sides = [
        {str(name) for part in side for name in by_name[part.corpus].speakers[part.rows]} for side in (first, second)
    ]
    return sorted(sides[0] & sides[1])


def _check_tables(train: Sequence[Table], test: Sequence[Table]) -> None:
    if not train:
        raise InputError("there is no training corpus: name at least one in train_dataset")
    names = [table.name for table in (*train, *test)]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"corpus {name} is named twice: a corpus is trained on once, and not also tested whole")
    for table in train:
        if table.test_only:
            raise InputError(f"corpus {table.name} is for testing only: take it out of train_dataset")
    for table in (*train, *test):
        if len(table) == 0:
            raise InputError(f"corpus {table.name} has no rows")
        if tuple(table.label_names) != tuple(train[0].label_names):
            raise InputError(
                f"corpus {table.name} has the classes {list(table.label_names)}, {train[0].name} has "
                f"{list(train[0].label_names)}: give both one label space, in one order (label_map and labels)"
            )


def _side_by_side(train: Sequence[Table], test: Sequence[Table], seed: int, validation: str) -> ProtocolRows:
    tables = [*train, *test]
    sizes = [len(table) for table in tables]

    def column(name: str, kind: type | None = None) -> np.ndarray | None:
        values = [getattr(table, name) for table in tables]
        if any(each is None for each in values):
            return None
        return read_only(np.concatenate(values).astype(kind or values[0].dtype, copy=False))

    return ProtocolRows(
        read_only(np.repeat([table.name for table in tables], sizes)),
        column("labels"),
        tuple(train[0].label_names),
        column("speakers", str),
        column("sessions", str),
        read_only(np.repeat([i < len(train) for i in range(len(tables))], sizes)),
        seed,
        validation,
        column("utterance_ids", str),
        column("transcripts"),
    )


class _Plan:
    """A protocol asked, and its answer checked.

    Args:
        rows: all n.
        rule: of the validation rows.
        mode, module: of the protocol.
    """

    def __init__(self, rows: ProtocolRows, rule: ValidationRule, mode: str, module: str | None):
        self.rows, self.rule, self.mode = rows, rule, mode
        self.entry: Entry = PROTOCOLS.get(mode, module)
        self.is_own = self.entry.file is not None
        self.shares_speakers = SHARED_SPEAKERS in self.entry.needs
        self.where = f"protocol {mode!r} ({self.entry.file})"
        # Strings sorted once for all folds.
        self.speaker_names, self.speakers = rows.coded_speakers

    def folds(self) -> list[Fold]:
        splits = asked(self.entry, self.rows, self.mode) if self.is_own else list(self.entry.function(self.rows))
        folds, tested = [], np.full(len(self.rows), -1)
        for number, split in enumerate(splits):
            name = as_folder(split.name)
            where = f"{self.where}, fold {split.name!r}" if self.is_own else f"fold {name}"
            train = as_mask(where, "training", split.train, len(self.rows))
            test = as_mask(where, "test", split.test, len(self.rows))
            if split.validation is None:
                validation, chosen_on = self.rule.take(self.rows, train, name)
                train = train & ~validation
            else:
                validation = as_mask(where, "validation", split.validation, len(self.rows))
                chosen_on = split.chosen_on or f"{int(validation.sum())} rows that the protocol names"
            parts = {"training": train, "validation": validation, "test": test}
            self._check_parts(where, parts)
            again = np.flatnonzero(test & (tested >= 0))
            if len(again):
                raise InputError(
                    f"{where} tests {self._row(again[0])} again, which fold {splits[tested[again[0]]].name!r} tests, "
                    f"{len(again)} such rows in all: a row counts once in the scores of a seed"
                )
            tested[test] = number
            self._check_all_speakers(where, parts, split.validation is None and self.rule.shares_speakers)
            sides = [self._parts(mask) for mask in (train, validation, test)]
            shared = self._shared_speakers(parts)
            said = self._description(split, sides, chosen_on, shared)
            folds.append(Fold(name, *sides, said, self._own(split), shared))
        return folds

    # ---- in words ---------------------------------------------------------------------------------------------------

    def _own(self, split: Split) -> OwnProtocol | None:
        if not self.is_own:
            return None
        return OwnProtocol(self.mode, about(self.entry.function), split.validation is not None, self.shares_speakers)

    def _description(self, split: Split, sides: Sequence[tuple[Part, ...]], chosen_on: str, shared: int | None) -> str:
        if not self.is_own:
            return f"{split.description}; the epoch is chosen on a validation part of the training rows ({chosen_on})"
        counts = [f"{sum(len(part.rows) for part in side)} rows of {_corpora(side)}" for side in sides]
        said = (
            f"{self.mode}, a protocol of its user's own ({about(self.entry.function)}), fold {split.name}"
            f"{f' ({split.description})' if split.description else ''}: trained on {counts[0]}; {counts[2]} are "
            f"tested once, after training; the epoch is chosen on {counts[1]} ({chosen_on})"
        )
        unused = len(self.rows) - sum(len(part.rows) for side in sides for part in side)
        said += f"; {unused} rows are in none of these" if unused else ""
        if shared is None:
            return f"{said}; it is not known whether tested speakers are trained on"
        return f"{said}; tested speakers that are trained on too: {shared}" if shared else said

    def _shared_speakers(self, parts: dict[str, np.ndarray]) -> int | None:
        """How many tested speakers are trained on or validate; None where not all speakers are known."""
        if not self.shares_speakers:
            return 0
        trained, tested = (
            np.unique(self.speakers[mask]) for mask in (parts["training"] | parts["validation"], parts["test"])
        )
        if any(name.endswith(f"/{UNKNOWN_SESSIONS[-1]}") for name in self.speaker_names[np.union1d(trained, tested)]):
            return None
        return len(np.intersect1d(trained, tested))

    # ---- what must hold for any -------------------------------------------------------------------------------------

    def _check_parts(self, where: str, parts: dict[str, np.ndarray]) -> None:
        advice = {
            "test": "name at least one corpus to test on",
            "validation": "raise validation_fraction",
            "training": "lower validation_fraction",
        }
        for part, hint in advice.items():
            if not parts[part].any():
                raise InputError(f"{where} has no {part} rows: {hint if not self.is_own else 'each part needs some'}")
        for first, second in (("training", "test"), ("validation", "test"), ("training", "validation")):
            both = np.flatnonzero(parts[first] & parts[second])
            if len(both):
                raise InputError(
                    f"{where}: {self._row(both[0])} is in both {first} and {second}, {len(both)} such rows in all: a "
                    "row must be in one part"
                )
        for part in ("training", "validation"):
            outside = np.flatnonzero(parts[part] & ~self.rows.may_train)
            if len(outside):
                raise InputError(
                    f"{where}: {self._row(outside[0])} is among the {part} rows, but that corpus is in test_datasets, "
                    "not in train_dataset"
                )
        names = self.rows.label_names
        missing = np.flatnonzero(np.bincount(self.rows.labels[parts["training"]], minlength=len(names)) == 0)
        if len(missing):
            raise InputError(
                f"{where} has no training row of class {', '.join(repr(names[i]) for i in missing)}: choose another "
                "validation rule, or leave the class out of the corpus' labels"
            )

    def _check_all_speakers(self, where: str, parts: dict[str, np.ndarray], may_validate: bool) -> None:
        if not self.shares_speakers:
            self._check_speakers(where, parts, "training", "test")
            self._check_speakers(where, parts, "validation", "test")
        if not may_validate and not self.is_own:  # else it is said how many there are
            self._check_speakers(where, parts, "training", "validation")

    def _check_speakers(self, where: str, parts: dict[str, np.ndarray], first: str, second: str) -> None:
        both = np.intersect1d(*(np.unique(self.speakers[parts[side]]) for side in (first, second)))
        if len(both) == 0:
            return
        theirs = self.speakers == both[0]
        places = dict.fromkeys(
            f"session {str(self.rows.sessions[row])!r} of {self.rows.corpora[row]}"
            for side in (first, second)
            for row in np.flatnonzero(theirs & parts[side])
        )
        hint = "sessions must not share speakers; check the speaker and session columns or the session_rule"
        if self.is_own:
            hint = (
                "scores would be of known speakers. Leave theirs out of one part; or, where the protocol is meant so, "
                "register it with shares_speakers=True, and every result says it"
            )
        raise InputError(
            f"{where}: speaker {str(self.speaker_names[both[0]])!r} is in both {first} and {second} "
            f"({', '.join(places)}), {len(both)} such speakers in all: {hint}"
        )

    def _row(self, row: int) -> str:
        rows = self.rows
        name = "" if rows.utterance_ids is None else f" ({str(rows.utterance_ids[row])!r} of {rows.corpora[row]})"
        return f"row {row}{name}"

    def _parts(self, mask: np.ndarray) -> tuple[Part, ...]:
        """The rows as parts, in the order of the corpora; none of a corpus without rows."""
        corpora = (*self.rows.training_corpora, *self.rows.tested_corpora)
        chosen = ((name, np.flatnonzero(mask[self.rows.places[name]]).astype(np.int64)) for name in corpora)
        return tuple(Part(name, rows) for name, rows in chosen if len(rows))


def as_folder(name: str) -> str:
    """A name that is a folder's too, whatever a corpus calls its sessions: as it is, or what is left and a hash."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name):
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{re.sub(r'[^A-Za-z0-9]+', '-', name)[:48].strip('-')}-{digest}"


def fold_rows(fold: Fold) -> str:
    """SHA-256 of which rows train, validate and test."""
    digest = hashlib.sha256()
    for side in (fold.train, fold.validation, fold.test):
        for part in side:
            digest.update(f"|{part.corpus}|".encode() + part.rows.tobytes())
        digest.update(b"||")
    return digest.hexdigest()


def _corpora(side: Sequence[Part]) -> str:
    return " + ".join(part.corpus for part in side)


__all__ = ["Fold", "OwnProtocol", "Part", "Table", "as_folder", "fold_rows", "plan_folds", "speakers_in_both"]
