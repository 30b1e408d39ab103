"""One run: what its test rows may not touch, and what is found before it trains."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_jobs import SMALL
from small_jobs import run_files
from small_jobs import write_recipe
from tiny_encoders import tiny_encoder

from emomm import job
from emomm.errors import InputError
from emomm.settings import load_recipe
from emomm.synthetic import Generator
from emomm.synthetic import generate


def with_noise_in(table, session, rng):
    """The corpus with other labels, voice features and ratings in one session."""
    rows = np.flatnonzero(np.array(table["session"].to_pylist()) == session)
    columns = {name: table[name].to_pylist() for name in table.column_names}
    for row, other in zip(rows, rng.permutation(rows), strict=True):
        columns["label"][row] = rng.choice(sorted(set(columns["label"]) - {columns["label"][row]}))
        shape = np.shape(columns["audio_features"][row])
        columns["audio_features"][row] = (100 * rng.standard_normal(shape)).tolist()
        for name in ("valence", "arousal", "dominance"):
            columns[name][row] = 6 - columns[name][other]
    return pa.table({name: pa.array(values, table[name].type) for name, values in columns.items()})


def test_test_rows_never_influence_training(tmp_path):
    """With noise in session 1, the run that tests on it ends in the same weights, the one that trains on it doesn't.

    Everything that is computed from rows is on: fitted prototypes, difficulty weights, class weights, the curriculum,
    a validation part by class, the choice of the epoch.
    """
    settings = SMALL["corpora"]["synthetic"]["generator"]
    clean = generate(Generator(**{key: tuple(v) if isinstance(v, list) else v for key, v in settings.items()}))
    tables = {"clean": clean, "noise": with_noise_in(clean, "1", np.random.default_rng(0))}
    fields = {
        "text_model_name": tiny_encoder(tmp_path / "encoder", hidden=16),
        "train_dataset": "made",
        "expected_vad": "fit",
        "curriculum_type": "difficulty",
        "curriculum_epochs": 2,
        "num_epochs": 3,
        "class_weights": "balanced",
    }
    for name, table in tables.items():
        pq.write_table(table, tmp_path / f"{name}.parquet")
        corpora = {"made": {"path": str(tmp_path / f"{name}.parquet")}}
        assert job.run(load_recipe(write_recipe(tmp_path, name, **fields, corpora=corpora))).failed == []

    def files(name, fold):
        return run_files(tmp_path / name / "small" / "seed-1" / fold)

    one, two = files("clean", "session-1"), files("noise", "session-1")
    for name, value in one["weights"].items():
        np.testing.assert_array_equal(value, two["weights"][name], err_msg=name)
    assert one["history"] == two["history"]
    assert one["metrics"]["validation"] == two["metrics"]["validation"]
    assert one["metrics"]["test"] != two["metrics"]["test"]
    one, two = files("clean", "session-2"), files("noise", "session-2")
    assert not np.array_equal(one["weights"]["classifier.0.weight"], two["weights"]["classifier.0.weight"])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"lr_scheduler": "step", "lr_scheduler_kwargs": {"step_sise": 3}}, "step_sise"),
        ({"lr_scheduler": "plateau", "lr_scheduler_kwargs": {"patients": 3}}, "patients"),
        ({"lr_scheduler": "exponential", "warmup_steps": 3}, "warmup_steps"),
    ],
)
def test_wrong_training_arguments_are_found_before_any_training(tmp_path, fields, message):
    recipe = write_recipe(tmp_path, modality="audio", **fields)
    with pytest.raises(InputError, match=message):
        job.run(load_recipe(recipe))
    assert not (tmp_path / "small").exists()
