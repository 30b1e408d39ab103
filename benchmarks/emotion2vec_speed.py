"""Seconds of audio a second: emotion2vec here, in batches of neighbours in length, and FunASR's, one by one.

    python benchmarks/emotion2vec_speed.py --audio FOLDER [--recordings 40] [--rounds 5] [--threads 2]
        [--batch-seconds 15]

The recordings (wav, flac) are joined in an order drawn by the seed and cut anew into lengths of 1 to 15 s. Both models
have the base model's size and the same random weights, which the features are checked by: largest difference of any
frame. The two take turns, and who begins changes; the figures are medians over the rounds. Needs `funasr`.
"""

import statistics
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
from measuring import PACKAGES
from measuring import Benchmark
from measuring import in_turn
from measuring import medians
from measuring import parser
from measuring import seconds_of
from torch import nn
from transformers.utils import logging as transformers_logging

from emomm.emotion2vec.conversion import convert
from emomm.modeling_emotion2vec import Emotion2VecModel
from emomm.speech_encoders import batches_by_length
from emomm.waveforms import SAMPLING_RATE
from emomm.waveforms import read_waveform

SHORTEST, LONGEST = 1.0, 15.0  # seconds


def recordings(folder: Path, count: int, seed: int) -> list[np.ndarray]:
    """`count` waveforms of 1 to 15 s, cut from the folder's, which start again where they end."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".wav", ".flac"))
    if not files:
        raise SystemExit(f"{folder} holds no .wav or .flac file")
    random = np.random.default_rng(seed)
    lengths = (random.uniform(SHORTEST, LONGEST, count) * SAMPLING_RATE).astype(int)
    pieces, have = [], 0
    while have < lengths.sum():
        for number in random.permutation(len(files)):
            pieces.append(read_waveform(files[number]).samples)
            have += len(pieces[-1])
            if have >= lengths.sum():
                break
    joined = np.concatenate(pieces)[: lengths.sum()]
    return [part.astype(np.float32) for part in np.split(joined, np.cumsum(lengths)[:-1])]


def reference_model(seed: int) -> nn.Module:
    """FunASR's class at the size of the base model, with random weights."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from funasr.models.emotion2vec.model import Emotion2vec
    audio = {
        "type": "AUDIO",
        "prenet_depth": 4,
        "prenet_layerdrop": 0.05,
        "prenet_dropout": 0.1,
        "start_drop_path_rate": 0.0,
        "end_drop_path_rate": 0.0,
        "num_extra_tokens": 10,
        "init_extra_token_zero": True,
        "use_alibi_encoder": True,
        "alibi_scale": 1.0,
        "learned_alibi": False,
        "learned_alibi_scale": True,
        "learned_alibi_scale_per_head": True,
        "learned_alibi_scale_per_layer": False,
        "num_alibi_heads": 12,
        "model_depth": 8,
        "local_grad_mult": 1.0,
        "extractor_mode": "layer_norm",
        "feature_encoder_spec": "[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512, 2, 2)] * 2",
        "conv_pos_width": 95,
        "conv_pos_groups": 16,
        "conv_pos_depth": 5,
        "conv_pos_pre_ln": False,
        "decoder": None,
    }
    settings = {
        "depth": 8,
        "num_heads": 12,
        "embed_dim": 768,
        "mlp_ratio": 4.0,
        "norm_eps": 1e-5,
        "norm_affine": True,
        "layer_norm_first": False,
        "end_of_block_targets": False,
        "start_drop_path_rate": 0.0,
        "end_drop_path_rate": 0.0,
        "encoder_dropout": 0.1,
        "post_mlp_drop": 0.1,
        "attention_dropout": 0.1,
        "activation_dropout": 0.0,
        "dropout_input": 0.0,
        "layerdrop": 0.05,
        "normalize": True,
        "modalities": {"audio": audio},
    }
    torch.manual_seed(seed)
    model = Emotion2vec(model_conf=settings).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def converted(reference: nn.Module) -> Emotion2VecModel:
    """The same weights in the class measured."""
    with tempfile.TemporaryDirectory() as folder:
        torch.save({"model": reference.state_dict()}, Path(folder) / "model.pt")
        (Path(folder) / "config.yaml").write_text("model_conf: {num_heads: 12, normalize: true}\n")
        output = convert(Path(folder) / "model.pt", Path(folder) / "converted")
        return Emotion2VecModel.from_pretrained(output).eval()


