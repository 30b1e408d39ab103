"""The corpora that are built in, and all that a recipe can name: those, changed and joined by its own."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import InputError
from .release_specs import CAMEO
from .release_specs import RELEASES
from .spec import DEFAULT_COLUMNS as DEFAULT_COLUMNS
from .spec import DEFAULT_LABELS
from .spec import SHORT_NAMES
from .spec import CorpusSpec
from .synthetic import nearest

SAMPLE_DATA = Path(__file__).resolve().parent.parent / "sample_data"

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
            vad_of="the sentence, not of the recording",
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
        CorpusSpec(
            name="synthetic_tones",
            licence="CC0-1.0",
            licence_url="https://creativecommons.org/publicdomain/zero/1.0/",
            extractor="generated",
            language="en",
            generator={
                "kind": "tones",
                "speakers": 20,
                "sessions": 5,
                "audio_accuracy": 0.85,
                "text_accuracy": 0.7,
            },
            caveat=f"synthetic_tones {_GENERATED}",
        ),
        *RELEASES,
        *CAMEO,
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
