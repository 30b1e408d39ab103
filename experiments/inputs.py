"""What the runs of an experiment read: voice features, and states or tokens of the words, of all rows."""

from collections.abc import Iterable
from functools import cached_property

import numpy as np

from ..features.sequences import Sequences
from ..features.sequences import Statistics
from ..features.text_states import TextStateStore
from ..fusions import Fusion
from ..processing_emomm import EmoMMProcessor
from .data import ExperimentData
from .emotion_rows import EmotionRows
from .text_encoder import TextEncoder


class Inputs:
    """The inputs of the model, each made when it is first asked for.

    Args:
        data: the corpora.
        encoder: of the words; None for voice alone.
        fusion: of voice and words; None for one of them alone.
    """

    def __init__(self, data: ExperimentData, encoder: TextEncoder | None, fusion: type[Fusion] | None):
        self.data, self.settings, self.encoder, self.fusion = data, data.settings, encoder, fusion
        self._statistics: tuple[bytes, dict[str, Statistics]] = (b"", {})

    @property
    def may_lack(self) -> bool:
        """Whether a row may lack a modality."""
        return self.fusion is not None and self.fusion.handles_missing

    @property
    def uses_sequences(self) -> bool:
        """Whether the model reads frames and tokens, rather than one vector of each."""
        return self.fusion is not None and self.fusion.uses_sequences

    @cached_property
    def audio(self) -> Sequences | None:
        """Voice features of all rows; one vector each where the model would average the frames anyway."""
        if self.settings.modality == "text":
            return None
        audio = self.data.audio()
        as_they_are = self.uses_sequences or self.settings.audio_projection_dim is not None
        return audio if as_they_are else audio.pooled("mean")

    @cached_property
    def text(self) -> Sequences | None:
        """States of the frozen encoder of all rows; None where there is no encoder, or it is fine-tuned."""
        settings = self.settings
        if self.encoder is None or not settings.freeze_text_encoder:
            return None
        store = TextStateStore(
            settings.text_model_name, settings.text_max_length, settings.store_dtype, settings.store_dir
        )
        states = store.states(self.data.words(self.may_lack))
        return states if self.uses_sequences else states.pooled(settings.text_pooling)

    @cached_property
    def tokens(self) -> list[np.ndarray] | None:
        """Token ids of all rows where the encoder is fine-tuned."""
        if self.encoder is None or self.settings.freeze_text_encoder:
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
            audio=None if self.audio is None else self.audio.take(indices),
            text=None if self.text is None else self.text.take(indices),
            tokens=None if self.tokens is None else [self.tokens[i] for i in indices],
            labels=self.data.label_ids[indices],
            sample_weights=sample_weights,
            vad=vad,
        )

    def statistics(self, rows: np.ndarray, modalities: Iterable[str]) -> dict[str, Statistics]:
        """Those of some modalities over some rows; those of the last rows are kept for the next seed."""
        key = rows.tobytes()
        if self._statistics[0] != key:
            sources = {"audio": self.audio, "text": self.text}
            self._statistics = (key, {name: sources[name].take(rows).statistics() for name in modalities})
        return self._statistics[1]


__all__ = ["Inputs"]
