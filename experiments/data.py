"""The corpora of an experiment side by side, as arrays: what its runs take their rows from."""

import logging
from dataclasses import dataclass
from functools import cached_property
from functools import lru_cache

import numpy as np

from ..choices import FROM_OUTSIDE
from ..corpora.corpus import Corpus
from ..corpora.names import look_alikes
from ..curriculum.curricula import CURRICULA
from ..curriculum.difficulty import fill_unrated
from ..curriculum.difficulty import fit_prototypes
from ..curriculum.difficulty import vad_difficulty
from ..errors import InputError
from ..evaluation.folds import Fold
from ..evaluation.folds import Part
from ..evaluation.folds import Table
from ..features.numbering import missing_words
from ..features.numbering import numbered_recordings
from ..features.numbering import numbered_words
from ..features.sequences import Sequences
from ..modalities import AUDIO
from ..modalities import Modality
from ..modalities import is_missing
from ..modalities import modalities_in
from ..settings.settings import Settings
from ..speech_features import SpeechFeatures
from ..speech_features import WrongEncoder
from ..text_columns import Column
from ..text_columns import coded
from ..text_columns import constant
from ..text_columns import joined
from ..waveforms import SAMPLING_RATE
from .leakage import shared_lines

logger = logging.getLogger(__name__)

_MOST_SHOWN = 3
_WITHOUT_DIFFICULTY = (
    "set use_curriculum_learning and use_difficulty_scaling to false, choose a curriculum_type that needs none "
    "(random, class_balance, model_confidence), or set difficulty_from_corpus for a corpus that has such a column"
)


