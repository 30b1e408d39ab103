"""The sampler by itself, as the plain iterator that the Trainer takes."""

import numpy as np
import torch

from emomm.curriculum.pool import Curriculum
from emomm.curriculum.sampling import CurriculumSampler

ROWS, BATCH = 26, 4
LABELS = np.random.default_rng(0).integers(0, 3, ROWS)
DIFFICULTY = np.random.default_rng(2).random(ROWS)


def test_the_sampler_is_a_function_of_its_arguments():
    curriculum = Curriculum("difficulty", "linear", 3, seed=5)
    one, two = (CurriculumSampler(LABELS, BATCH, 2, curriculum, difficulty=DIFFICULTY) for _ in range(2))
    np.random.seed(1)
    torch.manual_seed(1)
    first = [list(one), list(one)]
    assert first[0] == first[1] == list(two) and len(first[0]) == len(one) == 8 * BATCH
    one.set_epoch(2)
    assert list(one) != first[0] and len(list(one)) == len(one)


def test_a_pool_is_made_once_an_epoch_and_anew_with_other_scores(monkeypatch):
    asked, pool = [], Curriculum.pool

    def counted(self, epoch, *given):
        asked.append(epoch)
        return pool(self, epoch, *given)

    monkeypatch.setattr(Curriculum, "pool", counted)
    sampler = CurriculumSampler(LABELS, BATCH, curriculum=Curriculum("model_confidence", "linear", 3))
    for epoch in range(3):
        sampler.set_epoch(epoch)
        sampler.confidence = np.roll(DIFFICULTY, epoch)
        found = sampler.pool()
        assert set(sampler) == set(found.tolist()) and sampler.pool() is found
    assert asked == [0, 1, 2]
    sampler.confidence = 1 - sampler.confidence
    sampler.set_epoch(1)
    assert sampler.pool().tolist() != found.tolist() and asked == [0, 1, 2, 1]


def test_a_short_last_batch_is_what_is_left_of_a_pass():
    whole = CurriculumSampler(LABELS, BATCH, 2)
    short = CurriculumSampler(LABELS, BATCH, 2, short_last_batch=True)
    for epoch in range(3):
        whole.set_epoch(epoch), short.set_epoch(epoch)
        assert list(short) == list(whole)[:ROWS] and sorted(short) == list(range(ROWS))
    assert (len(short), len(whole)) == (ROWS, 8 * BATCH)
    curriculum = Curriculum("difficulty", "linear", 2)  # and of as many rows in an epoch of a curriculum
    paced = CurriculumSampler(LABELS, BATCH, curriculum=curriculum, difficulty=DIFFICULTY, short_last_batch=True)
    assert len(list(paced)) == ROWS and set(paced) == set(paced.pool()) and len(paced.pool()) == ROWS // 2
    given = CurriculumSampler(LABELS, BATCH, batches=3, short_last_batch=True)
    assert len(list(given)) == len(given) == 3 * BATCH
