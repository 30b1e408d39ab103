"""What one training gains from a second process on the processor: `accelerate launch` with gloo.

    python benchmarks/processes.py [--rounds 3] [--steps 40] [--cases audio_only default] [--json]

The cases of step_time.py, each in one process with one thread, in one with all threads, and in as many processes as
there are cores with one thread each. Batches are 64 rows a process, so that a step of two takes in 128. A step is
timed from one end to the next, within the epoch; start and imports are not in it. The ways take turns; medians.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import measuring
from measuring import CORES
from measuring import Benchmark
from measuring import in_turn
from measuring import medians
from measuring import ratio
from measuring import run_process

WAYS = {"1 process, 1 thread": (1, 1)}
if CORES > 1:
    WAYS |= {f"1 process, {CORES} threads": (1, CORES), f"{CORES} processes, 1 thread each": (CORES, 1)}


def step(case: str, steps: int, processes: int, threads: int) -> float:
    """Seconds a step."""
    launch = ["--multi_gpu" if processes > 1 else "--cpu"]  # the launcher's word for several processes of a machine
    launch += ["--num_processes", str(processes), "--num_machines", "1", "--main_process_port", "0"]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "--num_cpu_threads_per_process", str(threads)]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "accelerate.commands.launch", *launch, str(Path(__file__).resolve())]
        run_process(
            [*command, "--task", case, str(steps), folder], OMP_NUM_THREADS=str(threads), ACCELERATE_USE_CPU="true"
        )
        return json.loads((Path(folder) / "found.json").read_text())


def task(case: str, steps: int, folder: Path) -> None:
    """What each process does."""
    from accelerate import PartialState
    from step_time import BATCH
    from step_time import CASES
    from step_time import rows_of
    from step_time import trainer_steps

    state = PartialState(cpu=True)
    own = folder / str(state.process_index)
    own.mkdir()
    rows = rows_of(CASES[case], own, BATCH * steps * state.num_processes)
    seconds = [trainer_steps(CASES[case], rows, own, steps) for _ in range(2)]  # the first warms up
    if state.is_main_process:
        (folder / "found.json").write_text(json.dumps(float(seconds[-1].mean())))


def measured(case: str, rounds: int, steps: int) -> dict[str, dict[str, float]]:
    """Of each way."""
    ways = {
        name: lambda processes=processes, threads=threads: step(case, steps, processes, threads)
        for name, (processes, threads) in WAYS.items()
    }
    found, first = in_turn(ways, rounds), next(iter(ways))
    return {
        name: {
            "step (ms)": 1000 * seconds,
            "rows a second": 64 * WAYS[name][0] / seconds,
            "x the first": WAYS[name][0] * ratio(found, first, name),
        }
        for name, seconds in medians(found).items()
    }


def main() -> None:
    options = measuring.parser(__doc__, rounds=3)
    options.add_argument("--steps", type=int, default=40)
    options.add_argument("--cases", nargs="+", default=["audio_only", "default"])
    options.add_argument("--task", nargs=3, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.task:
        task(given.task[0], int(given.task[1]), Path(given.task[2]))
        return
    with Benchmark(__file__, given) as figures:
        for case in given.cases:
            for way, row in measured(case, given.rounds, given.steps).items():
                figures.add(f"{case}, {way}", **row)


if __name__ == "__main__":
    main()
