"""One floor of one fold: logistic regression (and ridge regression of ratings) on a vector for each utterance.

Everything here is a function of arrays. A floor is fitted on training rows alone; validation rows choose how strongly
it is regularised, and are not fitted on afterwards; test rows are not seen until `Floor.predict`.

scikit-learn takes seconds to import, and is imported where something is fitted: not before a training begins.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Any

import numpy as np

from ..evaluation.metrics import RATINGS
from ..evaluation.metrics import SCALARS
from ..evaluation.metrics import concordance
from ..evaluation.metrics import emotion_scores

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

# Both from the strongest regularisation on, which ties go to. C is one of these by the number of training rows: as C
# weighs the sum of the rows' losses, it then means as much for a hundred rows as for a hundred thousand.
C_TIMES_ROWS = (1.0, 1e1, 1e2, 1e3)
ALPHA_GRID = (1e5, 1e4, 1e3, 1e2, 1e1, 1.0)
MAX_ITERATIONS = 1000
_UNRATED = 3.0  # the middle of the scale: what is said of a rating that no training row has


@dataclass(frozen=True, eq=False)
class FloorRows:
    """Rows that a floor is fitted or chosen on.

    Args:
        features: (n, d) a vector for each row; NaN in the columns of a modality that the row lacks.
        labels: (n,) class numbers.
        ratings: (n, 3) valence, arousal and dominance, NaN where unrated; None where no ridge regression is wanted.
    """

    features: np.ndarray
    labels: np.ndarray
    ratings: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Floor:
    """A fitted floor.

    Args:
        classes: how many there are.
        scaler: mean and standard deviation of the training rows.
        logistic: fitted on the training rows with the C that was chosen.
        ridges: weights (3, d) and intercepts (3,) of the ratings; None where none are wanted.
        choice: how C and alpha were chosen, as plain JSON values.
    """

    classes: int
    scaler: "StandardScaler"
    logistic: "LogisticRegression"
    ridges: tuple[np.ndarray, np.ndarray] | None
    choice: dict[str, Any]

    def predict(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Class probabilities (n, C) and, of a floor with ridges, ratings (n, 3) of rows (n, d)."""
        scaled = _standardised(self.scaler, features)
        probabilities = np.zeros((len(scaled), self.classes))
        probabilities[:, self.logistic.classes_] = self.logistic.predict_proba(scaled)
        return probabilities, None if self.ridges is None else scaled @ self.ridges[0].T + self.ridges[1]


def choosing_metric(metric_for_best_model: str) -> str:
    """What chooses a floor's C: the score that chooses a run's epoch, UAR where that is the loss."""
    return metric_for_best_model if metric_for_best_model in SCALARS else "uar"


def fit_floor(train: FloorRows, validation: FloorRows, labels: Sequence[str], metric: str) -> Floor:
    """Logistic regression with balanced classes on standardised features, and ridges where ratings are given.

    Features are standardised by mean and standard deviation of the training rows that have them; a column that never
    varies is only centred, and what a row lacks is that column's mean. The C with the best score on the validation
    rows is kept (of equal ones the smallest), of `ALPHA_GRID` for each rating the alpha with the highest
    concordance. scikit-learn's defaults otherwise.

    Args:
        train, validation: the rows of a run's parts of these names.
        labels: the C class names in the order of the class numbers.
        metric: one of `SCALARS`.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    with np.errstate(invalid="ignore"):  # a column that no training row has
        scaler = StandardScaler().fit(train.features.astype(np.float64))
    x, held_out = (_standardised(scaler, rows.features) for rows in (train, validation))
    grid = [times_rows / len(x) for times_rows in C_TIMES_ROWS]
    fitted = [
        LogisticRegression(C=c, class_weight="balanced", max_iter=MAX_ITERATIONS).fit(x, train.labels) for c in grid
    ]
    scores = [emotion_scores(validation.labels, model.predict(held_out), labels)[metric] for model in fitted]
    best = int(np.argmax(scores))
    choice: dict[str, Any] = {
        "C": grid[best],
        "validation": {metric: scores[best]},
        "tried": [{"C": c, metric: score} for c, score in zip(grid, scores, strict=True)],
        "converged": bool(fitted[best].n_iter_.max() < MAX_ITERATIONS),
        "rows": {"train": len(train.labels), "validation": len(validation.labels)},
    }
    ridges = None
    if train.ratings is not None:
        weights, intercepts, choice["ridge"] = _ridges(x, train.ratings, held_out, validation.ratings)
        ridges = weights, intercepts
    return Floor(len(labels), scaler, fitted[best], ridges, choice)


def _standardised(scaler: "StandardScaler", features: np.ndarray) -> np.ndarray:
    return np.nan_to_num(scaler.transform(features.astype(np.float64)), nan=0.0, copy=False)


def _ridges(
    x: np.ndarray, ratings: np.ndarray, held_out: np.ndarray, held_out_ratings: np.ndarray
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Weights (3, d) and intercepts (3,) of the ratings, and how each alpha was chosen (None where nothing is rated).

    Ratings that the same rows have share their fits.
    """
    from sklearn.linear_model import Ridge

    weights, intercepts = np.zeros((len(RATINGS), x.shape[1])), np.full(len(RATINGS), _UNRATED)
    said: dict[str, Any] = dict.fromkeys(RATINGS)
    rated = ~np.isnan(ratings)
    for rows in np.unique(rated, axis=1).T:
        columns = np.flatnonzero((rated == rows[:, None]).all(axis=0))
        if not rows.any():
            continue
        true = ratings[np.ix_(rows, columns)].astype(np.float64)
        fitted = [Ridge(alpha=alpha).fit(x[rows], true) for alpha in ALPHA_GRID]
        guesses = [ridge.predict(held_out).reshape(len(held_out), -1) for ridge in fitted]  # (n,) of one target
        for target, column in enumerate(columns.tolist()):
            judged = ~np.isnan(held_out_ratings[:, column])
            reached: list[float | None] = [None]
            if judged.any():
                reached = [concordance(held_out_ratings[judged, column], guess[judged, target]) for guess in guesses]
            best = int(np.argmax(reached))
            weights[column] = np.atleast_2d(fitted[best].coef_)[target]
            intercepts[column] = np.atleast_1d(fitted[best].intercept_)[target]
            chosen = {"alpha": ALPHA_GRID[best], "validation": {"ccc": reached[best]}, "rows": int(rows.sum())}
            said[RATINGS[column]] = chosen
    return weights, intercepts, said


__all__ = ["ALPHA_GRID", "C_TIMES_ROWS", "MAX_ITERATIONS", "Floor", "FloorRows", "choosing_metric", "fit_floor"]
