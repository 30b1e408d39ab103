"""The model card: what an experiment's results, settings and corpora say, as a stranger reads it on the Hub."""

import dataclasses
import json
import os
import re
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult
from huggingface_hub import ModelCard
from huggingface_hub import ModelCardData
from transformers import TrainingArguments

from .. import __version__
from ..contamination import contamination
from ..settings import Settings
from ..speech_features import SpeechFeatures
from ..text_encoders import public_name
from .card_results import CardFacts
from .card_results import by_gender
from .card_results import by_speaker
from .card_results import count
from .card_results import in_words
from .card_results import interval_note
from .card_results import protocol
from .card_results import protocol_of
from .card_results import result_row
from .card_results import vad_rows
from .card_results import whose_numbers

TEMPLATE = Path(__file__).resolve().parent / "templates" / "model_card.md"

_READS = {"audio": "the voice", "text": "the words", "both": "voice and words"}
_METRICS = {"uar": ("UAR", "recall"), "accuracy": ("Accuracy", "accuracy")}
_METRICS |= {"f1_macro": ("F1 macro", "f1"), "f1_weighted": ("F1 weighted", "f1")}
_OF_THIS_MACHINE = (
    "description", "corpus", "output_dir", "report_to", "wandb_project", "store_dir", "save_seconds", "name", "floors",
    "training_arguments",
)  # fmt: skip


def model_card(facts: CardFacts) -> ModelCard:
    """The card, with its results as model-index entries that huggingface_hub has validated."""
    hears, trained_on = facts.settings.modality != "text", facts.settings.training_corpora
    return ModelCard.from_template(
        _card_data(facts),
        template_path=str(TEMPLATE),
        title=facts.hub_model_id.split("/")[-1],
        reads=_READS[facts.settings.modality],
        input=_input(facts),
        labels=facts.entry["labels"],
        warnings=_warnings(facts),
        protocol=protocol(facts),
        whose_numbers=whose_numbers(facts),
        results=[result_row(facts, corpus) for corpus in facts.tested],
        chance=f"{1 / len(facts.entry['labels']):.3f}",
        seeds=count(len(facts.settings.seeds), "seed"),
        interval_note=interval_note(facts),
        figures=list(facts.figures),
        gives_vad=facts.config.get("vad_loss_weight", 0) > 0,
        vad=vad_rows(facts),
        by_speaker=by_speaker(facts),
        by_gender=by_gender(facts),
        hears=hears,
        code="\n```\n\nWith features in place of the recording:\n\n```python\n".join(
            filter(None, [_recording_code(facts), _code(facts)])
        ),
        code_note=_code_note(facts),
        corpora=[_corpus_row(facts, name) for name in trained_on],
        terms_note=_terms_note(facts),
        data_notes=[f"{name}: {note}." for name in trained_on for note in facts.corpora[name]["notes"]],
        limits=_limits(facts),
        training=_training(facts),
        trained=_trained(facts),
        recipe=json.dumps(public_recipe(facts.settings), indent=2, ensure_ascii=False),
        citation=_citation(),
        cite_also=_cite_also(facts),
    )


def public_recipe(settings: Settings) -> dict[str, Any]:
    """The settings as a recipe that `emomm run` takes, without what belongs to a machine: no path is in it."""
    fields = {key: value for key, value in dataclasses.asdict(settings).items() if key not in _OF_THIS_MACHINE}
    fields |= settings.training_arguments
    fields["text_model_name"] = public_name(settings.text_model_name)
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
    encoder = None if facts.settings.modality == "audio" else facts.settings.text_model_name
    on_the_hub = encoder is not None and not facts.entry["text_encoder"].get("local", True)
    return ModelCardData(
        language=_languages(facts) or None,
        license=facts.license or "other",
        license_name=None if facts.license else "terms-of-the-training-data",
        library_name="transformers",
        pipeline_tag="text-classification" if facts.settings.modality == "text" else "audio-classification",
        tags=["emomm", "emotion-recognition", *([] if facts.settings.modality == "text" else ["speech"])],
        base_model=encoder if on_the_hub else None,
        datasets=[spec.hub_id for spec in specs if spec.hub_id is not None] or None,
        metrics=["accuracy", "recall", "f1"],
        model_name=facts.hub_model_id.split("/")[-1],
        eval_results=[result for corpus in facts.tested for result in _eval_results(facts, corpus)],
    )


