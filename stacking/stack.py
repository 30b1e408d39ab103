"""K runs trained as one model: epochs in step, each run with its own rows, draws, schedule, best epoch and end."""

import time
from collections.abc import Callable
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..interruption import Interrupted
from ..interruption import asked
from .epoch_plan import EpochPlan
from .epoch_plan import Examples
from .stacked_model import StackedModel
from .stacked_model import buffers_of
from .stacked_model import losses
from .stacked_model import predictions
from .stacked_model import sites_of
from .stacked_optimizer import Course
from .stacked_optimizer import StackedOptimizer
from .stacked_run import StackedRun
from .weights import Layout
from .weights import Weights

_EVALUATED = 2**28  # bytes of vectors that are evaluated at once


class Stack:
    """The training of K runs.

    Args:
        runs: opened.
        examples: what they read.
        measure: looks at the weights of the runs that are given to it by number, {name: (k, ...)}, before their epoch
            is closed.
    """

    def __init__(
        self,
        runs: Sequence[StackedRun],
        examples: Examples,
        measure: Callable[[list[int], dict[str, Tensor]], None],
    ):
        self.all, self.runs, self.numbers = list(runs), list(runs), list(range(len(runs)))
        self.examples, self._measure = examples, measure
        self.device, self.args = examples.batches.device, runs[0].args
        self.layout = Layout.of(runs[0].model, runs[0].optimizer.param_groups)
        with torch.random.fork_rng(devices=[]):
            self.model = StackedModel(deepcopy(runs[0].model.config)).to(self.device, self.layout.dtype)
        self.last: list[Tensor | None] = [None] * len(runs)  # of runs that ended
        self.epoch, self.seconds = 0, [0.0] * len(runs)
        self._dropout: float | None = None
        courses: dict[Any, Course] = {}
        self.courses = [self._course(run, courses) for run in runs]
        self._assemble(torch.stack([self.layout.row(run.model) for run in runs]).to(self.device), [None] * len(runs))

    @staticmethod
    def _course(run: StackedRun, known: dict[Any, Course]) -> Course:
        course = Course(run.optimizer, run.lr_scheduler, run.epoch_steps)
        key = id(run) if course.follows_scores else (run.epoch_steps, run.max_steps)
        return known.setdefault(key, course)

    def _assemble(self, rows: Tensor, states: list[Any]) -> None:
        """Puts the runs that are left side by side."""
        self.weights = Weights(self.layout, rows)
        self.optimizer = StackedOptimizer(self.weights, self.courses, states)
        buffers = [buffers_of(run.model) for run in self.runs]
        self.buffers = {name: torch.stack([each[name].to(self.device) for each in buffers]) for name in buffers[0]}

    @property
    def _all_weights(self) -> dict[str, Tensor]:
        return {**self.weights.parameters, **self.buffers}

    # ---- the epochs -------------------------------------------------------------------------------------------------

    def train(self, after_epoch: Callable[["Stack"], None]) -> None:
        """Trains until every run has ended; `after_epoch` may save the stack.

        Raises Interrupted where a signal asked for the end; `after_epoch` has been called.
        """
        while self.runs:
            begun, epoch = time.monotonic(), self.epoch
            for run in self.runs:
                run.open_epoch(epoch)
            self._set_dropout(epoch)
            plan = EpochPlan(self.examples, self.runs, self.args.gradient_accumulation_steps)
            found = self._steps(plan)
            self._close(plan, *found)
            share = (time.monotonic() - begun) / len(self.runs)
            for number in self.numbers:
                self.seconds[number] += share
            self.epoch += 1
            self._let_go()
            after_epoch(self)
            if self.runs and asked():
                raise Interrupted(asked())

    def _set_dropout(self, epoch: int) -> None:
        """The dropout of this epoch; and where the model then draws."""
        dropout = self.runs[0].dropout(epoch)
        if dropout == self._dropout:
            return
        self.model.set_dropout(dropout)
        self.model.train()
        batches = self.examples.batches
        one = {name: values[0].detach() for name, values in self._all_weights.items()}
        self.sites = sites_of(self.model, one, batches.widths, not batches.single)
        self._dropout = dropout

    def _steps(self, plan: EpochPlan) -> tuple[np.ndarray, np.ndarray, list[list[float]]]:
        """Losses and norms (steps, K) and the learning rates of each run."""
        every = plan.accumulation
        of_step = torch.zeros((plan.steps, 2, len(self.runs)), device=self.device)
        rates: list[list[float]] = [[] for _ in self.runs]
        self.model.train()
        for step in range(plan.steps):
            stepping = [step * every < count for count in plan.counts]
            for part in range(every):
                of_step[step, 0] += self._backward(plan, step * every + part, add=part > 0)
            of_step[step, 1] = self.weights.clip(self.args.max_grad_norm)
            for k, course in enumerate(self.courses):
                if stepping[k]:
                    rates[k].append(course.rate)
            self.optimizer.step(stepping)
        return *of_step.cpu().numpy().swapaxes(0, 1), rates

    def _backward(self, plan: EpochPlan, t: int, add: bool) -> Tensor:
        """Gradients of a batch of all runs; gives the losses, (K,)."""
        generators = [run.generator if t < count else None for run, count in zip(self.runs, plan.counts, strict=True)]
        sizes = plan.sizes(t)
        draws = self.sites.draw(generators, plan.own_sizes[t], sizes)
        loss = losses(self.model, self._all_weights, plan.inputs(t), draws) / plan.accumulation
        self.weights.backward(loss.sum(), add)
        return loss.detach()

    def _close(self, plan: EpochPlan, loss: np.ndarray, norms: np.ndarray, rates: list[list[float]]) -> None:
        parameters = {name: values.detach() for name, values in self.weights.parameters.items()}
        self._measure(self.numbers, parameters)
        validation = self.examples.validation
        logits = self.logits(validation) if len(validation[0]) else [None] * len(self.runs)
        curriculum = self.runs[0].sampler.curriculum
        confident: list[np.ndarray | None] = [None] * len(self.runs)
        if curriculum.needs("confidence") and curriculum.active(self.epoch + 1):
            found = self.logits(self.examples.train)
            confident = [torch.from_numpy(each).softmax(dim=-1).max(dim=-1).values.numpy() for each in found]
        for k, run in enumerate(self.runs):
            steps = plan.counts[k] // plan.accumulation
            run.close_epoch(loss[:steps, k].tolist(), norms[:steps, k].tolist(), rates[k], logits[k], confident[k])
            if run.improved:
                run.best_row = self.weights.values[k].clone()

    def logits(self, rows: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Of each run that is left, (n, classes) float32 for rows of its own, (n,) each."""
        self.model.eval()
        batches, longest = self.examples.batches, max(map(len, rows))
        at_once = max(1, min(longest, _EVALUATED // (len(rows) * batches.bytes_of_row())))
        filled = np.stack([np.pad(each, (0, longest - len(each)), mode="edge") for each in rows])
        found = [
            predictions(self.model, self._all_weights, batches.inputs(filled[:, begin : begin + at_once])).float()
            for begin in range(0, longest, at_once)
        ]
        whole = torch.cat(found, dim=1).cpu().numpy()
        return [whole[k, : len(each)] for k, each in enumerate(rows)]

    # ---- runs that have ended, and what is saved --------------------------------------------------------------------

    def _let_go(self) -> None:
        """Takes the runs out that have ended."""
        kept = [k for k, run in enumerate(self.runs) if not run.ended]
        if len(kept) == len(self.runs):
            return
        for k, run in enumerate(self.runs):
            if run.ended:
                self.last[self.numbers[k]] = self.weights.values[k].clone()
        states = [self.optimizer.state(k) for k in kept]
        rows = self.weights.values[kept]
        self.runs, self.numbers = [self.runs[k] for k in kept], [self.numbers[k] for k in kept]
        self.courses = [self.courses[k] for k in kept]
        self.examples.take(kept)
        if kept:
            self._assemble(rows, states)

    def saved(self, number: int) -> dict[str, Any]:
        """What one of all runs has become so far: weights, optimiser, schedule and its Trainer's state."""
        run = self.all[number]
        found = {"epoch": self.epoch, "seconds": self.seconds[number], "best": run.best_row, "run": run.saved()}
        if number not in self.numbers:
            return {**found, "row": self.last[number], "optimizer": None, "schedule": None, "rates": None}
        k = self.numbers.index(number)
        course = self.courses[k]
        rates = [
            {key: value for key, value in group.items() if key != "params"} for group in course.optimizer.param_groups
        ]
        return {
            **found,
            "row": self.weights.values[k],
            "optimizer": self.optimizer.state(k),
            "schedule": course.scheduler.state_dict(),
            "rates": rates,
        }

    def restore(self, saved: Sequence[dict[str, Any]]) -> None:
        """Goes on from what `saved` gave of each run."""
        self.epoch = saved[0]["epoch"]
        for number, (run, found) in enumerate(zip(self.all, saved, strict=True)):
            run.restore(found["run"])
            run.best_row = None if found["best"] is None else found["best"].to(self.device)
            self.seconds[number] = found["seconds"]
            if found["schedule"] is not None:
                course = self.courses[number]
                course.scheduler.load_state_dict(found["schedule"])
                for group, options in zip(course.optimizer.param_groups, found["rates"], strict=True):
                    group.update(options)
        rows = torch.stack([found["row"].to(self.device) for found in saved])
        self._assemble(rows, [found["optimizer"] for found in saved])
        self._let_go()


__all__ = ["Stack"]
