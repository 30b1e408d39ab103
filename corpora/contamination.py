"""What encoders were trained on before: where that was the labels of a corpus, numbers on it are contaminated."""

import re
from collections.abc import Mapping
from typing import Any

from ..speech_features import SpeechFeatures

# Extractors that were trained with the labels of corpora, and those corpora: (extractor, names of ours, in words).
SEEN_WITH_LABELS = (
    (
        r"emotion2vec[-_ ]?(plus|\+|base[-_ ]?finetuned)",
        r"iemo(cap)?|meld|mspp|msp[-_ ]?podcast",
        "IEMOCAP, MELD and MSP-Podcast",
    ),
    (r"emotion-msp-dim", r"mspp|msp[-_ ]?podcast", "MSP-Podcast"),  # audEERING's wav2vec2
    (r"superb-er|emotion-recognition-wav2vec2-iemocap", r"iemo(cap)?", "IEMOCAP"),  # SUPERB's, SpeechBrain's
    (r"emotion-english-(distil)?roberta", r"meld", "MELD and of five corpora of texts"),  # j-hartmann's
)
# emotion2vec+'s first step was fine-tuned with "academic speech emotion data from EmoBox", by its card, which doesn't
# list them: those of EmoBox that are not named above.
_OF_EMOBOX = (
    r"aesdd|cafe|crema|emns|emodb|emovo|emozionalmente|enterface|esd|jl|mesd|oreau|pavoque|ravdess|resd|savee|subesco|"
    r"tess"
)
# (extractor, what it was trained on without labels of emotion), by the models' papers and cards; the first that fits.
_TRAINED_ON = (
    (r"emotion2vec", "recordings of IEMOCAP, MELD, CMU-MOSEI, MEAD and MSP-Podcast (262 hours), without labels"),
    (r"whisper", "speech of the web with its transcripts (680,000 hours or more, which is not published)"),
    (r"wavlm-(base-plus|large)", "94,000 hours of Libri-Light, GigaSpeech and VoxPopuli"),
    (r"wavlm-base|wav2vec2-(base|large)(-960h)?(?![\w-])|hubert-base|data2vec-audio", "960 hours of LibriSpeech"),
    (r"hubert-(x?large)|wav2vec2-large-lv60", "60,000 hours of Libri-Light"),
    (r"wav2vec2-large-robust", "Libri-Light, CommonVoice, Switchboard and Fisher"),
    (r"xls-r", "436,000 hours of 128 languages (VoxPopuli, MLS, CommonVoice, VoxLingua107, BABEL)"),
    (r"xlsr", "56,000 hours of 53 languages (MLS, CommonVoice, BABEL)"),
)
# The name alone, or no name that tells: it may be one of those that did.
_UNCLEAR = r"emotion2vec(?!_base)"
_EMOTION2VEC = SEEN_WITH_LABELS[0]


def contamination(corpus: str, extractor: str, made_by: Mapping[str, Any] | None = None) -> str | None:
    """A warning where the extractor of a corpus' features saw that corpus with its labels, or may have.

    Args:
        corpus: its name; one that names a public corpus in it (`iemocap_improvised`) is taken for that.
        extractor: what made the features, in words.
        made_by: the same as `SpeechFeatures.to_dict` has it, where it is known. Of emotion2vec it tells whether the
            weights were trained with labels, whatever the folder that they lie in is called.
    """
    made_by = made_by or {}
    native, labelled = made_by.get("model_type") == "emotion2vec", made_by.get("trained_with_labels")
    plus = re.search(_EMOTION2VEC[0], extractor, re.IGNORECASE) or (native and labelled)
    if plus and _names(_OF_EMOBOX, corpus):
        return (
            f"The numbers on {corpus} may be contaminated: {extractor} was trained with the labels of "
            f"{_EMOTION2VEC[2]}, and of other corpora of EmoBox, which its card doesn't list."
        )
    for seen in SEEN_WITH_LABELS:
        pattern, names, in_words = seen
        if not _names(names, corpus):
            continue
        known = re.search(pattern, extractor, re.IGNORECASE) or (seen is _EMOTION2VEC and native and labelled)
        if known:
            return (
                f"The numbers on {corpus} are contaminated: {extractor} was trained with the labels of {in_words}, so "
                "that its features know the test rows. They say little about speech that it has not seen."
            )
        if seen is not _EMOTION2VEC or (native and labelled is False):
            continue
        named_base = re.search("emotion2vec_base", extractor, re.IGNORECASE)
        if re.search(_UNCLEAR, extractor, re.IGNORECASE) or (native and not named_base):
            return (
                f"The numbers on {corpus} may be contaminated: its features are by {extractor}, and the emotion2vec+ "
                f"models were trained with the labels of {in_words} (emotion2vec_base was not)."
            )
    return None


def _names(names: str, corpus: str) -> bool:
    """Whether a corpus' name is one of these, or holds one as a word."""
    return re.search(rf"(?<![a-z])({names})(?![a-z])", corpus, re.IGNORECASE) is not None


def trained_on(encoder: str, made_by: Mapping[str, Any] | None = None) -> str | None:
    """What an encoder was trained on, in words, as far as it is known: without labels of emotion, and with whose.

    Args:
        encoder, made_by: as `extractor` and `made_by` of `contamination`.
    """
    native = "emotion2vec" if (made_by or {}).get("model_type") == "emotion2vec" else ""
    heard = next((words for pattern, words in _TRAINED_ON if re.search(pattern, f"{encoder} {native}", re.I)), "")
    labels = seen_with_labels(encoder, made_by)
    said = [heard, f"with the labels of {labels}" if labels else ""]
    return "; then ".join(each for each in said if each) or None


def contamination_of(corpus: Mapping[str, Any], encoder: Mapping[str, Any] | None = None) -> str | None:
    """The same, of a corpus as results.json has it.

    Args:
        encoder: what results.json says of the encoder that read its recordings, tuned or not: tuning takes nothing
            away of what it had seen. None where the voice came as features.
    """
    if encoder is None:
        return contamination(corpus["name"], corpus["extractor"], corpus.get("speech_encoder"))
    features = encoder["features"]
    return contamination(corpus["name"], SpeechFeatures.from_dict(features).in_words(), features)


def seen_with_labels(encoder: str, made_by: Mapping[str, Any] | None = None) -> str | None:
    """The corpora whose labels an encoder is known to have been trained with, in words; None where none is known.

    Args:
        encoder, made_by: as `extractor` and `made_by` of `contamination`.
    """
    made_by = made_by or {}
    for pattern, _, in_words in SEEN_WITH_LABELS:
        if re.search(pattern, encoder, re.IGNORECASE):
            return in_words
    if made_by.get("model_type") == "emotion2vec" and made_by.get("trained_with_labels"):
        return _EMOTION2VEC[2]
    return None


__all__ = ["SEEN_WITH_LABELS", "contamination", "contamination_of", "seen_with_labels", "trained_on"]
