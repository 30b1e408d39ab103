"""Floors against direct calls of scikit-learn: fitted on training rows, chosen on validation rows, kept by the job."""

import itertools
import json
import shutil
import signal
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from accelerate import PartialState
from finished_job import write_corpus
from made_runs import corpus_of
from made_runs import loso
from sklearn.linear_model import LogisticRegression
from sklearn.linear_model import Ridge
from sklearn.metrics import accuracy_score
from sklearn.metrics import recall_score
from sklearn.preprocessing import StandardScaler
from small_jobs import write_recipe
from tiny_encoders import tiny_encoder

from emomm.errors import InputError
from emomm.evaluation.comparisons import compare_experiments
from emomm.evaluation.metrics import RATINGS
from emomm.evaluation.metrics import concordance
from emomm.evaluation.predictions import Predictions
from emomm.evaluation.predictions import RunPredictions
from emomm.evaluation.predictions import pool_runs
from emomm.evaluation.predictions import read_predictions
from emomm.evaluation.results import pooled_predictions
from emomm.experiments import job_floors as floors
from emomm.experiments.job import _prepare
from emomm.experiments.job import _runs
from emomm.experiments.job import run
from emomm.features.text_states import TextStateStore
from emomm.floors.fitting import ALPHA_GRID
from emomm.floors.fitting import C_TIMES_ROWS
from emomm.floors.fitting import FloorRows
from emomm.floors.fitting import fit_floor
from emomm.floors.results import RULE
from emomm.floors.results import _comparison
from emomm.floors.results import floors_entry
from emomm.floors.store import FloorStore
from emomm.floors.words import below_line
from emomm.floors.words import below_mark
from emomm.interruption import Interrupted
from emomm.interruption import interruptible
from emomm.reporting import score_tables
from emomm.reporting.floor_tables import floors_table
from emomm.reporting.report_data import read_report
from emomm.reporting.results_table import results_notes
from emomm.reporting.results_table import results_table
from emomm.reporting.words import caveats
from emomm.settings.recipe import load_recipe

LABELS = ["neutral", "happy", "sad"]


# ---- one floor ------------------------------------------------------------------------------------------------------


