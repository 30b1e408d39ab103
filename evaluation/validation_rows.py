"""Which of a fold's training rows choose the epoch: the rules of `validation`."""

import zlib
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from .protocols import ProtocolRows
from .protocols import check_sessions


@dataclass(frozen=True)
class ValidationRule:
    """One of `choices.VALIDATION_RULES`.

    `session` the last session, in natural order, of each corpus that is trained on. `speakers` about `fraction` of
    each such corpus' speakers, at least one. `random` about `fraction` of the rows of each class and corpus; speakers
    may then be on both sides. `random_unstratified` `fraction` of the rows of each corpus, whatever their class, as
    torch's `random_split` into int((1 - fraction) n) and the rest draws them; speakers likewise.

    Args:
        name: which.
        fraction: share of speakers or rows that validates, strictly between 0 and 1.
        seed: draws them.
    """

    name: str
    fraction: float
    seed: int

    @property
    def shares_speakers(self) -> bool:
        """Whether a speaker may be trained on and validate."""
        return self.name in ("random", "random_unstratified")

    def take(self, rows: ProtocolRows, train: np.ndarray, fold: str) -> tuple[np.ndarray, str]:
        """(n,) bool, which of the training rows validate; and they in words.

        Args:
            rows: all n.
            train: (n,) bool of the fold.
            fold: its name.

        Raises:
            InputError: a corpus with too few sessions or speakers.
        """
        validates, sessions = np.zeros(len(rows), dtype=bool), []
        for corpus in rows.training_corpora:
            place = rows.places[corpus]
            left = np.flatnonzero(train[place]) + place.start
            if self.name == "session" and len(left):
                names, number = rows.coded_sessions(corpus)
                counts = np.bincount(number[left], minlength=len(names))
                held = [(name, count) for name, count in zip(names, counts, strict=True) if count]
                check_sessions(corpus, *zip(*held, strict=True), 2, "validation on a session")
                last = names.index(held[-1][0])
                validates[left[number[left] == last]] = True
                sessions.append(f"session {names[last]} of {corpus}")
            elif len(left):
                validates[self._drawn(rows, left, corpus, fold)] = True
        return validates, ", ".join(sessions) or self._in_words()

    def _in_words(self) -> str:
        what = {"random": "rows, stratified by class", "random_unstratified": "rows"}.get(self.name, "speakers")
        shared = ", of speakers that are also trained on" if self.shares_speakers else ""
        return f"{self.fraction:g} of the {what}{shared}, drawn with seed {self.seed}"

    def _drawn(self, rows: ProtocolRows, left: np.ndarray, corpus: str, fold: str) -> np.ndarray:
        """Which of the rows `left` of a corpus validate, by the rules that draw them."""
        # Of this fold and corpus alone, so that other folds, corpora and modes do not change what is drawn.
        generator = np.random.default_rng((self.seed, zlib.crc32(f"{fold}/{corpus}".encode())))
        if self.name == "speakers":
            of_rows = rows.coded_speakers[1][left]
            speakers = np.unique(of_rows)
            if len(speakers) < 2:
                raise InputError(
                    f"validation by speakers needs two speakers or more in the training rows of {corpus} "
                    f"(fold {fold}), found {len(speakers)}: choose validation 'random', or add speakers"
                )
            number = min(max(1, round(self.fraction * len(speakers))), len(speakers) - 1)
            return left[np.isin(of_rows, generator.permutation(speakers)[:number])]
        if self.name == "random_unstratified":
            return generator.permutation(left)[int((1 - self.fraction) * len(left)) :]
        labels = rows.labels[left]
        order = np.lexsort((generator.random(len(left)), labels))  # each class in random order
        counts = np.bincount(labels)
        rank = np.arange(len(left)) - (np.cumsum(counts) - counts)[labels[order]]  # 0, 1, 2... within the class
        return left[order[rank < np.rint(self.fraction * counts)[labels[order]]]]


__all__ = ["ValidationRule"]
