"""The encoder that makes voice features: waveforms to frames or vectors. Travels to the Hub with the model."""

import hashlib
import importlib
import logging
import os
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from transformers import AutoFeatureExtractor
from transformers import AutoModel
from transformers import PreTrainedModel

from .own_files import code_of_models
from .speech_features import POOLINGS
from .speech_features import SpeechFeatures
from .speech_features import average_frames
from .waveforms import SAMPLING_RATE

logger = logging.getLogger(__name__)

BATCH_SECONDS = 120.0
"""Padded seconds of audio that go through an encoder at a time."""

_WINDOW = 30 * SAMPLING_RATE  # Whisper's encoder takes exactly this many samples
_HOP = 320  # samples a frame of encoders on mel features: 10 ms, two by two


class SpeechEncoder:
    """A speech encoder in evaluation mode: waveforms in, features out.

    A recording's features are what it would give alone, whatever else is in the batch: encoders whose convolutions
    normalise over time (wav2vec2-base and its kin) get batches of equal length alone.

    Args:
        model: any that `AutoModel` loads and that reads waveforms or mel features (wav2vec2, HuBERT, WavLM, w2v-BERT,
            Whisper, emotion2vec and their kin). Of an encoder-decoder the encoder is kept.
        feature_extractor: its own.
        name: of the encoder, for the description.
        layers: see `SpeechFeatures`.
        pooling: `frames` or `utterance`.
        frame_rate: Hz to average the frames to; None keeps the encoder's.
        revision: commit on the Hub.
        features: what is known of it already, in place of all these but the first two.

    Raises:
        ValueError: a model that is no speech encoder, layers that it doesn't have, a frame rate above its own.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        feature_extractor: Any,
        name: str,
        layers: Sequence[int] = (-1,),
        pooling: str = "frames",
        frame_rate: float | None = None,
        revision: str = "",
        features: SpeechFeatures | None = None,
    ):
        self.model = (model.get_encoder() if model.config.is_encoder_decoder else model).eval()
        self.feature_extractor = feature_extractor
        config = self.model.config
        self._mel = feature_extractor.model_input_names[0] == "input_features"
        self._windowed = config.model_type == "whisper"
        if feature_extractor.sampling_rate != SAMPLING_RATE:
            raise ValueError(f"{name} takes {feature_extractor.sampling_rate} Hz; EmoMM reads {SAMPLING_RATE} Hz")
        if not self._mel and not hasattr(config, "conv_stride"):
            raise ValueError(f"{name} is a {config.model_type} model, whose frames can't be timed")
        self.samples_per_frame = samples_per_frame(config, feature_extractor)
        depth = getattr(config, "encoder_layers", None) or config.num_hidden_layers
        if not layers or any(not -depth - 1 <= layer <= depth for layer in layers):
            raise ValueError(f"layers {list(layers)}: {name} has the layers 0-{depth} (or -1, its last one's output)")
        if pooling not in POOLINGS:
            raise ValueError(f"pooling is {pooling!r}; it can be {', '.join(POOLINGS)}")
        native = SAMPLING_RATE / self.samples_per_frame
        if frame_rate is not None and not 0 < frame_rate <= native:
            raise ValueError(f"frame_rate is {frame_rate}; {name} gives {native:g} frames a second, and at most those")
        self.features = features or SpeechFeatures(
            encoder=name,
            revision=revision,
            weights=weights_digest(self.model),
            model_type=config.model_type,
            width=getattr(config, "d_model", None) or config.hidden_size,
            num_layers=depth,
            layers=tuple(layers),
            pooling=pooling,
            frame_rate=0.0 if pooling == "utterance" else float(frame_rate or native),
            trained_with_labels=getattr(config, "trained_with_labels", None),
        )

    @classmethod
    def from_pretrained(
        cls,
        name: str,
        layers: Sequence[int] = (-1,),
        pooling: str = "frames",
        frame_rate: float | None = None,
        revision: str | None = None,
        device: str | torch.device | None = None,
        trust_remote_code: bool = False,
    ) -> "SpeechEncoder":
        """Loads an encoder by its id on the Hub or from a folder, in float32, to a GPU where there is one.

        Raises:
            ValueError: it can't be loaded, or see `SpeechEncoder`.
        """
        # False as well is said: left out, transformers asks on stdin.
        kwargs = {"trust_remote_code": trust_remote_code, **({"revision": revision} if revision else {})}
        _know_emotion2vec()
        try:
            with code_of_models() if trust_remote_code else nullcontext():
                model, loaded = AutoModel.from_pretrained(
                    name, dtype=torch.float32, output_loading_info=True, **kwargs
                )
                extractor = AutoFeatureExtractor.from_pretrained(name, **kwargs)
        except (OSError, ValueError, ImportError, KeyError, RuntimeError, SafetensorError) as error:
            reason = f"the speech encoder {name!r} can't be loaded ({str(error).splitlines()[0]})"
            raise ValueError(f"{reason}{_how_to_convert(name)}") from error
        _refuse_missing(name, model, set(loaded["missing_keys"]))
        if not hasattr(extractor, "sampling_rate"):
            raise ValueError(f"{name!r} is a {model.config.model_type} model, no speech encoder")
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        shown = Path(name).resolve().name if os.path.isdir(name) else name
        commit = getattr(model.config, "_commit_hash", None) or ""
        return cls(model.to(device), extractor, shown, layers, pooling, frame_rate, commit)

    @classmethod
    def for_features(
        cls,
        features: SpeechFeatures,
        name: str | None = None,
        device: str | torch.device | None = None,
        trust_remote_code: bool = False,
    ) -> "SpeechEncoder":
        """The encoder that made `features`: from the Hub, or from the folder or id `name`, checked to be the same.

        Raises:
            WrongEncoder: `name` is another encoder. ValueError: it can't be loaded.
        """
        revision = (features.revision or None) if name is None else None
        rate = features.frame_rate or None
        encoder = cls.from_pretrained(
            name or features.encoder, (-1,), features.pooling, None, revision, device, trust_remote_code
        )
        features.refuse_other(encoder.features)
        return cls(
            encoder.model,
            encoder.feature_extractor,
            encoder.features.encoder,
            features.layers,
            features.pooling,
            rate,
            encoder.features.revision,
        )

    @property
    def equal_lengths_only(self) -> bool:
        """Whether padding would change what a recording gives: its batches hold one length."""
        return getattr(self.model.config, "feat_extract_norm", "layer") == "group"

    def frames_of(self, samples: int) -> int:
        """How many frames the encoder itself gives for so many samples."""
        if self._windowed:
            return -(-samples // self.samples_per_frame)
        if self._mel:  # windows of 25 ms every 10 ms, two by two: a last odd one makes no frame
            return max((samples - 400) // 160 + 1, 0) // 2
        config = self.model.config
        for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
            samples = (samples - kernel) // stride + 1
        return max(samples, 0)

    def __call__(self, waveforms: Sequence[np.ndarray], batch_seconds: float = BATCH_SECONDS) -> list[np.ndarray]:
        """The features of each recording.

        Args:
            waveforms: (samples,) float32 each, mono, at `features.sampling_rate`; from `waveforms.read_waveform`.
            batch_seconds: padded seconds at a time.

        Returns, in their order, float32 arrays of (frames, width), or (width,) for utterances.

        Raises:
            ValueError: a recording too short for one frame.
        """
        lengths = [len(waveform) for waveform in waveforms]
        if waveforms and self.frames_of(min(lengths)) < 1:
            raise ValueError(f"a recording of {min(lengths)} samples is too short for {self.features.encoder}")
        results: list[np.ndarray | None] = [None] * len(waveforms)
        for rows in self.batches(lengths, batch_seconds):
            states = self.states([waveforms[row] for row in rows])
            for row, frames in zip(rows, states, strict=True):
                results[row] = self.pooled(frames)
        return results

    def heard(self, waveforms: Sequence[np.ndarray]) -> list[list[np.ndarray]]:
        """As a call, but what a model is to be given of each recording: of some, several windows, whose logits are
        then averaged."""
        return [[features] for features in self(waveforms)]

    def batches(self, lengths: Sequence[int], batch_seconds: float = BATCH_SECONDS) -> Iterator[list[int]]:
        """Row numbers of recordings of so many samples, in the batches that they go through the encoder in."""
        return batches_by_length(lengths, batch_seconds * SAMPLING_RATE, self.equal_lengths_only, self._windowed)

    @torch.inference_mode()
    def states(self, waveforms: Sequence[np.ndarray]) -> list[np.ndarray]:
        """(frames, width) float32 of each recording at the encoder's own frame rate, in one padded batch."""
        if self._windowed:
            return self._windows(waveforms)
        counts = [self.frames_of(len(waveform)) for waveform in waveforms]
        states = self._run(waveforms, padding=True)
        if states.shape[1] < max(counts) or (not self._mel and states.shape[1] > max(counts)):
            raise ValueError(f"{self.features.encoder} gave {states.shape[1]} frames where {max(counts)} were due")
        return [state[:count] for state, count in zip(states, counts, strict=True)]

    def _windows(self, waveforms: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Whisper: windows of 30 s, padded with silence as in its training; the frames over the recording are kept."""
        pieces = [
            waveform[start : start + _WINDOW] for waveform in waveforms for start in range(0, len(waveform), _WINDOW)
        ]
        states = iter(self._run(pieces, padding="max_length"))
        found = []
        for waveform in waveforms:
            parts = [
                next(states)[: self.frames_of(min(_WINDOW, len(waveform) - start))]
                for start in range(0, len(waveform), _WINDOW)
            ]
            found.append(np.concatenate(parts))
        return found

    def _run(self, waveforms: Sequence[np.ndarray], padding: bool | str) -> np.ndarray:
        # Asked for, whatever the feature extractor's own setting: without one it normalises over the padding too.
        masked = {"return_attention_mask": True} if len({len(waveform) for waveform in waveforms}) > 1 else {}
        inputs = self.feature_extractor(
            list(waveforms),
            sampling_rate=SAMPLING_RATE,
            padding=padding,
            return_tensors="pt",
            **({} if self._windowed else masked),
        ).to(self.model.device)
        if self.features.layers == (-1,):
            states = self.model(**inputs).last_hidden_state
        else:
            outputs = self.model(**inputs, output_hidden_states=True)
            # Some normalise after the last layer, and give its states from before that among the hidden ones.
            hidden = (*outputs.hidden_states[:-1], outputs.last_hidden_state)
            states = torch.stack([hidden[layer] for layer in self.features.layers]).mean(dim=0)
        return states.float().cpu().numpy()

    def pooled(self, frames: np.ndarray) -> np.ndarray:
        """(frames, width) at the encoder's rate to what the description says: averaged frames, or one vector."""
        if self.features.pooling == "utterance":
            return frames.mean(axis=0)
        return average_frames(frames, SAMPLING_RATE / self.samples_per_frame, self.features.frame_rate)


class HeldSpeechEncoder(SpeechEncoder):
    """The speech encoder that a model holds: recordings in, out what the model makes of them with it, (frames,
    given width) of all layers that it uses. Batches may be of any lengths.

    A recording longer than the model's `window_seconds` is encoded in windows, as the model was evaluated on it.

    Args:
        model: an `EmoMMForEmotionClassification` that holds its speech encoder.
        feature_extractor: the encoder's own.
    """

    def __init__(self, model: Any, feature_extractor: Any):
        described = SpeechFeatures.from_dict(model.config.speech_encoder)
        super().__init__(model.speech_encoder, feature_extractor, described.encoder, features=described)
        self._holder = model
        seconds = model.config.window_seconds or float("inf")
        seconds = min(seconds, _WINDOW / SAMPLING_RATE) if self._windowed else seconds
        self._longest = None if seconds == float("inf") else max(round(seconds * SAMPLING_RATE), 1)

    @property
    def equal_lengths_only(self) -> bool:
        return False

    def __call__(self, waveforms: Sequence[np.ndarray], batch_seconds: float = BATCH_SECONDS) -> list[np.ndarray]:
        """As in the parent; of a recording in windows, their frames one after the other."""
        return [np.concatenate(parts) for parts in self._in_windows(waveforms, batch_seconds)]

    def heard(self, waveforms: Sequence[np.ndarray]) -> list[list[np.ndarray]]:
        """As in the parent; one for each window, where the model does not take them joined."""
        found = self._in_windows(waveforms, BATCH_SECONDS)
        return [[np.concatenate(parts)] for parts in found] if self._holder.config.windows_joined else found

    def _in_windows(self, waveforms: Sequence[np.ndarray], batch_seconds: float) -> list[list[np.ndarray]]:
        counts = [1 if self._longest is None else -(-len(each) // self._longest) for each in waveforms]
        pieces = [np.array_split(each, max(count, 1)) for each, count in zip(waveforms, counts, strict=True)]
        features = iter(super().__call__([piece for several in pieces for piece in several], batch_seconds))
        return [[next(features) for _ in several] for several in pieces]

    def _run(self, waveforms: Sequence[np.ndarray], padding: bool | str) -> np.ndarray:
        inputs = self.feature_extractor(
            list(waveforms),
            sampling_rate=SAMPLING_RATE,
            padding=padding,
            return_attention_mask=True,
            return_tensors="pt",
        ).to(self.model.device)
        mask = inputs.get("attention_mask")
        states, _ = self._holder.encode_speech(inputs[self.model.main_input_name], mask, self.model)
        return states.float().cpu().numpy()


def samples_per_frame(config: Any, feature_extractor: Any) -> int:
    """How far an encoder's frames are apart, of its configuration and feature extractor."""
    return _HOP if feature_extractor.model_input_names[0] == "input_features" else int(np.prod(config.conv_stride))


def _refuse_missing(name: str, model: PreTrainedModel, missing: set[str]) -> None:
    """Raises ValueError for weights that the checkpoint lacks: transformers makes random ones, with a warning."""
    if "masked_spec_embed" in missing:  # for training alone; random, it would make each load another encoder
        missing.remove("masked_spec_embed")
        with torch.no_grad():
            model.masked_spec_embed.zero_()
    if model.config.is_encoder_decoder:
        missing = {key for key in missing if key.startswith("encoder.")}
    if missing:
        raise ValueError(f"the speech encoder {name!r} lacks {len(missing)} of its weights, such as {min(missing)}")


def _know_emotion2vec() -> None:
    """Registers the native emotion2vec, where this is the package and no copy that travels with a model.

    By name: what a copy imports by statement, transformers wants beside it.
    """
    if not __name__.startswith("transformers_modules"):
        importlib.import_module(".modeling_emotion2vec", __package__)


def batches_by_length(
    lengths: Sequence[int], most: float, equal_only: bool = False, windowed: bool = False
) -> Iterator[list[int]]:
    """Row numbers in batches of neighbours in length, longest first, of at most `most` samples with the padding.

    Args:
        lengths: samples of each recording.
        most: a single recording may be longer.
        equal_only: each batch holds one length.
        windowed: every 30 s begun count as 30 s.
    """
    cost = [-(-length // _WINDOW) * _WINDOW if windowed else length for length in lengths]
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda row: (-cost[row], row)):
        full = batch and (len(batch) + 1) * cost[batch[0]] > most
        if full or (batch and equal_only and lengths[row] != lengths[batch[0]]):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _how_to_convert(name: str) -> str:
    """What to do with emotion2vec as its authors publish it, which is no format of transformers."""
    folder = Path(name)
    published = folder.is_dir() and not (folder / "config.json").exists() and any(folder.glob("*.pt"))
    if not published and not name.lower().startswith(("emotion2vec/", "iic/emotion2vec")):
        return ""
    return "; convert emotion2vec's own files first: python convert_emotion2vec.py --checkpoint X.pt --output DIR"


def weights_digest(model: torch.nn.Module) -> str:
    """sha256 over the parameters, names and values, rounded to float16: the same for copies in other precision."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)}".encode())
        digest.update(value.detach().to(device="cpu", dtype=torch.float16).contiguous().numpy().tobytes())
    return digest.hexdigest()


__all__ = [
    "BATCH_SECONDS",
    "HeldSpeechEncoder",
    "SpeechEncoder",
    "batches_by_length",
    "samples_per_frame",
    "weights_digest",
]
