"""How much each word and each moment bears on what a model says. Travels to the Hub with it."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch import nn


def attention_weights(attentions: Sequence[Tensor]) -> dict[str, Any]:
    """As `saliency`, from a fusion's attention: that of the voice to the tokens, and of the words to the frames."""
    tokens, frames = (weights.detach().mean(dim=1) for weights in attentions)
    return {"tokens": tokens, "frames": frames, "by": "attention"}


def saliency(model: nn.Module, inputs: dict[str, Tensor]) -> tuple[Any, dict[str, Any]]:
    """The model's outputs, and how much each position of its inputs bears on the class it chooses.

    |gradient · input| (Shrikumar et al., arXiv 1605.01713), the product over the width with the gradient of the
    likeliest class' logit: of the frames; and of the text encoder's last states, or of its token embeddings where the
    classifier sees the first token's state alone (`text_pooling="cls"`). A row's weights do not depend on the others
    in the batch.

    Where the fusion tells its attention, its mean over the heads takes the gradient's place.

    Returns the outputs, and `tokens` (batch, tokens) and `frames` (batch, frames), None for what was not given, and
    `by`, which says `attention` or `gradient`.
    """
    inputs, leaves = dict(inputs), {}
    if "audio_features" in inputs:
        inputs["audio_features"] = leaves["frames"] = inputs["audio_features"].requires_grad_()
    if "input_ids" in inputs:
        ids, mask = inputs.pop("input_ids"), inputs.pop("attention_mask")
        if model.config.text_pooling == "mean":
            states = leaves["tokens"] = model.encode_text(ids, mask).detach().requires_grad_()
        else:
            states, leaves["tokens"] = _states_and_embeddings(model.text_encoder, ids, mask)
        inputs |= {"text_features": states, "text_mask": mask}
    outputs = model(**inputs)
    if outputs.attentions is not None:
        return outputs, attention_weights(outputs.attentions)
    chosen = outputs.logits.max(dim=-1).values.sum()
    gradients = torch.autograd.grad(chosen, list(leaves.values()), allow_unused=True)
    weights: dict[str, Any] = {"tokens": None, "frames": None, "by": "gradient"}
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
