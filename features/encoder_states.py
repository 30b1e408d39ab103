"""Which states of a frozen encoder are kept, and how they are made: of one layer or several, for words and voice."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from ..encoder_layers import EncoderLayers


@dataclass(frozen=True)
class WhichStates:
    """States of an encoder.

    Args:
        layers: their numbers, ascending, as `output_hidden_states` counts them.
        side_by_side: all of them, in the last dimension; else their mean.
        below: of one layer, as the layers above it go on from: before the norm that follows the last one, with the
            tokens in front of the frames where the encoder has any.
        pooled: over the frames or tokens that are real, as one vector: their `mean`, or `cls`, the first; "" as they
            are.
    """

    layers: tuple[int, ...]
    side_by_side: bool = False
    below: bool = False
    pooled: str = ""

    @classmethod
    def read(cls, layers: str | Sequence[int], depth: int, pooled: str = "") -> "WhichStates":
        """What a model reads of an encoder of that depth.

        Args:
            layers: `last`, `mean` or `weighted`, or numbers.
        """
        wanted = (depth,) if layers == "last" else tuple(range(depth + 1))
        if not isinstance(layers, str):
            wanted = tuple(sorted({layer if layer >= 0 else depth + 1 + layer for layer in layers}))
        return cls(wanted, side_by_side=layers == "weighted", pooled=pooled)

    @classmethod
    def under(cls, layer: int) -> "WhichStates":
        """What the layers above this one go on from."""
        return cls((layer,), below=True)

    def __str__(self) -> str:
        parts = [",".join(map(str, self.layers))]
        parts += [name for name in ("side_by_side", "below") if getattr(self, name)]
        return " ".join([*parts, self.pooled]).strip()

    def of_row(self, states: np.ndarray) -> np.ndarray:
        """What is kept of a row's states (length, dim): all, or one vector (1, dim)."""
        if self.pooled == "cls":
            return states[:1]
        return states.mean(axis=0, keepdims=True) if self.pooled else states


def states_of(
    encoder: PreTrainedModel, inputs: Tensor, mask: Tensor | None, which: WhichStates
) -> tuple[Tensor, Tensor | None]:
    """The states of a batch, float32 (batch, frames, dim), on the encoder's device, and which frames are real.

    Args:
        encoder: in evaluation mode.
        inputs: as the encoder takes them: waveforms, mel features or token ids.
        mask: 1 where they are real; None where all are.

    Returns the mask (batch, frames) bool; None of an encoder of an unknown family, which runs whole by its own code.
    """
    return several_states_of(encoder, inputs, mask, [which])[0]


# Not in inference mode: what an encoder's code keeps from it, such as its positions, could never be trained with.
@torch.no_grad()
def several_states_of(
    encoder: PreTrainedModel, inputs: Tensor, mask: Tensor | None, wanted: Sequence[WhichStates]
) -> list[tuple[Tensor, Tensor | None]]:
    """As `states_of`, of several kinds from one run of the encoder: each has the bits that it would have alone."""
    layers = EncoderLayers.of(encoder)
    if layers is None:
        if any(which.below for which in wanted):
            raise ValueError(f"a {encoder.config.model_type} model can't be run in parts")
        whole = _whole(encoder, inputs, mask)
        return [(_joined(whole, which), None) for which in wanted]
    lower, real = layers.lower_states(inputs, mask, sorted({layer for which in wanted for layer in which.layers}))
    shown = layers.shown({layer: lower[layer] for which in wanted if not which.below for layer in which.layers})
    return [
        (lower[which.layers[0]].float(), real) if which.below else (_joined(shown, which), real[:, layers.extra :])
        for which in wanted
    ]


def _joined(found: dict[int, Tensor], which: WhichStates) -> Tensor:
    states = [found[layer].float() for layer in which.layers]
    if which.side_by_side:
        return torch.cat(states, dim=-1)
    return states[0] if len(states) == 1 else torch.stack(states).mean(dim=0)


def _whole(encoder: PreTrainedModel, inputs: Tensor, mask: Tensor | None) -> dict[int, Tensor]:
    masked = {} if mask is None else {"attention_mask": mask}
    outputs = encoder(**{encoder.main_input_name: inputs}, **masked, output_hidden_states=True)
    # Some normalise after the last layer, and give its states from before that among the hidden ones.
    return dict(enumerate((*outputs.hidden_states[:-1], outputs.last_hidden_state)))


__all__ = ["WhichStates", "several_states_of", "states_of"]
