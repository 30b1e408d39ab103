"""What a card says of the encoders of a model: where they come from, how they were tuned, how to put them together."""

from typing import Any

from ..corpora.contamination import seen_with_labels
from ..markup import Markdown
from ..markup import code
from ..markup import markdown
from ..modalities import AUDIO
from ..modalities import TEXT
from ..modalities import names_in
from ..reporting.encoder_words import ENCODERS
from ..reporting.encoder_words import encoder_lines
from ..reporting.encoder_words import encoders_of
from ..reporting.encoder_words import layers_in_words
from ..reporting.encoder_words import trained_in_words
from ..reporting.encoder_words import tuning_in_words
from ..reporting.score_words import in_words
from ..settings.settings import Settings
from ..settings.tuning import augments_waveforms
from .card_results import CardFacts

_EMOTION2VEC = "emotion2vec"
_PROBABILITIES = (
    "with torch.no_grad():",
    "    probabilities = model(**inputs).logits.softmax(dim=-1)[0]",
    "for number, probability in enumerate(probabilities.tolist()):",
    '    print(f"{model.config.id2label[number]:10} {probability:.3f}")',
)


def speech_encoder(facts: CardFacts) -> dict[str, Any] | None:
    """What results.json says of the encoder that reads recordings; None of a model that takes features or no voice."""
    hears = AUDIO.name in names_in(facts.settings.modality)
    return facts.entry.get("speech_encoder") if hears else None


def shown_name(name: str) -> Markdown:
    """An encoder, by its public name, as code."""
    if name.startswith("package:"):
        return Markdown(f"{code(name.removeprefix('package:').split('/')[0])} (a Python package)")
    return code(name)


# ---- the head -------------------------------------------------------------------------------------------------------


def base_models(facts: CardFacts) -> dict[str, Any]:
    """`base_model`, those of the encoders that are on the Hub, and `base_model_relation` where any of them was tuned:
    as the header of a card has them."""
    encoders = [speech_encoder(facts)]
    encoders += [facts.entry.get("text_encoder")] if TEXT.name in names_in(facts.settings.modality) else []
    on_the_hub = [each for each in encoders if each is not None and not each.get("local", True)]
    on_the_hub = [each for each in on_the_hub if not each["name"].startswith("random:")]
    if not on_the_hub:
        return {}
    found: dict[str, Any] = {"base_model": [each["name"] for each in on_the_hub]}
    if any(each.get("tuning", "frozen") != "frozen" for each in on_the_hub):
        found["base_model_relation"] = "adapter" if facts.adapter_only else "finetune"
    return found


# ---- use ------------------------------------------------------------------------------------------------------------


def whole_code(facts: CardFacts) -> str:
    """A recording through the model, with torch and transformers alone."""
    lines = ["import torch", "from transformers import AutoModel, AutoProcessor", ""]
    for name in ("model", "processor"):
        auto = f"Auto{name.capitalize()}"
        lines.append(f'{name} = {auto}.from_pretrained("{facts.hub_model_id}", trust_remote_code=True)')
    return "\n".join([*lines, "", *_asked(facts)])


def adapter_code(facts: CardFacts) -> str:
    """The base models and the adapters put together, and a recording through the whole."""
    lines = [
        "import torch",
        "from huggingface_hub import snapshot_download",
        "from peft import PeftModel",
        "from transformers import AutoModel, AutoProcessor",
        "",
        f'folder = snapshot_download("{facts.hub_model_id}")',
        "model = AutoModel.from_pretrained(folder, trust_remote_code=True)  # all but the encoders",
    ]
    for which, held in (("speech", "holds_speech_encoder"), ("text", "holds_text_encoder")):
        said = encoders_of(facts.entry).get(which)
        if said is None or facts.config.get(held):
            continue
        native = (facts.config.get(f"{which}_config") or {}).get("model_type") == _EMOTION2VEC
        trusted = ", trust_remote_code=True" if native else ""
        lines.append(f'{which} = AutoModel.from_pretrained("{said["name"]}"{trusted})')
        if said["tuning"] == "lora":
            lines.append(
                f'{which} = PeftModel.from_pretrained({which}, f"{{folder}}/{which}_adapter").merge_and_unload()'
            )
        lines.append(f"model.attach_{which}_encoder({which})")
    lines += ["model.eval()", "processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)"]
    return "\n".join([*lines, "", *_asked(facts)])


def _asked(facts: CardFacts) -> list[str]:
    given = ['audio="recording.wav"'] if speech_encoder(facts) else []
    given += ['text="I can\'t believe you did that."'] if TEXT.name in names_in(facts.settings.modality) else []
    return [f"inputs = processor({', '.join(given)})", *_PROBABILITIES]


