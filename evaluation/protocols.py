"""Which rows train, validate and test: leave-one-session-out and cross-corpus plans, made before any training.

The validation rows, on which epochs are chosen, are always taken from the training rows. Test rows are in no other
part, and no speaker is both trained on and tested.
"""

import hashlib
import re
import zlib
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InputError

EVALUATION_MODES = ("loso", "cross_corpus", "both")
VALIDATION_RULES = ("session", "speakers", "random", "random_unstratified")
UNKNOWN_SESSIONS = ("", "unknown")


@dataclass(frozen=True, eq=False)
class Part:
    """Rows of one corpus.

    Args:
        corpus: its name.
        rows: sorted int64 row indices into it.
    """

    corpus: str
    rows: np.ndarray


@dataclass(frozen=True, eq=False)
class Fold:
    """One split: what is trained on, what chooses the epoch, and what is tested once, afterwards.

    Args:
        name: unique within a plan: `session-3`, `IEMO-session-3` where there are several training corpora, or
            `cross-corpus`.
        train, validation, test: the rows of each, at most one part a corpus, none empty.
        description: the protocol in words.
    """

    name: str
    train: tuple[Part, ...]
    validation: tuple[Part, ...]
    test: tuple[Part, ...]
    description: str


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
    """

    name: str
    labels: np.ndarray
    speakers: np.ndarray
    sessions: np.ndarray
    label_names: tuple[str, ...]
    test_only: bool = False

    def __len__(self) -> int:
        return len(self.labels)


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key that takes runs of digits as numbers: "2" before "10"."""
    pieces = re.split(r"([0-9]+)", name)
    return [(0, int(piece), "") if i % 2 else (1, 0, piece) for i, piece in enumerate(pieces)]


def plan_folds(
    train: Sequence[Table],
    test: Sequence[Table],
    evaluation_mode: str,
    validation: str,
    validation_fraction: float = 0.2,
    seed: int = 0,
) -> list[Fold]:
    """The folds of an experiment, the same for the same arguments.

    `loso`: a fold for each session of each training corpus, in natural order. That session is tested; the rest of
    every training corpus is trained on, but for the validation rows. `cross_corpus`: one fold, trained on the training
    corpora and tested on each of `test`. `both`: the former folds, then the latter.

    Validation rows are taken from the training rows by one of four rules:
    `session` a whole session: in `loso` the one after the tested session in natural order (the first after the last),
    of the same corpus, so that over the folds each session validates once; in `cross_corpus` the last session of each
    training corpus. `speakers` about `validation_fraction` of each training corpus' speakers, at least one. `random`
    about `validation_fraction` of the rows of each class and corpus; speakers may then be on both sides.
    `random_unstratified` `validation_fraction` of the rows of each corpus, whatever their class, as torch's
    `random_split` into int((1 - fraction) n) and the rest draws them; speakers likewise.

    Args:
        train: the training corpora.
        test: the corpora of `cross_corpus`; `loso` alone does not read them.
        evaluation_mode: one of `EVALUATION_MODES`.
        validation: one of `VALIDATION_RULES`.
        validation_fraction: share of speakers or rows that validates, strictly between 0 and 1.
        seed: draws validation speakers and rows.

    Raises:
        InputError: an unknown choice, a corpus that cannot be used so, sessions or speakers that are too few, a
            speaker on two sides, or a class without training rows.
    """
    _check_choice("evaluation_mode", evaluation_mode, EVALUATION_MODES)
    _check_choice("validation", validation, VALIDATION_RULES)
    if not 0 < validation_fraction < 1:
        raise InputError(f"validation_fraction is {validation_fraction}: it must lie between 0 and 1")
    cross = evaluation_mode != "loso"
    _check_tables(train, test if cross else [])
    corpora = _index(train, test if cross else [])
    rule = _Rule(validation, validation_fraction, seed)
    trained = [table.name for table in train]
    folds: list[Fold] = []
    if evaluation_mode != "cross_corpus":
        for name in trained:
            folds += _session_folds(corpora, name, trained, rule)
    if cross:
        folds.append(_cross_corpus_fold(corpora, trained, [table.name for table in test], rule))
    for fold in folds:
        _check_fold(fold, corpora, speakers_may_validate=rule.shares_speakers)
    return folds


def speakers_in_both(first: Sequence[Part], second: Sequence[Part], tables: Sequence[Table]) -> list[str]:
    """The speakers that have rows in both sets of parts, sorted: [] is what training and test must give."""
    by_name = {table.name: table for table in tables}
    sides = [{str(s) for part in side for s in by_name[part.corpus].speakers[part.rows]} for side in (first, second)]
    return sorted(sides[0] & sides[1])