@torch.inference_mode()
def one_by_one(reference: nn.Module, waveforms: list[np.ndarray]) -> list[np.ndarray]:
    """FunASR's own inference of one recording after the other; (frames, width) each."""
    found = []
    for waveform in waveforms:
        results, _ = reference.inference([torch.from_numpy(waveform)], key=["-"], device="cpu", granularity="frame")
        found.append(results[0]["feats"])
    return found


@torch.inference_mode()
def in_batches(model: Emotion2VecModel, waveforms: list[np.ndarray], batch_seconds: float) -> list[np.ndarray]:
    """Batches of neighbours in length of so many padded seconds; (frames, width) of each recording."""
    found: list[np.ndarray | None] = [None] * len(waveforms)
    for rows in batches_by_length([len(waveform) for waveform in waveforms], batch_seconds * SAMPLING_RATE):
        most = max(len(waveforms[row]) for row in rows)
        values = torch.zeros(len(rows), most)
        mask = torch.zeros(len(rows), most, dtype=torch.long)
        for number, row in enumerate(rows):
            values[number, : len(waveforms[row])] = torch.from_numpy(waveforms[row])
            mask[number, : len(waveforms[row])] = 1
        states = model(values, mask).last_hidden_state.numpy()
        for number, row in enumerate(rows):
            frames = model._get_feat_extract_output_lengths(len(waveforms[row]))
            found[row] = states[number, :frames].copy()
    return found


def main() -> None:
    known = parser(__doc__, rounds=5)
    known.add_argument("--audio", type=Path, required=True, help="folder of wav or flac recordings")
    for name, default in (("recordings", 40), ("threads", 2), ("seed", 0)):
        known.add_argument(f"--{name}", type=int, default=default)
    known.add_argument("--batch-seconds", type=float, default=15.0)
    options = known.parse_args()
    torch.set_num_threads(options.threads)
    transformers_logging.disable_progress_bar()
    waveforms = recordings(options.audio, options.recordings, options.seed)
    seconds = sum(map(len, waveforms)) / SAMPLING_RATE
    reference = reference_model(options.seed)
    model = converted(reference)
    ways = {
        "FunASR, one by one": lambda rows: one_by_one(reference, rows),
        "here, one by one": lambda rows: in_batches(model, rows, 0),
        f"here, batches of {options.batch_seconds:g} s": lambda rows: in_batches(model, rows, options.batch_seconds),
    }
    with Benchmark(__file__, options, (*PACKAGES, "funasr")) as figures:
        features = {name: way(waveforms[:8]) for name, way in ways.items()}  # warms up, too
        theirs, *ours = features.values()
        apart = max(float(np.abs(a - b).max()) for way in ours for a, b in zip(theirs, way, strict=True))
        timed = {name: lambda way=way: seconds_of(lambda: way(waveforms)) for name, way in ways.items()}
        found = in_turn(timed, options.rounds)
        for name, taken in medians(found).items():
            ratios = [each["FunASR, one by one"] / each[name] for each in found]
            rates = {"audio s/s": seconds / taken, "slowest": seconds / max(each[name] for each in found)}
            rates |= {"fastest": seconds / min(each[name] for each in found), "ratio": statistics.median(ratios)}
            figures.add(name, **rates, **{"lowest ratio": min(ratios), "highest ratio": max(ratios)})
        figures.note(f"{seconds:.0f} s of audio; features apart by {apart:.1e} at most")


if __name__ == "__main__":
    main()
