"""The same experiment by EmoMM and by two other toolkits for speech emotion, as whole processes.

    python benchmarks/peers.py [--environments build/peers] [--install] [--rounds 3] [--epochs 30] [--json]

EmoDB's sample corpus: 339 recordings, four classes, one vector of 512 for each (the mean over its Whisper frames);
five folds: one session is tested, one chooses the epoch, three train; 30 epochs, batches of 64, one hidden layer of
256. The peers get the rows, vectors and parts of EmoMM's folds, and are run as their documentation says:

nkululeko: an MLP on imported features, standardised, `traindevtest`, an INI file and `python -m nkululeko.nkululeko`
for each fold (its own `logo` is for models of scikit-learn alone). autrainer: an FFNN on stored vectors, standardised,
one `autrainer train` over five data sets. EmoMM: one `emomm run`, with floors, intervals, tests and exported models.

`--install` makes an environment for each below `--environments`, where they stay. A peer that is not there is left
out, which is said. All take turns; medians; CPU seconds and the most memory are those of all processes of each. UAR is
over the test rows of all folds together, of the epoch that had the best UAR on the validation session.
"""

import csv
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import measuring
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from measuring import Benchmark
from measuring import Ended
from measuring import in_turn
from measuring import parser
from measuring import run_process
from sklearn.metrics import recall_score

from emomm.corpora.builtin import resolve_specs
from emomm.corpora.corpus import Corpus
from emomm.corpora.loading import load_corpus
from emomm.experiments.job import plan_experiment
from emomm.job_folder import JobFolder
from emomm.settings.recipe import load_recipe

# autrainer imports torchvision, of which the index has none that goes with a torch for processors alone.
REQUIREMENTS = {
    "nkululeko": ["torch==2.13.0", "nkululeko==1.14.1"],
    "autrainer": ["torch==2.14.1", "torchvision==0.29.1", "autrainer==0.10.0"],
}
PARTS = ("train", "dev", "test")
BATCH, HIDDEN, RATE = 64, 256, 0.001
Fold = dict[str, np.ndarray]
"""Row numbers of each part."""


@dataclass(frozen=True)
class Task:
    """What all are given.

    Args:
        corpus: labelled rows.
        vectors: (rows, width) float32.
        folds: rows of each part.
        epochs: of each training.
        folder: to work in.
    """

    corpus: Corpus
    vectors: np.ndarray
    folds: list[Fold]
    epochs: int
    folder: Path

    @property
    def labels(self) -> np.ndarray:
        """(rows,) names."""
        return np.array(self.corpus.labels)[self.corpus.label_ids]


# ---- what all are given ---------------------------------------------------------------------------------------------


def make_task(folder: Path, epochs: int) -> Task:
    """The corpus with a vector a recording, EmoMM's recipe of it, and the folds that EmoMM makes."""
    corpus = load_corpus(resolve_specs({}, {})["emodb"])
    vectors = np.stack([np.asarray(corpus.audio[row], np.float32).mean(axis=0) for row in range(len(corpus))])
    flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
    columns = {
        "utterance_id": corpus.utterance_ids.tolist(),
        "speaker": [name.rpartition("/")[2] for name in corpus.speakers.tolist()],
        "session": corpus.sessions.tolist(),
        "label": np.array(corpus.labels)[corpus.label_ids].tolist(),
        "transcript": list(corpus.transcripts),
        "audio_features": flat,
    }
    pq.write_table(pa.table(columns), folder / "vectors.parquet")
    recipe = {
        "train_dataset": "emodb_vectors",
        "corpora": {"emodb_vectors": {"path": str(folder / "vectors.parquet"), "labels": corpus.labels}},
        "seeds": [1],
        "num_epochs": epochs,
        "batch_size": BATCH,
        "hidden_dim": HIDDEN,
        "experiments": [{"name": "voice", "modality": "audio"}],
    }
    (folder / "recipe.json").write_text(json.dumps(recipe))
    experiment, runs = plan_experiment(load_recipe(str(folder / "recipe.json")).experiments[0], folder / "planned")
    place = {name: row for row, name in enumerate(corpus.utterance_ids)}
    own = np.array([place[name] for name in experiment.data.utterance_ids])
    folds = []
    for run in runs:
        given = (run.fold.train, run.fold.validation, run.fold.test)
        folds.append({name: own[experiment.data.rows(parts)] for name, parts in zip(PARTS, given, strict=True)})
    return Task(corpus, vectors, folds, epochs, folder)


def uar(truths: list[str], predicted: list[str]) -> float:
    """Over rows of all folds."""
    return float(recall_score(truths, predicted, average="macro"))


