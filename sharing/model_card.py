"""The model card: what an experiment's results, settings and corpora say, as a stranger reads it on the Hub."""

import dataclasses
import json
import os
import re
from pathlib import Path
from typing import Any

import jinja2
from huggingface_hub import EvalResult
from huggingface_hub import ModelCard
from huggingface_hub import ModelCardData

from .. import __version__
from ..corpora.contamination import contamination_of
from ..evaluation.learning_checks import experiment_warnings
from ..features.text_encoders import public_name
from ..floors.results import RULE
from ..fusions import fusion_names
from ..fusions import get_fusion
from ..markup import Markdown
from ..markup import link
from ..markup import markdown
from ..modalities import AUDIO
from ..modalities import TEXT
from ..modalities import Modality
from ..modalities import modalities_in
from ..modalities import names_in
from ..modalities import words_in
from ..reporting.score_words import ScoreRow
from ..reporting.score_words import in_words
from ..reporting.score_words import score_rows
from ..reporting.score_words import ties_note
from ..settings.settings import Settings
from ..settings.tuning import without_effect
from ..speech_features import SpeechFeatures
from .card_encoders import adapter_code
from .card_encoders import base_models
from .card_encoders import base_notes
from .card_encoders import shown_name
from .card_encoders import speech_encoder
from .card_encoders import use_notes
from .card_encoders import whole_code
from .card_results import CardFacts
from .card_results import audit_warnings
from .card_results import by_gender
from .card_results import by_speaker
from .card_results import count
from .card_results import floor_rows
from .card_results import floor_warnings
from .card_results import interval_note
from .card_results import protocol
from .card_results import protocol_of
from .card_results import result_rows
from .card_results import score_notes
from .card_results import search_warnings
from .card_results import speaker_warnings
from .card_results import vad_rows
from .card_results import whose_numbers
from .card_training import training
from .card_training import training_rows
from .compared import compared

TEMPLATE = Path(__file__).resolve().parent / "templates" / "model_card.md"

_METRICS = {"uar": ("UAR", "recall"), "accuracy": ("Accuracy", "accuracy")}
_METRICS |= {"f1_macro": ("F1 macro", "f1"), "f1_weighted": ("F1 weighted", "f1")}
_OF_THIS_MACHINE = (
    "description", "corpus", "output_dir", "report_to", "wandb_project", "store_dir", "save_seconds", "name", "floors",
    "training_arguments", "manifest",
)  # fmt: skip


def model_card(facts: CardFacts) -> ModelCard:
    """The card, with its results as model-index entries that huggingface_hub has validated.

    Whatever the template is given is shown as text, but for what is `Markdown` already: no name, note or licence of a
    recipe or corpus becomes HTML or a link.
    """
    modalities, trained_on = modalities_in(facts.settings.modality), facts.settings.training_corpora
    environment = jinja2.Environment(finalize=markdown, undefined=jinja2.StrictUndefined)
    text = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        card_data=Markdown(_card_data(facts).to_yaml()),
        title=facts.hub_model_id.split("/")[-1],
        reads=words_in(modalities) if len(modalities) > 1 else f"the {modalities[0].word}",
        input=_input(facts),
        labels=facts.entry["labels"],
        warnings=[
            *speaker_warnings(facts),
            *search_warnings(facts),
            *audit_warnings(facts),
            *_warnings(facts),
            *floor_warnings(facts),
        ],
        protocol=list(filter(None, [*protocol(facts), ties_note(facts.entry["runs"])])),
        whose_numbers=whose_numbers(facts),
        compared=[*compared(facts.entry["name"], facts.choices), *facts.gains],
        results=[row for corpus in facts.tested for row in result_rows(facts, corpus)],
        score_notes=score_notes(facts),
        floors=floor_rows(facts),
        floor_rule=(facts.entry.get("floors") or {}).get("rule", RULE),
        chance=f"{1 / len(facts.entry['labels']):.3f}",
        seeds=count(len(facts.settings.seeds), "seed"),
        interval_note=interval_note(facts),
        figures=[(Markdown(path), what) for path, what in facts.figures],
        gives_vad=facts.config.get("vad_loss_weight", 0) > 0,
        vad=vad_rows(facts),
        by_speaker=by_speaker(facts),
        by_gender=by_gender(facts),
        hears=AUDIO in modalities,
        code=Markdown(_all_code(facts)),
        code_note=_code_note(facts),
        corpora=[_corpus_row(facts, name) for name in trained_on],
        terms_note=_terms_note(facts),
        data_notes=[
            *base_notes(facts),
            *(f"{name}: {note}." for name in trained_on for note in facts.corpora[name]["notes"]),
        ],
        limits=_limits(facts),
        training=training(facts),
        trained=training_rows(facts),
        recipe=Markdown(json.dumps(public_recipe(facts.settings), indent=2, ensure_ascii=False)),
        citation=Markdown(_citation()),
        cite_also=_cite_also(facts),
    )
    return ModelCard(text)


