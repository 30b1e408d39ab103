"""A model that `emomm export --format onnx` wrote, at work with onnxruntime. Neither torch nor transformers is loaded.

```python
emotion = OnnxModel("exported")
emotion("recording.flac", text="I can't believe you did that.")["label"]
emotion([{"audio_features": vectors, "text": "Fine."}, {"text": "Go away!"}])
```
"""

import json
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..answers import Answers
from ..answers import Said
from ..answers import attention_weights
from ..errors import InputError
from ..modalities import AUDIO
from ..modalities import TEXT
from ..modalities import Modality
from ..modalities import is_missing
from ..speech_features import SpeechFeatures
from ..utterances import Given
from ..utterances import Utterance
from ..utterances import of_utterances
from ..utterances import row_of
from ..utterances import rows_of
from ..waveforms import AudioError
from ..waveforms import Waveform
from .onnx_inputs import Voice
from .onnx_inputs import Words
from .onnx_inputs import checked
from .onnx_inputs import refuse_changed

DESCRIPTION = "emomm_onnx.json"
"""The file that says what the folder is."""
HEAD, WORDS, SPEECH = "model.onnx", "text_encoder.onnx", "speech_encoder.onnx"
MEL_FILTERS, STATISTICS = "mel_filters.npy", "feature_statistics.json"


def is_onnx(folder: str) -> bool:
    """Whether a folder is one that `emomm export --format onnx` wrote."""
    return (Path(folder) / DESCRIPTION).is_file()


