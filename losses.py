"""The losses of a training: of the classes, and of valence, arousal and dominance. Travels to the Hub."""

import torch
import torch.nn.functional as F
from torch import Tensor


def emotion_loss(
    logits: Tensor,
    labels: Tensor,
    loss: str = "cross_entropy",
    focal_gamma: float = 2.0,
    temperature: float = 1.0,
    label_smoothing: float = 0.0,
    class_weights: Tensor | None = None,
    sample_weights: Tensor | None = None,
    norm: Tensor | None = None,
) -> Tensor:
    """The training loss of a batch: a scalar.

    The focal loss (Lin et al., ICCV 2017, arXiv 1708.02002) is the cross-entropy in which class k counts
    (1 - p_k)^gamma; with gamma 0 it is the cross-entropy. As in torch, the sum over the rows is divided by the sum of
    the class weights of their labels; `sample_weights` (mean 1 over what an epoch trains on) only scale the rows.

    Args:
        logits: (batch, classes), any float type; the loss is computed in float32.
        labels: (batch,) class numbers, or (batch, classes) floats, the share of each class in a row that was mixed.
        class_weights: (classes,).
        sample_weights: (batch,), of `curriculum/row_weights.py`.
        norm: scalar, what the sum over the rows is divided by in place of the batch's own norm.
    """
    logits = logits.float() / temperature
    if loss == "cross_entropy":
        rows = F.cross_entropy(
            logits, labels, weight=class_weights, reduction="none", label_smoothing=label_smoothing
        )  # (batch,)
    else:
        log_p = logits.log_softmax(dim=-1)  # (batch, classes)
        target = labels if labels.is_floating_point() else F.one_hot(labels, logits.shape[-1])
        target = target.to(log_p.dtype)
        target = target * (1 - label_smoothing) + label_smoothing / logits.shape[-1]
        # Not 0 where p is 1: there, the power's derivative is infinite for a gamma below 1.
        doubt = (-log_p.expm1()).clamp(min=torch.finfo(log_p.dtype).eps)  # (batch, classes): 1 - p
        terms = -target * doubt**focal_gamma * log_p
        rows = (terms if class_weights is None else terms * class_weights).sum(dim=-1)  # (batch,)
    if sample_weights is not None:
        rows = rows * sample_weights.to(rows.dtype)
    if norm is None:
        if class_weights is None:
            return rows.mean()
        norm = weights_of(labels, class_weights).sum()
    return rows.sum() / norm.where(norm > 0, 1)


def weights_of(labels: Tensor, class_weights: Tensor) -> Tensor:
    """(batch,) the class weight of each row, of a mixed one by its shares."""
    return labels.to(class_weights.dtype) @ class_weights if labels.is_floating_point() else class_weights[labels]


def vad_loss(
    predicted: Tensor, ratings: Tensor, sample_weights: Tensor | None = None, norm: Tensor | None = None
) -> Tensor:
    """Mean squared error of valence, arousal and dominance over what is rated: a scalar, in squared points of 1-5.

    By row, unlike the concordance correlation that it is reported in: so the rows' weights hold, and a batch of one
    speaker or with few ratings is as good as another. 0 where nothing in the batch is rated.

    Args:
        predicted: (batch, 3).
        ratings: (batch, 3), NaN where unrated.
        sample_weights: (batch,).
        norm: scalar, what the sum is divided by in place of the number of ratings in the batch.
    """
    rated = ~ratings.isnan()
    # Not NaN where unrated: a NaN that is left out of the sum still makes the gradient NaN.
    errors = torch.where(rated, predicted.float() - ratings.nan_to_num().float(), 0.0).square()  # (batch, 3)
    if sample_weights is not None:
        errors = errors * sample_weights.to(errors.dtype)[:, None]
    norm = rated.sum() if norm is None else norm
    return errors.sum() / norm.where(norm > 0, 1)


__all__ = ["emotion_loss", "vad_loss", "weights_of"]
