"""The losses as numbers: against torch's own and a loop by hand, and their gradients."""

import math

import pytest
import torch
import torch.nn.functional as F

from emomm.losses import emotion_loss
from emomm.losses import vad_loss

CLASSES = 4


def assert_close(got: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-6):
    torch.testing.assert_close(got, expected, atol=tolerance, rtol=0)


def loss_by_hand(logits, labels, gamma, temperature=1.0, smoothing=0.0, class_weights=None, sample_weights=None):
    """Row by row and class by class, in float64; gamma None is the cross-entropy."""
    total = norm = 0.0
    classes = len(logits[0])
    for i, (row, label) in enumerate(zip(logits, labels, strict=True)):
        scores = [score / temperature for score in row]
        p = [math.exp(score - max(scores)) for score in scores]
        p = [value / sum(p) for value in p]
        loss = 0.0
        for k in range(classes):
            target = (1 - smoothing) * (k == label) + smoothing / classes
            weight = 1.0 if class_weights is None else class_weights[k]
            loss -= weight * target * (1.0 if gamma is None else (1 - p[k]) ** gamma) * math.log(p[k])
        total += loss * (1.0 if sample_weights is None else sample_weights[i])
        norm += 1.0 if class_weights is None else class_weights[label]
    return total / norm


LOGITS = torch.randn(9, CLASSES, generator=torch.Generator().manual_seed(3)) * 2
LABELS = torch.tensor([0, 1, 2, 3, 0, 1, 2, 2, 3])


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 0.5, 3.0], [1.0, 0.0, 0.5, 3.0]])
@pytest.mark.parametrize("loss", ["cross_entropy", "focal"])
def test_cross_entropy_is_torchs_and_focal_with_gamma_0_as_well(loss, weights, smoothing):
    weights = None if weights is None else torch.tensor(weights)
    expected = F.cross_entropy(LOGITS, LABELS, weight=weights, label_smoothing=smoothing)
    got = emotion_loss(LOGITS, LABELS, loss, focal_gamma=0.0, label_smoothing=smoothing, class_weights=weights)
    assert_close(got, expected)


