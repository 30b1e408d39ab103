"""A third modality, of a user's own: a file that registers it, a column of a corpus and a name in a recipe are all it
takes to train, test and export, and a stranger loads what was exported.

The corpora are generated, with the labels drawn anew: voice and words say nothing of them, and gaze alone decides.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from tiny_encoders import tiny_encoder

from emomm import modalities
from emomm.corpora.loading import load_corpus
from emomm.corpora.spec import CorpusSpec
from emomm.corpora.synthetic import Generator
from emomm.corpora.synthetic import generate
from emomm.corpora.synthetic import separation
from emomm.data_collator import EmoMMDataCollator
from emomm.errors import InputError
from emomm.experiments import job
from emomm.inference.predicting import predict
from emomm.modalities import AUDIO
from emomm.modalities import TEXT
from emomm.modalities import Modality
from emomm.modalities import modalities_in
from emomm.modalities import names_in
from emomm.modalities import register_modality
from emomm.modalities import words_in
from emomm.modeling_emomm import EmoMMForEmotionClassification
from emomm.own_files import as_it_travels
from emomm.pipeline_emomm import EmoMMPipeline
from emomm.processing_emomm import EmoMMProcessor
from emomm.reporting.floor_tables import floors_table
from emomm.reporting.report_data import read_report
from emomm.settings.recipe import load_recipe
from emomm.settings.settings import Settings
from emomm.settings.settings import settings_identity
from emomm.sharing.hub import gather
from emomm.sharing.hub import model_folder
from emomm.sharing.uploading import Push

GAZE = """
from emomm import Modality, register_modality

register_modality(Modality("gaze", word="gaze", dim=5, unit="fixations"))
"""
CEILING = 0.9  # of gaze; chance is .25
FUSIONS = ("cross_attention", "concat", "gated", "adaptive")
SIZE = {"audio_dim": 6, "frames": (1, 2), "words": (1, 2), "speakers": 6, "sessions": 3}
MODALITIES = ["audio", "text", "gaze"]

CHILD = """
import json
import sys
from pathlib import Path

for name in ("emomm", "accelerate", "datasets", "evaluate", "pyarrow", "scipy", "sklearn", "wandb"):
    sys.modules[name] = None

import numpy as np
import torch
import transformers

folders, inputs, found = sys.argv[2:], dict(np.load(sys.argv[1])), {}
lengths = {name: inputs.pop(f"{name}_lengths") for name in ("audio", "gaze")}
given = {
    f"{name}_features": np.split(inputs[f"{name}_features"], np.cumsum(count)[:-1]) for name, count in lengths.items()
}
texts = inputs["text"].tolist()
for folder in folders:
    processor = transformers.AutoProcessor.from_pretrained(folder, trust_remote_code=True)
    model = transformers.AutoModel.from_pretrained(folder, trust_remote_code=True)
    assert type(model).__module__.startswith("transformers_modules.")
    batch = processor(text=texts, **given)
    assert set(batch) <= set(processor.model_input_names) and "gaze_features" in batch
    with torch.no_grad():
        found[folder] = model(**batch).logits.numpy()
    if folder == folders[-1]:  # what the stranger saves can be loaded too
        model.save_pretrained("again")
        again = transformers.AutoModel.from_pretrained("again", trust_remote_code=True)
        assert torch.equal(again(**batch).logits, model(**batch).logits)
        pipe = transformers.pipeline("multimodal-emotion-recognition", model=folder, trust_remote_code=True)
        answer = pipe({"text": texts[0], **{name: rows[0] for name, rows in given.items()}})
        Path("answer.json").write_text(json.dumps(answer))
