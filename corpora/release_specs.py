"""The corpora that are read from their own release folders, and CAMEO's from the Hub, as `CorpusSpec`s.

They are recordings: `voice_input: recording` takes them as they are, and `extract_features.py` makes features of them.
By default they have the usual four classes, those of them that they have; `classes` in a recipe says others.
What couldn't be confirmed of a corpus is said to be so in its caveat.
"""

from typing import Any

from .releases.release_folders import release_labels
from .shared_labels import shared_classes
from .spec import CorpusSpec

_BY_NC_SA = "https://creativecommons.org/licenses/by-nc-sa/4.0/"
_VOTES = "no agreement"
# Of two corpora each.
_RAVDESS: dict[str, Any] = {
    "licence": "CC BY-NC-SA 4.0",
    "licence_url": _BY_NC_SA,
    "language": "en",
    "citation": "RAVDESS (Livingstone and Russo, PLoS ONE, 2018)",
}
_CREMA_D: dict[str, Any] = {
    "licence": "Open Database License 1.0",
    "licence_url": "https://opendatacommons.org/licenses/odbl/1-0/",
    "language": "en",
    "citation": "CREMA-D (Cao et al., IEEE Transactions on Affective Computing, 2014)",
}


def _release(name: str, read_as: str = "", **described: Any) -> CorpusSpec:
    """A corpus whose release `read_as` (default: itself) is known."""
    release = read_as or name
    labels = [*release_labels(release), *([_VOTES] if read_as and _VOTES not in release_labels(release) else [])]
    classes, label_map, dropped = shared_classes(labels, "four")
    return CorpusSpec(
        name=name, release=release, labels=classes, label_map=label_map, dropped_labels=dropped, **described
    )


