import importlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest

from emomm.cli.main import main
from emomm.errors import InputError

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def job(monkeypatch):
    """A stand-in for the module that runs a job: it keeps what it was given."""
    module = types.ModuleType("emomm.experiments.job")
    module.calls = []

    module.outcome = types.SimpleNamespace(text="the table", failed=[])

    def run(recipe, dry_run, overwrite, engine):
        module.calls.append((recipe, dry_run, overwrite))
        return module.outcome

    module.run = run
    importlib.import_module("emomm.engines.choosing")  # which imports the real one
    monkeypatch.setitem(sys.modules, "emomm.experiments.job", module)
    report = types.ModuleType("emomm.reporting.report")
    module.reports = []

    def write_report(folders):
        module.reports.append(folders)
        return "report.html"

    report.write_report = write_report
    monkeypatch.setitem(sys.modules, "emomm.reporting.report", report)
    return module


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"num_epochs": 20, "experiments": [{"name": "One"}, {"name": "Two"}]}))
    return str(path)


def start(*arguments, cwd, script=ROOT / "run_emomm.py", **environment):
    """The script as a process of its own."""
    return subprocess.run(
        [sys.executable, str(script), *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_run_hands_the_recipe_on(job, recipe):
    assert main(["run", recipe]) == 0
    assert main(["run", recipe, "--experiment", "two", "--seeds", "1", "2", "--dry_run", "--dropout", "0.25"]) == 0
    assert main(["run", "--overwrite", "--learning_rate=1e-3", recipe, "--all", "--freeze_text_encoder", "false"]) == 0
    (first, *flags), (second, *second_flags), (third, *third_flags) = job.calls
    assert [s.name for s in first.experiments] == ["One", "Two"]
    assert flags == [False, False]
    assert [(s.name, s.seeds, s.dropout) for s in second.experiments] == [("Two", [1, 2], 0.25)]
    assert second_flags == [True, False]
    assert [(s.learning_rate, s.freeze_text_encoder) for s in third.experiments] == [(1e-3, False)] * 2
    assert third_flags == [False, True]
    assert job.reports == [[Path("runs/mine")]] * 2  # none of a plan
    assert main(["run", recipe, "--no_report"]) == 0
    assert len(job.reports) == 2


def test_a_job_without_its_report_is_done_all_the_same(job, recipe, capsys, monkeypatch):
    def fail(folders):
        raise InputError("the report needs matplotlib")

    monkeypatch.setattr(sys.modules["emomm.reporting.report"], "write_report", fail)
    assert main(["run", recipe]) == 0
    assert capsys.readouterr() == ("the table\n", "no report: the report needs matplotlib\n")


def test_lists_objects_aliases_and_dashes(job, recipe):
    arguments = ["--train_dataset", "IEMO", "MSPI", "--test_datasets", "MSPP", "--class_weights", '{"sad": 2}']
    assert main(["run", recipe, *arguments, "--num_train_epochs", "17", "--batch-size", "8"]) == 0
    settings = job.calls[0][0].experiments[0]
    assert (settings.train_dataset, settings.test_datasets) == (["IEMO", "MSPI"], ["MSPP"])
    assert settings.class_weights == {"sad": 2.0}
    assert (settings.num_epochs, settings.batch_size) == (17, 8)


def test_fields_of_training_arguments_are_options_wherever_they_stand(job, recipe, monkeypatch):
    from emomm.settings import values as checking

    kinds = {"bf16": bool, "max_grad_norm": float}
    monkeypatch.setattr(checking, "training_argument_kinds", lambda: kinds)
    assert main(["run", "--max_grad_norm", "0.5", recipe, "--bf16", "--dropout", "0.3"]) == 0
    settings = job.calls[0][0].experiments[0]
    assert settings.training_arguments == {"max_grad_norm": 0.5, "bf16": True}
    assert settings.dropout == 0.3
    assert main(["run", "--max_grad_norm=0.5", recipe]) == 0


def test_local_copies_of_corpora(job, recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "b.csv").write_text("")
    assert main(["run", recipe, "--corpus", "IEMO=a", "--corpus", f"MSPI={tmp_path}/b.csv"]) == 0
    assert job.calls[0][0].experiments[0].corpus == {"IEMO": f"{tmp_path}/a", "MSPI": f"{tmp_path}/b.csv"}
    (tmp_path / "train.lengths").write_text("")  # a corpus may be named by what its three files have in common
    assert main(["run", recipe, "--corpus", "IEMO=train"]) == 0
    assert main(["run", recipe, "--corpus", "MELD=not_asked_for"]) == 0


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ([], ["no command", "run, search, report, predict, export, push, recipes"]),
        (["rum"], ["unknown command 'rum'", "Did you mean 'run'?"]),
        (["run"], ["RECIPE", "emomm run --help"]),
        (["run", "absent.json"], ["absent.json: there is no such recipe file"]),
        (["run", "r" * 300], ["there is no such recipe file"]),
        (["report", "r" * 300], ["holds no results.json"]),
        (["run", "RECIPE", "--output_dir", "a\0b"], ["output_dir is", "NUL"]),
        (["run", "RECIPE", "--fusion_module", "r" * 300 + ".py"], ["fusion_module", "that is there"]),
        (["run", "RECIPE", "more"], ["unrecognized arguments: more"]),
        (["run", "RECIPE", "--experiment", "Tow"], ["no experiment 'Tow'", "Did you mean 'Two'?"]),
        (["run", "RECIPE", "--experiment", "One", "--all"], ["--all", "not allowed with"]),
        (["run", "RECIPE", "--seeds", "1", "x"], ["command line: seeds is", "a whole number"]),
        (["run", "RECIPE", "--seeds", "1", "1"], ["seeds is [1, 1]"]),
        (["run", "RECIPE", "--corpus", "IEMO"], ["--corpus is 'IEMO'", "NAME=PATH"]),
        (["run", "RECIPE", "--corpus", "IEMO=.", "--corpus", "IEMO=.."], ["--corpus IEMO is given twice"]),
        (["run", "RECIPE", "--dropout", "0.1", "--dropout", "0.2"], ["--dropout is given twice"]),
        (["run", "RECIPE", "--bf16", "--bf16"], ["--bf16 is given twice"]),
        (["run", "RECIPE", "--dropout"], ["--dropout needs a value"]),
        (["run", "RECIPE", "--dropout", "2"], ["command line: dropout is", "below 1"]),
        (["run", "RECIPE", "--name", "x"], ["--name can't be given"]),
        (["run", "RECIPE", "--seed", "3"], ["command line: seed", "use seeds"]),
        (
            ["run", "RECIPE", "--corpus", "IEMO=/nowhere/x"],
            ["corpus IEMO: there is no /nowhere/x; give a folder, a file"],
        ),
        (
            ["run", "RECIPE", "--train_dataset", "own", "--corpora", '{"own": {"path": "gone"}}'],
            ["own: there is no /", "gone;"],
        ),
        (
            ["run", "RECIPE", "--test_datasets", "own", "--corpora", '{"own": {"path": "gone"}}'],
            ["own: there is no /"],
        ),
        (["predict", "model"], ["CORPUS", "emomm predict --help"]),
        (["predict", "m", "c", "--output", "o", "--batch_size", "0"], ["batch_size", "'0'", "at least 1"]),
        (["predict", "a/b", "I hate you"], ["there is no 'I hate you'", "RECORDING --text 'I hate you'"]),
        (["recipes", "x"], ["unrecognized arguments: x"]),
    ],
)
def test_wrong_input_is_one_message_and_exit_code_2(job, recipe, capsys, arguments, parts):
    assert main([recipe if argument == "RECIPE" else argument for argument in arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    for part in parts:
        assert part in printed.err
    assert job.calls == []


def test_a_working_folder_that_is_gone(job, recipe, tmp_path, monkeypatch, capsys):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert main(["run", recipe]) == 2
    assert "the working folder is gone" in capsys.readouterr().err


def test_only_the_first_process_speaks(recipe, capsys, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("RANK", "2")
    assert main(["run", "absent.json"]) == 2
    assert capsys.readouterr().err == ""


def test_the_table_and_the_runs_that_failed(job, recipe, capsys, monkeypatch):
    assert main(["run", recipe]) == 0
    assert capsys.readouterr() == ("the table\nreport.html\n", "")
    job.outcome = types.SimpleNamespace(text="the table", failed=["One: no memory"])
    assert main(["run", recipe]) == 1
    assert capsys.readouterr() == ("the table\nreport.html\n", "failed: One: no memory\n")
    monkeypatch.setenv("RANK", "1")
    assert main(["run", recipe]) == 1
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_an_interrupted_job(job, recipe, capsys, number, code):
    def interrupt(*_, **__):
        os.kill(os.getpid(), number)
        time.sleep(5)

    job.run = interrupt
    before = signal.signal(number, signal.SIG_DFL)  # tests that run in the background ignore SIGINT
    try:
        assert main(["run", recipe]) == code
    finally:
        signal.signal(number, before)
    assert capsys.readouterr() == ("", "interrupted; the same command goes on\n")


@pytest.mark.parametrize("error", [ValueError("Invalid bounding box"), InputError("damaged")])
def test_a_report_that_takes_a_signal_for_an_error(job, recipe, capsys, monkeypatch, error):
    """Compiled code does, while it draws: the job is not done, as its report isn't."""

    def drawn(folders):
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            raise error from None

    monkeypatch.setattr(sys.modules["emomm.reporting.report"], "write_report", drawn)
    assert main(["run", recipe]) == 143
    assert capsys.readouterr() == ("the table\n", "interrupted; the same command goes on\n")


@pytest.mark.parametrize("encoding", ["ascii", "latin2", "cp437"])
def test_a_table_is_printed_whatever_stdout_can_say(job, recipe, monkeypatch, encoding):
    """In cron and docker, and with LC_ALL=C: the job has trained, and its report follows."""
    job.outcome.text = "UAR 0.71 ± 0.02 · Łódź – “x” \udc80"
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding, errors="strict"))
    assert main(["run", recipe]) == 0
    sys.stdout.flush()
    lines = written.getvalue().decode(encoding).splitlines()
    assert lines[-1] == "report.html" and lines[0].startswith(f"UAR 0.71 {'±' if encoding == 'cp437' else '+-'} 0.02")
    if encoding == "ascii":
        assert lines[0] == r"UAR 0.71 +- 0.02 | \u0141\xf3d\u017a - \u201cx\u201d \udc80"


def test_a_stdout_that_cant_be_written_costs_no_report(job, recipe, monkeypatch, capsys):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(["run", recipe]) == 0
    assert capsys.readouterr().err == "stdout can't be written (No space left on device)\n"
    assert len(job.reports) == 1
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as closed:  # `emomm run ... | head`
        monkeypatch.setattr(sys, "stdout", closed)
        assert main(["run", recipe]) == 0
    assert capsys.readouterr().err == "" and len(job.reports) == 2


def test_a_person_at_a_terminal_is_told_at_once(job, recipe, monkeypatch):
    """The libraries take seconds to load; in a log, nobody waits for that."""
    said = io.StringIO()
    monkeypatch.setattr(sys, "stderr", said)
    assert main(["run", recipe]) == 0 and said.getvalue() == ""
    said.isatty = lambda: True
    assert main(["run", recipe]) == 0 and said.getvalue() == "mine: loading\n"


def test_a_terminal_without_a_size_has_bars_all_the_same():
    """tqdm alone would draw them 0 columns wide, on 0 lines."""
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import run_emomm\n"
        "from emomm.cli.parsing import draw_anywhere\n"
        "draw_anywhere()\n"
        "from tqdm import tqdm\n"
        "for _ in tqdm(range(3)): pass"
    )
    ours, theirs = os.openpty()  # of 0 columns, until somebody says otherwise
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "COLUMNS": "70"}, stderr=theirs, check=True)
    os.close(theirs)
    drawn = os.read(ours, 10_000).decode()
    os.close(ours)
    assert "100%" in drawn and max(map(len, drawn.strip().split("\r"))) in (69, 70)


