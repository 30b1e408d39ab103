"""One run: what its test rows may not touch, and what is found before it trains."""

import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_jobs import SMALL
from small_jobs import assert_same_run
from small_jobs import run_files
from small_jobs import write_recipe
from tiny_encoders import tiny_encoder

from emomm.corpora.synthetic import Generator
from emomm.corpora.synthetic import generate
from emomm.curriculum_trainer import CurriculumTrainer
from emomm.errors import InputError
from emomm.evaluation.metrics import RATINGS
from emomm.evaluation.metrics import vad_scores
from emomm.experiments import job
from emomm.experiments.part_cards import part_cards
from emomm.inference.predicting import predict
from emomm.settings.recipe import load_recipe

WORDS = "i am so happy sad angry today not you said it was fine leave me alone what a day".split()


def with_noise_in(table, session, rng):
    """The corpus with other labels, voice features, ratings and sentences in one session."""
    rows = np.flatnonzero(np.array(table["session"].to_pylist()) == session)
    columns = {name: table[name].to_pylist() for name in table.column_names}
    for row, other in zip(rows, rng.permutation(rows), strict=True):
        columns["label"][row] = rng.choice(sorted(set(columns["label"]) - {columns["label"][row]}))
        shape = np.shape(columns["audio_features"][row])
        columns["audio_features"][row] = (100 * rng.standard_normal(shape)).tolist()
        for name in ("valence", "arousal", "dominance"):
            columns[name][row] = 6 - columns[name][other]
        columns["transcript"][row] = " ".join(rng.choice(WORDS, size=rng.integers(1, 12)))
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
        "vad_loss_weight": 0.5,
    }
    for name, table in tables.items():
        pq.write_table(table, tmp_path / f"{name}.parquet")
        own = {"corpora": {"made": {"path": str(tmp_path / f"{name}.parquet")}}}
        own["store_dir"] = str(tmp_path / f"store of {name}")  # each encodes its words beside the words that it has
        assert job.run(load_recipe(write_recipe(tmp_path, name, **fields, **own))).failed == []

    def files(name, fold):
        return run_files(tmp_path / name / "small" / "seed-1" / fold)

    one, two = files("clean", "session-1"), files("noise", "session-1")
    for name, value in one["weights"].items():
        np.testing.assert_array_equal(value, two["weights"][name], err_msg=name)
    assert one["history"] == two["history"]
    reached = [entry["eval_uar"] for entry in one["history"] if "eval_uar" in entry]
    assert one["metrics"]["best_epoch_ties"] == reached.count(max(reached)) - 1
    assert one["metrics"]["validation"] == two["metrics"]["validation"]
    assert one["metrics"]["test"] != two["metrics"]["test"]
    one, two = files("clean", "session-2"), files("noise", "session-2")
    assert not np.array_equal(one["weights"]["classifier.0.weight"], two["weights"]["classifier.0.weight"])


def test_a_model_of_ratings_from_the_corpus_to_its_predictions(tmp_path):
    """Rated rows train it, in training alone; it is scored where there are ratings, and gives them to who loads it."""
    encoder = tiny_encoder(tmp_path / "encoder", hidden=16)
    fields = {"text_model_name": encoder, "vad_loss_weight": 1.0, "num_epochs": 4}
    settings = {"generator": {**SMALL["corpora"]["synthetic"]["generator"], "missing_vad": 0.3}}
    assert job.run(load_recipe(write_recipe(tmp_path, **fields, corpora={"synthetic": settings}))).failed == []
    results = json.loads((tmp_path / "small" / "results.json").read_text())
    for run in results["experiments"][0]["runs"]:
        folder = tmp_path / "small" / "small" / "seed-1" / run["fold"]
        table = pq.read_table(folder / "predictions.parquet")
        rated, given = (
            np.stack([table[prefix + name].to_numpy() for name in RATINGS], axis=-1) for prefix in ("", "predicted_")
        )
        assert 0 < np.isnan(rated).any(axis=1).sum() < len(rated) and ((given > 1) & (given < 5)).all()
        for name, expected in vad_scores(rated, given).items():
            assert run["test"]["synthetic"]["vad"][name] == pytest.approx(expected)
        assert run["validation"]["vad"]["valence"]["n"] > 0
    assert set(results["experiments"][0]["statistics"]["synthetic"]["vad"]) == set(RATINGS)
    rows = generate(Generator.from_dict("synthetic", settings["generator"]))
    pq.write_table(rows, tmp_path / "rows.parquet")
    assert predict(str(folder / "model"), str(tmp_path / "rows.parquet"), str(tmp_path / "said.parquet")) == 48
    said = pq.read_table(tmp_path / "said.parquet")
    by_id = dict(zip(said["utterance_id"].to_pylist(), said["predicted_valence"].to_pylist(), strict=True))
    for name, value in zip(table["utterance_id"].to_pylist(), table["predicted_valence"].to_pylist(), strict=True):
        assert by_id[name] == pytest.approx(value, abs=5e-3)  # stored in float16 while training


