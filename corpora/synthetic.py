"""Corpora with known answers: how well the best possible classifier does with the voice, the words and both."""

from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import fields
from difflib import get_close_matches
from math import exp
from math import pi
from math import sqrt
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.special import ndtr

from ..errors import InputError
from .tones import MOST_CLASSES
from .tones import recorded

KINDS = ("independent", "interaction", "tones")
_PARTS = ("train",) * 6 + ("validation",) + ("test",) * 3
"""Which part the speakers of `tones` belong to, tenth by tenth: for `"evaluation_mode": "published"`."""

# One cue a class, in the order of the classes: ordinary nouns far apart in meaning, so that any encoder tells them.
CUE_WORDS = (
    "river", "guitar", "window", "bread", "doctor", "mountain", "train", "snow", "money", "horse",
    "ocean", "hammer", "candle", "school", "engine", "garden", "paper", "king", "shoe", "planet",
)  # fmt: skip
FILLER_WORDS = (
    "the", "a", "and", "then", "there", "about", "again", "this", "that", "with", "from", "over",
    "near", "was", "were", "some", "many", "very", "also", "still", "once", "maybe", "here", "now",
)  # fmt: skip
# (V, A, D) on 1-5 of the four usual classes; further classes get drawn ones.
PROTOTYPES = {
    "neutral": (3.0, 2.5, 3.0),
    "happy": (4.0, 3.8, 3.8),
    "sad": (1.8, 2.2, 2.0),
    "anger": (1.8, 4.2, 4.0),
}


def nearest(key: str, known: list[str]) -> str:
    """` (did you mean 'x'?)` where a known name is close to `key`, else nothing: the tail of an error message."""
    close = get_close_matches(key, known, n=1, cutoff=0.6)
    return f" (did you mean {close[0]!r}?)" if close else ""


