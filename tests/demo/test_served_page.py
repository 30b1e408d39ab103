"""A Space's page, served by a process that has no emomm: asked by HTTP, and in a browser."""

import importlib.util
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
import soundfile
from serving import served
from test_live import talk
from test_page import asked
from test_page import scores
from test_report import BROWSERS
from test_report import FLAGS
from tiny_emotion_models import LABELS
from tiny_emotion_models import tiny_emotion_model
from tiny_speech_encoders import tiny_speech_encoder

from emomm.demo import markup as demo_html
from emomm.demo.space import write_space

WORDS = "i am so <script>alert(1)</script> angry ${1+1} {{value}}"
_BLOCK = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "emomm":
            raise ImportError("a Space has no emomm")

sys.meta_path.insert(0, Blocked())
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Where it is served, its log, its model and encoder, and a recording. One for all: it takes seconds to start."""
    if importlib.util.find_spec("gradio") is None:
        pytest.skip("gradio is not installed: pip install emomm[demo]")
    place = tmp_path_factory.mktemp("served")
    speech = tiny_speech_encoder(place / "speech", "wav2vec2-layer")
    model = tiny_emotion_model(place / "model", speech)
    folder = write_space(place / "space", "me/both")
    (place / "blocked").mkdir()
    (place / "blocked" / "sitecustomize.py").write_text(_BLOCK)
    soundfile.write(place / "recording.flac", talk((2, True)), 16000)
    environment = {
        "EMOMM_MODEL": model,
        "EMOMM_SPEECH_ENCODER": speech,
        "PYTHONPATH": str(place / "blocked"),
        "HF_HOME": str(place / "home"),
        "GRADIO_TEMP_DIR": str(place / "uploads"),
    }
    blocked = {**os.environ, "PYTHONPATH": environment["PYTHONPATH"]}
    tried = subprocess.run([sys.executable, "-c", "import emomm"], env=blocked, capture_output=True, text=True)
    assert "a Space has no emomm" in tried.stderr
    with served(folder / "app.py", place / "log", **environment) as address:
        yield SimpleNamespace(
            address=address, log=place / "log", model=model, speech=speech, recording=str(place / "recording.flac")
        )


def test_it_is_asked_by_http(page):
    from gradio_client import Client
    from gradio_client import handle_file

    client = Client(page.address, verbose=False, download_files=False)
    bars, details = client.predict(handle_file(page.recording), "i am so happy", api_name="/recognise")
    assert "Likeliest" in bars and all(bars.count(f"<span>{label}</span>") == 3 for label in LABELS)
    assert "Over the recording" in details and "happy" in details
    bars, details = client.predict(None, "", api_name="/recognise")
    assert 'role="alert"' in bars and "Traceback" not in bars and details == ""
    assert "Traceback" not in page.log.read_text()


def test_in_a_browser(page, tmp_path):
    """By keyboard, wide and narrow, light and dark: upload, type, press; the pipeline's numbers; nothing amiss."""
    for package in ("playwright", "axe_playwright_python"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    browser_path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser_path is None:
        pytest.skip("there is no Chromium")
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import sync_playwright

    expected = [
        asked(page.model, page.speech, audio=page.recording, text=WORDS),
        asked(page.model, page.speech, audio=page.recording),
        asked(page.model, page.speech, text=WORDS),
    ]
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"no audio")
    errors, requests = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=FLAGS)
        for width, scheme in ((1280, "dark"), (390, "light")):
            view = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
            view.set_default_timeout(120_000)
            view.on("console", lambda said: said.type == "error" and errors.append(said.text))
            view.on("pageerror", lambda error: errors.append(str(error)))
            view.on("request", lambda request: requests.append(request.url))
            view.goto(page.address)
            view.locator("#recording input[type=file]").first.set_input_files(page.recording)
            view.locator("#recording audio").first.wait_for(state="attached")
            focus(view, "#words textarea")
            view.keyboard.type(WORDS)
            if width == 390:
                view.keyboard.press("Control+Enter")
            else:
                view.keyboard.press("Tab")
                outline = view.evaluate("getComputedStyle(document.activeElement).outlineStyle")
                assert view.evaluate("document.activeElement.id") == "go" and outline == "solid"
                view.keyboard.press("Enter")
            view.locator("#bars [role=status]").wait_for()
            assert bars_of(view) == [
                {label: demo_html.percent(score) for label, score in scores(each).items()} for each in expected
            ]
            assert view.locator("#details .words li span").all_inner_texts() == [
                each["word"] for each in expected[0]["words"]
            ]
            assert view.locator("#details svg[role=img]").count() == len(LABELS) + 1
            focus(view, "#details summary")
            view.keyboard.press("Enter")
            assert view.locator("#details tbody tr").count() == 5 and view.locator("#details table").is_visible()
            assert view.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0, width
            parts = "[...document.querySelectorAll('.emomm *:not(.scroll *)')]"
            right = view.evaluate(f"Math.max(...{parts}.map(part => part.getBoundingClientRect().right))")
            assert right <= width  # nor is anything cut
            findings = Axe().run(view).response["violations"]
            assert [each["id"] for each in findings if each["impact"] in ("serious", "critical")] == [], width
        assert errors == []
        assert view.evaluate("window.gradio_config.run_history") is False  # else the browser keeps what was asked
        view.get_by_role("button", name="Clear").click()
        view.locator("#recording input[type=file]").first.set_input_files(bad)
        view.locator("#recording audio").first.wait_for(state="attached")  # its name shows only while it is sent
        view.keyboard.press("Escape")
        focus(view, "#go")
        view.keyboard.press("Enter")
        view.locator("#bars [role=alert]").wait_for()
        assert "bad.wav is no audio that can be read" in view.locator("#bars").inner_text()
        browser.close()
    assert set(errors) <= {"Waveform load error: MediaError"}  # the player, of the file that is no audio
    assert [url for url in requests if not url.startswith((page.address, "data:", "blob:"))] == []
    assert "Traceback" not in page.log.read_text()


def focus(view, selector):
    """By Tab alone, from where it is."""
    for _ in range(40):
        if view.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
        view.keyboard.press("Tab")
    raise AssertionError(f"{selector} can't be reached by Tab")


def bars_of(view):
    """The figures of each column, by their labels."""
    return [
        {
            row.locator("span").first.inner_text(): row.locator(".percent").inner_text()
            for row in column.locator("li").all()
        }
        for column in view.locator("#bars .columns section").all()
    ]
