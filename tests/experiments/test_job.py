"""Small whole jobs, from the command line to results.json: what is planned, done, kept, and what the files hold."""

import contextlib
import io
import json
import logging
import os
import shutil
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from raw_corpora import write_raw
from sklearn import metrics as reference
from tiny_encoders import tiny_encoder

from emomm.cli.main import main
from emomm.corpora.builtin import resolve_specs
from emomm.corpora.loading import load_corpus
from emomm.experiments.training import Experiment
from emomm.modeling_emomm import EmoMMForEmotionClassification
from emomm.processing_emomm import EmoMMProcessor

CLASSES = ["neutral", "happy", "sad", "anger"]
GENERATOR = {"rows": 96, "audio_dim": 8, "speakers": 6, "sessions": 3, "frames": [1, 3], "words": [2, 4]}
SCALARS = ("accuracy", "uar", "f1_macro", "f1_weighted")
SCORES = {"n", *SCALARS, "recall_per_class", "confusion_matrix"}
RUN = {"seed", "fold", "status", "validation", "test", "steps", "train_seconds"}
MANY = {
    "seeds": [1],
    "use_curriculum_learning": True,
    "use_difficulty_scaling": True,
    "use_speaker_disentanglement": True,
    "batch_size": 8,
    "num_epochs": 3,
    "curriculum_epochs": 2,
    "learning_rate": 0.01,
    "hidden_dim": 16,
    "fusion_hidden_dim": 16,
    "num_attention_heads": 2,
    "text_max_length": 12,
    "text_pooling": "mean",
}
SYNTHETIC = MANY | {"train_dataset": "synthetic", "corpora": {"synthetic": {"generator": GENERATOR}}}
# One run an experiment: trained on one generated corpus, tested on another.
SINGLE = SYNTHETIC | {
    "corpora": {"synthetic": {"generator": GENERATOR}, "fresh": {"generator": GENERATOR | {"rows": 40, "seed": 9}}},
    "evaluation_mode": "cross_corpus",
    "test_datasets": ["fresh"],
    "num_epochs": 2,
    "curriculum_epochs": 1,
}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return tiny_encoder(tmp_path_factory.mktemp("encoders") / "tiny")


@pytest.fixture(autouse=True)
def untouched_process(monkeypatch):
    """What a job changes of its process, as it was again: what it logs goes to the tests' own stderr."""
    logger = logging.getLogger("emomm")
    kept = logger.level, logger.handlers, logger.propagate
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", "")
    yield
    logger.level, logger.handlers, logger.propagate = kept


def write(folder, encoder, **recipe):
    """A recipe file whose results and store lie beside it."""
    folder.mkdir(exist_ok=True)
    places = {"output_dir": str(folder / "out"), "store_dir": str(folder / "store"), "text_model_name": encoder}
    (folder / "recipe.json").write_text(json.dumps({"experiments": [{"name": "only"}], **places, **recipe}))
    return folder


@pytest.fixture
def run(capfd):
    """Runs a folder's recipe through the command line: the exit code, and what it printed."""

    def _run(folder, *arguments):
        capfd.readouterr()
        code = main(["run", str(folder / "recipe.json"), "--no_report", *arguments])
        printed = capfd.readouterr()
        return SimpleNamespace(code=code, out=printed.out, err=printed.err)

    return _run


@pytest.fixture
def trained(monkeypatch):
    """The runs that are trained, as they are."""
    names = []
    train = Experiment.train

    def recorded(self, planned):
        names.append(str(planned))
        return train(self, planned)

    monkeypatch.setattr(Experiment, "train", recorded)
    return names


def read_json(path):
    """JSON as everyone reads it: without NaN."""

    def refuse(constant):
        raise AssertionError(f"{path} holds {constant}")

    return json.loads(path.read_text(), parse_constant=refuse)


