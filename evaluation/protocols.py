"""The protocols, by name: which rows train, validate and test. A user's own file adds others.

A protocol is a function of a `ProtocolRows` that gives its folds, each a `Split`; its docstring says in a line what it
does, and stands with every result. It must give the same for the same rows: it is asked on every process and again
after a resume. What it gives is checked by `folds.plan_folds`.
"""

import re
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from functools import cached_property
from typing import Any
from typing import NamedTuple

import numpy as np

from ..errors import InputError
from ..registry import Registry
from ..registry import read_only
from ..text_columns import Column
from ..text_columns import coded

UNKNOWN_SESSIONS = ("", "unknown")
SHARED_SPEAKERS = "shared speakers"

_OTHER_HOMES = tuple(f"{__package__}.{name}" for name in ("speaker_protocols", "given_protocols"))
PROTOCOLS = Registry("protocol", (__name__, *_OTHER_HOMES), (SHARED_SPEAKERS,))

Rows = np.ndarray | Sequence[int] | Sequence[bool]
"""Row numbers, or a mask of all rows."""


class ManifestRow(NamedTuple):
    """What a manifest says of an utterance.

    Args:
        names: what the utterance's id may be, the likeliest first.
        corpus: its corpus; "" where the manifest says none.
        fold: its fold, as the manifest calls it.
        part: its part of that fold, likewise.
        where: the file and line, for messages.
    """

    names: tuple[str, ...]
    corpus: str
    fold: str
    part: str
    where: str


@dataclass(frozen=True, eq=False)
class ProtocolOptions:
    """What settings say of the folds, besides the protocol's name.

    Args:
        folds, fold_seed: of `group_folds`: how many, and what draws them.
        manifest: of `manifest`: what it says of each utterance.
        disjoint_by: what no training or validation row shares with a test row: of `choices.DISJOINT_BY`.
        allow_overlap: whether tested speakers and recordings may be trained on.
    """

    folds: int = 5
    fold_seed: int = 0
    manifest: Sequence[ManifestRow] = ()
    disjoint_by: Sequence[str] = ()
    allow_overlap: bool = False


