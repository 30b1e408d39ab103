"""The folds of an experiment, made before any training and checked: whatever a protocol gives, nothing that is tested
was trained on or chose an epoch.

Test rows are in no other part, each is tested once, and no speaker is both trained on and tested, but where a user's
own protocol is registered so; then every result says it. Validation rows, on which epochs are chosen, are rows of the
training corpora.
"""

import hashlib
import re
from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace

import numpy as np

from ..choices import FROM_OUTSIDE
from ..choices import OF_TRAINING_CORPORA
from ..choices import VALIDATION_RULES
from ..errors import InputError
from ..registry import Entry
from ..registry import read_only
from ..text_columns import Column
from ..text_columns import coded
from ..text_columns import constant
from ..text_columns import joined
from . import given_protocols as given_protocols  # registers its protocols
from . import speaker_protocols as speaker_protocols
from .fold_checks import FoldChecks
from .overlap import Overlap
from .overlap import drop
from .overlap import dropped_in_words
from .overlap import overlap_in_words
from .own_protocol import as_mask
from .own_protocol import asked
from .protocols import PROTOCOLS
from .protocols import SHARED_SPEAKERS
from .protocols import ProtocolOptions
from .protocols import ProtocolRows
from .protocols import Split
from .protocols import about
from .test_parts import tested_name
from .validation_rows import ValidationRule

OF_ITS_USER = ", a protocol of its user's own"
UNNAMED = ("loso", "cross_corpus", "both")
"""Protocols that results say in words of their own, not by name."""
_BY_SCRIPT = " (where everybody plays the same scripts, evaluation_mode leave_script_out tests one in one session)"


@dataclass(frozen=True, eq=False)
class Part:
    """Rows of one corpus.

    Args:
        corpus: its name.
        rows: sorted int64 row indices into it.
        test: which of several test parts of the corpus it is, as `test1`; "" where there is one.
    """

    corpus: str
    rows: np.ndarray
    test: str = ""

    @property
    def name(self) -> str:
        """What scores on it stand under: the corpus, or `MSPP:test1`."""
        return tested_name(self.corpus, self.test)


@dataclass(frozen=True)
class NamedProtocol:
    """A protocol, as results say it by its own words.

    Args:
        name: `evaluation_mode`.
        about: what it does, in a line: of its docstring.
        names_validation: whether it names the validation rows itself.
        shares_speakers: whether tested speakers may be trained on.
        own: whether it is a user's own.
    """

    name: str
    about: str
    names_validation: bool
    shares_speakers: bool
    own: bool


