"""What a corpus is, as data: where it lies, what its columns are called, which label means which class."""

from collections.abc import Mapping
from dataclasses import MISSING
from dataclasses import dataclass
from dataclasses import field
from dataclasses import fields
from dataclasses import replace
from pathlib import Path
from typing import Any

from .errors import InputError
from .speech_features import SpeechFeatures
from .synthetic import Generator
from .synthetic import nearest

SAMPLE_DATA = Path(__file__).resolve().parent / "sample_data"

DEFAULT_LABELS = ["neutral", "happy", "sad", "anger"]
# Raw labels that need no label map: class numbers, class names, and the short names of the emotion2vec `.emo` files.
SHORT_NAMES = {"neu": "neutral", "hap": "happy", "sad": "sad", "ang": "anger"}

# Role -> names to try, in this order; a name matches exactly first, then whatever its case.
DEFAULT_COLUMNS: dict[str, list[str]] = {
    "utterance_id": ["utterance_id"],
    "speaker": ["speaker", "speaker_id", "speakerID", "SpkrID"],
    "label": ["label", "emotion", "emotion_label", "EmoClass"],
    "transcript": ["transcript", "text"],
    "features": ["audio_features", "emotion2vec_features"],
    "valence": ["valence", "EmoVal"],
    "arousal": ["arousal", "EmoAct"],
    "dominance": ["dominance", "domination", "consensus_dominance", "EmoDom"],
    "session": ["session"],
    "difficulty": ["difficulty"],
    "curriculum_order": ["curriculum_order"],
    "audio": ["audio"],
}


