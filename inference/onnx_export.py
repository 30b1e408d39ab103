"""A trained model as a folder of ONNX graphs that runs without torch: `emomm export MODEL --format onnx`.

The head is one graph (`model.onnx`: vectors and their masks in, logits out), and so is each encoder that goes with it
(`text_encoder.onnx`, `speech_encoder.onnx`), by the exporter of transformers. What is written is compared with torch
before it takes its place. `onnx_model` runs it.
"""

import contextlib
import importlib.util
import logging
import os
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch import nn
from torch.export import Dim
from transformers import WhisperFeatureExtractor

from .. import __version__
from ..checksums import CHECKSUMS
from ..errors import InputError
from ..files import whole_folder
from ..files import write_json
from ..modalities import AUDIO
from ..modalities import TEXT
from ..modeling_emomm import EmoMMForEmotionClassification
from ..processing_emomm import EmoMMProcessor
from ..speech_encoders import HeldSpeechEncoder
from ..speech_encoders import SpeechEncoder
from .onnx_graphs import SpeechGraph
from .onnx_graphs import TextGraph
from .onnx_graphs import head_of
from .onnx_inputs import digest
from .onnx_model import DESCRIPTION
from .onnx_model import HEAD
from .onnx_model import MEL_FILTERS
from .onnx_model import SPEECH
from .onnx_model import STATISTICS
from .onnx_model import WORDS
from .predicting import load_model
from .predicting import reach_speech_models

logger = logging.getLogger(__name__)

NEEDED = ("onnx", "onnxruntime", "onnxscript")
CLOSE = 1e-4
"""How far a logit of the graph in fp32 may be from torch's."""

_BATCH = Dim("batch")
_EXTRACTORS = ("Wav2Vec2FeatureExtractor", "WhisperFeatureExtractor")  # that are there without torch
_LARGE = 1_800_000_000  # bytes of weights, of which a file of protobuf holds 2 GiB at most
_QUANTIZED = ["MatMul", "Gemm", "Gather"]


def export_onnx(
    model: str,
    folder: str | Path,
    precision: str = "fp32",
    part: str = "whole",
    speech_encoder: str | None = None,
    trust_remote_code: bool = False,
) -> dict[str, Any]:
    """Writes the folder, which is put into place as a whole, and gives its description (`emomm_onnx.json`).

    Args:
        model: folder of an exported model, or its id on the Hub.
        folder: where to.
        precision: `fp32`, or `int8`: weights of 8 bits, and activations quantised as they come.
        part: `head`: vectors of the voice and states of the words in; `whole`: recordings and words, with the encoders
            that the model holds or names; without that of the voice, with a warning, where one that it names
            can't be loaded.
        speech_encoder: folder or id of the encoder that made the model's voice features, in place of the one it names.
        trust_remote_code: run the code that comes with the model.

    Raises:
        InputError: what is needed is not installed; a model that can't be read or followed, or of which a graph gives
            other logits than torch (more than `CLOSE`, in fp32).
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"{', '.join(missing)} is not installed: pip install 'emomm[onnx]'")
    loaded, processor = load_model(model, trust_remote_code)
    loaded = loaded.cpu().float()
    if part == "whole":
        reach_speech_models(processor, speech_encoder)
    with whole_folder(Path(folder)) as staging, _quietly(), torch.no_grad():
        writer = _Writer(loaded, processor, staging, precision)
        writer.head()
        if part == "whole":
            writer.words()
            writer.speech(speech_encoder)
        writer.beside()
        described = writer.description(model, part)
        write_json(staging / DESCRIPTION, described)
    return described


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without what the exporter tells its developers."""
    names = ("torch.onnx", "torch.export", "torch.onnx._internal.exporter._registration", "transformers", "root")
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


