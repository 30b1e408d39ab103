"""The benchmarks name functions of the package: they are there. Those of fine-tuning run, at a small size."""

import argparse
import importlib
import operator
import sys
from pathlib import Path

import pytest
import torch
from made_recordings import as_wav
from tiny_speech_encoders import tiny_speech_encoder

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


def test_parts_of_killed_commands_are_functions_of_the_package(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    parts = [
        place
        for of_command in importlib.import_module("killed_commands").PARTS.values()
        for place in of_command.values()
    ]
    assert len(parts) > 5
    for module, function in parts:
        assert callable(getattr(importlib.import_module(module), function, None)), f"{module}.{function}"


def test_parts_of_a_start_are_functions_of_the_package(benchmark_of):
    start = benchmark_of("start")
    for module, function in [start.FIRST_STEP, *(place for places in start.PARTS.values() for place in places)]:
        assert callable(operator.attrgetter(function)(importlib.import_module(module))), f"{module}.{function}"


def test_time_is_of_the_part_that_was_entered_last(benchmark_of, monkeypatch):
    clock, ticks = benchmark_of("start").Clock(), iter([1, 1, 3, 6, 10, 15, 21, 28])
    monkeypatch.setattr(clock, "now", lambda: [float(next(ticks))] * 2)
    inner = clock.around("inner", lambda: "done")
    assert clock.around("outer", lambda: inner())() == "done"  # entered at 1, 3; left at 6, 10
    clock.turn("rest")
    spent = {part: seconds for part, (seconds, _) in clock.spent.items()}
    assert spent == {"imports": 1, "rest": 5, "outer": 2 + 4, "inner": 3}


@pytest.fixture
def benchmark_of(monkeypatch):
    """A benchmark, by its name."""
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    return importlib.import_module


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_a_tuning_step_is_timed_against_the_loop(benchmark_of, tuning):
    found = benchmark_of("tuning_time").against_loop(tuning, "wavlm", "small", rounds=1, steps=2, batch=1)
    assert found["trainer"] > 0 and found["loop"] > 0
    assert found["ratio"] == pytest.approx(found["trainer"] / found["loop"])


def test_steps_on_stored_states_learn_what_whole_ones_do(benchmark_of):
    found = benchmark_of("tuning_time").frozen_below("small", rounds=1, steps=3, batch=2)
    assert found["losses float32"] < 1e-5 and found["losses float16"] < 1e-3 < found["losses move"]
    assert found["ratio"] == found["all"] / found["float16"]


def test_memory_is_counted_with_and_without_checkpointing(benchmark_of, monkeypatch):
    memory = benchmark_of("finetune_memory")
    monkeypatch.setattr(memory, "in_own_process", memory.task)
    found = memory.checkpointing("small")
    assert found["share"] == found["checkpointed"] / found["plain"] > 0


def test_memory_is_counted_as_a_corpus_grows(benchmark_of, monkeypatch):
    memory = benchmark_of("finetune_memory")
    monkeypatch.setattr(memory, "in_own_process", memory.task)
    found = memory.growth([8, 16])
    assert 8 * 16000 <= found["8, stored"] < found["16, stored"] <= 16 * 32000
    assert found["ratio"] >= 1  # of one process, whose peak never falls


def test_speed_on_a_gpu_is_measured_or_said_to_be_not(benchmark_of, monkeypatch, capsys):
    speed = benchmark_of("finetune_gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["finetune_gpu.py"])
    speed.main()
    assert capsys.readouterr().out.startswith("no GPU here: nothing was measured")
    found = speed.compared("lora", "small", rounds=1, steps=2, device=torch.device("cpu"))
    assert (
        found["trainer"] > 0
        and found["loop"] > 0
        and found["ratio"] == pytest.approx(found["trainer"] / found["loop"])
    )


def test_a_stack_is_timed_against_its_runs(benchmark_of, tmp_path):
    options = argparse.Namespace(rows=60, epochs=1, seeds=1, rounds=1)
    found = benchmark_of("stack").compared("voice", tmp_path, options, torch.device("cpu"))
    assert found["alone"]["uar"] == pytest.approx(found["stacked"]["uar"], abs=0.02)
    ratio = found["alone"]["training"] / found["stacked"]["training"]
    assert found["training, alone / stacked"] == pytest.approx(ratio, abs=0.01)


def test_whispers_silence_is_kept_and_left_out(benchmark_of, tmp_path, monkeypatch, capsys):
    labels = ("neutral", "happiness", "sadness", "anger")
    lines = ["file_name,label,speaker"]
    for row in range(24):
        lines.append(f"{row}.wav,{labels[row % 4]},{row // 4}")
        (tmp_path / f"{row}.wav").write_bytes(as_wav(3000 + 100 * row)["bytes"])
    (tmp_path / "metadata.csv").write_text("\n".join(lines) + "\n")
    encoder = tiny_speech_encoder(tmp_path / "encoder", "whisper")
    script = benchmark_of("whisper_silence")
    monkeypatch.setattr(sys, "argv", ["whisper_silence.py", str(tmp_path), "--encoder", encoder, "--batch", "2"])
    monkeypatch.setattr(torch, "set_num_threads", lambda number: None)
    script.main()
    first, whole, real = capsys.readouterr().out.strip().splitlines()
    assert first.startswith("24 recordings: cosine of the means ")
    assert whole.startswith("whole window") and real.startswith("real frames")


def test_steps_in_other_precisions_and_with_other_optimisers_are_compared(benchmark_of, tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    options = argparse.Namespace(cpu=True, small=True, json=True, rounds=1, steps=2)
    found = benchmark_of("precision").compared("head", ["fp32", "bf16", "adamw_torch"], tmp_path, options)
    assert [each["ms"] > 0 and each["fp32 / this"] > 0 for each in found.values()] == [True] * 3
    differ = {name: each["losses differ"] for name, each in found.items()}
    assert differ["fp32"] == 0 and differ["adamw_torch"] < 1e-4 < differ["bf16"] < 0.1 < found["fp32"]["loss moved"]


RUN_EMOMM = """
import json, pathlib, sys
out = pathlib.Path(sys.argv[sys.argv.index("--output_dir") + 1])
out.mkdir()
runs = [{"train_seconds": seconds, "test": {"c": {"uar": uar}}} for seconds, uar in ((2.0, 0.5), (3.0, 0.7))]
(out / "results.json").write_text(json.dumps({"experiments": [{"runs": runs}]}))
print("--jobs auto: 5 side by side (9 steps a second by 5 processes, 4 by one)", file=sys.stderr)
for took in (0.0, 7.5):
    print(f"voice · seed 1 · session-1: validation UAR 0.500, c UAR 0.500, {took:.1f} s", file=sys.stderr)
"""


def test_ways_of_a_matrix_are_timed_by_what_the_command_says(benchmark_of, tmp_path, monkeypatch, capsys):
    matrix = benchmark_of("gpu_matrix")
    (tmp_path / "run_emomm.py").write_text(RUN_EMOMM)
    monkeypatch.setattr(matrix, "ROOT", tmp_path)
    found = matrix.timed(tmp_path / "recipe.json", tmp_path / "out", ["--jobs", "auto"])
    assert found["training"] == 5 and found["uar"] == pytest.approx(0.6) and found["jobs"] == 5
    assert 7.4 < found["runs"] < 7.5 + found["whole"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu_matrix.py"])
    matrix.main()
    assert capsys.readouterr().out.startswith("no GPU here: nothing was measured")
