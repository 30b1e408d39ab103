"""How encoders are tuned: what of them is trained, adapters (LoRA), and what becomes of those.

Adapters are injected into the encoder itself, so that nothing wraps it: it is run, checkpointed and saved as before.
Training them needs `peft`; a model whose adapters are merged needs nothing.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedModel

from .configuration_emomm import TUNINGS
from .encoder_layers import EncoderLayers
from .held_encoders import ADAPTER
from .held_encoders import adapted_modules
from .held_encoders import merged_state

TARGETS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("wav2vec2", "hubert", "wavlm", "data2vec-audio", "unispeech", "unispeech-sat", "whisper"),
        ("q_proj", "v_proj"),
    ),
    **dict.fromkeys(("wav2vec2-bert", "wav2vec2-conformer"), ("linear_q", "linear_v")),
    "emotion2vec": ("qkv",),
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "camembert", "electra"), ("query", "value")),
    "distilbert": ("q_lin", "v_lin"),
    "mpnet": ("q", "v"),
}
"""By architecture, what LoRA is put on unless the user says: the projections to queries and values (Hu et al. 2022,
arXiv 2106.09685, section 7.1); of emotion2vec, which has one for all three, that one."""
_ADAPTABLE = (nn.Linear, nn.Conv1d, nn.Embedding)


@dataclass(frozen=True)
class Lora:
    """Low-rank adapters.

    Args:
        rank: of what is added to each matrix.
        alpha: it is scaled by `alpha / rank`.
        dropout: on its input, in training, in [0, 1).
        targets: names of modules, or the ends of them (`q_proj`, `feed_forward.output_dense`); None takes `TARGETS`.
    """

    rank: int = 8
    alpha: float = 16
    dropout: float = 0.0
    targets: tuple[str, ...] | None = None


def lora_targets(model_type: str) -> tuple[str, ...]:
    """What LoRA is put on by default. Raises ValueError for an architecture without any."""
    if model_type not in TARGETS:
        raise ValueError(
            f"no targets of LoRA are known for {model_type} encoders: give lora_targets, the names of its linear "
            f"layers; they are known for {', '.join(TARGETS)}"
        )
    return TARGETS[model_type]


def apply_tuning(
    encoder: PreTrainedModel,
    tuning: str,
    tuned_layers: int | None = None,
    lora: Lora | None = None,
    convolutions: bool = False,
) -> None:
    """Decides what of an encoder is trained; the rest keeps its weights, and `EmoMMForEmotionClassification.train`
    leaves it in evaluation mode.

    Args:
        encoder: as loaded; changed in place. Of an encoder-decoder, its encoder.
        tuning: `frozen`; `full`: everything, but for convolutions on waveforms or mel features; `last_k`: the last
            layers, and what comes after them; `lora`: adapters alone.
        tuned_layers: how many are the last ones; None is 4 for `last_k`, and the whole encoder for `lora`.
        lora: of `lora`; None is the defaults.
        convolutions: whether `full` tunes the convolutions too.

    Raises:
        ValueError: a tuning that is not known, more layers than there are, layers of an encoder whose layers are not
            known, convolutions with another tuning, targets that match nothing.
    """
    if tuning not in TUNINGS:
        raise ValueError(f"tuning={tuning!r} is not known; it can be {', '.join(TUNINGS)}")
    if convolutions and tuning != "full":
        raise ValueError(f"convolutions are tuned with tuning 'full', and this is {tuning!r}")
    layers = EncoderLayers.of(encoder)
    encoder.requires_grad_(False)
    if tuning == "full":
        encoder.requires_grad_(True)
        for module in () if layers is None or convolutions else layers.convolutions:
            module.requires_grad_(False)
        _freeze_constants(encoder)
    elif tuning == "last_k":
        for module in (*_last(encoder, layers, 4 if tuned_layers is None else tuned_layers), *layers.final):
            module.requires_grad_(True)
    elif tuning == "lora":
        _inject(encoder, layers, tuned_layers, lora or Lora())


def _freeze_constants(encoder: PreTrainedModel) -> None:
    """What stays as it is whatever is tuned: what SpecAugment puts in the place of frames, which has no gradient where
    it is off, and Whisper's positions, which are sinusoids."""
    for name, parameter in encoder.named_parameters():
        if name == "masked_spec_embed" or (encoder.config.model_type == "whisper" and name.startswith("embed_pos")):
            parameter.requires_grad_(False)


