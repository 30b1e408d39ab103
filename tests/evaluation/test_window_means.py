"""What a model says of a row in several windows is said once."""

import torch

from emomm.evaluation.window_means import first_windows
from emomm.evaluation.window_means import window_means

WINDOW_OF = torch.tensor([0, 1, 1, 1, 2])


def test_means_over_the_windows_of_each_row():
    logits = torch.tensor([[1.0, 2.0], [3.0, 0.0], [6.0, 3.0], [0.0, 3.0], [0.1, 0.7]])
    vad = torch.arange(15.0).reshape(5, 3)
    found, ratings = window_means((logits, vad), WINDOW_OF)
    assert torch.equal(found, torch.tensor([[1.0, 2.0], [3.0, 2.0], [0.1, 0.7]]))
    assert torch.equal(ratings, vad[[0, 2, 4]])
    assert window_means(logits.bfloat16(), WINDOW_OF).dtype == torch.float32
    assert window_means(None, WINDOW_OF) is None


def test_what_is_the_same_of_all_windows():
    labels = torch.tensor([5, 7, 7, 7, 5])
    assert torch.equal(first_windows(labels, WINDOW_OF), torch.tensor([5, 7, 5]))
    assert first_windows((labels, None), WINDOW_OF)[1] is None and first_windows(None, WINDOW_OF) is None
