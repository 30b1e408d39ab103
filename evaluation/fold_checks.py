"""What must hold for the parts of any fold, whatever protocol gave them."""

import numpy as np

from ..errors import InputError
from .overlap import NONE
from .overlap import Overlap
from .overlap import sharing
from .protocols import ProtocolRows

_MOST_NAMED = 5


class FoldChecks:
    """Checks parts, `{"training", "validation", "test": (n,) bool}`, and counts what lies on two sides.

    Args:
        rows: all n.
        is_own: whether the protocol is a user's own.
        from_outside: whether somebody else has drawn the parts.
        shares_speakers: whether the protocol says by itself that tested speakers may be trained on.
    """

    def __init__(self, rows: ProtocolRows, is_own: bool, from_outside: bool, shares_speakers: bool):
        self.rows, self.is_own, self.from_outside = rows, is_own, from_outside
        self.shares_speakers = shares_speakers
        self.allowed = shares_speakers or rows.options.allow_overlap
        # Strings sorted once for all folds.
        self.speaker_names, self.speakers = rows.coded_speakers

    def row(self, row: int) -> str:
        """`row 8 ('utterance' of IEMO)`."""
        rows = self.rows
        name = "" if rows.utterance_ids is None else f" ({str(rows.utterance_ids[row])!r} of {rows.corpora[row]})"
        return f"row {row}{name}"

    def check_rows(self, where: str, parts: dict[str, np.ndarray]) -> None:
        """Raises InputError for a row in two parts."""
        for first, second in (("training", "test"), ("validation", "test"), ("training", "validation")):
            if first not in parts or second not in parts:
                continue
            both = np.flatnonzero(parts[first] & parts[second])
            if len(both):
                raise InputError(
                    f"{where}: {self.row(both[0])} is in both {first} and {second}, {len(both)} such rows in all: a "
                    "row must be in one part"
                )

    def check_parts(self, where: str, parts: dict[str, np.ndarray], named: bool, dropped: str) -> None:
        """Raises InputError for a part without rows, a row in two, a row that may not be trained on, a class without
        training rows.

        Args:
            named: whether the protocol names the validation rows.
            dropped: what was taken out of them, in words.
        """
        advice = {
            "test": "name at least one corpus to test on",
            "validation": "raise validation_fraction",
            "training": "lower validation_fraction",
        }
        for part, hint in advice.items():
            if not parts[part].any():
                given = self.is_own or dropped or (self.from_outside and (named or part != "validation"))
                hint = "each part needs some" if given else hint
                raise InputError(f"{where} has no {part} rows: {hint}{dropped}")
        self.check_rows(where, parts)
        for part in ("training", "validation"):
            outside = np.flatnonzero(parts[part] & ~self.rows.may_train)
            if len(outside):
                raise InputError(
                    f"{where}: {self.row(outside[0])} is among the {part} rows, but that corpus is in test_datasets, "
                    "not in train_dataset"
                )
        names = self.rows.label_names
        missing = np.flatnonzero(np.bincount(self.rows.labels[parts["training"]], minlength=len(names)) == 0)
        if len(missing):
            raise InputError(
                f"{where} has no training row of class {', '.join(repr(names[i]) for i in missing)}: choose another "
                f"validation rule, or leave the class out of the corpus' labels{dropped}"
            )

    def check_overlap(self, where: str, parts: dict[str, np.ndarray], may_validate: bool) -> None:
        """Raises InputError for speakers (and in parts that somebody else has drawn, recordings) on two sides, where
        that isn't allowed.

        Args:
            may_validate: whether training and validation rows may be of the same speakers.
        """
        if not self.allowed and self.from_outside:
            self._check_given(where, parts)
        elif not self.allowed:
            self._check_speakers(where, parts, "training", "test")
            self._check_speakers(where, parts, "validation", "test")
        # Of parts that are given it is said how many there are.
        if not may_validate and not self.is_own and not self.from_outside and not self.rows.options.allow_overlap:
            self._check_speakers(where, parts, "training", "validation")

    def overlap(self, parts: dict[str, np.ndarray]) -> Overlap:
        """What of the test rows is known from training and validation rows, as far as anything allows it."""
        if not self.allowed and not self.from_outside:
            return Overlap()
        unknown = {part: int((mask & self.rows.unknown_speaker).sum()) for part, mask in parts.items()}
        trained = unknown["training"] + unknown["validation"]
        others = parts["training"] | parts["validation"]
        known = [np.unique(self.speakers[mask & ~self.rows.unknown_speaker]) for mask in (others, parts["test"])]
        shared: int | None = len(np.intersect1d(*known))
        if (self.is_own and (trained or unknown["test"])) or not all(map(len, known)):
            return Overlap(None, self._recordings(parts))
        # Rows of unknown speakers on one side alone can be of the known ones on the other.
        told = tuple((part, count) for part, count in unknown.items() if count)
        return Overlap(shared, self._recordings(parts), told)

    def _recordings(self, parts: dict[str, np.ndarray]) -> int:
        numbers = self.rows.recordings
        if numbers is None:
            return 0
        return int(sharing(numbers, parts["test"], parts["training"] | parts["validation"]).sum())

    def _check_given(self, where: str, parts: dict[str, np.ndarray]) -> None:
        found = []
        others = parts["training"] | parts["validation"]
        codes = np.where(self.rows.unknown_speaker, NONE, self.speakers)
        tested = np.unique(codes[sharing(codes, parts["test"], others)])
        if len(tested):
            names = ", ".join(str(name) for name in self.speaker_names[tested[:_MOST_NAMED]])
            people = len(np.unique(codes[parts["test"] & (codes != NONE)]))
            found.append(
                f"{len(tested)} of {people} tested speakers ({names}{', ...' * (len(tested) > _MOST_NAMED)}) have "
                "training or validation rows"
            )
        if self.rows.recordings is not None:
            known = np.flatnonzero(sharing(self.rows.recordings, parts["test"], others))
            if len(known):
                found.append(
                    f"the recordings of {len(known)} test rows, the first of them {self.row(known[0])}, are trained "
                    "on or validated on under another id"
                )
        if found:
            raise InputError(
                f"{where} leaks: {'; and '.join(found)}: scores would be too high. disjoint_by "
                '["speaker", "recording"] drops such training and validation rows; allow_overlap true trains on them '
                "all the same, and everything that shows the scores then says so"
            )

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
        sides = [set(self.rows.corpora[theirs & parts[side]].tolist()) for side in (first, second)]
        if not sides[0] & sides[1]:
            hint = 'the corpora share speakers; disjoint_by ["speaker"] drops their rows that would be trained on'
        if self.is_own:
            hint = (
                "scores would be of known speakers. Leave theirs out of one part; or, where the protocol is meant so, "
                "register it with shares_speakers=True, and every result says it"
            )
        raise InputError(
            f"{where}: speaker {str(self.speaker_names[both[0]])!r} is in both {first} and {second} "
            f"({', '.join(places)}), {len(both)} such speakers in all: {hint}"
        )


__all__ = ["FoldChecks"]