np.savez("logits.npz", **found)
"""


def corpus(path: Path, rows: int, seed: int, missing: float = 0.0) -> None:
    """`synthetic` with new labels, which a column of gaze shows: from the mean fixation, `CEILING` is the best there
    is."""
    rng = np.random.default_rng((seed, 1))  # not what the generator draws
    generator = Generator(rows=rows, seed=seed, missing_audio=missing, missing_text=missing, **SIZE)
    table, label = generate(generator), rng.integers(4, size=rows)
    lengths = rng.integers(1, 4, size=rows)
    row = np.repeat(np.arange(rows), lengths)
    fixations = rng.standard_normal((len(row), 5)) * np.sqrt(lengths)[row, None]
    fixations[np.arange(len(row)), label[row]] += separation(CEILING, 4)
    values = np.split(fixations.astype(np.float32), np.cumsum(lengths)[:-1])
    gone = rng.random(rows) < missing
    gaze = [None if lacks else each.tolist() for each, lacks in zip(values, gone, strict=True)]
    table = table.set_column(table.column_names.index("label"), "label", pa.array(np.array(generator.classes)[label]))
    pq.write_table(table.append_column("eye_tracking", pa.array(gaze)), path)


def write_recipe(folder: Path, **fields) -> Path:
    recipe = {
        "train_dataset": "train",
        "test_datasets": ["test"],
        "corpora": {
            name: {"path": f"{name}.parquet", "columns": {"gaze": "eye_tracking"}}
            for name in ("train", "test", "gaps")
        },
        "evaluation_mode": "cross_corpus",
        "validation": "random",
        "seeds": [1],
        "modality": MODALITIES,
        "modality_module": "own_gaze.py",
        "text_model_name": str(folder / "encoder"),
        "text_max_length": 16,
        "fusion_hidden_dim": 16,
        "num_attention_heads": 2,
        "hidden_dim": 16,
        "num_epochs": 12,
        "batch_size": 32,
        "learning_rate": 0.01,
        "store_dir": str(folder / "store"),
        "output_dir": str(folder / "runs"),
        **fields,
    }
    path = folder / "gaze.json"
    path.write_text(json.dumps(recipe))
    return path


@pytest.fixture(autouse=True, scope="module")
def registry():
    """The registry, put back after these tests."""
    known = dict(modalities._REGISTRY)
    yield
    modalities._REGISTRY.clear()
    modalities._REGISTRY.update(known)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where the user's file, the corpora and a text encoder lie."""
    place = tmp_path_factory.mktemp("gaze")
    (place / "own_gaze.py").write_text(GAZE)
    tiny_encoder(place / "encoder", hidden=16)
    for name, rows, seed, missing in (("train", 600, 0, 0.0), ("test", 600, 1, 0.0), ("gaps", 600, 2, 0.15)):
        corpus(place / f"{name}.parquet", rows, seed, missing)
    return place


@pytest.fixture(scope="module")
def done(folder) -> SimpleNamespace:
    """A job of all four fusions of three modalities, of two of them, and of gaze alone."""
    experiments = [{"name": fusion, "fusion_type": fusion} for fusion in FUSIONS]
    experiments += [{"name": "two", "modality": "both", "fusion_type": "concat"}, {"name": "gaze", "modality": "gaze"}]
    experiments += [{"name": "gaps", "fusion_type": "adaptive", "train_dataset": "gaps", "floors": False}]
    outcome = job.run(load_recipe(write_recipe(folder, experiments=experiments)))
    results = json.loads((folder / "runs/results.json").read_text())
    entries = {entry["name"]: entry for entry in results["experiments"]}
    return SimpleNamespace(outcome=outcome, entries=entries, folder=folder / "runs")


def uar(done: SimpleNamespace, name: str) -> float:
    return done.entries[name]["runs"][0]["test"]["test"]["uar"]


def exported(done: SimpleNamespace, name: str) -> Path:
    return next((done.folder / name.replace("_", "-")).rglob("model"))


@pytest.mark.parametrize("fusion", FUSIONS)
def test_from_chance_to_the_ceiling_through_all_fusions(done, fusion):
    error = np.sqrt(CEILING * (1 - CEILING) / 600)
    assert uar(done, "two") == pytest.approx(0.25, abs=0.07)
    assert CEILING - 0.08 < uar(done, fusion) < CEILING + 3 * error  # more would be a leak


def test_alone_and_where_rows_lack_it(done):
    assert uar(done, "gaze") == pytest.approx(CEILING, abs=0.05)
    assert 0.6 < uar(done, "gaps") < CEILING + 0.05


def test_floors_are_on_each_and_on_all(done):
    entry = done.entries["concat"]["floors"]
    assert list(entry["corpora"]["test"]) == [
        "chance", "most_frequent", "voice", "words", "gaze", "all", "chosen", "comparison",
    ]  # fmt: skip
    scores = {name: entry["corpora"]["test"][name]["uar"]["pooled"] for name in ("voice", "words", "gaze", "all")}
    assert max(scores["voice"], scores["words"]) < 0.35 and min(scores["gaze"], scores["all"]) > CEILING - 0.06
    assert "Of voice and words and gaze together" in entry["rule"]
    assert list(done.entries["two"]["floors"]["corpora"]["test"])[2:5] == ["voice", "words", "both"]
    assert done.entries["gaze"]["floors"]["own"] == "gaze"
    assert "gaze 0." in done.outcome.text


