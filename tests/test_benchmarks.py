"""The benchmarks name functions of the package: they are there. Those of fine-tuning run, at a small size."""

import argparse
import importlib
import json
import operator
import re
import shlex
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


def printed(script, arguments, monkeypatch, capsys) -> dict:
    """The object that a benchmark prints."""
    monkeypatch.setattr(sys, "argv", [f"{script.__name__}.py", *arguments, "--json"])
    capsys.readouterr()
    script.main()
    return json.loads(capsys.readouterr().out)


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
    monkeypatch.setattr(torch, "set_num_threads", lambda number: None)
    found = printed(script, [str(tmp_path), "--encoder", encoder, "--batch", "2"], monkeypatch, capsys)
    assert found["notes"][0].startswith("24 recordings: cosine of the means ")
    assert [row["case"] for row in found["rows"]] == ["whole window", "real frames"]
    assert all(0 < row["UAR"] <= 1 and row["step (CPU s)"] > 0 for row in found["rows"])


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


# ---- the frame


def test_ways_take_turns(benchmark_of):
    measuring, order = benchmark_of("measuring"), []
    ways = {name: lambda name=name: order.append(name) or float(len(order)) for name in "abc"}
    found = measuring.in_turn(ways, rounds=2, warm=1)
    assert "".join(order) == "abcbcacab"
    assert found == [{"a": 6.0, "b": 4.0, "c": 5.0}, {"a": 8.0, "b": 9.0, "c": 7.0}]
    assert measuring.medians(found) == {"a": 7.0, "b": 6.5, "c": 6.0}
    assert measuring.ratio(found, "a", "c") == pytest.approx((6 / 5 + 8 / 7) / 2)


def test_what_others_do_is_told_from_what_is_measured(benchmark_of):
    measuring = benchmark_of("measuring")
    every, own = measuring.busy_seconds()
    code = "import time\nwhile time.process_time() < .3: pass"
    measuring.run_process([sys.executable, "-c", code])
    later, of_ours = measuring.busy_seconds()
    assert of_ours - own >= 0.3 and later - every >= of_ours - own - 0.1  # the system counts in hundredths


def test_a_process_is_measured(benchmark_of, tmp_path):
    measuring = benchmark_of("measuring")
    code = "import os, time; x = bytearray(80_000_000); t = time.process_time()\n"
    code += "while time.process_time() - t < .3: pass\nprint(os.environ['OURS'], os.getcwd())"
    ended = measuring.run_process([sys.executable, "-c", code], tmp_path, OURS="here")
    assert ended.said.split() == ["here", str(tmp_path)]
    assert ended.cpu_seconds >= 0.3 and ended.seconds >= 0.3 and 80 < ended.megabytes < 200
    with pytest.raises(SystemExit, match="ended with 3"):
        measuring.run_process([sys.executable, "-c", "raise SystemExit(3)"])


def test_figures_are_printed_and_kept(benchmark_of, tmp_path, monkeypatch, capsys):
    measuring = benchmark_of("measuring")
    monkeypatch.setattr(measuring, "load", lambda: 0.1)
    spent = iter([(50.0, 9.0), (51.5, 10.5)])  # all that was done was our own
    monkeypatch.setattr(measuring, "busy_seconds", lambda: next(spent))
    kept = tmp_path / "in" / "made.json"
    arguments = ["--rounds", "2", "--keep", str(kept)]
    monkeypatch.setattr(sys, "argv", ["made.py", *arguments])
    options = measuring.parser("text", rounds=7).parse_args(arguments)
    with measuring.Benchmark("benchmarks/made.py", options) as figures:
        figures.add("one", **{"ms": 12.345, "rows": 3})
        figures.add("two", **{"ms": 0.00123, "rows": 12345})
        figures.note("that is all")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "$ python benchmarks/made.py --rounds 2" and "loaded" not in lines[1]
    assert [line.split() for line in lines[4:8]] == [
        ["case", "ms", "rows"], ["one", "12.3", "3"], ["two", "1.2e-03", "12345"], ["that", "is", "all"],
    ]  # fmt: skip
    found = json.loads(kept.read_text())
    assert found["rows"][0] == {"case": "one", "ms": 12.345, "rows": 3} and found["settings"] == {"rounds": 2}
    assert found["machine"]["cores"] >= 1 and found["machine"]["others"] == 0 and found["versions"]["torch"]
    markdown = measuring.as_markdown(found)
    assert markdown.startswith(
        "|  | ms | rows |\n|---|---:|---:|\n| one | 12.3 | 3 |\n| two | 1.2e-03 | 12345 |\n\nthat"
    )
    assert "`python benchmarks/made.py --rounds 2`" in markdown and "loaded" not in markdown
    found["machine"]["others"] = 0.7 * found["machine"]["cores"]
    assert "on a loaded machine: " in measuring.as_markdown(found)
    suite = benchmark_of("all")
    page = "a\n<!-- figures: made -->\nold\n<!-- end -->\n<!-- figures: other -->\nstays\n<!-- end -->\n"
    written = suite.with_figures(page, {"made": markdown})
    assert written == page.replace("old", markdown) == suite.with_figures(written, {"made": markdown})


