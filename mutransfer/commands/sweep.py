"""Run, resume or extend a sweep."""

from __future__ import annotations

from mutransfer.arguments import read_sweep, typed_command
from mutransfer.terminal import open_console, print_result, print_search


def run(words: list[str]) -> None:
    """Run, resume or extend a sweep; print the verdict and write the report."""
    from mutransfer.study.result import read_swept, write_result
    from mutransfer.study.search_result import read_search, write_search
    from mutransfer.sweep.driver import run_sweep
    from mutransfer.sweep.progress import watch

    config = read_sweep("sweep", words)
    outcome = run_sweep(config, command=typed_command(["sweep", *words]), listener=watch(open_console()))
    if config.space:
        found = read_search(outcome.folder)
        write_search(found)
        print_search(found)
    else:
        result = read_swept(outcome.folder)
        write_result(result)
        print_result(result)
    for search in outcome.searched:
        print(search.sentence)
    if outcome.busy is not None:
        print(f"{outcome.ran} trials, slots busy {outcome.busy:.0%} of the time")
