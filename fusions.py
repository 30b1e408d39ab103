"""How the modalities become one vector: the fusions, and the registry through which users add their own.

A fusion sees a list of modality states, not "audio" and "text": a further modality changes none of them.
"""

import inspect
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch import nn

from .own_files import load_own_file


@dataclass
class ModalityState:
    """What a fusion knows of one modality in a batch.

    Args:
        pooled: (batch, dim) one vector for each row; zeros where the row lacks the modality.
        sequence: (batch, length, dim) frames or token states; length 1 where only the pooled vector is known.
        mask: (batch, length) bool, True at real positions, False at padding.
        present: (batch,) bool, whether the row has this modality.
    """

    pooled: Tensor
    sequence: Tensor
    mask: Tensor
    present: Tensor


@dataclass
class FusionOutput:
    """What a fusion returns.

    Args:
        embedding: (batch, hidden) the fused vector.
        attentions: for each modality (batch, heads, length of the others) what its query looked at, or None.
        gates: (batch, modalities) the share of each modality, or None.
    """

    embedding: Tensor
    attentions: tuple[Tensor, ...] | None = None
    gates: Tensor | None = None


class Fusion(nn.Module):
    """Base of all fusions.

    A fusion of your own: subclass this, register it under a name, take what you need of `dims` (width of each
    modality), `hidden_dim`, `num_heads` and `dropout` in `__init__`, and return a `FusionOutput` whose embedding is
    (batch, hidden_dim). Dropout as modules (`nn.Dropout` and its kind, `nn.MultiheadAttention`) changes with
    `post_curriculum_dropout`; what `F.dropout` is given does not.

    Attributes:
        uses_sequences: whether `forward` reads `sequence`; if not, training keeps pooled vectors alone.
        handles_missing: whether rows that lack a modality are dealt with, row by row.
        uses_heads: whether there is attention of `num_heads` heads, which must divide `hidden_dim`.
        gives_attention: whether its output has `attentions`, which the pipeline then shows in place of gradients.
    """

    uses_sequences = False
    handles_missing = False
    uses_heads = False
    gives_attention = False

    def forward(self, states: list[ModalityState]) -> FusionOutput:
        """The states of the modalities, in the order of `dims`, to one vector a row."""
        raise NotImplementedError


_REGISTRY: dict[str, type[Fusion]] = {}


def register_fusion(name: str):
    """Class decorator: makes a `Fusion` known as `fusion_type=name`."""

    def register(fusion: type[Fusion]) -> type[Fusion]:
        if not (inspect.isclass(fusion) and issubclass(fusion, nn.Module)):
            raise TypeError(f"register_fusion({name!r}) takes a subclass of Fusion, got {fusion!r}")
        _REGISTRY[name] = fusion
        return fusion

    return register


def fusion_names() -> list[str]:
    """The names that `fusion_type` can have."""
    return sorted(_REGISTRY)


def get_fusion(name: str) -> type[Fusion]:
    """The class registered under `name`; raises ValueError that lists the known names."""
    if name not in _REGISTRY:
        raise ValueError(f"fusion_type={name!r} is not known; it can be {', '.join(fusion_names())}")
    return _REGISTRY[name]


def build_fusion(
    name: str, dims: list[int], hidden_dim: int, num_heads: int, dropout: float, block: str = "original"
) -> Fusion:
    """The fusion `name` with those of the arguments that its `__init__` takes."""
    fusion = get_fusion(name)
    offered = {"dims": dims, "hidden_dim": hidden_dim, "num_heads": num_heads, "dropout": dropout, "block": block}
    wanted = inspect.signature(fusion).parameters
    return fusion(**{key: value for key, value in offered.items() if key in wanted})


def load_fusion_module(path: str | Path) -> str:
    """Runs a user's file that registers a fusion, as a module beside this one. Returns the module's name.

    Raises as `own_files.load_own_file`.
    """
    return load_own_file(path, "fusion_module")


def _dense(width_in: int, width_out: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width_in, width_out), nn.LayerNorm(width_out), nn.ReLU(), nn.Dropout(dropout))