class OnnxModel:
    """An exported model.

    Graphs are loaded when they are first needed: one that is given features never loads the speech encoder.

    Args:
        folder: that `emomm export --format onnx` wrote.
        threads: of each graph; default as many as there are cores.

    Attributes:
        labels: its classes, in the order of its probabilities.
        modalities: what it takes.
        description: what `emomm_onnx.json` says.

    Raises InputError where the folder can't be read, holds other files than were written there, or onnxruntime is not
    installed.
    """

    def __init__(self, folder: str | Path, threads: int | None = None):
        self.folder, self.threads = Path(folder), threads
        try:
            self.description: dict[str, Any] = json.loads((self.folder / DESCRIPTION).read_text(encoding="utf-8"))
            described = self.description
            self.labels: list[str] = described["labels"]
            self.modalities = [Modality(**each) for each in described["modalities"]]
            self.precision: str = described["precision"]
            self.allow_missing: bool = described["allow_missing"]
            refuse_changed(self.folder, described["sha256"])
        except (OSError, ValueError, TypeError, KeyError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{self.folder / DESCRIPTION} can't be read ({error}): export the model again") from error
        made_by = described["speech_encoder"]
        self.speech_features = None if made_by is None else SpeechFeatures.from_dict(made_by)
        self._sessions: dict[str, Any] = {}

    # ---- what it is ------------------------------------------------------------------------------------------------

    @property
    def hears(self) -> bool:
        """Whether it listens to the voice."""
        return any(each.name == AUDIO.name for each in self.modalities)

    @property
    def reads(self) -> bool:
        """Whether it reads the words."""
        return any(each.name == TEXT.name for each in self.modalities)

    def width(self, modality: str) -> int:
        """Of the vectors that it takes of a modality."""
        return self.description["widths"][modality]

    @cached_property
    def words(self) -> Words:
        """Its tokenizer. Raises InputError where the folder is the head alone."""
        text = self.description["text"]
        if text is None:
            raise InputError(
                f"{self.folder} is the head of a model: it takes text_features, states of the text encoder, and no "
                "words; export the whole, --part whole"
            )
        return Words(self.folder, text["max_length"], text["cut"], self.allow_missing)

    @cached_property
    def voice(self) -> Voice:
        """Its speech encoder. Raises InputError where the folder has none."""
        speech = self.description["speech"]
        if speech is None:
            raise InputError(
                f"{self.folder} holds no speech encoder: it takes audio_features, and no recordings"
                + ("; export the whole, --part whole" if self.description["part"] == "head" else "")
            )
        path = self.folder / MEL_FILTERS
        filters = np.load(path) if speech["takes"] == "input_features" else None
        return Voice(speech, filters, lambda inputs: self._run(SPEECH, inputs)["audio_features"])

    # ---- utterances ------------------------------------------------------------------------------------------------

    def __call__(
        self,
        inputs: Any = None,
        text: str | Sequence[str | None] | None = None,
        audio_features: Any = None,
        sampling_rate: int | None = None,
        top_k: int | None = None,
        any_sound: bool = False,
        batch_size: int = 8,
        **further: Any,
    ) -> dict[str, Any] | list[dict[str, Any]]:
        """The emotion of an utterance: a dictionary; of each in a list: a list of those, as `EmoMMPipeline` gives
        them. Words and moments have weights where the fusion has attention, and none elsewhere.

        Args:
            inputs: a recording (path, URL, bytes, array), or a dictionary with any of `audio`, `audio_features`,
                `text`, `sampling_rate` and `NAME_features`; or a list of those, None where there is no recording.
            text: the words of the utterance; of a list, as many. None or "" where they aren't known.
            audio_features: (dim,) or (frames, dim) in place of the recording; of a list, as many.
            sampling_rate: of recordings that are arrays, in Hz.
            top_k: how many of the classes to give in `scores`; default all.
            any_sound: whether all but silence counts as speech.
            batch_size: utterances at a time; it changes no result.
            further: `NAME_features` of modalities of the user's own; `text_features` where the folder is the head of
                a model that reads words.

        Raises ValueError for an input that can't be used, where it is the only one.
        """
        beside = {"text": text, "audio_features": audio_features, **further}
        columns = {name: value for name, value in {"inputs": inputs, **beside}.items() if value is not None}
        if not columns:
            raise ValueError("nothing is given: a recording, its text, or its audio_features")
        counts = {len(value) for value in columns.values() if isinstance(value, (list, tuple))}
        if not counts:
            rows = [columns]
        elif len(counts) > 1 or not all(isinstance(value, (list, tuple)) for value in columns.values()):
            raise ValueError(f"{', '.join(columns)}: give lists of as many utterances each")
        else:
            rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        given = [Given(row.pop("inputs", None), row) for row in rows]
        found = [
            result
            for start in range(0, len(given), batch_size)
            for result in self._batch(given[start : start + batch_size], sampling_rate, top_k, any_sound, not counts)
        ]
        return found if counts else found[0]

    def results(
        self, rows: Iterable[Mapping[str, Any]], batch_size: int = 8, any_sound: bool = False
    ) -> Iterable[dict[str, Any]]:
        """The results of dictionaries as a call takes them, one by one; of one that can't be used, its `error`."""
        batch: list[Given] = []
        for row in rows:
            batch.append(Given(row))
            if len(batch) == batch_size:
                yield from self._batch(batch, None, None, any_sound, False)
                batch = []
        if batch:
            yield from self._batch(batch, None, None, any_sound, False)

    def _batch(
        self, given: Sequence[Given], rate: int | None, top_k: int | None, any_sound: bool, alone: bool
    ) -> list[dict[str, Any]]:
        utterances = [self._read(each, rate, any_sound) for each in given]
        for utterance in utterances:
            if utterance.ready:
                utterance.settle(self.modalities, self.allow_missing, False)
        if alone and utterances[0].error is not None:
            raise utterances[0].error
        ready = [utterance for utterance in utterances if utterance.ready]
        return self._answers.of(utterances, self._said(ready) if ready else None, top_k)

    def _read(self, given: Given, rate: int | None, any_sound: bool) -> Utterance:
        """An utterance with its vectors, those of its recording included, or with its `error`."""
        utterance = Utterance()
        vectors = [each for each in self.modalities if each.name != AUDIO.name]
        try:
            row = row_of(given, [each.features for each in vectors])
            text = row.get("text")
            if text is not None and not isinstance(text, str):
                raise ValueError(f"its text is {text!r}; it must be a string")
            utterance.text = text if self.reads else None
            if self.reads and row.get(TEXT.features) is None and not (is_missing(text) and self.allow_missing):
                self.words  # noqa: B018 refused before anything where there is no encoder
            features = row.get(AUDIO.features)
            if (
                self.hears
                and row.get("audio") is not None
                and (features is None or isinstance(row["audio"], Waveform))
            ):
                utterance.listen(row["audio"], row.get("sampling_rate") or rate, any_sound)
            if self.hears and features is not None and utterance.heard is not False:
                utterance.features = self._checked(AUDIO, features)
            utterance.further = {
                each.name: self._checked(each, row[each.features])
                for each in vectors
                if row.get(each.features) is not None
            }
            if self.hears:
                made_by = self.speech_features
                utterance.note_length(made_by and made_by.frame_rate, self.description["training_seconds"])
            if self.hears and utterance.heard and utterance.features is None:
                self._hear(utterance)
        except ValueError as error:
            utterance.error = error
        return utterance

    def _checked(self, modality: Modality, features: Any) -> np.ndarray:
        return checked(features, modality.features, modality.unit, self.width(modality.name))

    def _hear(self, utterance: Utterance) -> None:
        samples = utterance.waveform.samples
        if self.voice.frames_of(len(samples)) < 1:
            raise AudioError(f"{utterance.waveform.seconds:.3f} s are too short for {self.voice.features.encoder}")
        utterance.hear(self.voice.heard([samples])[0])

    def _said(self, ready: Sequence[Utterance]) -> Said:
        rows = rows_of(ready)
        columns: dict[str, list[Any]] = {each.name: [] for each in self.modalities}
        for utterance, window in rows:
            for name in columns:
                columns[name].append(window if name == AUDIO.name else utterance.further.get(name))
        if self.reads:
            columns[TEXT.name] = self._read_words(columns[TEXT.name], [utterance.text for utterance, _ in rows])
        found = self.outputs(columns)
        weights = of_utterances({each.name: found["weights"].get(each.name) for each in self.modalities}, ready)
        merged = of_utterances({name: found[name] for name in ("logits", "vad", "gates")}, ready)
        attends = "attention" if self.description["gives_attention"] else None
        return Said(softmax(merged.pop("logits")), **merged, weights=weights, weights_by=attends)

    def _read_words(self, states: list[np.ndarray | None], texts: Sequence[str | None]) -> list[np.ndarray | None]:
        """Token ids of rows, or, where of some the encoder's states are given, the states of all."""
        if self.description["text"] is None:  # the head, whose rows have states, or may lack words
            return states
        tokens = self.words.tokenize(texts)
        if all(each is None for each in states):
            return tokens
        encoded, mask = self._encoded(tokens, TEXT)
        made = [vectors[real] for vectors, real in zip(encoded, mask, strict=True)]
        return [mine if given is None else given for given, mine in zip(states, made, strict=True)]

    @cached_property
    def _answers(self) -> Answers:
        names = [each.name for each in self.modalities]
        rate = None if self.speech_features is None else self.speech_features.frame_rate
        spans = self.words.spans if self.description["text"] is not None else None
        return Answers(self.labels, names, bool({*names} - {AUDIO.name, TEXT.name}), rate, spans)

    # ---- the graphs ------------------------------------------------------------------------------------------------

    def outputs(self, columns: Mapping[str, Sequence[np.ndarray | None]]) -> dict[str, Any]:
        """What the head makes of n rows.

        Args:
            columns: by the name of each modality, of each row its vectors, (dim,) or (length, dim) float32, or, of
                words, token ids (tokens,) int64; None or empty where the row lacks it.

        Returns `logits` (n, classes), `vad` (n, 3) or None, `gates` (n, modalities) or None, and `weights`, by
        modality (n, length) what the fusion's attention looks at; without attention {}.
        """
        inputs: dict[str, np.ndarray] = {}
        for modality in self.modalities:
            column = columns[modality.name]
            if modality.tokens is not None and any(each is not None and each.ndim == 1 for each in column):
                features, mask = self._encoded(column, modality)
            else:
                features, mask = _stacked(column, self.width(modality.name))
            inputs |= {modality.features: features, modality.mask: mask}
        found = self._run(HEAD, inputs)
        attentions = [value for name, value in sorted(found.items()) if name.startswith("attentions")]
        lengths = [inputs[each.mask].shape[1] for each in self.modalities]
        names = [each.name for each in self.modalities]
        weights = attention_weights(attentions, lengths, names) if attentions else {}
        return {"logits": found["logits"], "vad": found.get("vad"), "gates": found.get("gates"), "weights": weights}

    def _encoded(self, tokens: Sequence[np.ndarray | None], modality: Modality) -> tuple[np.ndarray, np.ndarray]:
        """Token ids of rows to the encoder's states (n, longest, dim) and their mask; rows without any are not run."""
        there = [row for row, ids in enumerate(tokens) if ids is not None and len(ids)]
        longest = max((len(tokens[row]) for row in there), default=1)
        states = np.zeros((len(tokens), longest, self.width(modality.name)), np.float32)
        mask = np.zeros((len(tokens), longest), bool)
        if there:
            ids = np.full((len(there), longest), self.description["text"]["pad"], np.int64)
            for place, row in enumerate(there):
                ids[place, : len(tokens[row])] = tokens[row]
                mask[row, : len(tokens[row])] = True
            given = {"input_ids": ids, "attention_mask": mask[there].astype(np.int64)}
            states[there] = self._run(WORDS, given)[TEXT.features]
        return states, mask

    def _run(self, graph: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        session = self._sessions.get(graph)
        if session is None:
            session = self._sessions[graph] = _session(self.folder / graph, self.threads)
        names = self.description["graphs"][graph]["outputs"]
        return dict(zip(names, session.run(list(names), inputs), strict=True))


def softmax(logits: np.ndarray) -> np.ndarray:
    """(n, classes) to probabilities, float32."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _stacked(column: Sequence[np.ndarray | None], width: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of rows to (n, longest, width) float32, zeros where there are none, and (n, longest) bool."""
    vectors = [np.zeros((0, width), np.float32) if each is None else np.atleast_2d(each) for each in column]
    lengths = np.array([len(each) for each in vectors])
    longest = max(int(lengths.max()), 1)
    found = np.zeros((len(vectors), longest, width), np.float32)
    for row, each in zip(found, vectors, strict=True):
        row[: len(each)] = each
    return found, np.arange(longest) < lengths[:, None]


def _session(path: Path, threads: int | None) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError("onnxruntime is not installed: pip install onnxruntime") from error
    options = onnxruntime.SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


__all__ = ["DESCRIPTION", "OnnxModel", "is_onnx", "softmax"]
