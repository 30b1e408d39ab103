"""What is known of corpora and extractors that limits what numbers on them mean."""

import re

# Extractors that were trained with the labels of corpora, and those corpora: (extractor, names of ours, in words).
SEEN_WITH_LABELS = (
    (r"emotion2vec[-_ ]?(plus|\+)", r"iemo(cap)?|meld|mspp|msp[-_ ]?podcast", "IEMOCAP, MELD and MSP-Podcast"),
)
_UNCLEAR = r"emotion2vec(?!_base)"

# What is known of corpora and limits what numbers on them mean.
LIMITS = {
    "IEMO": "IEMO (IEMOCAP) is acted: ten actors in a studio, scripted and improvised; scripted text recurs in all "
    "sessions, so a model that reads words can know it.",
    "MSPI": "MSPI (MSP-IMPROV) is acted: twelve actors who improvise in a studio.",
    "MSPP": "MSPP (MSP-Podcast) is speech of podcasts, chosen for its emotion.",
    "CMUMOSEI": "CMUMOSEI is people talking alone to a camera; its labels were brought to four classes.",
    "SAMSEMO": "SAMSEMO is scenes of videos in five languages.",
    "emodb": "emodb is acted: ten actors, ten German sentences, in a studio, cut to 2 s. Each sentence was spoken in "
    "all emotions, so words alone say nothing there.",
    "emodb_emobank": "emodb_emobank is a paired sample: acted German voices (EmoDB, ten actors, ten sentences, cut to "
    "2 s) beside English sentences (EmoBank) of the same emotion, which nobody said. Voice and words are independent "
    "given the emotion, so what is gained by joining them says nothing about natural speech.",
    "synthetic": "synthetic is generated: there is no speech in it, and the model is of no use on real input.",
    "synthetic_interaction": "synthetic_interaction is generated: there is no speech in it, and the model is of no "
    "use on real input.",
}
# Whom users of a corpus cite.
CITE = {
    "IEMO": "IEMOCAP (Busso et al., Language Resources and Evaluation, 2008)",
    "MSPI": "MSP-IMPROV (Busso et al., IEEE Transactions on Affective Computing, 2017)",
    "MSPP": "MSP-Podcast (Lotfian and Busso, IEEE Transactions on Affective Computing, 2019)",
    "CMUMOSEI": "CMU-MOSEI (Zadeh et al., ACL, 2018)",
    "SAMSEMO": "SAMSEMO (Bujnowski et al., Interspeech, 2024)",
    "emodb": "EmoDB (Burkhardt et al., Interspeech, 2005)",
    "emodb_emobank": "EmoDB (Burkhardt et al., Interspeech, 2005) and EmoBank (Buechel and Hahn, EACL, 2017)",
}


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


__all__ = ["CITE", "LIMITS", "SEEN_WITH_LABELS", "contamination"]
