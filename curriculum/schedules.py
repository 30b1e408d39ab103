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

    return lambda step: 1 + (max_lr / learning_rate - 1) * _height(step // steps_per_epoch, step_size_up_epochs)


def _height(epoch: int, up: int) -> float:
    """Of a triangle that rises from 0 to 1 in `up` epochs and falls in as many, again and again."""
    position = epoch / up
    return max(0.0, 1 - abs(position - 2 * math.floor(1 + position / 2) + 1))


class CyclicSchedule(LambdaLR):
    """`cyclic_schedule`, with a momentum that runs against it: `max_momentum` where the learning rate is lowest and
    `base_momentum` where it is highest, as `torch.optim.lr_scheduler.CyclicLR` has it by default.

    Momentum is the optimiser's `momentum`, or the first of its `betas`. Raises ValueError where it has neither.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        steps_per_epoch: int,
        learning_rate: float,
        max_lr: float = 1e-3,
        step_size_up_epochs: int = 10,
        base_momentum: float = 0.8,
        max_momentum: float = 0.9,
        warmup_steps: int = 0,
    ):
        if not all("momentum" in group or "betas" in group for group in optimizer.param_groups):
            raise ValueError("cycle_momentum needs an optimiser with momentum or betas, such as rmsprop, sgd or adamw")
        self.steps_per_epoch, self.up = steps_per_epoch, step_size_up_epochs
        self.momenta = (base_momentum, max_momentum)
        rates = cyclic_schedule(steps_per_epoch, learning_rate, max_lr, step_size_up_epochs)
        super().__init__(optimizer, warmed_up(rates, warmup_steps))

    def step(self, epoch: int | None = None) -> None:
        """Sets the learning rate and the momentum of the next optimiser step."""
        super().step(epoch)
        base, top = self.momenta
        momentum = top - (top - base) * _height(self.last_epoch // self.steps_per_epoch, self.up)
        for group in self.optimizer.param_groups:
            if "betas" in group:
                group["betas"] = (momentum, *group["betas"][1:])
            else:
                group["momentum"] = momentum


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


def warmed_up(multiplier: Multiplier, steps: int) -> Multiplier:
    """The multiplier, with a linear rise from 0 over the first `steps` optimiser steps."""
    return (lambda step: multiplier(step) * min(1.0, step / steps)) if steps else multiplier


def build_schedule(
    name: str,
    optimizer: Optimizer,
    steps_per_epoch: int,
    learning_rate: float,
    curriculum_epochs: int,
    kwargs: dict,
    warmup_steps: int = 0,
) -> LambdaLR:
    """The scheduler `name` of `SCHEDULES`, to be stepped at each optimiser step; with `warmup_steps`, as `warmed_up`.

    `cyclic` is a `CyclicSchedule` where `cycle_momentum` is true. Raises ValueError for a name or an argument that
    there isn't.
    """
    kwargs = dict(kwargs)
    cycles_momentum = name == "cyclic" and kwargs.pop("cycle_momentum", False)
    builders = {
        "step": lambda: step_schedule(steps_per_epoch, **kwargs),
        "exponential": lambda: exponential_schedule(steps_per_epoch, **kwargs),
        "cyclic": lambda: cyclic_schedule(steps_per_epoch, learning_rate, **kwargs),
        "curriculum": lambda: curriculum_schedule(steps_per_epoch, curriculum_epochs, **kwargs),
    }
    if name not in builders:
        raise ValueError(f"lr_schedule={name!r} is not known; it can be {', '.join(builders)}")
    try:
        if cycles_momentum:
            return CyclicSchedule(optimizer, steps_per_epoch, learning_rate, **kwargs, warmup_steps=warmup_steps)
        return LambdaLR(optimizer, warmed_up(builders[name](), warmup_steps))
    except (TypeError, ZeroDivisionError) as error:
        raise ValueError(f"lr_scheduler_kwargs={kwargs!r} does not fit the schedule {name!r}: {error}") from error