@dataclass
class ExperimentData:
    """All rows of an experiment's corpora, one corpus after the other, in the training corpora's label space.

    Args:
        settings: the experiment.
        train, test: its corpora. Rows of a test corpus whose class the training corpora lack are left out.
        labels: class names.
    """

    settings: Settings
    train: list[Corpus]
    test: list[Corpus]

    def __post_init__(self) -> None:
        self.labels, self.modalities = self.train[0].labels, modalities_in(self.settings.modality)
        self._check()
        self.corpora: list[Corpus] = []
        self.notes: list[str] = []
        self.shared_rows: list[str] = []
        for corpus in [*self.train, *self.test]:
            known = np.array([name in self.labels for name in corpus.labels])[corpus.label_ids]
            if not known.all():
                self.notes.append(f"{corpus.name}: {int((~known).sum())} rows of classes not trained on are left out")
                corpus = corpus.select(np.flatnonzero(known))
            if len(corpus) == 0:
                raise InputError(f"{corpus.name}: no row is left of the classes {', '.join(self.labels)}")
            self.corpora.append(corpus)
        sizes = [len(corpus) for corpus in self.corpora]
        self._offset = dict(zip((c.name for c in self.corpora), np.cumsum([0, *sizes[:-1]]).tolist(), strict=True))
        self.label_ids = _concatenated([self._label_ids(corpus) for corpus in self.corpora])
        self.corpus_names = joined([constant(corpus.name, len(corpus)) for corpus in self.corpora])
        for name in ("speakers", "sessions", "utterance_ids"):
            setattr(self, name, joined([getattr(corpus, name) for corpus in self.corpora]))
        self.vad = _concatenated([corpus.vad for corpus in self.corpora])
        for name in ("difficulty", "curriculum_order"):
            columns = [getattr(corpus, name) for corpus in self.corpora]
            filled = [
                np.broadcast_to(np.float32(np.nan), len(corpus)) if column is None else column
                for corpus, column in zip(self.corpora, columns, strict=True)
            ]
            setattr(self, f"own_{name}", _concatenated(filled))
        self._note_look_alikes()

    def _note_look_alikes(self) -> None:
        """Says which speakers and sessions could be one and the same, since they are counted as two."""
        groups = [("speakers", look_alikes(coded(self.speakers)[0].tolist()))]
        groups += [("sessions", look_alikes(coded(corpus.sessions)[0].tolist())) for corpus in self.train]
        for what, alike in groups:
            if alike:
                shown = "; ".join(" and ".join(map(repr, group)) for group in alike[:_MOST_SHOWN])
                more = f", and {len(alike) - _MOST_SHOWN} more such names" if len(alike) > _MOST_SHOWN else ""
                self.notes.append(f"{what} of names that are written alike count as different ones: {shown}{more}")

    # ---- checks -----------------------------------------------------------------------------------------------------

    def _check(self) -> None:
        settings, first = self.settings, self.train[0]
        where = f"experiment {settings.name!r}"
        if settings.num_classes is not None and settings.num_classes != len(self.labels):
            raise InputError(
                f"{where}: num_classes is {settings.num_classes}, but {first.name} has {len(self.labels)} classes: "
                f"{', '.join(self.labels)}"
            )
        for corpus in self.train[1:]:
            if set(corpus.labels) != set(self.labels):
                raise InputError(
                    f"{where}: {corpus.name} has the classes {', '.join(corpus.labels)}, {first.name} has "
                    f"{', '.join(self.labels)}: corpora that are trained on together need the same classes; set "
                    "label_map in corpora"
                )
        self._check_modalities(where)
        for name, known in (("class_weights", self.labels), ("class_order", self.labels)):
            given = getattr(settings, name)
            if isinstance(given, (dict, list)) and sorted(given) != sorted(known):
                raise InputError(f"{where}: {name} must name each class once: {', '.join(known)}; got {list(given)}")
        if settings.vad_loss_weight > 0:
            for corpus in self.train:
                if np.isnan(corpus.vad).all():
                    raise InputError(
                        f"{where}: vad_loss_weight is {settings.vad_loss_weight:g}, but {corpus.name} has no rated "
                        "valence, arousal or dominance to learn from: set it to 0"
                    )
        self._check_difficulty(where)

    def _check_modalities(self, where: str) -> None:
        for modality in self.modalities:
            if modality.tokens is None:
                self._check_vectors(where, modality)
                continue
            for corpus in self.train:
                if missing_words(corpus.transcripts).all():
                    raise InputError(f"{where}: no row of {corpus.name} has words; set modality to audio")

    def _check_vectors(self, where: str, modality: Modality) -> None:
        hears, recorded = modality.name == AUDIO.name, self.train[0].recordings is not None
        given = (None if recorded else self.settings.audio_dim) if hears else modality.dim
        expected = given or self.train[0].vectors(modality.name).dim
        what = ("recordings" if recorded else "voice features") if hears else f"vectors of {modality.word}"
        for corpus in [*self.train, *self.test]:
            vectors = corpus.vectors(modality.name)
            if not vectors.length.any():
                recordings = "voice_input to recording, or " if corpus.spec.release else ""
                instead = f"set {recordings}modality to text" if hears else "leave it out of modality"
                raise InputError(f"{where}: {corpus.name} has no {what}; {instead}")
            if vectors.dim != expected:
                source = "audio_dim" if given else self.train[0].name
                raise InputError(
                    f"{where}: the {what} of {corpus.name} are {vectors.dim} wide, {source} says "
                    f"{expected}: all corpora need features of the same extractor"
                )
            if hears:
                _refuse_other_encoder(where, self.train[0], corpus)
            if len(self.modalities) == 1 and not vectors.length.all():
                row = int(np.argmin(vectors.length))
                raise InputError(
                    f"{where}: {corpus.name} row {str(corpus.utterance_ids[row])!r} has no {modality.word}, and "
                    f"modality is {modality.name}: leave such rows out, or train with modality both and fusion_type "
                    "adaptive"
                )

    def _check_difficulty(self, where: str) -> None:
        settings = self.settings
        if self._curriculum_needs("preset_order"):
            for corpus in self.train:
                if corpus.curriculum_order is None or np.isnan(corpus.curriculum_order).any():
                    raise InputError(
                        f"{where}: curriculum_type is {settings.curriculum_type}, but {corpus.name} has no complete "
                        "curriculum_order column"
                    )
        if not self.needs_difficulty:
            return
        for corpus in self.train:
            if settings.difficulty_from_corpus:
                lacks = corpus.difficulty is None or np.isnan(corpus.difficulty).all()
                what = "has no difficulty column, which difficulty_from_corpus asks for"
            else:
                lacks = np.isnan(corpus.vad).any(axis=1).all()
                what = "has no rated valence, arousal and dominance, from which the difficulty is computed"
            if lacks:
                raise InputError(f"{where}: {corpus.name} {what}; {_WITHOUT_DIFFICULTY}")
        if not settings.difficulty_from_corpus and isinstance(settings.expected_vad, dict):
            missing = [name for name in self.labels if name not in settings.expected_vad]
            if missing:
                raise InputError(
                    f"{where}: expected_vad lacks the classes {', '.join(missing)}; give three numbers for each "
                    "class, or set it to fit"
                )

    @property
    def needs_difficulty(self) -> bool:
        """Whether training uses the rows' difficulty."""
        return self._curriculum_needs("difficulty") or self.settings.use_difficulty_scaling

    def _curriculum_needs(self, score: str) -> bool:
        settings = self.settings
        chosen = CURRICULA.get(settings.curriculum_type, settings.curriculum_module)
        return settings.use_curriculum_learning and score in chosen.needs

    # ---- columns ----------------------------------------------------------------------------------------------------

    @property
    def wants_difficulty(self) -> bool:
        """Ratings are used where training needs them, and reported where there are any."""
        own = self.settings.difficulty_from_corpus and not np.isnan(self.own_difficulty).all()
        return self.needs_difficulty or own or not self.settings.difficulty_from_corpus

    def _label_ids(self, corpus: Corpus) -> np.ndarray:
        to_ours = np.array([self.labels.index(name) if name in self.labels else -1 for name in corpus.labels])
        alike = np.array_equal(to_ours, np.arange(len(to_ours)))
        return corpus.label_ids if alike else to_ours[corpus.label_ids]

    def tables(self, corpora: list[Corpus]) -> list[Table]:
        """What the protocol needs to know of some of the corpora."""
        found = {corpus.name: corpus for corpus in self.corpora}
        settings = self.settings
        # Of the others, what test rows share is said, and changes no fold: it need not be known yet.
        asked = settings.evaluation_mode in FROM_OUTSIDE or settings.allow_overlap or settings.disjoint_by
        recordings = self.same_recordings if asked else None
        tables = []
        for whole in corpora:
            corpus = found[whole.name]
            rows = slice(self._offset[corpus.name], self._offset[corpus.name] + len(corpus))
            tables.append(
                Table(
                    corpus.name,
                    self._label_ids(corpus),
                    corpus.speakers,
                    corpus.sessions,
                    tuple(self.labels),
                    whole.spec.test_only,
                    corpus.utterance_ids,
                    _as_column(corpus.transcripts),
                    corpus.splits,
                    self.sentences[rows],
                    None if recordings is None else recordings[rows],
                    corpus.scripts,
                    whole.left_out_besides(corpus),
                )
            )
        return tables

    @cached_property
    def sentences(self) -> np.ndarray:
        """(n,) the same number for the same words, -1 for none."""
        return numbered_words(self.transcripts())

    @property
    def same_recordings(self) -> np.ndarray:
        """(n,) the same number for the same voice features, or samples; -1 for none."""
        return _same_recordings(tuple(self.corpora))

    @property
    def words(self) -> list[str]:
        """What people call the modalities that the model takes."""
        return [modality.word for modality in self.modalities]

    def rows(self, parts: tuple[Part, ...]) -> np.ndarray:
        """Where the rows of these parts are in the arrays here."""
        rows = [part.rows + self._offset[part.corpus] for part in parts]
        return np.concatenate(rows) if rows else np.zeros(0, np.int64)

    def tested_names(self, parts: tuple[Part, ...]) -> Column:
        """(n,) what scores on each row of these parts stand under."""
        return joined([constant(part.name, len(part.rows)) for part in parts])

    def class_counts(self, rows: np.ndarray) -> np.ndarray:
        """(C,) how many of the rows have each label."""
        return np.bincount(self.label_ids[rows], minlength=len(self.labels))

    def transcripts(self) -> Column:
        """All transcripts, in row order."""
        return joined([corpus.transcripts for corpus in self.corpora])

    def vectors(self, modality: str) -> Sequences:
        """All vectors of a modality that the corpora have vectors of, in row order."""
        return Sequences.concatenate([corpus.vectors(modality) for corpus in self.corpora])

    @property
    def recordings(self) -> np.ndarray | None:
        """(n, 16) the keys of all recordings, in row order; None where the voice comes as features."""
        keys = [corpus.recordings for corpus in self.corpora]
        return None if keys[0] is None else np.concatenate(keys)

    def recording_seconds(self, rows: np.ndarray) -> list[float] | None:
        """How long the recordings of some rows are: 1st percentile, median and 99th percentile, in seconds.

        None where the features tell no time: vectors of whole recordings, or frames of an unknown rate.
        """
        made_by = self.train[0].spec.speech_encoder
        rate = SpeechFeatures.from_dict(made_by).frame_rate if made_by else 0
        rate = rate if self.recordings is None else SAMPLING_RATE
        lengths = np.concatenate([corpus.audio.length for corpus in self.corpora])[rows]
        if not rate or lengths.max(initial=0) <= 1:
            return None
        return [round(float(each), 3) for each in np.percentile(lengths[lengths > 0] / rate, [1, 50, 99])]

    def check_complete(self) -> None:
        """Raises InputError that names a row without a modality: for fusions that can't do without. Missing words are
        read as `[EMPTY]` there."""
        for corpus in self.corpora:
            for modality in self.modalities:
                lacking = self._lacking(corpus, modality)
                if modality.missing is None and lacking.any():
                    row = str(corpus.utterance_ids[lacking.argmax()])
                    raise InputError(
                        f"experiment {self.settings.name!r}: {corpus.name} row {row!r} has no {modality.word} "
                        f"({lacking.sum()} such rows), and fusion_type={self.settings.fusion_type!r} needs it: use "
                        "adaptive, or leave such rows out"
                    )

    def check_something(self) -> None:
        """Raises InputError that names a row with none of the modalities."""
        *first, last = self.words
        for corpus in self.corpora:
            mute = np.all([self._lacking(corpus, modality) for modality in self.modalities], axis=0)
            if mute.any():
                row = str(corpus.utterance_ids[mute.argmax()])
                raise InputError(
                    f"experiment {self.settings.name!r}: {corpus.name} row {row!r} has neither {', '.join(first)} nor "
                    f"{last} ({int(mute.sum())} such rows): leave them out"
                )

    @staticmethod
    def _lacking(corpus: Corpus, modality: Modality) -> np.ndarray:
        """(n,) whether each row has none of it."""
        if modality.tokens is not None:
            return missing_words(corpus.transcripts)
        return corpus.vectors(modality.name).length == 0

    def note_shared(self, folds: list[Fold]) -> None:
        """Finds out what test rows share with training and validation rows: recordings, and for models that read them,
        words; a line for each tested corpus, kept as `shared_rows`, and noted where it is any.

        Args:
            folds: of all seeds; those with the same test rows and the same others count once.
        """
        lines, found = shared_lines(self, folds)
        self.shared_rows += lines
        self.notes += found

    def texts(self, may_be_missing: bool) -> list[str | None]:
        """Transcripts as the model reads them: None for missing words where the fusion deals with that."""
        return [None if may_be_missing and is_missing(text) else text for text in self.transcripts()]

    def check_ratings(self, train_rows: np.ndarray, fold: str) -> None:
        """Raises InputError where a fold's training rows lack the ratings that training needs, or have wrong ones."""
        settings, where = self.settings, f"experiment {self.settings.name!r}, fold {fold}"
        if settings.vad_loss_weight > 0 and np.isnan(self.vad[train_rows]).all():
            raise InputError(
                f"{where}: none of its {len(train_rows)} training rows has valence, arousal or dominance to learn "
                f"from{self._where_rated(self.vad)}: set vad_loss_weight to 0, or have more sessions rated"
            )
        if not self.needs_difficulty:
            return
        own = settings.difficulty_from_corpus
        ratings = self.own_difficulty[:, None] if own else self.vad
        rated = ~np.isnan(ratings[train_rows]).any(axis=1)
        if not rated.any():
            what = "a difficulty" if own else "valence, arousal and dominance, from which the difficulty is computed"
            raise InputError(
                f"{where}: none of its {len(train_rows)} training rows has {what}{self._where_rated(ratings)}; "
                f"{_WITHOUT_DIFFICULTY}"
            )
        counts = np.bincount(self.label_ids[train_rows[rated]], minlength=len(self.labels))
        if not own and settings.expected_vad == "fit" and not counts.all():
            lacking = ", ".join(name for name, count in zip(self.labels, counts, strict=True) if not count)
            raise InputError(
                f"{where}: no training row of the class {lacking} has valence, arousal and dominance, and "
                "expected_vad is fit: give three numbers for each class in expected_vad"
            )
        difficulty = self.difficulty(train_rows)[1]
        if settings.use_difficulty_scaling and difficulty.min() < 0:
            row = train_rows[int(difficulty.argmin())]
            raise InputError(
                f"{where}: row {str(self.utterance_ids[row])!r} of {self.corpus_names[row]} has the difficulty "
                f"{difficulty.min():g}, and with use_difficulty_scaling a row's loss counts 1 + difficulty: it must "
                "be at least 0. Shift the column, or set use_difficulty_scaling to false"
            )

    def _where_rated(self, ratings: np.ndarray) -> str:
        rated = ~np.isnan(ratings).any(axis=1)
        sessions = coded(self.sessions[rated])[0].tolist()
        return f" (rated are {rated.sum()} rows, of session {', '.join(sessions[:_MOST_SHOWN])})" if sessions else ""

    def difficulty(self, train_rows: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None, int]:
        """Difficulty of every row, with prototypes that only `train_rows` may shape.

        Returns the difficulty of all rows (NaN where unrated) and of the training rows (unrated ones have the median
        of their class, how many is the third value); None where the experiment's corpora have no ratings.
        """
        settings = self.settings
        if settings.difficulty_from_corpus:
            everywhere = self.own_difficulty.astype(np.float64)
        else:
            named = settings.expected_vad
            if np.isnan(self.vad[train_rows]).any(axis=1).all():
                return None, None, 0
            if isinstance(named, dict):
                if any(name not in named for name in self.labels):
                    return None, None, 0
                prototypes = np.array([named[name] for name in self.labels], dtype=np.float64)
            else:
                prototypes = fit_prototypes(self.vad[train_rows], self.label_ids[train_rows], len(self.labels))
            weights = settings.vad_weights
            if settings.difficulty_method == "weighted" and weights is None:
                weights = [0.4, 0.4, 0.2]
            everywhere = vad_difficulty(
                self.vad, self.label_ids, prototypes, settings.difficulty_method, weights, self.labels
            )
        filled, unrated = fill_unrated(everywhere[train_rows], self.label_ids[train_rows])
        return everywhere, filled, unrated


@lru_cache(maxsize=1)
def _same_recordings(corpora: tuple[Corpus, ...]) -> np.ndarray:
    """Found once for the experiments of a recipe, which mostly have the same corpora."""
    return numbered_recordings(Sequences.concatenate([corpus.audio for corpus in corpora]))


def _concatenated(columns: list[np.ndarray]) -> np.ndarray:
    """One after the other; of one column that column, which may be mapped from disk."""
    return columns[0] if len(columns) == 1 else np.concatenate(columns)


def _as_column(transcripts: Column) -> Column:
    return np.array(transcripts, dtype=object) if isinstance(transcripts, list) else transcripts


def _refuse_other_encoder(where: str, first: Corpus, corpus: Corpus) -> None:
    """Raises InputError where the features of two corpora were made by different encoders, as far as that is known."""
    made = [each.spec.speech_encoder for each in (first, corpus)]
    if None in made:
        return
    one, other = (SpeechFeatures.from_dict(each) for each in made)
    try:
        one.refuse_other_states(other)
    except WrongEncoder:
        raise InputError(
            f"{where}: the voice features of {first.name} were made by {one.in_words()}, those of {corpus.name} by "
            f"{other.in_words()}: all corpora need features of the same extractor"
        ) from None
