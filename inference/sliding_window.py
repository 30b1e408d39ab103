"""A sliding window through a speech encoder, at the cost of the new part where the encoder allows it.

What an encoder allows, by what a frame of its states depends on:

| encoder | convolutions | transformer |
|---|---|---|
| emotion2vec; wav2vec2, HuBERT, WavLM, Data2Vec ... with layer norm in the convolutions | new part | window |
| those with group norm there, over all frames (wav2vec2-base, hubert-base, wavlm-base) | window | window |
| w2v-BERT and others on mel features, which cost next to nothing | window | window |
| Whisper | 30 s | 30 s |

In every one of them each frame attends to all others, the later ones too, so that each new frame changes all states:
the transformer has to see the whole window, and nothing exact can be kept of it. (Keys and values of old frames could
be kept; their states would be those of another model than the one that the features for training came from.)

The convolutions (kernels of 400 samples in all, every 320) see neither the window's edges nor other frames, so their
frames are kept: this is exact. But most encoders take a waveform that is brought to mean 0 and deviation 1 over the
whole recording. Over a window these two numbers change with each hop, and every frame with them. So they are held
while the window's own are near (`HELD_DB`, `HELD_MEAN`), and taken anew, with all frames, when they are not. What a
window gives is then what it gives alone when it is normalised with the held numbers; against its own numbers the
difference is small, since the first layer norm takes the level out again (the first convolution is linear): see
`benchmarks/live.py` for how small. `exact` leaves all that: each window is encoded whole, as a recording of its own.
"""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch import nn
from transformers import BatchFeature
from transformers import PreTrainedModel

from ..speech_encoders import SpeechEncoder

HELD_DB = 1.0
"""How far the level of a window may be from the one its waveform is normalised with."""
HELD_MEAN = 0.01
"""The same for its mean, in deviations."""

_EPSILON = 1e-5  # that emotion2vec adds to the variance of a waveform


