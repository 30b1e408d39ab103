"""Tiny text encoders with tokenizers, made on the spot: real classes of transformers, random weights, no network.

Each takes `MAX_TOKENS` tokens at most, special tokens included.
"""

from pathlib import Path

import torch
from transformers import BertConfig
from transformers import BertModel
from transformers import BertTokenizer
from transformers import DistilBertConfig
from transformers import DistilBertModel
from transformers import MPNetConfig
from transformers import MPNetModel
from transformers import MPNetTokenizer
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase
from transformers import RobertaConfig
from transformers import RobertaModel
from transformers import RobertaTokenizer

KINDS = ("bert", "distilbert", "roberta", "mpnet")
MAX_TOKENS = 40
WORDS = "i am so happy sad angry today not you said it was fine leave me alone what a day , . ! ?".split()
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


def _word_pieces(special: list[str]) -> dict[str, int]:
    """A WordPiece vocabulary: the special tokens, some words, and every letter at a word's start and within."""
    pieces = special + WORDS + list(_LETTERS + "[]") + [f"##{letter}" for letter in _LETTERS]
    return {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}


def _byte_pairs() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A byte-level vocabulary of the printable characters and the space (Ġ), with a few merges."""
    merges = [("h", "a"), ("ha", "p"), ("hap", "p"), ("happ", "y"), ("Ġ", "happy"), ("s", "a"), ("sa", "d")]
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "Ġ"]
    pieces += [chr(code) for code in range(33, 127)] + ["".join(pair) for pair in merges]
    return {piece: i for i, piece in enumerate(pieces)}, merges


def _build(kind: str, hidden: int) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    layers = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 2 * hidden}
    if kind == "roberta":
        vocab, merges = _byte_pairs()
        tokenizer = RobertaTokenizer(vocab=vocab, merges=merges)
        config = RobertaConfig(
            vocab_size=len(vocab),
            hidden_size=hidden,
            max_position_embeddings=MAX_TOKENS + 2,
            type_vocab_size=1,
            pad_token_id=vocab["<pad>"],
            **layers,
        )
        return RobertaModel(config), tokenizer
    if kind == "mpnet":
        vocab = _word_pieces(["<s>", "<pad>", "</s>", "[UNK]", "<mask>"])
        config = MPNetConfig(
            vocab_size=len(vocab), hidden_size=hidden, max_position_embeddings=MAX_TOKENS + 2, pad_token_id=1, **layers
        )
        return MPNetModel(config), MPNetTokenizer(vocab=vocab)
    vocab = _word_pieces(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    tokenizer = BertTokenizer(vocab=vocab)
    if kind == "distilbert":
        config = DistilBertConfig(
            vocab_size=len(vocab),
            dim=hidden,
            n_layers=2,
            n_heads=2,
            hidden_dim=2 * hidden,
            max_position_embeddings=MAX_TOKENS,
        )
        return DistilBertModel(config), tokenizer
    config = BertConfig(vocab_size=len(vocab), hidden_size=hidden, max_position_embeddings=MAX_TOKENS, **layers)
    return BertModel(config), tokenizer


def tiny_encoder(folder: str | Path, kind: str = "bert", hidden: int = 32, seed: int = 0) -> str:
    """Writes an encoder of one of `KINDS`, with its tokenizer, as `save_pretrained` does; returns the folder."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder, tokenizer = _build(kind, hidden)
    encoder.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)
