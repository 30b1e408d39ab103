"""One model that stands for all runs of a stack: called with the weights of each, side by side."""

from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from ..configuration_emomm import EmoMMConfig
from ..fusions import ModalityState
from ..modeling_emomm import BYTE_STEP
from ..modeling_emomm import EmoMMForEmotionClassification
from .draws import Draws
from .draws import Given
from .draws import Noting
from .draws import Site
from .draws import Sites


class StackedModel(EmoMMForEmotionClassification):
    """The model of a run, but for what it takes from outside: its draws, and the deviation of its noise, which runs
    differ in. Its own weights are never used.

    Args:
        config: of any of the runs.
    """

    def __init__(self, config: EmoMMConfig):
        super().__init__(config)
        for name in config.feature_noise or {}:
            self.register_buffer(noise_name(name), torch.zeros(()))
        self.draws: Draws | None = None

    def _moved(self, modality: str, shift: Tensor, features: Tensor, deviation: float) -> Tensor:
        step = self.get_buffer(noise_name(modality)).float() * BYTE_STEP
        noise = self.draws.bytes((len(features), 1, features.shape[-1]), features.device)
        return torch.addcmul(shift + step / 2, noise, step)

    def _refuse_missing(self, states: dict[str, ModalityState]) -> None:
        """Nothing: what a run reads was looked at before it began, and a look waits for the device."""

    def drawing(self, draws: Draws, inputs: dict[str, Tensor], weights: dict[str, Tensor]) -> Any:
        """What the model gives for inputs, with weights and buffers that are given, and random numbers of `draws`."""
        self.draws = draws
        with draws:
            return functional_call(self, weights, (), inputs)


def noise_name(modality: str) -> str:
    """The buffer of the deviation of a modality's noise."""
    return f"{modality}_noise"


def buffers_of(model: EmoMMForEmotionClassification) -> dict[str, Tensor]:
    """The buffers of a run's model as a `StackedModel` has them."""
    noise = {
        noise_name(name): torch.tensor(float(level)) for name, level in (model.config.feature_noise or {}).items()
    }
    return {**dict(model.named_buffers()), **noise}


def losses(model: StackedModel, weights: dict[str, Tensor], inputs: dict[str, Tensor], draws: list[Tensor]) -> Tensor:
    """(K,): the training loss of each run on its batch.

    Args:
        weights: parameters and buffers of all runs, (K, ...) each.
        inputs: of the model, (K, batch, ...) each, labels among them.
        draws: of each site, (K, ...).
    """

    def one(weights: dict[str, Tensor], inputs: dict[str, Tensor], draws: list[Tensor]) -> Tensor:
        return model.drawing(Given(draws), inputs, weights).loss

    return torch.vmap(one, randomness="error")(weights, inputs, draws)


def predictions(model: StackedModel, weights: dict[str, Tensor], inputs: dict[str, Tensor]) -> Tensor:
    """(K, batch, classes): the logits of each run for its rows, of a model in evaluation mode."""

    def one(weights: dict[str, Tensor], inputs: dict[str, Tensor]) -> Tensor:
        return model.drawing(Given(()), inputs, weights).logits

    with torch.no_grad():
        return torch.vmap(one, randomness="error")(weights, inputs)


def sites_of(model: StackedModel, weights: dict[str, Tensor], vectors: dict[str, int], sequences: bool) -> Sites:
    """Where the model draws in training.

    Args:
        weights: of one run.
        vectors: the width of each input.
        sequences: whether inputs are (batch, length, width) rather than (batch, width).

    Raises ValueError as `Sites.found`.
    """
    device = next(iter(weights.values())).device

    def call(sizes: tuple[int, ...]) -> list[Site]:
        rows, *lengths = sizes
        lengths = lengths or [None] * len(vectors)
        inputs = {
            name: torch.zeros((rows, width) if length is None else (rows, length, width), device=device)
            for (name, width), length in zip(vectors.items(), lengths, strict=True)
        }
        noting = Noting()
        with torch.no_grad():
            model.drawing(noting, inputs, weights)
        return noting.sites

    return Sites.found(call, 1 + (len(vectors) if sequences else 0))


__all__ = ["StackedModel", "buffers_of", "losses", "noise_name", "predictions", "sites_of"]
