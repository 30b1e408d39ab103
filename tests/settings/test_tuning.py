import dataclasses
import json

import pytest

from emomm.errors import InputError
from emomm.settings.recipe import load_recipe
from emomm.settings.settings import Settings
from emomm.settings.settings import settings_identity
from emomm.settings.tuning import EncoderTuning
from emomm.settings.tuning import encoder_notes
from emomm.settings.tuning import tunings

HEARS = {"voice_input": "recording", "modality": "audio"}


def test_which_encoders_there_are_and_how_they_are_tuned_by_default():
    frozen = EncoderTuning("frozen", None, "last", 2e-5, 1.0)
    assert tunings(Settings()) == {"text": frozen}
    assert tunings(Settings(modality="audio")) == {}
    assert tunings(Settings(voice_input="recording")) == {"audio": frozen, "text": frozen}
    assert tunings(Settings(modality="text", voice_input="recording")) == {"text": frozen}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"speech_tuning": "full"}, ("full", None, "last", 2e-5, 1.0)),
        ({"speech_tuning": "last_k"}, ("last_k", 4, "last", 2e-5, 1.0)),
        ({"speech_tuning": "last_k", "speech_tuned_layers": 2}, ("last_k", 2, "last", 2e-5, 1.0)),
        ({"speech_tuning": "lora"}, ("lora", None, "last", 2e-4, 1.0)),
        ({"speech_tuning": "lora", "speech_tuned_layers": 3, "speech_layers": [3, 5]}, ("lora", 3, [3, 5], 2e-4, 1.0)),
        (
            {"speech_tuning": "full", "speech_learning_rate": 1e-5, "speech_layer_decay": 0.9},
            ("full", None, "last", 1e-5, 0.9),
        ),
        ({"speech_tuned_layers": 2}, ("frozen", None, "last", 2e-5, 1.0)),
    ],
)
def test_what_the_settings_of_an_encoder_come_to(fields, expected):
    assert tunings(Settings(**HEARS, **fields))["audio"] == EncoderTuning(*expected)
    of_text = {name.replace("speech", "text"): value for name, value in fields.items()}
    assert tunings(Settings(modality="text", **of_text))["text"] == EncoderTuning(*expected)


def test_freeze_text_encoder_and_text_tuning_say_the_same():
    assert tunings(Settings(freeze_text_encoder=False))["text"].how == "full"
    assert not Settings(text_tuning="lora").freeze_text_encoder
    assert Settings(text_tuning="frozen").freeze_text_encoder
    with pytest.raises(InputError, match="text_tuning is frozen, but freeze_text_encoder is false"):
        Settings(text_tuning="frozen", freeze_text_encoder=False)
    identities = [
        settings_identity(Settings(**fields)) for fields in ({"text_tuning": "full"}, {"freeze_text_encoder": False})
    ]
    assert identities[0] == identities[1]


@pytest.mark.parametrize(
    ("fields", "parts"),
    [
        (
            {"speech_tuning": "lora"},
            ['speech_tuning is "lora"', "voice_input is features", "set voice_input to recording"],
        ),
        ({"speech_tuning": "some"}, ["one of frozen, full, last_k, lora"]),
        (
            {**HEARS, "speech_layers": "lasst"},
            ["speech_layers", "last, mean, weighted", "mean 'last'?"],
        ),
        ({**HEARS, "speech_layers": []}, ["speech_layers is []", "one layer or more"]),
        ({**HEARS, "speech_layers": [1, 1]}, ["speech_layers is [1, 1]", "each once"]),
        (
            {**HEARS, "speech_tuning": "lora", "tune_convolutions": True},
            ["tune_convolutions", "speech_tuning is lora"],
        ),
        (
            {**HEARS, "augment_noise_snr": [20, 10]},
            ["augment_noise_snr is [20.0, 10.0]", "the lowest"],
        ),
        ({**HEARS, "augment_speed": [0.0, 1.1]}, ["augment_speed", "above 0"]),
        (
            {"training_arguments": {"activation_checkpointing": True}},
            ["activation_checkpointing is true", "no encoder is tuned"],
        ),
        ({**HEARS, "speech_layer_decay": 1.5}, ["speech_layer_decay is 1.5", "at most 1"]),
        ({**HEARS, "max_seconds": 0}, ["max_seconds is 0", "above 0"]),
    ],
)
def test_what_does_not_go_together_is_named(fields, parts):
    with pytest.raises(InputError) as caught:
        Settings(**fields)
    for part in parts:
        assert part in str(caught.value)


def test_settings_without_effect_are_noted_and_no_part_of_the_identity():
    settings = Settings(name="x", lora_rank=4, speech_layers="mean", speech_model_name="a")
    assert settings_identity(settings) == settings_identity(Settings())
    assert encoder_notes(settings) == [
        "experiment 'x': no encoder is tuned by LoRA: lora_rank (4) changes nothing",
        'experiment \'x\': voice_input is features: speech_model_name ("a"), speech_layers ("mean") changes nothing',
    ]
    assert encoder_notes(Settings()) == encoder_notes(Settings(**HEARS)) == []


def test_runs_that_were_finished_before_there_were_recordings_are_the_same():
    names = {"voice_input", "text_tuning", "text_layers", "lora_rank", "augment_mixup", "max_seconds", "layer_drop"}
    assert not names & settings_identity(Settings()).keys()
    assert "augment_mixup" in settings_identity(Settings(augment_mixup=0.2))
    assert "voice_input" in settings_identity(Settings(**HEARS))


@pytest.mark.parametrize(
    "fields",
    [
        {"speech_layers": "weighted"},
        {"speech_tuning": "last_k"},
        {"speech_tuning": "last_k", "speech_tuned_layers": 2},
        {"speech_tuning": "lora", "lora_rank": 4},
        {"speech_tuning": "full", "max_seconds": 3.0},
        {"speech_tuning": "full", "spec_augment": 0.1},
        {"augment_noise_snr": [10, 20]},
        {"speech_model_name": "other"},
        {"store_dtype": "float32"},
    ],
)
def test_settings_with_effect_are_part_of_the_identity(fields):
    base = Settings(**HEARS, speech_tuning=fields.get("speech_tuning", "frozen"))
    changed = dataclasses.replace(base, **fields)
    different = set(fields) != {"speech_tuning"}
    assert (settings_identity(changed) != settings_identity(base)) == different


def test_names_of_folders_are_relative_to_the_recipe(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(
        json.dumps({"speech_model_name": "./encoder", "augment_noise": "noises", "augment_room": "simulated"})
    )
    settings = load_recipe(path).experiments[0]
    assert settings.speech_model_name == str(tmp_path / "encoder")
    assert (settings.augment_noise, settings.augment_room) == (str(tmp_path / "noises"), "simulated")