def rows(n, seed, dim=7, skill=1.0):
    """Features that tell the class a little, in columns of very different size; ratings that follow from them."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, n, p=[0.6, 0.3, 0.1])
    features = rng.normal(0, 1, (n, dim))
    features[np.arange(n), labels] += skill
    ratings = 3 + features[:, :3] + rng.normal(0, 0.5, (n, 3))
    return FloorRows((features * np.logspace(-3, 3, dim) + 5).astype(np.float32), labels, ratings.astype(np.float32))


def direct(train, x, c):
    """What scikit-learn gives when it is called for that C alone."""
    scaler = StandardScaler().fit(train.features.astype(float))
    model = LogisticRegression(C=c, class_weight="balanced", max_iter=1000)
    model.fit(scaler.transform(train.features.astype(float)), train.labels)
    return model.predict_proba(scaler.transform(x.astype(float)))


@pytest.mark.parametrize("metric", ["uar", "accuracy"])
def test_a_floor_is_scikit_learns(metric):
    train, validation, test = rows(120, 0), rows(60, 1), rows(50, 2)
    floor = fit_floor(train, validation, LABELS, metric)
    score = accuracy_score if metric == "accuracy" else lambda *args: recall_score(*args, average="macro")
    grid = [times_rows / 120 for times_rows in C_TIMES_ROWS]
    expected = [score(validation.labels, direct(train, validation.features, c).argmax(1)) for c in grid]
    assert [each["C"] for each in floor.choice["tried"]] == grid
    assert [each[metric] for each in floor.choice["tried"]] == pytest.approx(expected)
    assert floor.choice["C"] == grid[int(np.argmax(expected))]
    assert floor.choice["validation"] == {metric: pytest.approx(max(expected))}
    assert floor.choice["converged"] and floor.choice["rows"] == {"train": 120, "validation": 60}
    probabilities, ratings = floor.predict(test.features)
    np.testing.assert_allclose(probabilities, direct(train, test.features, floor.choice["C"]), rtol=1e-9)
    scaler = StandardScaler().fit(train.features.astype(float))
    x, held_out, new = (scaler.transform(each.features.astype(float)) for each in (train, validation, test))
    for i, name in enumerate(("valence", "arousal", "dominance")):
        models = [Ridge(alpha).fit(x, train.ratings[:, i].astype(float)) for alpha in ALPHA_GRID]
        reached = [concordance(validation.ratings[:, i], model.predict(held_out)) for model in models]
        said = floor.choice["ridge"][name]
        assert said["alpha"] == ALPHA_GRID[int(np.argmax(reached))] and said["rows"] == 120
        assert said["validation"]["ccc"] == pytest.approx(max(reached), rel=1e-6)
        np.testing.assert_allclose(ratings[:, i], models[int(np.argmax(reached))].predict(new), rtol=1e-6)


def test_the_metric_decides_and_ties_go_to_the_strongest_regularisation():
    chosen = {
        metric: fit_floor(rows(150, seed, skill=0.5), rows(40, seed + 50, skill=0.5), LABELS, metric).choice["C"]
        for metric in ("uar", "accuracy")
        for seed in [5]
    }
    easy = fit_floor(rows(120, 0, skill=60), rows(60, 1, skill=60), LABELS, "uar").choice
    assert {each["uar"] for each in easy["tried"]} == {1.0} and easy["C"] == C_TIMES_ROWS[0] / 120
    assert chosen["uar"] != chosen["accuracy"]


def test_what_a_row_lacks_is_the_mean_and_says_nothing():
    train, validation, test = rows(120, 0), rows(60, 1), rows(50, 2)
    lacks = np.arange(120) % 3 == 0
    train.features[lacks, 4:] = np.nan
    train.features[:, 3] = 2.5  # never varies
    for each in (train, validation):
        each.ratings[:, 2] = np.nan
        each.ratings[::4, 0] = np.nan
    test.features[:5, 4:] = np.nan
    floor = fit_floor(train, validation, LABELS, "uar")
    np.testing.assert_allclose(floor.scaler.mean_[4:], train.features[~lacks, 4:].mean(0, dtype=float))
    probabilities, ratings = floor.predict(test.features)
    filled = test.features.astype(float)
    filled[:5, 4:] = floor.scaler.mean_[4:]
    np.testing.assert_allclose(probabilities, floor.predict(filled)[0])
    assert np.isfinite(probabilities).all() and np.isfinite(ratings).all()
    assert (ratings[:, 2] == 3).all() and floor.choice["ridge"]["dominance"] is None
    rated = ~np.isnan(train.ratings[:, 0])
    x = np.nan_to_num(floor.scaler.transform(train.features.astype(float)))
    new = np.nan_to_num(floor.scaler.transform(test.features.astype(float)))
    alpha = floor.choice["ridge"]["valence"]["alpha"]
    expected = Ridge(alpha).fit(x[rated], train.ratings[rated, 0].astype(float)).predict(new)
    np.testing.assert_allclose(ratings[:, 0], expected, rtol=1e-6)
    assert floor.choice["ridge"]["valence"]["rows"] == 90 and floor.choice["ridge"]["arousal"]["rows"] == 120
    train.features[:, 4:] = np.nan  # nobody has it: no warning, no number from nothing
    assert np.isfinite(fit_floor(train, validation, LABELS, "uar").predict(test.features)[0]).all()


# ---- the floors of a job --------------------------------------------------------------------------------------------

GENERATOR = {"rows": 96, "audio_dim": 6, "speakers": 12, "sessions": 2, "frames": [1, 3], "words": [2, 5]}
GENERATOR |= {"missing_text": 0.1, "audio_accuracy": 0.95, "speaker_shift": 1.0}
QUICK = {"corpora": {"synthetic": {"generator": GENERATOR}}, "num_epochs": 1, "curriculum_epochs": 0}
EXPERIMENTS = [
    # Hardly trained: near chance, where logistic regression is not.
    {"name": "voice", "modality": "audio", "learning_rate": 1e-7, "seeds": [1, 2]},
    {"name": "words", "modality": "text", "freeze_text_encoder": False},
    {"name": "both", "modality": "both", "fusion_type": "adaptive", "vad_loss_weight": 0.5},
]


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """A job of three experiments on two sessions; one has two seeds, which draw other validation rows."""
    folder = tmp_path_factory.mktemp("floors")
    encoder = tiny_encoder(folder / "encoder")
    recipe = write_recipe(folder, text_model_name=encoder, experiments=EXPERIMENTS, **QUICK)
    fits = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(floors, "_fit", counted(floors._fit, fits))
        assert not run(load_recipe(recipe)).failed
    results = json.loads((folder / "small" / "results.json").read_text())
    entries = {entry["name"]: entry for entry in results["experiments"]}
    plan = {experiment.settings.name: (experiment, runs) for experiment, runs in zip(*planned(recipe), strict=True)}
    return SimpleNamespace(folder=folder, recipe=recipe, encoder=encoder, fits=fits, entries=entries, plan=plan)


def counted(fit, into):
    def wrapper(unit, vectors):
        into.append(f"{unit}")
        return fit(unit, vectors)

    return wrapper


def planned(recipe):
    """The experiments of a recipe and their runs."""
    read = load_recipe(recipe)
    experiments = [_prepare(settings, read.output_dir, {}, {}, False) for settings in read.experiments]
    return experiments, [_runs(experiment, read.output_dir, 1) for experiment in experiments]


def kept(job, kind):
    """{fold: tables} of the floors on disk; of a fold with several draws in no order."""
    found = {}
    for path in sorted((job.folder / "small" / "floors").glob(f"*.{kind}.*.parquet")):
        table = pq.read_table(path)
        classes = [name for name in table.column_names if name.removeprefix("predicted_") not in RATINGS]
        found.setdefault(path.name.split(".")[0], []).append(table.select(classes) if kind == "voice" else table)
    return found


@pytest.mark.parametrize("name", ["voice", "words", "both"])
def test_floors_are_those_of_the_runs_rows(job, name):
    """Each floor from the corpus itself, by scikit-learn alone."""
    (experiment, runs), said = job.plan[name], job.entries[name]["floors"]
    data = experiment.data
    voice = np.stack([data.vectors("audio")[i].mean(0) for i in range(96)])
    states = TextStateStore(job.encoder, 16, "float16", job.folder / "store").states(data.texts(True))
    words = np.stack([s.mean(0, dtype=np.float32) if len(s := states[i]) else np.full(32, np.nan) for i in range(96)])
    features = {"voice": voice, "words": words, "both": np.concatenate([voice, words], axis=1)}
    for kind, run_ in itertools.product({"both": ["voice", "words", "both"]}.get(name, [name]), runs):
        parts = [data.rows(getattr(run_.fold, part)) for part in ("train", "validation", "test")]
        scaler = StandardScaler().fit(features[kind][parts[0]].astype(float))
        x, held_out, new = (np.nan_to_num(scaler.transform(features[kind][part].astype(float))) for part in parts)
        labels, validation_labels, true = (data.label_ids[part] for part in parts)
        grid = [times_rows / len(x) for times_rows in C_TIMES_ROWS]
        models = [LogisticRegression(C=c, class_weight="balanced", max_iter=1000).fit(x, labels) for c in grid]
        reached = [recall_score(validation_labels, model.predict(held_out), average="macro") for model in models]
        best = int(np.argmax(reached))
        (found,) = (e for e in said["folds"][kind] if run_.seed in e["seeds"] and e["fold"] == run_.fold.name)
        assert found["C"] == grid[best] and found["validation"]["uar"] == pytest.approx(reached[best])
        guessed, scores = models[best].predict(new), found["test"]["synthetic"]
        assert scores["accuracy"] == pytest.approx(accuracy_score(true, guessed))
        assert scores["uar"] == pytest.approx(recall_score(true, guessed, average="macro"))
        lacking = 0 if kind == "voice" else int(np.isnan(words[parts[0], 0]).sum())
        assert found["rows_without"] == ({"words": lacking} if lacking else {})
        assert ("ridge" in found) == (name == "both")


def test_each_is_fitted_once_for_all_experiments(job):
    """Of two sessions: voice with two draws of validation rows, one of which words and both share."""
    assert sorted(job.fits) == sorted(
        f"{kind}, session-{i}" for kind in ("voice", "voice", "words", "both") for i in (1, 2)
    )
    names = {path.name for path in (job.folder / "small" / "floors").iterdir()}
    assert len(names) == 8 and all(name.endswith(".parquet") for name in names)
    # The first to be fitted are those that take longest.
    assert job.fits[0].startswith("both")


def test_pooled_scores_are_those_of_the_kept_predictions(job):
    right, recalls = [], []
    for seed in (1, 2):
        folds = [e for e in job.entries["voice"]["floors"]["folds"]["voice"] if e["seeds"] == [seed]]
        assert [each["fold"] for each in folds] == ["session-1", "session-2"]
        pairs = []
        for each in folds:
            (table,) = (
                table
                for table in kept(job, "voice")[each["fold"]]
                if json.loads(table.schema.metadata[b"emomm_floor"])["choice"]["tried"] == each["tried"]
            )
            pairs += zip(table["label"].to_pylist(), table["prediction"].to_pylist(), strict=True)
        right.append(accuracy_score(*zip(*pairs, strict=True)))
        recalls.append(recall_score(*zip(*pairs, strict=True), average="macro"))
    said = job.entries["voice"]["floors"]["corpora"]["synthetic"]["voice"]
    assert said["accuracy"]["pooled"] == pytest.approx(np.mean(right))
    assert said["uar"]["pooled"] == pytest.approx(np.mean(recalls))
    assert said["seeds"] == 2 and said["uar"]["ci_units"] == "speakers" and "vad" not in said
    assert said["uar"]["ci95"][0] < said["uar"]["pooled"] < said["uar"]["ci95"][1]


def test_of_voice_and_words_validation_chooses(job):
    said = job.entries["both"]["floors"]
    assert said["own"] == "chosen" and set(said["folds"]) == {"most_frequent", "voice", "words", "both", "chosen"}
    for each in said["folds"]["chosen"]:
        of_fold = {
            kind: other["validation"]["uar"]
            for kind in ("voice", "words", "both")
            for other in said["folds"][kind]
            if other["fold"] == each["fold"]
        }
        assert each["features"] == max(of_fold, key=of_fold.get)
    for floor in ("voice", "words", "both", "chosen"):
        assert set(said["corpora"]["synthetic"][floor]["vad"]) == {"valence", "arousal", "dominance"}
    (table,) = kept(job, "both")["session-1"]
    ratings = np.array(table["valence"].to_numpy()), np.array(table["predicted_valence"].to_numpy())
    assert concordance(*ratings) > 0.2


def test_chance_and_the_most_frequent_class(job):
    (experiment, runs), said = job.plan["voice"], job.entries["voice"]["floors"]
    chance = said["corpora"]["synthetic"]["chance"]
    assert chance["uar"]["pooled"] == chance["accuracy"]["pooled"] == pytest.approx(0.25)
    data, correct = experiment.data, 0
    for run_ in runs[:2]:
        train, test = data.rows(run_.fold.train), data.rows(run_.fold.test)
        most = np.bincount(data.label_ids[train], minlength=4).argmax()
        (found,) = (e for e in said["folds"]["most_frequent"] if 1 in e["seeds"] and e["fold"] == run_.fold.name)
        assert found["class"] == data.labels[most]
        assert found["test"]["synthetic"]["accuracy"] == pytest.approx((data.label_ids[test] == most).mean())
        correct += (data.label_ids[test] == most).sum()
    assert job.entries["both"]["floors"]["corpora"]["synthetic"]["most_frequent"]["accuracy"][
        "pooled"
    ] == pytest.approx(correct / 96)


def test_an_experiment_below_its_floor_is_marked(job):
    """The hardly trained voice surely is; by the paired test that tells experiments apart."""
    entry = job.entries["voice"]
    of_corpus = entry["floors"]["corpora"]["synthetic"]
    said = of_corpus["comparison"]
    difference = entry["summary"]["synthetic"]["uar"]["pooled"] - of_corpus["voice"]["uar"]["pooled"]
    assert entry["floors"]["own"] == "voice"
    assert said["difference"] == pytest.approx(difference) and difference < -0.3
    assert said["below"] and said["clear"] and said["ci95"][1] < 0
    assert (said["test"], said["ci_units"]) == ("swapped speakers", "speakers")
    place = job.folder / "small" / "voice"
    runs = [
        RunPredictions(each["seed"], each["fold"], read_predictions(path))
        for each in entry["runs"]
        for path in [place / f"seed-{each['seed']}" / each["fold"] / "predictions.parquet"]
    ]
    floor = [
        RunPredictions(i, fold, Predictions(table))
        for fold, both in kept(job, "voice").items()
        for i, table in enumerate(both)
    ]
    expected = compare_experiments({"voice": pool_runs(runs), "floor": pool_runs(floor)})["synthetic"][0]["uar"]
    assert [said["difference"], *said["ci95"], said["p"]] == pytest.approx(
        [expected["difference"], *expected["ci95"], expected["p"]]
    )


def test_an_experiment_above_its_floor_is_not_marked():
    corpus = corpus_of(8)
    better, floor = (pool_runs(loso(corpus, skill))["IEMO"] for skill in (3.0, 0.5))
    said = _comparison("IEMO", better, floor)
    assert said["difference"] > 0 and not said["below"] and not said["clear"]
    other = pool_runs(loso(corpus_of(6)))["IEMO"]
    assert _comparison("IEMO", better, other) is None


def test_the_table_at_the_end_of_a_job_has_floors(job):
    results = {"experiments": list(job.entries.values())}
    lines = results_table(results).splitlines()
    assert lines[0].split("  ")[0] == "experiment" and lines[0].index("UAR [95 %]") < lines[0].index("floor")
    floors_of_rows = [line[lines[0].index("floor") : lines[0].index("accuracy")].strip() for line in lines[2:]]
    pooled = {name: entry["floors"]["corpora"]["synthetic"] for name, entry in job.entries.items()}
    assert floors_of_rows[0] == f"{pooled['voice']['voice']['uar']['pooled']:.3f} below"
    assert floors_of_rows[2].split()[0] == f"{pooled['both']['chosen']['uar']['pooled']:.3f}"
    notes = results_notes(results)
    (said,) = (line for line in notes if line.startswith("Floors on synthetic (UAR): chance 0.250, most frequent"))
    for kind in ("words", "both", "chosen"):
        name = "chosen on validation" if kind == "chosen" else kind
        assert f"{name} {pooled['both'][kind]['uar']['pooled']:.3f}" in said
    # Of the voice there are two: that of two seeds, and that of one.
    for name in ("voice", "both"):
        assert f"voice {pooled[name]['voice']['uar']['pooled']:.3f} ({name})" in said
    difference = pooled["voice"]["comparison"]["difference"]
    (below,) = (line for line in notes if line.startswith("voice is below"))
    assert f"UAR {difference:+.3f} [" in below and below.endswith("; the interval leaves out 0.")
    for entry in results["experiments"]:
        entry = {key: value for key, value in entry.items() if key != "floors"}
        assert "floor" not in results_table({"experiments": [entry]})
        assert not [line for line in results_notes({"experiments": [entry]}) if "loor" in line]


def test_the_report_has_floors(job):
    data = read_report([job.folder / "small"])
    table = score_tables.results_table(data)
    column = table.columns.index("floor (difference)")
    said = job.entries["voice"]["floors"]["corpora"]["synthetic"]
    difference = f"{said['comparison']['difference']:+.3f}".replace("-", "−")
    assert table.rows[0][column] == (f"{said['voice']['uar']['pooled']:.3f} ({difference})", "↓")
    columns, rows = table.plain
    found = dict(zip(columns, rows[0], strict=True))
    assert found["floor"] == said["voice"]["uar"]["pooled"] and found["below_floor"] == "below"
    assert [found[f"minus_floor{part}"] for part in ("", "_low", "_high")] == [
        said["comparison"]["difference"],
        *said["comparison"]["ci95"],
    ]
    assert "See the floors below." in table.note and r"$^{\downarrow}$" in table.latex()
    table = floors_table(data)
    by_name = {(row[0], row[-1]): dict(zip(table.columns, row, strict=True)) for row in table.rows}
    assert by_name["chance", "voice, words, both"]["UAR"].text == "0.250"
    voice = by_name["logistic regression on the voice", "voice"]
    low, high = said["voice"]["uar"]["ci95"]
    assert voice["UAR"].text == f"{said['voice']['uar']['pooled']:.3f} [{low:.3f}, {high:.3f}]"
    chosen = sorted(fold["C"] for fold in job.entries["voice"]["floors"]["folds"]["voice"])
    assert voice["C, or what was chosen"] in (f"{chosen[0]:.2g} to {chosen[-1]:.2g}", f"{chosen[0]:.2g}")
    of_both = by_name["logistic regression on voice, words or both, as validation chooses", "both"]
    assert " of 2 folds" in of_both["C, or what was chosen"]
    assert table.note.startswith(RULE) and "For what a row lacks" in table.note
    for text in (table.latex(), table.markdown(), table.csv()):
        assert "logistic regression on the voice" in text
    ratings = {row[0]: row for row in score_tables.vad_table(data).rows if row[2] == "arousal"}
    assert set(ratings) == {"both", "both: floor"}
    ccc = job.entries["both"]["floors"]["corpora"]["synthetic"]["chosen"]["vad"]["arousal"]["ccc"]
    assert ratings["both: floor"][4].text.startswith(f"{ccc['pooled']:.3f} [")
    assert [line for line in caveats(data) if line.startswith("voice is below its floor on synthetic: UAR -")]


def test_a_report_without_floors_has_no_trace_of_them(job, tmp_path):
    shutil.copytree(job.folder / "small", tmp_path / "job")
    results = json.loads((tmp_path / "job" / "results.json").read_text())
    for entry in results["experiments"]:
        del entry["floors"]
    (tmp_path / "job" / "results.json").write_text(json.dumps(results))
    data = read_report([tmp_path / "job"])
    table = score_tables.results_table(data)
    assert "floor (difference)" not in table.columns and "loor" not in table.note
    assert floors_table(data).rows == [] and not [line for line in caveats(data) if "floor" in line]
    assert not [row for row in score_tables.vad_table(data).rows if "floor" in row[0]]


def test_fewer_than_five_speakers_make_nothing_clear():
    corpus = corpus_of(4)
    worse, floor = (pool_runs(loso(corpus, skill))["IEMO"] for skill in (0.0, 9.0))
    said = _comparison("IEMO", worse, floor)
    assert said["ci95"][1] < 0 and said["below"] and not said["clear"]
    entry = {"floors": {"own": "voice", "corpora": {"IEMO": {"voice": {"uar": {"pooled": 0.9}}, "comparison": said}}}}
    assert below_mark(entry, "IEMO") == "(below)"
    assert "over rows of fewer than five speakers" in below_line(entry, "IEMO")


def test_floors_false_leaves_them_out(tmp_path, job):
    recipe = write_recipe(tmp_path, experiments=[{"name": "voice", "modality": "audio"}], **QUICK, floors=False)
    run(load_recipe(recipe))
    (entry,) = json.loads((tmp_path / "small" / "results.json").read_text())["experiments"]
    assert "floors" not in entry and not (tmp_path / "small" / "floors").exists()
    # It is no part of what a run is: with floors, the same runs are kept.
    assert not run(load_recipe(recipe, {"floors": "true"})).failed
    (entry,) = json.loads((tmp_path / "small" / "results.json").read_text())["experiments"]
    assert entry["floors"]["corpora"]["synthetic"]["voice"]["uar"]["pooled"] > 0.5


# ---- what shapes a floor --------------------------------------------------------------------------------------------


def fitted_floors(recipe, folder, monkeypatch):
    """What is fitted for the fold that tests session 1, and the floors."""
    fitted, fit = [], floors.fit_floor
    with monkeypatch.context() as patch:
        patch.setattr(floors, "fit_floor", lambda *args: fitted.append(fit(*args)) or fitted[-1])
        patch.setattr(floors, "_threads", lambda processes: 1)
        (experiment,), (runs,) = planned(recipe)
        runs = [each for each in runs if each.fold.name == "session-1"]
        (found,) = floors.job_floors([experiment], [runs], folder, PartialState(cpu=True))
    return fitted, found[1, "session-1"]


def test_test_rows_never_shape_a_floor(tmp_path, monkeypatch):
    """Features, words, ratings and classes of the test rows replaced: what was fitted is bitwise the same."""
    encoder, path = tiny_encoder(tmp_path / "encoder"), write_corpus(tmp_path)
    own = {"train_dataset": "own", "corpora": {"own": {"path": str(path)}}, "text_model_name": encoder}
    recipe = write_recipe(tmp_path, **own, vad_loss_weight=0.5, validation="speakers", validation_fraction=0.5)
    before, floors_before = fitted_floors(recipe, tmp_path / "one", monkeypatch)
    table = pq.read_table(path)
    columns, rng = table.to_pydict(), np.random.default_rng(0)
    tested = np.flatnonzero(np.array(columns["session"]).astype(str) == "1")
    labels = [columns["label"][i] for i in tested]  # in another order: each class keeps its rows
    for i, label in zip(tested, labels[1:] + labels[:1], strict=True):
        columns["audio_features"][i] = rng.normal(0, 9, np.shape(columns["audio_features"][i])).tolist()
        columns["transcript"][i], columns["label"][i], columns["valence"][i] = "leave me alone", label, 1.0
    pq.write_table(pa.table(columns, schema=table.schema), path)
    after, floors_after = fitted_floors(recipe, tmp_path / "two", monkeypatch)
    assert len(before) == len(after) == 3
    for first, second in zip(before, after, strict=True):
        assert first.choice == second.choice
        np.testing.assert_array_equal(first.scaler.mean_, second.scaler.mean_)
        np.testing.assert_array_equal(first.logistic.coef_, second.logistic.coef_)
        np.testing.assert_array_equal(first.ridges[0], second.ridges[0])
    for kind in ("voice", "words", "both"):  # other rows are predicted, and are found to be others
        assert floors_before[kind].key != floors_after[kind].key
        assert not floors_before[kind].predictions.table.equals(floors_after[kind].predictions.table)


# ---- on disk --------------------------------------------------------------------------------------------------------


def contents(folder):
    return {path.name: path.read_bytes() for path in (folder / "floors").glob("*.parquet")}


def test_interrupted_and_continued(job, tmp_path, monkeypatch):
    """What was written is kept, a file torn meanwhile isn't taken for one, and the rest follows."""
    write, fits = FloorStore.write, []

    def interrupted(store, floor):
        if len(contents(tmp_path)) == 3:
            torn = f"{floor.fold}.{floor.features}.{floor.key[:16]}.0123456789abcdef.parquet"
            (store.folder / torn).write_bytes(b"PAR1 torn")
            raise KeyboardInterrupt
        write(store, floor)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(FloorStore, "write", interrupted)
        floors.job_floors(*planned(job.recipe), tmp_path, PartialState(cpu=True))
    whole, before = contents(job.folder / "small"), contents(tmp_path)
    assert len([name for name in before if name in whole]) == 3 and len(before) == 4
    monkeypatch.setattr(floors, "_fit", counted(floors._fit, fits))
    for _ in range(2):  # the second time all is there
        floors.job_floors(*planned(job.recipe), tmp_path, PartialState(cpu=True))
        assert contents(tmp_path) == whole and len(fits) == 5


