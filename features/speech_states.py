"""States of frozen speech encoders: each distinct recording is encoded once, kept on disk, and memory-mapped.

A store is a folder for one (encoder's weights, configuration and feature extractor; layers; precision); what is in it
is found by the hash of a recording's content. mapped_store.py says how its files are written and read.

What a recording is stored as depends on that recording alone, to the last bit, and not on what else is encoded: or
test rows would reach the training rows through the shape of a batch, or through padding that convolutions normalise
over. So each is encoded by itself, in windows where it is longer than the encoder takes.

What the experiments of a job want of one encoder is made in one run of it for each recording: see `WantedStates`.
"""

import hashlib
import math
from collections.abc import Iterator
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ..errors import InputError
from ..speech_encoders import SpeechEncoder
from ..waveforms import SAMPLING_RATE
from .encoder_states import WhichStates
from .encoder_states import several_states_of
from .encoding_progress import EncodingProgress
from .mapped_store import MappedStore
from .mapped_store import StoreWords
from .mapped_store import fill
from .mapped_store import user_store
from .sequences import Sequences
from .text_encoders import public_name
from .voice_encoders import load_speech_encoder
from .voice_encoders import speech_fingerprint

_FORMAT = "emomm-speech-states-1"
_WHISPER_SECONDS = 30.0
_RELEASE_BYTES = 64 * 2**20
_WORDS = StoreWords(
    holds="the states of the recordings", again="its recordings are encoded again", key="recording", values="states"
)