@dataclass(frozen=True)
class CorpusSpec:
    """A corpus, described. Every field can be given in a recipe, for an own corpus or to change a built-in one.

    Args:
        name: the corpus' name in recipes and results.
        hub_id: data set on the Hub, with features.
        hub_id_audio: data set on the Hub, with features and recordings.
        path: local folder or file, read in place of the Hub: a `save_to_disk` folder, a folder of parquet, arrow,
            jsonl or csv files or one such file, or an emotion2vec triple (folder, or path without its endings).
        revision: revision on the Hub.
        split: split to read.
        columns: role -> column name, or names to try. Roles not given keep their usual names.
        required: roles whose column must be there. `speaker` is required besides, unless `test_only`.
        labels: class names, in the order of the class numbers.
        label_map: raw label -> class name. Default: class numbers and class names stand for themselves.
        dropped_labels: raw labels that are known and left out. Any other label is an error.
        audio_dim: width of a feature vector; None takes the first row's.
        vad_scale: lowest and highest rating; brought to 1-5 linearly.
        session_rule: `{"first": f, "size": s}`: session = (speaker - f) // s + 1. None: the session column.
        speakers_of: the corpus whose people these are, for corpora made of another's recordings. Default: its own.
        test_only: never trained on; may lack speakers.
        licence, licence_url, extractor, language: for cards and results; the extractor is what made the features.
        speech_encoder: what made the features, as `SpeechFeatures.to_dict` says it, so that models trained on them
            take recordings. Data from `extract_features.py` brings its own, which holds.
        caveat: what limits the meaning of numbers on the corpus; a sentence or more, for reports and cards.
        citation: whom users of the corpus cite.
        generator: parameters of `synthetic.Generator`: the corpus is generated, not read.

    Raises:
        InputError: a field with a wrong type or value.
    """

    name: str
    hub_id: str | None = None
    hub_id_audio: str | None = None
    path: str | None = None
    revision: str | None = None
    split: str = "train"
    columns: dict[str, str | list[str]] = field(default_factory=dict)
    required: list[str] = field(default_factory=lambda: ["label"])
    labels: list[str] = field(default_factory=list)
    label_map: dict[str | int, str] = field(default_factory=dict)
    dropped_labels: list[str | int] = field(default_factory=list)
    audio_dim: int | None = None
    vad_scale: list[float] = field(default_factory=lambda: [1, 5])
    session_rule: dict[str, int] | None = None
    speakers_of: str = ""
    test_only: bool = False
    licence: str = "not stated"
    licence_url: str = ""
    extractor: str = "not stated"
    language: str = "not stated"
    speech_encoder: dict[str, Any] | None = None
    caveat: str = ""
    citation: str = ""
    generator: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        self._check_types()
        fill = object.__setattr__  # the class is frozen: what is derived is filled in once, here
        if not self.labels:
            mapped = list(dict.fromkeys(self.label_map.values()))
            generated = list(Generator.from_dict(self.name, self.generator).classes) if self.generator else []
            fill(self, "labels", mapped or generated or list(DEFAULT_LABELS))
        if self.speech_encoder is not None and self.extractor == "not stated":
            fill(self, "extractor", self._made_by().in_words())
        # JSON knows only string keys, so raw labels are compared as strings throughout.
        label_map = {str(raw): name for raw, name in self.label_map.items()} or _own_names(self.labels)
        fill(self, "label_map", label_map)
        fill(self, "dropped_labels", [str(raw) for raw in self.dropped_labels])
        fill(self, "speakers_of", self.speakers_of or self.name)
        self._check_values()

    @classmethod
    def from_dict(cls, name: str, given: Mapping[str, Any], base: "CorpusSpec | None" = None) -> "CorpusSpec":
        """The spec that a recipe describes, alone or as changes to `base`.

        A role that `given["columns"]` names must then be in the data. A new label map on top of a base leaves out
        the base's other labels; generator settings are laid over the base's; a session column replaces the base's
        session rule.

        Raises:
            InputError: an unknown key (the nearest name is offered), a wrong type or value.
        """
        known = [f.name for f in fields(cls) if f.name != "name"]
        if not isinstance(given, Mapping):
            raise InputError(f"corpus {name}: {given!r} is no set of fields; known fields: {', '.join(known)}")
        for key in given:
            if key not in known:
                raise InputError(
                    f"corpus {name}: unknown field {key!r}{nearest(str(key), known)}; known: {', '.join(known)}"
                )
        merged = {f.name: getattr(base, f.name) for f in fields(cls)} if base else {}
        merged |= {**given, "name": name}
        columns = given.get("columns", {})
        if isinstance(columns, dict):  # any other type is refused by the constructor
            merged["columns"] = {**(base.columns if base else {}), **columns}
            merged["required"] = list(dict.fromkeys([*_default(merged, "required"), *columns]))
            if "session" in columns and "session_rule" not in given:
                merged["session_rule"] = None
        if "extractor" in given and "speech_encoder" not in given:
            merged["speech_encoder"] = None  # the base's made other features
        if "speech_encoder" in given and "extractor" not in given:
            merged["extractor"] = _default({}, "extractor")
        if isinstance(given.get("generator"), dict):
            merged["generator"] = {**(base.generator or {} if base else {}), **given["generator"]}
        if {"labels", "label_map", "generator"} & set(given):
            merged["labels"] = given.get("labels", [])
            merged["label_map"] = given.get("label_map", {})
        if base and isinstance(given.get("label_map"), dict) and "dropped_labels" not in given:
            mapped = {str(raw) for raw in given["label_map"]}
            merged["dropped_labels"] = [raw for raw in [*base.label_map, *base.dropped_labels] if raw not in mapped]
        return cls(**merged)

    def candidates(self, role: str) -> list[str]:
        """Column names to try for `role`, the likeliest first."""
        names = self.columns.get(role, DEFAULT_COLUMNS[role])
        return [names] if isinstance(names, str) else list(names)

    def _wrong(self, key: str, right: str) -> InputError:
        return InputError(f"corpus {self.name}: {key} is {getattr(self, key)!r}; it must be {right}")

    def _check_types(self) -> None:
        optional = ("hub_id", "hub_id_audio", "path", "revision")
        texts = ("name", "split", "speakers_of", "licence", "licence_url", "extractor", "language")
        for key in (*texts, "caveat", "citation", *optional):
            value = getattr(self, key)
            if not isinstance(value, str) and not (value is None and key in optional):
                raise self._wrong(key, "a string")
        for key in ("columns", "label_map"):
            if not isinstance(getattr(self, key), dict):
                raise self._wrong(key, "a dictionary")
        for key in ("required", "labels", "dropped_labels"):
            if not isinstance(getattr(self, key), list):
                raise self._wrong(key, "a list")
        if self.generator is not None and not isinstance(self.generator, dict):
            raise self._wrong("generator", "a dictionary of generator settings")
        if self.speech_encoder is not None:
            if not isinstance(self.speech_encoder, dict):
                raise self._wrong("speech_encoder", "a dictionary that describes it")
            self._made_by()
        if not isinstance(self.test_only, bool):
            raise self._wrong("test_only", "true or false")

    def _made_by(self) -> SpeechFeatures:
        try:
            return SpeechFeatures.from_dict(self.speech_encoder)
        except ValueError as error:
            raise InputError(f"corpus {self.name}: speech_encoder: {error}") from error

    def _check_values(self) -> None:
        roles = list(DEFAULT_COLUMNS)
        for role in [*self.columns, *self.required]:
            if role not in roles:
                raise InputError(
                    f"corpus {self.name}: unknown column role {role!r}{nearest(str(role), roles)}; "
                    f"known: {', '.join(roles)}"
                )
        for role, names in self.columns.items():
            listed = [names] if isinstance(names, str) else names
            if not isinstance(listed, list) or not listed or not all(isinstance(n, str) for n in listed):
                raise self._wrong("columns", f"role -> a column name or names to try; {role} is {names!r}")
        if not all(isinstance(name, str) and name for name in self.labels) or len(set(self.labels)) < len(self.labels):
            raise self._wrong("labels", "a list of class names, each once")
        if len(self.labels) < 2:
            raise self._wrong("labels", "at least two class names")
        strangers = [name for name in self.label_map.values() if name not in self.labels]
        if strangers:
            raise self._wrong("label_map", f"raw label -> one of {self.labels}; {strangers[0]!r} is none of them")
        both = sorted(set(self.label_map) & set(self.dropped_labels))
        if both:
            raise self._wrong("dropped_labels", f"labels outside the label map; {both[0]!r} is in both")
        if self.audio_dim is not None and (type(self.audio_dim) is not int or self.audio_dim < 1):
            raise self._wrong("audio_dim", "a positive whole number, or null")
        scale = self.vad_scale
        numbers = isinstance(scale, list | tuple) and all(type(x) in (int, float) for x in scale)
        if not numbers or len(scale) != 2 or not scale[0] < scale[1]:
            raise self._wrong("vad_scale", "[lowest, highest] rating, such as [1, 7]")
        rule = self.session_rule
        if rule is not None and (
            not isinstance(rule, dict)
            or set(rule) != {"first", "size"}
            or not all(type(x) is int for x in rule.values())
            or rule["size"] < 1
        ):
            raise self._wrong("session_rule", '{"first": number of the first speaker, "size": speakers a session}')
        if self.generator is not None:
            classes = list(Generator.from_dict(self.name, self.generator).classes)
            if any(self.label_map.get(raw) is None and raw not in self.dropped_labels for raw in classes):
                raise self._wrong("labels", f"those of the generator: {classes}")