class _Writer:
    """The files of one model.

    Args:
        model: in evaluation, float32, on the CPU.
        processor: its own.
        folder: that is filled.
        precision: as `export_onnx` has it.
    """

    def __init__(self, model: EmoMMForEmotionClassification, processor: EmoMMProcessor, folder: Path, precision: str):
        self.model, self.processor, self.folder, self.precision = model, processor, folder, precision
        self.graphs: dict[str, dict[str, Any]] = {}
        self.speech_of: dict[str, Any] | None = None
        self._generator = torch.Generator().manual_seed(0)

    @property
    def _fusion(self) -> str:
        return self.model.config.fusion_type

    # ---- the graphs -------------------------------------------------------------------------------------------------

    def head(self) -> None:
        """`model.onnx`: vectors of each modality, (batch, length, width) and their masks, to logits."""
        lengths = {each.name: Dim(f"{each.name}_length") for each in self.model.modalities}
        shapes = {
            name: {0: _BATCH, 1: lengths[each.name]}
            for each in self.model.modalities
            for name in (each.features, each.mask)
        }
        graph = head_of(self.model)
        self._graph(HEAD, graph, shapes, [self._vectors(2, 7), self._vectors(1, 1), self._vectors(3, 12)])

    def _vectors(self, batch: int, length: int) -> dict[str, Tensor]:
        """Rows of different lengths."""
        inputs = {}
        for number, modality in enumerate(self.model.modalities):
            longest = length + number * (length > 1)
            width = self.model.config.given_width(modality.name)
            inputs[modality.features] = torch.randn(batch, longest, width, generator=self._generator)
            counts = torch.arange(longest, longest - batch, -1).clamp(min=1)
            inputs[modality.mask] = torch.arange(longest) < counts.unsqueeze(1)
        return inputs

    def words(self) -> None:
        """`text_encoder.onnx`: token ids and their mask to the encoder's states."""
        if not self.model.config.uses_text:
            return
        if self.model.text_encoder is None:
            raise InputError("the model doesn't hold its text encoder: export its head, --part head")
        if not self.processor.tokenizer.is_fast:
            raise InputError("the model's tokenizer has no tokenizer.json, which it needs without torch: --part head")
        tokens = Dim("tokens", max=self.processor.max_length)
        shapes = {name: {0: _BATCH, 1: tokens} for name in TEXT.tokens}
        size = self.model.text_encoder.config.vocab_size
        examples = []
        for batch, length in ((2, 7), (1, 2), (3, 12)):
            ids = torch.randint(size, (batch, length), generator=self._generator)
            mask = (torch.arange(length) < torch.arange(length, length - batch, -1).unsqueeze(1)).long()
            examples.append({"input_ids": ids, "attention_mask": mask})
        self._graph(WORDS, TextGraph(self.model), shapes, examples)

    def speech(self, name: str | None) -> None:
        """`speech_encoder.onnx`: recordings, as `onnx_inputs` prepares them, and their mask, to voice features."""
        config = self.model.config
        if not config.uses_audio or (config.speech_encoder is None and self.model.speech_encoder is None):
            return  # vectors are all that it takes
        try:
            encoder = self.processor.load_speech_encoder(name, "cpu")
            extractor = type(encoder.feature_extractor).__name__
            if extractor not in _EXTRACTORS:
                raise ValueError(f"recordings can't be made ready without torch for {extractor}")
            graph = self._speech_graph(encoder)
        except (OSError, ValueError) as error:
            if name is not None or self.model.speech_encoder is not None:
                raise InputError(f"{error}; export the head alone: --part head") from error
            logger.warning("%s: written without it, for voice features, and no recordings", error)
            return
        samples = None
        if graph.takes == "input_values":
            samples = Dim("samples", min=_samples_of(2, graph.encoder.config))
        shapes: dict[str, Any] = {"mask": {0: _BATCH}, graph.takes: {0: _BATCH}}
        for shape in shapes.values() if samples is not None else ():
            shape[1] = samples
        rate = encoder.features.sampling_rate
        examples = [self._recordings(encoder, graph, lengths) for lengths in ((rate, rate // 2), (rate // 3,))]
        self._graph(SPEECH, graph, shapes, examples)
        self._describe_speech(encoder, graph)

    def _speech_graph(self, encoder: SpeechEncoder) -> SpeechGraph:
        config, depth = self.model.config, encoder.features.num_layers
        if isinstance(encoder, HeldSpeechEncoder):
            start = config.speech_start if config.tunes("audio") else depth
            wanted, weighed = self.model.wanted_layers("audio"), bool(config.weighted_layers("audio"))
            return SpeechGraph(encoder.model, wanted, start, weighed)
        wanted = {layer if layer >= 0 else depth + 1 + layer for layer in encoder.features.layers}
        return SpeechGraph(encoder.model, sorted(wanted), depth, False)

    def _recordings(self, encoder: SpeechEncoder, graph: SpeechGraph, lengths: tuple[int, ...]) -> dict[str, Tensor]:
        """Noise of these lengths, as the encoder's own feature extractor gives it."""
        waveforms = [torch.randn(length, generator=self._generator).mul(0.1).numpy() for length in lengths]
        found = encoder.feature_extractor(
            waveforms,
            sampling_rate=encoder.features.sampling_rate,
            padding="max_length" if graph.takes == "input_features" else True,
            return_attention_mask=True,
            return_tensors="pt",
        )
        return {"mask": found["attention_mask"].to(torch.int64), graph.takes: found[graph.takes].float()}

    def _describe_speech(self, encoder: SpeechEncoder, graph: SpeechGraph) -> None:
        extractor, config = encoder.feature_extractor, self.model.config
        held = isinstance(encoder, HeldSpeechEncoder)
        whisper = isinstance(extractor, WhisperFeatureExtractor)
        self.speech_of = {
            "features": encoder.features.to_dict(),
            "held": held,
            "takes": graph.takes,
            "normalized": bool(getattr(extractor, "do_normalize", False)),
            "samples_per_frame": encoder.samples_per_frame,
            "convolutions": []
            if whisper
            else [*zip(graph.encoder.config.conv_kernel, graph.encoder.config.conv_stride, strict=True)],
            "window_seconds": config.window_seconds if held else None,
            "windows_joined": config.windows_joined if held else True,
        }
        if whisper:
            np.save(self.folder / MEL_FILTERS, extractor.mel_filters.astype(np.float32))
            self.speech_of |= {"fft": extractor.n_fft, "hop": extractor.hop_length, "longest": extractor.n_samples}
        extractor.save_pretrained(str(self.folder))

    def _graph(self, name: str, module: nn.Module, shapes: dict[str, Any], examples: list[dict[str, Tensor]]) -> None:
        """Writes a graph, and compares it with torch on the examples, of which the first is followed."""
        from transformers.exporters import OnnxConfig
        from transformers.exporters import OnnxExporter

        expected = [_arrays(module(**example)) for example in examples]
        try:
            program, _ = OnnxExporter().export_program(module, dict(examples[0]), OnnxConfig(dynamic_shapes=shapes))
        except Exception as error:  # noqa: BLE001 whatever torch says of what it can't follow
            logger.debug("exporting %s", name, exc_info=True)
            what = "the model" if name != HEAD or self.model.fusion is None else f"its fusion {self._fusion!r}"
            raise InputError(
                f"{name} can't be made of this model: torch can't follow {what} ({_in_a_line(error)}). A forward must "
                "not decide by the values of tensors, and has their sizes from x.shape[0], not from len(x)"
            ) from error
        import onnx_ir

        program = _quantized(program) if self.precision == "int8" else program
        size = sum(each.const_value.nbytes for each in program.graph.initializers.values() if each.const_value)
        beside = f"{name}.data" if size > _LARGE else None
        onnx_ir.save(program, str(self.folder / name), external_data=beside)
        self.graphs[name] = {
            "opset": program.opset_imports[""],
            "inputs": _described(program.graph.inputs),
            "outputs": _described(program.graph.outputs),
            "largest_difference": self._difference(name, examples, expected),
        }

    def _difference(
        self, name: str, examples: list[dict[str, Tensor]], expected: list[dict[str, np.ndarray]]
    ) -> float:
        """How far what onnxruntime gives of the examples is from torch, at most. Raises InputError where that is more
        than `CLOSE` in fp32."""
        import onnxruntime

        session = onnxruntime.InferenceSession(self.folder / name, providers=["CPUExecutionProvider"])
        taken = [each.name for each in session.get_inputs()]
        names, largest = [each.name for each in session.get_outputs()], 0.0
        for example, arrays in zip(examples, expected, strict=True):
            found = dict(zip(names, session.run(None, {key: example[key].numpy() for key in taken}), strict=True))
            real = arrays.get(AUDIO.mask)
            for key in ("logits", "vad", TEXT.features, AUDIO.features):
                if key in arrays:
                    apart = np.abs(found[key] - arrays[key])
                    apart = apart if real is None else apart[real]
                    if key == TEXT.features:
                        apart = apart[example["attention_mask"].bool().numpy()]
                    largest = max(largest, float(apart.max()))
        if self.precision == "fp32" and not largest <= CLOSE:
            raise InputError(
                f"{name}: what onnxruntime gives is up to {largest:.2g} from what torch gives, not {CLOSE:g}"
            )
        return largest

    # ---- what goes with them ----------------------------------------------------------------------------------------

    def beside(self) -> None:
        """The configuration, the tokenizer and the feature statistics."""
        self.model.config.to_json_file(str(self.folder / "config.json"))
        if self.processor.tokenizer is not None and WORDS in self.graphs:
            self.processor.tokenizer.save_pretrained(str(self.folder))
        statistics = {
            name: {each: self.model.get_buffer(f"{name}_{each}").tolist() for each in ("mean", "std")}
            for name in self.model.config.standardized
        }
        write_json(self.folder / STATISTICS, statistics)

    def description(self, source: str, part: str) -> dict[str, Any]:
        """What `emomm_onnx.json` says."""
        config, processor = self.model.config, self.processor
        tokenizer = processor.tokenizer if WORDS in self.graphs else None
        return {
            "format": 1,
            "emomm": __version__,
            "made_with": {name: version(name) for name in ("torch", "transformers", *NEEDED)},
            "source": {"model": _public(source), "sha256": _source_digest(source)},
            "part": part,
            "precision": self.precision,
            "labels": [config.id2label[i] for i in range(config.num_labels)],
            "modality": config.modality,
            "modalities": [asdict(each) for each in self.model.modalities],
            "widths": {each.name: config.given_width(each.name) for each in self.model.modalities},
            "allow_missing": processor.allow_missing,
            "gives_vad": config.gives_vad,
            "gives_attention": bool(getattr(self.model.fusion, "gives_attention", False)),
            "audio_encoder": config.audio_encoder,
            "speech_encoder": config.speech_encoder,
            "training_seconds": config.training_seconds,
            "text": None
            if tokenizer is None
            else {"max_length": processor.max_length, "pad": tokenizer.pad_token_id, "cut": tokenizer.truncation_side},
            "speech": self.speech_of,
            "graphs": self.graphs,
            "sha256": {path.name: digest(path) for path in sorted(self.folder.iterdir())},
        }


def _quantized(program: Any) -> Any:
    """A graph with weights of 8 bits, a scale for each channel; activations are quantised as they come. Products of
    which neither side is a matrix of weights stay as they are."""
    from transformers.exporters import OnnxRuntimeDynamicConfig
    from transformers.exporters import OnnxRuntimeQuantizer

    others = [
        node.name
        for node in program.graph.all_nodes()
        if node.op_type in _QUANTIZED
        and not any(each is not None and each.const_value is not None and len(each.shape) == 2 for each in node.inputs)
    ]
    config = OnnxRuntimeDynamicConfig(op_types_to_quantize=_QUANTIZED, per_channel=True, nodes_to_exclude=others)
    return OnnxRuntimeQuantizer(config).quantize(program, {}, "onnx")


def _arrays(outputs: Any) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in outputs.items() if isinstance(value, Tensor)}


def _described(values: Any) -> dict[str, list[Any]]:
    """By name, the shape: numbers, and names of dimensions that may be of any length."""
    return {value.name: [dim if isinstance(dim, int) else str(dim) for dim in value.shape] for value in values}


def _samples_of(frames: int, config: Any) -> int:
    """The fewest samples of which an encoder on waveforms makes so many frames."""
    for kernel, stride in reversed([*zip(config.conv_kernel, config.conv_stride, strict=True)]):
        frames = (frames - 1) * stride + kernel
    return frames


def _in_a_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:200]}…"


def _public(source: str) -> str:
    """A folder of this machine by its last part alone."""
    return Path(source).resolve().name if os.path.isdir(source) else source


def _source_digest(source: str) -> str:
    """Of the model's own checksums, which are of all its files; "" where it has none."""
    path = Path(source) / CHECKSUMS
    return digest(path) if path.is_file() else ""


def summary(described: dict[str, Any], folder: str | Path) -> str:
    """What was written, as lines for people."""
    lines = [f"{described['part']} in {described['precision']}: {folder}"]
    for name, graph in described["graphs"].items():
        size = sum(path.stat().st_size for path in Path(folder).glob(f"{name}*")) / 1e6
        lines.append(f"  {name:20} {size:8.1f} MB, at most {graph['largest_difference']:.1g} from torch")
    return "\n".join(lines)


__all__ = ["CLOSE", "NEEDED", "export_onnx", "summary"]
