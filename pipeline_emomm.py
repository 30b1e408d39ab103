"""`pipeline("multimodal-emotion-recognition")`: a recording in, its emotion out, and why. Travels to the Hub."""

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import AutoModel
from transformers import Pipeline
from transformers.pipelines import PIPELINE_REGISTRY

from .processing_emomm import is_missing
from .saliency import attention_weights
from .saliency import merge_tokens
from .saliency import saliency
from .saliency import shares
from .transcribing import Transcriber
from .waveforms import SAMPLING_RATE
from .waveforms import AudioError
from .waveforms import Waveform
from .waveforms import read_waveform

TASK = "multimodal-emotion-recognition"
KEYS = ("audio", "audio_features", "text", "sampling_rate", "array", "raw", "bytes", "path")
"""What an input that is a dictionary may hold; the last four are a recording as data sets hold it."""

_RECORDING = ("array", "raw", "bytes", "path")


@dataclass
class Utterance:
    """One input of the pipeline, and what was found out about it.

    Args:
        waveform: of its recording, where it was read.
        features: (dim,) or (frames, dim) voice features.
        text: its words; None where there are none.
        transcribed: whether the words were made from the recording.
        notes: for the user, in words.
    """

    waveform: Waveform | None = None
    features: np.ndarray | None = None
    text: str | None = None
    transcribed: bool = False
    notes: list[str] = field(default_factory=list)


@dataclass
class _Given:
    """An input as the user gave it, and what was given beside it."""

    value: Any
    beside: dict[str, Any] = field(default_factory=dict)