# ---- EmoMM ----------------------------------------------------------------------------------------------------------


def by_emomm(task: Task) -> tuple[list[Ended], float]:
    """One command for all folds."""
    with tempfile.TemporaryDirectory(dir=task.folder) as out:
        command = [sys.executable, str(measuring.ROOT / "run_emomm.py"), str(task.folder / "recipe.json")]
        ended = run_process([*command, "--output_dir", out, "--no_report"])
        results = json.loads(JobFolder(Path(out)).results.read_text())
    (summary,) = results["experiments"][0]["summary"].values()
    return [ended], summary["uar"]["pooled"]


# ---- nkululeko ------------------------------------------------------------------------------------------------------


def prepare_nkululeko(task: Task, folder: Path) -> list[Path]:
    """Tables of rows and of features, and an INI file for each fold."""
    where = [(f"{folder}/{name}.wav", "0 days 00:00:00", "0 days 00:00:03") for name in task.corpus.utterance_ids]
    with (folder / "features.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "start", "end", *(f"feature_{i}" for i in range(task.vectors.shape[1]))])
        writer.writerows([*place, *vector] for place, vector in zip(where, task.vectors.tolist(), strict=True))
    inis = []
    for number, fold in enumerate(task.folds, start=1):
        data = [f"databases = {[*PARTS]}", "target = emotion", f"labels = {sorted(task.corpus.labels)}"]
        for part, rows in fold.items():
            table = folder / f"{part}-{number}.csv"
            with table.open("w", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(["file", "start", "end", "speaker", "emotion"])
                writer.writerows([*where[row], task.corpus.speakers[row], task.labels[row]] for row in rows)
            data += [f"{part} = {table}", f"{part}.type = csv", f"{part}.split_strategy = {part}"]
        text = f"""[EXP]
root = {folder}/
name = fold_{number}
traindevtest = True
epochs = {task.epochs}
[DATA]
{chr(10).join(data)}
[FEATS]
type = ['import']
import_file = ['{folder / "features.csv"}']
scale = standard
[MODEL]
type = mlp
layers = [{HIDDEN}]
learning_rate = {RATE}
batch_size = {BATCH}
random_seed = 1
device = cpu
"""
        inis.append(folder / f"fold-{number}.ini")
        inis[-1].write_text(text)
    return inis


def by_nkululeko(task: Task, python: Path) -> tuple[list[Ended], float]:
    """A command for each fold."""
    with tempfile.TemporaryDirectory(dir=task.folder) as name:
        inis = prepare_nkululeko(task, Path(name))
        ended = [run_process([str(python), "-m", "nkululeko.nkululeko", "--config", str(ini)]) for ini in inis]
        truths, predicted = [], []
        for number in range(1, len(inis) + 1):
            (table,) = (Path(name) / f"fold_{number}" / "results").glob("*_test_*.csv")
            with table.open(newline="") as file:
                for row in csv.DictReader(file):
                    truths.append(row["truth"])
                    predicted.append(row["predicted"])
    return ended, uar(truths, predicted)


# ---- autrainer ------------------------------------------------------------------------------------------------------

AUTRAINER = {
    "config.yaml": """defaults:
  - _autrainer_
  - _self_

results_dir: results
experiment_id: emodb
iterations: {epochs}
device: cpu

hydra:
  sweeper:
    params:
      +seed: 1
      +batch_size: {batch}
      +learning_rate: {rate}
      dataset: {folds}
      model: Vectors-FFNN
      optimizer: Adam
""",
    "model/Vectors-FFNN.yaml": """id: Vectors-FFNN
_target_: autrainer.models.FFNN
input_size: {width}
hidden_size: {hidden}
num_layers: 2
dropout: 0.3

transform:
  type: tabular
""",
}
AUTRAINER_FOLD = """id: {name}
_target_: autrainer.datasets.BaseClassificationDataset

path: data/{name}
features_path: data
features_subdir: default
index_column: filename
target_column: emotion
file_type: npy
file_handler: autrainer.datasets.utils.NumpyFileHandler

criterion: autrainer.criterions.CrossEntropyLoss
metrics:
  - autrainer.metrics.Accuracy
  - autrainer.metrics.UAR
  - autrainer.metrics.F1
tracking_metric: autrainer.metrics.UAR

transform:
  type: tabular
  base:
    - autrainer.transforms.Standardizer
"""


def prepare_autrainer(task: Task, folder: Path) -> None:
    """A project: the configuration, and a data set for each fold, which share the vectors."""
    names = [f"fold-{number}" for number in range(1, len(task.folds) + 1)]
    given = {"epochs": task.epochs, "batch": BATCH, "rate": RATE, "hidden": HIDDEN, "width": task.vectors.shape[1]}
    files = {f"conf/{name}": text.format(folds=", ".join(names), **given) for name, text in AUTRAINER.items()}
    files |= {f"conf/dataset/{name}.yaml": AUTRAINER_FOLD.format(name=name) for name in names}
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "data" / "default").mkdir(parents=True)
    stored = [f"{name}.npy" for name in task.corpus.utterance_ids]
    for name, vector in zip(stored, task.vectors, strict=True):
        np.save(folder / "data" / "default" / name, vector)
    for name, fold in zip(names, task.folds, strict=True):
        (folder / "data" / name).mkdir()
        for part, rows in fold.items():
            with (folder / "data" / name / f"{part}.csv").open("w", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(["filename", "emotion"])
                writer.writerows([stored[row], task.labels[row]] for row in rows)


def by_autrainer(task: Task, python: Path) -> tuple[list[Ended], float]:
    """One command for all folds."""
    with tempfile.TemporaryDirectory(dir=task.folder) as name:
        prepare_autrainer(task, Path(name))
        ended = run_process([str(python.parent / "autrainer"), "train"], cwd=Path(name))
        truths, predicted = [], []
        for number, fold in enumerate(task.folds, start=1):
            (table,) = Path(name).glob(f"results/emodb/training/fold-{number}_*/_test/test_results.csv")
            with table.open(newline="") as file:
                predicted += [row["predictions"] for row in csv.DictReader(file)]
            truths += task.labels[fold["test"]].tolist()
    return [ended], uar(truths, predicted)


# ---- all of them ----------------------------------------------------------------------------------------------------


def install(folder: Path, name: str) -> None:
    """An environment for a peer."""
    subprocess.run([sys.executable, "-m", "venv", str(folder / name)], check=True)
    subprocess.run([str(folder / name / "bin" / "pip"), "install", "--quiet", *REQUIREMENTS[name]], check=True)


def measured(task: Task, environments: Path, rounds: int) -> dict[str, dict[str, Any]]:
    """Of EmoMM and of each peer that is there."""
    ways: dict[str, Callable[[], tuple[list[Ended], float]]] = {"EmoMM": lambda: by_emomm(task)}
    for name, way in (("nkululeko", by_nkululeko), ("autrainer", by_autrainer)):
        python = environments.resolve() / name / "bin" / "python"
        if python.exists():
            ways[name] = lambda way=way, python=python: way(task, python)
    found = in_turn(ways, rounds)
    rows: dict[str, dict[str, Any]] = {}
    for name in ways:
        seconds = [sum(ended.seconds for ended in each[name][0]) for each in found]
        cpu = [sum(ended.cpu_seconds for ended in each[name][0]) for each in found]
        ours = [(each["EmoMM"][0][0].seconds, each["EmoMM"][0][0].cpu_seconds) for each in found]
        rows[name] = {
            "seconds": statistics.median(seconds),
            "x EmoMM": statistics.median(theirs / own for theirs, (own, _) in zip(seconds, ours, strict=True)),
            "CPU seconds": statistics.median(cpu),
            "x EmoMM (CPU)": statistics.median(theirs / own for theirs, (_, own) in zip(cpu, ours, strict=True)),
            "MB": statistics.median(max(ended.megabytes for ended in each[name][0]) for each in found),
            "processes": len(found[0][name][0]),
            "UAR": statistics.median(each[name][1] for each in found),
            "epoch by": "validation UAR",
        }
    return rows


def main() -> None:
    options = parser(__doc__, rounds=3)
    options.add_argument("--environments", type=Path, default=measuring.ROOT / "build" / "peers")
    options.add_argument("--install", action="store_true", help="make environments that are not there")
    options.add_argument("--epochs", type=int, default=30)
    given = options.parse_args()
    for name in REQUIREMENTS if given.install else ():
        if not (given.environments / name / "bin" / "python").exists():
            install(given.environments, name)
    with Benchmark(__file__, given) as figures, tempfile.TemporaryDirectory() as folder:
        rows = measured(make_task(Path(folder), given.epochs), given.environments, given.rounds)
        for name, row in rows.items():
            figures.add(name, **row)
        for name, requirements in REQUIREMENTS.items():
            made = ", ".join(requirements)
            figures.note(f"{name}: {made}" if name in rows else f"{name} is not there (--install makes it: {made})")


if __name__ == "__main__":
    main()
