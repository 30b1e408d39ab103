"""The random numbers of a stack: each run draws its own, as many and in the order that it would draw alone.

Where a model draws (dropout, hidden modalities, noise on rows), and of which shape, is found by running it on a few
tiny batches; in a step the numbers are drawn before the model is called, by a generator for each run, and given to it.
On a CPU they are the very numbers that the run draws when it trains by itself.
"""

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

DROPOUT, UNIFORM, INTEGERS, BYTES = "dropout", "uniform", "integers", "bytes"


@dataclass(frozen=True)
class Site:
    """A place where a model draws.

    Args:
        kind: `dropout`, factors 0 or 1 / (1 - number); `uniform` in [0, 1); `integers` below number; `bytes`, whole
            numbers of -128 to 127.
        shape: of what is drawn for one run.
        number: see `kind`.
        dtype: of what is drawn.
    """

    kind: str
    shape: tuple[int, ...]
    number: float = 0
    dtype: torch.dtype = torch.float32


class Draws(TorchFunctionMode):
    """Answers the random functions that a model calls, and its `bytes`."""

    def answer(self, site: Site, device: torch.device) -> Tensor:
        """What is drawn at the next site, a factor or number for each entry."""
        raise NotImplementedError

    def bytes(self, shape: tuple[int, ...], device: torch.device) -> Tensor:
        """Uniform whole numbers of -128 to 127, as floats."""
        return self.answer(Site(BYTES, tuple(shape)), device)

    def __torch_function__(self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if function is F.dropout:
            return self._dropout(*args, **kwargs)
        if function is torch.rand:
            return self.answer(Site(UNIFORM, _shape(args)), torch.device(kwargs.get("device") or "cpu"))
        if function is torch.randint and len(args) == 2:
            device = torch.device(kwargs.get("device") or "cpu")
            return self.answer(Site(INTEGERS, tuple(args[1]), args[0], torch.int64), device)
        return function(*args, **kwargs)

    def _dropout(self, given: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        if not training or p == 0:
            return given
        return given * self.answer(Site(DROPOUT, tuple(given.shape), p, given.dtype), given.device)


def _shape(args: tuple) -> tuple[int, ...]:
    return tuple(args[0]) if len(args) == 1 and not isinstance(args[0], int) else tuple(args)


class Noting(Draws):
    """Notes where a model draws; nothing is drawn."""

    def __init__(self) -> None:
        super().__init__()
        self.sites: list[Site] = []

    def answer(self, site: Site, device: torch.device) -> Tensor:
        self.sites.append(site)
        fill = torch.zeros if site.kind in (INTEGERS, BYTES) else torch.ones
        return fill(site.shape, dtype=site.dtype, device=device)


class Given(Draws):
    """Gives what was drawn before. Raises ValueError where the model draws something else."""

    def __init__(self, values: Sequence[Tensor]) -> None:
        super().__init__()
        self.values = iter(values)

    def answer(self, site: Site, device: torch.device) -> Tensor:
        value = next(self.values, None)
        if value is None or tuple(value.shape) != site.shape:
            found = None if value is None else tuple(value.shape)
            raise ValueError(f"the model draws numbers of other shapes than before: {site.shape} in place of {found}")
        return value


@dataclass(frozen=True)
class Sites:
    """Where a model draws, for batches of any size.

    Args:
        kinds: a site each, of the probe's shape.
        base: of each site, the shape without what grows with the sizes.
        slopes: of each site, by size, how each dimension grows with it.
    """

    kinds: list[Site]
    base: list[tuple[int, ...]]
    slopes: list[list[tuple[int, ...]]]

    @classmethod
    def found(cls, call: Callable[[tuple[int, ...]], list[Site]], count: int) -> "Sites":
        """Those of a model that `call` runs on a batch of some sizes: rows, and length of each modality's sequences.

        Args:
            count: how many sizes there are.

        Raises ValueError where the shapes don't grow evenly with the sizes.
        """
        start = tuple(range(2, 2 + count))
        kinds = call(start)
        grown = [call(tuple(size + (i == j) for j, size in enumerate(start))) for i in range(count)]
        if any([site.kind for site in sites] != [site.kind for site in kinds] for sites in grown):
            raise ValueError("what the model draws depends on the size of its batch")
        slopes = [
            [tuple(b - a for a, b in zip(site.shape, sites[i].shape, strict=True)) for sites in grown]
            for i, site in enumerate(kinds)
        ]
        base = [
            tuple(
                dim - sum(slope[j] * size for slope, size in zip(of_site, start, strict=True))
                for j, dim in enumerate(site.shape)
            )
            for site, of_site in zip(kinds, slopes, strict=True)
        ]
        found = cls(kinds, base, slopes)
        other = tuple(size + 3 for size in start)
        if [site.shape for site in call(other)] != found.shapes(other):
            raise ValueError("the shapes of what the model draws don't grow evenly with its batch")
        return found

    def shapes(self, sizes: tuple[int, ...]) -> list[tuple[int, ...]]:
        """Of what is drawn for a batch of these sizes."""
        return [
            tuple(
                dim + sum(slope[j] * size for slope, size in zip(of_site, sizes, strict=True))
                for j, dim in enumerate(base)
            )
            for base, of_site in zip(self.base, self.slopes, strict=True)
        ]

    def draw(
        self, generators: Sequence[torch.Generator | None], own: Sequence[tuple[int, ...]], sizes: tuple[int, ...]
    ) -> list[Tensor]:
        """What K runs draw in a step: of each site (K, *shape).

        Args:
            generators: of each run, all on one device; None for one that waits, and draws nothing.
            own: the sizes of each run's batch. Beyond them, where the run has only padding, nothing is dropped.
            sizes: of the batch that is padded to the largest of all.
        """
        device = next(each.device for each in generators if each is not None)
        full = self.shapes(sizes)
        if device.type != "cpu":
            return self._at_once(generators, full, device)
        found = [
            torch.ones((len(generators), *shape), dtype=torch.int64 if site.kind == INTEGERS else site.dtype)
            for site, shape in zip(self.kinds, full, strict=True)
        ]
        for k, (generator, own_sizes) in enumerate(zip(generators, own, strict=True)):
            if generator is not None:
                shapes = full if own_sizes == sizes else self.shapes(own_sizes)
                for site, values, shape in zip(self.kinds, found, shapes, strict=True):
                    _fill(values[k], shape, site, generator)
        return found

    def _at_once(
        self, generators: Sequence[torch.Generator | None], shapes: list[tuple[int, ...]], device: torch.device
    ) -> list[Tensor]:
        """One call of a generator for all that a run draws in a step: on a GPU it is calls that cost."""
        counts = [torch.Size(shape).numel() for shape in shapes]
        numbers = torch.zeros((len(generators), sum(counts)), device=device)
        for row, generator in zip(numbers, generators, strict=True):
            if generator is not None:
                row.uniform_(generator=generator)
        found = []
        for site, shape, part in zip(self.kinds, shapes, numbers.split(counts, dim=1), strict=True):
            part = part.reshape(len(generators), *shape)
            if site.kind == DROPOUT:
                part = (part < 1 - site.number).to(site.dtype).div_(1 - site.number)
            elif site.kind == INTEGERS:
                part = (part * site.number).to(torch.int64).clamp_(max=int(site.number) - 1)
            elif site.kind == BYTES:
                part = (part * 256).floor_().clamp_(max=255).sub_(128)
            found.append(part)
        return found


def _fill(values: Tensor, shape: tuple[int, ...], site: Site, generator: torch.Generator) -> None:
    """Fills the part of (*full) values that a run has, (*shape), with what torch would draw for it by itself."""
    whole = tuple(values.shape) == shape
    part = values if whole else torch.empty(shape, dtype=values.dtype)
    if site.kind == DROPOUT:
        part.bernoulli_(1 - site.number, generator=generator).div_(1 - site.number)
    elif site.kind == UNIFORM:
        part.uniform_(generator=generator)
    elif site.kind == INTEGERS:
        part.random_(0, int(site.number), generator=generator)
    else:
        count = part.numel()
        bits = torch.empty((count + 7) // 8, dtype=torch.int64).random_(-(2**63), None, generator=generator)
        part.copy_(bits.view(torch.int8)[:count].view(shape))
    if not whole:
        values[tuple(slice(size) for size in shape)] = part


__all__ = ["Draws", "Given", "Noting", "Site", "Sites"]