def _own_names(labels: list[str]) -> dict[str, str]:
    """Class numbers and names as raw labels for themselves, and the emotion2vec short names of those classes."""
    short = {raw: name for raw, name in SHORT_NAMES.items() if name in labels}
    return {**{str(i): name for i, name in enumerate(labels)}, **short, **{name: name for name in labels}}


def _default(given: Mapping[str, Any], key: str) -> Any:
    """`given[key]`, or the field's default value."""
    if key in given:
        return given[key]
    found = next(f for f in fields(CorpusSpec) if f.name == key)
    return found.default if found.default_factory is MISSING else found.default_factory()


_EMOTION2VEC = "emotion2vec (as published with the data set; which of its models is not stated there)"
_MSP = "academic licence of the Multimodal Signal Processing Laboratory, UT Dallas; on request"
_WHISPER = "openai/whisper-base encoder (MIT), last hidden states averaged to 5 Hz"
_WHISPER_BASE = {
    "encoder": "openai/whisper-base",
    "model_type": "whisper",
    "width": 512,
    "num_layers": 6,
    "frame_rate": 5.0,
    "weights": "e2c0be562dc6a7a58c925dac2650d7dc520872cf60091151ab7b721bd71828a7",
}
_GENERATED = "is generated: there is no speech in it, and the model is of no use on real input."
_EMODB_LABELS = {"neutral": "neutral", "happiness": "happy", "sadness": "sad", "anger": "anger"}