# ---- the suite


def test_the_suite_names_programs_and_their_options(benchmark_of):
    frame = (BENCHMARKS / "measuring.py").read_text()
    for name, entry in benchmark_of("all").SUITE.items():
        program, *options = shlex.split(f"{entry.command} {entry.quick}")
        text = (BENCHMARKS / program).read_text() + frame
        for option in (word.removeprefix("--") for word in options if word.startswith("--")):
            assert f'"--{option}"' in text or f'"{option}"' in text, f"{name}: {program} has no --{option}"


def test_the_suite_runs_what_it_is_told_to(benchmark_of, tmp_path, monkeypatch, capsys):
    suite, ran = benchmark_of("all"), []

    def run(command, cwd):
        ran.append([Path(command[1]).name, *command[2:-2]])
        found = {"benchmark": "x", "command": "python x.py", "machine": {"cores": 2, "processor": "p", "memory_gb": 1}}
        found["machine"]["load_before"] = 0.0
        Path(command[-1]).write_text(json.dumps({**found, "versions": {}, "settings": {}, "notes": [], "seconds": 1.0,
                                                 "rows": [{"case": command[1][-7:], "ms": 2.0}]}))  # fmt: skip
        return argparse.Namespace(returncode=1 if "read" in command[1] else 0)

    monkeypatch.setattr(suite.subprocess, "run", run)
    monkeypatch.setattr(sys, "argv", ["all.py", "--only", "step,read", "--quick", "--into", str(tmp_path)])
    assert suite.main() == 1
    assert ran == [["step_time.py", "--rounds", "1", "--steps", "6"], ["read.py", "--rows", "100", "--rounds", "1"]]
    said = capsys.readouterr().out
    assert "failed: read" in said and "[1/2] step, what the Trainer adds to a step: short settings\n" in said
    assert "| time.py | 2.00 |" in (tmp_path / "step.md").read_text()
    monkeypatch.setattr(sys, "argv", ["all.py", "--kept", "--into", str(tmp_path)])
    assert suite.main() == 0 and len(ran) == 2
    assert capsys.readouterr().out.count("$ python x.py") == 2


def test_every_table_of_figures_names_its_command(benchmark_of):
    """docs/speed.md: a table, or a block of output, has in its section a command of this folder that is there."""
    text = (BENCHMARKS.parent / "docs" / "speed.md").read_text(encoding="utf-8")
    suite, sections = benchmark_of("all").SUITE, re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    assert len(sections) > 5
    for section in sections:
        held = re.findall(r"<!-- figures: (\w+) -->\n(.*?)<!-- end -->", section, re.DOTALL)
        assert all(name in suite and figures.strip() for name, figures in held)
        blocks = [figures for _, figures in held]
        rest = re.sub(r"<!-- figures: .*?<!-- end -->", "", section, flags=re.DOTALL)
        blocks += [rest] if re.search(r"^(\||```$)", rest, re.MULTILINE) else []
        for block in blocks:
            programs = re.findall(r"`(?:\$ )?python\s+benchmarks/(\w+\.py)", block)
            assert programs and all((BENCHMARKS / name).exists() for name in programs), block[:300]


# ---- each new one, at a small size


def test_encoding_is_timed_against_the_limit(benchmark_of):
    encode = benchmark_of("encode")
    loads = encode.text_states.load_encoder
    found = encode.measured(40, 1, "small", "turns")
    assert encode.text_states.load_encoder is loads  # for all that comes after
    assert found["sorted"]["of the limit"] == 1 and found["row order"]["x row order"] == 1
    assert found["store"]["of the limit"] == pytest.approx(found["sorted"]["seconds"] / found["store"]["seconds"])
    tokens = {way: row["tokens"] for way, row in found.items()}  # 40 sentences are one batch
    assert tokens["store"] > 0 and 0 < tokens["sorted"] == tokens["row order"] <= 40 * encode.LONGEST
    assert f"to {tokens['sorted']}: 1.00 times as many, and the limit is" in encode.bound(found)


def test_a_step_is_compared_by_medians_of_all_rounds(benchmark_of):
    import numpy as np

    step = benchmark_of("step_time")
    assert step.seconds_of_steps([9.0, 9.0, 10.0, 11.0, 13.0]).tolist() == [1, 2]
    found = [
        {"Trainer": np.array([2.0, 2.0, 2.0]), "loop": np.array([1.0, 1.0, 1.0])},
        {"Trainer": np.array([3.0, 90.0, 3.0]), "loop": np.array([2.0, 2.0, 5.0])},  # a slower machine, interrupted
    ]
    middle, mean, of_rounds = step.ratios(found, "Trainer", "loop")
    assert middle == 2.5 / 1.5 and mean == 102 / 12 and of_rounds == [2, 1.5]