def results_of(folder):
    return read_json(folder / "out" / "results.json")


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def table(text):
    """The rows of a printed table, by column."""
    lines = [line for line in text.splitlines() if "  " in line and not line.startswith("--")]
    header = [cell.strip() for cell in lines[0].split("  ") if cell.strip()]
    return [dict(zip(header, (c.strip() for c in line.split("  ") if c.strip()), strict=True)) for line in lines[1:]]


def assert_scores(scores, predictions):
    """Scores equal those that scikit-learn gives for rows of predictions.parquet."""
    labels = json.loads(predictions.schema.metadata[b"labels"])
    true = [labels.index(name) for name in predictions["label"].to_pylist()]
    probabilities = np.array(predictions["probabilities"].to_pylist())
    guessed = probabilities.argmax(axis=1)
    assert set(scores) == SCORES
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert [labels[i] for i in guessed] == predictions["prediction"].to_pylist()
    assert scores["n"] == len(true)
    assert scores["accuracy"] == pytest.approx(reference.accuracy_score(true, guessed))
    recalls = reference.recall_score(true, guessed, labels=range(len(labels)), average=None, zero_division=0)
    for i, name in enumerate(labels):
        assert scores["recall_per_class"][name] == (pytest.approx(recalls[i]) if i in true else None)
    assert scores["uar"] == pytest.approx(np.mean([recalls[i] for i in set(true)]))
    assert scores["f1_macro"] == pytest.approx(reference.f1_score(true, guessed, average="macro", zero_division=0))
    weighted = reference.f1_score(true, guessed, average="weighted", zero_division=0)
    assert scores["f1_weighted"] == pytest.approx(weighted)
    confusion = reference.confusion_matrix(true, guessed, labels=range(len(labels)))
    assert scores["confusion_matrix"] == confusion.tolist()


# ---- one job of three experiments, leave one session out ------------------------------------------------------------

EXPERIMENTS = [
    {"name": "voice", "modality": "audio"},
    {"name": "words only", "modality": "text", "use_speaker_disentanglement": False},
    {"name": "Both", "modality": "both", "gradient_accumulation_steps": 2, "seeds": [1, 2]},
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, encoder):
    """The job, begun with one experiment and finished with all; with the plan, and what was there in between."""
    folder = write(tmp_path_factory.mktemp("whole"), encoder, **SYNTHETIC, experiments=EXPERIMENTS)
    recipe = str(folder / "recipe.json")
    with contextlib.redirect_stdout(io.StringIO()) as plan:
        assert main(["run", recipe, "--dry_run"]) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["recipe.json"]
    assert main(["run", recipe, "--no_report", "--experiment", "voice"]) == 0
    first = files(folder / "out")
    assert main(["run", recipe, "--no_report", "--all"]) == 0
    return SimpleNamespace(folder=folder, plan=plan.getvalue(), first=first)


def test_the_plan_is_what_is_done(whole):
    rows = table(whole.plan)
    assert "12 runs; nothing was trained or written." in whole.plan
    done = {
        (experiment["name"], str(run["seed"]), run["fold"]): run
        for experiment in results_of(whole.folder)["experiments"]
        for run in experiment["runs"]
    }
    assert [(row["experiment"], row["seed"], row["fold"]) for row in rows] == list(done)
    for row in rows:
        run = done[row["experiment"], row["seed"], row["fold"]]
        assert row["steps"] == str(run["steps"])
        assert row["train"] == row["validation"] == "32"
        assert row["test"] == f"synthetic:{run['test']['synthetic']['n']}" == "synthetic:32"
        assert run["validation"]["n"] == 32
    # 2 speakers of 16 rows each, in batches of 8; 3 epochs; the last experiment takes 2 batches a step.
    assert {row["experiment"]: row["steps"] for row in rows} == {"voice": "12", "words only": "12", "Both": "6"}


