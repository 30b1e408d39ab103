"""The corpora that `file_names` reads: how each names its recordings, and how many a complete release has.

Sessions: where a corpus has women and men in turn, a session is a pair of them (RAVDESS, CaFE, ESD, EmoDB); where it
has few speakers, or papers leave one out, each is a session (TESS, SAVEE, nEMO, EMOVO, JL, AESDD, EmoTale); of
CREMA-D's 91 actors seven in a row are one, of eNTERFACE'05's subjects four.
"""

from collections.abc import Sequence

from . import sentences
from .beside_recordings import crema_d_votes
from .beside_recordings import emotale_ratings
from .beside_recordings import esd_texts
from .beside_recordings import jl_texts
from .beside_recordings import nemo_texts
from .file_names import Layout


def _numbered(count: int, women: Sequence[int], form: str) -> dict[str, str]:
    """{speaker: gender} of speakers 1 to `count`."""
    return {form.format(number): "f" if number in women else "m" for number in range(1, count + 1)}


def _alone(speakers: dict[str, str]) -> dict[str, str]:
    return {speaker: speaker for speaker in speakers}


def _by(speakers: Sequence[str], size: int) -> dict[str, str]:
    """{speaker: session} of so many speakers in a row."""
    return {speaker: str(place // size + 1) for place, speaker in enumerate(speakers)}


_RAVDESS = _numbered(24, range(2, 25, 2), "{:02}")
_RAVDESS_LABELS = {
    "01": "neutral",
    "02": "calm",
    "03": "happy",
    "04": "sad",
    "05": "angry",
    "06": "fearful",
    "07": "disgust",
    "08": "surprised",
}


def _ravdess(corpus: str, channel: str, files: int, speakers: dict[str, str], labels: str, style: str) -> Layout:
    return Layout(
        corpus=corpus,
        family="RAVDESS",
        example=f"Actor_01/03-{channel}-05-01-02-01-01.wav",
        # Modalities: 01 sound and picture, 03 sound; 02 is picture alone. Of one take the recording is preferred.
        pattern=rf"(?P<source>0[13])-{channel}-(?P<label>0[1-{labels}])-(?P<intensity>0[12])-(?P<sentence>0[12])-"
        r"(?P<take>0[12])-(?P<speaker>0[1-9]|1\d|2[0-4])",
        files=files,
        labels={code: label for code, label in _RAVDESS_LABELS.items() if code <= f"0{labels}"},
        speakers=speakers,
        sessions=_by(list(_RAVDESS), 2),
        style=style,
        sentences=sentences.RAVDESS,
        intensities={"01": "normal", "02": "strong"},
        language="en",
    )


# By VideoDemographics.csv of the release.
_CREMA_WOMEN = [
    *(2, 3, 4, 6, 7, 8, 9, 10, 12, 13, 18, 20, 21, 24, 25, 28, 29, 30, 37, 43, 46, 47, 49, 52, 53, 54, 55, 56, 58, 60),
    *(61, 63, 72, 73, 74, 75, 76, 78, 79, 82, 84, 89, 91),
]
_CREMA_D = {f"{1000 + int(number)}": gender for number, gender in _numbered(91, _CREMA_WOMEN, "{}").items()}

_EMODB = {number: "f" if number in ("08", "09", "13", "14", "16") else "m" for number in
          ("03", "08", "09", "10", "11", "12", "13", "14", "15", "16")}  # fmt: skip
# The same pairs as in the sample corpus emodb.
_EMODB_PAIRS = (("03", "08"), ("09", "10"), ("11", "13"), ("12", "14"), ("15", "16"))

_ESD_WOMEN = (1, 2, 3, 7, 9, 15, 16, 17, 18, 19)
_ESD = _numbered(20, _ESD_WOMEN, "{:04}")
_ESD_PAIRS = ((1, 4), (2, 5), (3, 6), (7, 8), (9, 10), (15, 11), (16, 12), (17, 13), (18, 14), (19, 20))
_ESD_LABELS = ("neutral", "angry", "happy", "sad", "surprise")
_ESD_EACH = 350

_JL_LABELS = "angry sad neutral happy excited anxious apologetic assertive concerned encouraging".split()

_EMOTALE = dict.fromkeys("001 003 007 008 009 010 011 012 013 014 016 017".split(), "f")
_EMOTALE |= dict.fromkeys("004 005 006 015 018 019".split(), "m")

_ENTERFACE = {str(number): "" for number in range(1, 45) if number != 6}
_AESDD = {str(number): "" for number in range(1, 7)}


def _esd(told: dict[str, str]) -> dict[str, str]:
    """Each speaker's 350 sentences are numbered through, emotion by emotion; of each the first 20 are for evaluation,
    the next 30 for tests."""
    place = int(told["number"]) - 1
    kind, sentence = divmod(place, _ESD_EACH)
    split = "evaluation" if sentence < 20 else "test" if sentence < 50 else "train"
    language = "zh" if int(told["speaker"]) <= 10 else "en"
    return {
        "label": _ESD_LABELS[kind],
        "split": split,
        "language": language,
        "sentence": f"{language}{sentence + 1:03}",
    }


def _enterface(told: dict[str, str]) -> dict[str, str]:
    """The folder says who it is: the files of subject 11 are called s12. A sentence is one of an emotion's five."""
    speaker = str(int(told["folder"] or told["source"]))
    return {
        "utterance_id": f"s{speaker}_{told['label']}_{told['sentence']}",
        "speaker": speaker,
        "sentence": f"{told['label']}{told['sentence']}",
    }


def _savee(told: dict[str, str]) -> dict[str, str]:
    """In some copies the speaker is a folder, in others part of the name; the id is the same."""
    sentence = f"{told['label']}{told['sentence']}"
    return {"utterance_id": f"{told['speaker'].upper()}_{sentence}", "sentence": sentence}


LAYOUTS: dict[str, Layout] = {
    layout.corpus: layout
    for layout in (
        _ravdess("RAVDESS", "01", 1440, _RAVDESS, "8", "acted"),
        # Nobody sings disgust or surprise, and actor 18 not at all.
        _ravdess("RAVDESS-song", "02", 1012, {k: v for k, v in _RAVDESS.items() if k != "18"}, "6", "sung"),
        Layout(
            corpus="CREMA-D",
            example="AudioWAV/1001_DFA_ANG_XX.wav",
            pattern=r"(?P<speaker>10[0-8]\d|109[01])_(?P<sentence>" + "|".join(sentences.CREMA_D) + r")_"
            r"(?P<label>ANG|DIS|FEA|HAP|NEU|SAD)_(?P<intensity>LO|MD|HI|XX?)",
            files=7442,
            labels={
                "ang": "anger",
                "dis": "disgust",
                "fea": "fear",
                "hap": "happy",
                "neu": "neutral",
                "sad": "sad",
            },
            speakers=_CREMA_D,
            sessions=_by(list(_CREMA_D), 7),
            sentences=sentences.CREMA_D,
            intensities={"lo": "low", "md": "medium", "hi": "high", "xx": "unspecified", "x": "unspecified"},
            language="en",
            broken={"1076_mti_sad_xx": "there is no sound in it"},
            joined=crema_d_votes,
        ),
        Layout(
            corpus="TESS",
            example="OAF_angry/OAF_back_angry.wav",
            pattern=r"(?P<source>OAF?|YAF)_(?P<sentence>[a-z]+)_(?P<label>angry|disgust|fear|happy|neutral|ps|sad)",
            files=2800,
            labels={
                "angry": "angry",
                "disgust": "disgust",
                "fear": "fear",
                "happy": "happy",
                "neutral": "neutral",
                "ps": "pleasant surprise",
                "sad": "sad",
            },
            speakers={"OAF": "f", "YAF": "f"},
            sessions=_alone({"OAF": "f", "YAF": "f"}),
            transcript="Say the word {}",
            language="en",
            # One file of the release is called OA_bite_neutral.
            also=lambda told: {"speaker": "YAF" if told["source"] == "yaf" else "OAF"},
        ),
        Layout(
            corpus="SAVEE",
            example="DC/a01.wav, or DC_a01.wav",
            pattern=r"(?P<speaker>DC|JE|JK|KL)[_/]?(?P<label>sa|su|[adfhn])(?P<sentence>[0-3]\d)",
            files=480,
            labels={
                "a": "anger",
                "d": "disgust",
                "f": "fear",
                "h": "happiness",
                "n": "neutral",
                "sa": "sadness",
                "su": "surprise",
            },
            speakers=dict.fromkeys(("DC", "JE", "JK", "KL"), "m"),
            sessions=_alone(dict.fromkeys(("DC", "JE", "JK", "KL"), "m")),
            language="en",
            also=_savee,
        ),
        Layout(
            corpus="EmoDB",
            example="wav/03a01Wa.wav",
            pattern=r"(?P<speaker>03|08|09|1[0-6])(?P<sentence>a0[12457]|b0[1239]|b10)(?P<label>[WLEAFTN])(?P<take>[a-z])",
            files=535,
            labels={
                "w": "anger",
                "l": "boredom",
                "e": "disgust",
                "a": "fear",
                "f": "happiness",
                "t": "sadness",
                "n": "neutral",
            },
            speakers=_EMODB,
            sessions={speaker: str(place + 1) for place, pair in enumerate(_EMODB_PAIRS) for speaker in pair},
            sentences=sentences.EMODB,
            language="de",
        ),
        Layout(
            corpus="ESD",
            example="0011/Angry/0011_000351.wav",
            pattern=r"(?P<speaker>00(?:0[1-9]|1\d|20))_(?P<number>000[1-9]\d\d|0000[1-9]\d|00000[1-9]|001[0-6]\d\d|"
            r"0017[0-4]\d|001750)",
            files=35_000,
            labels={label: label for label in _ESD_LABELS},
            speakers=_ESD,
            sessions={f"{number:04}": str(place + 1) for place, pair in enumerate(_ESD_PAIRS) for number in pair},
            also=_esd,
            joined=esd_texts,
        ),
        Layout(
            corpus="nEMO",
            example="samples/WR0_surprised_64.wav",
            pattern=r"(?P<speaker>[A-Z]{2}\d)_(?P<label>anger|fear|happiness|neutral|sadness|surprised)_"
            r"(?P<sentence>\d+)",
            files=4481,
            labels={label: label for label in ("anger", "fear", "happiness", "neutral", "sadness", "surprised")},
            speakers={},
            sessions={},
            language="pl",
            # Who they are is told by data.tsv alone.
            also=lambda told: {"speaker": told["speaker"].upper(), "session": told["speaker"].upper()},
            joined=nemo_texts,
        ),
        Layout(
            corpus="EMOVO",
            example="f1/dis-f1-b1.wav",
            pattern=r"(?P<label>dis|gio|neu|pau|rab|sor|tri)-(?P<speaker>[fm][123])-"
            r"(?P<sentence>b[1-3]|l[1-4]|n[1-5]|d[12])",
            files=588,
            labels={
                "dis": "disgust",
                "gio": "joy",
                "neu": "neutral",
                "pau": "fear",
                "rab": "anger",
                "sor": "surprise",
                "tri": "sadness",
            },
            speakers={"f1": "f", "f2": "f", "f3": "f", "m1": "m", "m2": "m", "m3": "m"},
            sessions=_alone(dict.fromkeys(("f1", "f2", "f3", "m1", "m2", "m3"), "")),
            sentences=sentences.EMOVO,
            language="it",
        ),
        Layout(
            corpus="CaFE",
            example="Colère/Fort/01-C-2-1.wav",
            pattern=r"(?P<speaker>0[1-9]|1[0-2])-(?P<label>[CDJNPST])-(?P<intensity>[12])-(?P<sentence>[1-6])",
            files=936,
            labels={
                "c": "anger",
                "d": "disgust",
                "j": "happiness",
                "n": "neutral",
                "p": "fear",
                "s": "surprise",
                "t": "sadness",
            },
            speakers=_numbered(12, range(2, 13, 2), "{:02}"),
            sessions=_by([f"{number:02}" for number in range(1, 13)], 2),
            sentences=sentences.CAFE,
            intensities={"1": "mild", "2": "strong"},
            language="fr",
        ),
        Layout(
            corpus="JL",
            example="JL(wav+txt)/female1_angry_10a_1.wav",
            pattern=rf"(?P<speaker>(?:fe)?male[12])_(?P<label>{'|'.join(_JL_LABELS)})_(?P<sentence>\d+[ab])_"
            r"(?P<take>[12])",
            files=2400,
            labels={label: label for label in _JL_LABELS},
            speakers={"female1": "f", "female2": "f", "male1": "m", "male2": "m"},
            sessions=_alone(dict.fromkeys(("female1", "female2", "male1", "male2"), "")),
            language="en",
            joined=jl_texts,
        ),
        Layout(
            corpus="AESDD",
            example="anger/a01 (1).wav",
            pattern=r"(?P<label>[adfhs])(?P<sentence>[012]\d)[ _]?\(0?(?P<speaker>[1-6])\)(?P<take>[ab]?)",
            files=605,
            labels={"a": "anger", "d": "disgust", "f": "fear", "h": "happiness", "s": "sadness"},
            speakers=_AESDD,
            sessions=_alone(_AESDD),
            language="el",
            broken={"s05 (3)": "it can't be read in the release"},
        ),
        Layout(
            corpus="eNTERFACE05",
            example="subject 1/anger/sentence 1/s1_an_1.avi",
            pattern=r"(?:subject[ _-]?(?P<folder>\d+)/(?:[^/]+/)*)?s_?(?P<source>\d+)_(?P<label>an|di|fe|ha|sa|su)_"
            r"(?P<sentence>[1-5])(?:avi)?",
            files=1287,
            labels={
                "an": "anger",
                "di": "disgust",
                "fe": "fear",
                "ha": "happiness",
                "sa": "sadness",
                "su": "surprise",
            },
            speakers=_ENTERFACE,
            sessions={speaker: str((int(speaker) - 1) // 4 + 1) for speaker in _ENTERFACE},
            language="en",
            also=_enterface,
            pieces=(
                r"(?:^|/)s6_(an|di|fe|ha|sa|su)$",
                "of subject 6 hold all five sentences, uncut: left out",
            ),
        ),
        Layout(
            corpus="EmoTale",
            example="wav/DK_001_A_1.wav",
            pattern=r"(?P<language>DK|EN)_(?P<speaker>\d{3})_(?P<label>[ABHNS])_(?P<sentence>[1-5])",
            files=800,
            labels={"a": "anger", "b": "boredom", "h": "happiness", "n": "neutral", "s": "sadness"},
            speakers=dict(sorted(_EMOTALE.items())),
            sessions=_alone(_EMOTALE),
            sentences=sentences.EMOTALE,
            also=lambda told: {"language": "da" if told["language"] == "dk" else "en"},
            joined=emotale_ratings,
        ),
    )
}

__all__ = ["LAYOUTS"]