# What the labs' own releases call the rest; their four classes have the names that ours have.
_OTHER_EMOTIONS = ["frustration", "surprise", "fear", "disgust", "contempt", "other", "no agreement"]


def _hub_corpus(name: str, merged: Mapping[str, str] | None = None, **described: Any) -> CorpusSpec:
    """One of the five hub corpora: emotion2vec features, labels 0-3; `merged` labels of the release count as them."""
    numbers = {str(number): label for number, label in enumerate(DEFAULT_LABELS)}
    return CorpusSpec(
        name=name,
        required=["label", "features"],
        columns={"features": ["emotion2vec_features", "audio_features"]},
        labels=list(DEFAULT_LABELS),
        label_map={**numbers, **SHORT_NAMES, **{label: label for label in DEFAULT_LABELS}, **(merged or {})},
        dropped_labels=list(_OTHER_EMOTIONS),
        audio_dim=768,
        extractor=_EMOTION2VEC,
        **described,
    )


BUILTIN: dict[str, CorpusSpec] = {
    spec.name: spec
    for spec in (
        _hub_corpus(
            "IEMO",
            merged={"excited": "happy"},
            hub_id="cairocode/IEMO_Emotion2Vec",
            hub_id_audio="cairocode/IEMO_Audio_Text_Merged",
            session_rule={"first": 1, "size": 2},
            licence="IEMOCAP licence of SAIL, University of Southern California; on request",
            licence_url="https://sail.usc.edu/iemocap/",
            language="en",
            caveat=(
                "IEMO (IEMOCAP) is acted: ten actors in a studio, scripted and improvised; scripted text recurs "
                "in all sessions, so a model that reads words can know it."
            ),
            citation="IEMOCAP (Busso et al., Language Resources and Evaluation, 2008)",
        ),
        _hub_corpus(
            "MSPI",
            hub_id="cairocode/MSPI_Emotion2Vec",
            hub_id_audio="cairocode/MSPI_Audio_Text_Merged",
            session_rule={"first": 947, "size": 2},
            licence=_MSP,
            licence_url="https://ecs.utdallas.edu/research/researchlabs/msp-lab/MSP-Improv.html",
            language="en",
            caveat="MSPI (MSP-IMPROV) is acted: twelve actors who improvise in a studio.",
            citation="MSP-IMPROV (Busso et al., IEEE Transactions on Affective Computing, 2017)",
        ),
        _hub_corpus(
            "MSPP",
            hub_id="cairocode/MSPP_Emotion2Vec_V3",
            hub_id_audio="cairocode/MSPP_WAV_Filtered_Ordered_v2",
            session_rule={"first": 1, "size": 500},
            vad_scale=[1, 7],
            licence=_MSP,
            licence_url="https://ecs.utdallas.edu/research/researchlabs/msp-lab/MSP-Podcast.html",
            language="en",
            caveat="MSPP (MSP-Podcast) is speech of podcasts, chosen for its emotion.",
            citation="MSP-Podcast (Lotfian and Busso, IEEE Transactions on Affective Computing, 2019)",
        ),
        _hub_corpus(
            "CMUMOSEI",
            hub_id="cairocode/CMU_MOSEI_EMOTION2VEC_4class_2",
            hub_id_audio="cairocode/cmu_mosei_wav",
            test_only=True,
            licence="as published by the MultiComp Lab, Carnegie Mellon University",
            licence_url="http://multicomp.cs.cmu.edu/resources/cmu-mosei-dataset/",
            language="en",
            caveat="CMUMOSEI is people talking alone to a camera; its labels were brought to four classes.",
            citation="CMU-MOSEI (Zadeh et al., ACL, 2018)",
        ),
        _hub_corpus(
            "SAMSEMO",
            hub_id="cairocode/samsemo_emotion2vec_4_V2",
            hub_id_audio="cairocode/samsemo_audio",
            test_only=True,
            licence="as published by Samsung R&D Institute Poland",
            licence_url="https://github.com/samsungnlp/samsemo",
            language="en, de, es, pl, ko",
            caveat="SAMSEMO is scenes of videos in five languages.",
            citation="SAMSEMO (Bujnowski et al., Interspeech, 2024)",
        ),
        CorpusSpec(
            name="emodb",
            path=str(SAMPLE_DATA / "emodb"),
            required=["label", "features"],
            label_map=_EMODB_LABELS,
            dropped_labels=["boredom", "disgust", "fear"],
            audio_dim=512,
            licence="CC0-1.0",
            licence_url="https://creativecommons.org/publicdomain/zero/1.0/",
            extractor=_WHISPER,
            language="de",
            speech_encoder=dict(_WHISPER_BASE),
            caveat=(
                "emodb is acted: ten actors, ten German sentences, in a studio, cut to 2 s. Each sentence was "
                "spoken in all emotions, so words alone say nothing there."
            ),
            citation="EmoDB (Burkhardt et al., Interspeech, 2005)",
        ),
        CorpusSpec(
            name="emodb_emobank",
            path=str(SAMPLE_DATA / "emodb_emobank"),
            required=["label", "features", "transcript", "valence", "arousal", "dominance"],
            label_map=_EMODB_LABELS,
            audio_dim=512,
            speakers_of="emodb",
            licence="voice: CC0-1.0 (EmoDB); words and ratings: CC-BY-SA-4.0 (EmoBank)",
            licence_url="https://creativecommons.org/licenses/by-sa/4.0/",
            extractor=_WHISPER,
            language="voice de, words en",
            speech_encoder=dict(_WHISPER_BASE),
            caveat=(
                "emodb_emobank is a paired sample: acted German voices (EmoDB, ten actors, ten sentences, cut to"
                " 2 s) beside English sentences (EmoBank) of the same emotion, which nobody said. Voice and "
                "words are independent given the emotion, so what is gained by joining them says nothing about "
                "natural speech."
            ),
            citation="EmoDB (Burkhardt et al., Interspeech, 2005) and EmoBank (Buechel and Hahn, EACL, 2017)",
        ),
        CorpusSpec(
            name="synthetic",
            licence="CC0-1.0",
            licence_url="https://creativecommons.org/publicdomain/zero/1.0/",
            extractor="generated",
            language="en",
            generator={},
            caveat=f"synthetic {_GENERATED}",
        ),
        CorpusSpec(
            name="synthetic_interaction",
            licence="CC0-1.0",
            licence_url="https://creativecommons.org/publicdomain/zero/1.0/",
            extractor="generated",
            language="en",
            generator={"kind": "interaction", "audio_accuracy": 0.99, "text_accuracy": 1.0},
            caveat=f"synthetic_interaction {_GENERATED}",
        ),
    )
}


def resolve_specs(own: Mapping[str, Mapping[str, Any]], paths: Mapping[str, str]) -> dict[str, CorpusSpec]:
    """Every corpus a recipe can name: the built-in ones, changed and joined by the recipe's own.

    Args:
        own: name -> fields of `CorpusSpec` (the recipe field `corpora`), laid over the built-in spec of that name.
        paths: name -> local folder or file, which replaces the Hub, an earlier path or the generator.

    Raises:
        InputError: wrong fields, or a path for a corpus that doesn't exist (the nearest name is offered).
    """
    specs = dict(BUILTIN)
    for name, given in own.items():
        specs[name] = CorpusSpec.from_dict(name, given, base=BUILTIN.get(name))
    for name, path in paths.items():
        if name not in specs:
            raise InputError(
                f"--corpus {name}={path}: there is no corpus {name!r}{nearest(name, list(specs))}; "
                f"known: {', '.join(specs)}"
            )
        specs[name] = replace(specs[name], path=str(path), generator=None)
    return specs