@dataclass(frozen=True, eq=False)
class Fold:
    """One split: what is trained on, what chooses the epoch, and what is tested once, afterwards.

    Args:
        name: unique within a plan: `session-3`, `IEMO-session-3` where there are several training corpora, or
            `cross-corpus`.
        train, validation, test: the rows of each, none empty; at most one part a corpus, but for several tests.
        description: the protocol in words.
        protocol: None of `UNNAMED`, which results say in words of their own.
        overlap: what of the test rows is known from training and validation rows.
        dropped: training and validation rows that `disjoint_by` has dropped, by what they share with a test row; {}
            where it asks nothing.
    """

    name: str
    train: tuple[Part, ...]
    validation: tuple[Part, ...]
    test: tuple[Part, ...]
    description: str
    protocol: NamedProtocol | None = None
    overlap: Overlap = field(default_factory=Overlap)
    dropped: dict[str, int] = field(default_factory=dict)


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
        splits, sentences, recordings, scripts: (n,), as in `ProtocolRows`; sentences and recordings are numbered over
            all corpora.
        left_out: ids of rows of the data that are left out.
    """

    name: str
    labels: np.ndarray
    speakers: Column
    sessions: Column
    label_names: tuple[str, ...]
    test_only: bool = False
    utterance_ids: Column | None = None
    transcripts: Column | None = None
    splits: Column | None = None
    sentences: np.ndarray | None = None
    recordings: np.ndarray | None = None
    scripts: Column | None = None
    left_out: Collection[str] = frozenset()

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
    options: ProtocolOptions | None = None,
) -> list[Fold]:
    """The folds of an experiment, the same for the same arguments.

    Args:
        train: the training corpora.
        test: the other corpora that are tested on; those of `OF_TRAINING_CORPORA` do not read them.
        evaluation_mode: a name in `protocols`.
        validation: one of `VALIDATION_RULES`, for folds whose protocol doesn't name their validation rows.
        validation_fraction: share of speakers or rows that validates, strictly between 0 and 1.
        seed: draws validation speakers and rows.
        module: path of the Python file that registers the protocol, where it is a user's own; it has been run.
        options: what else settings say of the folds.

    Raises:
        InputError: an unknown choice, a corpus that cannot be used so, sessions or speakers that are too few; a row, a
            speaker or (of parts that somebody else has drawn) a recording on two sides; a row that is tested twice, a
            part without rows, a class without training rows; a user's own protocol that fails, or gives what are no
            folds.
    """
    known = (*PROTOCOLS.names(), *PROTOCOLS.names(module))
    given = (("evaluation_mode", evaluation_mode, known), ("validation", validation, VALIDATION_RULES))
    for key, value, choices in given:
        if value not in choices:
            raise InputError(f"{key} is {value!r}: choose one of {', '.join(dict.fromkeys(choices))}")
    if not 0 < validation_fraction < 1:
        raise InputError(f"validation_fraction is {validation_fraction}: it must lie between 0 and 1")
    test = [] if evaluation_mode in OF_TRAINING_CORPORA else test
    _check_tables(train, test)
    rows = _side_by_side(train, test, seed, validation, options or ProtocolOptions())
    plan = _Plan(rows, ValidationRule(validation, validation_fraction, seed), evaluation_mode, module)
    return plan.folds()


def speakers_in_both(first: Sequence[Part], second: Sequence[Part], tables: Sequence[Table]) -> list[str]:
    """The speakers that have rows in both sets of parts, sorted: [] is what training and test must give."""
    by_name = {table.name: table for table in tables}
    sides = [
        {str(name) for part in side for name in coded(by_name[part.corpus].speakers[part.rows])[0]}
        for side in (first, second)
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


def _side_by_side(
    train: Sequence[Table], test: Sequence[Table], seed: int, validation: str, options: ProtocolOptions
) -> ProtocolRows:
    tables = [*train, *test]
    sizes = [len(table) for table in tables]

    def column(name: str) -> np.ndarray | None:
        values = [getattr(table, name) for table in tables]
        if any(each is None for each in values):
            return None
        return read_only(np.concatenate(values) if len(values) > 1 else np.asarray(values[0]))

    def texts(name: str) -> Column | None:
        values = [getattr(table, name) for table in tables]
        if any(each is None for each in values):
            return None
        found = joined([each.astype(str) if isinstance(each, np.ndarray) else each for each in values])
        return read_only(found) if isinstance(found, np.ndarray) else found

    return ProtocolRows(
        joined([constant(table.name, len(table)) for table in tables]),
        column("labels"),
        tuple(train[0].label_names),
        texts("speakers"),
        texts("sessions"),
        read_only(np.repeat([i < len(train) for i in range(len(tables))], sizes)),
        seed,
        validation,
        texts("utterance_ids"),
        column("transcripts") if _all_arrays(tables, "transcripts") else texts("transcripts"),
        _told(tables, "splits"),
        column("sentences"),
        column("recordings"),
        _told(tables, "scripts"),
        {table.name: table.left_out for table in tables},
        options,
    )


def _all_arrays(tables: Sequence[Table], name: str) -> bool:
    return all(isinstance(getattr(table, name), np.ndarray | None) for table in tables)


def _told(tables: Sequence[Table], name: str) -> Column | None:
    """(n,) splits or scripts of all rows, "" in corpora without; None where no corpus has any."""
    columns = [getattr(table, name) for table in tables]
    if all(each is None for each in columns):
        return None
    told = joined(
        [constant("", len(table)) if each is None else each for table, each in zip(tables, columns, strict=True)]
    )
    return read_only(told) if isinstance(told, np.ndarray) else told


class _Plan:
    """A protocol asked, and its answer checked.

    Args:
        rows: all n.
        rule: of the validation rows.
        mode, module: of the protocol.
    """

    def __init__(self, rows: ProtocolRows, rule: ValidationRule, mode: str, module: str | None):
        self.rows, self.rule, self.mode, self.options = rows, rule, mode, rows.options
        self.entry: Entry = PROTOCOLS.get(mode, module)
        self.is_own = self.entry.file is not None
        self.shares_speakers = SHARED_SPEAKERS in self.entry.needs
        self.where = f"protocol {mode!r} ({self.entry.file})"
        self.checks = FoldChecks(rows, self.is_own, mode in FROM_OUTSIDE, self.shares_speakers)

    def folds(self) -> list[Fold]:
        splits = asked(self.entry, self.rows, self.mode) if self.is_own else list(self.entry.function(self.rows))
        if self.mode in FROM_OUTSIDE:
            _check_validation(splits)
        all_tests = [self._tests(split) for split in splits]
        several = _several_tests(self.rows, all_tests)
        folds, tested = [], np.full(len(self.rows), -1)
        for number, (split, tests) in enumerate(zip(splits, all_tests, strict=True)):
            name, where = as_folder(split.name), self._where(split)
            test = np.logical_or.reduce(list(tests.values())) if tests else np.zeros(len(self.rows), dtype=bool)
            train = as_mask(where, "training", split.train, len(self.rows))
            named = None if split.validation is None else as_mask(where, "validation", split.validation, len(test))
            self.checks.check_rows(where, {"training": train, "test": test})
            gone, dropped = self._dropped(train if named is None else train | named, test)
            train = train & ~gone
            if named is None:
                validation, chosen_on = self.rule.take(self.rows, train, name)
                train = train & ~validation
            else:
                validation = named & ~gone
                chosen_on = split.chosen_on or f"{int(validation.sum())} rows that the protocol names"
            parts = {"training": train, "validation": validation, "test": test}
            out = f"; disjoint_by drops {int(gone.sum())}" if gone.any() else ""
            out += _BY_SCRIPT if dropped.get("script") else ""
            self.checks.check_parts(where, parts, named is not None, out)
            again = np.flatnonzero(test & (tested >= 0))
            if len(again):
                raise InputError(
                    f"{where} tests {self.checks.row(again[0])} again, which fold {splits[tested[again[0]]].name!r} "
                    f"tests, {len(again)} such rows in all: a row counts once in the scores of a seed"
                )
            tested[test] = number
            self.checks.check_overlap(where, parts, split.validation is None and self.rule.shares_speakers)
            overlap = self.checks.overlap(parts)
            sides = [self._parts(train), self._parts(validation), self._test_parts(tests, several)]
            said = self._description(split, sides, chosen_on, overlap)
            said += f"; {dropped_in_words(dropped, int(gone.sum()))}" if dropped else ""
            folds.append(Fold(name, *sides, said, self._protocol(split), overlap, dropped))
        return folds

    def _where(self, split: Split) -> str:
        return f"{self.where}, fold {split.name!r}" if self.is_own else f"fold {as_folder(split.name)}"

    def _tests(self, split: Split) -> dict[str, np.ndarray]:
        """The test rows by part; none of them in two."""
        where = self._where(split)
        given = split.test if isinstance(split.test, Mapping) else {"": split.test}
        found = {str(name): as_mask(where, "test", rows, len(self.rows)) for name, rows in given.items()}
        twice = np.flatnonzero(np.sum(list(found.values()), axis=0) > 1) if found else []
        if len(twice):
            raise InputError(
                f"{where}: {self.checks.row(twice[0])} is in two test parts, {len(twice)} such rows in all: a row "
                "must be in one part"
            )
        return found

    def _dropped(self, other: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, dict[str, int]]:
        if not self.options.disjoint_by:
            return np.zeros(len(self.rows), dtype=bool), {}
        return drop(self.rows, self.options.disjoint_by, test, other)

    # ---- in words ---------------------------------------------------------------------------------------------------

    def _protocol(self, split: Split) -> NamedProtocol | None:
        if not self.is_own and self.mode in UNNAMED:
            return None
        shares = self.shares_speakers or self.options.allow_overlap
        return NamedProtocol(self.mode, about(self.entry.function), split.validation is not None, shares, self.is_own)

    def _description(self, split: Split, sides: Sequence[tuple[Part, ...]], chosen_on: str, overlap: Overlap) -> str:
        if not self.is_own and self.mode in UNNAMED:
            said = f"{split.description}; the epoch is chosen on a validation part of the training rows ({chosen_on})"
            return "; ".join([said, *overlap_in_words(overlap)])
        counts = [f"{sum(len(part.rows) for part in side)} rows of {_corpora(side)}" for side in sides]
        said = (
            f"{self.mode}{OF_ITS_USER if self.is_own else ''} ({about(self.entry.function)}), fold {split.name}"
            f"{f' ({split.description})' if split.description else ''}: trained on {counts[0]}; {counts[2]} are "
            f"tested once, after training; the epoch is chosen on {counts[1]} ({chosen_on})"
        )
        unused = len(self.rows) - sum(len(part.rows) for side in sides for part in side)
        said += f"; {unused} rows are in none of these" if unused else ""
        return "; ".join([said, *overlap_in_words(overlap)])

    # ---- as parts ---------------------------------------------------------------------------------------------------

    def _parts(self, mask: np.ndarray) -> tuple[Part, ...]:
        """The rows as parts, in the order of the corpora; none of a corpus without rows."""
        corpora = (*self.rows.training_corpora, *self.rows.tested_corpora)
        chosen = ((name, np.flatnonzero(mask[self.rows.places[name]]).astype(np.int64)) for name in corpora)
        return tuple(Part(name, rows) for name, rows in chosen if len(rows))

    def _test_parts(self, tests: Mapping[str, np.ndarray], several: set[str]) -> tuple[Part, ...]:
        """The test rows as parts, in the order of the corpora and of the tests; those of a corpus that has several
        tests by their names."""
        parts = [replace(part, test=name) for name, mask in tests.items() for part in self._parts(mask)]
        order = [*self.rows.training_corpora, *self.rows.tested_corpora]
        parts.sort(key=lambda part: order.index(part.corpus))
        return tuple(part if part.corpus in several else replace(part, test="") for part in parts)


def _several_tests(rows: ProtocolRows, all_tests: Sequence[dict[str, np.ndarray]]) -> set[str]:
    """The corpora that have rows in test parts of different names."""
    named: dict[str, set[str]] = {}
    for tests in all_tests:
        for name, mask in tests.items():
            for corpus, place in rows.places.items():
                if mask[place].any():
                    named.setdefault(corpus, set()).add(name)
    return {corpus for corpus, names in named.items() if len(names) > 1}


def _check_validation(splits: Sequence[Split]) -> None:
    """Either all folds have validation rows of their own, or none."""
    without = [split.name for split in splits if split.validation is None]
    if 0 < len(without) < len(splits):
        raise InputError(
            f"fold {without[0]} has no validation rows, and others have: give some in every fold, or in none"
        )


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
            digest.update(f"|{part.name}|".encode() + part.rows.tobytes())
        digest.update(b"||")
    return digest.hexdigest()


def _corpora(side: Sequence[Part]) -> str:
    return " + ".join(part.name for part in side)


__all__ = ["Fold", "NamedProtocol", "Part", "Table", "as_folder", "fold_rows", "plan_folds", "speakers_in_both"]