class SingleQueryAttention(nn.Module):
    """Multi-head attention of one query a row over the sequences of the other modalities.

    The same function as projecting every frame or token to `hidden_dim` and then calling
    `torch.nn.MultiheadAttention`, in another order: with one query it is far cheaper to bring the query to the width
    of the sequence, q'(W_k(W_p x + b_p) + b_k) = (W_p'W_k'q)'x + constant, and to project the weighted mean of a
    sequence instead of each of its vectors. No product with a weight matrix runs over frames or tokens.
    """

    def __init__(self, hidden_dim: int, num_heads: int, dropout: float):
        super().__init__()
        if hidden_dim % num_heads:
            raise ValueError(f"num_attention_heads={num_heads} does not divide fusion_hidden_dim={hidden_dim}")
        self.num_heads, self.head_dim = num_heads, hidden_dim // num_heads
        self.query = nn.Linear(hidden_dim, hidden_dim)
        # No bias: it would add the same to every score of a row and head, which the softmax does not see.
        self.key = nn.Linear(hidden_dim, hidden_dim, bias=False)
        self.value = nn.Linear(hidden_dim, hidden_dim)
        self.output = nn.Linear(hidden_dim, hidden_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, query: Tensor, sequences: list[Tensor], masks: list[Tensor], projections: list[nn.Linear]
    ) -> tuple[Tensor, Tensor]:
        """One query (batch, hidden) over sequences (batch, length, dim) with masks (batch, length).

        Returns the attended vector (batch, hidden) and the weights (batch, heads, sum of lengths).
        """
        batch, heads, width = query.shape[0], self.num_heads, self.head_dim  # not len: a graph is made of it
        q = self.query(query).view(batch, heads, width) * width**-0.5  # (batch, heads, head_dim)
        key = torch.einsum("bhd,hdk->bhk", q, self.key.weight.view(heads, width, -1))  # (batch, heads, hidden)
        # A single vector is projected once rather than once for each head; None: nothing is left to project.
        pairs = [
            (projection(sequence), None) if sequence.shape[1] == 1 else (sequence, projection)
            for sequence, projection in zip(sequences, projections, strict=True)
        ]
        scores = [_scores(key, *pair) for pair in pairs]  # each (batch, heads, length)
        mask = torch.cat(masks, dim=1).unsqueeze(1)  # (batch, 1, lengths)
        weights = torch.cat(scores, dim=2).masked_fill(~mask, torch.finfo(q.dtype).min).softmax(dim=-1)
        dropped = self.dropout(weights)
        shares = dropped.split([sequence.shape[1] for sequence in sequences], dim=2)
        # (batch, heads, hidden): the weighted mean of the projected vectors
        context = sum(_weighted_mean(share, *pair) for share, pair in zip(shares, pairs, strict=True))
        value = torch.einsum("bhk,hdk->bhd", context, self.value.weight.view(heads, width, -1))
        value = value + dropped.sum(-1, keepdim=True) * self.value.bias.view(heads, width)
        return self.output(value.reshape(batch, -1)), weights


def _scores(key: Tensor, sequence: Tensor, projection: nn.Linear | None) -> Tensor:
    """(batch, heads, hidden) against (batch, length, dim), as if the sequence had been projected."""
    if projection is None:
        return key @ sequence.transpose(1, 2)
    return _times(key, projection.weight) @ sequence.transpose(1, 2) + _times(key, projection.bias).unsqueeze(-1)


def _weighted_mean(weights: Tensor, sequence: Tensor, projection: nn.Linear | None) -> Tensor:
    """(batch, heads, length) of (batch, length, dim): (batch, heads, hidden), as if projected before."""
    mean = weights @ sequence
    if projection is None:
        return mean
    return _times(mean, projection.weight.T) + weights.sum(dim=-1, keepdim=True) * projection.bias


def _times(rows: Tensor, weight: Tensor) -> Tensor:
    """(batch, heads, n) @ (n, m) or (n,), as one product of rows: with weights of several models at once (`vmap`),
    torch would copy them for each row of the batch."""
    return (rows.flatten(0, 1) @ weight).unflatten(0, rows.shape[:2])


class CrossAttentionBlock(nn.Module):
    """Attention to the others, residual and LayerNorm; feed-forward (four times as wide), residual and LayerNorm."""

    def __init__(self, hidden_dim: int, num_heads: int, dropout: float, block: str = "original"):
        super().__init__()
        self.query_norm = nn.LayerNorm(hidden_dim) if block == "normalized" else nn.Identity()
        self.attention = SingleQueryAttention(hidden_dim, num_heads, dropout)
        self.attention_norm = nn.LayerNorm(hidden_dim)
        self.feed_forward = nn.Sequential(
            nn.Linear(hidden_dim, 4 * hidden_dim),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(4 * hidden_dim, hidden_dim),
        )
        self.feed_forward_norm = nn.LayerNorm(hidden_dim)

    def forward(
        self, query: Tensor, sequences: list[Tensor], masks: list[Tensor], projections: list[nn.Linear]
    ) -> tuple[Tensor, Tensor]:
        """As `SingleQueryAttention`."""
        query = self.query_norm(query)
        attended, weights = self.attention(query, sequences, masks, projections)
        hidden = self.attention_norm(query + attended)
        return self.feed_forward_norm(hidden + self.feed_forward(hidden)), weights