def test_results_follow_the_contract(whole):
    results = results_of(whole.folder)
    keys = ["recipe", "protocol", "environment", "experiments", "comparisons", "chosen_on_validation"]
    assert list(results) == keys
    assert results["recipe"] == "recipe"
    assert "synthetic without session 2" in results["protocol"][1]
    assert {"packages", "commit", "python"} <= set(results["environment"])
    assert [experiment["name"] for experiment in results["experiments"]] == ["voice", "words only", "Both"]
    for experiment, seeds in zip(results["experiments"], ([1], [1], [1, 2]), strict=True):
        runs = experiment["runs"]
        assert [(run["seed"], run["fold"]) for run in runs] == [(s, f"session-{i}") for s in seeds for i in (1, 2, 3)]
        for run in runs:
            assert set(run) >= RUN
            assert run["status"] == "done"
            assert run["parts"]["validation"]["speakers_trained_on"] == 0  # a whole session
            assert set(run["validation"]) == SCORES and set(run["test"]) == {"synthetic"}
            assert type(run["steps"]) is int and run["train_seconds"] > 0
        assert set(experiment["summary"]) == {"synthetic"}
        assert set(experiment["summary"]["synthetic"]) == set(SCALARS)
        for name, summary in experiment["summary"]["synthetic"].items():
            values = [run["test"]["synthetic"][name] for run in runs]
            spread = {"std", "std_over_folds", "std_over_seeds"}
            assert set(summary) == {"mean", *spread, "ci95", "ci_method", "ci_units", "pooled"}
            assert summary["mean"] == pytest.approx(np.mean(values))
            assert summary["std"] == pytest.approx(np.std(values, ddof=1))
            assert summary["ci95"] is None or summary["ci95"][0] <= summary["pooled"] <= summary["ci95"][1]
        assert set(experiment["statistics"]["synthetic"]) >= {"ece", "brier", "by_speaker", "by_session"}
        pooled = [
            np.trace(np.sum([r["test"]["synthetic"]["confusion_matrix"] for r in runs if r["seed"] == seed], axis=0))
            for seed in seeds
        ]
        assert experiment["summary"]["synthetic"]["accuracy"]["pooled"] == pytest.approx(np.mean(pooled) / 96)
    text = json.dumps(results)
    assert str(whole.folder) not in text and os.uname().nodename not in text.split('"')


def test_files_of_each_run(whole):
    out = whole.folder / "out"
    corpus = load_corpus(resolve_specs(SYNTHETIC["corpora"], {})["synthetic"])
    for experiment in results_of(whole.folder)["experiments"]:
        tested = []
        for run in experiment["runs"]:
            slug = {"voice": "voice", "words only": "words-only", "Both": "both"}[experiment["name"]]
            folder = out / slug / f"seed-{run['seed']}" / run["fold"]
            names = {path.name for path in folder.iterdir()}
            assert names == {"metrics.json", "predictions.parquet", "history.json", "run.json", "model"}
            metrics = read_json(folder / "metrics.json")
            assert {key: metrics[key] for key in RUN} == {key: run[key] for key in RUN}
            assert metrics["identity"] == read_json(folder / "run.json")["identity"]
            assert metrics["parts"]["train"]["rows"] == 32 and metrics["parts"]["train"]["speaker_count"] == 2
            predictions = pq.read_table(folder / "predictions.parquet")
            needed = {"utterance_id", "speaker", "session", "label", "probabilities", "difficulty"}
            assert needed <= set(predictions.column_names)
            assert_scores(run["test"]["synthetic"], predictions)
            assert set(predictions["session"].to_pylist()) == {run["fold"].removeprefix("session-")}
            if run["seed"] == 1:
                tested += predictions["utterance_id"].to_pylist()
            rows = [corpus.utterance_ids.tolist().index(name) for name in predictions["utterance_id"].to_pylist()]
            assert predictions["label"].to_pylist() == [CLASSES[i] for i in corpus.label_ids[rows]]
            assert predictions["speaker"].to_pylist() == corpus.speakers[rows].tolist()
            prototypes = np.array([[3.0, 2.5, 3.0], [4.0, 3.8, 3.8], [1.8, 2.2, 2.0], [1.8, 4.2, 4.0]])
            distances = np.linalg.norm(corpus.vad[rows] - prototypes[corpus.label_ids[rows]], axis=1)
            np.testing.assert_allclose(predictions["difficulty"].to_numpy(), distances, rtol=1e-5)
        assert sorted(tested) == sorted(corpus.utterance_ids)  # each row is tested once a seed


