"""What made voice features, written down: it goes with them into data sets, models, results and cards. Travels."""

from collections.abc import Mapping
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

POOLINGS = ("frames", "utterance")
SIDECAR = "speech_encoder.json"
"""The file beside a data set's features that describes what made them."""


class WrongEncoder(ValueError):
    """An encoder that did not make the features that a model was trained on."""


@dataclass(frozen=True)
class SpeechFeatures:
    """What made the voice features of a corpus or model.

    Args:
        encoder: its id on the Hub, or the last part of a local path.
        revision: commit on the Hub, "" where there is none.
        weights: sha256 of the encoder's weights rounded to float16 (so that copies of another precision are the
            same), "" where it is not known.
        model_type: architecture, as in the encoder's configuration.
        width: of its states.
        num_layers: hidden layers.
        layers: of the states, counted as `output_hidden_states` does (0 is the input of the first layer, -1 the last
            layer's output); of several, their mean.
        pooling: `frames`, or `utterance` (their mean).
        frame_rate: frames a second, averaged to where that is less than the encoder's; 0 for utterances.
        sampling_rate: of the recordings, in Hz.
        trained_with_labels: whether the weights were trained with the emotion labels of corpora, as emotion2vec+ was;
            None where that is not known.
    """

    encoder: str
    model_type: str
    width: int
    num_layers: int
    layers: tuple[int, ...] = (-1,)
    pooling: str = "frames"
    frame_rate: float = 50.0
    revision: str = ""
    weights: str = ""
    sampling_rate: int = 16000
    trained_with_labels: bool | None = None

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> "SpeechFeatures":
        """As `to_dict` gives it. Raises ValueError for unknown or missing fields, and for values out of range."""
        known = {f.name: f for f in fields(cls)}
        unknown = sorted(set(given) - set(known))
        missing = sorted({"encoder", "model_type", "width", "num_layers"} - set(given))
        if unknown or missing:
            raise ValueError(
                f"a speech encoder is described by {', '.join(known)}; "
                + (f"{', '.join(unknown)} is none of them" if unknown else f"{', '.join(missing)} is missing")
            )
        labelled = given.get("trained_with_labels")
        if not (labelled is None or isinstance(labelled, bool)):
            raise ValueError(f"speech encoder: trained_with_labels is {labelled!r}, of the wrong type")
        for name, value in given.items():
            if name == "trained_with_labels":
                continue
            kind = {"layers": (list, tuple), "frame_rate": (int, float)}.get(name, (type(known[name].default), int))
            kind = str if name in ("encoder", "model_type", "pooling", "revision", "weights") else kind
            if not isinstance(value, kind) or isinstance(value, bool):
                raise ValueError(f"speech encoder: {name} is {value!r}, of the wrong type")
        if given.get("pooling", "frames") not in POOLINGS:
            raise ValueError(f"speech encoder: pooling is {given['pooling']!r}; it can be {', '.join(POOLINGS)}")
        depth, layers = given["num_layers"], given.get("layers", (-1,))
        wrong = [name for name in ("width", "num_layers", "sampling_rate") if given.get(name, 1) < 1]
        wrong += ["frame_rate"] if not 0 <= given.get("frame_rate", 50.0) < float("inf") else []
        if not layers or any(type(layer) is not int or not -depth - 1 <= layer <= depth for layer in layers):
            wrong.append("layers")
        if wrong:
            raise ValueError(f"speech encoder: {wrong[0]} is {given[wrong[0]]!r}, out of range")
        return cls(**{**given, "layers": tuple(given.get("layers", (-1,)))})

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**asdict(self), "layers": list(self.layers)}

    def in_words(self) -> str:
        """For cards and results."""
        of = [f"revision {self.revision[:12]}"] if self.revision else []
        of += [f"weights sha256 {self.weights[:12]}"] if self.weights else []
        if self.layers == (-1,):
            states = "last hidden states"
        else:
            states = f"{'mean of layers' if len(self.layers) > 1 else 'layer'} {', '.join(map(str, self.layers))}"
        rate = "mean over the recording" if self.pooling == "utterance" else f"{self.frame_rate:g} Hz"
        made = f" ({', '.join(of)})" if of else ""
        return f"{self.encoder}{made}, {states}, {rate}"

    def refuse_other(self, other: "SpeechFeatures") -> None:
        """Raises WrongEncoder where `other` is not the same encoder.

        The weights decide where both are known; else the names, and for a copy in a local folder the architecture.
        """
        mine, theirs = self._named(), other._named()
        if self.weights and other.weights:
            if self.weights != other.weights:
                raise WrongEncoder(f"the features of this model were made by {mine}, not by {theirs}")
            return
        shape = (self.model_type, self.width, self.num_layers)
        same_name = Path(self.encoder).name.lower() == Path(other.encoder).name.lower()
        if shape != (other.model_type, other.width, other.num_layers) or ("/" in other.encoder and not same_name):
            raise WrongEncoder(f"the features of this model were made by {mine}, not by {theirs}")

    def refuse_other_states(self, other: "SpeechFeatures") -> None:
        """Raises WrongEncoder as `refuse_other` does, and where other states of the same encoder were kept."""
        self.refuse_other(other)
        kept = []
        for each in (self, other):
            layers = tuple(layer if layer >= 0 else each.num_layers + 1 + layer for layer in each.layers)
            kept.append((layers, each.pooling, each.frame_rate))
        if kept[0] != kept[1]:
            raise WrongEncoder(f"the features of this model are {self.in_words()}; these are {other.in_words()}")

    def _named(self) -> str:
        digest = f", weights {self.weights[:12]}" if self.weights else ""
        return f"{self.encoder} ({self.model_type}, {self.width} wide, {self.num_layers} layers{digest})"


def average_frames(frames: np.ndarray, rate: float, target: float) -> np.ndarray:
    """(frames, width) at `rate` Hz averaged to `target` Hz: frame i of the result is the mean of those that begin in
    its 1 / target seconds; the last one may have fewer."""
    if target >= rate:
        return frames
    group = np.floor(np.arange(len(frames)) * (target / rate) + 1e-9).astype(np.int64)
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    sizes = np.diff(np.append(starts, len(frames)))
    return (np.add.reduceat(frames, starts, axis=0, dtype=np.float64) / sizes[:, None]).astype(np.float32)


__all__ = ["POOLINGS", "SIDECAR", "SpeechFeatures", "WrongEncoder", "average_frames"]