def _languages(facts: CardFacts) -> list[str]:
    """The language codes of the training corpora: of `voice de, words en`, only what the model reads."""
    unread = {"audio": r"words \w+", "text": r"voice \w+"}.get(facts.settings.modality, r"$^")
    stated = ", ".join(re.sub(unread, "", facts.corpora[name]["language"]) for name in facts.settings.training_corpora)
    return sorted(set(re.findall(r"\b[a-z]{2}\b", stated)))


def _eval_results(facts: CardFacts, corpus: str) -> list[EvalResult]:
    summary = facts.entry["summary"][corpus]
    how = protocol_of(facts, corpus)
    return [
        EvalResult(
            task_type="audio-classification" if facts.settings.modality != "text" else "text-classification",
            task_name="Emotion recognition",
            dataset_type=facts.specs[corpus].hub_id or corpus,
            dataset_name=corpus,
            dataset_config=how,
            dataset_args={"protocol": " ".join(protocol(facts))},
            metric_type=kind,
            metric_name=f"{name} ({how}, pooled)",
            metric_value=round(summary[metric]["pooled"], 4),
            metric_args={
                "average": {"uar": "macro", "f1_macro": "macro", "f1_weighted": "weighted"}.get(metric, "none"),
                "ci95": None if summary[metric]["ci95"] is None else [round(x, 4) for x in summary[metric]["ci95"]],
                "ci_units": summary[metric]["ci_units"],
                "mean_over_runs": round(summary[metric]["mean"], 4),
                "std_over_runs": None if summary[metric]["std"] is None else round(summary[metric]["std"], 4),
            },
        )
        for metric, (name, kind) in _METRICS.items()
    ]


def _warnings(facts: CardFacts) -> list[tuple[str, str]]:
    if facts.settings.modality == "text":
        return []
    said = [facts.corpora[corpus] for corpus in facts.tested]
    found = [contamination(each["name"], each["extractor"], each.get("speech_encoder")) for each in said]
    return [("Contaminated features.", warning) for warning in found if warning is not None]


# ---- use ------------------------------------------------------------------------------------------------------------


def _input(facts: CardFacts) -> str:
    parts = []
    if _hears_recordings(facts):
        parts.append(f"the recording of an utterance (or its voice features, frames × {facts.config['audio_dim']})")
    elif facts.settings.modality != "text":
        parts.append(
            f"voice features of an utterance (frames × {facts.config['audio_dim']}, not the recording itself)"
        )
    if facts.settings.modality != "audio":
        parts.append("its transcript" if parts else "the transcript of an utterance")
    return " and ".join(parts)


def _hears_recordings(facts: CardFacts) -> bool:
    """Whether the model says what made its voice features, so that it takes recordings."""
    return facts.settings.modality != "text" and facts.config.get("speech_encoder") is not None


def _recording_code(facts: CardFacts) -> str:
    """A recording through the pipeline; "" where the model takes none."""
    if not _hears_recordings(facts):
        return ""
    words = "" if facts.settings.modality == "audio" else ', text="I can\'t believe you did that."'
    name = "multimodal-emotion-recognition"
    return (
        "from transformers import pipeline\n\n"
        f'emotion = pipeline("{name}", model="{facts.hub_model_id}", trust_remote_code=True)\n'
        f'print(emotion("recording.wav"{words}))'
    )


def _code(facts: CardFacts) -> str:
    modality, width = facts.settings.modality, facts.config["audio_dim"]
    given = []
    lines = [] if modality == "text" else ["import numpy as np"]
    lines += ["import torch", "from transformers import AutoModel, AutoProcessor", ""]
    for name in ("model", "processor"):
        auto = f"Auto{name.capitalize()}"
        lines.append(f'{name} = {auto}.from_pretrained("{facts.hub_model_id}", trust_remote_code=True)')
    lines.append("")
    if modality != "text":
        lines.append(f"voice = np.random.randn(20, {width}).astype(np.float32)  # your features: frames × {width}")
        given.append("audio_features=voice")
    if modality != "audio":
        lines.append('words = "I can\'t believe you did that."')
        given.append("text=words")
    lines += [
        f"inputs = processor({', '.join(given)})",
        "with torch.no_grad():",
        "    probabilities = model(**inputs).logits.softmax(dim=-1)[0]",
        "for number, probability in enumerate(probabilities.tolist()):",
        '    print(f"{model.config.id2label[number]:10} {probability:.3f}")',
    ]
    return "\n".join(lines)


