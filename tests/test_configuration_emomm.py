"""Every value that a configuration refuses, and that it comes back from a file as it was."""

import json

import pytest
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig
from transformers import BertConfig
from transformers import RobertaConfig

from emomm.configuration_emomm import EmoMMConfig

NAMES = {0: "neutral", 1: "happy", 2: "sad", 3: "anger"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"modality": "video"}, "modality='video' is not known; it can be audio, text, both"),
        ({"text_pooling": "max"}, "text_pooling='max' is not known; it can be cls, mean"),
        ({"loss": "hinge"}, "loss='hinge' is not known; it can be cross_entropy, focal"),
        ({"audio_dim": 0}, "audio_dim=0 is out of range"),
        ({"text_dim": -1}, "text_dim=-1"),
        ({"text_max_length": 0}, "text_max_length=0"),
        ({"fusion_hidden_dim": 0}, "fusion_hidden_dim=0"),
        ({"num_attention_heads": 0}, "num_attention_heads=0"),
        ({"audio_projection_dim": 0}, "audio_projection_dim=0"),
        ({"hidden_dim": -1}, "hidden_dim=-1"),
        ({"dropout": 1.0}, "dropout=1.0 is out of range; it must be at least 0 and below 1"),
        ({"dropout": -0.1}, "dropout=-0.1"),
        ({"dropout": float("nan")}, "dropout=nan"),
        ({"label_smoothing": 1.0}, "label_smoothing=1.0"),
        ({"focal_gamma": -0.5}, "focal_gamma=-0.5"),
        ({"focal_gamma": float("inf")}, "focal_gamma=inf"),
        ({"loss_temperature": 0}, "loss_temperature=0 is out of range; it must be above 0"),
        ({"loss_temperature": -1.0}, "loss_temperature=-1.0"),
        ({"loss_temperature": float("nan")}, "loss_temperature=nan"),
        ({"num_attention_heads": 6}, "num_attention_heads=6 does not divide fusion_hidden_dim=512"),
        ({"class_weights": [1.0, 2.0], "id2label": NAMES}, "must be 4 finite numbers"),
        ({"class_weights": [1.0, 1.0, 1.0, -1.0], "id2label": NAMES}, "none below 0"),
        ({"class_weights": [0, 0, 0, 0], "id2label": NAMES}, "not all 0"),
        ({"vad_loss_weight": -1}, "vad_loss_weight=-1 is out of range"),
        ({"class_weights": [1.0, 1.0, 1.0, float("nan")], "id2label": NAMES}, "must be 4 finite numbers"),
        ({"class_weights": [1.0, 1.0, 1.0, float("inf")], "id2label": NAMES}, "must be 4 finite numbers"),
    ],
)
def test_values_out_of_range_are_refused(values, message):
    with pytest.raises(StrictDataclassError, match=message):
        EmoMMConfig(**values)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("modality", 3),
        ("audio_dim", "768"),
        ("audio_dim", 768.0),
        ("dropout", "0.1"),
        ("freeze_text_encoder", "yes"),
        ("class_weights", "balanced"),
        ("fusion_module", 1),
        ("text_config", "bert-base-uncased"),
    ],
)
def test_wrong_types_are_refused_with_the_fields_name(name, value):
    with pytest.raises(StrictDataclassError, match=name):
        EmoMMConfig(**{name: value})


def test_heads_matter_to_cross_attention_alone():
    assert EmoMMConfig(num_attention_heads=6, fusion_type="gated").num_attention_heads == 6
    assert EmoMMConfig(num_attention_heads=6, modality="audio").num_attention_heads == 6


def test_whole_numbers_do_for_floats():
    config = EmoMMConfig(dropout=0, focal_gamma=2, loss_temperature=1, class_weights=[1, 2], num_labels=2)
    assert (config.dropout, config.focal_gamma, config.loss_temperature) == (0, 2, 1)


@pytest.mark.parametrize(
    ("modality", "audio", "text"), [("audio", True, False), ("text", False, True), ("both", True, True)]
)
def test_what_each_modality_uses(modality, audio, text):
    config = EmoMMConfig(modality=modality)
    assert (config.uses_audio, config.uses_text) == (audio, text)


@pytest.mark.parametrize("encoder", [BertConfig, RobertaConfig])
def test_a_configuration_comes_back_as_it_was(tmp_path, encoder):
    config = EmoMMConfig(
        modality="both",
        audio_dim=12,
        audio_projection_dim=5,
        audio_encoder="someone/speech",
        text_config=encoder(hidden_size=32, num_attention_heads=2, num_hidden_layers=1, vocab_size=99),
        text_dim=32,
        text_model_name="someone/words",
        text_max_length=77,
        text_pooling="mean",
        freeze_text_encoder=False,
        holds_text_encoder=True,
        fusion_type="gated",
        fusion_hidden_dim=20,
        num_attention_heads=5,
        hidden_dim=0,
        dropout=0.25,
        loss="focal",
        focal_gamma=1.5,
        loss_temperature=0.7,
        label_smoothing=0.05,
        class_weights=[1.0, 0.0, 2.5, 0.5],
        id2label=NAMES,
        label2id={name: i for i, name in NAMES.items()},
    )
    config.save_pretrained(tmp_path)
    for loaded in (EmoMMConfig.from_pretrained(tmp_path), AutoConfig.from_pretrained(tmp_path)):
        assert type(loaded) is EmoMMConfig
        assert type(loaded.text_config) is encoder and loaded.text_config.vocab_size == 99
        assert loaded.auto_map["AutoConfig"] == "configuration_emomm.EmoMMConfig"  # in the file beside it
        expected = config.to_dict() | {name: getattr(loaded, name) for name in ("auto_map", "custom_pipelines")}
        for name, value in loaded.to_dict().items():
            if name not in ("transformers_version", "_name_or_path"):
                assert value == expected[name], name
        assert loaded.id2label == NAMES and loaded.num_labels == 4


def test_a_configuration_without_words_holds_no_encoder(tmp_path):
    EmoMMConfig(modality="audio").save_pretrained(tmp_path)
    assert EmoMMConfig.from_pretrained(tmp_path).text_config is None


def test_a_file_with_a_wrong_value_is_refused(tmp_path):
    EmoMMConfig().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"dropout": 1.5}))
    with pytest.raises(StrictDataclassError, match="dropout=1.5"):
        EmoMMConfig.from_pretrained(tmp_path)