class KeptConvolutions(nn.Module):
    """An encoder's convolutions, which compute only the frames of a window that they have not kept.

    Args:
        convolutions: (1, samples) to (1, channels, frames), without padding.
        step: samples a frame advances.
        reach: samples a frame sees.

    Attributes:
        start: number, in the stream, of the first sample of the window that is given next.
        computed: frames computed so far, in place of being taken from those kept.
    """

    def __init__(self, convolutions: Callable[[Tensor], Tensor], step: int, reach: int):
        super().__init__()
        self.convolutions = convolutions
        self.step, self.reach = step, reach
        self.start = 0
        self.computed = 0
        self._kept: Tensor | None = None  # (1, channels, frames)
        self._kept_start = 0

    def forget(self) -> None:
        """Keeps nothing of what it has seen."""
        self._kept = None

    def forward(self, waveform: Tensor) -> Tensor:
        """(1, samples), the window that begins at `start`, to (1, channels, frames)."""
        offset = self.start - self._kept_start
        if self._kept is None or offset < 0 or offset % self.step:
            self._kept = None
        else:
            self._kept = self._kept[..., offset // self.step :]
        done = 0 if self._kept is None else self._kept.shape[-1]
        parts = [self._kept] if done else []
        if (waveform.shape[-1] - self.reach) // self.step + 1 > done or not done:
            parts.append(self.convolutions(waveform[:, done * self.step :]))
            self.computed += parts[-1].shape[-1]
        self._kept, self._kept_start = torch.cat(parts, dim=-1), self.start
        return self._kept


class _HeldNormalisation:
    """An encoder's feature extractor with the mean and deviation of an earlier window.

    Args:
        extractor: of the encoder.
        in_model: the model normalises, as emotion2vec, and not the extractor.
    """

    def __init__(self, extractor: Any, in_model: bool):
        self.extractor = extractor
        self.in_model = in_model
        self.model_input_names = extractor.model_input_names
        self.sampling_rate = extractor.sampling_rate
        self.mean, self.deviation = 0.0, 0.0

    def own(self, samples: np.ndarray) -> tuple[float, float]:
        """Mean and deviation that these samples would be normalised with; (0, 1) where they are left alone."""
        if self.in_model:
            return float(samples.mean(dtype=np.float64)), float(np.sqrt(samples.var(dtype=np.float64) + _EPSILON))
        given = np.asarray(self.extractor(samples, sampling_rate=self.sampling_rate)["input_values"][0], np.float64)
        low, high = int(samples.argmin()), int(samples.argmax())
        span = given[high] - given[low]
        if span == 0:
            return float(samples.mean()), 0.0
        deviation = (float(samples[high]) - float(samples[low])) / span
        return float(samples[high]) - deviation * given[high], deviation

    def hold(self, mean: float, deviation: float) -> bool:
        """Whether what is held is near enough to these; if not, these are held from now on."""
        near = self.deviation > 0 and deviation > 0
        near = near and abs(20 * np.log10(deviation / self.deviation)) <= HELD_DB
        near = near and abs(mean - self.mean) <= HELD_MEAN * self.deviation
        if not near:
            self.mean, self.deviation = mean, deviation
        return near

    def __call__(self, waveforms: list[np.ndarray], **options: Any) -> BatchFeature:
        """As the extractor, for one waveform."""
        values = (waveforms[0] - np.float32(self.mean)) / np.float32(self.deviation or 1.0)
        return BatchFeature({"input_values": torch.from_numpy(values)[None]})


class WindowEncoder:
    """A speech encoder for windows that slide along a stream.

    Args:
        encoder: as for recordings; it is left as it is.
        exact: each window is encoded whole, as a recording of its own; see above.

    Attributes:
        reuses: whether frames of the convolutions are kept from window to window. That they may be is tried out, not
            read from a list: they must be the same from a part of a sound as from the whole.
        step: samples by whose multiples windows must begin for that; 1 where nothing is kept.
    """

    def __init__(self, encoder: SpeechEncoder, exact: bool = False):
        self.features = encoder.features
        self._encoder = encoder
        self._kept: KeptConvolutions | None = None
        if exact or not _are_local(encoder):
            return
        # The same weights in a model of its own: its convolutions are replaced, and its input is normalised as held.
        of_emotion2vec = encoder.model.config.model_type == "emotion2vec"
        in_model = of_emotion2vec and encoder.model.config.normalize
        self._kept = KeptConvolutions(_convolutions(encoder.model), encoder.samples_per_frame, _reach(encoder))
        self._held = _HeldNormalisation(encoder.feature_extractor, in_model)
        model = copy.copy(encoder.model)
        if of_emotion2vec:
            kept = self._kept
            model._local_features = lambda waveforms, lengths, frames: kept(waveforms).transpose(1, 2)
        else:
            model._modules = {**model._modules, "feature_extractor": self._kept}
        self._encoder = copy.copy(encoder)
        self._encoder.feature_extractor, self._encoder.model = self._held, model

    @property
    def reuses(self) -> bool:
        return self._kept is not None

    @property
    def step(self) -> int:
        return self._kept.step if self.reuses else 1

    @property
    def computed(self) -> int | None:
        """Frames of the convolutions that were computed so far; None where none are kept."""
        return self._kept.computed if self.reuses else None

    def forget(self) -> None:
        """Begins anew: the next window has nothing before it."""
        if self.reuses:
            self._kept.forget()
            self._held.mean, self._held.deviation = 0.0, 0.0

    def __call__(self, samples: np.ndarray, start: int) -> np.ndarray:
        """The features of a window: (frames, width), or (width,) for utterances.

        Args:
            samples: (n,) float32 at `features.sampling_rate`.
            start: number of the first of them in the stream.
        """
        if self.reuses:
            self._kept.start = start
            if not self._held.hold(*self._held.own(samples)):
                self._kept.forget()
        return self._encoder.pooled(self._encoder.states([samples])[0])


def _reach(encoder: SpeechEncoder) -> int:
    """Samples that a frame of the convolutions sees: the fewest that give one."""
    config, samples = encoder.model.config, 1
    for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
        samples = (samples - 1) * stride + kernel
    return samples


def _convolutions(model: PreTrainedModel) -> Callable[[Tensor], Tensor] | None:
    """The convolutions of an encoder, (1, samples) to (1, channels, frames); None where it has none on waveforms."""
    if model.config.model_type == "emotion2vec":
        return lambda waveform: torch.cat(model._pieces(waveform[0])).T[None]
    found = getattr(model, "feature_extractor", None)
    return found if isinstance(found, nn.Module) else None


@torch.inference_mode()
def _are_local(encoder: SpeechEncoder) -> bool:
    """Whether the encoder has convolutions on the waveform whose frames depend on nothing but their own samples."""
    convolutions = _convolutions(encoder.model)
    if convolutions is None or encoder.feature_extractor.model_input_names[0] != "input_values":
        return False
    step, reach = encoder.samples_per_frame, _reach(encoder)
    sound = torch.randn(1, reach + 19 * step, generator=torch.Generator().manual_seed(0))
    sound = (sound * torch.linspace(0.1, 1, sound.shape[-1])).to(encoder.model.device)
    whole, part = convolutions(sound), convolutions(sound[:, 10 * step :])
    return whole.shape[-1] == 20 and part.shape[-1] == 10 and bool((whole[..., 10:] - part).abs().max() < 1e-4)


__all__ = ["HELD_DB", "HELD_MEAN", "KeptConvolutions", "WindowEncoder"]