RELEASES: list[CorpusSpec] = [
    _release(
        "RAVDESS",
        **_RAVDESS,
        caveat=(
            "RAVDESS is acted: 24 actors in a studio say two sentences in eight emotions, so words alone say "
            "nothing there; neutral has half as many recordings as the others, and no strong intensity. Copies of "
            "it hold every file twice, in a folder within the folder; these count once."
        ),
    ),
    _release(
        "RAVDESS-song",
        speakers_of="RAVDESS",
        **_RAVDESS,
        caveat=(
            "RAVDESS-song is sung: 23 of RAVDESS' actors sing two sentences in six emotions, without disgust and "
            "surprise; actor 18 doesn't sing."
        ),
    ),
    _release(
        "CREMA-D",
        **_CREMA_D,
        caveat=(
            "CREMA-D is acted: 91 actors say twelve sentences. The label is the emotion that the actor was to "
            "show; listeners heard another in many of them (corpus CREMA-D-votes). 1076_MTI_SAD_XX has no sound."
        ),
    ),
    _release(
        "CREMA-D-votes",
        read_as="CREMA-D",
        speakers_of="CREMA-D",
        columns={"label": "voice_vote"},
        **_CREMA_D,
        caveat=(
            "CREMA-D-votes is CREMA-D by the majority of those who only heard a recording (VoiceVote of "
            "processedResults/summaryTable.csv); recordings without a majority are left out. Neutral is the "
            "majority of most recordings, whatever the actors were to show."
        ),
    ),
    _release(
        "TESS",
        licence="CC BY-NC-ND 4.0",
        licence_url="https://creativecommons.org/licenses/by-nc-nd/4.0/",
        language="en",
        caveat=(
            "TESS is acted: two actresses, 26 and 64 years old, say 200 words in one carrier phrase in seven "
            "emotions. With two speakers a number without the tested one in training rests on one voice each way, "
            "and a random split, which many papers have, knows both."
        ),
        citation="TESS (Pichora-Fuller and Dupuis, Borealis, 2020)",
    ),
    _release(
        "SAVEE",
        licence="free for research, on registration with the University of Surrey",
        licence_url="http://kahlan.eps.surrey.ac.uk/savee/",
        language="en",
        caveat=(
            "SAVEE is acted: four men, 15 sentences an emotion and 30 for neutral, most of them said in one "
            "emotion alone, so words give the emotion away. Which sentence is which is not part of the audio "
            "folder: there are no transcripts."
        ),
        citation="SAVEE (Haq and Jackson, AVSP, 2009)",
    ),
    _release(
        "EmoDB",
        speakers_of="emodb",
        licence="CC0-1.0",
        licence_url="https://creativecommons.org/publicdomain/zero/1.0/",
        language="de",
        caveat=(
            "EmoDB is acted: ten actors, ten German sentences, in a studio. Each sentence was spoken in all "
            "emotions, so words alone say nothing there. All speakers are in training and test in many published "
            "splits."
        ),
        citation="EmoDB (Burkhardt et al., Interspeech, 2005)",
    ),
    _release(
        "MELD",
        licence="GPL-3.0 (annotations); the recordings are scenes of a television series",
        licence_url="https://github.com/declare-lab/MELD/blob/master/LICENSE",
        language="en",
        caveat=(
            "MELD is acted: scenes of the series Friends, with laughter and music. The main six characters are in "
            "the published training, development and test parts alike. train dia125_utt3 is damaged, dev "
            "dia110_utt7 is missing, and some recordings are cut wrongly (test dia38_utt4 and dia220_utt0 are "
            "minutes long). A session is a main character, and all others together."
        ),
        citation="MELD (Poria et al., ACL, 2019)",
    ),
    _release(
        "ESD",
        licence="academic licence of the authors; on request",
        licence_url="https://hltsingapore.github.io/ESD/",
        language="en, zh",
        caveat=(
            "ESD is acted: ten speakers of English and ten of Mandarin, 350 sentences each in five emotions. The "
            "published parts (20 sentences for evaluation, 30 for tests) have all speakers on all sides; the "
            "sentences are the same for all speakers of a language. A session is a woman and a man."
        ),
        citation="ESD (Zhou et al., ICASSP, 2021)",
    ),
    _release(
        "nEMO",
        licence="CC BY-NC-SA 4.0",
        licence_url=_BY_NC_SA,
        language="pl",
        caveat="nEMO is acted: nine speakers of Polish, 90 sentences in six emotions, in a room.",
        citation="nEMO (Christop, LREC-COLING, 2024)",
    ),
    _release(
        "EMOVO",
        licence="not stated by the release",
        licence_url="http://voice.fub.it/activities/corpora/emovo/index.html",
        language="it",
        caveat=(
            "EMOVO is acted: six actors, 14 Italian sentences, some of them without sense, in seven emotions. "
            "Three of the sentences are Emozionalmente's too."
        ),
        citation="EMOVO (Costantini et al., LREC, 2014)",
    ),
    _release(
        "CaFE",
        licence="CC BY-NC-SA 4.0",
        licence_url=_BY_NC_SA,
        language="fr",
        caveat=(
            "CaFE is acted: twelve actors, six sentences of Canadian French in seven emotions, mild and strong; "
            "neutral has half as many recordings as the others. A session is a man and a woman."
        ),
        citation="CaFE (Gournay et al., ACM MMSys, 2018)",
    ),
    _release(
        "JL",
        licence="CC0-1.0",
        licence_url="https://creativecommons.org/publicdomain/zero/1.0/",
        language="en",
        caveat=(
            "JL is acted: four speakers of New Zealand English in five primary and five secondary emotions; the "
            "release calls the recordings unchecked."
        ),
        citation="JL corpus (James et al., Interspeech, 2018)",
    ),
    _release(
        "AESDD",
        licence="not stated by the release",
        licence_url="http://m3c.web.auth.gr/research/aesdd-speech-emotion-recognition/",
        language="el",
        caveat=(
            "AESDD is acted: Greek actors, 20 utterances in five emotions, without neutral; it grows: its first "
            "version had five speakers, and the copy in use has six, whose 605 recordings are those of EmoBox's list "
            "(604) and s05 (3), which can't be read. Which speakers are women, and what they say, the file names "
            "don't tell."
        ),
        citation="AESDD (Vryzas et al., Journal of the Audio Engineering Society, 2018)",
    ),
    _release(
        "eNTERFACE05",
        licence="free for research",
        licence_url="https://enterface.net/enterface05/main.php?frame=emotion",
        language="en",
        caveat=(
            "eNTERFACE05 is acted by people who are no actors: five sentences an emotion, said in that emotion "
            "alone, so words give the emotion away; there is no neutral. English is a second language of most. "
            "Who is a woman, and the words, the file names don't tell. Subject 6 is uncut and left out, subject "
            "23 has 27 recordings, and subject 11's files are called s12: keep the folders."
        ),
        citation="eNTERFACE'05 (Martin et al., ICDE Workshops, 2006)",
    ),
    _release(
        "EmoTale",
        licence="not stated in the repository",
        licence_url="https://github.com/snehadas/EmoTale",
        language="da, en",
        caveat=(
            "EmoTale is acted: 18 speakers, three of them children, five sentences in Danish and English in five "
            "emotions; four speak Danish alone. Ratings are the mean of its annotators'."
        ),
        citation="EmoTale (Hjuler et al., ASRU, 2025)",
    ),
]

