"""What knowing nothing gives: against guesses that are drawn, and constants that torch fits."""

import numpy as np
import pytest
import torch

from emomm.evaluation.chance import accuracy_at_chance
from emomm.evaluation.chance import explained_by_chance
from emomm.evaluation.chance import frequencies_loss
from emomm.evaluation.chance import uar_at_chance
from emomm.losses import emotion_loss
from emomm.losses import vad_loss

ROWS = np.array([30, 20, 10, 8])


def guessed_uar(rows, rng, draws):
    """UAR of guessing each row's class at random, (draws,)."""
    return np.mean([rng.binomial(n, 1 / len(rows), draws) / n for n in rows], axis=0)


def test_chance_and_its_error_are_those_of_guessing():
    drawn = guessed_uar(ROWS, np.random.default_rng(0), 40_000)
    chance, error = uar_at_chance(ROWS)
    assert chance == pytest.approx(drawn.mean(), abs=0.001) and error == pytest.approx(drawn.std(), rel=0.02)
    assert uar_at_chance(np.array([5, 0, 5])) == (0.5, pytest.approx(0.5 / np.sqrt(10)))
    assert uar_at_chance(np.array([5, 0, 0])) is None  # whatever is said, its UAR is no sign of anything
    share, error = accuracy_at_chance(ROWS)
    assert share == 30 / 68 and error == pytest.approx(np.sqrt(30 * 38 / 68) / 68)


def test_the_best_of_many_epochs_at_chance_is_still_chance():
    """Of runs that guess anew in each of 30 epochs nearly all are found, of runs that are clearly better none."""
    rng, chance = np.random.default_rng(1), uar_at_chance(ROWS)
    guessing = [guessed_uar(ROWS, rng, 30) for _ in range(400)]
    assert np.mean([explained_by_chance(run, *chance) for run in guessing]) > 0.75
    assert np.mean([run.max() <= sum(chance) for run in guessing]) < 0.05  # what the plain rule would find of them
    right = [rng.binomial(1, 0.5, (30, len(ROWS), max(ROWS))).mean(-1).mean(-1) for _ in range(50)]
    assert not any(explained_by_chance(run, *chance) for run in right)


def test_one_good_epoch_is_enough():
    chance, error = 0.25, 0.05
    assert explained_by_chance([0.25, 0.30], chance, error)
    assert not explained_by_chance([0.25] * 29 + [0.5], chance, error)  # it fell apart later
    assert explained_by_chance([0.25] * 29 + [0.36], chance, error)
    assert not explained_by_chance([0.36], chance, error)
    assert explained_by_chance([0.25, float("nan")], chance, error)
    assert not explained_by_chance([float("nan")], chance, error)  # of that it says nothing


# ---- the loss of a model that knows the frequencies alone -----------------------------------------------------------


def lowest_constant_loss(labels, num_classes, sample_weights=None, vad=None, vad_loss_weight=0.0, **loss):
    """The training loss of the best model that gives every row the same, found with torch."""
    labels = torch.from_numpy(labels)
    logits = torch.zeros(num_classes, dtype=torch.float64, requires_grad=True)
    ratings = torch.full((3,), 3.0, dtype=torch.float64, requires_grad=True)
    weights = None if sample_weights is None else torch.from_numpy(sample_weights)
    optimiser = torch.optim.LBFGS([logits, ratings], max_iter=500, line_search_fn="strong_wolfe", tolerance_grad=1e-9)

    def value():
        found = emotion_loss(logits.expand(len(labels), -1), labels, sample_weights=weights, **loss)
        if vad is not None:
            found = found + vad_loss_weight * vad_loss(
                ratings.expand(len(labels), -1), torch.from_numpy(vad), sample_weights=weights
            )
        return found

    def closure():
        optimiser.zero_grad()
        found = value()
        found.backward()
        return found

    optimiser.step(closure)
    return value().item()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"label_smoothing": 0.1},
        {"class_weights": [1.0, 0.5, 3.0, 2.0]},
        {"class_weights": [1.0, 0.5, 3.0, 2.0], "label_smoothing": 0.2, "weighted": True},
        {"loss": "focal", "focal_gamma": 2.0},
        {"loss": "focal", "focal_gamma": 0.5, "class_weights": [1.0, 0.5, 3.0, 2.0], "label_smoothing": 0.1},
        {"loss": "focal", "focal_gamma": 0.0},
        {"temperature": 4.0},
        {"weighted": True, "vad_loss_weight": 0.7},
    ],
    ids=str,
)
def test_the_loss_of_the_frequencies_is_the_lowest_of_any_constant_model(options):
    rng = np.random.default_rng(2)
    labels = rng.choice(4, 60, p=[0.5, 0.25, 0.15, 0.1])
    given = {"sample_weights": rng.uniform(0.2, 2, 60)} if options.get("weighted") else {}
    vad = rng.uniform(1, 5, (60, 3))
    vad[rng.random((60, 3)) < 0.3] = np.nan
    given |= {"vad": vad, "vad_loss_weight": options["vad_loss_weight"]} if "vad_loss_weight" in options else {}
    loss = {key: value for key, value in options.items() if key not in ("weighted", "vad_loss_weight")}
    of_torch = {**loss, "class_weights": torch.tensor(loss["class_weights"])} if "class_weights" in loss else loss
    found = frequencies_loss(labels, 4, **{k: v for k, v in loss.items() if k != "temperature"}, **given)
    assert found == pytest.approx(lowest_constant_loss(labels, 4, **of_torch, **given), rel=1e-4)


def test_the_loss_of_equal_frequencies_is_log_c():
    labels = np.arange(40) % 4
    assert frequencies_loss(labels, 4) == pytest.approx(np.log(4))
    assert frequencies_loss(labels, 4, class_weights=[3.0] * 4) == pytest.approx(np.log(4))
    assert frequencies_loss(labels, 4, label_smoothing=0.3) == pytest.approx(np.log(4))
    assert frequencies_loss(labels, 4, "focal", 2.0) == pytest.approx(0.75**2 * np.log(4))
    assert frequencies_loss(np.zeros(5, int), 4) == 0
