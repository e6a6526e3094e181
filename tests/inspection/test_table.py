import csv
import json
import math
import re
import sys
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skvision.inspection import Table


@pytest.fixture
def table():
    return Table(
        ["name", "images", "accuracy", "shape"],
        [
            ["a|b <i>", 1234567, 0.123456, (3, 4)],
            ["c", None, None, None],
            ["d", np.int64(5), np.float32(2.0), (10,)],
        ],
        title="Results <of> a run",
        notes=["First note.", "a < b & c"],
    )


def cells_of(page):
    """Return the texts of the cells, row by row, as a browser reads them."""

    class Reader(HTMLParser):
        def __init__(self):
            super().__init__()
            self.rows, self.cell = [], False

        def handle_starttag(self, tag, attrs):
            if tag == "tr":
                self.rows.append([])
            if tag in ("th", "td"):
                self.rows[-1].append("")
                self.cell = True

        def handle_endtag(self, tag):
            if tag in ("th", "td"):
                self.cell = False

        def handle_data(self, data):
            if self.cell:
                self.rows[-1][-1] += data

    reader = Reader()
    reader.feed(page)
    return [[cell.strip() for cell in row] for row in reader.rows]


def markdown_cells(line):
    """Return the texts of the cells of a line of Markdown."""
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_text(table):
    expected = """\
Results <of> a run

name        images    accuracy  shape
-------  ---------  ----------  -------
a|b <i>  1,234,567      0.1235  (3, 4)
c
d                5           2  (10,)

First note.
a < b & c"""
    assert str(table) == repr(table) == expected


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (337674, "337,674"),
        (-1234, "-1,234"),
        (0.5, "0.5"),
        (12.3456, "12.35"),
        (1e-9, "1e-09"),
        (math.nan, "nan"),
        (math.inf, "inf"),
        (np.float64(0.78541), "0.7854"),
        (np.int32(1000), "1,000"),
        (True, "True"),
        ("73.63 ± 2.95", "73.63 ± 2.95"),
        ("two\nlines", "two lines"),
        ((6, 28, 28), "(6, 28, 28)"),
        (None, ""),
    ],
)
def test_cells(cell, text):
    lines = str(Table(["value"], [[cell]])).split("\n")
    assert len(lines) == 3
    assert lines[-1].strip() == text


def test_columns_with_anything_but_numbers_stand_left():
    table = Table(["mixed", "flags"], [[1, True], ["all", False]])
    lines = str(table).splitlines()
    assert lines[2].startswith("1 ") and "text-align: right" not in table._repr_html_()
    assert re.fullmatch(r"\|:-+\|:-+\|", table.to_markdown().splitlines()[1])


def test_a_table_without_rows():
    table = Table(["a", "bc"], [])
    assert str(table).splitlines()[0].split() == ["a", "bc"]
    header, line = table.to_markdown().splitlines()
    assert markdown_cells(header) == ["a", "bc"] and set(line) == set("|-")
    assert list(table.to_frame().columns) == ["a", "bc"]


def test_markdown(table):
    title, empty, *lines = table.to_markdown().splitlines()
    assert (title, empty) == ("## Results &lt;of> a run", "")
    assert [markdown_cells(line) for line in [lines[0], *lines[2:5]]] == [
        ["name", "images", "accuracy", "shape"],
        [r"a\|b &lt;i>", "1,234,567", "0.1235", "(3, 4)"],
        ["c", "", "", ""],
        ["d", "5", "2", "(10,)"],
    ]
    assert re.fullmatch(r"\|:-+\|-+:\|-+:\|:-+\|", lines[1])
    assert lines[5:] == ["", "First note.", "", "a &lt; b &amp; c"]


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("n_hidden", "n_hidden"),
        ("_own_", r"\_own\_"),
        ("a __b__", r"a \_\_b\_\_"),
        ("2*3*4", r"2\*3\*4"),
        ("[x](y)", r"\[x\](y)"),
        ("a\\|b", r"a\\\|b"),
        ("`code`", r"\`code\`"),
        ("~~old~~", r"\~\~old\~\~"),
    ],
)
def test_markdown_is_escaped(text, escaped):
    assert Table(["x"], [[text]]).to_markdown().splitlines()[2][2:-2].strip() == escaped