def test_the_report_names_it(done):
    table = floors_table(read_report([done.folder]))
    named = {row[0] for row in table.rows if "concat" in row[-1].split(", ")}
    assert {"logistic regression on the gaze", "logistic regression on all modalities together"} < named
    assert "logistic regression on voice, words, gaze or all, as validation chooses" in named
    assert table.note.endswith(
        "Of voice and words and gaze together, it is the one on any of them, or on all, that is best there."
    )


def test_what_is_exported(done):
    for fusion in FUSIONS:
        config = json.loads((exported(done, fusion) / "config.json").read_text())
        assert config["modality"] == MODALITIES and config["modality_dims"] == {"gaze": 5}
        assert config["modality_module"] == "own_gaze" and set(config["feature_noise"]) == set(MODALITIES)
        weights = load_file(exported(done, fusion) / "model-00001-of-00002.safetensors")
        assert weights["gaze_mean"].shape == (5,) and weights["gaze_std"].min() > 0
        own = (exported(done, fusion) / "own_gaze.py").read_text()
        assert "from .modalities import Modality\nfrom .modalities import register_modality\n" in own
    two = json.loads((exported(done, "two") / "config.json").read_text())
    assert two["modality"] == "both" and not {"modality_dims", "modality_module"} & two.keys()
    assert not (exported(done, "two") / "own_gaze.py").exists()


def test_a_stranger_gets_the_same_logits(done, folder, tmp_path):
    """A process that knows nothing of this package or of the user's file: all four fusions, and the pipeline."""
    rows = load_corpus(
        CorpusSpec("test", path=str(folder / "test.parquet"), columns={"gaze": "eye_tracking"}), False, ["gaze"]
    )
    few = rows.select(np.arange(12))
    arrays = {"text": np.array(few.transcripts)}
    for name in ("audio", "gaze"):
        arrays[f"{name}_features"] = np.concatenate([few.vectors(name)[i] for i in range(12)])
        arrays[f"{name}_lengths"] = few.vectors(name).length
    np.savez(tmp_path / "inputs.npz", **arrays)
    (tmp_path / "child.py").write_text(CHILD)
    for fusion in FUSIONS:  # not where they were written
        subprocess.run(["cp", "-r", exported(done, fusion), tmp_path / fusion], check=True)
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "HF_", "TRANSFORMERS_"))}
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub"), "HF_MODULES_CACHE": str(tmp_path / "modules")}
    command = [sys.executable, "-I", "child.py", "inputs.npz", *FUSIONS]
    child = subprocess.run(command, cwd=tmp_path, env=kept | offline, capture_output=True, text=True, timeout=300)
    assert child.returncode == 0, child.stderr[-4000:]
    with np.load(tmp_path / "logits.npz") as found:
        for fusion in FUSIONS:
            model = EmoMMForEmotionClassification.from_pretrained(exported(done, fusion)).eval()
            processor = EmoMMProcessor.from_pretrained(exported(done, fusion))
            features = {f"{name}_features": [few.vectors(name)[i] for i in range(12)] for name in ("audio", "gaze")}
            with torch.no_grad():
                expected = model(**processor(text=few.transcripts, **features)).logits.numpy()
            assert np.ptp(expected, axis=0).min() > 0.1  # the rows differ
            np.testing.assert_allclose(found[fusion], expected, atol=1e-5, rtol=0)
    answer = json.loads((tmp_path / "answer.json").read_text())
    assert set(answer["gates"]) == set(MODALITIES) and answer["transcript"] == few.transcripts[0]
    assert len(answer["further"]["gaze"]) == len(few.vectors("gaze")[0])
    assert sum(answer["further"]["gaze"]) == pytest.approx(1)


def test_the_card_and_what_is_pushed(done):
    wanted = Push(done.folder, "adaptive", "someone/gaze", final_model=False)
    pushed = gather(wanted, model_folder(wanted))
    assert (pushed / "own_gaze.py").exists()
    card = (pushed / "README.md").read_text(encoding="utf-8")
    assert "voice, words and gaze" in card and "Voice, words or gaze may be left out." in card
    assert "vectors of gaze (fixations × 5)" in card
    assert "gaze = np.random.randn(20, 5).astype(np.float32)  # yours: fixations × 5" in card
    assert "processor(audio_features=voice, text=words, gaze_features=gaze)" in card
    assert "tested on | chance | most frequent class | voice | words | gaze | all | chosen on validation" in card
    assert json.loads(card.split("```json\n")[-1].split("```")[0])["modality_module"] == "own_gaze.py"


