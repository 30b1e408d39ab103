"""The report of a real small job: what is in it, what is left out, and how it looks in a browser."""

import csv
import hashlib
import importlib.util
import itertools
import json
import os
import re
import shutil
import signal
from html.parser import HTMLParser
from pathlib import Path

import pytest
from small_jobs import write_recipe
from test_report_data import fabricate
from tiny_encoders import tiny_encoder

from emomm.cli.main import main
from emomm.errors import InputError
from emomm.evaluation.metrics import RATINGS
from emomm.reporting import report as report
from emomm.reporting.report import write_report
from emomm.reporting.report_data import file_stem

pytest.importorskip("matplotlib", reason="a report needs matplotlib: pip install emomm[report]")

from emomm.reporting import drawing
from emomm.reporting import figures
from emomm.reporting.table import Marked
from emomm.reporting.table import Table

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()


class Page(HTMLParser):
    """What the tests ask of a page."""

    def __init__(self, path: Path):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.words = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words += data

    def all(self, name):
        return [attrs for tag, attrs in self.tags if tag == name]

    @property
    def sections(self):
        return [attrs["id"] for attrs in self.all("h2")]


def real_job(folder, **fields):
    experiments = [
        {"name": "voice & <b>", "modality": "audio"},
        {"name": "words", "modality": "text", "vad_loss_weight": 0.5},
    ]
    encoder = tiny_encoder(folder / "encoder")
    usual = {"text_model_name": encoder, "seeds": [1, 2], "num_epochs": 3, "curriculum_epochs": 2}
    recipe = write_recipe(folder, **{"experiments": experiments, **usual, **fields})
    assert main(["run", str(recipe), "--no_report"]) == 0
    return folder / "small"


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    return real_job(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def written(job, tmp_path_factory):
    """By this process alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawing, "core_count", lambda: 1)
        return write_report([job], tmp_path_factory.mktemp("out") / "report")


@pytest.fixture
def no_drawing(monkeypatch):
    """Empty figures, for tests that look at other things: drawing takes seconds."""
    monkeypatch.setattr(figures, "save", lambda made, folder, name: (folder / f"{name}.png").write_text("") or "<svg>")


def files(folder):
    return {path: hashlib.sha256(path.read_bytes()).digest() for path in folder.rglob("*") if path.is_file()}


def test_the_page_holds_every_section_and_needs_nothing_else(written):
    page = Page(written)
    assert page.sections == [
        *("protocol", "results", "confusion", "difficulty", "calibration", "groups", "training", "wrong", "data"),
        "settings",
    ]
    levels = [int(tag[1]) for tag, _ in page.tags if tag in ("h1", "h2", "h3")]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))
    images = page.all("img")
    assert len(images) == 1 + 2 * 8  # UAR; counts, shares, difficulty, reliability, speakers, sessions, learning, pool
    assert all(image["src"].startswith("data:image/svg+xml;base64,") and image["alt"] for image in images)
    assert not page.all("script") and not [a for a in page.all("link") if not a["href"].startswith("data:")]
    assert all(attrs["href"].startswith("#") for attrs in page.all("a"))
    assert all("tabindex" in attrs for attrs in page.all("div") if attrs.get("class") == "scroll")
    text = written.read_text()
    assert "voice & <b>" not in text and "voice &amp; &lt;b&gt;" in text  # names are text, not HTML
    assert "None" not in page.words and "nan" not in page.words.split()
    assert "there is no speech in it" in page.words  # the corpus' caveat
    assert str(written.parent) not in text and "/tmp" not in text


def test_numbers_are_those_of_the_job(job, written):
    results = json.loads((job / "results.json").read_text())
    with open(written.parent / "tables" / "results.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["experiment"] for row in rows] == ["voice & <b>", "words"]
    for row, experiment in zip(rows, results["experiments"], strict=True):
        summary = experiment["summary"]["synthetic"]
        for metric in ("uar", "accuracy", "f1_macro"):
            assert float(row[metric]) == pytest.approx(summary[metric]["pooled"])
            assert float(row[f"{metric}_mean_of_runs"]) == pytest.approx(summary[metric]["mean"])
            assert float(row[f"{metric}_std_of_runs"]) == pytest.approx(summary[metric]["std"])
        assert row["ci_units"] == "rows"  # four speakers
    words = Page(written).words
    assert f"{results['experiments'][0]['summary']['synthetic']['uar']['pooled']:.3f}" in words
    assert "ignores dependence" in words or "ignore that rows of one speaker are alike" in words
    with open(written.parent / "tables" / "confusion.csv") as file:
        counts = [int(row["count"]) for row in csv.DictReader(file) if row["experiment"] == "words"]
    runs = [run["test"]["synthetic"]["confusion_matrix"] for run in results["experiments"][1]["runs"]]
    assert counts == [sum(run[i][j] for run in runs) for i in range(4) for j in range(4)]


def test_ratings_of_the_experiments_that_give_them(job, written):
    results = json.loads((job / "results.json").read_text())
    with open(written.parent / "tables" / "valence-arousal-dominance.csv") as file:
        rows = list(csv.DictReader(file))
    names = [(row["experiment"], row["rating"]) for row in rows]
    assert names == [(name, rating) for name in ("words", "words: floor") for rating in RATINGS]
    rows = rows[:3]
    for row in rows:
        found = results["experiments"][1]["statistics"]["synthetic"]["vad"][row["rating"]]
        assert float(row["ccc"]) == pytest.approx(found["ccc"]["pooled"]) and row["ci_units"] == "rows"
        assert float(row["rmse_mean_of_runs"]) == pytest.approx(found["rmse"]["mean"])
    assert "Valence, arousal and dominance" in Page(written).words


def test_every_figure_and_table_has_its_files(written):
    names = {path.stem for path in (written.parent / "figures").iterdir()}
    for name in names:
        assert (written.parent / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (written.parent / "figures" / f"{name}.svg").read_text().startswith("<?xml")
    assert "shares-voice-b--synthetic" in names
    tables = {path.stem for path in (written.parent / "tables").iterdir()}
    assert {"results", "comparisons", "by-speaker", "by-session", "wrong-words--synthetic", "curves"} <= tables
    for name in tables:
        assert (written.parent / "tables" / f"{name}.tex").read_text().count(r"\midrule") == 1
        assert (written.parent / "tables" / f"{name}.md").read_text().startswith("| ")


def test_the_command_writes_beside_the_job_and_trains_nothing(job, no_drawing, capsys):
    before = files(job)
    assert main(["report", str(job)]) == 0
    assert capsys.readouterr().out.strip() == str(job / "report" / "report.html")
    first = files(job / "report")
    (job / "report" / "figures" / "stale.png").write_text("of an earlier report")
    assert main(["report", str(job)]) == 0
    assert files(job / "report") == first  # replaced, and the same to the byte
    shutil.rmtree(job / "report")
    assert files(job) == before


def test_two_jobs_are_compared(job, tmp_path, no_drawing):
    other = fabricate(tmp_path / "other", experiments=1, rows=20)
    page = Page(write_report([job, other], tmp_path / "both"))
    assert "small and fabricated" in page.words
    assert "small: words" in page.words and "fabricated: experiment-0" in page.words


def test_experiments_on_other_rows_are_not_compared_and_the_report_says_so(tmp_path, no_drawing):
    one = fabricate(tmp_path / "one", experiments=2, rows=40)
    other = fabricate(tmp_path / "other", experiments=1, rows=20)
    said = "Not compared on fabricated, having been tested on different rows or classes: "
    assert said not in Page(write_report([one])).words
    words = Page(write_report([one, other], tmp_path / "both")).words
    assert f"{said}one: experiment-0 and other: experiment-0; one: experiment-1 and other: experiment-0." in words


def test_sections_without_data_are_left_out(tmp_path, no_drawing):
    corpus = {"rows": 48, "speakers": 4, "sessions": 2, "audio_dim": 6, "frames": [1, 3], "words": [2, 5]}
    job = real_job(
        tmp_path,
        evaluation_mode="cross_corpus",
        corpora={"synthetic": {"generator": corpus}, "other": {"generator": corpus}},
        test_datasets=["other"],
        experiments=[{"name": "voice", "modality": "audio", "use_curriculum_learning": False}],
        seeds=[1],
    )
    for path in job.glob("*/*/*/history.json"):
        path.write_text("[]")
    page = Page(write_report([job]))
    assert "cross-corpus" in page.sections and "training" not in page.sections
    assert "Differences between experiments" not in page.words
    assert (job / "report" / "figures" / "cross-corpus.png").exists()


def test_other_peoples_files_are_safe(job, tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    (tmp_path / "figures").mkdir()
    with pytest.raises(InputError, match="holds something other than a report"):
        write_report([job], tmp_path)
    with pytest.raises(InputError, match="holds something other than a report"):
        write_report([job], tmp_path / "thesis.tex")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figures", "thesis.tex"]


def test_wrong_input_is_one_message(job, tmp_path, capsys, monkeypatch):
    assert main(["report", str(tmp_path)]) == 2
    assert "holds no results.json" in capsys.readouterr().err
    assert main(["report", str(job), str(job)]) == 2
    assert "is given twice" in capsys.readouterr().err
    assert main(["report"]) == 2
    assert "FOLDER" in capsys.readouterr().err
    monkeypatch.setattr(report.importlib.util, "find_spec", lambda name: None if name == "matplotlib" else name)
    assert main(["report", str(job)]) == 2
    assert "a report needs matplotlib: pip install emomm[report]" in capsys.readouterr().err


def test_a_report_that_breaks_off_leaves_the_old_one(job, tmp_path, no_drawing, monkeypatch):
    page = write_report([job], tmp_path / "report")
    before = files(tmp_path)

    def full(page):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(report, "render", full)
    with pytest.raises(InputError, match="No space left"):
        write_report([job], page.parent)
    assert files(tmp_path) == before


def test_tables_in_three_forms():
    rows = [["a_b & 50 %", 0.12345, Marked("0.9 [0.8, 1.0]", "ab")], ["x | y", None, Marked("−0.1", "")]]
    table = Table("t", "A table", ["name", "value", "score"], rows, "Less < more.")
    assert table.csv().splitlines()[2] == "x | y,,−0.1"
    assert table.markdown().splitlines() == [
        "| name | value | score |",
        "| :--- | ---: | ---: |",
        "| a_b & 50 % | 0.123 | 0.9 [0.8, 1.0]<sup>ab</sup> |",
        r"| x \| y | – | −0.1 |",
        "",
        "Less &lt; more.",
    ]
    latex = table.latex()
    assert r"a\_b \& 50 \% & 0.123 & 0.9 [0.8, 1.0]$^{ab}$ \\" in latex
    assert r"x | y & -- & $-$0.1 \\" in latex and r"\begin{tabular}{lrr}" in latex
    assert r"\caption{A table. Less $<$ more.}" in latex


def test_in_a_browser(written):
    """No error, nothing fetched, no horizontal scroll, no serious finding of axe; wide, narrow, light and dark."""
    for package in ("playwright", "axe_playwright_python"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    browser_path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser_path is None:
        pytest.skip("there is no Chromium")
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import sync_playwright

    said, asked = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=FLAGS)
        for width, scheme in itertools.product((1280, 390), ("light", "dark")):
            view = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
            view.on("console", lambda message: said.append(message.text))
            view.on("pageerror", lambda error: said.append(str(error)))
            view.on("request", lambda request: asked.append(request.url))
            view.goto(written.as_uri())
            view.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
            assert view.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0, (width, scheme)
            assert view.evaluate("[...document.images].every(image => image.naturalWidth)"), (width, scheme)
            if (width, scheme) in ((390, "light"), (1280, "dark")):  # it takes seconds
                continue
            findings = Axe().run(view).response["violations"]
            serious = [each["id"] for each in findings if each["impact"] in ("serious", "critical")]
            assert serious == [], (width, scheme)
        browser.close()
    assert said == []
    assert {url for url in asked if not url.startswith("data:")} == {written.as_uri()}


@pytest.mark.parametrize("break_off", [False, True])
def test_figures_that_processes_draw_are_those_of_one(written, job, tmp_path, monkeypatch, caplog, break_off):
    """Where one of them is killed, too."""
    parent, drawn = os.getpid(), []

    def save(made, folder, name):
        if os.getpid() == parent:
            drawn.append(name)
        elif break_off and name.startswith("learning"):
            os.kill(os.getpid(), signal.SIGKILL)
        return save_figure(made, folder, name)

    save_figure = figures.save
    monkeypatch.setattr(drawing, "_START", "fork")
    monkeypatch.setattr(drawing, "core_count", lambda: 2)
    monkeypatch.setattr(figures, "save", save)
    several = write_report([job], tmp_path / "several")
    assert any(name.startswith("learning") for name in drawn) == break_off
    assert ("drawing goes on in one process" in caplog.text) == break_off
    first, second = (
        {str(file.relative_to(path.parent)): file.read_bytes() for file in path.parent.rglob("*") if file.is_file()}
        for path in map(Path, (several, written))
    )
    assert first.keys() == second.keys() and len(first) > 30
    assert [name for name in first if first[name] != second[name]] == []


def test_a_report_that_fails_ends_no_job(tmp_path, monkeypatch, capsys):
    """Whatever it fails with: what comes after it is done."""
    recipe = write_recipe(tmp_path, modality="audio", num_epochs=1)
    pushed = []

    def broken(folders):
        raise RuntimeError("no\nfonts")

    monkeypatch.setattr("emomm.reporting.report.write_report", broken)
    monkeypatch.setattr("emomm.cli.run.share", lambda *given: pushed.append(given))
    monkeypatch.setattr("emomm.sharing.uploading.check_destination", lambda name: None)
    assert main(["run", str(recipe), "--push_to_hub", "--hub_model_id", "user/name"]) == 0
    said = capsys.readouterr().err
    assert "no report: RuntimeError: no fonts" in said and "Traceback" not in said and len(pushed) == 1


def test_names_of_corpora_make_names_of_files_that_differ():
    names = ["语料一", "语料二", "b-c", "c", "B_C"]
    stems = [file_stem("a", name) for name in names] + [file_stem("a-b", "c")]
    assert len(set(stems)) == 5 and all(re.fullmatch(r"[a-z0-9-]+", stem) for stem in stems)
    assert file_stem("a", "b-c") != file_stem("a-b", "c")
