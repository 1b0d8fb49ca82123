"""What is a person's of a sheet, whichever program wrote it."""

from collections.abc import Mapping, Sequence

from sharedllm.text.documents import Turn
from sharedllm.text.prose import is_sentence
from sharedllm.text.readers.found import Unreadable
from sharedllm.text.readers.tables import named_rows, tables_of

_OTHER = "cells that are no text"


def text_of_sheet(rows: Sequence[Sequence[str]], source: str) -> tuple[tuple[Turn, ...], Mapping[str, int]]:
    """The column of text as of any table, and if none is that the cells of sentences; and what is left out."""
    try:
        tables = tables_of(named_rows(rows), source)
    except Unreadable:
        cells = [cell for row in rows for cell in row]
        said = [cell for cell in cells if is_sentence(cell)]
        return tuple(map(Turn, said)), {_OTHER: sum(map(len, cells)) - sum(map(len, said))}
    return tuple(turn for table in tables for turn in table.turns), tables[0].left_out


def filled(rows: Sequence[Mapping[int, str]]) -> list[list[str]]:
    """Rows of cells by the number of their column, without rows and columns in which there is nothing anywhere."""
    columns = sorted({column for cells in rows for column in cells})
    return [[cells.get(column, "") for column in columns] for cells in rows if cells]
