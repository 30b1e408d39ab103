"""Text of users is text in Markdown and in CSV, whatever it holds; read back by a real Markdown parser and by csv."""

import csv
import io
import re
from html.parser import HTMLParser

import pytest

from emomm.markup import Markdown
from emomm.markup import code
from emomm.markup import csv_cell
from emomm.markup import is_web_address
from emomm.markup import link
from emomm.markup import markdown
from emomm.reporting.table import Marked
from emomm.reporting.table import Table

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[click](javascript:alert(1))",
    "![x](javascript:alert(1))",
    "[a]: javascript:alert(1)",
    "[a][b]",
    "<javascript:alert(1)>",
    "# a heading",
    "- a list",
    "+ a list",
    "1. a list",
    "1) a list",
    "> a quotation",
    "--- ",
    "===",
    "~~~",
    "```\n<b>",
    "a | b",
    "*a* **b** _c_ __d__ `e`",
    "&lt;b&gt; &#60;",
    "back\\slash \\<b>",
    "two\n\n# lines",
    "emodb_emobank, snake_case_name and 0.5 [0.4, 0.6]",
]


class _Text(HTMLParser):
    def __init__(self, html: str):
        super().__init__(convert_charrefs=True)
        self.tags, self.text = set(), ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize("text", HOSTILE)
def test_any_text_is_shown_as_it_is(text):
    markdown_it = pytest.importorskip("markdown_it")
    render = markdown_it.MarkdownIt("commonmark", {"html": True}).enable("table").render
    plain = " ".join(text.split())
    for before in ("", "- ", "Of this: "):
        found = _Text(render(f"{before}{markdown(text)}"))
        assert found.text.strip() == before.removeprefix("- ") + plain and found.tags <= {"p", "ul", "li"}
    cells = _Text(render(f"| a | b |\n|---|---|\n| {markdown(text)} | end |"))
    assert cells.tags == {"table", "thead", "tbody", "tr", "th", "td"}
    assert [cell for cell in cells.text.split("\n") if cell][2:] == [plain, "end"]


def test_names_stay_readable():
    assert markdown("emodb_emobank, 0.5 [0.4, 0.6] - c++") == "emodb_emobank, 0.5 [0.4, 0.6] - c++"
    assert markdown("-0.5 to +0.5") == "-0.5 to +0.5" and markdown("0.5") == "0.5"
    assert markdown(Markdown("**bold**")) == "**bold**" and markdown(3) == "3"


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)",
        "JavaScript:alert(1)",
        "data:text/html,x",
        "file:///etc",
        "//host",
        "x",
        "http://",
        "http://[",
        "http://a b",
    ],
)
def test_only_web_addresses_become_links(address):
    assert not is_web_address(address)
    assert "](" not in link("licence", address).replace("\\](", "") and link("licence", address).startswith("licence")


def test_a_link_ends_where_it_should():
    assert link("CC0", "https://example.org/a/1.0/?b=c&d#e") == "[CC0](https://example.org/a/1.0/?b=c&d#e)"
    assert link("x](y", "https://example.org/a)b") == "[x\\](y](https://example.org/a%29b)"
    assert link("x", 'https://example.org/a)"b') == "[x](https://example.org/a%29%22b)"
    assert link("x", "") == "x"


def test_code_has_no_way_out():
    assert code("a`b`") == "`ab`" and code("two\nlines") == "`two lines`"


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "＝1", '=HYPERLINK("http://x")']
)
def test_no_cell_is_a_formula(text):
    table = Table("t", "t", [text, "b"], [[text, -0.5], [Marked(text, ""), None]])
    rows = list(csv.reader(io.StringIO(table.csv(), newline="")))
    shown = "'" + text.replace("\r", " ")
    assert [row[0] for row in rows] == [shown] * 3
    assert rows[1][1] == "-0.5"  # a number is a number
    assert csv_cell("a\r\n=1") == "a =1"  # no cell of its own
    assert csv_cell("a=b") == "a=b" and csv_cell(-0.5) == -0.5 and csv_cell(None) is None


def test_the_markdown_of_a_table_and_its_note_are_text():
    text = Table("t", "t", ["<b>"], [["[x](javascript:alert(1))"]], "See <script>.").markdown()
    assert "<" not in text and re.search(r"(?<!\\)\]\(", text) is None
