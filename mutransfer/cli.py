"""The command line: finds the command, and says in one line what went wrong."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from typing import Any

from mutransfer.arguments import typed_command
from mutransfer.checks import one_of
from mutransfer.manual import COMMANDS

USAGE = 2
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0, 1 for an error, 2 for bad input, 130 for Ctrl-C."""
    words = list(sys.argv[1:] if argv is None else argv)
    warnings.showwarning = _show_warning
    if not words or words[0] in ("-h", "--help"):
        print(_usage())
        return 0 if words else USAGE
    if words[0] == "--version":
        print(f"mutransfer {version('mutransfer')}")
        return 0
    try:
        one_of("command", words[0], COMMANDS)
        module = COMMANDS[words[0]].module or f"commands.{words[0].replace('-', '_')}"
        import_module(f"mutransfer.{module}").run(words[1:])
    except ValueError as error:
        return _complain(str(error), USAGE)
    except KeyboardInterrupt:
        return _complain(f"interrupted; what is done is kept. To go on: {typed_command(words)}", INTERRUPTED)
    except RuntimeError as error:
        if type(error).__module__.partition(".")[0] != "mutransfer":
            raise
        return _complain(str(error), 1)
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except OSError as error:
        return _complain(f"expected {error.filename} to be readable, got {error.strerror}; give another path", USAGE)
    return 0


def _usage() -> str:
    lines = [f"  mutransfer {name + ' ' + c.arguments:34} {c.summary}" for name, c in COMMANDS.items()]
    return "\n".join(
        [
            "Which learning rate to train the big model with, and how sure you can be.",
            "",
            *lines,
            "",
            "`mutransfer COMMAND --help` lists its options. Without EXPERIMENT, sweep runs the default width study.",
        ]
    )


def _complain(message: str, code: int) -> int:
    print(f"mutransfer: {message}", file=sys.stderr)
    return code


def _show_warning(message: Any, *_: Any, **__: Any) -> None:
    print(f"mutransfer: warning: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