@register_fusion("cross_attention")
class CrossAttentionFusion(Fusion):
    """Each modality's pooled vector asks; the frames or tokens of the others answer.

    With sequences of length 1 it is exactly the formula of the system that EmoMM extends, whose attention had one
    key and so nothing to choose from.
    """

    uses_sequences = uses_heads = gives_attention = True

    def __init__(self, dims: list[int], hidden_dim: int, num_heads: int, dropout: float, block: str = "original"):
        super().__init__()
        self.projections = nn.ModuleList(nn.Linear(dim, hidden_dim) for dim in dims)
        self.blocks = nn.ModuleList(CrossAttentionBlock(hidden_dim, num_heads, dropout, block) for _ in dims)
        self.output = _dense(len(dims) * hidden_dim, hidden_dim, dropout)

    def forward(self, states: list[ModalityState]) -> FusionOutput:
        """See `Fusion.forward`."""
        attended, attentions = [], []
        for i, (state, block) in enumerate(zip(states, self.blocks, strict=True)):
            others = [j for j in range(len(states)) if j != i]
            hidden, weights = block(
                self.projections[i](state.pooled),
                [states[j].sequence for j in others],
                [states[j].mask for j in others],
                [self.projections[j] for j in others],
            )
            attended.append(hidden)
            attentions.append(weights)
        return FusionOutput(self.output(torch.cat(attended, dim=-1)), attentions=tuple(attentions))


@register_fusion("concat")
class ConcatFusion(Fusion):
    """The pooled vectors side by side, through two dense layers.

    In the block `normalized` each modality has the same share of what the first layer sees, however wide it is: of
    standardised vectors 16 and 384 wide, one would otherwise be a 25th of the sum.
    """

    def __init__(self, dims: list[int], hidden_dim: int, dropout: float, block: str = "original"):
        super().__init__()
        even = sum(dims) / len(dims)
        self.scales = [(even / dim) ** 0.5 if block == "normalized" else 1.0 for dim in dims]
        self.output = nn.Sequential(
            _dense(sum(dims), 2 * hidden_dim, dropout), _dense(2 * hidden_dim, hidden_dim, dropout)
        )

    def forward(self, states: list[ModalityState]) -> FusionOutput:
        """See `Fusion.forward`."""
        scaled = [state.pooled * scale for state, scale in zip(states, self.scales, strict=True)]
        return FusionOutput(self.output(torch.cat(scaled, dim=-1)))


@register_fusion("gated")
class GatedFusion(Fusion):
    """A weighted sum of the projected modalities, with one weight for each, chosen by a softmax gate.

    The sum is linear in the modalities for given gates; that their interaction (such as the exclusive or of two
    cues) can be told is the work of the classifier's hidden layer, and needs `hidden_dim` above 0.

    In the block `normalized` a LayerNorm follows each projection, and the gate's scores are divided by the root of its
    inputs' number, as those of attention are. Without, the scores grow by several in the first steps of a high
    learning rate: the gate closes for one modality or the other, and stays so.
    """

    def __init__(self, dims: list[int], hidden_dim: int, dropout: float, block: str = "original"):
        super().__init__()
        self.normalized = block == "normalized"
        self.projections = nn.ModuleList(
            nn.Sequential(nn.Linear(dim, hidden_dim), nn.LayerNorm(hidden_dim))
            if self.normalized
            else nn.Linear(dim, hidden_dim)
            for dim in dims
        )
        self.gate = nn.Linear(len(dims) * hidden_dim, len(dims))
        self.output = nn.Sequential(nn.LayerNorm(hidden_dim), nn.Dropout(dropout))

    def forward(self, states: list[ModalityState]) -> FusionOutput:
        """See `Fusion.forward`."""
        projected = [project(state.pooled) for project, state in zip(self.projections, states, strict=True)]
        scores = self.gate(torch.cat(projected, dim=-1))
        if self.normalized:
            scores = scores * self.gate.in_features**-0.5
        gates = scores.softmax(dim=-1)  # (batch, modalities)
        fused = (torch.stack(projected, dim=1) * gates.unsqueeze(-1)).sum(dim=1)  # (batch, hidden)
        return FusionOutput(self.output(fused), gates=gates)


@register_fusion("adaptive")
class AdaptiveFusion(Fusion):
    """An encoder for each modality, and a fusion net for the rows that have them all.

    A row that lacks some gets the mean of the encodings it has: its lone encoder's output where there are two
    modalities. Decided row by row, so that a batch may mix all cases.
    """

    handles_missing = True

    def __init__(self, dims: list[int], hidden_dim: int, dropout: float):
        super().__init__()
        self.encoders = nn.ModuleList(_dense(dim, hidden_dim, dropout) for dim in dims)
        self.output = _dense(len(dims) * hidden_dim, hidden_dim, dropout)

    def forward(self, states: list[ModalityState]) -> FusionOutput:
        """See `Fusion.forward`."""
        present = torch.stack([state.present for state in states], dim=1)  # (batch, modalities)
        encoded = torch.stack(
            [encode(state.pooled) for encode, state in zip(self.encoders, states, strict=True)], dim=1
        )  # (batch, modalities, hidden)
        share = present.to(encoded.dtype)
        share = share / share.sum(dim=1, keepdim=True).clamp(min=1)
        partial = (encoded * share.unsqueeze(-1)).sum(dim=1)
        fused = torch.where(present.all(dim=1, keepdim=True), self.output(encoded.flatten(1)), partial)
        return FusionOutput(fused, gates=share)


__all__ = ["Fusion", "FusionOutput", "ModalityState", "build_fusion", "fusion_names", "get_fusion", "register_fusion"]
