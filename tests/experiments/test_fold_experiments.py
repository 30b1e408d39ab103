"""An experiment whose settings differ by fold."""

import json

import pytest
from small_jobs import assert_same_run
from small_jobs import write_recipe

from emomm.cli.main import main
from emomm.errors import InputError
from emomm.experiments.job import run
from emomm.settings.recipe import load_recipe


def test_each_fold_trains_with_its_own_settings(tmp_path):
    """As an experiment with those settings throughout would, whose folds are the same to the last bit."""
    given = {"modality": "audio", "floors": False, "learning_rate": 0.01}
    by_fold = {"session-2": {"learning_rate": 0.03, "hidden_dim": 4, "num_epochs": 1, "adam_beta1": 0.8}}
    mixed = write_recipe(tmp_path, "mixed", **given, by_fold=by_fold)
    plain = write_recipe(tmp_path, "plain", **given)
    other = write_recipe(tmp_path, "other", **{**given, **by_fold["session-2"]})
    for path in (mixed, plain, other):
        run(load_recipe(path))
    first, second = (tmp_path / "mixed/small/seed-1" / name for name in ("session-1", "session-2"))
    assert_same_run(first, tmp_path / "plain/small/seed-1/session-1")
    assert_same_run(second, tmp_path / "other/small/seed-1/session-2")
    records = [json.loads((folder / "run.json").read_text()) for folder in (first, second)]
    assert [each["settings"]["hidden_dim"] for each in records] == [8, 4]
    assert "by_fold" not in records[0]["settings"]


def test_a_fold_that_is_none_is_named(tmp_path):
    recipe = load_recipe(write_recipe(tmp_path, modality="audio", by_fold={"session-3": {"learning_rate": 1.0}}))
    with pytest.raises(InputError, match="by_fold names 'session-3', which is no fold. Did you mean 'session-"):
        run(recipe, dry_run=True)


def test_a_model_of_all_sessions_has_no_settings_by_fold(tmp_path, capsys):
    recipe = write_recipe(tmp_path, modality="audio", by_fold={"session-1": {"learning_rate": 1.0}})
    assert main(["run", str(recipe), "--push_to_hub", "--hub_model_id", "a/b", "--dry_run"]) == 2
    assert "by_fold gives the folds settings of their own" in capsys.readouterr().err
