"""One optimiser of torch's own for a whole stack; each run with its own course of the learning rate.

What such an optimiser does to a number depends on this number alone, so that it may see the parameters of a run as
stretches of a row. A run that waits, or has ended, has no gradient: it is passed over, its state with it.
"""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau
from transformers.training_args import OptimizerNames

from .weights import Weights

ELEMENTWISE = (
    OptimizerNames.ADAMW_TORCH,
    OptimizerNames.ADAMW_TORCH_FUSED,
    OptimizerNames.SGD,
    OptimizerNames.RMSPROP,
    OptimizerNames.ADAGRAD,
)
"""Those that treat each number by itself, whatever matrix it is in."""

_OPTIONS = ("lr", "betas", "momentum")  # what schedules change


class Course:
    """The schedule of runs that have the same: an optimiser and its scheduler of one of them.

    Args:
        optimizer: of that run; it never steps, but has the learning rates.
        scheduler: of it.
        steps: of an epoch.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, scheduler: Any, steps: int):
        self.optimizer, self.scheduler, self.steps = optimizer, scheduler, steps
        self.follows_scores = isinstance(scheduler, ReduceLROnPlateau)
        optimizer._opt_called = True  # the scheduler would warn that it doesn't step

    def advance(self) -> None:
        """After a step of its runs."""
        if not self.follows_scores:
            self.scheduler.step()

    @property
    def rate(self) -> float:
        """The learning rate that is logged."""
        return self.optimizer.param_groups[0]["lr"]


class StackedOptimizer:
    """Steps all runs of a stack.

    Args:
        weights: of K runs.
        courses: (K,), the same object for runs that share one.
        states: (K,) of each run, by group, what an optimiser before this one knew; None where it begins.
    """

    def __init__(self, weights: Weights, courses: Sequence[Course], states: Sequence[list[dict[str, Any]] | None]):
        self.weights, self.courses = weights, courses
        self.distinct = list(dict.fromkeys(courses))
        self.parts: dict[tuple[int, int], Tensor] = {}
        self._gradients: dict[tuple[int, int], Tensor] = {}
        groups = []
        for course in self.distinct:
            runs = [k for k, of_run in enumerate(courses) if of_run is course]
            for number, group in enumerate(course.optimizer.param_groups):
                for k in runs:
                    self.parts[k, number], self._gradients[k, number] = weights.part(k, number)
                options = {key: value for key, value in group.items() if key != "params"}
                groups.append({**options, "params": [self.parts[k, number] for k in runs]})
        self.optimizer = _like(self.distinct[0].optimizer, groups)
        self._of_course = [(course, len(course.optimizer.param_groups)) for course in self.distinct]
        for k, state in enumerate(states):
            for number, known in enumerate(state or ()):
                if known:
                    options = self.distinct[0].optimizer.param_groups[number]
                    self.optimizer.state[self.parts[k, number]] = _placed(known, self.parts[k, number], options)
        self._stepping: list[bool] = [False] * len(courses)

    def step(self, stepping: list[bool]) -> None:
        """A step of the runs that are `stepping`, (K,)."""
        if stepping != self._stepping:
            for (k, number), part in self.parts.items():
                part.grad = self._gradients[k, number] if stepping[k] else None
            self._stepping = stepping
        groups = iter(self.optimizer.param_groups)
        for course, count in self._of_course:
            for own in course.optimizer.param_groups[:count]:
                next(groups).update({key: own[key] for key in _OPTIONS if key in own})
        self.optimizer.step()
        for course in self.distinct:
            if any(steps for steps, of_run in zip(stepping, self.courses, strict=True) if of_run is course):
                course.advance()

    def state(self, run: int) -> list[dict[str, Any]]:
        """What is known of a run, by group."""
        groups = range(len(self.weights.layout.groups))
        return [{**self.optimizer.state.get(self.parts[run, number], {})} for number in groups]


def _like(optimizer: torch.optim.Optimizer, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    kind = type(optimizer)
    taken = inspect.signature(kind.__init__).parameters
    return kind(groups, **{key: value for key, value in optimizer.defaults.items() if key in taken})


def _placed(known: dict[str, Any], part: Tensor, options: dict[str, Any]) -> dict[str, Any]:
    """A state on the device of its part; what counts steps is there only where the optimiser wants it so."""
    beside = part.device if options.get("fused") or options.get("capturable") else torch.device("cpu")
    return {
        key: value.to(beside if key == "step" else part.device) if torch.is_tensor(value) else value
        for key, value in known.items()
    }


__all__ = ["ELEMENTWISE", "Course", "StackedOptimizer"]
