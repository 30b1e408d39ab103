"""What the runs of an experiment read: the vectors of each modality, or tokens of the words, of all rows."""

from collections.abc import Iterable
from functools import cached_property

import numpy as np

from ..errors import InputError
from ..errors import show
from ..features.encoder_states import WhichStates
from ..features.sequences import Sequences
from ..features.sequences import Statistics
from ..features.speech_states import SpeechStateStore
from ..features.speech_states import Wanted
from ..features.speech_states import WantedStates
from ..features.text_states import TextStateStore
from ..features.windows import Augmentation
from ..features.windows import Windows
from ..fusions import Fusion
from ..modalities import AUDIO
from ..modalities import TEXT
from ..modalities import get_modality
from ..processing_emomm import EmoMMProcessor
from ..settings.tuning import augments_waveforms
from .augmented_rows import AugmentedRows
from .data import ExperimentData
from .emotion_rows import EmotionRows
from .input_forms import INPUTS
from .input_forms import STATES
from .input_forms import VECTORS
from .speech_encoder import RecordingEncoder
from .text_encoder import TextEncoder


class Inputs:
    """The inputs of the model, each made when it is first asked for.

    Args:
        data: the corpora.
        encoder: of the words; None where they are not read.
        fusion: None for one modality alone.
        speech: the encoder of recordings; None where the voice comes as features, or not at all.
    """

    def __init__(
        self,
        data: ExperimentData,
        encoder: TextEncoder | None,
        fusion: type[Fusion] | None,
        speech: RecordingEncoder | None = None,
    ):
        self.data, self.settings, self.encoder, self.fusion = data, data.settings, encoder, fusion
        self.speech = speech
        self._wanted: WantedStates | None = None
        self._vectors: dict[str, Sequences] = {}
        self._statistics: tuple[bytes, dict[str, Statistics]] = (b"", {})

    @property
    def may_lack(self) -> bool:
        """Whether a row may lack a modality."""
        return self.fusion is not None and self.fusion.handles_missing

    @property
    def uses_sequences(self) -> bool:
        """Whether the model reads frames and tokens, rather than one vector of each."""
        return self.fusion is not None and self.fusion.uses_sequences

    @property
    def _reads_frames(self) -> bool:
        """As `uses_sequences`, of the voice."""
        return self.uses_sequences or self.settings.audio_projection_dim is not None

    # ---- modality by modality ---------------------------------------------------------------------------------------

    def form(self, modality: str) -> str:
        """How a modality comes to the model: `vectors`, or of an encoder that runs, `states` or `inputs`."""
        encoder = {AUDIO.name: self.speech, TEXT.name: self.encoder}.get(modality)
        return VECTORS if encoder is None else encoder.form.kind

    @property
    def runs_encoders(self) -> bool:
        """Whether the model runs an encoder at each step, or a part of one."""
        return any(self.form(name) != VECTORS for name in self.settings.modalities)

    def width(self, modality: str) -> int:
        """How wide the vectors of a modality are, other than the words', of one layer."""
        if modality == AUDIO.name and self.speech is not None:
            return 768 if self.speech.config is None else self.speech.width
        return self.data.vectors(modality).dim

    def vectors(self, modality: str) -> Sequences | None:
        """The vectors of a modality of all rows; one each where the model would pool them anyway. None where the
        model doesn't use it, or runs the encoder of its recordings or words."""
        used = modality in self.settings.modalities and self.form(modality) == VECTORS
        return self._frozen(modality) if used else None

    def _frozen(self, modality: str) -> Sequences:
        """What never changes of a modality: features, or states of the encoder as it was loaded."""
        if modality not in self._vectors:
            of_words, recorded = modality == TEXT.name, modality == AUDIO.name and self.speech is not None
            made = self._of_words if of_words else self._of_recordings if recorded else None
            self._vectors[modality] = self._of_corpora(modality) if made is None else made()
        return self._vectors[modality]

    def _of_corpora(self, modality: str) -> Sequences:
        vectors = self.data.vectors(modality)
        as_they_are = self._reads_frames if modality == AUDIO.name else self.uses_sequences
        return vectors if as_they_are else vectors.pooled(get_modality(modality).pooling)

    def _of_words(self) -> Sequences:
        """States of the frozen encoder."""
        which = self.encoder.states(self.uses_sequences)
        states = self._stored_words(which)
        pooled = self.uses_sequences or (which is not None and which.pooled)
        return states if pooled else states.pooled(self.settings.text_pooling)

    def _of_recordings(self) -> Sequences:
        """States of the frozen encoder."""
        return self._stored_recordings(*self._vectors_of_recordings)

    @property
    def _vectors_of_recordings(self) -> tuple[WhichStates, float | None]:
        which = WhichStates.read(
            self.settings.speech_layers, self.speech.depth, "" if self._reads_frames else AUDIO.pooling
        )
        return which, self.settings.max_eval_seconds

    def _stored_words(self, which: WhichStates | None) -> Sequences:
        settings = self.settings
        store = TextStateStore(
            settings.text_model_name, settings.text_max_length, settings.store_dtype, settings.store_dir, which
        )
        return store.states(self.data.texts(self.may_lack))

    def _store(self, which: WhichStates, window_seconds: float | None) -> SpeechStateStore:
        settings = self.settings
        return SpeechStateStore(
            settings.speech_model_name, which, settings.store_dtype, settings.store_dir, window_seconds
        )

    def _stored_recordings(self, which: WhichStates, window_seconds: float | None) -> Sequences:
        store = self._store(which, window_seconds)
        return store.states(self.data.vectors(AUDIO.name), self.data.recordings, self._wanted)

    def join(self, wanted: WantedStates) -> None:
        """Says what runs and floors will ask of the stored states of recordings, so that they are made together with
        what other experiments ask for."""
        self._wanted = wanted
        if self.speech is None or AUDIO.name not in self.settings.modalities:
            return
        form = self.form(AUDIO.name)
        asked = [self._vectors_of_recordings] if form == VECTORS else [self._lower_of_recordings]
        asked = [] if form == INPUTS else asked
        for which, window_seconds in [*asked, *([self._mean_of_recordings] if self.settings.floors else [])]:
            store = self._store(which, window_seconds)
            recordings, keys = self.data.vectors(AUDIO.name), self.data.recordings
            wanted.add(Wanted(store, recordings, keys, self.settings.name))

    @property
    def _lower_of_recordings(self) -> tuple[WhichStates, None]:
        return WhichStates.under(self.speech.form.start), None

    @property
    def _mean_of_recordings(self) -> tuple[WhichStates, float | None]:
        return WhichStates.read("last", self.speech.depth, "mean"), self.settings.max_eval_seconds

    def mean_states(self) -> Sequences:
        """The mean state of the last layer of each recording, by the encoder as it was loaded: what floors read."""
        return self._stored_recordings(*self._mean_of_recordings)

    @cached_property
    def lower_states(self) -> dict[str, Sequences]:
        """By the model's input, the states that its upper layers go on from, of all rows."""
        found = {}
        if AUDIO.name in self.settings.modalities and self.form(AUDIO.name) == STATES:
            found["speech_states"] = self._stored_recordings(*self._lower_of_recordings)
        if TEXT.name in self.settings.modalities and self.form(TEXT.name) == STATES:
            found["text_states"] = self._stored_words(WhichStates.under(self.encoder.form.start))
        return found

    @cached_property
    def tokens(self) -> list[np.ndarray] | None:
        """Token ids of all rows where the encoder of the words runs as a whole."""
        if self.encoder is None or self.form(TEXT.name) != INPUTS:
            return None
        processor = EmoMMProcessor(
            self.encoder.tokenizer, max_length=self.settings.text_max_length, allow_missing=self.may_lack
        )
        return processor.tokenize(self.data.transcripts())

    @property
    def windows_in_words(self) -> str:
        """That long recordings are evaluated in windows; "" where none is."""
        windows = self._windows(np.arange(len(self.data.label_ids)))
        longer = 0 if windows is None else int(windows.cut.sum())
        if not longer:
            return ""
        return (
            f"voice: {longer} of {len(windows)} recordings are longer than max_eval_seconds "
            f"({self.settings.max_eval_seconds:g} s): they are validated and tested in windows of equal length, whose "
            "logits are averaged"
        )

    # ---- rows -------------------------------------------------------------------------------------------------------

    def check_augmentation(self) -> None:
        """Raises InputError where vectors are to be masked or mixed, and there are none, or no folder of noise."""
        settings = self.settings
        asked = [name for name in ("augment_time_mask", "augment_mixup") if getattr(settings, name)]
        for name in settings.modalities if asked else ():
            if self.form(name) == INPUTS:
                of = "recordings" if name == AUDIO.name else "words"
                raise InputError(
                    f"{asked[0]} is {show(getattr(settings, asked[0]))}, but experiment {settings.name!r} reads the "
                    f"{of} themselves, whose encoder runs as a whole: it is for features and stored states; set it to "
                    "0, or tune only the last layers"
                )
        _ = self._augmentation  # looks through its folders

    def training_rows(
        self, indices: np.ndarray, sample_weights: np.ndarray | None, vad: np.ndarray | None, seed: int
    ) -> EmotionRows | AugmentedRows:
        """Some rows to train on: as `rows`, with the augmentation of vectors that the settings ask for."""
        rows, settings = self.rows(indices, sample_weights, vad, seed), self.settings
        if not settings.augment_time_mask and not settings.augment_mixup:
            return rows
        return AugmentedRows(rows, len(self.data.labels), seed, settings.augment_time_mask, settings.augment_mixup)

    def rows(
        self,
        indices: np.ndarray,
        sample_weights: np.ndarray | None = None,
        vad: np.ndarray | None = None,
        seed: int | None = None,
    ) -> EmotionRows:
        """Some rows as a data set for the Trainer; with weights and ratings, where they are trained on.

        Args:
            seed: of the windows of recordings, where rows are trained on; None, as they are evaluated.
        """
        windows = self._windows(indices)
        lengths = None
        if seed is not None and self.speech is not None and self.form(AUDIO.name) != VECTORS:
            lengths = self._windows(indices, seed, any_form=True).lengths
        return EmotionRows(
            tokens=None if self.tokens is None else [self.tokens[i] for i in indices],
            labels=self.data.label_ids[indices],
            sample_weights=sample_weights,
            vad=vad,
            windows=windows if seed is None else self._windows(indices, seed),
            plain_windows=None if seed is None else windows,
            lengths=lengths,
            **{name: states.take(indices) for name, states in self.lower_states.items()},
            **{name: vectors.take(indices) for name, vectors in self._all_vectors.items()},
        )

    def _windows(self, indices: np.ndarray, seed: int | None = None, any_form: bool = False) -> Windows | None:
        """Of some rows' recordings, where the model's encoder reads them; `any_form`, also where it doesn't."""
        if self.speech is None or not (any_form or self.form(AUDIO.name) == INPUTS):
            return None
        waveforms = self.data.vectors(AUDIO.name).take(indices)
        if seed is None:
            return Windows(waveforms, self.settings.max_eval_seconds)
        return Windows(waveforms, self.settings.max_seconds, seed, self._augmentation)

    @cached_property
    def _augmentation(self) -> Augmentation | None:
        if not augments_waveforms(self.settings):
            return None
        from ..features.augmentation import WaveformAugmentation

        return WaveformAugmentation.from_settings(self.settings)

    @property
    def _all_vectors(self) -> dict[str, Sequences]:
        found = {name: self.vectors(name) for name in self.settings.modalities}
        return {name: vectors for name, vectors in found.items() if vectors is not None}

    def statistics(self, rows: np.ndarray, modalities: Iterable[str]) -> dict[str, Statistics]:
        """Those of some modalities over some rows; those of the last rows are kept for the next seed."""
        key = rows.tobytes()
        if self._statistics[0] != key:
            self._statistics = (key, {name: self._frozen(name).take(rows).statistics() for name in modalities})
        return self._statistics[1]


__all__ = ["Inputs"]
