"""The weights of K runs in one table: a row for each run, each parameter a stretch of every row.

So the norm of a run's gradients is that of a row, a parameter of all runs is a view (K, ...) that a batched product
takes, and what an optimiser sees of a run's group of parameters is one stretch.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch import nn

_ALIGNED = 16
"""Numbers to whose multiple each parameter is moved up: products read aligned memory faster."""


@dataclass(frozen=True)
class Layout:
    """Where each parameter lies in a row.

    Args:
        places: by name, where it begins and ends.
        shapes: by name.
        groups: where each group of the optimiser begins and ends.
        width: of a row.
        dtype: of all.
    """

    places: dict[str, tuple[int, int]]
    shapes: dict[str, torch.Size]
    groups: list[tuple[int, int]]
    width: int
    dtype: torch.dtype

    @classmethod
    def of(cls, model: nn.Module, groups: list[dict]) -> "Layout":
        """That of a model's parameters, those of each of an optimiser's groups beside each other."""
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        places, shapes, ranges, end = {}, {}, [], 0
        for group in groups:
            begin = end
            for parameter in group["params"]:
                name = names[id(parameter)]
                places[name], shapes[name] = (end, end + parameter.numel()), parameter.shape
                end += -(-parameter.numel() // _ALIGNED) * _ALIGNED
            ranges.append((begin, end))
        return cls(places, shapes, ranges, end, next(model.parameters()).dtype)

    def row(self, model: nn.Module) -> Tensor:
        """A model's parameters as a row, (width,), on its device."""
        parameters = dict(model.named_parameters())
        found = torch.zeros(self.width, dtype=self.dtype, device=next(model.parameters()).device)
        for name, (begin, end) in self.places.items():
            found[begin:end] = parameters[name].detach().flatten()
        return found

    @torch.no_grad()
    def load(self, row: Tensor, model: nn.Module) -> None:
        """Puts a row into a model's parameters."""
        parameters = dict(model.named_parameters())
        for name, (begin, end) in self.places.items():
            parameters[name].copy_(row[begin:end].view(self.shapes[name]))


class Weights:
    """The parameters of K runs and their gradients.

    Args:
        layout: of a row.
        rows: (K, width) the values; kept, and changed by training.
    """

    def __init__(self, layout: Layout, rows: Tensor):
        self.layout, self.values = layout, rows
        self.gradients = torch.zeros_like(rows)
        self.parameters = {name: self._view(rows, name).detach().requires_grad_() for name in layout.places}
        self._gradient_views = [self._view(self.gradients, name) for name in layout.places]

    def _view(self, rows: Tensor, name: str) -> Tensor:
        begin, end = self.layout.places[name]
        return rows[:, begin:end].view(len(rows), *self.layout.shapes[name])

    def backward(self, loss: Tensor, add: bool = False) -> None:
        """Puts the gradients of a loss into the table, or adds them."""
        found = torch.autograd.grad(loss, list(self.parameters.values()))
        if add:
            torch._foreach_add_(self._gradient_views, found)
        else:
            torch._foreach_copy_(self._gradient_views, found)

    def clip(self, most: float) -> Tensor:
        """Scales the gradients of each run whose norm is above `most`, as `clip_grad_norm_` does; 0 scales none.

        Returns the norms before, (K,).
        """
        norms = self.gradients.norm(dim=1)
        if most > 0:
            self.gradients.mul_((most / (norms + 1e-6)).clamp(max=1.0).unsqueeze(1))
        return norms

    def part(self, run: int, group: int) -> tuple[Tensor, Tensor]:
        """What an optimiser sees of a group of a run's parameters: a leaf, and its gradient."""
        begin, end = self.layout.groups[group]
        return self.values[run, begin:end].detach(), self.gradients[run, begin:end]


__all__ = ["Layout", "Weights"]
