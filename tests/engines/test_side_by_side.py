"""Runs side by side: the bits of one after another; what dies is said; whoever is killed leaves nobody behind."""

import json
import logging
import os
import re
import signal
import time
from pathlib import Path

import psutil
import pytest
from forked import finish
from forked import start
from small_jobs import assert_same_run
from small_jobs import die
from small_jobs import write_recipe
from tiny_encoders import tiny_encoder

TESTS = Path(__file__).resolve().parent.parent
RUNS = [f"seed-{seed}/session-{session}" for seed in (1, 2) for session in (1, 2)]
VOICE = {"modality": "audio", "seeds": [1, 2], "dropout": 0.2}


# ---- what processes of their own do ---------------------------------------------------------------------------------


def command(log, arguments, change=None, threads=2):
    """`emomm run` with what it prints in a file, once `change` has broken something."""
    import torch

    from emomm.cli.main import main

    with open(log, "w", buffering=1) as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # tests that run in the background ignore it
        torch.set_num_threads(threads)
        if change is not None:
            change()
        os._exit(main(["run", "--no_report", *map(str, arguments)]))


def dies_in_second_session():
    from emomm.experiments.training import Experiment

    train = Experiment.train

    def broken(self, run):
        if (run.seed, run.fold.name) == (1, "session-2"):
            die()
        return train(self, run)

    Experiment.train = broken


def one_gpu(takes=1.0):
    """As far as this command sees, there is a GPU of 16 GiB, of which a run takes so much."""
    import torch

    from emomm.engines import cards
    from emomm.engines import fork_server
    from emomm.engines import side_by_side

    free, held = round((16 - takes) * 2**30), round(takes * 2**30)
    touched, init = [], fork_server.ForkServer.__init__

    def untouched_init(self, can_compute):
        assert not touched, "a fork could not compute on a GPU any more"
        init(self, can_compute)

    torch.cuda.is_available = lambda: bool(touched.append("asked"))
    fork_server.ForkServer.__init__ = untouched_init
    side_by_side.visible_cards = lambda: ["0"]
    side_by_side.computes_on_gpu = lambda: True
    cards.memory_now = lambda: cards.Memory(free, 16 * 2**30, held, held)


def one_small_gpu():
    one_gpu(takes=6)


def one_gpu_that_forks_cannot_use():
    from emomm.engines import side_by_side

    one_gpu()
    side_by_side.computes_on_gpu = lambda: False


def one_gpu_and_a_run_that_grows():
    import torch

    from emomm.experiments.training import Experiment

    one_gpu()
    train = Experiment.train

    def grows(self, run):
        tried = self.job_folder / f"tried-{run.seed}-{run.fold.name}"
        if (run.seed, run.fold.name) != (1, "session-1") and not tried.exists():
            tried.touch()
            raise torch.OutOfMemoryError("CUDA out of memory")
        return train(self, run)

    Experiment.train = grows


def one_gpu_and_slow():
    one_gpu()
    slow()


def one_gpu_always_too_small():
    import torch

    from emomm.experiments.training import Experiment

    one_gpu()
    train = Experiment.train

    def too_large(self, run):
        if (run.seed, run.fold.name) == (1, "session-2"):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return train(self, run)

    Experiment.train = too_large


def slow():
    """A step takes a while; from the second epoch on long enough to be killed in, however busy the machine is."""
    from emomm.curriculum_trainer import CurriculumTrainer

    step = CurriculumTrainer.training_step

    def slowly(self, *args, **kwargs):
        time.sleep(0.05 if self.state.global_step < 5 else 1.0)
        return step(self, *args, **kwargs)

    CurriculumTrainer.training_step = slowly


def refuses():
    from emomm.errors import InputError
    from emomm.experiments.training import Experiment

    def wrong(self, run):
        raise InputError(f"{run.fold.name} is not to be had")

    Experiment.train = wrong


def says_much():
    from emomm.experiments.training import Experiment

    train = Experiment.train

    def talking(self, run):
        for number in range(200):
            logging.getLogger("emomm.test").info("logged %s %d %s", run, number, "x" * 300)
            print(f"printed {run} {number} {'y' * 300}")
        return train(self, run)

    Experiment.train = talking


# ---- here -----------------------------------------------------------------------------------------------------------


def begin(log, *arguments, change=None, threads=2):
    """Starts the command; its process may have processes of its own."""
    places = os.pathsep.join(map(str, [TESTS, TESTS / "engines"]))
    return start(command, log, arguments, change, threads, PYTHONPATH=places)


def run(log, *arguments, change=None, threads=2):
    """The command to its end: its exit code, and what it printed."""
    process = begin(log, *arguments, change=change, threads=threads)
    return finish(process), log.read_text()


def workers(process, number):
    """The processes of a command, once there are so many."""
    watched, until = psutil.Process(process.pid), time.monotonic() + 60
    while len(found := watched.children(recursive=True)) < number:
        assert time.monotonic() < until and process.exitcode is None
        time.sleep(0.02)
    return found


