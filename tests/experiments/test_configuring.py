"""Settings become the model's configuration and the Trainer's arguments."""

import pytest

from emomm.experiments.configuring import feature_noise
from emomm.experiments.configuring import loading_arguments
from emomm.settings.settings import Settings


@pytest.mark.parametrize(
    ("settings", "rows", "expected"),
    [
        ({"fusion_type": "concat"}, 271, {"audio": 0.5**0.5, "text": 0.5**0.5}),  # more dimensions than rows: no more
        ({}, 271, {"audio": 0.5**0.5, "text": 1.0}),  # attention over tokens
        ({}, 51200, {"audio": 0.1, "text": 0.06**0.5 / 2}),
        ({"modality": "text"}, 271, {"text": 0.5**0.5}),
        ({"freeze_text_encoder": False}, 271, {"audio": 0.5**0.5}),  # its states aren't standardised
        ({"feature_noise": 0.3}, 271, {"audio": 0.3, "text": 0.3}),
        ({"feature_noise": 0.0}, 271, None),
        ({"feature_normalization": "none"}, 271, None),
    ],
)
def test_noise_grows_with_dimensions_and_falls_with_rows(settings, rows, expected):
    given = Settings(**settings)
    dims = {} if given.modality == "text" else {"audio": 512}
    assert feature_noise(given, rows, dims, 768) == (expected and pytest.approx(expected))


def test_defaults_are_those_of_the_docs():
    default = Settings()
    assert (default.text_pooling, default.modality_dropout, default.feature_noise) == ("mean", 0.2, None)
    assert (default.lr_base_width, default.lr_width_limit) == (2048, 1.5)


def test_recordings_are_read_ahead_beside_a_gpu_alone():
    """On a processor the cores are busy with the model; stored features and states are quicker read than handed on."""
    workers = {
        (reads, gpu): loading_arguments(reads, gpu)["dataloader_num_workers"]
        for reads in (False, True)
        for gpu in (False, True)
    }
    assert workers == {(False, False): 0, (True, False): 0, (False, True): 0, (True, True): 2}
    assert not loading_arguments(True, True).get("dataloader_persistent_workers")  # a resumed run would draw otherwise
