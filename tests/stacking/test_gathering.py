"""Batches of a stack by index, as they lie on a device and as they are read from disk."""

import numpy as np
import pytest
import torch

from emomm.data_collator import EmoMMDataCollator
from emomm.features.sequences import Sequences
from emomm.stacking.gathering import Batches


def sequences(lengths: list[int], width: int, seed: int) -> Sequences:
    values = np.random.default_rng(seed).standard_normal((sum(lengths), width)).astype(np.float16)
    return Sequences.from_arrays(values, np.array(lengths))


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("lengths", [[1, 1, 1, 1, 1, 1], [2, 4, 0, 1, 3, 1]])
def test_a_batch_is_what_the_collator_makes_of_each_run(held, lengths):
    found = Sequences.concatenate([sequences(lengths, 5, 0), sequences(lengths, 5, 1)])
    batches = Batches({"audio_features": found}, torch.device("cpu"))
    if held:
        batches.vectors["audio_features"]._hold(1e9)
        assert batches.vectors["audio_features"]._held is not None
    rows = np.array([[0, 1, 5], [9, 8, 2]])
    given = batches.inputs(rows)
    collator = EmoMMDataCollator()
    for k, of_run in enumerate(rows):
        words = [
            {"audio_features": found[i] if len(found[i]) else None, "text_features": np.ones((1, 2))} for i in of_run
        ]
        alone = collator(words)
        own = alone["audio_features"]
        if "audio_mask" in alone:
            length = own.shape[1]
            assert torch.equal(given["audio_mask"][k][:, :length], alone["audio_mask"])
            assert not given["audio_mask"][k][:, length:].any() and not given["audio_features"][k][:, length:].any()
            assert torch.equal(given["audio_features"][k][:, :length], own)
            assert batches.sizes(of_run) == (3, length)
        else:
            assert torch.equal(given["audio_features"][k], own) and "audio_mask" not in given