@dataclass(frozen=True, eq=False)
class ProtocolRows:
    """The n labelled rows of an experiment's corpora, as a protocol sees them: those of `train_dataset`, then those of
    `test_datasets`. The arrays can't be written to. A user's own protocol is given arrays of NumPy alone.

    Args:
        corpora: (n,) name of each row's corpus.
        labels: (n,) class numbers.
        label_names: class names in the order of the class numbers.
        speakers: (n,) unique across corpora: `IEMO/3`, or `IEMO/unknown`.
        sessions: (n,) one of `UNKNOWN_SESSIONS` where it is not known.
        may_train: (n,) bool: of a corpus of `train_dataset`; the other rows are for testing alone.
        seed: of the run.
        validation: the recipe's rule, which takes validation rows where a `Split` names none.
        utterance_ids: (n,) unique within a corpus.
        transcripts: (n,) the words.
        splits: (n,) the part that a row's corpus puts it into, as the corpus calls it; "" where it says none.
        sentences: (n,) rows with the same number have the same words, whatever their case and marks; -1: none.
        recordings: (n,) rows with the same number have the same recording; -1: none.
        scripts: (n,) the script or scenario that a row is of, unique across corpora; "" where it isn't known.
        left_out: {corpus: ids of the rows of its data that are left out}.
        options: what settings say of the folds.
    """

    corpora: Column
    labels: np.ndarray
    label_names: tuple[str, ...]
    speakers: Column
    sessions: Column
    may_train: np.ndarray
    seed: int
    validation: str
    utterance_ids: Column | None = None
    transcripts: Column | None = None
    splits: Column | None = None
    sentences: np.ndarray | None = None
    recordings: np.ndarray | None = None
    scripts: Column | None = None
    left_out: Mapping[str, Collection[str]] = field(default_factory=dict)
    options: ProtocolOptions = field(default_factory=ProtocolOptions)

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def training_corpora(self) -> tuple[str, ...]:
        """Names of the corpora of `train_dataset`."""
        return self._named(self.may_train)

    @cached_property
    def tested_corpora(self) -> tuple[str, ...]:
        """Names of the other corpora."""
        return self._named(~self.may_train)

    def _named(self, chosen: np.ndarray) -> tuple[str, ...]:
        """The corpora of the chosen rows, in the order of the rows."""
        in_order = sorted(self.places.items(), key=lambda each: each[1].start)
        return tuple(name for name, place in in_order if chosen[place].any())

    @cached_property
    def coded_speakers(self) -> tuple[np.ndarray, np.ndarray]:
        """Names of all speakers, sorted; and (n,) the number of each row's."""
        return coded(self.speakers)

    @cached_property
    def unknown_speaker(self) -> np.ndarray:
        """(n,) bool: rows of which it isn't known who speaks."""
        names, codes = self.coded_speakers
        return np.char.endswith(names, f"/{UNKNOWN_SESSIONS[-1]}")[codes]

    @cached_property
    def places(self) -> dict[str, slice]:
        """Where the rows of each corpus are: one after the other."""
        names, codes = coded(self.corpora)
        counts = np.bincount(codes, minlength=len(names)).tolist()
        first = [int(np.argmax(codes == code)) for code in range(len(names))]
        return {name: slice(i, i + n) for name, i, n in zip(names.tolist(), first, counts, strict=True)}

    def as_arrays(self) -> "ProtocolRows":
        """The same with every column as an array of NumPy, for users' own protocols."""
        texts = ("corpora", "speakers", "sessions", "utterance_ids", "transcripts", "splits", "scripts")
        given = {name: getattr(self, name) for name in texts}
        found = {
            name: read_only(np.asarray(column, dtype=object if name == "transcripts" else str))
            for name, column in given.items()
            if column is not None and not isinstance(column, np.ndarray)
        }
        left_out = {corpus: frozenset(ids) for corpus, ids in self.left_out.items()}
        return replace(self, left_out=left_out, **found)

    @cached_property
    def _coded_sessions(self) -> dict[str, tuple[list[str], np.ndarray]]:
        return {}

    def coded_sessions(self, corpus: str) -> tuple[list[str], np.ndarray]:
        """Names of a corpus' sessions in natural order; and (n,) the number of each row's, -1 in other corpora."""
        if corpus not in self._coded_sessions:
            self._coded_sessions[corpus] = self._code_sessions(self.places[corpus])
        return self._coded_sessions[corpus]

    def _code_sessions(self, chosen: slice) -> tuple[list[str], np.ndarray]:
        names, inverse = coded(self.sessions[chosen])
        order = sorted(range(len(names)), key=lambda i: natural_key(str(names[i])))
        rank = np.empty(len(names), dtype=np.int64)
        rank[order] = np.arange(len(names))
        codes = np.full(len(self), -1)
        codes[chosen] = rank[inverse.reshape(-1)]
        return [str(names[i]) for i in order], codes


@dataclass(frozen=True, eq=False)
class Split:
    """One fold, as a protocol gives it.

    Args:
        name: unique among the protocol's; it names the runs' folder, and stands in every table.
        train: rows that are trained on.
        test: rows that are tested, once, after training. No row is in two folds' test rows. {name: rows} of several
            test parts, which are kept apart: each is `CORPUS:name` in every table.
        validation: rows that choose the epoch, none of them in `train`; None takes them out of `train` by the recipe's
            `validation` rule. Every fold of a protocol names them, or none.
        description: what is trained on and tested here, in words; "" says the corpora and numbers of rows.
        chosen_on: the validation rows in words; "" says their number.
    """

    name: str
    train: Rows
    test: Rows | Mapping[str, Rows]
    validation: Rows | None = None
    description: str = ""
    chosen_on: str = ""