# Split of the data set on the Hub -> recordings, language, the built-in corpus of the same people. The numbers could
# not be compared with the data set; of those in `AS_ELSEWHERE` EmoBox (commit 08280f2) or a release has as many.
CAMEO_PARTS: dict[str, tuple[int, str, str]] = {
    "cafe": (936, "fr", "CaFE"),
    "crema_d": (7442, "en", "CREMA-D"),
    "emns": (1205, "en", ""),
    "emozionalmente": (6902, "it", ""),
    "enterface": (1257, "en", "eNTERFACE05"),
    "jl_corpus": (2400, "en", "JL"),
    "mesd": (862, "es", ""),
    "nemo": (4481, "pl", "nEMO"),
    "oreau": (502, "fr", ""),
    "pavoque": (5442, "de", ""),
    "ravdess": (1440, "en", "RAVDESS"),
    "resd": (1396, "ru", ""),
    "subesco": (7000, "bn", ""),
}
AS_ELSEWHERE = (
    "cafe", "crema_d", "emozionalmente", "enterface", "jl_corpus", "mesd", "nemo", "ravdess", "resd", "subesco",
)  # fmt: skip
"""Of CAMEO's splits, those whose numbers of recordings are confirmed by another source."""
_CAMEO_LABELS = (
    "anger anxiety apology assertiveness calm concern disgust encouragement enthusiasm excitement fear happiness "
    "neutral poker sadness sarcasm surprise"
).split()


def _cameo(part: str) -> CorpusSpec:
    files, language, same = CAMEO_PARTS[part]
    classes, label_map, dropped = shared_classes(_CAMEO_LABELS, "four")
    people = f" The people are those of {same}." if same else ""
    return CorpusSpec(
        name=f"CAMEO-{part}",
        hub_id_audio="amu-cai/CAMEO",
        split=part,
        columns={
            "utterance_id": ["file_id", "utterance_id"],
            "speaker": ["speaker_id", "speaker"],
            "transcript": ["transcription", "transcript"],
            "label": ["emotion", "label"],
        },
        labels=classes,
        label_map=label_map,
        dropped_labels=dropped,
        speakers_of=same,
        licence="that of each recording, in the data set's column license; the collection CC BY-NC-SA 4.0",
        licence_url=_BY_NC_SA,
        language=language,
        caveat=(
            f"CAMEO-{part} is a part of the collection CAMEO on the Hub, of {files} recordings"
            f"{'' if part in AS_ELSEWHERE else ' (a number that is not confirmed)'}; it was not compared with the "
            f"original release.{people} Which speakers it has is as the collection says it."
        ),
        citation="CAMEO (Christop and Czajka, arXiv:2505.11051, 2025)",
    )


CAMEO: list[CorpusSpec] = [_cameo(part) for part in CAMEO_PARTS]

__all__ = ["AS_ELSEWHERE", "CAMEO", "CAMEO_PARTS", "RELEASES"]
