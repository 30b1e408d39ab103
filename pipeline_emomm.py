"""`pipeline("multimodal-emotion-recognition")`: a recording in, its emotion out, and why. Travels to the Hub."""

import logging
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
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

from .answers import Answers
from .answers import Said
from .answers import Spans
from .configuration_emomm import EmoMMConfig  # noqa: F401 in a copy that has travelled, it registers own modalities
from .modalities import AUDIO
from .modalities import TEXT
from .modalities import Modality
from .modalities import beginning
from .modalities import is_missing
from .saliency import attention_weights
from .saliency import saliency
from .speech_encoders import SpeechEncoder
from .transcribing import Transcriber
from .utterances import KEYS
from .utterances import Given
from .utterances import Utterance
from .utterances import of_utterances
from .utterances import row_of
from .utterances import rows_of
from .waveforms import AudioError
from .waveforms import Waveform

logger = logging.getLogger(__name__)

TASK = "multimodal-emotion-recognition"
DECLARED = ("audio-classification", "text-classification")
"""Tasks of transformers that a model can be asked for too: the results then have the shape that they have there."""


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

    Vectors of a user's own modality are given as `NAME_features`, in the dictionary or beside the recording; a result
    then holds `further`, by name the weight of each of them.
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
        if hasattr(self.processor, "use_held_encoder"):  # code of before has none
            self.processor.use_held_encoder(self.model)

    def __call__(
        self,
        inputs: Any = None,
        text: str | Sequence[str | None] | None = None,
        sampling_rate: int | None = None,
        audio_features: np.ndarray | Sequence[np.ndarray | None] | None = None,
        **kwargs: Any,
    ) -> Any:
        """The emotion of an utterance: a dictionary; of each in a list: a list of those.

        Args:
            inputs: a recording (path, URL, bytes, array, `Waveform`), or a dictionary with any of `audio`,
                `audio_features`, `text`, `sampling_rate` and `NAME_features`, or with a recording as data sets hold
                it; or a list of those, None where there is no recording. Of a generator, results come one by one.
            text: the words of the utterance; of a list, as many, or one for all. None or "" where they aren't known.
            sampling_rate: of recordings that are arrays, in Hz.
            audio_features: (dim,) or (frames, dim) in place of the recording; of a list, as many.
            top_k (`int`, *optional*): how many of the classes to give in `scores`; default all.
            speech_encoder (`str`, *optional*): folder or Hub id of the encoder that made the model's features, to be
                taken in place of the one the model names; checked to be the same.
            transcribe (`str`, *optional*): folder or Hub id of a speech recognition model, which fills in missing
                words of a model that reads them. Words that are given are kept.
            any_sound (`bool`, defaults to `False`): whether all but silence counts as speech; else a recording in
                which none is found has no label.
            trust_remote_code (`bool`, defaults to `False`): run the code that the repositories of the speech encoder
                and of `transcribe` bring; that of `pipeline()` is for the code of the model alone.
            batch_size (`int`, defaults to 1): utterances at a time. What is in a batch changes no result.

        A result holds:
            label, score: the likeliest class and its probability; None where nothing was heard or read.
            scores: `{"label", "score"}` of the classes, the likeliest first; empty without a label.
            vad: `{"valence", "arousal", "dominance"}` on 1-5, of a model that gives them; else None.
            transcript: the words that were read, or None; transcribed: whether they were made from the recording.
            words: `{"word", "start", "end", "weight"}`, with the characters of the transcript.
            moments: `{"start", "end", "weight"}` in seconds, one for each frame of the voice features.
            weights_by: `attention`, the mean over the heads of the fusion's attention (from the voice to the words,
                and from the words to the moments), or `gradient` where it has none: |gradient · input| of the
                class' logit (see `saliency`). Either sums to 1 over the words and over the moments.
            gates: `{"audio", "text"}` the share of each, where the fusion has gates; else None.
            heard: whether there is speech in the recording; None where none was read.
            notes: what was found in the recording, what was missing, and why there is no label.
            error: why this one of several can't be used, and has no label; else None.

        As `audio-classification` or `text-classification` (which takes strings as words), the result is what it is in
        transformers: a list of `{"label", "score"}`.

        Raises:
            ValueError: an input that can't be used, where it is the only one; lists of different lengths; a recording
                for a model that does not say what made its features; `WrongEncoder`, a speech encoder that is another
                than that.
        """
        found = self._answers(inputs, text, sampling_rate, audio_features, kwargs)
        if self.task not in DECLARED:
            return found
        top_k = "top_k" in {**kwargs, **self._postprocess_params}
        if isinstance(found, dict):
            one = self._as_declared(found, top_k)
            return one if isinstance(one, list) else [one]
        declared = (self._as_declared(each, top_k) for each in found)
        return list(declared) if isinstance(found, list) else declared

    def _answers(self, inputs: Any, text: Any, sampling_rate: int | None, audio_features: Any, options: dict) -> Any:
        """The results, as `__call__` describes them."""
        options |= {} if sampling_rate is None else {"sampling_rate": sampling_rate}
        beside = {"text": text, "audio_features": audio_features}
        beside |= {each.features: options.pop(each.features, None) for each in self._further}
        beside = {name: value for name, value in beside.items() if value is not None}
        words = self.task == "text-classification"
        # An open file is an iterator too, and a data set of `datasets` is none of torch's.
        one_by_one = isinstance(inputs, (Dataset, Iterator)) and not hasattr(inputs, "read")
        if one_by_one or hasattr(inputs, "column_names"):
            if not all(isinstance(value, str) for value in beside.values()):
                raise ValueError(f"{', '.join(beside)}: of a generator or data set, give each in a dictionary with it")
            return super().__call__((Given(row, beside, words) for row in inputs), **options)
        columns = {**({} if inputs is None else {"inputs": inputs}), **beside}
        if not columns:
            raise ValueError("nothing is given: a recording, its text, or its audio_features")
        counts = {name: len(value) for name, value in columns.items() if isinstance(value, (list, tuple))}
        if not counts:
            return super().__call__(Given(inputs, beside, words), **options)
        count = max(counts.values())
        if isinstance(text, str):
            columns["text"], counts["text"] = [text] * count, count
        for name in columns:
            if counts.get(name) != count:
                many = f"{counts[name]}" if name in counts else "one"
                raise ValueError(f"{name}: {many} given, for {count} utterances; give a list of as many")
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        given = [Given(row.pop("inputs", None), row, words) for row in rows]
        return super().__call__(given, **options) if rows else []

    @property
    def _further(self) -> list[Modality]:
        """The modalities of the model that are the user's own."""
        return [modality for modality in self.processor.modalities if modality.name not in (AUDIO.name, TEXT.name)]

    def _as_declared(self, result: dict[str, Any], top_k: bool) -> list[dict[str, Any]] | dict[str, Any]:
        """A result in the shape of the task's pipeline in transformers, which can't say why there is no label."""
        if result["label"] is None:
            logger.warning("no label: %s", result["error"] or "; ".join(result["notes"]))
        if self.task == "text-classification" and not top_k:
            return {"label": result["label"], "score": result["score"]}
        return result["scores"] if top_k else result["scores"][:5]

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> None:
        """Writes the model, its processor, and the code of both and of this pipeline."""
        self.model.save_pretrained(save_directory, **kwargs)
        self.processor.save_pretrained(save_directory, **kwargs)

    def _sanitize_parameters(self, **given: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        known = ("sampling_rate", "speech_encoder", "transcribe", "any_sound", "trust_remote_code")
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
        rows = iter(inputs)
        while batch := list(islice(rows, batch_size)):
            outputs = self.forward(self.preprocess(batch, **preprocess_params), **forward_params)
            yield from self.postprocess(outputs, **postprocess_params)

    def run_single(
        self,
        inputs: Any,
        preprocess_params: dict[str, Any],
        forward_params: dict[str, Any],
        postprocess_params: dict[str, Any],
    ) -> dict[str, Any]:
        """The result of one utterance. Raises ValueError where it can't be used."""
        alone = {**preprocess_params, "alone": True}
        return next(self.get_iterator([inputs], 0, 1, alone, forward_params, postprocess_params))

    # ---- recordings and words to inputs -----------------------------------------------------------------------------

    def preprocess(
        self,
        batch: Sequence[Any],
        sampling_rate: int | None = None,
        speech_encoder: str | None = None,
        transcribe: str | None = None,
        trust_remote_code: bool = False,
        any_sound: bool = False,
        alone: bool = False,
    ) -> dict[str, Any]:
        """Utterances to the model's inputs, under `inputs`, and all that is known of each, under `utterances`.

        What can't be used is kept as the `error` of its utterance, or raised where it is `alone`. The inputs are of
        those that are `ready`; None where none is.
        """
        encoder = None
        if speech_encoder is not None and self.processor.hears:  # a wrong one is refused before anything
            encoder = self.processor.load_speech_encoder(speech_encoder, self.device, trust_remote_code)
        utterances = []
        for row in batch:
            utterances.append(Utterance())
            try:
                known = [each.features for each in self._further]
                given = row_of(row if isinstance(row, Given) else Given(row), known)
                self._read(utterances[-1], given, sampling_rate, transcribe is not None, any_sound)
            except ValueError as error:
                utterances[-1].error = error
        unheard = [
            utterance for utterance in utterances if utterance.ready and utterance.heard and utterance.features is None
        ]
        if self.processor.hears and unheard:
            encoder = encoder or self.processor.load_speech_encoder(None, self.device, trust_remote_code)
            self._hear(unheard, encoder)
        for utterance in utterances:
            if utterance.ready and transcribe is not None and self.processor.reads and is_missing(utterance.text):
                self._transcribe(utterance, transcribe, trust_remote_code)
        for utterance in utterances:
            if utterance.ready:
                utterance.settle(self.processor.modalities, self.processor.allow_missing, transcribe is not None)
        if alone and utterances[0].error is not None:
            raise utterances[0].error
        ready = [utterance for utterance in utterances if utterance.ready]
        return {"inputs": self._inputs(ready) if ready else None, "utterances": utterances}

    def _read(
        self, found: Utterance, row: dict[str, Any], sampling_rate: int | None, transcribe: bool, any_sound: bool
    ) -> None:
        """Takes over words and features, and the recording where anything of the model listens to it."""
        text, features = row.get("text"), row.get("audio_features")
        if text is not None and not isinstance(text, str):
            raise ValueError(f"its text is {text!r}; it must be a string")
        hears, reads = self.processor.hears, self.processor.reads
        found.text = text if reads else None
        audio = row.get("audio")
        wanted = (hears and features is None) or (reads and transcribe and is_missing(text))
        if audio is not None and (wanted or isinstance(audio, Waveform)):
            found.listen(audio, row.get("sampling_rate") or sampling_rate, any_sound)
        if hears and features is not None:
            features = self.processor.checked(features)
            found.features = None if found.heard is False else features
        given = {each.name: row[each.features] for each in self._further if row.get(each.features) is not None}
        found.further = {name: self.processor.checked(values, name) for name, values in given.items()}
        if hears:
            made_by = self.processor.speech_features
            known = getattr(self.model.config, "training_seconds", None)  # which models from before don't say
            found.note_length(made_by and made_by.frame_rate, known)

    @staticmethod
    def _hear(utterances: list[Utterance], encoder: SpeechEncoder) -> None:
        """Encodes the recordings that are long enough for it."""
        for utterance in utterances:
            if encoder.frames_of(len(utterance.waveform.samples)) < 1:
                utterance.error = AudioError(
                    f"{utterance.waveform.seconds:.3f} s are too short for {encoder.features.encoder}"
                )
        able = [utterance for utterance in utterances if utterance.ready]
        for each, windows in zip(able, encoder.heard([each.waveform.samples for each in able]), strict=True):
            each.hear(windows)

    def _transcribe(self, utterance: Utterance, name: str, trust_remote_code: bool) -> None:
        """Fills in the words, where speech is heard."""
        if not utterance.heard:
            return
        if name not in self._transcribers:
            self._transcribers[name] = Transcriber(name, self.device, trust_remote_code)
        words = self._transcribers[name](utterance.waveform)
        if is_missing(words):
            utterance.notes.append("no words were heard")
        else:
            utterance.text, utterance.transcribed = words, True

    def _inputs(self, utterances: list[Utterance]) -> dict[str, Tensor]:
        rows = rows_of(utterances)
        columns: dict[str, list] = {"audio_features": [features for _, features in rows]}
        columns["text"] = [utterance.text for utterance, _ in rows]
        for modality in self._further:
            columns[modality.features] = [utterance.further.get(modality.name) for utterance, _ in rows]
        return dict(self.processor(**columns))

    # ---- the model --------------------------------------------------------------------------------------------------

    def _forward(self, model_inputs: dict[str, Any]) -> dict[str, Any]:
        """What the model `said` of the utterances that are ready."""
        inputs, config = model_inputs["inputs"], self.model.config
        if inputs is None:
            return {"utterances": model_inputs["utterances"], "said": None}
        if getattr(self.model.fusion, "gives_attention", False):
            outputs = self.model(**inputs)
            weights = attention_weights(outputs.attentions, inputs, config.modality)
        else:
            with torch.inference_mode(False), torch.enable_grad():
                outputs, weights = saliency(self.model, {name: value.clone() for name, value in inputs.items()})
        utterances = model_inputs["utterances"]
        ready = [utterance for utterance in utterances if utterance.ready]
        found = {name: _array(getattr(outputs, name)) for name in ("logits", "vad", "gates")}
        found = of_utterances(found, ready)
        probabilities = torch.from_numpy(found.pop("logits")).softmax(dim=-1).numpy()
        weights_by = weights.pop("by")
        weights = of_utterances({name: _array(values) for name, values in weights.items()}, ready)
        said = Said(probabilities, **found, weights=weights, weights_by=weights_by)
        return {"utterances": utterances, "said": said}

    # ---- what the user gets -----------------------------------------------------------------------------------------

    def postprocess(self, model_outputs: dict[str, Any], top_k: int | None = None) -> list[dict[str, Any]]:
        """The results of a batch, as `__call__` describes them."""
        return self._results.of(model_outputs["utterances"], model_outputs["said"], top_k)

    @property
    def _results(self) -> Answers:
        """What makes results of what the model says."""
        config, made_by = self.model.config, self.processor.speech_features
        tokenizer = self.processor.tokenizer
        return Answers(
            labels=[config.id2label[i] for i in range(config.num_labels)],
            modalities=config.modalities,
            further=bool(self._further),
            frame_rate=None if made_by is None else made_by.frame_rate,
            spans=None if tokenizer is None or not tokenizer.is_fast else self._spans,
        )

    def _spans(self, text: str) -> Spans:
        """Where the tokens of a transcript lie."""
        length = self.processor.max_length
        read = beginning(text, length)
        encoded = self.processor.tokenizer(read, truncation=True, max_length=length, return_offsets_mapping=True)
        return encoded.word_ids(0), encoded["offset_mapping"]


def _array(values: Tensor | None) -> np.ndarray | None:
    return None if values is None else values.detach().float().cpu().numpy()


if not __name__.startswith("transformers_modules"):
    PIPELINE_REGISTRY.register_pipeline(TASK, pipeline_class=EmoMMPipeline, pt_model=AutoModel)

__all__ = ["DECLARED", "KEYS", "TASK", "EmoMMPipeline"]
