"""Encoders of random weights: the same at each call, and nobody else's random numbers change."""

import os

import numpy as np
import pytest
import torch

from emomm.encoder_layers import EncoderLayers
from emomm.errors import InputError
from emomm.features.random_encoders import NAMES
from emomm.features.random_encoders import random_encoder
from emomm.features.voice_encoders import load_speech_encoder
from emomm.waveforms import SAMPLING_RATE


@pytest.mark.parametrize("name", NAMES)
def test_the_same_at_each_call_and_no_random_number_is_drawn(name):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    (first, _), (second, _) = random_encoder(name), random_encoder(name)
    assert torch.equal(torch.rand(2), expected)
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    assert first is not second and all(torch.equal(one, other) for one, other in pairs)
    assert EncoderLayers.of(first).depth == 3
    encoder = load_speech_encoder(name)
    waveform = np.random.default_rng(0).standard_normal(SAMPLING_RATE // 10).astype(np.float32)
    assert encoder([waveform])[0].shape == (encoder.frames_of(len(waveform)), 32) == (5, 32)


def test_another_name_is_refused_with_those_that_there_are():
    with pytest.raises(InputError, match="no encoder 'random:huge' of random weights; there are random:tiny-wavlm"):
        random_encoder("random:huge")


def test_convolutions_of_ever_other_lengths_are_not_all_kept(monkeypatch):
    """What benchmarks/finetune_memory.py measures; what a user has set stays."""
    name = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
    for given, expected in ((None, "32"), ("100", "100")):
        monkeypatch.delenv(name, raising=False) if given is None else monkeypatch.setenv(name, given)
        load_speech_encoder.cache_clear()
        load_speech_encoder("random:tiny-wavlm")
        assert os.environ[name] == expected
