"""Settings that hold in one fold alone."""

import json

import pytest

from emomm.errors import InputError
from emomm.settings.fold_settings import as_block
from emomm.settings.fold_settings import settings_of_fold
from emomm.settings.fold_settings import why_fixed
from emomm.settings.fold_settings import with_values
from emomm.settings.recipe import load_recipe
from emomm.settings.settings import Settings
from emomm.settings.settings import settings_identity


@pytest.fixture
def load(tmp_path):
    def loaded(**fields):
        path = tmp_path / "recipe.json"
        path.write_text(json.dumps({**fields, "experiments": [{"name": "one"}]}))
        return load_recipe(path).experiments[0]

    return loaded


def test_a_fold_has_settings_of_its_own(load):
    by_fold = {"session-2": {"learning_rate": 0.5, "adam_beta2": 0.9, "num_train_epochs": 3}}
    settings = load(learning_rate=0.1, adam_beta1=0.8, by_fold=by_fold)
    of_fold = settings_of_fold(settings, "session-2")
    assert (of_fold.learning_rate, of_fold.num_epochs) == (0.5, 3)
    assert of_fold.training_arguments == {"adam_beta1": 0.8, "adam_beta2": 0.9}
    assert settings_of_fold(settings, "session-1").learning_rate == 0.1
    plain = load(learning_rate=0.5, num_epochs=3, adam_beta1=0.8, adam_beta2=0.9)
    assert settings_identity(of_fold) == settings_identity(plain)


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ({"learning_rate": -1}, "by_fold s1: learning_rate is -1"),
        ({"learning_rat": 1}, "Did you mean 'learning_rate'"),
        ({"seeds": [1]}, r"by_fold s1: seeds \(\[1\]\) can't differ by fold: it is part of the protocol"),
        ({"modality": "text"}, "by_fold s1: modality"),
        ({"lr_scheduler": "curriculum", "curriculum_epochs": 0}, "by_fold s1: lr_scheduler is curriculum"),
    ],
)
def test_what_is_wrong_in_a_fold_is_named(load, block, said):
    with pytest.raises(InputError, match=said):
        load(by_fold={"s1": block})


def test_folds_with_settings_of_their_own_are_not_stacked(load):
    with pytest.raises(InputError, match="stack is true, and by_fold is given"):
        load(stack=True, by_fold={"s1": {"learning_rate": 0.1}})


def test_a_new_scheduler_begins_without_arguments():
    settings = Settings(lr_scheduler="cosine", lr_scheduler_kwargs={"num_cycles": 2})
    assert with_values(settings, as_block({"lr_scheduler": "linear"})).lr_scheduler_kwargs == {}
    assert with_values(settings, as_block({"lr_scheduler": "cosine"})).lr_scheduler_kwargs == {"num_cycles": 2}


def test_how_settings_were_found_must_be_as_it_was_written(load):
    with pytest.raises(InputError, match="searched is .* must be as emomm search writes it: its form is null"):
        load(searched={"trials": 3})


def test_what_may_be_searched():
    assert why_fixed("learning_rate") is why_fixed("adam_beta1") is why_fixed("dropout") is None
    for name in ("train_dataset", "validation", "seeds", "folds", "manifest", "disjoint_by", "metric_for_best_model"):
        assert why_fixed(name), name
    for name in ("modality", "output_dir", "stack", "seed", "logging_steps", "max_steps", "text_model_name"):
        assert why_fixed(name), name