def register_protocol(
    name: str, shares_speakers: bool = False
) -> Callable[[Callable[[ProtocolRows], Any]], Callable[[ProtocolRows], Any]]:
    """Decorator: makes a function of a `ProtocolRows` known as `evaluation_mode=name`. Its docstring begins with what
    every result says of it.

    Args:
        shares_speakers: whether tested speakers may be trained on, as in some published folds. Every result, report
            and card then says how many are. Without it such a fold is refused.

    Raises:
        ValueError: the name is EmoMM's own, or the function has no docstring.
    """

    def register(function: Callable[[ProtocolRows], Any]) -> Callable[[ProtocolRows], Any]:
        if callable(function) and not about(function):
            raise ValueError(
                f"the protocol {name!r} has no docstring: its first lines must say what it does, for every result"
            )
        return PROTOCOLS.register(name, (SHARED_SPEAKERS,) if shares_speakers else ())(function)

    return register


def about(function: Callable) -> str:
    """The first paragraph of a protocol's docstring, in a line and without the full stop."""
    return " ".join((function.__doc__ or "").strip().split("\n\n")[0].split()).rstrip(".")


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key that takes runs of digits as numbers: "2" before "10"."""
    pieces = re.split(r"([0-9]+)", name)
    return [(0, int(piece), "") if i % 2 else (1, 0, piece) for i, piece in enumerate(pieces)]


def check_sessions(corpus: str, names: Sequence[str], rows_of_each: np.ndarray, at_least: int, purpose: str) -> None:
    """Raises InputError where sessions are not known, or too few.

    Args:
        corpus: its name.
        names: of its sessions.
        rows_of_each: (sessions,) how many rows each has.
    """
    unknown = sum(int(count) for name, count in zip(names, rows_of_each, strict=True) if name in UNKNOWN_SESSIONS)
    if unknown:
        raise InputError(
            f"{unknown} rows of {corpus} have no session, and {purpose} needs one for each: give the corpus a session "
            "column or a session_rule, or choose another evaluation_mode or validation"
        )
    if len(names) < at_least:
        raise InputError(
            f"{purpose} needs {at_least} sessions or more, {corpus} has {len(names)} ({', '.join(map(repr, names))}): "
            "choose another evaluation_mode or validation, or give more sessions"
        )


# ---- EmoMM's own ----------------------------------------------------------------------------------------------------


@register_protocol("loso")
def leave_one_session_out(rows: ProtocolRows) -> Iterator[Split]:
    """Leave one session out: a fold for each session of each training corpus, in natural order.

    The rest of every training corpus is trained on, but for the validation rows. By the rule `session` the session
    after the tested one validates (the first after the last), so that over the folds each validates once.
    """
    trained, by_session = rows.training_corpora, rows.validation == "session"
    for corpus in trained:
        sessions, number = rows.coded_sessions(corpus)
        alone = by_session and len(trained) == 1
        purpose = "leave-one-session-out" + (" with a session for validation" if alone else "")
        check_sessions(corpus, sessions, np.bincount(number[number >= 0]), 3 if alone else 2, purpose)
        for i, session in enumerate(sessions):
            after = (i + 1) % len(sessions)
            validation = number == after if by_session else None
            train = rows.may_train & (number != i)
            yield Split(
                f"session-{session}" if len(trained) == 1 else f"{corpus}-session-{session}",
                train & ~validation if by_session else train,
                number == i,
                validation,
                f"leave one session out: trained on {' + '.join(trained)} without session {session} of {corpus}, "
                "which is tested once, after training",
                f"session {sessions[after]} of {corpus}",
            )


@register_protocol("cross_corpus")
def cross_corpus(rows: ProtocolRows) -> Iterator[Split]:
    """Cross-corpus: one fold, trained on the training corpora and tested on each of the others."""
    yield Split(
        "cross-corpus",
        rows.may_train,
        ~rows.may_train,
        description=f"cross-corpus: trained on {' + '.join(rows.training_corpora)}, all rows of "
        f"{', '.join(rows.tested_corpora)} are tested once, after training",
    )


@register_protocol("both")
def sessions_and_corpora(rows: ProtocolRows) -> Iterator[Split]:
    """Leave one session out, then cross-corpus."""
    yield from leave_one_session_out(rows)
    yield from cross_corpus(rows)


__all__ = [
    "PROTOCOLS", "SHARED_SPEAKERS", "UNKNOWN_SESSIONS", "ManifestRow", "ProtocolOptions", "ProtocolRows", "Rows",
    "Split", "about", "check_sessions", "natural_key", "register_protocol",
]  # fmt: skip
