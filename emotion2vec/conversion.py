"""Published emotion2vec checkpoints (fairseq's and FunASR's) to a folder that transformers loads."""

import hashlib
import logging
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor
from transformers import Wav2Vec2FeatureExtractor

from ..configuration_emotion2vec import EMOTIONS
from ..configuration_emotion2vec import Emotion2VecConfig
from ..errors import InputError
from ..files import whole_folder
from ..modeling_emotion2vec import Emotion2VecForEmotionClassification
from ..modeling_emotion2vec import Emotion2VecModel
from .checkpoints import ANCHOR
from .checkpoints import AUDIO
from .checkpoints import Checkpoint
from .checkpoints import listed
from .checkpoints import read_checkpoint

logger = logging.getLogger(__name__)

CODE = ("configuration_emotion2vec.py", "modeling_emotion2vec.py")
_AUTO_MAP = {
    "AutoConfig": "configuration_emotion2vec.Emotion2VecConfig",
    "AutoModel": "modeling_emotion2vec.Emotion2VecModel",
    "AutoModelForAudioClassification": "modeling_emotion2vec.Emotion2VecForEmotionClassification",
}
_BLOCK = r"(norm1|norm2|attn\.qkv|attn\.proj|mlp\.fc1|mlp\.fc2)\.(weight|bias)"
_IN_BLOCK = {"attn.qkv": "attention.qkv", "attn.proj": "attention.proj", "mlp.fc1": "fc1", "mlp.fc2": "fc2"}
_CONVOLUTIONS = re.compile(r"\[\s*((?:\(\s*\d+\s*,\s*\d+\s*,\s*\d+\s*\)\s*,?\s*)+)\](?:\s*\*\s*(\d+))?")
# What the port can't do, and what a checkpoint must say where it says anything.
_MUST_BE = {
    "layer_norm_first": False,
    "extractor_mode": "layer_norm",
    "use_alibi_encoder": True,
    "learned_alibi": False,
    "conv_pos_pre_ln": False,
    "norm_affine": True,
}


def convert(checkpoint: str | Path, output: str | Path, settings: str | Path | None = None) -> Path:
    """Writes a folder from which the auto classes load the model, with this package or (as remote code) without it.

    Nothing in the checkpoint is run: only tensors are read, and settings as plain values. The folder is written beside
    its place and then renamed.

    Args:
        checkpoint: fairseq's `.pt` (`{"model": ..., "cfg": ...}`) or FunASR's `model.pt` (the same, or the weights
            alone), or a folder with one of them, as the Hub has it.
        output: where to; must not be there yet, or be empty.
        settings: of the model, a `.yaml` or `.json` file as FunASR's `config.yaml`, which is found by itself beside
            the checkpoint. Needed where neither the shapes of the weights nor the checkpoint tell everything.

    Returns the folder. Raises InputError for a file that is no such checkpoint, weights that are unknown, missing or
    of another shape, by name, and settings that contradict the weights.
    """
    output = Path(output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"{output} is there already; give --output a new folder")
    checkpoint = Path(checkpoint)
    inside = list(checkpoint.glob("*.pt")) if checkpoint.is_dir() else []
    read = read_checkpoint(inside[0] if len(inside) == 1 else checkpoint, None if settings is None else Path(settings))
    weights, labels = _without_unused_classes(read)
    config = _config_of(weights, read.settings, labels)
    # A head was trained with labels; what pre-training alone uses is left over where nothing else came after it.
    config.trained_with_labels = True if "proj.weight" in weights else False if read.dropped else None
    state = _translated(weights, config)
    _write(config, state, output)
    if read.dropped:
        logger.info("left out, since pre-training alone uses them: %s", listed(read.dropped, most=20))
    head = f"a head for {config.num_labels} classes" if "proj.weight" in weights else "no head"
    logger.info(
        "%s: %.2f M parameters, %d blocks, %d wide, %d heads, %s",
        output, sum(value.numel() for value in state.values()) / 1e6, config.num_hidden_layers, config.hidden_size,
        config.num_attention_heads, head,
    )  # fmt: skip
    return output


# ---- what the model is ----------------------------------------------------------------------------------------------


