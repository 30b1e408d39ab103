"""Counts against the scores of the rows themselves."""

import itertools

import numpy as np
import pytest
from made_runs import rows_of
from made_runs import scores_of as scores

from emomm.evaluation.tallies import mean_over_seeds
from emomm.evaluation.tallies import scores_of_tallies
from emomm.evaluation.tallies import tally


def test_tallies_give_the_scores_of_each_unit():
    references, predictions, speakers = rows_of(6, seeds=3)
    predictions[1, speakers == 2] = -1  # not tested by the second seed
    found = scores_of_tallies(tally(references, predictions, speakers, 4))
    assert found.shape == (3, 6, 4)
    for seed, speaker in itertools.product(range(3), range(6)):
        chosen = (speakers == speaker) & (predictions[seed] >= 0)
        if (seed, speaker) == (1, 2):
            assert np.isnan(found[seed, speaker]).all()
        else:
            assert found[seed, speaker] == pytest.approx(scores(references[chosen], predictions[seed, chosen]))
    averaged = mean_over_seeds(found)
    assert averaged[2] == pytest.approx(found[[0, 2], 2].mean(0))
    assert averaged[3] == pytest.approx(found[:, 3].mean(0))
