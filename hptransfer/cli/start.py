"""How a command starts and ends: its options parsed, its stage imported and run, mistakes as one line with an exit code."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import hptransfer
from hptransfer.base import interrupts
from hptransfer.base.commands import PROGRAM, command
from hptransfer.base.errors import HptransferError, in_words, is_of_the_machine, require_memory, short_line
from hptransfer.base.log import show_on_stderr
from hptransfer.cli.completion import SHELLS, script
from hptransfer.cli.options import text
from hptransfer.cli.stages import STAGES, Stage, stage

ABOUT = "Tune learning rate and weight decay at small width, know them at large width."
HINTS = f"""\
Each has --help, and is `python -m {PROGRAM}.COMMAND` too. Start with: {command("search", "--optimizer", "shampoo")}
For completion by the shell: eval "$({PROGRAM} --print-completion bash)", in its start-up file."""


class Parser(argparse.ArgumentParser):
    """A parser whose mistakes are one line, as all of hptransfer's are. Values are lines of text unless an option says more.
    Names of options are whole: of `plan`, ``--width 64`` would be one of its ``--widths``, and no target."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)
        self.register("type", None, text)

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {short_line(message)} (see --help)", file=sys.stderr)
        raise SystemExit(2)


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """The console script: ``hptransfer COMMAND ...``, or what there is. Ends the process with the command's exit code. Only one
    that is of this command alone, without ``argv``, gets signal handlers."""
    if argv is None:
        interrupts.watch()
    words = sys.argv[1:] if argv is None else list(argv)
    if words and not words[0].startswith("-"):
        run(lambda: perform(words[0], words[1:]))
    run(lambda: _without_command(words))


def run_stage(name: str) -> NoReturn:
    """``python -m hptransfer.<name> ...``. Ends the process with the command's exit code."""
    interrupts.watch()
    run(lambda: perform(name, sys.argv[1:]))


def perform(name: str, argv: Sequence[str]) -> int:
    """Do what ``hptransfer <name> <argv>`` asks for; the exit code. Errors that are a user's mistake are raised."""
    chosen, args = stage(name), parse(name, argv)
    for variable, value in chosen.environment.items():
        os.environ.setdefault(variable, value)
    require_memory()
    module, _, function = chosen.main.partition(":")
    code: int | None = getattr(importlib.import_module(module), function)(args)
    return code or 0


def parse(name: str, argv: Sequence[str]) -> argparse.Namespace:
    """The options of a command. Raises UsageError where there is no such command; exits with 2 where an option is wrong."""
    chosen = stage(name)
    return _filled(Parser(prog=command(name), description=_sentence(chosen)), chosen).parse_args(argv)


def run(main: Callable[[], int | None]) -> NoReturn:
    """Run a command's ``main``; a user's mistake is one line and exit code 2, a failed check 1, what the machine
    refuses too, an interrupt 130."""
    show_on_stderr()
    try:
        code = main() or 0
        sys.stdout.flush()
    except HptransferError as error:
        print(f"error: {error}", file=sys.stderr)
        code = error.exit_code
    except KeyboardInterrupt:
        code = interrupts.leave()
    except BrokenPipeError:
        # The reader of our output went away; keep the interpreter from failing on its last flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:
        if interrupts.has_come():  # a library that it met in its tidying up made another error of it
            code = interrupts.leave()
        elif not is_of_the_machine(error):
            raise
        else:
            print(f"error: {in_words(error)}", file=sys.stderr)
            code = 1
    interrupts.done()
    raise SystemExit(code)


def _without_command(words: Sequence[str]) -> None:
    """What is asked of hptransfer itself; by default what commands there are."""
    parser = Parser(prog=PROGRAM, description=ABOUT, epilog=HINTS, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {hptransfer.__version__}")
    parser.add_argument("--print-completion", choices=SHELLS, help="print what makes this shell complete commands and options")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for one in STAGES.values():
        _filled(commands.add_parser(one.name, help=one.summary, description=_sentence(one)), one)
    args = parser.parse_args(words)
    if args.print_completion:
        print(script(parser, args.print_completion))
    else:
        parser.print_help()


def _filled(parser: argparse.ArgumentParser, one: Stage) -> argparse.ArgumentParser:
    one.options(parser)
    return parser


def _sentence(one: Stage) -> str:
    return f"{one.summary[0].upper()}{one.summary[1:]}."