def test_html(table):
    page = table._repr_html_()
    assert cells_of(page) == [
        ["name", "images", "accuracy", "shape"],
        ["a|b <i>", "1,234,567", "0.1235", "(3, 4)"],
        ["c", "", "", ""],
        ["d", "5", "2", "(10,)"],
    ]
    assert "<caption>Results &lt;of&gt; a run</caption>" in page
    assert "<p>a &lt; b &amp; c</p>" in page
    assert page.count('<th style="text-align: right;">') == 2


# What no XML or HTML parser would give back as it is.
texts = st.text(st.characters(blacklist_categories=("Cc", "Cs", "Zl", "Zp")))


@given(st.lists(st.lists(texts, min_size=2, max_size=2), max_size=4))
def test_any_text_survives_html(rows):
    assert cells_of(Table(["a", "b"], rows)._repr_html_())[1:] == [
        [text.strip() for text in row] for row in rows
    ]


def test_attributes_and_frame(table):
    assert table.columns == ["name", "images", "accuracy", "shape"]
    assert table.rows[0] == ["a|b <i>", 1234567, 0.123456, (3, 4)]
    assert table.title == "Results <of> a run"
    assert list(table.notes) == ["First note.", "a < b & c"]
    expected = pd.DataFrame(
        {
            "name": ["a|b <i>", "c", "d"],
            "images": [1234567, np.nan, 5],
            "accuracy": [0.123456, np.nan, 2.0],
            "shape": [(3, 4), None, (10,)],
        }
    )
    pd.testing.assert_frame_equal(table.to_frame(), expected)


def test_without_pandas(table, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        table.to_frame()


def test_rows_are_copied():
    rows = [[1, 2]]
    table = Table(("a", "b"), rows)
    rows[0].append(3)
    assert table.rows == [[1, 2]]


def test_save_text(table, tmp_path):
    for name, text in [("t.txt", str(table)), ("t.MD", table.to_markdown())]:
        path = table.save(tmp_path / "new" / "folder" / name)
        assert path == tmp_path / "new" / "folder" / name
        assert path.read_text(encoding="utf-8") == text + "\n"


def test_save_html(table, tmp_path):
    page = table.save(str(tmp_path / "t.html")).read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert "<title>Results &lt;of&gt; a run</title>" in page
    assert cells_of(page) == cells_of(table._repr_html_())


def test_save_csv(tmp_path):
    rows = [["a,b\n", 1234567, 1 / 3], ["ü", None, np.float64(0.25)]]
    path = Table(["x", "y", "z"], rows).save(tmp_path / "t.csv")
    with path.open(encoding="utf-8", newline="") as file:
        found = list(csv.reader(file))
    assert found == [
        ["x", "y", "z"],
        ["a,b\n", "1234567", repr(1 / 3)],
        ["ü", "", "0.25"],
    ]


def test_save_json(table, tmp_path):
    text = table.save(tmp_path / "t.json").read_text(encoding="utf-8")
    assert json.loads(text) == {
        "title": "Results <of> a run",
        "columns": ["name", "images", "accuracy", "shape"],
        "rows": [
            ["a|b <i>", 1234567, 0.123456, [3, 4]],
            ["c", None, None, None],
            ["d", 5, 2.0, [10]],
        ],
        "notes": ["First note.", "a < b & c"],
    }
    rows = [[np.nan], [np.float32("inf")], [np.bool_(True)], [int]]
    text = Table(["x"], rows).save(tmp_path / "t.json").read_text(encoding="utf-8")
    strict = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert strict["rows"] == [[None], [None], [True], ["<class 'int'>"]]


def test_long_tables_are_shown_whole(tmp_path):
    table = Table(["i", "square"], [[i, i * i] for i in range(5000)])
    assert str(table).splitlines()[-1] == "4,999  24,990,001"
    assert len(cells_of(table._repr_html_())) == 5001
    assert len(pd.read_csv(table.save(tmp_path / "t.csv"))) == 5000


@pytest.mark.parametrize("name", ["table", "table.xlsx", ".md"])
def test_unknown_suffix(table, tmp_path, name):
    with pytest.raises(ValueError, match=r"expected one of \.md, \.html, \.csv, .*txt"):
        table.save(tmp_path / "new" / name)
    assert not (tmp_path / "new").exists()
