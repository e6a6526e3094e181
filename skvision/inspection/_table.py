"""Tables for terminals, notebooks, reports and programs."""

from __future__ import annotations

import csv
import html
import io
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

_PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font-family: sans-serif; }}
table {{ border-collapse: collapse; }}
th, td {{ border-bottom: 1px solid #ccc; padding: 0.2em 0.6em; }}
</style>
{body}"""


class Table:
    """A small table that prints, shows in a notebook and can be saved.

    Parameters
    ----------
    columns : list of str
        Headings, all different.
    rows : list of lists
        A cell for each column. Floats are shown with up to 4 significant digits, ints
        with thousands separators, None as an empty cell, other objects as `str` has
        them. Columns of numbers are aligned to the right.
    title : str, default=None
        Heading of the table.
    notes : list of str, default=()
        Lines of text below the table.

    Attributes
    ----------
    columns, rows, title, notes
        As given; the cells keep their values, whatever is shown of them.

    Raises
    ------
    TypeError
        If `columns`, `rows` or `notes` are no lists of what they should hold.
    ValueError
        If there is no column, or two of the same name, or a row of another length.

    See Also
    --------
    parameter_table : The layers of a network.
    class_table : Accuracy of each class.

    Examples
    --------
    >>> from skvision.inspection import Table
    >>> table = Table(["network", "parameters", "accuracy"], [["base", 337674, 0.887]])
    >>> print(table)
    network      parameters    accuracy
    ---------  ------------  ----------
    base            337,674       0.887
    >>> print(table.to_markdown())
    | network   |   parameters |   accuracy |
    |:----------|-------------:|-----------:|
    | base      |      337,674 |      0.887 |
    """

    def __init__(
        self,
        columns: Sequence[str],
        rows: Iterable[Sequence[Any]],
        *,
        title: str | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        self.columns = _check_strings(columns, "columns")
        if not self.columns:
            raise ValueError("columns is empty; expected the name of a column.")
        twice = [name for name in self.columns if self.columns.count(name) > 1]
        if twice:
            raise ValueError(f"columns has the name {twice[0]!r} twice.")
        if not isinstance(rows, Iterable):
            raise TypeError(f"rows must be a list of lists; got {rows!r}.")
        self.rows = [_check_row(row, i, self.columns) for i, row in enumerate(rows)]
        self.title = title
        self.notes = _check_strings(notes, "notes")

    # ---------------------------------------------------------------- shown

    def __str__(self) -> str:
        lines = [line.rstrip() for line in self._tabulated("simple").split("\n")]
        if self.title is not None:
            lines = [self.title, "", *lines]
        return "\n".join([*lines, *([""] if self.notes else []), *self.notes])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        # A long table must not push the rest of a notebook away.
        return f'<div style="max-height: 40em; overflow: auto">\n{self._html()}\n</div>'

    def to_markdown(self) -> str:
        """Return the table as Markdown, as GitHub has it.

        Returns
        -------
        text : str
            Title, table and notes.
        """
        lines = [self._tabulated("pipe", _escape_markdown)]
        if self.title is not None:
            lines = [f"## {_escape_markdown(self.title)}", "", *lines]
        for note in self.notes:
            lines += ["", _escape_markdown(note)]
        return "\n".join(lines)

    # ------------------------------------------------------------- exported

    def to_frame(self) -> Any:
        """Return the table as a pandas frame.

        Returns
        -------
        frame : pandas.DataFrame
            With the values of the cells; title and notes are left out.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError(
                "Table.to_frame needs pandas. Install it with 'pip install pandas'."
            ) from error
        return pd.DataFrame(self.rows, columns=self.columns)

    def save(self, path: str | os.PathLike) -> Path:
        """Write the table into a file, whose suffix says in which format.

        Parameters
        ----------
        path : str or os.PathLike
            Ends in .md, .html, .csv, .json or .txt; folders that are missing are made.
            CSV and JSON hold the values of the cells, the others what is shown of
            them. CSV leaves out title and notes. JSON has the keys title, columns,
            rows and notes, and null for what is not finite.

        Returns
        -------
        path : pathlib.Path
            Of the file.

        Raises
        ------
        ValueError
            If the suffix is another one.
        """
        path = Path(path)
        formats = {
            ".md": self.to_markdown,
            ".html": self._page,
            ".csv": self._csv,
            ".json": self._json,
            ".txt": self.__str__,
        }
        if path.suffix.lower() not in formats:
            raise ValueError(
                f"The path {str(path)!r} has the suffix {path.suffix!r}; expected one "
                f"of {', '.join(formats)}."
            )
        text = formats[path.suffix.lower()]()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8", newline="\n")
        return path

    # -------------------------------------------------------------- private

    def _tabulated(self, form: str, change: Callable[[str], str] = str) -> str:
        """Return columns and rows in a form of tabulate's, their texts changed."""
        return tabulate(
            [[change(_text(cell)) for cell in row] for row in self.rows],
            headers=list(map(change, self.columns)),
            tablefmt=form,
            disable_numparse=True,
            colalign=["right" if right else "left" for right in self._numeric()],
        )

    def _numeric(self) -> list[bool]:
        """Return for each column whether all that it holds are numbers."""
        columns = [[row[i] for row in self.rows] for i in range(len(self.columns))]
        there = [[cell for cell in cells if cell is not None] for cells in columns]
        return [bool(cells) and all(map(_is_number, cells)) for cells in there]

    def _html(self) -> str:
        table = self._tabulated("html")
        if self.title is not None:
            caption = f"<table>\n<caption>{html.escape(self.title)}</caption>"
            table = table.replace("<table>", caption, 1)
        return "\n".join([table, *(f"<p>{html.escape(x)}</p>" for x in self.notes)])

    def _page(self) -> str:
        return _PAGE.format(title=html.escape(self.title or "Table"), body=self._html())

    def _csv(self) -> str:
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([_plain(cell) for cell in row] for row in self.rows)
        return file.getvalue().removesuffix("\n")

    def _json(self) -> str:
        content = {
            "title": self.title,
            "columns": self.columns,
            "rows": [[_finite(_plain(cell)) for cell in row] for row in self.rows],
            "notes": self.notes,
        }
        return json.dumps(content, indent=2, ensure_ascii=False, default=str)


def _check_strings(found: Any, name: str) -> list[str]:
    if (
        isinstance(found, str)
        or not isinstance(found, Iterable)
        or not all(isinstance(text, str) for text in found)
    ):
        raise TypeError(f"{name} must be a list of str; got {found!r}.")
    return list(found)


def _check_row(row: Any, i: int, columns: list[str]) -> list[Any]:
    if isinstance(row, str) or not isinstance(row, Iterable):
        raise TypeError(f"rows must be a list of lists; row {i} is {row!r}.")
    if len(row := list(row)) != len(columns):
        raise ValueError(
            f"Row {i} has {len(row)} cell(s); expected {len(columns)}, one for each of "
            f"the columns {columns}."
        )
    return row


def _is_number(cell: Any) -> bool:
    return isinstance(cell, Real) and not isinstance(cell, bool)


def _text(cell: Any) -> str:
    """Return what is shown of a cell, in one line."""
    if cell is None:
        return ""
    if not _is_number(cell):
        return " ".join(str(cell).splitlines())
    return f"{int(cell):,}" if isinstance(cell, Integral) else f"{float(cell):.4g}"


def _plain(cell: Any) -> Any:
    """Return numbers of NumPy as numbers of Python."""
    return cell.item() if isinstance(cell, np.generic) else cell


def _finite(cell: Any) -> Any:
    return None if isinstance(cell, float) and not math.isfinite(cell) else cell


def _escape_markdown(text: str) -> str:
    """Make a text appear as it is."""
    text = " ".join(text.splitlines()).replace("&", "&amp;").replace("<", "&lt;")
    # Underscores within a word mean nothing.
    return re.sub(r"[\\`*\[\]|~]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", text)