def test_a_job_with_a_short_last_batch_has_the_steps_of_its_plan(tmp_path):
    """Settings reach the training: the rows of an epoch, momentum, a plain draw of the validation rows."""
    recipe = write_recipe(
        tmp_path,
        modality="audio",
        validation="random_unstratified",
        short_last_batch=True,
        use_speaker_disentanglement=False,
        gradient_accumulation_steps=2,
        optim="rmsprop",
        optim_args="momentum=0.9",
        lr_scheduler="cyclic",
        lr_scheduler_kwargs={"max_lr": 0.02, "cycle_momentum": True},
    )
    plan = job.run(load_recipe(recipe), dry_run=True).text
    assert job.run(load_recipe(recipe)).failed == []
    results = json.loads((tmp_path / "small" / "results.json").read_text())
    assert "of speakers that are also trained on" in results["protocol"][0]
    for run, line in zip(results["experiments"][0]["runs"], plan.splitlines()[2:], strict=False):
        rows = run["parts"]["train"]["rows"]
        assert rows % 4 and run["steps"] == 2 * -(-rows // 8) == int(line.split()[-1])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"lr_scheduler": "step", "lr_scheduler_kwargs": {"step_sise": 3}}, "step_sise"),
        ({"lr_scheduler": "plateau", "lr_scheduler_kwargs": {"patients": 3}}, "patients"),
        ({"lr_scheduler": "plateau", "warmup_steps": 3}, "warmup_steps"),
    ],
)
def test_wrong_training_arguments_are_found_before_any_training(tmp_path, fields, message):
    recipe = write_recipe(tmp_path, modality="audio", **fields)
    with pytest.raises(InputError, match=message):
        job.run(load_recipe(recipe))
    assert not (tmp_path / "small").exists()


def test_no_name_of_a_session_leads_out_of_the_jobs_folder(tmp_path):
    """Corpora are other people's: a session can be called anything, also a path or 300 letters."""
    names = ["x/../../../../../../pwned", "y" * 300, "2020/01"]
    settings = {**SMALL["corpora"]["synthetic"]["generator"], "sessions": 3, "speakers": 6}
    table = generate(Generator.from_dict("synthetic", settings))
    sessions = [names[int(each) - 1] for each in table["session"].to_pylist()]
    table = table.set_column(table.column_names.index("session"), "session", pa.array(sessions))
    pq.write_table(table, tmp_path / "own.parquet")
    corpora = {"own": {"path": str(tmp_path / "own.parquet")}}
    recipe = write_recipe(tmp_path, "a", modality="audio", train_dataset="own", corpora=corpora, num_epochs=1)
    assert job.run(load_recipe(recipe)).failed == []
    folders = [path.name for path in (tmp_path / "a" / "small" / "seed-1").iterdir()]
    assert len(folders) == 3 and all(re.fullmatch(r"session-[\w-]{1,60}", name) for name in folders)
    assert {path.name for path in tmp_path.iterdir()} <= {"own.parquet", "a.json", "a", "store"}
    results = json.loads((tmp_path / "a" / "results.json").read_text())
    assert any("2020/01" in line for line in results["protocol"])


def test_a_run_whose_predictions_are_gone_is_made_again(tmp_path, caplog):
    recipe = write_recipe(tmp_path, "a", modality="audio", num_epochs=1)
    assert job.run(load_recipe(recipe)).failed == []
    before = json.loads((tmp_path / "a" / "results.json").read_text())["experiments"][0]["summary"]
    lost = tmp_path / "a" / "small" / "seed-1" / "session-2" / "predictions.parquet"
    lost.unlink()
    assert job.run(load_recipe(recipe)).failed == [] and lost.exists()
    assert "its predictions.parquet is gone; it is trained again" in caplog.text
    assert json.loads((tmp_path / "a" / "results.json").read_text())["experiments"][0]["summary"] == before


def test_noise_is_in_what_rows_differ_by(tmp_path):
    """Of frames as of one vector: that of a recording's mean is what the setting names, in those of all means."""
    noise = {}
    for projection in (4, None):  # with one, the model reads the frames
        fields = {
            "train_dataset": "emodb",
            "modality": "audio",
            "audio_projection_dim": projection,
            "curriculum_type": "random",
        }
        recipe = load_recipe(write_recipe(tmp_path, **fields, use_difficulty_scaling=False, feature_noise=0.5))
        experiment, (run, *_) = job.plan_experiment(recipe.experiments[0], tmp_path / "job")
        rows = experiment.data.rows(run.fold.train)
        noise[projection] = experiment._model(rows).config.feature_noise["audio"]
    frames = experiment.data.vectors("audio").take(rows)
    means = frames.pooled("mean")
    assert noise[None] == 0.5
    ratio = np.sqrt(np.mean((means.statistics().std / frames.statistics().std) ** 2))
    assert noise[4] == pytest.approx(0.5 * ratio) and ratio < 0.5


