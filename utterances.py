"""An utterance as the pipeline is given it, and what is found out about it. Travels to the Hub with the model."""

import os
import re
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import Any

import numpy as np

from .modalities import AUDIO
from .modalities import Modality
from .modalities import is_missing
from .modalities import words_in
from .voice_activity import JUDGED
from .voice_activity import SPEECH
from .voice_activity import seconds_of_speech
from .waveforms import SAMPLING_RATE
from .waveforms import AudioError
from .waveforms import Waveform
from .waveforms import read_waveform

KEYS = ("audio", "audio_features", "text", "sampling_rate", "array", "raw", "bytes", "path")
"""What an input that is a dictionary may hold, besides `NAME_features` of a user's own modalities; the last four are a
recording as data sets hold it."""
SHORT = 0.5
"""Seconds: a shorter recording tells little."""
FAR = 2.0
"""How many times as long as those of the training data a recording may be without a word about it."""
USUAL = 30.0
"""Seconds that an utterance is expected to stay under, where the training data's are not known."""

_NAMES_A_FILE = re.compile(r"^https?://|\.\w{2,5}$")
_RECORDING = ("array", "raw", "bytes", "path")

_LACKS = {
    "voice": "there is no voice, which this model needs: give a recording, or audio_features",
    "words": "there are no words, which are all that this model reads: give text=..., or transcribe a recording",
    "voice and words": "there are neither voice nor words",
}


@dataclass
class Given:
    """An input as the user gave it, and what was given beside it.

    Args:
        words: whether a string is what is said, and no recording.
    """

    value: Any
    beside: dict[str, Any] = field(default_factory=dict)
    words: bool = False


@dataclass
class Utterance:
    """One input of the pipeline, and what was found out about it.

    Args:
        waveform: of its recording, where it was read.
        features: (dim,) or (frames, dim) voice features.
        windows: the same in windows, where the model hears it in several; [] where it doesn't.
        text: its words; None where there are none.
        further: vectors of modalities of the user's own, by name.
        transcribed: whether the words were made from the recording.
        heard: whether there is speech in the recording; None where none was read.
        notes: for the user, in words.
        unlabelled: why there is no label, where nothing is wrong with it.
        error: why it can't be used.
    """

    waveform: Waveform | None = None
    features: np.ndarray | None = None
    windows: list[np.ndarray] = field(default_factory=list)
    text: str | None = None
    further: dict[str, np.ndarray] = field(default_factory=dict)
    transcribed: bool = False
    heard: bool | None = None
    notes: list[str] = field(default_factory=list)
    unlabelled: str | None = None
    error: ValueError | None = None

    @property
    def ready(self) -> bool:
        """Whether the model is to be asked."""
        return self.unlabelled is None and self.error is None

    def listen(self, audio: Any, sampling_rate: int | None, any_sound: bool) -> None:
        """Reads the recording, and looks whether anything is said in it. Raises AudioError where it can't be used.

        Args:
            any_sound: all but silence counts as speech.
        """
        if isinstance(audio, Mapping) and audio.get("sampling_rate") is None:
            audio = {**audio, "sampling_rate": sampling_rate}
        try:
            self.waveform = read_waveform(audio, SAMPLING_RATE, sampling_rate)
        except AudioError as error:
            if isinstance(audio, str) and not os.path.exists(audio) and not _NAMES_A_FILE.search(audio):
                raise AudioError(f"{error} (words are given as text=...)") from error
            raise
        self.notes += self.waveform.notes
        self.heard = not self.waveform.silent
        if self.heard and not any_sound and self.waveform.seconds >= JUDGED:
            self.heard = seconds_of_speech(self.waveform.samples) >= SPEECH
            if not self.heard:
                self.notes.append("no speech was found in it")

    def hear(self, windows: list[np.ndarray]) -> None:
        """Takes over what an encoder makes of the recording, (frames, dim) for each window that the model hears."""
        self.features = windows[0]
        if len(windows) > 1:
            self.features, self.windows = np.concatenate(windows), windows
            seconds = self.waveform.seconds / len(windows)
            self.notes.append(f"heard in {len(windows)} windows of {seconds:.1f} s, whose scores are averaged")

    def note_length(self, frame_rate: float | None, training: Sequence[float] | None) -> None:
        """Notes a length that is far from what the model was trained on.

        Args:
            frame_rate: of the features, in Hz, where it is known.
            training: the 1st percentile, median and 99th percentile of the training recordings, in seconds.
        """
        seconds = None
        if self.waveform is not None:
            seconds = self.waveform.seconds
        elif self.features is not None and self.features.ndim == 2 and frame_rate:
            seconds = len(self.features) / frame_rate
        if seconds is None:
            return
        known = ""
        if training is not None:
            known = f"; those it was trained on have {training[0]:.1f}-{training[2]:.1f} s (98 % of them)"
        if seconds < SHORT:
            self.notes.append(f"very short: {seconds:.2f} s tell little{known}")
        elif training is not None and seconds > FAR * training[2]:
            self.notes.append(f"far longer than what the model knows: {seconds:.1f} s{known}; cut it into utterances")
        elif training is None and seconds > USUAL:
            self.notes.append(f"long: {seconds:.1f} s; models of emotion are trained on single utterances, so cut it")

    def settle(self, modalities: Sequence[Modality], may_lack: bool, transcribe: bool) -> None:
        """Says of what is missing whether it is read as missing, leaves no label, or is an error.

        Args:
            modalities: of the model.
            may_lack: whether a model of several can do with one.
            transcribe: whether words were looked for in the recording.
        """
        words = not is_missing(self.text)
        there = {name for name, given in (("audio", self.features is not None), ("text", words)) if given}
        there |= self.further.keys()
        missing = [modality for modality in modalities if modality.name not in there]
        if len(modalities) == 1 or (may_lack and len(missing) == len(modalities)):
            lacking = missing
        else:
            lacking = [each for each in missing if not may_lack and each.missing is None]
        lacks = words_in(lacking) if lacking else ""
        if lacking and self.heard is False:
            self.unlabelled = "nothing was heard"
        elif lacks == "words" and (self.text is not None or (transcribe and self.waveform is not None)):
            self.unlabelled = "there are no words, which are all that this model reads"
        elif lacking:
            self.error = ValueError(_LACKS.get(lacks, f"there is no {lacks}, which this model needs"))
        elif missing:
            self._note_missing(missing, [modality for modality in modalities if modality not in missing])
        if self.unlabelled:
            self.notes.append(f"{self.unlabelled}: no label is given")
        if not words:
            self.text = None

    def _note_missing(self, missing: Sequence[Modality], there: Sequence[Modality]) -> None:
        """Notes what is read as missing, of a model of several modalities."""
        for each in missing:
            if each.name == "audio" and self.heard is False:
                self.notes.append(f"nothing was heard: the {words_in(there)} alone decide")
            elif each.name != "audio":
                self.notes.append(f"no {each.word} given: read as missing")


