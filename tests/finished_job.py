"""A finished small job whose model can be pushed: an own corpus of 4 speakers, voice and words, two seeds."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from small_jobs import SMALL
from tiny_encoders import tiny_encoder

from emomm.corpora.synthetic import Generator
from emomm.corpora.synthetic import generate
from emomm.experiments.job import run
from emomm.settings.recipe import load_recipe

# So called, it is a corpus that its extractor has seen.
CORPUS = "MELD"
EXTRACTOR = "emotion2vec_plus_base"


def write_corpus(folder: Path) -> Path:
    """The synthetic corpus as a parquet file, with the gender of its speakers and names that must not leave."""
    table = generate(Generator.from_dict("synthetic", SMALL["corpora"]["synthetic"]["generator"]))
    speakers = [f"Agent{int(number):03}" for number in table["speaker"].to_pylist()]
    table = table.set_column(table.column_names.index("speaker"), "speaker", pa.array(speakers))
    ids = [f"secret-row-{i}" for i in range(table.num_rows)]
    if "utterance_id" in table.column_names:
        table = table.drop_columns(["utterance_id"])
    table = table.append_column("utterance_id", pa.array(ids))
    table = table.append_column("gender", pa.array(["fm"[int(name[-1]) % 2] for name in speakers]))
    path = folder / "private corpus" / "train.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(table, path)
    return path


def write_job_recipe(folder: Path, **fields: Any) -> Path:
    """The recipe of the job; its results go to `folder/job`."""
    if not (folder / "encoder").exists():
        tiny_encoder(folder / "encoder")
        write_corpus(folder)
    recipe = {
        **SMALL,
        "train_dataset": CORPUS,
        "corpora": {
            CORPUS: {
                "path": str(folder / "private corpus" / "train.parquet"),
                "labels": ["neutral", "happy", "sad", "anger"],
                "licence": "CC0-1.0",
                "licence_url": "https://creativecommons.org/publicdomain/zero/1.0/",
                "extractor": EXTRACTOR,
                "language": "en",
                "caveat": "Nobody spoke: the corpus is made up.",
                "citation": "Made-up speech (Nobody et al., 2026)",
            }
        },
        "text_model_name": str(folder / "encoder"),
        "seeds": [3, 4],
        "num_epochs": 4,
        "output_dir": str(folder / "job"),
        "store_dir": str(folder / "store"),
        "experiments": [{"name": "Both of them"}],
        **fields,
    }
    path = folder / "recipe.json"
    path.write_text(json.dumps(recipe))
    return path


def finished_job(folder: Path, **fields: Any) -> Path:
    """Runs the job; returns its folder."""
    outcome = run(load_recipe(write_job_recipe(folder, **fields)))
    assert not outcome.failed
    return folder / "job"