def test_idle_threads_sleep_unless_the_user_says_otherwise(monkeypatch):
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for given, expected in (
        ({}, "1000"),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
        ({"OMP_WAIT_POLICY": "active"}, None),
    ):
        with monkeypatch.context() as environment:
            for name, value in given.items():
                environment.setenv(name, value)
            main(["recipes"])
            assert os.environ.get("GOMP_SPINCOUNT") == expected
        os.environ.pop("GOMP_SPINCOUNT", None)


def test_predict_hands_its_arguments_on(monkeypatch, tmp_path):
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    calls = []
    module = types.ModuleType("emomm.inference.predicting")
    module.predict = lambda *args, **kwargs: calls.append((args, kwargs))
    monkeypatch.setitem(sys.modules, "emomm.inference.predicting", module)
    arguments = ["model", "own", "--output", "p.parquet", "--corpus", f"own={tmp_path}", "--batch_size", "8"]
    assert main(["predict", *arguments]) == 0
    assert main(["predict", "model", "IEMO", "--output", "p.parquet", "--trust_remote_code"]) == 0
    assert calls == [
        (
            ("model", "own", "p.parquet"),
            {"paths": {"own": str(tmp_path)}, "batch_size": 8, "trust_remote_code": False},
        ),
        (("model", "IEMO", "p.parquet"), {"paths": {}, "batch_size": 64, "trust_remote_code": True}),
    ]