def test_what_was_done_is_kept_and_the_rest_is_added(whole):
    now = files(whole.folder / "out")
    before = {path: content for path, content in whole.first.items() if path.startswith("voice/")}
    assert len([path for path in before if path.endswith("metrics.json")]) == 3
    assert all(now[path] == content for path, content in before.items())
    assert not [path for path in whole.first if path.startswith(("both/", "words-only/"))]


def test_the_same_command_again_trains_nothing_and_gives_the_same_results(whole, run, trained):
    before = files(whole.folder / "out")
    again = run(whole.folder)
    assert again.code == 0
    assert trained == []
    assert files(whole.folder / "out") == before
    rows = table(again.out)
    assert [(row["experiment"].removesuffix(" !"), row["tested on"], row["runs"]) for row in rows] == [
        ("voice", "synthetic", "3"),
        ("words only", "synthetic", "3"),
        ("Both", "synthetic", "6"),
    ]
    summary = results_of(whole.folder)["experiments"][2]["summary"]["synthetic"]["uar"]
    assert rows[2]["UAR of runs"] == f"{summary['mean']:.3f} ± {summary['std']:.3f}"
    assert rows[2]["UAR [95 %]"].startswith(f"{summary['pooled']:.3f} [")
    assert "chosen on validation" in again.out and "of 3 test scores is optimistic" in again.out


def test_changed_settings_are_refused_or_replace(whole, run, trained, tmp_path):
    shutil.copytree(whole.folder / "out", tmp_path / "copy")
    changed = ["--experiment", "voice", "--num_epochs", "2", "--output_dir", str(tmp_path / "copy")]
    before = files(tmp_path / "copy")
    refused = run(whole.folder, *changed)
    assert refused.code == 2
    assert "num_epochs was 3, now 2" in refused.err and "--overwrite" in refused.err
    assert files(tmp_path / "copy") == before and trained == []
    assert run(whole.folder, *changed, "--overwrite").code == 0
    assert trained == [f"voice · seed 1 · session-{i}" for i in (1, 2, 3)]
    after = files(tmp_path / "copy")
    for path in before:
        same = not path.startswith("voice/") and path != "results.json"
        assert not same or after[path] == before[path]
    metrics = read_json(tmp_path / "copy" / "voice" / "seed-1" / "session-1" / "metrics.json")
    assert metrics["steps"] == 8
    assert run(whole.folder, *changed, "--overwrite").code == 0
    assert len(trained) == 3  # what has not changed is kept, also with --overwrite


def test_a_second_job_in_the_same_folder_is_refused(encoder, run, tmp_path, monkeypatch):
    folder = write(tmp_path / "two", encoder, **SINGLE, modality="audio")
    seen = []
    train = Experiment.train

    def meanwhile(self, planned):
        if not seen:
            before = files(folder / "out")
            seen.append((main(["run", str(folder / "recipe.json"), "--no_report"]), files(folder / "out") == before))
        return train(self, planned)

    monkeypatch.setattr(Experiment, "train", meanwhile)
    first = run(folder)
    assert seen == [(2, True)]
    assert f"another job is writing into {folder / 'out'}" in first.err
    assert first.code == 0 and results_of(folder)["experiments"][0]["runs"][0]["status"] == "done"


# ---- across corpora -------------------------------------------------------------------------------------------------