@dataclass(frozen=True)
class Generator:
    """Settings of a synthetic corpus. With C classes, rows are drawn like this:

    - `independent`: the label is uniform. Every frame of a row of F frames is N(d e_label, F I), so the mean over
      the frames is N(d e_label, I) and sufficient, however many there are. One word is the cue of the label's class
      with probability `text_accuracy`, else the cue of another class, all alike; the other words say nothing.
    - `interaction`: an audio class a and a text class t, both uniform, are shown in these ways (the word always
      truly); the label is (a + t) mod C. Either alone is at chance exactly.
    - `tones`: recordings in place of features. The label is uniform. The order of low and high tones tells it, or, in
      some rows, is one that tells nothing; of the words one is the cue of the label, or, in some rows, none is. So
      rows that say nothing are guessed, and what one modality lacks the other mostly has.

    Args:
        kind: "independent", "interaction" or "tones".
        rows, speakers, sessions: sizes; speakers take turns, sessions are runs of speakers.
        classes: class names, 2 to 20 (`tones`: to 5).
        audio_dim: width of a frame, at least the number of classes; of no effect on `tones`.
        frames: lowest and highest number of frames of a row; of no effect on `tones`.
        words: lowest and highest number of words of a row, the cue among them.
        audio_accuracy: best possible accuracy from the voice alone (`interaction`: of its class a), above 1/C.
        text_accuracy: best possible accuracy from the words alone, above 1/C; 1 where kind is "interaction".
        missing_audio, missing_text, missing_vad: shares of rows without voice, words, ratings; no row lacks both voice
            and words, so that the first two sum to 1 at most.
        vad_noise: standard deviation of the ratings around their class' prototype.
        speaker_shift: standard deviation of an offset of each speaker in the dimensions without class evidence; of no
            effect on `tones`, whose speakers differ in pitch and timbre.
        seed: of everything drawn.
    """

    kind: str = "independent"
    rows: int = 2000
    classes: tuple[str, ...] = ("neutral", "happy", "sad", "anger")
    speakers: int = 10
    sessions: int = 5
    audio_dim: int = 64
    frames: tuple[int, int] = (3, 8)
    words: tuple[int, int] = (4, 10)
    audio_accuracy: float = 0.75
    text_accuracy: float = 0.70
    missing_audio: float = 0.0
    missing_text: float = 0.0
    missing_vad: float = 0.0
    vad_noise: float = 0.5
    speaker_shift: float = 0.0
    seed: int = 0

    @classmethod
    def from_dict(cls, corpus: str, given: Mapping[str, Any]) -> "Generator":
        """The generator of `corpus` with the settings `given`.

        Raises:
            InputError: an unknown key (the nearest name is offered), a wrong type or a value out of range.
        """
        known = [f.name for f in fields(cls)]
        for key in given:
            if key not in known:
                raise InputError(
                    f"corpus {corpus}: unknown generator setting {key!r}{nearest(str(key), known)}; "
                    f"known: {', '.join(known)}"
                )
        try:
            return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in given.items()})
        except InputError as error:
            raise InputError(f"corpus {corpus}: generator: {error}") from None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise self._wrong("kind", f"one of {', '.join(KINDS)}")
        for key in ("rows", "speakers", "sessions", "audio_dim", "seed"):
            value = getattr(self, key)
            if type(value) is not int or value < (0 if key == "seed" else 1):
                raise self._wrong(key, "a whole number, positive" if key != "seed" else "a whole number, not negative")
        names = self.classes
        if not isinstance(names, tuple) or not all(isinstance(n, str) and n for n in names):
            raise self._wrong("classes", "a list of class names")
        if not 2 <= len(set(names)) == len(names) <= len(CUE_WORDS):
            raise self._wrong("classes", f"2 to {len(CUE_WORDS)} different class names")
        for key in ("frames", "words"):
            ends = getattr(self, key)
            whole = isinstance(ends, tuple) and len(ends) == 2 and all(type(x) is int for x in ends)
            if not whole or not 1 <= ends[0] <= ends[1]:
                raise self._wrong(key, "[lowest, highest], whole numbers from 1 on")
        shares = ("missing_audio", "missing_text", "missing_vad")
        for key in ("audio_accuracy", "text_accuracy", *shares, "vad_noise", "speaker_shift"):
            value = getattr(self, key)
            if type(value) not in (int, float) or not 0 <= value < np.inf or (key in shares and value > 1):
                raise self._wrong(key, "a number from 0 to 1" if key in shares else "a number, not negative")
        self._check_together()

    def _check_together(self) -> None:
        chance = 1 / len(self.classes)
        if self.missing_audio + self.missing_text > 1:
            raise self._wrong("missing_text", f"at most 1 - missing_audio, {1 - self.missing_audio:g}")
        if not chance < self.audio_accuracy < 1:
            raise self._wrong("audio_accuracy", f"above chance ({chance:.3f}) and below 1")
        if self.kind == "interaction" and self.text_accuracy != 1:
            raise self._wrong("text_accuracy", "1 where kind is 'interaction': its word is always the true one")
        if self.kind == "tones" and len(self.classes) > MOST_CLASSES:
            raise self._wrong("classes", f"2 to {MOST_CLASSES} class names where kind is 'tones'")
        if self.kind != "interaction" and not chance < self.text_accuracy < 1:
            raise self._wrong("text_accuracy", f"above chance ({chance:.3f}) and below 1")
        if self.sessions > self.speakers:
            raise self._wrong("sessions", f"at most the number of speakers, {self.speakers}")
        needed = len(self.classes) + (self.speaker_shift > 0)
        if self.kind != "tones" and self.audio_dim < needed:
            raise self._wrong("audio_dim", f"at least {needed}: one for each class, and one for speaker_shift if any")

    def _wrong(self, key: str, right: str) -> InputError:
        return InputError(f"{key} is {getattr(self, key)!r}; it must be {right}")


def separation(accuracy: float, classes: int) -> float:
    """Distance d for which N(d e_y, I) is classified with this accuracy: the root of `audio_bayes_accuracy`."""
    from scipy.optimize import brentq  # here, since it takes its time to import

    return brentq(lambda d: audio_bayes_accuracy(d, classes) - accuracy, 0.0, 40.0, xtol=1e-12)


