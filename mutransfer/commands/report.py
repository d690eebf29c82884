"""The report of a result folder, from its records."""

from __future__ import annotations

from pathlib import Path

from mutransfer.arguments import ResultArguments, parse
from mutransfer.terminal import print_result, print_search


def run(words: list[str]) -> None:
    """Write the tables, figures, report.html and summary.json of a result folder from its records alone."""
    from mutransfer.study.result import read_result, write_result
    from mutransfer.study.search_result import is_search, read_search, write_search

    path = Path(parse("report", ResultArguments, words).result)
    if is_search(path):
        found = read_search(path)
        write_search(found)
        print_search(found)
        return
    result = read_result(path)
    write_result(result)
    print_result(result)