@dataclass(frozen=True)
class _Rule:
    validation: str
    fraction: float
    seed: int

    def generator(self, fold: str, corpus: str) -> np.random.Generator:
        """Of this fold and corpus alone, so that other folds, corpora and modes do not change what is drawn."""
        return np.random.default_rng((self.seed, zlib.crc32(f"{fold}/{corpus}".encode())))

    @property
    def shares_speakers(self) -> bool:
        """Whether a speaker may be trained on and validate."""
        return self.validation in ("random", "random_unstratified")

    def in_words(self) -> str:
        if self.validation == "session":
            return "a whole session"
        what = {"random": "rows, stratified by class", "random_unstratified": "rows"}.get(self.validation, "speakers")
        shared = ", of speakers that are also trained on" if self.shares_speakers else ""
        return f"{self.fraction:g} of the {what}{shared}, drawn with seed {self.seed}"


@dataclass(frozen=True, eq=False)
class _Corpus:
    """A table with its strings sorted once: sessions and speakers as numbers.

    Speaker numbers count over all corpora of the plan, session numbers over this corpus in natural order.
    """

    table: Table
    session_names: list[str]
    sessions: np.ndarray  # (n,)
    speaker_names: np.ndarray  # of the whole plan
    speakers: np.ndarray  # (n,)

    def part(self, chosen: np.ndarray) -> tuple[Part, ...]:
        """The chosen rows as a part; no part where there are none."""
        rows = np.flatnonzero(chosen).astype(np.int64)
        return (Part(self.table.name, rows),) if len(rows) else ()

    def session_list(self) -> str:
        return ", ".join(map(repr, self.session_names))


def _index(train: Sequence[Table], test: Sequence[Table]) -> dict[str, _Corpus]:
    tables = [*train, *test]
    every_speaker = np.concatenate([np.asarray(table.speakers, dtype=str) for table in tables])
    speaker_names, codes = np.unique(every_speaker, return_inverse=True)
    corpora: dict[str, _Corpus] = {}
    ends = np.cumsum([len(table) for table in tables])
    for table, end in zip(tables, ends, strict=True):
        names, inverse = np.unique(np.asarray(table.sessions, dtype=str), return_inverse=True)
        order = sorted(range(len(names)), key=lambda i, names=names: natural_key(str(names[i])))
        rank = np.empty(len(names), dtype=np.int64)
        rank[order] = np.arange(len(names))
        corpora[table.name] = _Corpus(
            table, [str(names[i]) for i in order], rank[inverse], speaker_names, codes[end - len(table) : end]
        )
    return corpora