def public_recipe(settings: Settings) -> dict[str, Any]:
    """The settings as a recipe that `emomm run` takes, without what belongs to a machine: no path is in it. Settings
    of encoders that have no effect, as where there is none, are left out."""
    left_out = {*_OF_THIS_MACHINE, *without_effect(settings)}
    left_out |= {name for name in ("by_fold", "searched") if not getattr(settings, name)}
    fields = {key: value for key, value in dataclasses.asdict(settings).items() if key not in left_out}
    fields |= settings.training_arguments
    for name in ("text_model_name", "speech_model_name"):
        fields |= {name: public_name(fields[name])} if name in fields else {}
    fields["corpora"] = {
        name: {key: value for key, value in spec.items() if key != "path"} for name, spec in settings.corpora.items()
    }
    return {**{key: _pathless(value) for key, value in fields.items()}, "experiments": [{"name": settings.name}]}


def _pathless(value: Any) -> Any:
    if isinstance(value, str) and (os.path.isabs(value) or value.startswith("~")):
        return Path(value).name
    if isinstance(value, dict):
        return {key: _pathless(each) for key, each in value.items()}
    return [_pathless(each) for each in value] if isinstance(value, list) else value


# ---- the head -------------------------------------------------------------------------------------------------------


def _card_data(facts: CardFacts) -> ModelCardData:
    specs = [facts.specs[name] for name in facts.settings.training_corpora]
    return ModelCardData(
        language=_languages(facts) or None,
        license=facts.license or "other",
        license_name=None if facts.license else "terms-of-the-training-data",
        library_name="transformers",
        pipeline_tag=_task(facts),
        tags=[
            "emomm",
            "emotion-recognition",
            *(["speech"] if _hears(facts) else []),
            *(["lora", "peft"] if facts.adapter_only else []),
        ],
        datasets=[spec.hub_id for spec in specs if spec.hub_id is not None] or None,
        metrics=["accuracy", "recall", "f1"],
        model_name=facts.hub_model_id.split("/")[-1],
        eval_results=[result for corpus in facts.tested for result in _eval_results(facts, corpus)],
        **base_models(facts),
    )


def _task(facts: CardFacts) -> str:
    """As `travelling` declares it."""
    return "text-classification" if _reads(facts) and not _hears(facts) else "audio-classification"


def _languages(facts: CardFacts) -> list[str]:
    """The language codes of the training corpora: of `voice de, words en`, only what the model reads."""
    unread = "|".join([r"$^", *([] if _reads(facts) else [r"words \w+"]), *([] if _hears(facts) else [r"voice \w+"])])
    stated = ", ".join(re.sub(unread, "", facts.corpora[name]["language"]) for name in facts.settings.training_corpora)
    return sorted(set(re.findall(r"\b[a-z]{2}\b", stated)))