@pytest.mark.parametrize("gamma", [None, 0.0, 0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("temperature", [1.0, 0.5, 3.0])
@pytest.mark.parametrize("class_weights", [None, [1.0, 0.0, 0.5, 3.0]])
@pytest.mark.parametrize("weighted_rows", [False, True])
def test_losses_equal_a_loop_by_hand(gamma, smoothing, temperature, class_weights, weighted_rows):
    rows = torch.linspace(0.2, 1.8, len(LABELS)) if weighted_rows else None
    got = emotion_loss(
        LOGITS,
        LABELS,
        "cross_entropy" if gamma is None else "focal",
        gamma or 0.0,
        temperature,
        smoothing,
        None if class_weights is None else torch.tensor(class_weights),
        rows,
    )
    rows = None if rows is None else rows.tolist()
    expected = loss_by_hand(
        LOGITS.double().tolist(), LABELS.tolist(), gamma, temperature, smoothing, class_weights, rows
    )
    assert got.item() == pytest.approx(expected, rel=2e-6, abs=1e-6)


def test_the_focal_loss_has_the_right_sign():
    logits = LOGITS.clone().requires_grad_()
    before = emotion_loss(logits, LABELS, "focal")
    before.backward()
    after = emotion_loss(logits.detach() - 0.1 * logits.grad, LABELS, "focal")
    assert 0 < after < before
    right = emotion_loss(10 * F.one_hot(LABELS, CLASSES).float(), LABELS, "focal")
    wrong = emotion_loss(-10 * F.one_hot(LABELS, CLASSES).float(), LABELS, "focal")
    assert 0 <= right < 1e-6 < 1 < wrong
    # It counts the easy less than the cross-entropy does.
    assert emotion_loss(LOGITS, LABELS, "focal") < emotion_loss(LOGITS, LABELS)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 1.5, 2.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_gradients_stay_finite_where_the_model_is_certain(gamma, smoothing):
    logits = torch.tensor([[200.0, 0.0, 0.0], [0.0, 200.0, 0.0], [30.0, 0.0, 0.0]], requires_grad=True)
    loss = emotion_loss(logits, torch.tensor([0, 0, 0]), "focal", focal_gamma=gamma, label_smoothing=smoothing)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(logits.grad).all()
    assert logits.grad[1, 0] < 0 < logits.grad[1, 1]


@pytest.mark.parametrize("loss", ["cross_entropy", "focal"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_batch_whose_rows_all_weigh_nothing_has_a_finite_loss(loss, smoothing):
    logits = LOGITS[:3].clone().requires_grad_()
    got = emotion_loss(
        logits,
        torch.tensor([1, 1, 1]),
        loss,
        label_smoothing=smoothing,
        class_weights=torch.tensor([1.0, 0.0, 2.0, 1.0]),
    )
    got.backward()
    assert 0 <= got.item() < 10 and logits.grad.abs().max() < 10


def test_the_loss_is_computed_in_float32():
    half = LOGITS.to(torch.bfloat16)
    assert emotion_loss(half, LABELS).dtype == torch.float32
    assert_close(emotion_loss(half, LABELS), F.cross_entropy(half.float(), LABELS), 0)


def test_sample_weights_scale_the_rows():
    rows = F.cross_entropy(LOGITS, LABELS, reduction="none")
    weights = torch.linspace(0.2, 1.8, len(LABELS))
    assert_close(emotion_loss(LOGITS, LABELS, sample_weights=weights), (rows * weights).mean())
    assert_close(emotion_loss(LOGITS, LABELS, sample_weights=torch.ones(len(LABELS))), F.cross_entropy(LOGITS, LABELS))


def test_the_loss_of_ratings_is_the_mean_over_what_is_rated():
    vad = torch.linspace(1, 5, 12).reshape(4, 3)
    vad[1, 1], vad[2] = math.nan, math.nan  # the second is not rated in arousal, the third not at all
    predicted = torch.full((4, 3), 2.5, requires_grad=True)
    weights = torch.tensor([0.5, 2.0, 7.0, 1.0])
    total, count = 0.0, 0
    for row in range(4):
        for i in range(3):
            rating = vad[row, i].item()
            if not math.isnan(rating):
                total, count = total + weights[row].item() * (rating - 2.5) ** 2, count + 1
    loss = vad_loss(predicted, vad, weights)
    assert count == 8 and loss.item() == pytest.approx(total / count)
    loss.backward()
    assert torch.isfinite(predicted.grad).all() and predicted.grad[2].eq(0).all() and predicted.grad[1, 1] == 0
    assert vad_loss(predicted, torch.full((4, 3), math.nan)).item() == 0


@pytest.mark.parametrize("loss", ["cross_entropy", "focal"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_shares_of_classes_are_the_mean_of_their_losses(loss, smoothing):
    """A mixed row counts as its parts would, each with its share; whole shares are class numbers."""
    weights, others, share = torch.tensor([0.5, 2.0, 1.0, 3.0]), LABELS.roll(1), 0.7
    same = {"loss": loss, "label_smoothing": smoothing, "class_weights": weights}
    whole = F.one_hot(LABELS, CLASSES).float()
    assert_close(emotion_loss(LOGITS, whole, **same), emotion_loss(LOGITS, LABELS, **same))
    mixed = share * whole + (1 - share) * F.one_hot(others, CLASSES)
    one = torch.ones(())
    parts = [emotion_loss(LOGITS, labels, **same, norm=one) for labels in (LABELS, others)]
    norm = share * weights[LABELS].sum() + (1 - share) * weights[others].sum()
    assert_close(emotion_loss(LOGITS, mixed, **same), (share * parts[0] + (1 - share) * parts[1]) / norm)