def test_recipes_are_listed_with_their_descriptions(capsys):
    assert main(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("quickstart ") and "real recordings" in line for line in lines)
    assert any("Experiments: voice, words, both." in line for line in lines)


def test_help_is_quick_and_whole(tmp_path):
    began = os.times()
    done = start("--help", cwd=tmp_path)
    ended = os.times()  # of the work that it took, whatever else the machine does
    assert ended.children_user + ended.children_system - began.children_user - began.children_system < 2
    assert done.returncode == 0
    from emomm.settings.settings import FIELDS

    for name in FIELDS.keys() - {"name", "description", "training_arguments"}:
        assert f"--{name}" in done.stdout, name
    assert "audio, text, both, or a list" in " ".join(done.stdout.split())


def test_nothing_heavy_is_imported_for_help_or_for_an_error(tmp_path):
    """What is refused is refused in less than a second."""
    job = {"recipe": "j", "protocol": [], "environment": {}, "experiments": []}
    job["experiments"].append({"name": "both", "labels": [], "corpora": [], "runs": [], "summary": {}})
    (tmp_path / "results.json").write_text(json.dumps(job))
    (tmp_path / "a.wav").touch()
    refused = [
        ["run", "quickstart", "--dropout", "2"],
        ["run", "quickstart", "--num_epoch", "2"],
        ["run", "quickstart", "--bf16", "perhaps"],
        ["run", "quickstart", "--optim", "adamm"],
        ["report", "nosuch"],
        ["report", str(tmp_path), "nosuch"],
        ["push", "nosuch", "--experiment", "both", "--hub_model_id", "a/b"],
        ["push", str(tmp_path), "--experiment", "bth", "--hub_model_id", "a/b"],
        ["push", str(tmp_path), "--experiment", "both", "--hub_model_id", "a/b"],
        ["predict", "nosuch", "a.wav"],
        ["predict", "./no/such", "a.wav"],
        ["predict", "a.wav", "a.wav"],
        ["live", "runs/j/both/seed-1/session-1/model", "a.wav"],
        ["run", "quickstart", "--corpus", "emodb_emobank=nosuch"],
    ]
    code = (
        "import sys; sys.argv = ['run_emomm.py', 'quickstart', '--dropout', '2']\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "import run_emomm\n"
        "from emomm.cli.main import main\n"
        f"for argv in {refused!r}:\n    assert main(argv) == 2, argv\n"
        "heavy = {'torch', 'transformers', 'numpy', 'datasets'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "import emomm.reporting.page\n"  # a report of many experiments is drawn by processes that each import it
        "heavy = {'torch', 'transformers', 'datasets', 'evaluate'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    said = done.stderr.splitlines()
    assert [line.startswith("error: ") for line in said] == [True] * len(refused)
    assert "Did you mean 'num_epochs'?" in said[1] and "optim is 'adamm'" in said[3]
    assert "nosuch holds no results.json" in said[4] and "Did you mean 'both'?" in said[7]
    assert "not all runs of 'both' are done" in said[8]
    assert "model 'nosuch' is not there" in said[9] and "'./no/such' is not there" in said[10]
    assert "model 'a.wav' is a file" in said[11] and "session-1/model' is not there" in said[12]


def test_the_script_runs_from_a_clone_of_any_name(tmp_path):
    """A copy, so that the folder beside the script is not called as this one, nor `emomm`."""
    clone = tmp_path / "emomm-main"
    clone.mkdir()
    for path in [*ROOT.glob("*.py"), *(path.parent for path in ROOT.glob("*/__init__.py")), ROOT / "recipes"]:
        shutil.copytree(path, clone / path.name) if path.is_dir() else shutil.copy(path, clone)
    (clone / "experiments" / "job.py").write_text(
        "import sys\nfrom types import SimpleNamespace\n\n\ndef run(recipe, dry_run, overwrite, engine):\n"
        "    names = [s.name for s in recipe.experiments]\n"
        "    return SimpleNamespace(text=f'{recipe.name} {names} {__name__} {__file__}', failed=sys.path[:1])\n"
    )
    done = start("quickstart", "--experiment", "words", cwd="/", script=clone / "run_emomm.py")
    assert done.returncode == 1, done.stderr
    assert done.stdout.endswith(f"quickstart ['words'] emomm.experiments.job {clone / 'experiments' / 'job.py'}\n")
    assert done.stderr.startswith("failed: ")
    assert str(clone) not in done.stderr  # no module search path: our modules have no bare names


def test_the_script_ends_with_2_without_a_traceback(tmp_path):
    (tmp_path / "bad.json").write_text('{"dropout": "much", "experiments": [{"name": "x"}]}')
    done = start("bad.json", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == ('error: bad.json: dropout is "much", but must be a number of at least 0 and below 1.\n')
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.json"]


def test_importing_the_script_does_nothing():
    import emomm.run_emomm

    assert callable(emomm.run_emomm.load_package)
    assert sys.modules["emomm"] is emomm


def test_the_package_is_lazy():
    import emomm

    assert emomm.__version__ == "0.1.0"
    assert emomm.InputError.__module__ == "emomm.errors"
    assert emomm.load_recipe.__module__ == "emomm.settings.recipe"
    assert {"EmoMMConfig", "CurriculumTrainer", "load_corpus"} <= set(dir(emomm))
    with pytest.raises(AttributeError, match="'Nothing'"):
        _ = emomm.Nothing