def _eval_results(facts: CardFacts, corpus: str) -> list[EvalResult]:
    """The scores of a corpus; of both decisions where it lacks classes, each said in the name."""
    how = protocol_of(facts, corpus)
    rows = score_rows(corpus, facts.entry["summary"][corpus], facts.entry["statistics"][corpus])
    return [
        EvalResult(
            task_type=_task(facts),
            task_name="Emotion recognition",
            dataset_type=facts.specs[facts.corpus_of(corpus)].hub_id or facts.corpus_of(corpus),
            dataset_name=corpus,
            dataset_config=f"{how}{_decision(row)}",
            dataset_args={"protocol": " ".join(protocol(facts))},
            metric_type=kind,
            metric_name=f"{name} ({how}, pooled{_decision(row)})",
            metric_value=round(row.figures[metric]["pooled"], 4),
            metric_args=_metric_args(metric, row.figures[metric]),
        )
        for row in rows
        for metric, (name, kind) in _METRICS.items()
    ]


def _decision(row: ScoreRow) -> str:
    """`, decided among 2 classes`, or nothing."""
    return f", decided among {len(row.figures['classes'])} classes" if row.decision else ""


def _metric_args(metric: str, figures: dict[str, Any]) -> dict[str, Any]:
    bounds, std = figures["ci95"], figures["std"]
    return {
        "average": {"uar": "macro", "f1_macro": "macro", "f1_weighted": "weighted"}.get(metric, "none"),
        "ci95": None if bounds is None else [round(x, 4) for x in bounds],
        "ci_units": figures["ci_units"],
        "mean_over_runs": round(figures["mean"], 4),
        "std_over_runs": None if std is None else round(std, 4),
    }


def _warnings(facts: CardFacts) -> list[tuple[str, str]]:
    if not _hears(facts):
        return []
    said = [facts.corpora[corpus] for corpus in facts.tested_corpora]
    found = [contamination_of(each, facts.entry.get("speech_encoder")) for each in said]
    return [("Contaminated features.", warning) for warning in found if warning is not None]


# ---- use ------------------------------------------------------------------------------------------------------------


def _input(facts: CardFacts) -> str:
    parts = []
    if speech_encoder(facts):
        parts.append("the recording of an utterance")
    elif _hears_recordings(facts):
        parts.append(f"the recording of an utterance (or its voice features, frames × {facts.config['audio_dim']})")
    elif _hears(facts):
        parts.append(
            f"voice features of an utterance (frames × {facts.config['audio_dim']}, not the recording itself)"
        )
    if _reads(facts):
        parts.append("its transcript" if parts else "the transcript of an utterance")
    parts += [f"vectors of {modality.word} ({modality.unit} × {dim})" for modality, dim in _own(facts)]
    return in_words(parts)


def _hears(facts: CardFacts) -> bool:
    return AUDIO.name in names_in(facts.settings.modality)


def _reads(facts: CardFacts) -> bool:
    return TEXT.name in names_in(facts.settings.modality)


def _own(facts: CardFacts) -> list[tuple[Modality, int]]:
    """The modalities that are the user's own, and how wide their vectors are."""
    dims = facts.config.get("modality_dims") or {}
    return [
        (modality, dims[modality.name]) for modality in modalities_in(facts.settings.modality) if modality.name in dims
    ]


def _hears_recordings(facts: CardFacts) -> bool:
    """Whether the model says what made its voice features, so that it takes recordings."""
    return _hears(facts) and facts.config.get("speech_encoder") is not None


def _all_code(facts: CardFacts) -> str:
    """Every way to ask the model, with words between."""
    if facts.adapter_only:
        return adapter_code(facts)
    if speech_encoder(facts) and not _own(facts):
        between = "Without the pipeline, recordings are heard whole, however long they are:"
        return f"{_recording_code(facts)}\n```\n\n{between}\n\n```python\n{whole_code(facts)}"
    parts = [] if speech_encoder(facts) else filter(None, [_recording_code(facts), _code(facts)])
    parts = parts or [_recording_code(facts)]
    return "\n```\n\nWith features in place of the recording:\n\n```python\n".join(parts)