def _without_unused_classes(read: Checkpoint) -> tuple[dict[str, Tensor], list[str] | None]:
    """The weights, and the labels of the head, without the classes that FunASR takes for impossible (`unuse...`)."""
    weights, labels = dict(read.weights), read.labels
    if "proj.weight" not in weights:
        return weights, None
    rows = weights["proj.weight"].shape[0]
    if labels is None and rows == len(EMOTIONS):
        return weights, list(EMOTIONS)
    if labels is None or len(labels) != rows:
        told = "there is no tokens.txt" if labels is None else f"tokens.txt has {len(labels)}"
        raise InputError(
            f"proj.weight is for {rows} classes; {told} beside the checkpoint: put the one there that tells its "
            f"{rows} classes, one a line"
        )
    used = [number for number, label in enumerate(labels) if not label.startswith("unuse")]
    kept = [labels[number] for number in used]
    if repeated := sorted({label for label in kept if kept.count(label) > 1}):
        raise InputError(f"tokens.txt has {listed(repeated)} more than once; each class must have a name of its own")
    if len(used) < rows:
        logger.info("left out of the head: %s", listed([label for label in labels if label.startswith("unuse")]))
        for name in ("proj.weight", "proj.bias"):
            if name in weights and weights[name].shape[0] == rows:
                weights[name] = weights[name][used]
    return weights, kept


