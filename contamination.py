"""Extractors that saw the labels of corpora: numbers on those are contaminated."""

import re

# Extractors that were trained with the labels of corpora, and those corpora: (extractor, names of ours, in words).
SEEN_WITH_LABELS = (
    (r"emotion2vec[-_ ]?(plus|\+)", r"iemo(cap)?|meld|mspp|msp[-_ ]?podcast", "IEMOCAP, MELD and MSP-Podcast"),
)
_UNCLEAR = r"emotion2vec(?!_base)"


def contamination(corpus: str, extractor: str) -> str | None:
    """A warning where the extractor of a corpus' features saw that corpus with its labels, or may have."""
    for pattern, names, in_words in SEEN_WITH_LABELS:
        if not re.fullmatch(names, corpus, re.IGNORECASE):
            continue
        if re.search(pattern, extractor, re.IGNORECASE):
            return (
                f"The numbers on {corpus} are contaminated: {extractor} was trained with the labels of {in_words}, so "
                "that its features know the test rows. They say little about speech that it has not seen."
            )
        if re.search(_UNCLEAR, extractor, re.IGNORECASE):
            return (
                f"The numbers on {corpus} may be contaminated: its features are by {extractor}, and the emotion2vec+ "
                f"models were trained with the labels of {in_words} (emotion2vec_base was not)."
            )
    return None


__all__ = ["SEEN_WITH_LABELS", "contamination"]
