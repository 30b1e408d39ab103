"""Learning-rate schedules that transformers lacks, each a multiplier of the learning rate at an optimiser step."""

import math
from collections.abc import Callable

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

Multiplier = Callable[[int], float]


def step_schedule(steps_per_epoch: int, step_size: int = 10, gamma: float = 0.1) -> Multiplier:
    """Falls by `gamma` every `step_size` epochs."""
    return lambda step: gamma ** (step // steps_per_epoch // step_size)


def exponential_schedule(steps_per_epoch: int, gamma: float = 0.95) -> Multiplier:
    """Falls by `gamma` every epoch."""
    return lambda step: gamma ** (step // steps_per_epoch)


def cyclic_schedule(
    steps_per_epoch: int, learning_rate: float, max_lr: float = 1e-3, step_size_up_epochs: int = 10
) -> Multiplier:
    """A triangle between `learning_rate` and `max_lr`, up in `step_size_up_epochs` epochs and down in as many, changed
    once an epoch: the values of `torch.optim.lr_scheduler.CyclicLR` when it is stepped once an epoch."""

    def multiplier(step: int) -> float:
        position = step // steps_per_epoch / step_size_up_epochs
        height = max(0.0, 1 - abs(position - 2 * math.floor(1 + position / 2) + 1))
        return 1 + (max_lr / learning_rate - 1) * height

    return multiplier


def curriculum_schedule(
    steps_per_epoch: int,
    curriculum_epochs: int,
    start: float = 1.0,
    end: float = 0.1,
    post: float = 1.0,
    decay: str = "cosine",
) -> Multiplier:
    """From `start` to `end` (multiples of the learning rate) while the curriculum runs, then `post`.

    `decay`: `cosine`, `linear` or `sqrt`. Raises ValueError for another.
    """
    shapes: dict[str, Callable[[float], float]] = {
        "cosine": lambda t: (1 - math.cos(math.pi * t)) / 2,
        "linear": lambda t: t,
        "sqrt": math.sqrt,
    }
    if decay not in shapes:
        raise ValueError(f"decay={decay!r} is not known; it can be {', '.join(shapes)}")

    def multiplier(step: int) -> float:
        position = step / (steps_per_epoch * curriculum_epochs) if curriculum_epochs else 1.0
        return post if position >= 1 else start + (end - start) * shapes[decay](position)

    return multiplier


SCHEDULES = ("step", "exponential", "cyclic", "curriculum")


def build_schedule(
    name: str, optimizer: Optimizer, steps_per_epoch: int, learning_rate: float, curriculum_epochs: int, kwargs: dict
) -> LambdaLR:
    """The scheduler `name` of `SCHEDULES`, to be stepped at each optimiser step.

    Raises ValueError for a name or an argument that there isn't.
    """
    builders = {
        "step": lambda: step_schedule(steps_per_epoch, **kwargs),
        "exponential": lambda: exponential_schedule(steps_per_epoch, **kwargs),
        "cyclic": lambda: cyclic_schedule(steps_per_epoch, learning_rate, **kwargs),
        "curriculum": lambda: curriculum_schedule(steps_per_epoch, curriculum_epochs, **kwargs),
    }
    if name not in builders:
        raise ValueError(f"lr_schedule={name!r} is not known; it can be {', '.join(builders)}")
    try:
        return LambdaLR(optimizer, builders[name]())
    except (TypeError, ZeroDivisionError) as error:
        raise ValueError(f"lr_scheduler_kwargs={kwargs!r} does not fit the schedule {name!r}: {error}") from error