def _as_folder(name: str) -> str:
    """A name that is a folder's too, whatever a corpus calls its sessions: as it is, or what is left and a hash."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name):
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{re.sub(r'[^A-Za-z0-9]+', '-', name)[:48].strip('-')}-{digest}"


def _session_folds(corpora: dict[str, _Corpus], tested: str, trained: list[str], rule: _Rule) -> Iterator[Fold]:
    corpus = corpora[tested]
    if rule.validation == "session" and len(trained) == 1:
        _check_sessions(corpus, at_least=3, purpose="leave-one-session-out with a session for validation")
    else:
        _check_sessions(corpus, at_least=2, purpose="leave-one-session-out")
    for number, session in enumerate(corpus.session_names):
        name = _as_folder(f"session-{session}" if len(trained) == 1 else f"{tested}-session-{session}")
        validating = (number + 1) % len(corpus.session_names)
        train: tuple[Part, ...] = ()
        validation: tuple[Part, ...] = ()
        for other in map(corpora.__getitem__, trained):
            left = other.sessions != number if other is corpus else np.ones(len(other.table), dtype=bool)
            if rule.validation == "session":
                validates = left & (other.sessions == validating) & (other is corpus)
            else:
                validates = _drawn(other, left, rule, name)
            train += other.part(left & ~validates)
            validation += other.part(validates)
        chosen_on = f"session {corpus.session_names[validating]} of {tested}"
        yield Fold(
            name,
            train,
            validation,
            corpus.part(corpus.sessions == number),
            f"leave one session out: trained on {' + '.join(trained)} without session {session} of {tested}, which is "
            f"tested once, after training; the epoch is chosen on a validation part of the training rows "
            f"({chosen_on if rule.validation == 'session' else rule.in_words()})",
        )


def _cross_corpus_fold(corpora: dict[str, _Corpus], trained: list[str], tested: list[str], rule: _Rule) -> Fold:
    name = "cross-corpus"
    train: tuple[Part, ...] = ()
    validation: tuple[Part, ...] = ()
    for corpus in map(corpora.__getitem__, trained):
        left = np.ones(len(corpus.table), dtype=bool)
        if rule.validation == "session":
            _check_sessions(corpus, at_least=2, purpose="validation on a session")
            validates = corpus.sessions == len(corpus.session_names) - 1
        else:
            validates = _drawn(corpus, left, rule, name)
        train += corpus.part(~validates)
        validation += corpus.part(validates)
    last = ", ".join(f"session {corpora[other].session_names[-1]} of {other}" for other in trained)
    return Fold(
        name,
        train,
        validation,
        tuple(Part(other, np.arange(len(corpora[other].table), dtype=np.int64)) for other in tested),
        f"cross-corpus: trained on {' + '.join(trained)}, all rows of {', '.join(tested)} are tested once, after "
        f"training; the epoch is chosen on a validation part of the training rows "
        f"({last if rule.validation == 'session' else rule.in_words()})",
    )


def _drawn(corpus: _Corpus, left: np.ndarray, rule: _Rule, fold: str) -> np.ndarray:
    """(n,) bool: the rows among `left` that validate, by the rules that draw them."""
    generator = rule.generator(fold, corpus.table.name)
    if rule.validation == "speakers":
        speakers = np.unique(corpus.speakers[left])
        if len(speakers) < 2:
            raise InputError(
                f"validation by speakers needs two speakers or more in the training rows of {corpus.table.name} "
                f"(fold {fold}), found {len(speakers)}: choose validation 'random', or add speakers"
            )
        number = min(max(1, round(rule.fraction * len(speakers))), len(speakers) - 1)
        return left & np.isin(corpus.speakers, generator.permutation(speakers)[:number])
    rows = np.flatnonzero(left)
    validates = np.zeros(len(corpus.table), dtype=bool)
    if rule.validation == "random_unstratified":
        validates[generator.permutation(rows)[int((1 - rule.fraction) * len(rows)) :]] = True
        return validates
    labels = corpus.table.labels[rows]
    order = np.lexsort((generator.random(len(rows)), labels))  # each class in random order
    counts = np.bincount(labels)
    rank = np.arange(len(rows)) - (np.cumsum(counts) - counts)[labels[order]]  # 0, 1, 2... within the class
    validates[rows[order[rank < np.rint(rule.fraction * counts)[labels[order]]]]] = True
    return validates


def _check_choice(key: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InputError(f"{key} is {value!r}: choose one of {', '.join(choices)}")


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


def _check_sessions(corpus: _Corpus, at_least: int, purpose: str) -> None:
    unknown = int(np.isin(np.asarray(corpus.table.sessions, dtype=str), UNKNOWN_SESSIONS).sum())
    if unknown:
        raise InputError(
            f"{unknown} rows of {corpus.table.name} have no session, and {purpose} needs one for each: give the "
            "corpus a session column or a session_rule, or choose another evaluation_mode or validation"
        )
    if len(corpus.session_names) < at_least:
        raise InputError(
            f"{purpose} needs {at_least} sessions or more, {corpus.table.name} has {len(corpus.session_names)} "
            f"({corpus.session_list()}): choose another evaluation_mode or validation, or give more sessions"
        )


def _check_fold(fold: Fold, corpora: dict[str, _Corpus], speakers_may_validate: bool) -> None:
    if not fold.test:
        raise InputError(f"fold {fold.name} has no test rows: name at least one corpus to test on")
    if not fold.validation:
        raise InputError(f"fold {fold.name} has no validation rows: raise validation_fraction")
    if not fold.train:
        raise InputError(f"fold {fold.name} has no training rows: lower validation_fraction")
    label_names = corpora[fold.train[0].corpus].table.label_names
    labels = np.concatenate([corpora[part.corpus].table.labels[part.rows] for part in fold.train])
    missing = np.flatnonzero(np.bincount(labels, minlength=len(label_names)) == 0)
    if len(missing):
        names = ", ".join(repr(label_names[i]) for i in missing)
        raise InputError(
            f"fold {fold.name} has no training row of class {names}: choose another validation rule, or leave the "
            "class out of the corpus' labels"
        )
    _check_speakers(fold, "training and test", fold.train, fold.test, corpora)
    _check_speakers(fold, "validation and test", fold.validation, fold.test, corpora)
    if not speakers_may_validate:
        _check_speakers(fold, "training and validation", fold.train, fold.validation, corpora)


def _check_speakers(
    fold: Fold, sides: str, first: tuple[Part, ...], second: tuple[Part, ...], corpora: dict[str, _Corpus]
) -> None:
    seen = [np.unique(np.concatenate([corpora[p.corpus].speakers[p.rows] for p in side])) for side in (first, second)]
    both = np.intersect1d(*seen)
    if len(both) == 0:
        return
    names = next(iter(corpora.values())).speaker_names
    where = [
        f"session {corpora[part.corpus].session_names[session]!r} of {part.corpus}"
        for part in (*first, *second)
        for session in np.unique(
            corpora[part.corpus].sessions[part.rows][corpora[part.corpus].speakers[part.rows] == both[0]]
        )
    ]
    raise InputError(
        f"fold {fold.name}: speaker {str(names[both[0]])!r} is in both {sides} ({', '.join(dict.fromkeys(where))}), "
        f"{len(both)} such speakers in all: sessions must not share speakers; check the speaker and session columns "
        "or the session_rule"
    )
