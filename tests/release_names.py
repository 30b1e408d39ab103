"""The paths of the recordings of whole releases, as their authors name them, for tests: empty files of these names are
made where a reader asks for names alone.
"""

from collections.abc import Iterable
from itertools import product
from pathlib import Path

from emomm.corpora.releases import sentences


def touch(root: Path, names: Iterable[str]) -> Path:
    """Empty files."""
    for name in names:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return root


def ravdess(channel: str = "01", labels: int = 8, actors: Iterable[int] = range(1, 25)) -> list[str]:
    """60 recordings of speech an actor, or 44 of song; neutral has no strong intensity."""
    return [
        f"Audio_Actors/Actor_{actor:02}/03-{channel}-{label:02}-0{intensity}-0{sentence}-0{take}-{actor:02}.wav"
        for actor, label, intensity, sentence, take in product(actors, range(1, labels + 1), (1, 2), (1, 2), (1, 2))
        if not (label == 1 and intensity == 2)
    ]


def crema_d() -> list[str]:
    """91 actors, three intensities of one sentence; 20 of the 7462 that this makes were never there."""
    each = [("IEO", label, level) for label, level in product(("ANG", "DIS", "FEA", "HAP", "SAD"), ("LO", "MD", "HI"))]
    each += [("IEO", "NEU", "XX")]
    each += [
        (code.upper(), label, "XX")
        for code, label in product(sentences.CREMA_D, ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD"))
        if code != "ieo"
    ]
    names = [f"AudioWAV/{actor}_{'_'.join(told)}.wav" for actor, told in product(range(1001, 1092), each)]
    return [name for name in names if not (name[9:13] in ("1002", "1003") and "TSI" in name)][: 7442 - 8] + [
        f"AudioWAV/1002_TSI_{label}_XX.wav" for label in ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")
    ] + ["AudioWAV/1003_TSI_ANG_XX.wav", "AudioWAV/1003_TSI_DIS_XX.wav"]  # fmt: skip


def tess() -> list[str]:
    """200 words of two women in seven emotions; one file lacks a letter."""
    words = [f"word{'abcdefghijklmnopqrst'[number % 20]}{'abcdefghij'[number // 20]}" for number in range(199)]
    kinds = {"angry": "angry", "disgust": "disgust", "fear": "Fear", "happy": "happy", "neutral": "neutral"}
    kinds |= {"ps": "Pleasant_surprise", "sad": "Sad"}
    names = [
        f"{who}_{kinds[label]}/{who}_{word}_{label}.wav"
        for who, label, word in product(("OAF", "YAF"), kinds, [*words, "bite"])
    ]
    return [name.replace("OAF_bite_neutral", "OA_bite_neutral") for name in names]


def savee(form: str = "{}/{}.wav") -> list[str]:
    """15 sentences an emotion, 30 of neutral."""
    codes = [f"{label}{number:02}" for label in ("a", "d", "f", "h", "n", "sa", "su") for number in range(1, 31)]
    codes = [code for code in codes if code.startswith("n") or int(code[-2:]) <= 15]
    return [form.format(who, code) for who, code in product(("DC", "JE", "JK", "KL"), codes)]


def emovo() -> list[str]:
    """14 sentences of six actors in seven emotions."""
    labels = ("dis", "gio", "neu", "pau", "rab", "sor", "tri")
    people = ("f1", "f2", "f3", "m1", "m2", "m3")
    return [f"{who}/{label}-{who}-{code}.wav" for who, label, code in product(people, labels, sentences.EMOVO)]


def cafe() -> list[str]:
    """Six sentences of twelve actors; neutral has one intensity."""
    folders = dict(zip("CDJNPST", "Colère Dégoût Joie Neutre Peur Surprise Tristesse".split(), strict=True))
    levels = ("Faible/", "Fort/")
    return [
        f"{folders[label]}/{'' if label == 'N' else levels[level - 1]}{who:02}-{label}-{level}-{code}.wav"
        for who, label, level, code in product(range(1, 13), folders, (1, 2), range(1, 7))
        if not (label == "N" and level == 2)
    ]


def jl() -> list[str]:
    """Four speakers, ten emotions, 60 recordings each."""
    labels = "angry sad neutral happy excited anxious apologetic assertive concerned encouraging".split()
    return [
        f"Raw JL corpus (unchecked and unannotated)/JL(wav+txt)/{who}_{label}_{number}{part}_{take}.wav"
        for who, label, number, part, take in product(
            ("female1", "female2", "male1", "male2"), labels, range(1, 16), "ab", (1, 2)
        )
    ]


def aesdd() -> list[str]:
    """Six speakers, 20 utterances, five emotions, and what is odd in the copy in use."""
    folders = {"a": "anger", "d": "disgust", "f": "fear", "h": "happiness", "s": "sadness"}
    names = [
        f"{folders[label]}/{label}{number:02} ({who}).wav"
        for label, number, who in product(folders, range(1, 21), range(1, 7))
    ]
    lacking = {"disgust/d18 (3).wav", "fear/f02 (4).wav", "happiness/h11 (3).wav"}
    names = [name.replace("f10 (1)", "f10 (01)") for name in names if name not in lacking]
    again = ["anger/a06 (5)b", "disgust/d01 (5)b", "disgust/d03 (5)b", "disgust/d04 (5)b", "fear/f18 (5)b"]
    again += ["sadness/s01 (5)a", "sadness/s01 (5)b", "sadness/s02 (5)b", "sadness/s04 (5)b"]
    # Of s01 the fifth speaker's has letters alone.
    return [*(name for name in names if name != "sadness/s01 (5).wav"), *(f"{name}.wav" for name in again)]


def enterface() -> list[str]:
    """44 subjects; the sixth is uncut, the eleventh's files are called s12, the 23rd lacks three."""
    folders = {"an": "anger", "di": "disgust", "fe": "fear", "ha": "happiness", "sa": "sadness", "su": "surprise"}
    names = []
    for who, (code, folder), number in product(range(1, 45), folders.items(), range(1, 6)):
        place = f"subject {who}/{folder}"
        stem = f"s{12 if who == 11 else who}_{code}_{number}"
        if who == 6:
            names += [f"{place}/s6_{code}.avi"] if number == 1 else []
        elif who == 3 and code == "su":
            names.append(f"{place}/sentence {number}/s_3_su_{number}.avi")
        elif (who, code, number) == (16, "su", 3):
            names.append(f"{place}/sentence 3/s16_su_3avi.avi")
        elif not (who == 23 and code == "ha" and number > 2):
            names.append(f"{place}/sentence {number}/{stem}.avi")
    return names


def esd(speakers: Iterable[int]) -> list[str]:
    """350 sentences in five emotions of each speaker."""
    labels = ("Neutral", "Angry", "Happy", "Sad", "Surprise")
    return [
        f"{who:04}/{labels[number // 350]}/{who:04}_{number + 1:06}.wav"
        for who, number in product(speakers, range(1750))
    ]


def emodb() -> list[str]:
    """535 names of EmoDB's form, with each actor, sentence and emotion."""
    people = ("03", "08", "09", "10", "11", "12", "13", "14", "15", "16")
    names = [f"wav/{who}{code}{label}a.wav" for who, code, label in product(people, sentences.EMODB, "WLEAFTN")]
    return [names[place * len(names) // 535] for place in range(535)]


def emotale() -> list[str]:
    """18 speakers of Danish, of whom 14 speak English too."""
    people = [f"{number:03}" for number in range(1, 20) if number != 2]
    return [
        f"wav/{language}_{who}_{label}_{number}.wav"
        for language, who, label, number in product(("DK", "EN"), people, "ABHNS", range(1, 6))
        if language == "DK" or who not in ("014", "015", "018", "019")
    ]
