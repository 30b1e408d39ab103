"""Whether the runs of an experiment can be trained as one model: asked before anything trains."""

from typing import TYPE_CHECKING

from ..configuration_emomm import EmoMMConfig
from ..curriculum.arguments import CurriculumTrainingArguments
from ..errors import InputError
from ..processes import process_state
from ..stacking.refusals import check_arguments
from ..stacking.refusals import check_model

if TYPE_CHECKING:
    from .training import Experiment


def check_stackable(experiment: "Experiment", arguments: CurriculumTrainingArguments, config: EmoMMConfig) -> None:
    """Raises InputError for an experiment that can't be stacked.

    Args:
        arguments, config: of one of its runs.
    """
    settings = experiment.settings
    where = f"experiment {settings.name!r}"
    if experiment.inputs.runs_encoders:
        raise InputError(
            f"{where}: stack is true, and the model runs an encoder at each step: a stack is of heads on stored "
            "features or states; leave the encoders frozen, or set stack to false"
        )
    for name in ("augment_time_mask", "augment_mixup"):
        if getattr(settings, name):
            raise InputError(
                f"{where}: stack is true, and {name} is {getattr(settings, name):g}, which changes rows one by one: "
                "set it to 0, or stack to false"
            )
    check_arguments(where, arguments, settings.training_arguments, process_state().num_processes)
    if config.fusion_module is not None:
        check_model(where, config)


__all__ = ["check_stackable"]
