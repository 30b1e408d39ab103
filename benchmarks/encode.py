"""How quickly sentences are encoded for the store of states, against a bare forward pass.

    python benchmarks/encode.py [--rows 1000] [--rounds 3] [--lengths turns sample] [--json]

An encoder of BERT base's size with random weights; sentences as long as turns of a conversation, and as those of the
sample corpus, which are much alike (made_texts.py). `store` is what a job does the first time: sentences to tokens,
batches, states, and these written to disk, each with the bits that it would have alone. `sorted` is the limit: a bare
forward pass over tokens made before, in batches of 64 neighbours in length, of which nothing is kept. `row order` is
the same in batches as the rows come, each padded to its longest, as the original system has them. All have the same
threads. Loading the encoder is in none of them. The ways take turns; medians. `CPU` is by the processor's seconds,
which other work stretches less.

`tokens` are those that went through the encoder, padding and checks included: counted at each layer, the mean over the
layers. What row order has more of them than the limit is all that sorting can gain.
"""

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from made_texts import LENGTHS
from made_texts import SIZES
from made_texts import sentences
from made_texts import text_encoder
from measuring import Benchmark
from measuring import in_turn
from measuring import medians
from measuring import parser
from measuring import ratio
from measuring import seconds_of
from transformers import PreTrainedModel

from emomm.features import text_states
from emomm.features.text_encoders import load_encoder
from emomm.features.text_encoders import load_tokenizer

BATCH, LONGEST = 64, 128


@torch.inference_mode()
def forward(encoder: PreTrainedModel, tokens: list[list[int]], order: np.ndarray, pad: int) -> None:
    """All rows, in batches of this order padded to their longest."""
    for start in range(0, len(order), BATCH):
        rows = [tokens[row] for row in order[start : start + BATCH]]
        longest = max(map(len, rows))
        ids = torch.tensor([row + [pad] * (longest - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
        encoder(input_ids=ids, attention_mask=mask)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock and of the processor."""
    began = time.process_time()
    return seconds_of(work), time.process_time() - began


class Tokens:
    """How many tokens go through an encoder, padding included: the mean over its layers.

    Args:
        encoder: BERT.
    """

    def __init__(self, encoder: PreTrainedModel):
        self.total = 0.0
        self.depth = len(encoder.encoder.layer)
        for layer in encoder.encoder.layer:
            layer.register_forward_pre_hook(self._count)

    def _count(self, layer: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self.total += inputs[0].shape[:2].numel() / self.depth

    def of(self, work: Callable[[], tuple[float, float]]) -> tuple[float, float, float]:
        """What is timed, and the tokens of it."""
        before = self.total
        return *work(), self.total - before


def ways_of(folder: Path, rows: int, size: str, lengths: str) -> dict[str, Callable[[], tuple[float, float, float]]]:
    """What is timed: seconds by the clock and of the processor, and tokens."""
    texts, name = sentences(rows, lengths), text_encoder(folder / "encoder", size)
    bare, loaded, tokenizer = load_encoder(name), load_encoder(name), load_tokenizer(name)
    text_states.encoder_fingerprint(name)  # a hash of the weights, once in a process
    tokens = tokenizer(texts, truncation=True, max_length=LONGEST)["input_ids"]
    by_length, pad = np.argsort([len(row) for row in tokens], kind="stable")[::-1], tokenizer.pad_token_id
    of_bare, of_loaded = Tokens(bare), Tokens(loaded)

    @patch.multiple(text_states, load_encoder=lambda name: loaded, load_tokenizer=lambda name: tokenizer)
    def store() -> tuple[float, float]:
        shutil.rmtree(folder / "store", ignore_errors=True)
        kept = text_states.TextStateStore(name, LONGEST, directory=folder / "store")
        return of_loaded.of(lambda: timed(lambda: kept.states(texts)))

    return {
        "store": store,
        "sorted": lambda: of_bare.of(lambda: timed(lambda: forward(bare, tokens, by_length, pad))),
        "row order": lambda: of_bare.of(lambda: timed(lambda: forward(bare, tokens, np.arange(rows), pad))),
    }


def measured(rows: int, rounds: int, size: str = "base", lengths: str = "sample") -> dict[str, dict[str, float]]:
    """Of each way its seconds, sentences a second, and its speed by the limit's and by that of row order."""
    with tempfile.TemporaryDirectory() as name:
        found = in_turn(ways_of(Path(name), rows, size, lengths), rounds)
    wall, cpu, tokens = (
        [{way: all_of[place] for way, all_of in each.items()} for each in found] for place in range(3)
    )
    return {
        way: {
            "seconds": seconds,
            "sentences a second": rows / seconds,
            "tokens": round(medians(tokens)[way]),
            "of the limit": ratio(wall, "sorted", way),
            "x row order": ratio(wall, "row order", way),
            "of the limit (CPU)": ratio(cpu, "sorted", way),
            "x row order (CPU)": ratio(cpu, "row order", way),
        }
        for way, seconds in medians(wall).items()
    }


def bound(found: dict[str, dict[str, float]]) -> str:
    """How much quicker than row order anything can be that is as quick as the limit, by arithmetic alone."""
    limit, order = found["sorted"]["tokens"], found["row order"]["tokens"]
    return (
        f"row order pads to {order} tokens, the limit to {limit}: {order / limit:.2f} times as many, and the limit is "
        f"{found['sorted']['x row order']:.2f} x row order"
    )


def main() -> None:
    options = parser(__doc__, rounds=3)
    options.add_argument("--rows", type=int, default=1000)
    options.add_argument("--size", choices=[*SIZES], default="base", help="of the encoder")
    options.add_argument("--lengths", nargs="+", choices=LENGTHS, default=list(LENGTHS), help="of the sentences")
    given = options.parse_args()
    with Benchmark(__file__, given) as figures:
        for lengths in given.lengths:
            found = measured(given.rows, given.rounds, given.size, lengths)
            for way, row in found.items():
                figures.add(f"{lengths}: {way}", **row)
            figures.note(f"{lengths}: {bound(found)}")


if __name__ == "__main__":
    main()
