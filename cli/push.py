"""`emomm push`: share the model of an experiment on the Hub."""

import argparse
from pathlib import Path
from typing import Any

from ..job_folder import check_finished
from ..job_folder import find_experiment
from .parsing import Parser
from .parsing import boolean
from .parsing import say_at_once
from .parsing import show
from .parsing import speak
from .parsing import with_underscores


def command(argv: list[str]) -> int:
    """Runs it with the arguments that follow its name; gives the exit code."""
    parser = Parser(
        prog="emomm push",
        description="Share the model of an experiment on the Hub, with its card and results. What is pushed is also "
        "kept in FOLDER/<experiment>/hub.",
    )
    parser.add_argument("folder", metavar="FOLDER", help="of a finished job: runs/<recipe>")
    parser.add_argument("--experiment", required=True, metavar="NAME", help="which of its experiments")
    add_hub(parser)
    options = vars(parser.parse_args([with_underscores(argument) for argument in argv]))
    if options["hub_model_id"] is None:
        parser.error("--hub_model_id user/name is missing")
    check_finished(options["folder"], find_experiment(options["folder"], options["experiment"])[1])
    from ..sharing.uploading import check_destination

    check_destination(options["hub_model_id"])
    say_at_once(f"{options['hub_model_id']}: loading")
    speak()
    share(options["folder"], options["experiment"], options)
    return 0


def share(folder: str | Path, experiment: str, options: dict[str, Any]) -> None:
    """Pushes an experiment of a job and says where it is. `options`: those of `add_hub`."""
    from ..sharing.hub import push
    from ..sharing.uploading import Push

    final = options["final_model"] is not False
    private, licence = options["hub_private"] is True, options["hub_license"]
    adapter_only = options["adapter_only"] is True
    wanted = Push(Path(folder), experiment, options["hub_model_id"], private, final, licence, adapter_only)
    show(f"pushed: {push(wanted)}")


def add_hub(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Adds what is said of a push."""
    parser.add_argument("--hub_model_id", metavar="USER/NAME", help="where on the Hub; made if it isn't there")
    parser.add_argument(
        "--hub_private", action="store_const", const=True, help="a repository that is made can be seen by you alone"
    )
    parser.add_argument(
        "--hub_license",
        metavar="ID",
        help="licence of the model by the Hub's name, such as cc-by-nc-4.0; default: other, the training data's terms",
    )
    parser.add_argument(
        "--final_model",
        type=boolean,
        metavar="true|false",
        help="share a model that is trained once more, on all sessions, for as many steps as validation chose (the "
        "default); false: the run with the best validation score",
    )
    parser.add_argument(
        "--adapter_only",
        action="store_const",
        const=True,
        help="of encoders that were tuned by LoRA, share the adapters (of peft), not the weights that they are merged "
        "into",
    )


__all__ = ["add_hub", "command", "share"]
