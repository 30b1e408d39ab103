"""Which experiments can't be stacked, and what to write instead: found before anything trains."""

import re
from collections.abc import Mapping
from typing import Any

import torch

from ..configuration_emomm import EmoMMConfig
from ..curriculum.arguments import CurriculumTrainingArguments
from ..errors import InputError
from ..errors import show
from ..modalities import modalities_in
from ..modeling_emomm import EmoMMForEmotionClassification
from .draws import Noting
from .stacked_model import StackedModel
from .stacked_model import buffers_of
from .stacked_model import losses
from .stacked_model import sites_of
from .stacked_optimizer import ELEMENTWISE

_TAKEN = re.compile(
    r"optim(_args)?|adam_(beta1|beta2|epsilon)|max_grad_norm|warmup_(steps|ratio)|gradient_accumulation_steps|"
    r"per_device_eval_batch_size|log_.*|logging_.*|dataloader_(?!drop_last).*|disable_tqdm|skip_memory_metrics|"
    r"tf32|use_cpu|run_name"
)
"""Fields of TrainingArguments whose meaning a stack keeps."""


def check_arguments(
    where: str, arguments: CurriculumTrainingArguments, given: Mapping[str, Any], processes: int
) -> None:
    """Raises InputError for a Trainer's arguments that a stack can't keep to.

    Args:
        where: the experiment, in words.
        arguments: of one of its runs.
        given: what a recipe says of TrainingArguments beside its own settings.
        processes: of this launch.
    """
    if processes > 1 or arguments.n_gpu > 1:
        many = f"{processes} processes" if processes > 1 else f"{arguments.n_gpu} GPUs in one process"
        right = "one process" if processes > 1 else "one GPU (CUDA_VISIBLE_DEVICES=0)"
        raise InputError(f"{where}: stack is true, and there are {many}: start {right}, or set stack to false")
    if arguments.short_last_batch and arguments.gradient_accumulation_steps > 1:
        raise InputError(
            f"{where}: stack is true, short_last_batch too, and gradient_accumulation_steps is "
            f"{arguments.gradient_accumulation_steps}: set one of them to false, or to 1"
        )
    if arguments.optim not in ELEMENTWISE:
        names = ", ".join(name.value for name in ELEMENTWISE)
        raise InputError(
            f"{where}: stack is true, and optim is {show(str(arguments.optim.value))}, which may look at more than "
            f"single weights: choose {names}, or set stack to false"
        )
    for name, value in given.items():
        if not _TAKEN.fullmatch(name):
            raise InputError(
                f"{where}: stack is true, and {name} is {show(value)}, which is for runs that train alone: leave it "
                "out, or set stack to false"
            )


def check_model(where: str, config: EmoMMConfig) -> None:
    """Raises InputError for a model that can't be called for several runs at once: of a fusion of the user's own."""
    try:
        with torch.random.fork_rng(devices=[]):
            _try(config)
    except Exception as error:  # noqa: BLE001 a user's fusion can raise anything
        said = " ".join(str(error).split())[:300]
        raise InputError(
            f"{where}: stack is true, and the fusion {config.fusion_type!r} can't be stacked ({said}): torch.vmap "
            "takes functions without .item(), without branches on values, and randomness from F.dropout, torch.rand "
            "and torch.randint alone; or set stack to false"
        ) from error


def _try(config: EmoMMConfig) -> None:
    """Trains two runs for a step on zeros."""
    model, run = StackedModel(config).train(), EmoMMForEmotionClassification(config)
    weights = {name: torch.stack([value.detach()] * 2) for name, value in run.named_parameters()}
    trained = {name: weights[name].requires_grad_() for name, value in run.named_parameters() if value.requires_grad}
    weights |= {name: torch.stack([value] * 2) for name, value in buffers_of(run).items()}
    found = modalities_in(config.modality)
    widths = {modality.features: config.given_width(modality.name) for modality in found}
    one = {name: values[0].detach() for name, values in weights.items()}
    sizes = tuple(range(3, 4 + len(widths)))
    sites = sites_of(model, one, widths, sequences=True)
    draws = sites.draw([torch.Generator().manual_seed(seed) for seed in range(2)], [sizes] * 2, sizes)
    inputs = {
        name: torch.zeros(2, sizes[0], length, width)
        for (name, width), length in zip(widths.items(), sizes[1:], strict=True)
    }
    labels = torch.zeros((2, sizes[0]), dtype=torch.int64)
    ratings = {"vad": torch.ones(2, sizes[0], 3)} if config.gives_vad else {}
    loss = losses(model, weights, {**inputs, **ratings, "labels": labels}, draws)
    gradients = torch.autograd.grad(loss.sum(), list(trained.values()), allow_unused=True)
    unused = [name for name, gradient in zip(trained, gradients, strict=True) if gradient is None]
    if unused:
        raise ValueError(f"its {unused[0]} has no part in the loss")
    model.eval()
    with torch.no_grad():
        model.drawing(Noting(), {name: values[0] for name, values in inputs.items()}, one)


__all__ = ["check_arguments", "check_model"]