def test_a_disk_that_fills_while_training_is_one_message(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("emomm.curriculum_trainer.save_file", full)
    with pytest.raises(InputError, match="reading or writing a file of .* failed .*No space left on device.*goes on"):
        job.run(load_recipe(write_recipe(tmp_path, "a", modality="audio", num_epochs=1)))


@pytest.mark.parametrize(("rule", "shared"), [("random", 2), ("speakers", 0)])
def test_validation_says_whether_it_shares_speakers_with_training(tmp_path, rule, shared):
    """A score on speakers who are trained on is higher: the results say how many are."""
    recipe = load_recipe(write_recipe(tmp_path, modality="audio", validation=rule, validation_fraction=0.4))
    experiment, (run, _) = job.plan_experiment(recipe.experiments[0], tmp_path / "job")
    part = part_cards(experiment.data, run.fold)["validation"]
    assert part["speakers_trained_on"] == shared and part["speaker_count"] == max(shared, 1)
    assert experiment.card()["selection"] == {"metric": "uar", "validation": rule, "fraction": 0.4}
    experiment.data.speakers = np.full(len(experiment.data.speakers), "synthetic/unknown")
    assert part_cards(experiment.data, run.fold)["validation"]["speakers_trained_on"] is None


@pytest.fixture(scope="module")
def whole_jobs(tmp_path_factory):
    """Gives a small job by its fields of TrainingArguments, with everything on that a run can have; made once each. It
    has one run: to trace its model takes seconds."""
    folder, found = tmp_path_factory.mktemp("whole"), {}
    generator = SMALL["corpora"]["synthetic"]["generator"] | {"rows": 24}
    corpora = {name: {"generator": generator | {"seed": seed}} for seed, name in enumerate(("synthetic", "other"))}
    one_run = {"corpora": corpora, "evaluation_mode": "cross_corpus", "test_datasets": ["other"]}
    encoder = tiny_encoder(folder / "encoder", hidden=16)

    def made(name, **fields):
        if name not in found:
            whole = {"curriculum_type": "difficulty", "num_epochs": 3, "dropout": 0.2, "post_curriculum_dropout": 0.4}
            given = {**one_run, **whole, "text_model_name": encoder, "class_weights": "balanced", **fields}
            recipe = write_recipe(folder, name, **given)
            assert job.run(load_recipe(recipe)).failed == []
            (found[name],) = (folder / name / "small" / "seed-1").iterdir()
        return found[name]

    return made


def test_a_compiled_run_is_the_run_that_is_not(whole_jobs):
    """Traced, and carried out by the same kernels: the very bits, under the names that a model's weights have."""
    assert_same_run(whole_jobs("plain"), whole_jobs("compiled", torch_compile_backend="eager"))


def test_a_compiled_run_that_is_interrupted_goes_on(whole_jobs, tmp_path, monkeypatch):
    step, taken = CurriculumTrainer.training_step, []

    def stops(self, *args, **kwargs):
        taken.append(1)
        if len(taken) == 8:
            raise ValueError("stopped")
        return step(self, *args, **kwargs)

    monkeypatch.setattr(CurriculumTrainer, "training_step", stops)
    with pytest.raises(ValueError, match="stopped"):
        whole_jobs("interrupted", torch_compile_backend="eager", save_seconds=0)
    again = whole_jobs("interrupted", torch_compile_backend="eager", save_seconds=0)
    assert_same_run(whole_jobs("compiled", torch_compile_backend="eager"), again)


@pytest.mark.parametrize("fields", [{"bf16": True}, {"optim": "adamw_torch"}])
def test_other_precision_and_optimisers_learn_about_the_same(whole_jobs, fields):
    """On a processor too; the weights are kept in float32."""
    one, other = run_files(whole_jobs("plain")), run_files(whole_jobs(next(iter(fields)), **fields))
    assert {name: value.dtype for name, value in one["weights"].items()} == dict.fromkeys(
        other["weights"], np.dtype(np.float32)
    )
    losses = [[entry["loss"] for entry in each["history"] if "loss" in entry] for each in (one, other)]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
    assert losses[0] != losses[1] or fields != {"bf16": True}


def test_compiling_without_a_compiler_is_refused_before_anything_trains(tmp_path, monkeypatch):
    recipe = load_recipe(write_recipe(tmp_path, modality="audio", torch_compile=True))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(InputError, match=r"torch_compile needs a C\+\+ compiler, and there is no g\+\+ or clang\+\+"):
        job.run(recipe, dry_run=True)
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(InputError, match="there is no no-such-compiler here"):
        job.run(recipe, dry_run=True)