def wait_for(condition, seconds=60):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def results(folder):
    return json.loads((folder / "results.json").read_text())


def outcomes(folder):
    (entry,) = results(folder)["experiments"]
    return [(run["seed"], run["fold"], run["status"].partition(":")[0]) for run in entry["runs"]]


def in_plan(status="done"):
    return [(seed, f"session-{session}", status) for seed in (1, 2) for session in (1, 2)]


@pytest.fixture(scope="session")
def alone(tmp_path_factory):
    """A job of voice and words, run after run with one thread."""
    folder = tmp_path_factory.mktemp("alone")
    encoder = tiny_encoder(folder / "encoder")
    recipe = write_recipe(folder, text_model_name=encoder, seeds=[1, 2], dropout=0.2, floors=True)
    code, said = run(folder / "log", recipe, "--threads_per_run", 1)
    assert code == 0, said
    return recipe


@pytest.mark.parametrize("threads, jobs", [(2, 2), (1, 3)])
def test_results_are_bit_for_bit_those_of_one_after_another(alone, tmp_path, threads, jobs):
    """In forks, however many, and however many threads the machine has; the store and floors made anew."""
    given = [
        "--jobs",
        jobs,
        "--threads_per_run",
        1,
        "--output_dir",
        tmp_path / "out",
        "--store_dir",
        tmp_path / "store",
    ]
    code, said = run(tmp_path / "log", alone, *given, threads=threads)
    assert code == 0, said
    one, other = alone.parent / "small", tmp_path / "out"
    for each in RUNS:
        assert_same_run(one / "small" / each, other / "small" / each)
    a, b = results(one), results(other)
    assert outcomes(other) == in_plan()
    assert a["environment"] == b["environment"] and b["environment"]["threads"] == 1
    for each in (a, b):
        for done in each["experiments"][0]["runs"]:
            del done["train_seconds"]
    assert a["experiments"][0]["floors"] == b["experiments"][0]["floors"]
    assert a["experiments"][0]["runs"] == b["experiments"][0]["runs"]


@pytest.mark.parametrize("gpu, said_of_memory", [(one_gpu, False), (one_small_gpu, True)])
def test_runs_share_a_gpu_as_far_as_its_memory_goes(alone, tmp_path, gpu, said_of_memory):
    """The GPU is pretended; the processes, and how they are begun, are those that there would be."""
    given = ["--jobs", 3, "--threads_per_run", 1, "--output_dir", tmp_path / "out"]
    code, said = run(tmp_path / "log", alone, *given, change=gpu)
    assert code == 0, said
    for each in RUNS:
        assert_same_run(alone.parent / "small" / "small" / each, tmp_path / "out" / "small" / each)
    fewer = "small: 2 at a time on a GPU in place of 3: a run takes 6.6 GiB of 16.0"
    assert said.count(fewer) == said_of_memory


def test_where_forks_cannot_use_the_gpu_there_are_new_processes(alone, tmp_path):
    given = ["--jobs", 2, "--threads_per_run", 1, "--output_dir", tmp_path / "out"]
    code, said = run(tmp_path / "log", alone, *given, change=one_gpu_that_forks_cannot_use)
    assert code == 0, said
    assert said.count("--jobs: new processes, which import for themselves, since forks can't use the GPU here") == 1
    for each in RUNS:
        assert_same_run(alone.parent / "small" / "small" / each, tmp_path / "out" / "small" / each)


def test_a_run_without_memory_beside_others_is_taken_again_alone(tmp_path):
    recipe = write_recipe(tmp_path, **VOICE)
    code, said = run(tmp_path / "log", recipe, "--jobs", 2, change=one_gpu_and_a_run_that_grows)
    assert code == 0, said
    assert outcomes(tmp_path / "small") == in_plan()
    assert said.count("too little memory beside others on its GPU: taken again alone, after the other runs") == 1
    assert len([*(tmp_path / "small").glob("tried-*")]) == 3


def test_a_run_without_memory_alone_fails(tmp_path):
    code, said = run(tmp_path / "log", write_recipe(tmp_path, **VOICE), "--jobs", 2, change=one_gpu_always_too_small)
    assert code == 1
    assert "seed 1 · session-2: out of memory on the device; lower batch_size" in said
    assert [status for *_, status in outcomes(tmp_path / "small")] == ["done", "failed", "done", "done"]


def test_a_run_that_is_killed_is_said_and_the_others_end(tmp_path):
    recipe = write_recipe(tmp_path, **VOICE)
    code, said = run(tmp_path / "log", recipe, "--jobs", 2, change=dies_in_second_session)
    assert code == 1
    assert "seed 1 · session-2: its process was killed (SIGKILL, perhaps for lack of memory)" in said
    assert [status for *_, status in outcomes(tmp_path / "small")] == ["done", "failed", "done", "done"]
    assert outcomes(tmp_path / "small")[1][:2] == (1, "session-2")
    code, said = run(tmp_path / "log", recipe, "--jobs", 2)
    assert code == 0 and said.count("done before") == 3
    assert outcomes(tmp_path / "small") == in_plan()


