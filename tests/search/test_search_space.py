"""What is searched: read, checked, and what a trial is given of it."""

import json

import optuna
import pytest

from emomm.errors import InputError
from emomm.experiments.own_fusion import load_fusion
from emomm.search.space import check_space
from emomm.search.space import read_space
from emomm.settings.settings import Settings


@pytest.fixture
def write(tmp_path):
    def written(content):
        path = tmp_path / "space.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return written


WRONG = [
    ({"learning_rat": {"low": 1e-4, "high": 1e-2}}, "no setting 'learning_rat'. Did you mean 'learning_rate'?"),
    ({"learning_rate": {"low": 1e-2, "high": 1e-4}}, "low of learning_rate is 0.01 and high 0.0001"),
    ({"hidden_dim": {"low": 0, "high": 64, "log": True}}, "log of hidden_dim is true and low 0"),
    ({"learning_rate": {"low": 0, "high": 1}}, "low: learning_rate is 0, but must be a number above 0"),
    ({"dropout": {"low": 0.1, "high": 1.5}}, "high: dropout is 1.5, but must be a number of at least 0 and below 1"),
    ({"hidden_dim": {"low": 8.5, "high": 64}}, "low: hidden_dim is 8.5, but must be a whole number"),
    ({"hidden_dim": {"choices": []}}, "choices of hidden_dim is [], but must be a list of two values or more"),
    ({"hidden_dim": {"choices": [8, 8]}}, "must hold each value once"),
    ({"fusion_type": {"low": 1, "high": 2}}, "fusion_type is no number"),
    ({"loss": {"choices": ["focal", "cross_entrop"]}}, "Did you mean 'cross_entropy'?"),
    ({"hidden_dim": {"low": 8, "hihg": 64}}, "has the key 'hihg' (64). Did you mean 'high'?"),
    ({"hidden_dim": {"low": 8}}, "hidden_dim has no high"),
    ({"hidden_dim": {"low": 8, "high": 64, "choices": [1, 2]}}, "has choices and low (8)"),
    ({"hidden_dim": {"low": 8, "high": 64, "step": 0}}, "step of hidden_dim is 0"),
    ({"hidden_dim": {"low": 8, "high": 64, "step": 100}}, "at most high - low (56)"),
    ({"hidden_dim": {"low": 8, "high": 64, "step": 8, "log": True}}, "has log and step"),
    ({"hidden_dim": {"low": "8", "high": 64}}, 'low of hidden_dim is "8", but must be a number'),
    ({"hidden_dim": 8}, "hidden_dim is 8, but must be"),
    ({"batch_size": {"choices": [8, 16]}, "per_device_train_batch_size": {"choices": [8, 16]}}, "mean the same"),
    ({"seeds": {"choices": [1, 2]}}, "seeds can't be searched: it is part of the protocol"),
    ({"evaluation_mode": {"choices": ["loso", "both"]}}, "can't be searched: it is part of the protocol"),
    ({"validation_fraction": {"low": 0.1, "high": 0.3}}, "can't be searched: it is part of the protocol"),
    ({"corpora": {"choices": [1, 2]}}, "can't be searched: it is part of the protocol"),
    ({"folds": {"low": 2, "high": 5}}, "can't be searched: it is part of the protocol"),
    ({"seed": {"low": 2, "high": 5}}, "can't be searched: it is part of the protocol"),
    ({"metric_for_best_model": {"choices": ["uar", "loss"]}}, "it is what the trials are compared by"),
    ({"modality": {"choices": ["audio", "text"]}}, "compare experiments that differ in it"),
    ({"max_steps": {"low": 2, "high": 5}}, "use num_epochs"),
    ({"adam_beta1": {"low": 0.5, "high": 1.5}}, "adam_beta1 is 1.5, but must be a number of at least 0 and below 1"),
    ([1], "must be an object"),
    ({}, "must be an object"),
    ('{"hidden_dim": ', "no valid JSON"),
]


@pytest.mark.parametrize(("content", "said"), WRONG)
def test_what_is_wrong_is_named(write, content, said):
    with pytest.raises(InputError) as error:
        read_space(write(content))
    assert said in str(error.value) and "space.json" in str(error.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"none\.json: can't be read"):
        read_space(tmp_path / "none.json")


def test_trials_are_given_values_of_the_settings_types(write):
    space = read_space(
        write(
            {
                "learning_rate": {"low": 1, "high": 2},
                "hidden_dim": {"low": 8, "high": 30, "step": 8},
                "num_train_epochs": {"choices": [2, 3]},
                "adam_beta2": {"low": 0.9, "high": 0.99},
                "feature_noise": {"choices": [None, 0.5]},
                "use_curriculum_learning": {"choices": [True, False]},
            }
        )
    )
    assert space.card()["hidden_dim"] == {"low": 8, "high": 24, "step": 8}  # 30 is no step of 8 from 8
    assert read_space(write({"dropout": {"low": 0.0, "high": 0.6, "step": 0.1}})).dimensions[0].high == 0.6
    for _ in range(5):
        found = space.suggest(optuna.create_study().ask())
        assert isinstance(found["learning_rate"], float) and 1 <= found["learning_rate"] <= 2
        assert found["hidden_dim"] in (8, 16, 24) and isinstance(found["hidden_dim"], int)
        assert found["num_epochs"] in (2, 3) and found["feature_noise"] in (None, 0.5)
        assert found["use_curriculum_learning"] in (True, False)