def test_a_signal_that_is_taken_for_an_error_costs_no_floor(job, tmp_path, monkeypatch):
    """The job ends, and is not one that lacks a floor."""

    def swallowing(sequences):
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            raise RuntimeError("Unable to cast") from None

    monkeypatch.setattr("emomm.features.sequences.Sequences.means", swallowing)
    with pytest.raises(Interrupted), interruptible():
        floors.job_floors(*planned(job.recipe), tmp_path, PartialState(cpu=True))


@pytest.mark.parametrize("damage", ["torn", "bit", "foreign", "renamed", "empty", "folder"])
def test_what_is_not_a_floor_is_made_again(job, tmp_path, monkeypatch, damage):
    shutil.copytree(job.folder / "small" / "floors", tmp_path / "floors")
    whole = contents(tmp_path)
    name, other = (next(n for n in sorted(whole) if f".{kind}." in n) for kind in ("both", "words"))
    content = bytearray(whole[name])
    content[len(content) // 2] ^= 1
    damaged = {"torn": whole[name][:999], "bit": bytes(content), "foreign": b"x" * 99, "renamed": whole[other]}
    (tmp_path / "floors" / name).unlink()
    if damage == "folder":
        (tmp_path / "floors" / name).mkdir()
    else:
        (tmp_path / "floors" / name).write_bytes(damaged.get(damage, b""))
    fits = []
    monkeypatch.setattr(floors, "_fit", counted(floors._fit, fits))
    found = floors.job_floors(*planned(job.recipe), tmp_path, PartialState(cpu=True))
    assert fits == [f"both, {name.split('.')[0]}"]
    assert set(found[2][1, name.split(".")[0]]) == {"most_frequent", "voice", "words", "both"}
    assert damage == "folder" or contents(tmp_path) == whole


def test_a_job_is_not_lost_with_its_floors(job, tmp_path, monkeypatch, caplog):
    """Where they can't be kept, or can't be had, that is said."""
    monkeypatch.setattr(FloorStore, "write", lambda *_: (_ for _ in ()).throw(OSError("No space left on device")))
    monkeypatch.setattr(
        TextStateStore, "states", lambda *_: (_ for _ in ()).throw(InputError("not finite in float16"))
    )
    found = floors.job_floors(*planned(job.recipe), tmp_path, PartialState(cpu=True))
    assert set(found[2][1, "session-1"]) == {"most_frequent", "voice"} and set(found[1][1, "session-1"]) == {
        "most_frequent"
    }
    assert "can't be kept (OSError: No space left on device)" in caplog.text
    assert "words, session-1 (InputError: not finite in float16)" in caplog.text
    entry = job.entries["words"]
    said = floors_entry(["words"], entry["runs"], found[1], pooled_predictions(entry, job.folder / "small"))
    assert set(said["corpora"]["synthetic"]) == {"chance", "most_frequent"}
