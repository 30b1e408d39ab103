"""The groups of an optimiser: learning rates that go with the width of a layer, and those of the encoders' own."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from transformers.training_args import OptimizerNames

from .curriculum.arguments import CurriculumTrainingArguments
from .encoder_layers import EncoderLayers

ENCODERS = ("speech", "text")
"""A model holds each as `speech_encoder` or `text_encoder`; its settings are `speech_learning_rate` and so on."""


def encoders_of(model: nn.Module) -> dict[str, nn.Module]:
    """The encoders that a model holds, by the name that their settings begin with."""
    found = {name: getattr(model, f"{name}_encoder", None) for name in ENCODERS}
    return {name: encoder for name, encoder in found.items() if encoder is not None}


def regroup(optimizer: torch.optim.Optimizer, model: nn.Module, args: CurriculumTrainingArguments) -> list[str]:
    """Gives each parameter of an optimiser its learning rate; what has the same rate and options is one group.

    Those of the head go with the width (`lr_base_width`, `lr_width_limit`); an encoder has its own rate, which falls
    by `speech_layer_decay` (or `text_layer_decay`) from each layer to the one below, and its biases and norms have no
    weight decay. The group whose rate is nearest to `learning_rate` comes first: it is the one that is logged.

    Returns of each group, whose it is: "speech", "text", or "" for the head.
    """
    places = {
        id(parameter): (name, height)
        for name, encoder in encoders_of(model).items()
        for parameter, height in heights(encoder).items()
    }
    in_head = [p for group in optimizer.param_groups for p in group["params"] if id(p) not in places]
    matrices = sum(parameter.ndim > 1 for parameter in in_head)
    groups: dict[tuple[Any, ...], dict[str, Any]] = {}
    for group in optimizer.param_groups:
        options = {key: value for key, value in group.items() if key not in ("params", "lr")}
        for parameter in group["params"]:
            name, height = places.get(id(parameter), ("", 0))
            own = dict(options)
            if name:
                rate = _encoder_rate(args, name, height)
                if parameter.ndim < 2:
                    own["weight_decay"] = 0.0
            elif args.optim == OptimizerNames.SGD:  # whose steps have the size of the gradient
                rate = args.learning_rate
            else:
                rate = head_rate(args, parameter, matrices)
            rounded = float(f"{rate:.9e}")  # rates that rounding alone tells apart are one
            key = (bool(name), abs(rounded - args.learning_rate), rounded, name, repr(sorted(own.items())))
            groups.setdefault(key, {**own, "lr": rate, "params": []})["params"].append(parameter)
    optimizer.param_groups.clear()
    for key in sorted(groups):
        optimizer.add_param_group(groups[key])
    return [key[3] for key in sorted(groups)]


def heights(encoder: nn.Module) -> dict[nn.Parameter, int]:
    """How many layers there are above each parameter of an encoder: 0 for those of the last one and what follows it,
    as many as there are layers for what comes before the first. 0 throughout in an encoder of an unknown family."""
    layers = EncoderLayers.of(encoder)
    if layers is None:
        return dict.fromkeys(encoder.parameters(), 0)
    final = {id(parameter) for module in layers.final for parameter in module.parameters()}
    found = {each: 0 if id(each) in final else layers.depth for each in encoder.parameters()}
    for number, layer in enumerate(layers.layers):
        found |= dict.fromkeys(layer.parameters(), layers.depth - 1 - number)
    return found


def _encoder_rate(args: CurriculumTrainingArguments, name: str, height: int) -> float:
    rate = getattr(args, f"{name}_learning_rate") or args.learning_rate
    return rate * getattr(args, f"{name}_layer_decay") ** height


def head_rate(args: CurriculumTrainingArguments, parameter: nn.Parameter, matrices: int) -> float:
    """The highest learning rate of a parameter of the head, which has so many matrices.

    A step of Adam moves each entry by about the rate, whatever the gradient's size, and all in step: what a row of
    n entries gives changes by up to n times the rate at once. Too much of it, and nothing is learned any more; too
    little, and a training of a few hundred steps ends before it is done. So a rate that is right falls with the
    width (Yang et al. 2022, arXiv 2203.03466): a row of fewer than `lr_base_width` inputs takes a rate higher in
    proportion, and n times the rate is at most `lr_width_limit`, over the root of the number of matrices, whose
    changes add up to what the model's output changes by. A vector's rate is limited alone.
    """
    rate, limit = args.learning_rate, args.lr_width_limit
    if not parameter.ndim:
        return rate
    inputs = parameter[0].numel() if parameter.ndim > 1 else len(parameter)
    if parameter.ndim > 1:
        rate *= max(1.0, (args.lr_base_width or 0) / inputs)
        limit = None if limit is None else limit / math.sqrt(matrices)
    return rate if limit is None else min(rate, limit / inputs)


def gradient_norm(parameters: Iterable[nn.Parameter]) -> torch.Tensor | None:
    """The norm of all gradients of the parameters together; None where none has a gradient."""
    gradients = [each.grad for each in parameters if each.grad is not None]
    return torch.nn.utils.get_total_norm(gradients) if gradients else None


def trained_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """The weights and buffers of a model without those of its encoders that training leaves as they were loaded."""
    prefixes = tuple(f"{name}_encoder." for name in encoders_of(model))
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    state = model.state_dict()
    return {name: value for name, value in state.items() if not name.startswith(prefixes or "\0") or name in trained}


def refuse_missing(model: nn.Module, loaded: Any) -> None:
    """Raises ValueError where weights that `trained_state` holds were not loaded, or others were there.

    Args:
        model: they were loaded into.
        loaded: what `load_state_dict` gave.
    """
    wrong = sorted(set(loaded.missing_keys) & trained_state(model).keys()) + sorted(loaded.unexpected_keys)
    if wrong:
        raise ValueError(f"the saved weights are not those of this model: {', '.join(wrong[:3])}")


__all__ = [
    "ENCODERS", "encoders_of", "gradient_norm", "head_rate", "heights", "refuse_missing", "regroup", "trained_state",
]  # fmt: skip