def test_an_error_ends_the_job_as_it_does_in_one_process(tmp_path):
    code, said = run(tmp_path / "log", write_recipe(tmp_path, **VOICE), "--jobs", 2, change=refuses)
    assert code == 2
    assert re.search(r"^error: session-\d is not to be had", said, re.MULTILINE) and "Traceback" not in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_whoever_is_killed_leaves_nobody_and_the_same_command_goes_on(alone, tmp_path, number):
    """A signal is answered with states saved in all workers; after a kill the states of the last epochs are there."""
    given = [alone, "--jobs", 2, "--threads_per_run", 1, "--output_dir", tmp_path / "out", "--save_seconds", 0]
    process = begin(tmp_path / "log", *given, change=slow)
    found = workers(process, 2)
    wait_for(lambda: len([*(tmp_path / "out" / "small").glob("seed-*/*/checkpoint-*")]) >= 2)
    os.kill(process.pid, number)
    code = finish(process)
    gone, left = psutil.wait_procs(found, timeout=60)
    assert not left
    assert code == (-number if number == signal.SIGKILL else 128 + number)
    if number != signal.SIGKILL:
        assert "interrupted; the same command goes on" in (tmp_path / "log").read_text()
    code, said = run(tmp_path / "log", *given)
    assert code == 0 and "goes on from checkpoint-" in said
    for each in RUNS:
        assert_same_run(alone.parent / "small" / "small" / each, tmp_path / "out" / "small" / each)


@pytest.mark.parametrize("number, to_all", [(signal.SIGTERM, True), (signal.SIGKILL, False)])
def test_on_a_gpu_too_whoever_is_killed_leaves_nobody(tmp_path, number, to_all):
    """What is sent to all processes at once, as SLURM does, ends no worker before its state is saved."""
    given = [write_recipe(tmp_path, **VOICE), "--jobs", 2, "--save_seconds", 0 if not to_all else 1000]
    process = begin(tmp_path / "log", *given, change=one_gpu_and_slow)
    wait_for(lambda: len([*(tmp_path / "small").glob("small/seed-*/*")]) >= 2)
    wait_for(lambda: to_all or [*(tmp_path / "small").glob("small/seed-*/*/checkpoint-*")])
    time.sleep(0.3)  # both train
    found = workers(process, 3)  # one is what the others are forked from
    for each in (process, *(found if to_all else ())):
        os.kill(each.pid, number)
    code = finish(process)
    gone, left = psutil.wait_procs(found, timeout=60)
    assert not left and code == (-number if number == signal.SIGKILL else 128 + number)
    code, said = run(tmp_path / "log", *given)
    assert code == 0 and "goes on from checkpoint-" in said


def test_what_workers_log_and_print_comes_in_whole_lines(tmp_path):
    code, said = run(tmp_path / "log", write_recipe(tmp_path, **VOICE), "--jobs", 2, change=says_much)
    assert code == 0
    lines = said.splitlines()
    for kind, letter in (("logged", "x"), ("printed", "y")):
        found = [line for line in lines if kind in line]
        assert len(found) == 4 * 200
        assert all(re.fullmatch(rf"{kind} small · seed \d · session-\d \d+ {letter}{{300}}", line) for line in found)


def test_auto_tries_and_says_what_it_takes(tmp_path):
    code, said = run(tmp_path / "log", write_recipe(tmp_path, **VOICE), "--jobs", "auto")
    assert code == 0
    found = re.search(r"--jobs auto: (one after another|2 side by side) \((\d+) steps a second by 2 processes", said)
    assert found and int(found[2]) > 0
    assert results(tmp_path / "small")["environment"]["threads"] == (1 if found[1].startswith("2") else 2)


def test_auto_tries_on_a_gpu_too(tmp_path):
    recipe = write_recipe(tmp_path, **VOICE, num_epochs=20)
    code, said = run(tmp_path / "log", recipe, "--jobs", "auto", change=one_gpu)
    assert code == 0, said
    found = re.search(r"--jobs auto: (one after another|2 side by side) \((\d+) steps a second by 2 processes", said)
    assert found and int(found[2]) > 0
    assert outcomes(tmp_path / "small") == in_plan()


def test_threads_are_shared_out_and_said(tmp_path):
    recipe = write_recipe(tmp_path, **{**VOICE, "seeds": [1]})
    code, _ = run(tmp_path / "log", recipe, "--jobs", 2, threads=4)
    assert code == 0 and results(tmp_path / "small")["environment"]["threads"] == 2


def test_more_processes_than_runs_leave_no_core_idle(tmp_path):
    code, said = run(tmp_path / "log", write_recipe(tmp_path, **{**VOICE, "seeds": [1]}), "--jobs", 1000, threads=4)
    assert code == 0, said
    assert results(tmp_path / "small")["environment"]["threads"] == 2