class EmoMMPipeline(Pipeline):
    """Recordings, with or without words, to emotions.

    ```python
    emotion = pipeline("multimodal-emotion-recognition", model="user/name", trust_remote_code=True)
    emotion("recording.flac", text="I can't believe you did that.")
    emotion(["one.wav", "two.wav"], transcribe="openai/whisper-base", batch_size=8)
    ```

    Where this package is installed, `pipeline_class=EmoMMPipeline` takes the place of `trust_remote_code=True`.
    Besides the arguments of `transformers.Pipeline` (`model`, `processor`, `device` ...), those of a call after
    `audio_features` can be given to the constructor, as defaults of all calls.
    """

    _load_processor = True
    _load_tokenizer = False
    _load_feature_extractor = False
    _load_image_processor = False
    _load_video_processor = False

    def __init__(self, *args: Any, **kwargs: Any):
        self._transcribers: dict[str, Transcriber] = {}
        super().__init__(*args, **kwargs)
        self.model.eval()

    def __call__(
        self,
        inputs: Any = None,
        text: str | Sequence[str | None] | None = None,
        sampling_rate: int | None = None,
        audio_features: np.ndarray | Sequence[np.ndarray | None] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any] | list[dict[str, Any]] | Iterator[dict[str, Any]]:
        """The emotion of an utterance, or of each in a list.

        Args:
            inputs: a recording (path, URL, bytes, array, `Waveform`), or a dictionary with any of `audio`,
                `audio_features`, `text` and `sampling_rate`, or with a recording as data sets hold it; or a list of
                those, with None where there is no recording. Of a generator or data set, the results come one by one.
            text: the words of the utterance; of a list, as many. None or "" where they are not known.
            sampling_rate: of recordings that are arrays, in Hz.
            audio_features: (dim,) or (frames, dim) features in place of the recording; of a list, as many.
            top_k (`int`, *optional*): how many of the classes to give in `scores`; default all.
            speech_encoder (`str`, *optional*): folder or Hub id of the encoder that made the model's features, to be
                taken in place of the one the model names; checked to be the same.
            transcribe (`str`, *optional*): folder or Hub id of a speech recognition model, which fills in missing
                words of a model that reads them. Words that are given are kept.
            trust_remote_code (`bool`, defaults to `False`): run the code that the repositories of the speech encoder
                and of `transcribe` bring; that of `pipeline()` is for the code of the model alone.
            batch_size (`int`, defaults to 1): utterances at a time. What is in a batch changes no result.

        Returns for each utterance a dictionary:
            label, score: the likeliest class and its probability.
            scores: `{"label", "score"}` of the classes, the likeliest first.
            vad: `{"valence", "arousal", "dominance"}` on 1-5, of a model that gives them; else None.
            transcript: the words that were read, or None; transcribed: whether they were made from the recording.
            words: `{"word", "start", "end", "weight"}`, with the characters of the transcript.
            moments: `{"start", "end", "weight"}` in seconds, one for each frame of the voice features.
            weights_by: `attention`, the mean over the heads of the fusion's attention (from the voice to the words,
                and from the words to the moments), or `gradient` where it has none: |gradient · input| of the
                class' logit (see `saliency`). Either sums to 1 over the words and over the moments.
            gates: `{"audio", "text"}` the share of each, where the fusion has gates; else None.
            notes: what was found in the recording, and what was missing.

        Raises:
            ValueError: an input that can't be used, with its number in the list; a recording for a model that does
                not say what made its features; `WrongEncoder`, a speech encoder that is another than that.
        """
        beside = {"text": text, "audio_features": audio_features}
        beside = {name: value for name, value in beside.items() if value is not None}
        if sampling_rate is not None:
            kwargs["sampling_rate"] = sampling_rate
        # An open file is an iterator too, and a data set of `datasets` is none of torch's.
        one_by_one = isinstance(inputs, (Dataset, Iterator)) and not hasattr(inputs, "read")
        if one_by_one or hasattr(inputs, "column_names"):
            if beside:
                raise ValueError(f"{', '.join(beside)}: of a generator or data set, give each in a dictionary with it")
            return super().__call__((row for row in inputs), **kwargs)
        columns = {**({} if inputs is None else {"inputs": inputs}), **beside}
        if not columns:
            raise ValueError("nothing is given: a recording, its text, or its audio_features")
        counts = {name: len(value) for name, value in columns.items() if isinstance(value, (list, tuple))}
        if not counts:
            return super().__call__(_Given(inputs, beside), **kwargs)
        for name in columns:
            if counts.get(name) != max(counts.values()):
                many = f"{counts[name]}" if name in counts else "one"
                raise ValueError(
                    f"{name}: {many} given, for {max(counts.values())} utterances; give a list of as many"
                )
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        return super().__call__([_Given(row.pop("inputs", None), row) for row in rows], **kwargs) if rows else []

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> None:
        """Writes the model, its processor, and the code of both and of this pipeline."""
        self.model.save_pretrained(save_directory, **kwargs)
        self.processor.save_pretrained(save_directory, **kwargs)

    def _sanitize_parameters(self, **given: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        known = ("sampling_rate", "speech_encoder", "transcribe", "trust_remote_code")
        unknown = sorted(set(given) - {*known, "top_k"})
        if unknown:
            raise TypeError(f"{unknown[0]!r} is no argument of this pipeline; there are {', '.join(known)} and top_k")
        top_k = given.get("top_k")
        if top_k is not None and (not isinstance(top_k, int) or top_k < 1):
            raise ValueError(f"top_k is {top_k!r}; it must be a whole number of at least 1")
        reading = {name: given[name] for name in known if name in given}
        return reading, {}, {"top_k": top_k} if "top_k" in given else {}

    def get_iterator(
        self,
        inputs: Iterable[Any],
        num_workers: int,
        batch_size: int,
        preprocess_params: dict[str, Any],
        forward_params: dict[str, Any],
        postprocess_params: dict[str, Any],
    ) -> Iterator[dict[str, Any]]:
        """The results one by one, `batch_size` of them made at a time; nothing is read by other processes."""
        numbered = enumerate(inputs)
        while batch := list(islice(numbered, batch_size)):
            outputs = self.forward(self.preprocess(batch, **preprocess_params), **forward_params)
            yield from self.postprocess(outputs, **postprocess_params)

    def run_single(
        self,
        inputs: Any,
        preprocess_params: dict[str, Any],
        forward_params: dict[str, Any],
        postprocess_params: dict[str, Any],
    ) -> dict[str, Any]:
        """The result of one utterance."""
        return next(self.get_iterator([inputs], 0, 1, preprocess_params, forward_params, postprocess_params))

    # ---- recordings and words to inputs -----------------------------------------------------------------------------

    def preprocess(
        self,
        batch: Sequence[tuple[int, Any]],
        sampling_rate: int | None = None,
        speech_encoder: str | None = None,
        transcribe: str | None = None,
        trust_remote_code: bool = False,
    ) -> dict[str, Any]:
        """Utterances with their numbers to the model's inputs, under `inputs`, and themselves, under `utterances`."""
        encoder = None
        if speech_encoder is not None and self.processor.modality != "text":  # a wrong one is refused before anything
            encoder = self.processor.load_speech_encoder(speech_encoder, self.device, trust_remote_code)
        utterances = []
        for number, row in batch:
            try:
                given = _row(row if isinstance(row, _Given) else _Given(row))
                utterances.append(self._read(given, sampling_rate, transcribe is not None))
            except ValueError as error:
                kind = AudioError if isinstance(error, AudioError) else ValueError
                raise kind(f"utterance {number}: {error}") from error
        unheard = [each for each in utterances if each.features is None and each.waveform is not None]
        if self.processor.modality != "text" and unheard:
            encoder = encoder or self.processor.load_speech_encoder(None, self.device, trust_remote_code)
            made = encoder([each.waveform.samples for each in unheard])
            for each, features in zip(unheard, made, strict=True):
                each.features = features
        if self.processor.modality != "audio":
            for each in utterances:
                if transcribe is not None and is_missing(each.text) and each.waveform is not None:
                    self._transcribe(each, transcribe, trust_remote_code)
        for (number, _), each in zip(batch, utterances, strict=True):
            self._check_present(number, each, transcribe is not None)
        return {"inputs": self._inputs(utterances), "utterances": utterances}

    def _read(self, row: dict[str, Any], sampling_rate: int | None, transcribe: bool) -> Utterance:
        """An utterance with its recording, where anything of the model listens to it."""
        text, features = row.get("text"), row.get("audio_features")
        if text is not None and not isinstance(text, str):
            raise ValueError(f"its text is {text!r}; it must be a string")
        hears, reads = self.processor.modality != "text", self.processor.modality != "audio"
        found = Utterance(text=text if reads else None)
        if hears and features is not None:
            found.features = self.processor.checked(features)
        wanted = (hears and features is None) or (reads and transcribe and is_missing(text))
        if wanted and row.get("audio") is not None:
            audio, rate = row["audio"], row.get("sampling_rate") or sampling_rate
            if isinstance(audio, Mapping) and audio.get("sampling_rate") is None:
                audio = {**audio, "sampling_rate": rate}
            found.waveform = read_waveform(audio, SAMPLING_RATE, rate)
            found.notes += found.waveform.notes
        return found

    def _transcribe(self, utterance: Utterance, name: str, trust_remote_code: bool) -> None:
        """Fills in the words, where some are heard."""
        if utterance.waveform.silent:
            utterance.notes.append("silent: no words were looked for")
            return
        if name not in self._transcribers:
            self._transcribers[name] = Transcriber(name, self.device, trust_remote_code)
        words = self._transcribers[name](utterance.waveform)
        if is_missing(words):
            utterance.notes.append("no words were heard")
        else:
            utterance.text, utterance.transcribed = words, True

    def _check_present(self, number: int, utterance: Utterance, transcribe: bool) -> None:
        """Raises ValueError for an utterance without what the model needs, by its number; notes what is missing."""
        modality, mute = self.processor.modality, is_missing(utterance.text)
        if self.processor.allow_missing and utterance.features is None and mute:
            raise ValueError(f"utterance {number} has neither voice nor words")
        if modality != "text" and utterance.features is None and not self.processor.allow_missing:
            raise ValueError(f"utterance {number} has no voice, which this model needs: give a recording, or features")
        if modality == "text" and utterance.text is None and not transcribe:
            raise ValueError(f"utterance {number} has no words, all that this model reads: give text, or transcribe")
        if modality != "audio" and mute:
            utterance.text = None
            utterance.notes.append("no words given: read as missing")

    def _inputs(self, utterances: list[Utterance]) -> dict[str, Tensor]:
        both = {"audio_features": [each.features for each in utterances], "text": [each.text for each in utterances]}
        return dict(self.processor(**both))

    # ---- the model --------------------------------------------------------------------------------------------------

    def _forward(self, model_inputs: dict[str, Any]) -> dict[str, Any]:
        """Probabilities (batch, classes), and weights (batch, tokens) and (batch, frames) of the padded inputs."""
        inputs, config = model_inputs["inputs"], self.model.config
        if config.modality == "both" and config.fusion_type == "cross_attention":
            outputs = self.model(**inputs)
            weights = attention_weights(outputs.attentions)
        else:
            with torch.inference_mode(False), torch.enable_grad():
                outputs, weights = saliency(self.model, {name: value.clone() for name, value in inputs.items()})
        gates = None if outputs.gates is None else outputs.gates.detach()
        return {
            "utterances": model_inputs["utterances"],
            "probabilities": outputs.logits.detach().float().softmax(dim=-1),
            "vad": None if outputs.vad is None else outputs.vad.detach(),
            "gates": gates,
            **weights,
        }

    # ---- what the user gets -----------------------------------------------------------------------------------------

    def postprocess(self, model_outputs: dict[str, Any], top_k: int | None = None) -> list[dict[str, Any]]:
        """The results of a batch, as `__call__` describes them."""
        return [
            self._result(row, utterance, model_outputs, top_k)
            for row, utterance in enumerate(model_outputs["utterances"])
        ]

    def _result(self, row: int, utterance: Utterance, outputs: dict[str, Any], top_k: int | None) -> dict[str, Any]:
        probabilities = outputs["probabilities"][row].tolist()
        order = sorted(range(len(probabilities)), key=lambda i: (-probabilities[i], i))
        names = self.model.config.id2label
        scores = [{"label": names[i], "score": probabilities[i]} for i in order]
        notes = list(utterance.notes)
        words = self._words(utterance, _weights_of(outputs["tokens"], row), notes)
        moments = self._moments(utterance, _weights_of(outputs["frames"], row), notes)
        vad, gates = (None if outputs[name] is None else outputs[name][row].tolist() for name in ("vad", "gates"))
        return {
            **scores[0],
            "scores": scores[:top_k],
            "vad": None if vad is None else dict(zip(("valence", "arousal", "dominance"), vad, strict=True)),
            "transcript": utterance.text,
            "transcribed": utterance.transcribed,
            "words": words,
            "moments": moments,
            "weights_by": outputs["by"],
            "gates": None if gates is None else dict(zip(("audio", "text"), gates, strict=True)),
            "notes": notes,
        }

    def _words(self, utterance: Utterance, weights: np.ndarray, notes: list[str]) -> list[dict[str, Any]]:
        if utterance.text is None:
            return []
        tokenizer = self.processor.tokenizer
        if not tokenizer.is_fast:
            notes.append("no weights of words: this tokenizer does not say where its tokens lie")
            return []
        encoded = tokenizer(
            utterance.text, truncation=True, max_length=self.processor.max_length, return_offsets_mapping=True
        )
        spans = merge_tokens(utterance.text, encoded.word_ids(0), encoded["offset_mapping"], weights)
        end = spans[-1][1] if spans else 0
        if utterance.text[end:].strip():
            notes.append(f"cut: the words after character {end} were not read")
        return [
            {"word": utterance.text[start:end], "start": start, "end": end, "weight": share}
            for (start, end, _), share in zip(spans, shares([weight for *_, weight in spans]), strict=True)
        ]

    def _moments(self, utterance: Utterance, weights: np.ndarray, notes: list[str]) -> list[dict[str, Any]]:
        if utterance.features is None or utterance.features.ndim == 1:
            return []
        made_by = self.processor.speech_features
        if made_by is None or not made_by.frame_rate:
            notes.append("no weights of moments: the frame rate of the features is not known")
            return []
        count, rate = len(utterance.features), made_by.frame_rate
        end = count / rate if utterance.waveform is None else min(utterance.waveform.seconds, count / rate)
        return [
            {"start": i / rate, "end": min((i + 1) / rate, end), "weight": share}
            for i, share in enumerate(shares(weights[:count]))
        ]


def _row(given: _Given) -> dict[str, Any]:
    """An utterance as a dictionary of `audio`, `audio_features`, `text` and `sampling_rate`, where they are known."""
    value, beside = given.value, given.beside
    if not isinstance(value, Mapping):
        return {**beside, "audio": value}
    unknown = sorted(set(value) - set(KEYS))
    if unknown:
        raise ValueError(f"{unknown[0]!r} is not known in an input; it can hold {', '.join(KEYS)}")
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


def _weights_of(weights: Tensor | None, row: int) -> np.ndarray:
    return np.zeros(0) if weights is None else weights[row].double().numpy()


if not __name__.startswith("transformers_modules"):
    PIPELINE_REGISTRY.register_pipeline(TASK, pipeline_class=EmoMMPipeline, pt_model=AutoModel)

__all__ = ["KEYS", "TASK", "EmoMMPipeline", "Utterance"]
