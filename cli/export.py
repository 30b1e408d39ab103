"""`emomm export`: a trained model in another format."""

import json

from .parsing import Parser
from .parsing import add_model
from .parsing import add_speech_encoder
from .parsing import add_trust
from .parsing import check_model
from .parsing import say_at_once
from .parsing import show
from .parsing import speak
from .parsing import with_underscores


def command(argv: list[str]) -> int:
    """Runs it with the arguments that follow its name; gives the exit code."""
    options = _export_parser().parse_args([with_underscores(argument) for argument in argv])
    check_model(options.model)
    say_at_once("loading torch")
    speak()
    from ..inference.onnx_export import export_onnx
    from ..inference.onnx_export import summary

    described = export_onnx(
        options.model,
        options.output,
        options.precision,
        options.part,
        speech_encoder=options.speech_encoder,
        trust_remote_code=options.trust_remote_code,
    )
    show(json.dumps(described, indent=2) if options.json else summary(described, options.output))
    return 0


def _export_parser() -> Parser:
    parser = Parser(
        prog="emomm export",
        usage="emomm export MODEL --format onnx [--precision fp32|int8] [--part head|whole] [--output FOLDER]",
        description="Write a trained model as a folder that runs without torch, with onnxruntime: `emomm predict "
        "FOLDER ...`, or emomm.inference.onnx_model.OnnxModel in Python.",
    )
    add_model(parser)
    parser.add_argument("--format", choices=["onnx"], required=True, help="what to write")
    parser.add_argument(
        "--precision",
        choices=["fp32", "int8"],
        default="fp32",
        help="int8: weights of 8 bits, a quarter of the size; activations are quantised as they come (default: fp32)",
    )
    parser.add_argument(
        "--part",
        choices=["head", "whole"],
        default="whole",
        help="head: takes features of the voice and states of the words; whole: recordings and words, with the "
        "encoders (default: whole)",
    )
    parser.add_argument("--output", metavar="FOLDER", default="onnx", help="folder to write (default: onnx)")
    add_speech_encoder(parser)
    add_trust(parser, "the model")
    parser.add_argument("--json", action="store_true", help="print what was written as JSON")
    return parser


__all__ = ["command"]