class SpeechStateStore:
    """The stored states of one frozen encoder.

    Args:
        model_name: the encoder, as `voice_encoders` finds it.
        which: states.
        dtype: `float16` or `float32` on disk; mean vectors are always float32, as they are small.
        directory: where the stores lie; by default in the Hub's cache folder.
        window_seconds: longer recordings are encoded in equal windows of at most this, one after the other; None,
            whole. Whisper takes 30 s at most.
    """

    def __init__(
        self,
        model_name: str,
        which: WhichStates,
        dtype: str = "float16",
        directory: str | Path | None = None,
        window_seconds: float | None = None,
    ):
        self.model_name, self.which = model_name, which
        self.dtype = np.dtype(np.float32 if which.pooled else dtype)
        self.window_seconds = window_seconds
        identity = f"{_FORMAT} {speech_fingerprint(model_name)} {which} {self.dtype} {window_seconds}"
        key = hashlib.sha256(identity.encode()).hexdigest()[:32]
        self.folder = (user_store("speech-states") if directory is None else Path(directory)) / f"speech-{key}"
        self.files = MappedStore(self.folder, _WORDS, large=True)

    def states(self, recordings: Sequences, keys: np.ndarray, others: "WantedStates | None" = None) -> Sequences:
        """The states of each recording, (frames, dim), or (1, dim) where they are pooled.

        Encodes what is not there yet.

        Args:
            recordings: n recordings of dim 1, int16 or float32; of length 0 where there is none.
            keys: (n, 16) uint8, a hash of each one's content.
            others: that will be asked for: where something has to be encoded, theirs is made with it.

        Raises:
            InputError: the disk is full, the states overflow float16, or a recording is too short for one frame.
        """
        asked = Wanted(self, recordings, keys)
        if self.files.lacks(asked.rows):
            _OneRun(asked, () if others is None else others.beside(asked)).fill()
        row_keys = [key.tobytes() if length else None for key, length in zip(keys, recordings.length, strict=True)]
        return self.files.rows(row_keys, lambda _: ())

    def windows(self, samples: int, most: float = math.inf) -> int:
        """In how many windows so many samples are encoded, by an encoder that takes `most` seconds."""
        seconds = min(self.window_seconds or samples / SAMPLING_RATE, most)
        return max(1, -(-samples // int(seconds * SAMPLING_RATE)))

    def checked(self, states: np.ndarray, samples: int) -> np.ndarray:
        """A recording's states as they are stored. Raises InputError where they overflow."""
        with np.errstate(over="ignore"):
            stored = self.which.of_row(states).astype(self.dtype)
        if not np.isfinite(stored).all():
            raise InputError(
                f"the states of a recording of {samples / SAMPLING_RATE:.2f} s by {self.model_name!r} are not finite "
                f"in {self.dtype}; set store_dtype to float32"
            )
        return stored


class Wanted:
    """What will be asked of a store.

    Args:
        store: the store.
        recordings, keys: as in `SpeechStateStore.states`.
        experiment: that will ask, for the words about it.
    """

    def __init__(self, store: SpeechStateStore, recordings: Sequences, keys: np.ndarray, experiment: str = ""):
        self.store, self.recordings, self.experiment = store, recordings, experiment
        self.rows: dict[bytes, int] = {}
        for row in np.flatnonzero(recordings.length).tolist():
            self.rows.setdefault(keys[row].tobytes(), row)


class WantedStates:
    """What all experiments of a job will ask for, so that each recording goes through each encoder once."""

    def __init__(self) -> None:
        self._wanted: list[Wanted] = []

    def add(self, wanted: Wanted) -> None:
        """Another one."""
        self._wanted.append(wanted)

    def beside(self, asked: Wanted) -> list[Wanted]:
        """Those of the same encoder, and of recordings that are kept the same way."""
        return [
            each
            for each in self._wanted
            if each.store.model_name == asked.store.model_name
            and {part.dtype for part in each.recordings.parts} == {part.dtype for part in asked.recordings.parts}
        ]


class _OneRun:
    """One run of an encoder over all recordings whose states some stores lack."""

    def __init__(self, asked: Wanted, others: Sequence[Wanted]):
        self.asked, self.wanted = asked, (asked, *others)
        self.store_of: dict[MappedStore, SpeechStateStore] = {}
        self.keys: dict[MappedStore, list[bytes]] = {}
        self.place: dict[bytes, tuple[Sequences, int]] = {}
        by_folder: dict[Path, SpeechStateStore] = {}
        for each in self.wanted:
            store = by_folder.setdefault(each.store.folder, each.store)
            self.store_of[store.files] = store
            self.keys.setdefault(store.files, []).extend(each.rows)
            self.place |= {key: (each.recordings, row) for key, row in each.rows.items() if key not in self.place}

    def fill(self) -> None:
        """Fills them. Raises InputError as `SpeechStateStore.states` of the store that is asked does."""
        fill(self.keys, self._made)

    def _made(self, missing: dict[bytes, list[MappedStore]]) -> Iterator[tuple[MappedStore, bytes, np.ndarray]]:
        name, given_up = self.asked.store.model_name, set()
        speech = load_speech_encoder(name)
        device, read = "cuda" if torch.cuda.is_available() else "cpu", 0
        lacking = {self.store_of[files].folder for stores in missing.values() for files in stores}
        experiments = [each.experiment for each in self.wanted if each.experiment and each.store.folder in lacking]
        try:
            speech.model.to(device)
            with EncodingProgress(len(missing), public_name(name), list(dict.fromkeys(experiments))) as progress:
                for key, files in missing.items():
                    recordings, row = self.place[key]
                    samples = samples_of(recordings, row)
                    stores = [self.store_of[each] for each in files if each not in given_up]
                    for store, states in _states(speech, samples, stores):
                        try:
                            stored = store.checked(states, len(samples))
                        except InputError:
                            if store.folder == self.asked.store.folder:
                                raise
                            given_up.add(store.files)  # said when it is asked for
                        else:
                            yield store.files, key, stored
                    progress.update()
                    read += samples.nbytes
                    if read > _RELEASE_BYTES:
                        recordings.release()
                        read = 0
        finally:
            speech.model.to("cpu")


def _states(
    speech: SpeechEncoder, samples: np.ndarray, stores: Sequence[SpeechStateStore]
) -> Iterator[tuple[SpeechStateStore, np.ndarray]]:
    """What each store is to hold of a recording, (frames, dim) float32 before it is pooled, in one run for all that
    cut it alike."""
    most = _WHISPER_SECONDS if speech.model.config.model_type == "whisper" else math.inf
    alike: dict[int, list[SpeechStateStore]] = {}
    for store in stores:
        alike.setdefault(store.windows(len(samples), most), []).append(store)
    for windows, some in alike.items():
        kinds = [store.which for store in some]
        parts = [encoded(speech, part, kinds) for part in np.array_split(samples, windows)]
        for store, states in zip(some, zip(*parts, strict=True), strict=True):
            yield store, np.concatenate(states)


def samples_of(recordings: Sequences, row: int) -> np.ndarray:
    """(samples,) float32 of full scale 1."""
    samples = recordings[row][:, 0]
    return samples.astype(np.float32) / 32768 if samples.dtype == np.int16 else samples.astype(np.float32, copy=False)


def encoded(speech: SpeechEncoder, samples: np.ndarray, kinds: Sequence[WhichStates]) -> list[np.ndarray]:
    """(frames, dim) float32 of each kind: the states of one recording that fits into the encoder."""
    whisper = speech.model.config.model_type == "whisper"
    given = speech.feature_extractor(
        [samples],
        sampling_rate=SAMPLING_RATE,
        padding="max_length" if whisper else True,
        return_attention_mask=True,
        return_tensors="pt",
    ).to(speech.model.device)
    inputs = given[speech.feature_extractor.model_input_names[0]]
    frames = speech.frames_of(len(samples))
    return [
        (states[0, :frames] if real is None else states[0][real[0]]).cpu().numpy()
        for states, real in several_states_of(speech.model, inputs, given.get("attention_mask"), kinds)
    ]


__all__ = ["SpeechStateStore", "Wanted", "WantedStates", "encoded", "samples_of"]
