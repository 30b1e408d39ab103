"""`emomm space`: the folder of a Hugging Face Space."""

from .parsing import Parser
from .parsing import with_underscores


def command(argv: list[str]) -> int:
    """Runs it with the arguments that follow its name; gives the exit code."""
    parser = Parser(
        prog="emomm space",
        description="Write the folder of a Hugging Face Space that shows a model in the browser: record or upload, "
        "type or transcribe. It runs here too: pip install -r requirements.txt, then python app.py.",
    )
    parser.add_argument("--hub_model_id", required=True, metavar="USER/NAME", help="the model, on the Hub")
    parser.add_argument("--output", required=True, metavar="FOLDER", help="folder to write, or a Space to write anew")
    parser.add_argument("--voice_model", metavar="USER/NAME", help="a model of the voice alone, shown beside it")
    parser.add_argument("--words_model", metavar="USER/NAME", help="a model of the words alone, shown beside it")
    parser.add_argument(
        "--speech_encoder", metavar="ID", help="where the speech encoder comes from (default: as the model says)"
    )
    parser.add_argument("--transcribe", metavar="ID", help="speech recognition model, for recordings without words")
    parser.add_argument("--title", metavar="TEXT", help="title of the Space")
    options = vars(parser.parse_args([with_underscores(argument) for argument in argv]))
    from ..demo.space import write_space

    print(write_space(options.pop("output"), **options))
    return 0


__all__ = ["command"]