def test_own_values_are_those_of_the_recipe(write):
    space = read_space(write({"learning_rate": {"low": 1e-4, "high": 1}, "hidden_dim": {"choices": [64, 256]}}))
    assert space.own_values(Settings(learning_rate=0.003)) == {"learning_rate": 0.003, "hidden_dim": 256}
    assert space.own_values(Settings(hidden_dim=100)) is None
    stepped = read_space(write({"dropout": {"low": 0.0, "high": 0.5, "step": 0.1}}))
    assert stepped.own_values(Settings(dropout=0.3)) == {"dropout": 0.3}
    assert stepped.own_values(Settings(dropout=0.35)) is None
    given = read_space(write({"adam_beta2": {"low": 0.9, "high": 0.99}}))
    assert given.own_values(Settings()) is None
    assert given.own_values(Settings(training_arguments={"adam_beta2": 0.95})) == {"adam_beta2": 0.95}


def test_what_changes_nothing_of_an_experiment_is_refused(write):
    space = read_space(write({"text_tuned_layers": {"choices": [1, 2]}}))
    with pytest.raises(InputError, match="text_tuned_layers is searched, but changes nothing there: no words"):
        check_space(space, Settings(modality="audio"))
    check_space(read_space(write({"hidden_dim": {"choices": [8, 16]}})), Settings())


def test_a_value_that_goes_with_no_other_is_refused(write):
    space = read_space(
        write({"lr_scheduler": {"choices": ["cosine", "curriculum"]}, "curriculum_epochs": {"choices": [0, 5]}})
    )
    check_space(space, Settings())  # a falling rate goes with one of them
    space = read_space(write({"lr_scheduler": {"choices": ["cosine", "plateau"]}}))
    with pytest.raises(InputError, match='lr_scheduler can\'t be "plateau" with any of the other values'):
        check_space(space, Settings(training_arguments={"warmup_steps": 0.1}))


def of_words_and_voice(**fields):
    return Settings(modality="both", fusion_type="cross_attention", **fields)


def test_values_that_go_with_some_of_the_others_alone_are_said(write):
    space = read_space(
        write({"num_attention_heads": {"low": 2, "high": 4}, "fusion_hidden_dim": {"choices": [8, 12, 16]}})
    )
    (note,) = check_space(space, of_words_and_voice(), load_fusion)
    assert note.startswith("2 of 9 combinations can't be trained, and fail as trials: ")
    assert "num_attention_heads is 3, but must divide fusion_hidden_dim, which is 8" in note
    assert check_space(space, Settings(modality="both", fusion_type="concat"), load_fusion) == []


def test_a_value_within_a_range_that_goes_with_no_other_is_refused(write):
    space = read_space(write({"num_attention_heads": {"low": 2, "high": 4}, "dropout": {"low": 0.0, "high": 0.5}}))
    with pytest.raises(InputError, match=r"num_attention_heads can't be 3 with any of the other values.*must divide"):
        check_space(space, of_words_and_voice(fusion_hidden_dim=8), load_fusion)
    stepped = {"num_attention_heads": {"low": 2, "high": 4, "step": 2}}
    assert check_space(read_space(write(stepped)), of_words_and_voice(fusion_hidden_dim=8), load_fusion) == []
    assert read_space(write({"dropout": {"low": 0.0, "high": 0.3, "step": 0.1}})).dimensions[0].some == (
        0,
        0.1,
        0.2,
        0.3,
    )


def test_where_combinations_are_too_many_to_look_at_none_is_refused_for_the_others(write):
    """12 goes with the last of the widths alone, which stands with the last of all others."""
    widths = [8 * number for number in range(1, 12)]
    others = {
        name: {"low": 0.0, "high": 0.5, "step": 0.1} for name in ("dropout", "label_smoothing", "modality_dropout")
    }
    space = {"num_attention_heads": {"choices": [8, 11, 4]}, "fusion_hidden_dim": {"choices": widths}, **others}
    (note,) = check_space(read_space(write(space)), of_words_and_voice(), load_fusion)
    assert "combinations that were looked at can't be trained" in note


def test_curricula_that_are_longer_than_their_training_are_said(write):
    given = Settings(use_curriculum_learning=True, num_epochs=10, curriculum_epochs=5)
    (note,) = check_space(read_space(write({"num_epochs": {"low": 3, "high": 30}})), given)
    assert "num_epochs can be 3, and curriculum_epochs 5: where a trial has fewer epochs" in note
    assert check_space(read_space(write({"num_epochs": {"low": 5, "high": 30}})), given) == []
    (note,) = check_space(read_space(write({"curriculum_epochs": {"choices": [5, 20]}})), given)
    assert "num_epochs can be 10, and curriculum_epochs 20" in note