def _config_of(weights: dict[str, Tensor], settings: dict[str, Any], labels: list[str] | None) -> Emotion2VecConfig:
    """The configuration that the shapes of the weights tell, and what only the settings can."""
    for name, value in _MUST_BE.items():
        if name in settings and settings[name] != value:
            raise InputError(f"the checkpoint has {name}: {settings[name]}; only {value} can be converted")
    convolutions = _numbers(weights, rf"{AUDIO}local_encoder\.conv_layers\.(\d+)\.0\.weight")
    shapes = [
        _shape(weights, f"{AUDIO}local_encoder.conv_layers.{number}.0.weight", 3) for number in range(convolutions)
    ]
    kernels = [shape[2] for shape in shapes]
    width = _shape(weights, f"{AUDIO}project_features.2.weight", 2)[0]
    prenet = _numbers(weights, rf"{AUDIO}context_encoder\.blocks\.(\d+)\..+")
    depth = _numbers(weights, r"blocks\.(\d+)\..+")
    positional = _numbers(weights, rf"{AUDIO}relative_positional_encoder\.(\d+)\.0\.weight", start=1)
    first = f"{AUDIO}context_encoder.blocks.0" if prenet else "blocks.0"
    position = (1, width, 1)
    if positional:
        position = _shape(weights, f"{AUDIO}relative_positional_encoder.1.0.weight", 3)
    scales, heads = _scales(weights)
    extra = _shape(weights, ANCHOR, 3)[1]
    told = {"prenet_depth": prenet, "depth": depth, "embed_dim": width, "num_extra_tokens": extra}
    for name, value in told.items():
        if settings.get(name, value) != value:
            raise InputError(f"the settings have {name}: {settings[name]}, the checkpoint's weights {value}")
    classes = {} if labels is None else {"id2label": dict(enumerate(labels))}
    if classes:
        classes["label2id"] = {label: number for number, label in enumerate(labels)}
    try:
        return Emotion2VecConfig(
            conv_dim=[shape[0] for shape in shapes],
            conv_kernel=kernels,
            conv_stride=_strides(kernels, settings),
            hidden_size=width,
            prenet_depth=prenet,
            depth=depth,
            num_attention_heads=_heads(heads, settings),
            intermediate_size=_shape(weights, f"{first}.mlp.fc1.weight", 2)[0],
            num_extra_tokens=extra,
            conv_pos_kernel=position[2],
            conv_pos_depth=positional,
            conv_pos_groups=max(width // max(position[1], 1), 1),
            alibi_scale_per_head=heads > 1,
            alibi_scale_per_layer=scales > 1,
            layer_norm_eps=float(settings.get("norm_eps", 1e-5)),
            normalize=bool(settings.get("normalize", True)),
            **classes,
        )
    except ValueError as error:
        raise InputError(f"the checkpoint's weights make no model: {' '.join(str(error).split())}") from error


def _shape(weights: dict[str, Tensor], name: str, axes: int) -> tuple[int, ...]:
    if name not in weights:
        raise InputError(f"the checkpoint lacks {name}")
    if weights[name].ndim != axes:
        raise InputError(f"{name} has shape {tuple(weights[name].shape)}; it must have {axes} axes")
    return tuple(weights[name].shape)


def _numbers(weights: dict[str, Tensor], pattern: str, start: int = 0) -> int:
    """How many parts are numbered in such names, from `start` on and without a gap."""
    found = sorted({int(match[1]) for match in (re.fullmatch(pattern, name) for name in weights) if match})
    for number, there in enumerate(found, start):
        if number != there:
            raise InputError(f"the checkpoint lacks number {number} of {pattern.replace(chr(92), '')}")
    return len(found)


def _scales(weights: dict[str, Tensor]) -> tuple[int, int]:
    """For how many blocks, and for how many heads, there are learned scales of the bias."""
    name = f"{AUDIO}alibi_scale"
    shape = tuple(weights[name].shape) if name in weights else None
    if shape is None:
        raise InputError(f"the checkpoint lacks {name}")
    five = shape if len(shape) == 5 else (1, *shape)  # older ones lack the axis of blocks
    if len(five) != 5 or (five[1], *five[3:]) != (1, 1, 1):
        raise InputError(f"{name} has shape {shape}; it must be (blocks or 1, 1, heads or 1, 1, 1)")
    return five[0], five[2]


def _heads(told_by_scales: int, settings: dict[str, Any]) -> int:
    heads = told_by_scales if told_by_scales > 1 else None
    for name in ("num_heads", "num_alibi_heads"):
        value = settings.get(name)
        if value is not None and heads is not None and value != heads:
            raise InputError(f"the checkpoint's settings have {name}: {value}, its other parts {heads} heads")
        heads = heads if value is None else int(value)
    if heads is None:
        raise InputError("nothing tells the number of heads; give --config a file with num_heads")
    return heads


def _strides(kernels: list[int], settings: dict[str, Any]) -> list[int]:
    """The strides, which no shape tells: of the settings, or for the published widths the published ones."""
    spec = settings.get("feature_encoder_spec")
    if spec is not None:
        if _CONVOLUTIONS.sub("", str(spec)).strip(" +"):
            raise InputError(f"feature_encoder_spec {spec!r} must be like '[(512, 10, 5)] + [(512, 3, 2)] * 4'")
        found = []
        for match in _CONVOLUTIONS.finditer(str(spec)):
            numbers = [int(number) for number in re.findall(r"\d+", match[1])]
            found += list(zip(numbers[1::3], numbers[2::3], strict=True)) * int(match[2] or 1)
        if [kernel for kernel, _ in found] != kernels:
            raise InputError(
                f"feature_encoder_spec {spec!r} has other widths than the checkpoint's convolutions, {kernels}"
            )
        return [stride for _, stride in found]
    published = Emotion2VecConfig()
    if kernels != list(published.conv_kernel):
        raise InputError(
            f"nothing tells the strides of convolutions with widths {kernels}; give --config a file with "
            "feature_encoder_spec"
        )
    return list(published.conv_stride)


# ---- translating and writing ----------------------------------------------------------------------------------------


def _translated(weights: dict[str, Tensor], config: Emotion2VecConfig) -> dict[str, Tensor]:
    """The weights in float32 under the model's own names; refuses what it doesn't know, lacks or has otherwise."""
    names = {name: _translate(name, config.prenet_depth) for name in weights}
    if unknown := [name for name, ours in names.items() if ours is None]:
        raise InputError(f"the checkpoint has weights that emotion2vec doesn't have: {listed(unknown)}")
    with torch.device("meta"):
        model = _model_class("proj.weight" in weights)(config)
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    inner = "emotion2vec." if "proj.weight" in weights else ""
    state, wrong = {}, []
    for name, value in weights.items():
        ours = names[name] if names[name].startswith("proj.") else f"{inner}{names[name]}"
        if names[name] == "alibi_scale":
            value = value.reshape(-1, value.shape[-3])
        if ours in expected and tuple(value.shape) != expected[ours]:
            wrong.append(f"{name} has shape {tuple(value.shape)} and must have {expected[ours]}")
        state[ours] = value.detach().to(torch.float32).clone(memory_format=torch.contiguous_format)
    if wrong:
        raise InputError(listed(wrong, "; "))
    if missing := [name.removeprefix(inner) for name in expected if name not in state]:
        raise InputError(f"the checkpoint lacks {listed(missing)} (by their names here)")
    if surplus := [name for name, ours in names.items() if ours not in expected and f"{inner}{ours}" not in expected]:
        raise InputError(f"the checkpoint has weights that emotion2vec doesn't have: {listed(surplus)}")
    if infinite := [name for name, value in weights.items() if not bool(value.isfinite().all())]:
        raise InputError(f"the checkpoint has numbers that are not finite in {listed(infinite)}")
    return state


def _translate(name: str, prenet_depth: int) -> str | None:
    """The model's own name of a published weight; None for none."""
    if name in ("proj.weight", "proj.bias"):
        return name
    if match := re.fullmatch(rf"blocks\.(\d+)\.{_BLOCK}", name):
        return f"layers.{prenet_depth + int(match[1])}.{_IN_BLOCK.get(match[2], match[2])}.{match[3]}"
    if not name.startswith(AUDIO):
        return None
    name = name.removeprefix(AUDIO)
    if name in ("extra_tokens", "alibi_scale"):
        return name
    if match := re.fullmatch(rf"context_encoder\.blocks\.(\d+)\.{_BLOCK}", name):
        return f"layers.{match[1]}.{_IN_BLOCK.get(match[2], match[2])}.{match[3]}"
    if match := re.fullmatch(r"local_encoder\.conv_layers\.(\d+)\.(0\.weight|2\.1\.weight|2\.1\.bias)", name):
        return f"conv_layers.{match[1]}." + match[2].replace("0.", "conv.").replace("2.1.", "layer_norm.")
    if match := re.fullmatch(r"project_features\.([12])\.(weight|bias)", name):
        return f"{'projection_norm' if match[1] == '1' else 'projection'}.{match[2]}"
    if match := re.fullmatch(r"relative_positional_encoder\.([1-9]\d*)\.0\.(weight|bias)", name):
        return f"positional_layers.{int(match[1]) - 1}.conv.{match[2]}"
    match = re.fullmatch(r"context_encoder\.norm\.(weight|bias)", name)
    return f"layer_norm.{match[1]}" if match else None


def _model_class(has_head: bool) -> type[Emotion2VecModel] | type[Emotion2VecForEmotionClassification]:
    return Emotion2VecForEmotionClassification if has_head else Emotion2VecModel


def _write(config: Emotion2VecConfig, state: dict[str, Tensor], output: Path) -> None:
    headless = "proj.weight" not in state  # a head of random weights must not come by itself
    config.auto_map = {name: path for name, path in _AUTO_MAP.items() if not (headless and "Audio" in name)}
    config.architectures = [_model_class("proj.weight" in state).__name__]
    config.dtype = "float32"
    here = Path(__file__).resolve().parent.parent
    code = {name: (here / name).read_text(encoding="utf-8") for name in CODE}
    # Of two models loaded in one process, transformers runs the second with the first one's code where their
    # configuration files are alike: so that file tells what it travels with.
    digest = hashlib.sha256("".join(code.values()).encode()).hexdigest()
    code[CODE[0]] += f"\n# All of the code here: {digest}\n"
    try:
        with whole_folder(output) as staging:  # an empty folder is replaced
            save_file(state, staging / "model.safetensors", metadata={"format": "pt"})
            config.save_pretrained(staging)
            extractor = Wav2Vec2FeatureExtractor(sampling_rate=16000, do_normalize=False, return_attention_mask=True)
            extractor.save_pretrained(staging)
            for name, source in code.items():
                (staging / name).write_text(source, encoding="utf-8")
    except (OSError, SafetensorError) as error:
        raise InputError(f"{output} can't be written ({error})") from error


__all__ = ["convert"]
