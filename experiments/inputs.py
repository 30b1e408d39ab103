"""What the runs of an experiment read: the vectors of each modality, or tokens of the words, of all rows."""

from collections.abc import Iterable
from functools import cached_property

import numpy as np

from ..features.sequences import Sequences
from ..features.sequences import Statistics
from ..features.text_states import TextStateStore
from ..fusions import Fusion
from ..modalities import AUDIO
from ..modalities import TEXT
from ..modalities import get_modality
from ..processing_emomm import EmoMMProcessor
from .data import ExperimentData
from .emotion_rows import EmotionRows
from .text_encoder import TextEncoder


class Inputs:
    """The inputs of the model, each made when it is first asked for.

    Args:
        data: the corpora.
        encoder: of the words; None where they are not read.
        fusion: None for one modality alone.
    """

    def __init__(self, data: ExperimentData, encoder: TextEncoder | None, fusion: type[Fusion] | None):
        self.data, self.settings, self.encoder, self.fusion = data, data.settings, encoder, fusion
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

    def vectors(self, modality: str) -> Sequences | None:
        """The vectors of a modality of all rows; one each where the model would pool them anyway. None where the
        model doesn't use it, or takes tokens (of a fine-tuned encoder)."""
        if modality not in self.settings.modalities or (modality == TEXT.name and self._tunes):
            return None
        if modality not in self._vectors:
            self._vectors[modality] = self._of_words() if modality == TEXT.name else self._of_corpora(modality)
        return self._vectors[modality]

    def _of_corpora(self, modality: str) -> Sequences:
        vectors = self.data.vectors(modality)
        projected = modality == AUDIO.name and self.settings.audio_projection_dim is not None
        as_they_are = self.uses_sequences or projected
        return vectors if as_they_are else vectors.pooled(get_modality(modality).pooling)

    def _of_words(self) -> Sequences:
        """States of the frozen encoder."""
        settings = self.settings
        store = TextStateStore(
            settings.text_model_name, settings.text_max_length, settings.store_dtype, settings.store_dir
        )
        states = store.states(self.data.texts(self.may_lack))
        return states if self.uses_sequences else states.pooled(settings.text_pooling)

    @property
    def _tunes(self) -> bool:
        return not self.settings.freeze_text_encoder

    @cached_property
    def tokens(self) -> list[np.ndarray] | None:
        """Token ids of all rows where the encoder is fine-tuned."""
        if self.encoder is None or not self._tunes:
            return None
        processor = EmoMMProcessor(
            self.encoder.tokenizer, max_length=self.settings.text_max_length, allow_missing=self.may_lack
        )
        return processor.tokenize(self.data.transcripts())

    def rows(
        self, indices: np.ndarray, sample_weights: np.ndarray | None = None, vad: np.ndarray | None = None
    ) -> EmotionRows:
        """Some rows as a data set for the Trainer; with weights and ratings, where they are trained on."""
        return EmotionRows(
            tokens=None if self.tokens is None else [self.tokens[i] for i in indices],
            labels=self.data.label_ids[indices],
            sample_weights=sample_weights,
            vad=vad,
            **{name: vectors.take(indices) for name, vectors in self._all_vectors.items()},
        )

    @property
    def _all_vectors(self) -> dict[str, Sequences]:
        found = {name: self.vectors(name) for name in self.settings.modalities}
        return {name: vectors for name, vectors in found.items() if vectors is not None}

    def statistics(self, rows: np.ndarray, modalities: Iterable[str]) -> dict[str, Statistics]:
        """Those of some modalities over some rows; those of the last rows are kept for the next seed."""
        key = rows.tobytes()
        if self._statistics[0] != key:
            found = self._all_vectors
            self._statistics = (key, {name: found[name].take(rows).statistics() for name in modalities})
        return self._statistics[1]


__all__ = ["Inputs"]