def _code_note(facts: CardFacts) -> str:
    notes = [
        "It needs torch and transformers alone. `trust_remote_code=True` runs the Python files of this repository."
    ]
    if _hears_recordings(facts):
        made_by = SpeechFeatures.from_dict(facts.config["speech_encoder"])
        notes.append(
            f"Recordings need soundfile and soxr too, and the speech encoder, {made_by.in_words()}: it is fetched "
            "when the first one is given, or taken from `speech_encoder=`, a folder or id, checked to be the same."
        )
    if facts.settings.modality != "text":
        extractors = in_words(sorted({facts.corpora[name]["extractor"] for name in facts.settings.training_corpora}))
        notes.append(
            f"Voice features must be made as those of the training data ({extractors}): others of the same width give "
            f"nonsense without an error. One vector of {facts.config['audio_dim']}, such as their mean, is taken too."
        )
    if facts.settings.fusion_type == "adaptive" and facts.settings.modality == "both":
        notes.append("Voice or words may be left out.")
    notes.append("Lists of utterances are padded and masked.")
    return "\n".join(notes)


# ---- training data, limits ------------------------------------------------------------------------------------------


def _corpus_row(facts: CardFacts, name: str) -> dict[str, Any]:
    said = facts.corpora[name]
    terms = f"[{said['licence']}]({said['licence_url']})" if said["licence_url"] else said["licence"]
    if terms == "not stated":
        terms = "not stated: ask its owner before use"
    classes = ", ".join(f"{label} {count}" for label, count in said["classes"].items())
    hub_id = facts.specs[name].hub_id
    linked = name if hub_id is None else f"[{name}](https://huggingface.co/datasets/{hub_id})"
    return {**said, "name": linked, "classes": classes, "terms": terms}


def _terms_note(facts: CardFacts) -> str:
    said = (
        "Nothing of the corpora is in this repository: no recordings, features or transcripts. What may be done with "
        "the model depends on their terms"
    )
    if facts.settings.modality == "audio":
        return f"{said}; EmoMM's code in it is under Apache-2.0."
    return f"{said} and on those of the text encoder, {_encoder(facts)}; EmoMM's code in it is under Apache-2.0."


def _encoder(facts: CardFacts) -> str:
    name = public_name(facts.settings.text_model_name)
    return (
        f"`{name.removeprefix('package:').split('/')[0]}` (a Python package)"
        if name.startswith("package:")
        else f"`{name}`"
    )


def _limits(facts: CardFacts) -> list[str]:
    settings, labels = facts.settings, facts.entry["labels"]
    names = dict.fromkeys([*settings.training_corpora, *facts.tested])
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
        if settings.modality == "text"
        else f"It has heard {people} people. Other ages, accents, voices and situations are not covered."
    )
    limits.append("Its probabilities are not calibrated; see the calibration error above.")
    return limits


# ---- training -------------------------------------------------------------------------------------------------------


def _training(facts: CardFacts) -> str:
    settings = facts.settings
    if facts.is_final:
        runs = count(len(facts.entry["runs"]), "run")
        epochs = f"{facts.model['stop_after_epoch']} of {settings.num_epochs} epochs"
        return (
            f"Trained on all sessions of {in_words(settings.training_corpora)} for {facts.model['steps']} steps: the "
            f"median of those that validation chose in the {runs} above ({epochs} of {facts.model['epoch_steps']} "
            f"steps). Learning rate and curriculum follow the schedule of all epochs and stop there.{_reached(facts)} "
            "No rows were held out for validation, and nothing was selected."
        )
    held_out = facts.model["parts"]["validation"]["rows"]
    return (
        f"Trained on {facts.model['parts']['train']['rows']} rows; epoch {facts.model['best_epoch']} of "
        f"{settings.num_epochs} was the best on {held_out} validation rows."
    )


def _reached(facts: CardFacts) -> str:
    """What part of the rows the final model's training has seen, where that is not all of them in each epoch."""
    rows, settings = facts.model["parts"]["train"]["rows"], facts.settings
    said = ""
    if facts.pool_size is not None and facts.pool_size < rows:
        said = f" By then the curriculum had let in {facts.pool_size} of the {rows} rows."
    accumulated = int(settings.training_arguments.get("gradient_accumulation_steps", 1))
    of_epoch = facts.model["epoch_steps"] * settings.batch_size * accumulated * facts.environment["processes"]
    if of_epoch < (facts.pool_size or rows):
        said += f" An epoch passes over {of_epoch} of the {facts.pool_size or rows} rows, drawn anew each time."
    return said