def _recording_code(facts: CardFacts) -> str:
    """A recording through the pipeline; "" where the model takes none."""
    if not _hears_recordings(facts):
        return ""
    words = "" if not _reads(facts) else ', text="I can\'t believe you did that."'
    name = "multimodal-emotion-recognition"
    return (
        "from transformers import pipeline\n\n"
        f'emotion = pipeline("{name}", model="{facts.hub_model_id}", trust_remote_code=True)\n'
        f'print(emotion("recording.wav"{words}))'
    )


def _code(facts: CardFacts) -> str:
    width, given = facts.config["audio_dim"], []
    lines = ["import numpy as np"] if _hears(facts) or _own(facts) else []
    lines += ["import torch", "from transformers import AutoModel, AutoProcessor", ""]
    for name in ("model", "processor"):
        auto = f"Auto{name.capitalize()}"
        lines.append(f'{name} = {auto}.from_pretrained("{facts.hub_model_id}", trust_remote_code=True)')
    lines.append("")
    if _hears(facts):
        lines.append(f"voice = np.random.randn(20, {width}).astype(np.float32)  # your features: frames × {width}")
        given.append("audio_features=voice")
    if _reads(facts):
        lines.append('words = "I can\'t believe you did that."')
        given.append("text=words")
    for modality, dim in _own(facts):
        made = f"np.random.randn(20, {dim}).astype(np.float32)"
        lines.append(f"{modality.name} = {made}  # yours: {modality.unit} × {dim}")
        given.append(f"{modality.features}={modality.name}")
    lines += [
        f"inputs = processor({', '.join(given)})",
        "with torch.no_grad():",
        "    probabilities = model(**inputs).logits.softmax(dim=-1)[0]",
        "for number, probability in enumerate(probabilities.tolist()):",
        '    print(f"{model.config.id2label[number]:10} {probability:.3f}")',
    ]
    return "\n".join(lines)


def _code_note(facts: CardFacts) -> Markdown:
    needs = "torch, transformers and peft" if facts.adapter_only else "torch and transformers alone"
    notes = [Markdown(f"It needs {needs}. `trust_remote_code=True` runs the Python files of this repository.")]
    if speech_encoder(facts) or facts.adapter_only:
        notes += use_notes(facts)
    elif _hears_recordings(facts):
        made_by = SpeechFeatures.from_dict(facts.config["speech_encoder"])
        notes.append(
            Markdown(
                f"Recordings need soundfile and soxr too, and the speech encoder, {markdown(made_by.in_words())}: it "
                "is fetched when the first one is given, or taken from `speech_encoder=`, a folder or id, checked to "
                "be the same."
            )
        )
    if _hears(facts) and not speech_encoder(facts):
        extractors = in_words(sorted({facts.corpora[name]["extractor"] for name in facts.settings.training_corpora}))
        notes.append(
            f"Voice features must be made as those of the training data ({extractors}): others of the same width give "
            f"nonsense without an error. One vector of {facts.config['audio_dim']}, such as their mean, is taken too."
        )
    modalities, fusion = modalities_in(facts.settings.modality), facts.settings.fusion_type
    if len(modalities) > 1 and fusion in fusion_names() and get_fusion(fusion).handles_missing:
        notes.append(f"{words_in(modalities, 'or').capitalize()} may be left out.")
    notes.append("Lists of utterances are padded and masked.")
    return Markdown("\n".join(markdown(note) for note in notes))


# ---- training data, limits ------------------------------------------------------------------------------------------


def _corpus_row(facts: CardFacts, name: str) -> dict[str, Any]:
    said = facts.corpora[name]
    terms = link(said["licence"], said["licence_url"])
    if said["licence"] == "not stated" and not said["licence_url"]:
        terms = "not stated: ask its owner before use"
    classes = ", ".join(f"{label} {count}" for label, count in said["classes"].items())
    hub_id = facts.specs[name].hub_id
    linked = name if hub_id is None else link(name, f"https://huggingface.co/datasets/{hub_id}")
    return {**said, "name": linked, "classes": classes, "terms": terms}


