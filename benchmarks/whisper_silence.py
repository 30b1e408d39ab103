"""What it changes that the silence which fills Whisper's window of 30 s is left out of its upper layers.

    python benchmarks/whisper_silence.py FOLDER [--encoder openai/whisper-base] [--last 2] [--batch 16]

FOLDER is one of recordings as `emomm run` takes it, with labels and speakers. Each recording is encoded twice: all
layers over the whole window, as Whisper does; and the last ones over the real frames alone, as they are tuned. What is
compared: the means over the real frames (their cosine), how well logistic regression tells the classes of two speakers
left out by each (UAR; C by two other speakers), and the processor time of a step, forward and backward, of the last
layers, by one thread.
"""

import statistics
import time
from pathlib import Path

import numpy as np
import torch
from measuring import Benchmark
from measuring import parser
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import recall_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from transformers import AutoFeatureExtractor
from transformers import AutoModel

from emomm.corpora.corpus import Corpus
from emomm.corpora.spec import CorpusSpec
from emomm.encoder_layers import EncoderLayers
from emomm.features.windows import as_floats
from emomm.recordings.recorded_corpus import load_recorded_corpus
from emomm.waveforms import SAMPLING_RATE

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # C of logistic regression
WAYS = ("whole window", "real frames")


@torch.no_grad()
def means(corpus: Corpus, layers: EncoderLayers, extractor, last: int) -> dict[str, np.ndarray]:
    """(rows, width) means of the last layer's states over real frames, by both ways."""
    found = {way: [] for way in WAYS}
    for row in range(len(corpus)):
        given = extractor(
            as_floats(corpus.audio[row][:, 0]),
            sampling_rate=SAMPLING_RATE,
            padding="max_length",
            return_attention_mask=True,
            return_tensors="pt",
        )
        for way, start in zip(WAYS, (layers.depth, layers.depth - last), strict=True):
            states, mask = layers.states(given["input_features"], given["attention_mask"], [layers.depth], start=start)
            found[way].append(states[layers.depth][mask].mean(dim=0).numpy())
    return {way: np.array(rows) for way, rows in found.items()}


def uar(vectors: np.ndarray, labels: np.ndarray, pairs: np.ndarray) -> float:
    """Pooled over folds, each of which tests a pair of speakers and chooses C by the next."""
    predicted, number = np.empty_like(labels), pairs.max() + 1

    def fitted(rows: np.ndarray, strength: float):
        classifier = LogisticRegression(C=strength, max_iter=3000, class_weight="balanced")
        return make_pipeline(StandardScaler(), classifier).fit(vectors[rows], labels[rows])

    def score(rows: np.ndarray, chosen: np.ndarray, strength: float) -> float:
        return recall_score(labels[chosen], fitted(rows, strength).predict(vectors[chosen]), average="macro")

    for pair in range(number):
        tested, chosen = pairs == pair, pairs == (pair + 1) % number
        trained = ~tested & ~chosen
        best = max(STRENGTHS, key=lambda strength: score(trained, chosen, strength))
        predicted[tested] = fitted(trained, best).predict(vectors[tested])
    return recall_score(labels, predicted, average="macro")


def step_seconds(layers: EncoderLayers, last: int, lengths: np.ndarray, frames: int) -> float:
    """Processor seconds of a step of the last layers, for recordings of so many frames; the first is left out."""
    mask = torch.arange(frames) < torch.from_numpy(lengths)[:, None]
    found = []
    for _ in range(4):
        states = torch.randn(len(lengths), frames, layers.width)
        began = time.process_time()
        layers.upper(states, mask, layers.depth - last)[-1].mean().backward()
        found.append(time.process_time() - began)
    return statistics.median(found[1:])


def main() -> None:
    known = parser(__doc__)
    known.add_argument("folder", type=Path)
    known.add_argument("--encoder", default="openai/whisper-base")
    known.add_argument("--last", type=int, default=2, help="layers that are tuned")
    known.add_argument("--batch", type=int, default=16)
    known.add_argument("--labels", nargs="+", default=["neutral", "happiness", "sadness", "anger"])
    known.add_argument("--dropped", nargs="*", default=[], help="labels of rows that are left out")
    options = known.parse_args()
    torch.set_num_threads(1)
    with Benchmark(__file__, options) as figures:
        spec = CorpusSpec(
            name="recordings", path=str(options.folder), labels=options.labels, dropped_labels=options.dropped
        )
        corpus = load_recorded_corpus(spec)
        encoder = AutoModel.from_pretrained(options.encoder, dtype=torch.float32).get_encoder().eval()
        layers, extractor = EncoderLayers.of(encoder), AutoFeatureExtractor.from_pretrained(options.encoder)
        found = means(corpus, layers, extractor, options.last)
        first, second = (found[way] / np.linalg.norm(found[way], axis=1, keepdims=True) for way in WAYS)
        cosine = (first * second).sum(axis=1)
        figures.note(
            f"{len(corpus)} recordings: cosine of the means {np.median(cosine):.3f}, at least {cosine.min():.3f}"
        )
        pairs = np.unique(corpus.speakers, return_inverse=True)[1] // 2
        whole = encoder.config.max_source_positions
        lengths = np.minimum(corpus.audio.length[: options.batch] // 320, whole).astype(np.int64)
        for way, frames in zip(WAYS, (whole, lengths.max()), strict=True):
            counts = np.full_like(lengths, whole) if frames == whole else lengths
            seconds = step_seconds(layers, options.last, counts, frames)
            scored = float(uar(found[way], corpus.label_ids, pairs))
            figures.add(way, **{"UAR": scored, "step (CPU s)": seconds})


if __name__ == "__main__":
    main()