def test_across_corpora(encoder, run, tmp_path):
    corpora = {"MSPI": {"label_map": {"0": "neutral", "3": "anger"}, "dropped_labels": [1, 2]}}
    folder = write(
        tmp_path / "cross",
        encoder,
        **MANY | {"num_epochs": 10},
        evaluation_mode="cross_corpus",
        train_dataset="IEMO",
        test_datasets=["MSPI", "CMUMOSEI"],
        corpora=corpora,
        expected_vad="fit",
        feature_noise=0.0,
        modality_dropout=0.0,
    )
    rows = {"IEMO": 60, "MSPI": 24, "CMUMOSEI": 20}
    paths = [write_raw(name, folder, count, seed=count, strength=20.0) for name, count in rows.items()]
    given = [part for path in paths for part in ("--corpus", f"{path.name}={path}")]
    plan = run(folder, "--dry_run", *given)
    assert plan.code == 0
    assert not (folder / "out").exists()
    assert table(plan.out)[0] | {"steps": ""} == {
        "experiment": "only",
        "seed": "1",
        "fold": "cross-corpus",
        "train": "48",
        "validation": "12",
        "test": "MSPI:12 CMUMOSEI:20",
        "steps": "",
    }
    done = run(folder, *given)
    assert done.code == 0, done.err
    assert "MSPI: 12 of 24 rows left out, labelled 1, 2" in done.err
    assert "CMUMOSEI: speakers are not known" in done.err
    (experiment,) = results_of(folder)["experiments"]
    (only,) = experiment["runs"]
    assert only["steps"] == int(table(plan.out)[0]["steps"])
    assert set(only["test"]) == set(experiment["summary"]) == {"MSPI", "CMUMOSEI"}
    assert experiment["summary"]["MSPI"]["uar"]["std"] is None
    recalls = only["test"]["MSPI"]["recall_per_class"]
    assert recalls["happy"] is recalls["sad"] is None and None not in (recalls["neutral"], recalls["anger"])
    predictions = pq.read_table(folder / "out" / "only" / "seed-1" / "cross-corpus" / "predictions.parquet")
    names = np.array(predictions["corpus"].to_pylist())
    for name, scores in only["test"].items():
        assert_scores(scores, predictions.filter(names == name))
    hard = predictions["difficulty"].to_numpy()
    assert np.isnan(hard[names == "CMUMOSEI"]).all() and np.isfinite(hard[names == "MSPI"]).all()
    # The voice carries the class in every corpus, clearly enough for a few epochs.
    assert only["test"]["CMUMOSEI"]["uar"] > 0.5


SEED_YAML = """\
wandb_project: "Several corpora"
template: &template
  learning_rate: 1e-5
  num_epochs: 4
  batch_size: 16
  modality: "both"
  audio_dim: 768
  text_model_name: "bert-base-uncased"
  freeze_text_encoder: true
  text_max_length: 128
  num_classes: 4
  class_weights: {neutral: 1.0, happy: 1.0, sad: 1.0, anger: 1.0}
  curriculum_epochs: 2
  seeds: [42, 37]
  expected_vad:
    0: [3.0, 2.5, 3.0]
    1: [4.0, 3.8, 3.8]
    2: [1.8, 2.2, 2.0]
    3: [1.8, 4.2, 4.0]
experiments:
  - <<: *template
    id: 1
    name: "IEMO+MSPI Full"
    category: "main"
    train_dataset: ["IEMO", "MSPI"]
    evaluation_mode: "cross_corpus"
  - <<: *template
    name: "MSPP Baseline"
    train_dataset: ["MSPP"]
    evaluation_mode: "both"
    use_curriculum_learning: false
    use_difficulty_scaling: false
    use_speaker_disentanglement: false
"""