def _optimiser(settings: Settings) -> str:
    """The optimiser with what it was used with: the recipe's own values, and the Trainer's for the rest."""
    used = {field.name: field.default for field in dataclasses.fields(TrainingArguments)} | settings.training_arguments
    name = getattr(used["optim"], "value", used["optim"])
    parts = [f"{name}, betas {used['adam_beta1']:g} and {used['adam_beta2']:g}, epsilon {used['adam_epsilon']:g}"]
    parts.append(f"gradients clipped to norm {used['max_grad_norm']:g}" if used["max_grad_norm"] else "no clipping")
    parts.append(f"warm-up {used['warmup_steps']:g}" if used["warmup_steps"] else "no warm-up")
    parts.append("bfloat16" if used["bf16"] else "float16" if used["fp16"] else "float32")
    return "; ".join(parts)


def _trained(facts: CardFacts) -> list[tuple[str, str]]:
    model, settings, env = facts.model, facts.settings, facts.environment
    classes = ", ".join(f"{name} {count}" for name, count in model["parts"]["train"]["classes"].items())
    curriculum = "none"
    if settings.use_curriculum_learning and settings.curriculum_type != "none" and settings.curriculum_epochs:
        length = count(settings.curriculum_epochs, "epoch")
        curriculum = f"{settings.curriculum_type}, {settings.curriculum_pacing}, {length}"
    table = [
        ("rows", f"{model['parts']['train']['rows']} ({classes})"),
        ("speakers", str(model["parts"]["train"]["speaker_count"])),
        ("epochs", f"{facts.model['stop_after_epoch'] or facts.model['best_epoch']} of {settings.num_epochs}"),
        ("steps", f"{model['steps']} of {settings.batch_size} rows" + _parallel(settings, env)),
        ("seed", str(model["seed"])),
        (
            "learning rate",
            f"{settings.learning_rate:g}, {settings.lr_scheduler}; weight decay {settings.weight_decay:g}",
        ),
        ("optimiser", _optimiser(settings)),
        ("curriculum", curriculum),
        ("speaker batches", "yes" if settings.use_speaker_disentanglement else "no"),
        ("rows weighted by difficulty", "yes" if settings.use_difficulty_scaling else "no"),
    ]
    if settings.modality == "both":
        table.append(("fusion", settings.fusion_type))
    if settings.modality != "audio":
        frozen = "frozen" if settings.freeze_text_encoder else "fine-tuned"
        table.append(
            ("text encoder", f"{_encoder(facts)}, {frozen}, SHA-256 {facts.entry['text_encoder']['sha256'][:16]}…")
        )
    table.append(("time", f"{model['train_seconds']:.0f} s on {', '.join(env['accelerators']) or 'CPU'}"))
    return [*table, ("software", _software(env)), *_other_software(facts)]


def _parallel(settings: Settings, env: dict[str, Any]) -> str:
    accumulated = int(settings.training_arguments.get("gradient_accumulation_steps", 1))
    parts = [f"{accumulated} batches accumulated"] if accumulated > 1 else []
    parts += [f"on each of {env['processes']} devices"] if env["processes"] > 1 else []
    return "".join(f", {part}" for part in parts)


def _software(env: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in env["packages"].items())
    commit = ""
    if env["commit"] is not None:
        commit = f" (commit {env['commit'].rstrip('+')[:12]}{', with changes' if env['commit'].endswith('+') else ''})"
    return f"EmoMM {__version__}{commit}, Python {env['python']}, {versions}"


def _other_software(facts: CardFacts) -> list[tuple[str, str]]:
    """Where the numbers were made with other software than the model."""
    of_model, of_numbers = _software(facts.environment), _software(facts.job_environment)
    return [] if of_model == of_numbers else [("software of the folds", of_numbers)]


def _cite_also(facts: CardFacts) -> str:
    names = dict.fromkeys([*facts.settings.training_corpora, *facts.tested])
    cited = list(dict.fromkeys(facts.corpora[name]["citation"] or f"the corpus {name}" for name in names))
    cited += [] if facts.settings.modality == "audio" else [f"the text encoder, {_encoder(facts)}"]
    if facts.settings.modality != "text":
        made = dict.fromkeys(facts.corpora[name]["extractor"] for name in facts.settings.training_corpora)
        cited.append(f"what made the voice features ({in_words(list(made))})")
    return "; ".join(cited)


def _citation() -> str:
    return (
        "@software{emomm,\n"
        "  title = {{EmoMM}: multimodal emotion recognition from voice and words on the {Hugging Face} {Trainer}},\n"
        "  author = {{The EmoMM developers}},\n"
        f"  version = {{{__version__}}},\n"
        "  license = {Apache-2.0}\n"
        "}"
    )


__all__ = ["CardFacts", "contamination", "model_card", "public_recipe"]
