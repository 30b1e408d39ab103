"""The runs of a job in a process that did not plan it: planned there anew, from the same recipe, and compared."""

from dataclasses import dataclass
from dataclasses import field
from typing import Any

from ..corpora.corpus import Corpus
from ..errors import InputError
from ..experiments.job import plan_experiment
from ..experiments.planning import Loaded
from ..experiments.planning import load_data
from ..experiments.run import Run
from ..experiments.running import Place
from ..experiments.running import carry_out
from ..experiments.text_encoder import Encoders
from ..experiments.training import Experiment
from ..processes import process_state
from ..settings.recipe import Recipe


@dataclass
class PlannedAnew:
    """What a process needs to carry out runs of a job, each experiment planned when its first run comes.

    Args:
        recipe: of the job. Its paths must lead to the same files here.
    """

    recipe: Recipe
    _loaded: Loaded = field(default_factory=dict)
    _encoders: Encoders = field(default_factory=dict)
    _planned: dict[int, tuple[Experiment, list[Run]]] = field(default_factory=dict)

    def read(self, number: int) -> None:
        """Reads the corpora of an experiment, which needs no GPU."""
        load_data(self.recipe.experiments[number], self._loaded)

    def run(self, place: Place) -> Run:
        """The run at a place."""
        return self._plan(place[0])[1][place[1]]

    def experiment(self, place: Place) -> Experiment:
        """The experiment of the run at a place."""
        return self._plan(place[0])[0]

    def _plan(self, number: int) -> tuple[Experiment, list[Run]]:
        if number not in self._planned:
            settings = self.recipe.experiments[number]
            self._planned[number] = plan_experiment(settings, self.recipe.output_dir, self._loaded, self._encoders)
        return self._planned[number]

    def carry_out(
        self, place: Place, identity: str, callbacks: list[Any] | None = None, alone: bool = True
    ) -> dict[str, Any]:
        """What the run gives, as `experiments.running.carry_out`.

        Args:
            place: of the run.
            identity: that it has where it was planned first.
            callbacks: of its Trainer.
            alone: whether its device is its own.

        Raises InputError where it is another run here.
        """
        self.check(place, identity)
        self.experiment(place).callbacks = list(callbacks or ())
        return carry_out(self.experiment(place), self.run(place), process_state(), alone)

    def check(self, place: Place, identity: str) -> None:
        """Raises InputError where the run at a place is another one here than where it was planned first."""
        planned = self.run(place)
        if planned.identity != identity:
            names = ", ".join(sorted(each.name for each in self._loaded.values() if isinstance(each, Corpus)))
            raise InputError(
                f"{planned}: the process that was to carry it out finds other data or settings than the one that "
                f"planned it: give both the same files ({names}) and the same version of EmoMM"
            )


__all__ = ["PlannedAnew"]