def test_an_ablation_takes_back_one_default_at_a_time(benchmark_of, tmp_path):
    from emomm.settings.settings import FIELDS
    from emomm.settings.settings import Settings

    ablation = benchmark_of("ablation")
    for taken in ablation.TAKEN_BACK.values():
        assert all(FIELDS[name].default != value for name, value in taken.items())
    corpus = ablation.write_pooled(tmp_path / "paired.parquet")
    cells = ablation.cells(corpus, 1)
    assert len(cells) == len(ablation.WAYS) * 5 and len({cell.name for cell in cells}) == len(cells)
    assert cells[0].settings.items() <= Settings(**cells[0].settings).__dict__.items()
    key = {"way": "defaults", "model": "voice"}
    rows = [{**key, "seed": 1, "confusion": [[1, 0], [right, 2 - right]]} for right in (0, 2)]
    rows.append({**key, "seed": 2, "confusion": [[1, 0], [0, 1]]})
    assert ablation.table(rows) == {"defaults": {"voice": (0.75 + 1) / 2}}


def test_made_sentences_are_as_long_as_they_should_be(benchmark_of):
    texts = benchmark_of("made_texts")
    turns, sample = ([len(text.split()) for text in texts.sentences(400, kind)] for kind in texts.LENGTHS)
    assert max(sample) <= 31 and abs(sum(sample) / 400 - 11.7) < 1.5
    assert 40 < max(turns) <= 100 and abs(sum(turns) / 400 - texts.MEAN_TURN) < 1.5
    assert len(set(texts.sentences(400, "sample"))) == 400


def test_reading_is_timed_against_numpy(benchmark_of, tmp_path):
    read = benchmark_of("read")
    store, corpus = read.from_store(tmp_path / "store", 5), read.from_corpus(tmp_path / "corpus", 5)
    for row, values in enumerate(read.values_of(5)):
        assert (store[row] == values).all() and (corpus[row] == values).all()
    assert read.measured(store, 1)["rows / numpy"] > 0


def test_a_job_is_timed_against_the_loop(benchmark_of):
    job = benchmark_of("job")
    for batches in (0, 1):  # all of the loop, and a part of it
        found = job.measured(40, 4, batches, "small")
        assert all(value > 0 for row in found.values() for value in row.values())
        assert found["loop / job"]["step (ms)"] == found["loop"]["step (ms)"] / found["job"]["step (ms)"]


def test_a_step_of_two_processes_is_timed(benchmark_of, monkeypatch):
    processes, asked = benchmark_of("processes"), []
    ways = {"one": (1, 1), "two": (2, 1)}
    monkeypatch.setattr(processes, "WAYS", ways)
    monkeypatch.setattr(processes, "step", lambda *given: asked.append(given) or 0.01 * (1 + given[2]))
    found = processes.measured("audio_only", 1, 5)
    assert asked == [("audio_only", 5, 1, 1), ("audio_only", 5, 2, 1)]
    assert found["two"]["rows a second"] == pytest.approx(2 * 64 / 0.03)
    assert found["two"]["x the first"] == pytest.approx(2 * 0.02 / 0.03)


def test_peers_get_the_rows_and_folds_of_a_job(benchmark_of, tmp_path):
    """What other toolkits are given: rows, vectors and parts; they themselves are not here."""
    import numpy as np

    peers = benchmark_of("peers")
    task = peers.make_task(tmp_path, 2)
    tested = np.concatenate([fold["test"] for fold in task.folds])
    assert sorted(tested) == list(range(339)) and len(task.folds) == 5
    for fold in task.folds:
        parts = [set(task.corpus.sessions[rows]) for rows in fold.values()]
        assert [len(part) for part in parts] == [3, 1, 1] and len(set.union(*parts)) == 5
    (tmp_path / "n").mkdir()
    inis = peers.prepare_nkululeko(task, tmp_path / "n")
    tables = [(tmp_path / "n" / f"{part}-1.csv").read_text().splitlines() for part in peers.PARTS]
    assert len(inis) == 5 and [len(table) - 1 for table in tables] == [len(rows) for rows in task.folds[0].values()]
    features = (tmp_path / "n" / "features.csv").read_text().splitlines()
    assert len(features) == 340 and features[1].count(",") == 2 + 512
    peers.prepare_autrainer(task, tmp_path / "a")
    row = (tmp_path / "a" / "data" / "fold-2" / "test.csv").read_text().splitlines()[1].split(",")
    number = task.folds[1]["test"][0]
    np.testing.assert_array_equal(np.load(tmp_path / "a" / "data" / "default" / row[0]), task.vectors[number])
    assert row[1] == task.labels[number]
    assert "iterations: 2\n" in (tmp_path / "a" / "conf" / "config.yaml").read_text()
    assert peers.uar(["a", "a", "b"], ["a", "b", "b"]) == 0.75
