"""How much each word and each moment bears on what a model says. Travels to the Hub with it."""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch import nn

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
    seen: dict[str, list[Tensor]] = {each.name: [] for each in modalities}
    for i, weights in enumerate(attentions):
        others = [j for j in range(len(modalities)) if j != i]
        shares = weights.detach().mean(dim=1).split([lengths[j] for j in others], dim=1)
        for j, share in zip(others, shares, strict=True):
            seen[modalities[j].name].append(share)
    mean = {name: shares[0] if len(shares) == 1 else torch.stack(shares).mean(dim=0) for name, shares in seen.items()}
    return {**mean, "by": "attention"}


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


def merge_tokens(
    text: str, word_ids: Sequence[int | None], offsets: Sequence[tuple[int, int]], weights: Sequence[float]
) -> list[tuple[int, int, float]]:
    """Tokens to words: (first character, end, sum of the weights) of each, in their order.

    Tokens of one `word_ids` entry are one word, and so are neighbours without a space between (`can` `'` `t` `!`),
    unless letters meet there, as in scripts that need no spaces. Special tokens have no entry, and are left out.
    """
    spans: list[tuple[int, int, float]] = []
    last = None
    for word, (start, end), weight in zip(word_ids, offsets, weights, strict=False):  # the weights are padded
        while start < end and text[start].isspace():
            start += 1
        if word is None or start >= end:
            continue
        touching = spans and start == spans[-1][1] and not text[start - 1 : start + 1].isalpha()
        if spans and (word == last or touching):
            first, before, sum_before = spans[-1]
            spans[-1] = (first, max(end, before), sum_before + float(weight))
        else:
            spans.append((start, end, float(weight)))
        last = word
    return spans


def shares(weights: Sequence[float]) -> list[float]:
    """The weights brought to a sum of 1; as they are where all are 0, and so nothing is known."""
    total = float(sum(weights))
    return [float(weight) / total if total > 0 else 0.0 for weight in weights]


__all__ = ["attention_weights", "merge_tokens", "saliency", "shares"]