def test_rows_of_a_corpus_are_predicted(done, folder, tmp_path, monkeypatch):
    """By the code that came with the model, where nobody has said here what gaze is."""
    monkeypatch.setattr(modalities, "_REGISTRY", {"audio": AUDIO, "text": TEXT})
    model, usual = exported(done, "concat"), gaze_column(folder, tmp_path)
    with pytest.raises(InputError, match="comes with the model, in own_gaze.py: load it with trust_remote_code=True"):
        predict(str(model), str(usual), tmp_path / "found.parquet")
    predict(str(model), str(usual), tmp_path / "found.parquet", trust_remote_code=True)
    found, before = (
        pq.read_table(path)["prediction"].to_pylist()
        for path in (tmp_path / "found.parquet", next((done.folder / "concat").rglob("predictions.parquet")))
    )
    assert found == before


def gaze_column(folder: Path, place: Path) -> Path:
    """The test corpus with its column under the usual name, which needs nobody to say it."""
    table = pq.read_table(folder / "test.parquet")
    names = ["gaze_features" if name == "eye_tracking" else name for name in table.column_names]
    pq.write_table(table.rename_columns(names), place / "usual.parquet")
    return place / "usual.parquet"


# What is wrong is said, before anything trains


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"modality": ["audio", "gase"]},
            "modality='gase' is not known; it can be audio, text, gaze, both, or a list",
        ),
        ({"modality_module": "broken.py"}, "modality_module .*broken.py, line 3: ZeroDivisionError"),
        ({"modality_module": "absent.py"}, r"modality_module is .*absent\.py.*, but must be a Python file"),
        ({"modality": ["audio", "audio", "gaze"]}, "modality is .* each once"),
        ({"modality": []}, "modality is .* one entry or more"),
        ({"corpora": {"train": {"path": "train.parquet"}, "test": {"path": "test.parquet"}}}, "no column for gaze"),
        (
            {"train_dataset": "narrow"},
            r"gaze \(column eye_tracking\): features are 2 wide; expected 5 \(the dim of gaze",
        ),
        ({"train_dataset": "gaps", "fusion_type": "concat"}, "gaps row 'row-.*' has no (voice|gaze) .*use adaptive"),
        ({"train_dataset": "gaps", "modality": "gaze"}, "gaps row 'row-.*' has no gaze, and modality is gaze"),
        ({"num_attention_heads": 3}, "num_attention_heads is 3, but must divide fusion_hidden_dim, which is 16"),
    ],
)
def test_what_is_wrong_is_said(folder, fields, said):
    (folder / "broken.py").write_text("# gaze\n\n1 / 0\n")
    narrow = pq.read_table(folder / "train.parquet")
    column = narrow.column_names.index("eye_tracking")
    narrow = narrow.set_column(column, "eye_tracking", pa.array([[1.0, 2.0]] * len(narrow)))
    pq.write_table(narrow, folder / "narrow.parquet")
    corpora = {
        name: {"path": f"{name}.parquet", "columns": {"gaze": "eye_tracking"}}
        for name in ("gaps", "narrow", "train", "test")
    }
    recipe = write_recipe(folder, **{"corpora": corpora, "experiments": [{"name": "wrong"}], **fields})
    with pytest.raises(InputError, match=said):
        job.run(load_recipe(recipe), dry_run=True)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": "Eye gaze"}, "must be a word of a-z"),
        ({"name": "text"}, "'text' is EmoMM's own"),
        ({"name": "both"}, "'both' is EmoMM's own"),
        ({"name": "look", "word": "words"}, "word is 'words'"),
        ({"name": "look", "word": "chosen"}, "word is 'chosen'"),
        ({"name": "look", "dim": 0}, "dim is 0"),
        ({"name": "look", "pooling": "max"}, "pooling is 'max'; it can be mean, cls"),
        ({"name": "look", "encoder": "text"}, "only voice and words have one"),
        ({"name": "look", "missing": "[EMPTY]"}, "only of words another is read"),
    ],
)
def test_descriptions_that_are_refused(fields, said):
    with pytest.raises(ValueError, match=said):
        register_modality(Modality(**fields))
    with pytest.raises(TypeError, match="takes a Modality"):
        register_modality(fields)


def test_imports_of_a_users_file_as_they_travel():
    source = """
from emomm import (
    Fusion,
    Modality as Kind,
)

def late():
    from emomm.fusions import FusionOutput
    return FusionOutput

from emomm.modalities import register_modality
from torch import nn
"""
    assert (
        as_it_travels(source)
        == """
from .fusions import Fusion
from .modalities import Modality as Kind

def late():
    from .fusions import FusionOutput
    return FusionOutput

from .modalities import register_modality
from torch import nn
"""
    )