def rows_of(utterances: Sequence[Utterance]) -> list[tuple[Utterance, np.ndarray | None]]:
    """What the model is asked: utterances with their voice features, one for each window."""
    return [(each, window) for each in utterances for window in each.windows or [each.features]]


def of_utterances(found: Mapping[str, Any], utterances: Sequence[Utterance]) -> dict[str, Any]:
    """What the model says of rows, as what it says of utterances: the mean over the windows of each.

    Args:
        found: arrays by name, (rows, ...), or None. Of `audio`, the weights of moments (rows, longest), each window's
            weights follow those of the one before.
        utterances: that `rows_of` made the rows of.
    """
    if not any(each.windows for each in utterances):
        return dict(found)
    ends = np.cumsum([max(len(each.windows), 1) for each in utterances])[:-1]
    merged: dict[str, Any] = {}
    for name, values in found.items():
        if values is None or isinstance(values, str):
            merged[name] = values
            continue
        parts = np.split(values, ends)
        if name == AUDIO.name:
            merged[name] = [_in_turn(part, each) for part, each in zip(parts, utterances, strict=True)]
        else:
            merged[name] = np.stack([part.mean(axis=0, dtype=np.float32) for part in parts])
    return merged


def _in_turn(weights: np.ndarray, utterance: Utterance) -> np.ndarray:
    """(windows, longest) to (frames,) of the whole recording."""
    if not utterance.windows:
        return weights[0]
    return np.concatenate([row[: len(window)] for row, window in zip(weights, utterance.windows, strict=True)])


def row_of(given: Given, further: Sequence[str] = ()) -> dict[str, Any]:
    """An input as a dictionary of `audio`, `audio_features`, `text`, `sampling_rate` and `further`, where they are
    known.

    Raises ValueError for unknown keys, and for what is given twice.
    """
    value, beside = given.value, given.beside
    if isinstance(value, str) and given.words:
        value = {"text": value}
    if not isinstance(value, Mapping):
        return {**beside, "audio": value}
    unknown = sorted(set(value) - {*KEYS, *further})
    if unknown:
        raise ValueError(f"{unknown[0]!r} is not known in an input; it can hold {', '.join([*KEYS, *further])}")
    row = {name: each for name, each in value.items() if name not in _RECORDING}
    recording = {name: each for name, each in value.items() if name in _RECORDING and each is not None}
    if recording and row.get("audio") is not None:
        raise ValueError(f"it holds both audio and {next(iter(recording))}; give one recording")
    if recording:
        row["audio"] = {**recording, "sampling_rate": row.pop("sampling_rate", None)}
    twice = [name for name in beside if beside[name] is not None and row.get(name) is not None]
    if twice:
        raise ValueError(f"{twice[0]} is given twice: in the input, and beside it")
    return {**row, **{name: each for name, each in beside.items() if each is not None}}


__all__ = ["FAR", "KEYS", "SHORT", "USUAL", "Given", "Utterance", "of_utterances", "row_of", "rows_of"]