def use_notes(facts: CardFacts) -> list[str]:
    """What is to be known to use a model that takes recordings."""
    seconds = facts.config.get("window_seconds")
    notes = []
    if facts.adapter_only:
        notes.append(
            "The encoders are not in this repository: their adapters are, as peft writes them, and are merged into "
            "the base models here. An adapter that is not merged may be passed over without a word: WavLM's own code "
            "does that."
        )
    elif speech_encoder(facts):
        notes.append("The speech encoder is part of the model, as it was tuned: no other is fetched, or can stand in.")
    if speech_encoder(facts):
        notes.append("Recordings are read by soundfile and soxr, and brought to 16 kHz, mono.")
    if speech_encoder(facts) and seconds:
        how = "encoded" if facts.config.get("windows_joined") else "heard"
        what = "states are joined" if facts.config.get("windows_joined") else "logits are averaged"
        notes.append(
            f"By the pipeline, recordings longer than {seconds:g} s are {how} in windows, whose {what}, as for the "
            "numbers above."
        )
    return notes


# ---- training -------------------------------------------------------------------------------------------------------


def encoder_rows(facts: CardFacts) -> list[tuple[str, Any]]:
    """The rows of the training table about encoders: of the voice, where recordings are read, and of the words."""
    rows: list[tuple[str, Any]] = []
    said = speech_encoder(facts)
    if said is not None:
        told = f"{tuning_in_words(said)}; {layers_in_words(said)}; SHA-256 {said['sha256'][:16]}…"
        rows.append(("speech encoder", Markdown(f"{shown_name(said['name'])}, {markdown(told)}")))
        rows.append(("recordings", _recordings(facts.settings, facts.config)))
        rows.append(("augmentation of recordings", _augmentation(facts.settings)))
    if TEXT.name in names_in(facts.settings.modality):
        rows.append(("text encoder", _text_row(facts)))
    if encoder_lines(facts.entry) and facts.model.get("parameters"):
        rows.append(("parameters trained", trained_in_words(facts.model)))
    for which, shares in facts.model.get("layer_weights", {}).items():
        top = max(range(len(shares)), key=shares.__getitem__)
        listed = ", ".join(f"{share:.2f}" for share in shares)
        rows.append((f"weights of layers, {ENCODERS[which]}", f"{listed} (from layer 0 on; most: layer {top})"))
    return rows


def _text_row(facts: CardFacts) -> Markdown:
    said = facts.entry["text_encoder"]
    how = "frozen" if facts.settings.freeze_text_encoder else "fine-tuned"
    if "tuning" in said and (said["tuning"] != "frozen" or said["layers"] != "last"):
        how = f"{tuning_in_words(said)}; {layers_in_words(said)}"
    name = shown_name(said["name"])
    return Markdown(f"{name}, {markdown(how)}, SHA-256 {said['sha256'][:16]}…")


def _recordings(settings: Settings, config: dict[str, Any]) -> str:
    """How recordings were read."""
    longest, evaluated = settings.max_seconds, settings.max_eval_seconds
    stored = config.get("windows_joined") and settings.speech_tuning == "frozen"
    parts = ["16 kHz, mono"]
    if longest is not None and not stored:
        parts.append(f"of those longer than {longest:g} s, each epoch trains on another random window")
    if evaluated is not None:
        how = "in windows, whose states are joined" if stored else "evaluated in windows, whose logits are averaged"
        parts.append(f"those longer than {evaluated:g} s are {'read ' * bool(stored)}{how}")
    return "; ".join(parts)


def _augmentation(settings: Settings) -> str:
    """What was done to recordings in training."""
    parts = []
    if augments_waveforms(settings):
        spans = {
            "augment_noise_snr": f"{settings.augment_noise} noise at {{}} dB",
            "augment_gain_db": "gain of {} dB",
            "augment_speed": "speed times {}",
            "augment_band": "band limits of {} Hz",
        }
        for name, words in spans.items():
            given = getattr(settings, name)
            parts += [] if given is None else [words.format(f"{given[0]:g} to {given[1]:g}")]
        parts += [] if settings.augment_room is None else [f"rooms ({settings.augment_room})"]
        parts = [f"{in_words(parts)}, of {settings.augment_share:g} of the rows"]
    tuned = settings.speech_tuning != "frozen"
    parts += [f"SpecAugment of {settings.spec_augment:g} of the frames"] if tuned and settings.spec_augment else []
    parts += [f"layer drop {settings.layer_drop:g}"] if tuned and settings.layer_drop else []
    parts += [f"{settings.augment_time_mask:g} of the frames masked"] if settings.augment_time_mask else []
    parts += [f"mixup ({settings.augment_mixup:g})"] if settings.augment_mixup else []
    return "; ".join(parts) or "none"


def base_notes(facts: CardFacts) -> list[Markdown]:
    """What the base of the speech encoder had seen before."""
    said = speech_encoder(facts)
    if said is None:
        return []
    seen = seen_with_labels(said["name"], said["features"])
    where = f"The speech encoder, {shown_name(said['name'])}, was trained before"
    if seen:
        return [Markdown(f"{where} with the emotion labels of {markdown(seen)}.")]
    return [Markdown(f"{where} on what its own card says; that it has seen emotion labels is not known here.")]


__all__ = [
    "adapter_code", "base_models", "base_notes", "encoder_rows", "shown_name", "speech_encoder", "use_notes",
    "whole_code",
]  # fmt: skip