def test_names_and_words():
    assert names_in("both") == ("audio", "text") and names_in("gaze") == ("gaze",)
    assert modalities_in("both") == [AUDIO, TEXT]
    assert words_in([AUDIO]) == "voice" and words_in([AUDIO, TEXT], "or") == "voice or words"
    assert AUDIO.inputs == ("audio_features", "audio_mask")
    assert TEXT.inputs == ("input_ids", "attention_mask", "text_features", "text_mask")


def test_lists_of_voice_and_words_are_what_they_were(folder):
    same = {"modality_module": str(folder / "own_gaze.py")}
    assert Settings(modality=["text", "audio"]).modality == "both" and Settings(modality=["text"]).modality == "text"
    assert settings_identity(Settings(modality=["audio", "text"], **same)) == settings_identity(Settings())
    assert Settings(modality=["both", "gaze"], **same).modality == MODALITIES
    gaze = settings_identity(Settings(modality="gaze", **same))
    assert len(gaze["modality_module"]) == 64 and str(folder) not in json.dumps(gaze)


# What a row lacks


def test_one_of_three_is_hidden_in_training(done):
    """`modality_dropout`: of rows that have all, each modality is hidden in a third of those where one is."""
    config = EmoMMForEmotionClassification.config_class.from_pretrained(exported(done, "adaptive"))
    config.modality_dropout, config.feature_noise = 0.6, None
    torch.manual_seed(0)
    model = EmoMMForEmotionClassification(config).train()
    hidden = torch.stack([~kept for kept in model._kept([torch.ones(3000, 2, dtype=torch.bool)] * 3)], dim=1)
    assert hidden.sum(dim=1).max() == 1
    np.testing.assert_allclose(hidden.float().mean(dim=0), 0.2, atol=0.03)


def test_a_row_without_gaze_is_what_a_model_without_it_would_see(done):
    """Adaptive fusion: a batch that holds none, and a row among others, give the same."""
    model = EmoMMForEmotionClassification.from_pretrained(exported(done, "adaptive")).eval()
    rng = np.random.default_rng(0)
    voice, gaze = rng.standard_normal((2, 6), np.float32), rng.standard_normal((2, 5), np.float32)
    ids = np.array([2, 5, 6, 3])
    rows = [{"audio_features": voice[i], "input_ids": ids, "gaze_features": gaze[i] if i else None} for i in range(2)]
    none = [{key: value for key, value in rows[0].items() if key != "gaze_features"}]
    with torch.no_grad():
        among, alone = (model(**EmoMMDataCollator()(batch)) for batch in (rows, none))
    torch.testing.assert_close(among.logits[:1], alone.logits)
    assert alone.gates.tolist() == [[0.5, 0.5, 0.0]]
    with pytest.raises(ValueError, match="row 0 of the batch has neither voice nor gaze"):
        EmoMMDataCollator()([{"audio_features": None, "gaze_features": None}])


def test_what_the_pipeline_says_of_a_missing_one(done):
    needs, lacks = (
        EmoMMPipeline(
            model=EmoMMForEmotionClassification.from_pretrained(exported(done, fusion)),
            processor=EmoMMProcessor.from_pretrained(exported(done, fusion)),
            task="multimodal-emotion-recognition",
        )
        for fusion in ("concat", "adaptive")
    )
    voice, gaze = np.zeros((3, 6), np.float32), np.ones((2, 5), np.float32)
    with pytest.raises(ValueError, match="there is no gaze, which this model needs"):
        needs(audio_features=voice, text="sad")
    told = lacks(audio_features=voice, text="sad")
    assert "no gaze given: read as missing" in told["notes"] and told["gates"]["gaze"] == 0
    alone = lacks(gaze_features=gaze)
    assert alone["gates"] == {"audio": 0, "text": 0, "gaze": 1} and len(alone["further"]["gaze"]) == 2
    both = needs([{"audio_features": voice, "text": "sad", "gaze_features": gaze}] * 2)
    beside = needs(audio_features=[voice, voice], text=["sad", "sad"], gaze_features=[gaze, gaze])
    assert [each["score"] for each in both] == pytest.approx([each["score"] for each in beside])
    with pytest.raises(
        ValueError, match=r"gaze_features has shape \(2, 4\); this model takes \(5,\) or \(fixations, 5\)"
    ):
        needs({"audio_features": voice, "text": "sad", "gaze_features": gaze[:, :4]})


def test_a_model_is_not_loaded_without_its_modality(done, monkeypatch):
    monkeypatch.setattr(modalities, "_REGISTRY", {"audio": AUDIO, "text": TEXT})
    with pytest.raises(Exception, match="comes with the model, in own_gaze.py: load it with trust_remote_code=True"):
        EmoMMForEmotionClassification.from_pretrained(exported(done, "concat"))
