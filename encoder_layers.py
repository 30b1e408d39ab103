"""The layers of speech and text encoders, one by one: a part of them can be run, tuned, or left out. Travels.

A family of encoders is described by what comes before its layers, what they are given besides the states, and what
comes after them. Frames and tokens that pad are masked throughout, so that what a recording gives is what it gives
alone, also where the encoder's own code lets padding in: in the group norm of wav2vec2-base and its kin, whose mean
and variance are taken over real samples alone, and between the positional convolutions of data2vec-audio.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_layers import GradientCheckpointingLayer


def lengths_of(frame_mask: Tensor) -> Tensor:
    """(batch, frames) to (batch,) real frames."""
    return frame_mask.sum(dim=1)


class EncoderLayers:
    """An encoder, layer by layer. States are counted as `output_hidden_states` does: 0 is the input of the first
    layer, `depth` the last one's output, after the norm that follows it where there is one.

    Make one with `EncoderLayers.of`. It holds nothing but the encoder, so it can be made anew at each step.

    Args:
        encoder: of one of the families.
    """

    extra = 0
    """States in front of the frames, which `lower` gives and `upper` takes, and which are no frames."""

    def __init__(self, encoder: PreTrainedModel):
        self.encoder = encoder
        self.config = encoder.config

    @staticmethod
    def of(encoder: PreTrainedModel) -> "EncoderLayers | None":
        """The layers of an encoder; None of an unknown family, which can be run whole alone."""
        from .speech_layers import SPEECH_FAMILIES  # they build on this file
        from .text_layers import TEXT_FAMILIES

        family = (SPEECH_FAMILIES | TEXT_FAMILIES).get(encoder.config.model_type)
        return None if family is None or not family.fits(encoder) else family(encoder)

    @classmethod
    def fits(cls, encoder: PreTrainedModel) -> bool:
        """Whether an encoder of one of the family's types has nothing that the family can't say."""
        return True

    # ---- what a family says -----------------------------------------------------------------------------------------

    @property
    def layers(self) -> nn.ModuleList:
        """The layers, in order."""
        raise NotImplementedError

    @property
    def convolutions(self) -> list[nn.Module]:
        """Those on the waveform or mel features, which are left as they are unless asked for."""
        return []

    @property
    def front(self) -> list[nn.Module]:
        """What else comes before the layers: projection, positions, embeddings, and their norms and dropout."""
        raise NotImplementedError

    @property
    def final(self) -> list[nn.Module]:
        """What comes after the layers."""
        return []

    def enter(self, inputs: Tensor, mask: Tensor | None, spec_augment: float = 0.0) -> tuple[Tensor, Tensor]:
        """Inputs to the states before the first layer, (batch, frames, width), and which are real, (batch, frames)."""
        raise NotImplementedError

    def given(self, states: Tensor, frame_mask: Tensor | None) -> dict[str, Any]:
        """What the layers are given besides the states."""
        return {"attention_mask": create_bidirectional_mask(self.config, states, frame_mask)}

    def leave(self, states: Tensor) -> Tensor:
        """The last layer's output to the encoder's."""
        return states

    # ---- what is made of it -----------------------------------------------------------------------------------------

    @property
    def depth(self) -> int:
        """How many layers there are."""
        return len(self.layers)

    @property
    def width(self) -> int:
        """Of the states."""
        return getattr(self.config, "d_model", None) or self.config.hidden_size

    def train(self, mode: bool) -> None:
        """Puts into training what is trained, and all else into evaluation: dropout is off in what stays as it is.

        That is decided for the convolutions, for the rest of the front, for each layer and for the end, each as a
        whole; batch norms keep the mean and variance that they came with.
        """
        whole = mode and all(each.requires_grad for each in self.encoder.parameters())
        self.encoder.train(whole)
        if whole:
            for module in self.encoder.modules():
                module.training = not isinstance(module, nn.modules.batchnorm._BatchNorm)
        if whole or not mode:
            return
        for part in (self.convolutions, self.front, *([layer] for layer in self.layers), self.final):
            if trains(part):
                for module in (each for whole in part for each in whole.modules()):
                    module.training = not isinstance(module, nn.modules.batchnorm._BatchNorm)

    @property
    def checkpoints(self) -> bool:
        """Whether layers are to be checkpointed that the encoder's own code doesn't know how to."""
        return any(
            getattr(layer, "gradient_checkpointing", False) and not isinstance(layer, GradientCheckpointingLayer)
            for layer in self.layers
        )

    def front_parameters(self) -> list[nn.Parameter]:
        """Those of all that comes before the layers."""
        return [each for module in (*self.convolutions, *self.front) for each in module.parameters()]

    def lower(self, inputs: Tensor, mask: Tensor | None, upto: int) -> tuple[Tensor, Tensor]:
        """The states after the layer `upto` (0: before the first), as `upper` goes on from them, and the mask.

        Args:
            inputs: as the encoder takes them: (batch, samples), mel features, or (batch, tokens) ids.
            mask: 1 where they are real, as the encoder's own feature extractor gives it; None where all are.

        Returns (batch, frames, width), before the norm that follows the last layer, and (batch, frames) bool. Of
        emotion2vec, `extra` tokens are in front of the frames.
        """
        found, frame_mask = self.lower_states(inputs, mask, [upto])
        return found[upto], frame_mask

    def lower_states(
        self, inputs: Tensor, mask: Tensor | None, wanted: Sequence[int]
    ) -> tuple[dict[int, Tensor], Tensor]:
        """As `lower`, after several layers in one run, by their number. `shown` makes of them what `states` gives."""
        states, frame_mask = self.enter(inputs, mask)
        found = self._through(states, self._below(states, frame_mask), 0, max(wanted), set(wanted), 0.0)
        narrowed = {layer: self._narrowed(each, frame_mask) for layer, each in found.items()}
        return {layer: each for layer, (each, _) in narrowed.items()}, narrowed[max(wanted)][1]

    def upper(self, states: Tensor, frame_mask: Tensor, start: int) -> tuple[Tensor, ...]:
        """What `lower` gave up to layer `start`, through the layers after it.

        Returns the states of the layers `start` to `depth`, (batch, frames, width) each, without `extra`.
        """
        found = self.states_above(states, frame_mask, start, range(start, self.depth + 1))
        return tuple(found[layer] for layer in range(start, self.depth + 1))

    def states_above(
        self, states: Tensor, frame_mask: Tensor, start: int, wanted: Sequence[int], layer_drop: float = 0.0
    ) -> dict[int, Tensor]:
        """As `upper`, of the `wanted` layers alone, by their number; layers above all of those are not run."""
        states = states.to(self.encoder.dtype)
        found = self._through(states, self.given(states, frame_mask), start, max(wanted), set(wanted), layer_drop)
        return self.shown(found)

    def states(
        self,
        inputs: Tensor,
        mask: Tensor | None,
        wanted: Sequence[int],
        start: int = 0,
        spec_augment: float = 0.0,
        layer_drop: float = 0.0,
    ) -> tuple[dict[int, Tensor], Tensor]:
        """The whole way: inputs to the states of the `wanted` layers, by their number, and the mask of the frames.

        Args:
            inputs, mask: as in `lower`.
            start: the layers up to there run as `lower` does, those after it as `upper`.
            spec_augment: share of the frames to mask.
            layer_drop: share of the layers that are trained to pass over, where they are in training.
        """
        states, frame_mask = self.enter(inputs, mask, spec_augment)
        start = min(start, max(wanted))
        below = {layer for layer in wanted if layer < start} | {start}
        found = self._through(states, self._below(states, frame_mask), 0, start, below, layer_drop)
        narrowed = {layer: self._narrowed(each, frame_mask) for layer, each in found.items()}
        states, frame_mask = narrowed[start]
        shown = self.shown({layer: each for layer, (each, _) in narrowed.items() if layer in wanted})
        above = [layer for layer in wanted if layer > start]
        if above:
            shown |= self.states_above(states, frame_mask, start, above, layer_drop)
        return shown, frame_mask[:, self.extra :]

    def _below(self, states: Tensor, frame_mask: Tensor) -> dict[str, Any]:
        """What the layers are given that run as the encoder was trained."""
        return self.given(states, frame_mask)

    def _narrowed(self, states: Tensor, frame_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Without what no row has."""
        return states, frame_mask

    def shown(self, found: dict[int, Tensor]) -> dict[int, Tensor]:
        """As the encoder shows its states: after the final norm, without `extra`."""
        last = self.depth
        return {
            layer: (self.leave(states) if layer == last else states)[:, self.extra :]
            for layer, states in found.items()
        }

    def _through(
        self, states: Tensor, given: dict[str, Any], start: int, end: int, wanted: set[int], layer_drop: float
    ) -> dict[int, Tensor]:
        """The states of the `wanted` layers on the way from layer `start` to `end`, as they come out of them."""
        found = {start: states} if start in wanted else {}
        for number in range(start, end):
            if not self._passed_over(number, layer_drop):
                states = self._run(number, states, given)
            if number + 1 in wanted:
                found[number + 1] = states
        return found

    def _passed_over(self, number: int, layer_drop: float) -> bool:
        layer = self.layers[number]
        return bool(layer_drop) and layer.training and float(torch.rand(())) < layer_drop

    def _run(self, number: int, states: Tensor, given: dict[str, Any]) -> Tensor:
        """One layer; one that transformers can't checkpoint by itself is checkpointed here where that is asked."""
        layer = self.layers[number]
        if torch.is_grad_enabled() and not (states.requires_grad or trains([layer])):
            with torch.no_grad():  # some are quicker so
                return self._run(number, states, given)
        asked = not isinstance(layer, GradientCheckpointingLayer) and getattr(layer, "gradient_checkpointing", False)
        if asked and layer.training and torch.is_grad_enabled():
            found = checkpoint(layer, states, use_reentrant=False, **self.of_layer(number, given))
        else:
            found = layer(states, **self.of_layer(number, given))
        return found[0] if isinstance(found, tuple) else found

    def of_layer(self, number: int, given: dict[str, Any]) -> dict[str, Any]:
        """What of `given` a layer takes."""
        return given


def trains(modules: Sequence[nn.Module]) -> bool:
    """Whether any parameter of the modules is trained."""
    return any(parameter.requires_grad for module in modules for parameter in module.parameters())


def recorded(modules: Sequence[nn.Module], inputs: Tensor) -> torch.set_grad_enabled:
    """A context in which operations are recorded for the gradient where the modules, or the inputs, need it."""
    return torch.set_grad_enabled(torch.is_grad_enabled() and (inputs.requires_grad or trains(modules)))


__all__ = ["EncoderLayers", "lengths_of", "recorded", "trains"]