def _last(encoder: PreTrainedModel, layers: EncoderLayers | None, count: int) -> list[nn.Module]:
    if layers is None:
        raise ValueError(
            f"the layers of a {encoder.config.model_type} encoder can't be told apart here: tune it 'full', or by "
            "'lora' without a number of layers, or leave it frozen"
        )
    if not 1 <= count <= layers.depth:
        raise ValueError(
            f"{count} layers are to be tuned, and the encoder has {layers.depth}: give 1 to {layers.depth}"
        )
    return list(layers.layers)[-count:]


def _inject(encoder: PreTrainedModel, layers: EncoderLayers | None, count: int | None, lora: Lora) -> None:
    from peft import LoraConfig
    from peft import inject_adapter_in_model

    targets = lora.targets if lora.targets is not None else lora_targets(encoder.config.model_type)
    within = [encoder] if count is None else _last(encoder, layers, count)
    inside = {id(module) for whole in within for module in whole.modules()}
    named = {name: module for name, module in encoder.named_modules() if id(module) in inside}
    for target in targets:
        if not any(_matches(name, target) for name in named):
            there = sorted({name.rpartition(".")[2] for name, each in named.items() if isinstance(each, nn.Linear)})
            raise ValueError(f"lora_targets: {target!r} matches nothing that is tuned; there are {', '.join(there)}")
    chosen = [name for name in named if any(_matches(name, target) for target in targets)]
    wrong = [name for name in chosen if not isinstance(named[name], _ADAPTABLE)]
    if wrong:
        raise ValueError(
            f"lora_targets: {wrong[0]} is a {type(named[wrong[0]]).__name__}; LoRA goes on linear layers, embeddings "
            "and convolutions"
        )
    config = LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=_exactly(chosen), bias="none"
    )
    inject_adapter_in_model(config, encoder, ADAPTER)


def _exactly(names: Sequence[str]) -> str:
    """A pattern that matches these names alone: of a list, peft takes the ends too."""
    return "|".join(name.replace(".", r"\.") for name in names)


def _matches(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")


# ---- what becomes of adapters ---------------------------------------------------------------------------------------


def merge_lora(encoder: PreTrainedModel) -> None:
    """Adds to the encoder's weights what its adapters add to them, and takes the adapters away."""
    state = merged_state(encoder)
    for name, module in list(adapted_modules(encoder)):
        parent, _, last = name.rpartition(".")
        setattr(encoder.get_submodule(parent), last, module.base_layer)
    encoder.load_state_dict(state)
    if hasattr(encoder, "peft_config"):
        del encoder.peft_config


def save_adapter(encoder: PreTrainedModel, folder: Path, base_model: str) -> None:
    """Writes an encoder's adapter as peft does, to be loaded on what `AutoModel` gives of the base model.

    Args:
        folder: created.
        base_model: its id on the Hub.

    Raises ValueError for an encoder without adapters.
    """
    if not any(adapted_modules(encoder)):
        raise ValueError("the encoder has no adapter: it was not tuned by 'lora'")
    inner = "encoder." if encoder.config.is_encoder_decoder else ""  # AutoModel gives both
    weights = {
        f"base_model.model.{inner}{name.replace(f'.{ADAPTER}', '')}": value.detach().cpu().contiguous()
        for name, value in encoder.state_dict().items()
        if ".lora_" in name
    }
    folder.mkdir(parents=True, exist_ok=True)
    config = encoder.peft_config[ADAPTER].to_dict()
    names = [f"{inner}{name}" for name, _ in adapted_modules(encoder)]
    config |= {"base_model_name_or_path": base_model, "target_modules": _exactly(names), "inference_mode": True}
    config = {key: sorted(value) if isinstance(value, set) else value for key, value in config.items()}
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True), encoding="utf-8")
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})


__all__ = [
    "ADAPTER",
    "TARGETS",
    "Lora",
    "adapted_modules",
    "apply_tuning",
    "lora_targets",
    "merge_lora",
    "merged_state",
    "save_adapter",
]