def _terms_note(facts: CardFacts) -> Markdown:
    said = (
        "Nothing of the corpora is in this repository: no recordings, features or transcripts. What may be done with "
        "the model depends on their terms"
    )
    encoders = [speech_encoder(facts)] if speech_encoder(facts) else []
    encoders += [facts.entry["text_encoder"]] if _reads(facts) else []
    kinds = ["text" if each is facts.entry["text_encoder"] else "speech" for each in encoders]
    named = [f"the {kind} encoder, {shown_name(each['name'])}" for kind, each in zip(kinds, encoders, strict=True)]
    said += f" and on those of {', and of '.join(named)}" if named else ""
    return Markdown(f"{said}; EmoMM's code in it is under Apache-2.0.")


def _limits(facts: CardFacts) -> list[str]:
    settings, labels = facts.settings, facts.entry["labels"]
    names = dict.fromkeys([*settings.training_corpora, *facts.tested_corpora])
    limits = [facts.corpora[name]["caveat"] for name in names if facts.corpora[name]["caveat"]]
    if _languages(facts):
        stated = list(dict.fromkeys(facts.corpora[name]["language"] for name in settings.training_corpora))
        limits.append(f"Language of the training data: {'; '.join(stated)}. How it does in any other is not known.")
    limits.append(
        f"It knows {in_words(labels)}, and gives every utterance one of them: also one with another emotion, several, "
        "or none. The labels are those of actors' intent or of annotators, not of what people felt."
    )
    people = sum(facts.corpora[name]["speakers"] for name in settings.training_corpora)
    limits.append(
        f"It knows the words of {people} speakers. Other ways of writing and speaking are not covered."
        if not _hears(facts)
        else f"It has heard {people} people. Other ages, accents, voices and situations are not covered."
    )
    limits.append("Its probabilities are not calibrated; see the calibration error above.")
    return [*_what_was_not_learned(facts), *limits]


def _what_was_not_learned(facts: CardFacts) -> list[str]:
    """The warnings of the runs behind the numbers, and of the model itself."""
    said = [
        f"Of the {count(warning['of'], 'run')} behind these numbers {warning['runs']} had {warning['words']}"
        + (f": {warning['said']}." if warning["of"] == 1 else f"; of the first: {warning['said']}.")
        for warning in experiment_warnings(facts.entry["runs"])
    ]
    return said + [f"The model here: {warning['said']}." for warning in facts.model.get("warnings", [])]


# ---- citation -------------------------------------------------------------------------------------------------------


def _cite_also(facts: CardFacts) -> Markdown:
    names = dict.fromkeys([*facts.settings.training_corpora, *facts.tested_corpora])
    cited = list(dict.fromkeys(facts.corpora[name]["citation"] or f"the corpus {name}" for name in names))
    cited += (
        [] if not _reads(facts) else [Markdown(f"the text encoder, {shown_name(facts.entry['text_encoder']['name'])}")]
    )
    if speech_encoder(facts):
        cited.append(Markdown(f"the speech encoder, {shown_name(speech_encoder(facts)['name'])}"))
    elif _hears(facts):
        made = dict.fromkeys(facts.corpora[name]["extractor"] for name in facts.settings.training_corpora)
        cited.append(f"what made the voice features ({in_words(list(made))})")
    return Markdown("; ".join(markdown(each) for each in cited))


def _citation() -> str:
    return (
        "@software{emomm,\n"
        "  title = {{EmoMM}: multimodal emotion recognition from voice and words on the {Hugging Face} {Trainer}},\n"
        "  author = {{The EmoMM developers}},\n"
        f"  version = {{{__version__}}},\n"
        "  license = {Apache-2.0}\n"
        "}"
    )


__all__ = ["CardFacts", "model_card", "public_recipe"]