def test_yaml_of_the_original_system_plans_its_runs(capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "raw").mkdir()
    (tmp_path / "seed.yaml").write_text(SEED_YAML)
    layouts = {"IEMO": "disk", "MSPI": "parquet", "MSPP": "arrow", "CMUMOSEI": "jsonl", "SAMSEMO": "disk"}
    given = []
    for number, (name, layout) in enumerate(layouts.items()):
        path = write_raw(name, tmp_path / "raw", 48 + number, seed=number, layout=layout)
        given += ["--corpus", f"{name}={path.relative_to(tmp_path)}"]
    with open(tmp_path / "seed.yaml", "a") as file:  # no ratings, and no sessions to leave out
        file.write('  - <<: *template\n    name: "On others"\n    train_dataset: ["SAMSEMO"]\n')
    assert main(["run", "seed.yaml", "--dry_run", *given]) == 0
    printed = capfd.readouterr()
    assert "left out: experiment 'On others'" in printed.err and "left out: experiment 'On others'" in printed.out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw", "seed.yaml"]
    assert printed.err.count("note: not checked: text_model_name='bert-base-uncased'") == 1
    rows = table(printed.out)
    both, lone = rows[:2], rows[2:]
    assert [(row["experiment"], row["seed"], row["fold"]) for row in both] == [
        ("IEMO+MSPI Full", "42", "cross-corpus"),
        ("IEMO+MSPI Full", "37", "cross-corpus"),
    ]
    # Validation: the last session of each, 8 rows of 48 and 8 of 49.
    assert (both[0]["train"], both[0]["validation"]) == ("81", "16")
    assert both[0]["test"] == "MSPP:50 CMUMOSEI:51 SAMSEMO:52"
    assert [(row["seed"], row["fold"]) for row in lone] == [
        (seed, fold) for seed in ("42", "37") for fold in ("session-1", "session-2", "session-3", "cross-corpus")
    ]
    assert (lone[0]["train"], lone[0]["validation"], lone[0]["test"]) == ("16", "16", "MSPP:18")
    assert lone[3]["test"] == "IEMO:48 MSPI:49 CMUMOSEI:51 SAMSEMO:52"
    assert lone[3]["steps"] == "12"  # 34 rows in batches of 16, 4 epochs


# ---- runs that fail, and trackers -----------------------------------------------------------------------------------


def test_a_run_that_diverges_is_reported_and_tried_again(encoder, run, trained, tmp_path):
    experiments = [{"name": "hot", "learning_rate": 1e20, "lr_width_limit": None}, {"name": "mild"}]
    folder = write(tmp_path / "hot", encoder, **SINGLE, modality="audio", save_seconds=0, experiments=experiments)
    first = run(folder)
    assert first.code == 1
    assert first.err.rstrip().splitlines()[-1].startswith("failed: hot · seed 1 · cross-corpus: failed: training div")
    assert "Traceback" not in first.err
    hot, mild = results_of(folder)["experiments"]
    assert hot["runs"][0]["status"].startswith("failed: training diverged") and hot["summary"] == {}
    assert mild["runs"][0]["status"] == "done" and mild["summary"]["fresh"]["uar"]["mean"] > 0
    assert not (folder / "out" / "hot" / "seed-1" / "cross-corpus" / "metrics.json").exists()
    assert trained == ["hot · seed 1 · cross-corpus", "mild · seed 1 · cross-corpus"]
    again = run(folder)
    assert again.code == 1
    assert trained[2:] == ["hot · seed 1 · cross-corpus"]
    assert [row["runs"] for row in table(again.out)] == ["0", "1"]


def test_trackers_get_a_run_for_each_run(encoder, run, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name in ("DATA", "CACHE", "CONFIG"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / "wandb"))
    experiments = [{"name": "Group one", "seeds": [1, 2]}, {"name": "Group two"}]
    trackers = {"report_to": ["wandb", "tensorboard"], "wandb_project": "emomm-tests"}
    folder = write(tmp_path / "tracked", encoder, **SINGLE, **trackers, modality="audio", experiments=experiments)
    done = run(folder)
    assert done.code == 0, done.err
    tracked = [path.read_bytes() for path in (folder / "out" / "wandb").glob("offline-run-*/*.wandb")]
    tracked = [text for text in tracked if b"-summary" not in text]
    assert sorted((b"Group one" in text, b"Group two" in text) for text in tracked) == [
        (False, True),
        (True, False),
        (True, False),
    ]
    for slug, seed in (("group-one", 1), ("group-one", 2), ("group-two", 1)):
        name = f"{slug}-seed{seed}-cross-corpus".encode()
        assert sum(name in text for text in tracked) == 1
        place = folder / "out" / slug / f"seed-{seed}" / "cross-corpus"
        assert list((place / "tensorboard").rglob("events.out.tfevents.*"))
    assert all(b"eval/uar" in text for text in tracked)


