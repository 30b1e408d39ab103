"""docs/known_corpora.md is what the specs say."""

import importlib.util

from conftest import ROOT

from emomm.corpora.release_specs import CAMEO
from emomm.corpora.release_specs import RELEASES


def test_the_page_is_that_of_the_specs():
    spec = importlib.util.spec_from_file_location("corpora_page", ROOT / "scripts" / "corpora_page.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    text = made.page()
    assert all(f"\n## {each.name}\n" in text for each in RELEASES) and all(each.name in text for each in CAMEO)
    assert made.PAGE.read_text(encoding="utf-8") == text, "python scripts/corpora_page.py writes it again"