def audio_bayes_accuracy(d: float, classes: int) -> float:
    """Accuracy of argmax x for x ~ N(d e_y, I): the integral of phi(x - d) Phi(x)^(C - 1)."""
    return _integral(lambda x: _density(x - d) * ndtr(x) ** (classes - 1), d)


def joint_bayes_accuracy(d: float, p: float, classes: int) -> float:
    """Accuracy of argmax over k of d x_k + [k = cue] b, with b = log(p (C - 1) / (1 - p)): voice and words at once.

    The word is right with probability p; then the true class wins when every other x_k < x + b/d. If it is wrong,
    the shown class has the bonus, and the true one wins when x_shown < x - b/d and the rest are below x.
    """
    bonus = np.log(p * (classes - 1) / (1 - p)) / d
    right = _integral(lambda x: _density(x - d) * ndtr(x + bonus) ** (classes - 1), d)
    wrong = _integral(lambda x: _density(x - d) * ndtr(x - bonus) * ndtr(x) ** (classes - 2), d)
    return p * right + (1 - p) * wrong


def _density(x: float) -> float:
    """The standard normal density."""
    return exp(-x * x / 2) / sqrt(2 * pi)


def _integral(integrand: Callable[[float], float], centre: float) -> float:
    from scipy.integrate import quad  # here, since it takes its time to import

    return quad(integrand, centre - 12, centre + 12, epsabs=1e-10, limit=200)[0]


def ceilings(generator: Generator) -> dict[str, float]:
    """The best possible accuracy with `audio`, `text` and `both`, in expectation over all rows.

    A row without what is looked at is guessed: rate 1/C. (With uniform classes it is the best possible UAR as well.)
    """
    classes = len(generator.classes)
    chance = 1 / classes
    audio, text = generator.audio_accuracy, generator.text_accuracy
    if generator.kind == "interaction":
        audio, text, both = chance, chance, generator.audio_accuracy
    elif generator.kind == "tones":  # wrong where neither says anything and the guess is: (1 - A) (1 - T) / (1 - 1/C)
        both = 1 - (1 - audio) * (1 - text) / (1 - chance)
    else:
        both = joint_bayes_accuracy(separation(audio, classes), text, classes)
    has_audio, has_text = 1 - generator.missing_audio, 1 - generator.missing_text
    return {
        "audio": has_audio * audio + (1 - has_audio) * chance,
        "text": has_text * text + (1 - has_text) * chance,
        "both": (has_audio + has_text - 1) * both + (1 - has_text) * audio + (1 - has_audio) * text,
    }


