"""How much each word and each moment bears on what a model says. Travels to the Hub with it."""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch import nn

from .answers import attention_weights as weights_of_attention
from .modalities import modalities_in


def attention_weights(attentions: Sequence[Tensor], inputs: Mapping[str, Tensor], modality: Any) -> dict[str, Any]:
    """As `saliency`, from a fusion's attention: how much the other modalities look at each position of one.

    Args:
        attentions: for each modality (batch, heads, length of the others).
        inputs: of the model.
        modality: of its configuration.
    """
    modalities = modalities_in(modality)
    lengths = [_length(inputs, each.inputs[::2]) for each in modalities]
    names = [each.name for each in modalities]
    arrays = [weights.detach().float().cpu().numpy() for weights in attentions]
    found = weights_of_attention(arrays, lengths, names)
    return {**{name: torch.from_numpy(values) for name, values in found.items()}, "by": "attention"}


def _length(inputs: Mapping[str, Tensor], names: Sequence[str]) -> int:
    """How long the sequence of a modality is: 1 where it is a vector, or is not given."""
    given = next((inputs[name] for name in names if inputs.get(name) is not None), None)
    if given is None or (given.ndim == 2 and given.is_floating_point()):
        return 1
    return given.shape[1]


def saliency(model: nn.Module, inputs: dict[str, Tensor]) -> tuple[Any, dict[str, Any]]:
    """The model's outputs, and how much each position of its inputs bears on the class it chooses.

    |gradient · input| (Shrikumar et al., arXiv 1605.01713), the product over the width with the gradient of the
    likeliest class' logit: of the frames; and of the text encoder's last states, or of its token embeddings where the
    classifier sees the first token's state alone (`text_pooling="cls"`). A row's weights do not depend on the others
    in the batch.

    Where the fusion tells its attention, its mean over the heads takes the gradient's place.

    Returns the outputs, and by the name of each modality (batch, length), None for what was not given, and `by`, which
    says `attention` or `gradient`.
    """
    given, inputs, leaves = inputs, dict(inputs), {}
    modalities = modalities_in(model.config.modality)
    for modality in modalities:
        if modality.features in inputs:
            inputs[modality.features] = leaves[modality.name] = inputs[modality.features].requires_grad_()
        elif modality.tokens is not None and modality.tokens[0] in inputs:
            ids, mask = (inputs.pop(name) for name in modality.tokens)
            if model.config.text_layers != "last" and (embedded := model.embedded(ids, mask)) is not None:
                leaves[modality.name] = embedded.detach().requires_grad_()
                states = model.encode_embedded(leaves[modality.name], mask)
            elif model.config.pooling(modality.name) == "mean":
                states = leaves[modality.name] = model.encode_text(ids, mask).detach().requires_grad_()
            else:
                states, leaves[modality.name] = _states_and_embeddings(model.text_encoder, ids, mask)
            inputs |= {modality.features: states, modality.mask: mask}
    outputs = model(**inputs)
    if outputs.attentions is not None:
        return outputs, attention_weights(outputs.attentions, given, model.config.modality)
    chosen = outputs.logits.max(dim=-1).values.sum()
    gradients = torch.autograd.grad(chosen, list(leaves.values()), allow_unused=True)
    weights: dict[str, Any] = {**dict.fromkeys(each.name for each in modalities), "by": "gradient"}
    for (name, leaf), gradient in zip(leaves.items(), gradients, strict=True):
        product = torch.zeros_like(leaf) if gradient is None else gradient * leaf.detach()
        product = product.unsqueeze(1) if product.ndim == 2 else product  # one vector is a sequence of one
        weights[name] = product.sum(dim=-1).abs()
    return outputs, weights


def _states_and_embeddings(encoder: nn.Module, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The text encoder's last states, with the gradient to its token embeddings, and those."""
    first = torch.zeros_like(mask)
    first[:, 0] = 1
    mask = torch.where(mask.any(dim=1, keepdim=True), mask, first)  # a row without words, masked out later
    caught: list[Tensor] = []

    def catch(module: nn.Module, arguments: tuple, embeddings: Tensor) -> Tensor:
        caught.append(embeddings.detach().requires_grad_())
        return caught[0]

    handle = encoder.get_input_embeddings().register_forward_hook(catch)
    try:
        states = encoder(input_ids=ids, attention_mask=mask).last_hidden_state
    finally:
        handle.remove()
    return states, caught[0]


__all__ = ["attention_weights", "saliency"]