def test_a_tracker_that_fails_does_not_stop_the_job(encoder, run, tmp_path, monkeypatch):
    import wandb

    def broken(**_):
        raise wandb.Error("no space for logs")

    monkeypatch.setattr(wandb, "init", broken)
    folder = write(tmp_path / "broken", encoder, **SINGLE, modality="audio", report_to="wandb")
    done = run(folder)
    assert done.code == 0
    assert done.err.count("W&B: this run could not be sent (no space for logs)") == 1
    assert results_of(folder)["experiments"][0]["runs"][0]["status"] == "done"


# ---- what is exported gives the probabilities that were written -----------------------------------------------------


def exported_probabilities(model_folder, predictions, corpus):
    """What the exported model says of the rows of a predictions.parquet, from features and transcripts."""
    model = EmoMMForEmotionClassification.from_pretrained(model_folder).eval()
    processor = EmoMMProcessor.from_pretrained(model_folder)
    found = []
    for name in predictions["utterance_id"].to_pylist():
        row = corpus.utterance_ids.tolist().index(name)
        voice = corpus.audio[row] if corpus.audio.length[row] else None
        with torch.no_grad():
            inputs = processor([voice], [corpus.transcripts[row]])
            found.append(model(**inputs).logits.softmax(dim=-1)[0].numpy())
    return np.stack(found)


@pytest.mark.parametrize(
    ("name", "settings", "tolerance"),
    [
        ("fine-tuned", {"freeze_text_encoder": False, "text_learning_rate": 1e-3}, 1e-5),
        ("frozen", {"fusion_type": "cross_attention", "post_curriculum_dropout": 0.3}, 2e-3),
        ("missing", {"fusion_type": "adaptive", "store_dtype": "float32"}, 1e-5),
        ("missing, fine-tuned", {"fusion_type": "adaptive", "freeze_text_encoder": False}, 1e-5),
    ],
)
def test_exported_models_say_what_was_written(encoder, run, tmp_path, name, settings, tolerance):
    gaps = {"missing_audio": 0.3, "missing_text": 0.3, "missing_vad": 0.2} if "missing" in name else {}
    fresh = GENERATOR | {"rows": 24, "seed": 9} | gaps
    corpora = {"synthetic": {"generator": GENERATOR | gaps}, "fresh": {"generator": fresh}}
    folder = write(tmp_path / "export", encoder, **{**SINGLE, "corpora": corpora}, **settings)
    done = run(folder)
    assert done.code == 0, done.err
    place = folder / "out" / "only" / "seed-1" / "cross-corpus"
    predictions = pq.read_table(place / "predictions.parquet")
    corpus = load_corpus(resolve_specs(corpora, {})["fresh"])
    if gaps:
        assert not corpus.audio.length.all() and "[EMPTY]" in corpus.transcripts
        assert read_json(place / "metrics.json")["rows_without_rating"] > 0
        assert "have no voice features" in done.err
    written = np.array(predictions["probabilities"].to_pylist())
    assert written.std(axis=0).max() > 0.01  # not the same for every row
    np.testing.assert_allclose(exported_probabilities(place / "model", predictions, corpus), written, atol=tolerance)
    trained_encoder = EmoMMForEmotionClassification.from_pretrained(place / "model").text_encoder
    before = type(trained_encoder).from_pretrained(encoder).state_dict()
    moved = [k for k, v in trained_encoder.state_dict().items() if not torch.equal(v, before[k])]
    assert bool(moved) == ("fine-tuned" in name)