def generate(generator: Generator) -> pa.Table:
    """The corpus, as a raw table: utterance_id, speaker, session, label (class names), transcript (null where
    missing), audio_features (frames, dim) float32 (null where missing; of `tones` audio, see `tones.recorded`, and
    split, by speaker), valence, arousal, dominance (null where missing). The same generator gives the same table.
    """
    rng = np.random.default_rng(generator.seed)
    rows = generator.rows
    label = rng.integers(len(generator.classes), size=rows)
    voiced, shown = _evidence(generator, label, rng)
    lacks = rng.random(rows)  # low: the voice, high: the words; never both
    no_audio, no_text = lacks < generator.missing_audio, lacks >= 1 - generator.missing_text
    speaker = np.arange(rows) % generator.speakers
    session = speaker * generator.sessions // generator.speakers
    names = np.array(generator.classes)
    columns = {
        "utterance_id": pc.binary_join_element_wise("row", pc.cast(pa.array(np.arange(rows)), pa.string()), "-"),
        "speaker": pc.cast(pa.array(speaker + 1), pa.string()),
        "session": pc.cast(pa.array(session + 1), pa.string()),
        "label": pa.array(names[label]),
        "transcript": _transcripts(generator, shown, no_text, rng),
    }
    if generator.kind == "tones":
        columns["audio"] = recorded(voiced, speaker, no_audio, rng)
        columns["split"] = pa.array(np.array(_PARTS)[speaker * len(_PARTS) // generator.speakers])
    else:
        columns["audio_features"] = _features(generator, voiced, speaker, no_audio, rng)
    for name, ratings in zip(("valence", "arousal", "dominance"), _ratings(generator, label, rng).T, strict=True):
        columns[name] = pa.array(ratings, from_pandas=True)  # NaN becomes null
    return pa.table(columns)


def _evidence(generator: Generator, label: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(rows,) the class (of `tones` the pattern) that the voice shows, and that of the cue word, -1 for none."""
    rows, classes = len(label), len(generator.classes)
    if generator.kind == "interaction":
        shown = rng.integers(classes, size=rows)
        return (label - shown) % classes, shown
    if generator.kind == "tones":
        # A row that says nothing is right by chance: so many must say something for the accuracies that are asked for.
        clear = (np.array([[generator.audio_accuracy], [generator.text_accuracy]]) * classes - 1) / (classes - 1)
        says = rng.random((2, rows)) < clear
        nothing = rng.integers(classes, MOST_CLASSES + 1, size=rows)
        return np.where(says[0], label, nothing), np.where(says[1], label, -1)
    # A wrong word is one of the C - 1 other classes' cues, all alike.
    other = (label + rng.integers(1, classes, size=rows)) % classes
    return label, np.where(rng.random(rows) < generator.text_accuracy, label, other)


def _lengths(ends: tuple[int, int], missing: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(rows,) lengths, uniform from the lowest to the highest; 0 in the rows that are `missing`."""
    lengths = rng.integers(ends[0], ends[1] + 1, size=len(missing))
    return np.where(missing, 0, lengths)


def _lists(values: pa.Array, lengths: np.ndarray) -> pa.ListArray:
    """The values cut into lists of these lengths; length 0 is null."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values, mask=pa.array(lengths == 0))


def _features(
    generator: Generator, voiced: np.ndarray, speaker: np.ndarray, missing: np.ndarray, rng: np.random.Generator
) -> pa.ListArray:
    classes, dim = len(generator.classes), generator.audio_dim
    lengths = _lengths(generator.frames, missing, rng)
    mean = np.zeros((generator.rows, dim), np.float32)
    mean[np.arange(generator.rows), voiced] = separation(generator.audio_accuracy, classes)
    shifts = rng.standard_normal((generator.speakers, dim - classes), dtype=np.float32)
    mean[:, classes:] += generator.speaker_shift * shifts[speaker]
    row = np.repeat(np.arange(generator.rows), lengths)
    frames = rng.standard_normal((len(row), dim), dtype=np.float32)
    frames *= np.sqrt(lengths).astype(np.float32)[row, None]  # so that the mean over the frames has variance 1
    frames += mean[row]
    return _lists(pa.FixedSizeListArray.from_arrays(pa.array(frames.reshape(-1)), dim), lengths)


def _transcripts(generator: Generator, shown: np.ndarray, missing: np.ndarray, rng: np.random.Generator) -> pa.Array:
    lengths = _lengths(generator.words, missing, rng)
    words = rng.integers(len(FILLER_WORDS), size=lengths.sum()) + len(CUE_WORDS)
    spoken = lengths > 0
    place = (np.cumsum(lengths) - lengths + rng.integers(np.maximum(lengths, 1)))[spoken]
    cues = shown[spoken]
    words[place] = np.where(cues >= 0, cues, words[place])
    text = pa.array(CUE_WORDS + FILLER_WORDS).take(pa.array(words))
    return pc.binary_join(_lists(text, lengths), " ")


def _ratings(generator: Generator, label: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(rows, 3) valence, arousal, dominance on 1-5; NaN where missing."""
    drawn = rng.uniform(1.5, 4.5, size=(len(generator.classes), 3))
    centres = np.array([PROTOTYPES.get(name, point) for name, point in zip(generator.classes, drawn, strict=True)])
    noise = rng.standard_normal((generator.rows, 3))
    ratings = np.clip(centres[label] + generator.vad_noise * noise, 1, 5).astype(np.float32)
    ratings[rng.random(generator.rows) < generator.missing_vad] = np.nan
    return ratings
