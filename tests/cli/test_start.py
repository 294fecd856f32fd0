"""How commands start, end and fail, whichever they are."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hptransfer import cli
from hptransfer.base.errors import CheckFailed, UsageError
from hptransfer.cli.completion import SHELLS
from hptransfer.cli.stages import STAGES


def ended(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    with pytest.raises(SystemExit) as stopped:
        cli.main(argv)
    printed = capsys.readouterr()
    return int(stopped.value.code or 0), printed.out, printed.err


HELP = "(see --help)\n"


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["serach"], "error: unknown command 'serach'; did you mean 'search'?\n"),
        (["coordchek", "--json"], "error: unknown command 'coordchek'; did you mean 'coordcheck'?\n"),
        (["xyz"], f"error: unknown command 'xyz'; known: {', '.join(sorted(STAGES))}\n"),
        (["--verison"], "hptransfer: unrecognized arguments: --verison (see --help)\n"),
        (["--json", "store"], "hptransfer: unrecognized arguments: --json (see --help)\n"),
        (
            ["train", "--target-loss", "0"],
            "hptransfer train: argument --target-loss: '0' is no finite number above 0 " + HELP,
        ),
        (["plan", "--width", "64"], "hptransfer plan: unrecognized arguments: --width 64 (see --help)\n"),
        (["search", "--trails", "9"], "hptransfer search: unrecognized arguments: --trails 9 (see --help)\n"),
        (["data"], "hptransfer data: the following arguments are required: --write (see --help)\n"),
        (["backtest"], "error: give a table or --store, one of them\n"),
        (["backtest", "a.csv", "--store", "runs"], "error: give a table or --store, one of them\n"),
    ],
)
def test_a_mistake_is_one_line(capsys: pytest.CaptureFixture[str], argv: list[str], says: str) -> None:
    assert ended(capsys, *argv) == (2, "", says)


@pytest.mark.parametrize(
    ("outcome", "code", "says"),
    [
        (None, 0, ""),
        (0, 0, ""),
        (1, 1, ""),
        (CheckFailed("an optimum on the edge"), 1, "error: an optimum on the edge\n"),
        (UsageError("no such thing"), 2, "error: no such thing\n"),
        (OSError(28, "No space left on device", "there"), 1, "error: OSError: [Errno 28] No space left on device: 'there'\n"),
        (MemoryError(), 1, "error: no memory was left (MemoryError)\n"),
        (
            RuntimeError("could not create a primitive"),
            1,
            "error: no memory was left (RuntimeError: could not create a primitive)\n",
        ),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried to"),
            1,
            "error: no memory was left (RuntimeError: [enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate "
            "memory: you tried to)\n",
        ),
        (
            ImportError("libtorch_cpu.so: failed to map segment from shared object"),
            1,
            "error: no memory was left (ImportError: libtorch_cpu.so: failed to map segment from shared object)\n",
        ),
        (KeyboardInterrupt(), 130, "interrupted; the same command goes on from here\n"),
        (OSError(24, "Too many open files"), 1, "error: OSError: [Errno 24] Too many open files\n"),
    ],
)
def test_exit_codes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, outcome: object, code: int, says: str
) -> None:
    def main(args: object) -> object:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    monkeypatch.setattr("hptransfer.data.command.main", main)
    assert ended(capsys, "data", "--write", "folder") == (code, "", says)


def test_a_limit_on_memory_that_no_import_survives_is_said_before_it(tmp_path: Path) -> None:
    command = f"ulimit -v 600000; exec {sys.executable} -m hptransfer store --store {tmp_path}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "`ulimit -v` 600000" in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("fault", [KeyError("ours"), RuntimeError("mat1 and mat2 shapes cannot be multiplied")])
def test_a_fault_of_ours_keeps_its_trace(monkeypatch: pytest.MonkeyPatch, fault: Exception) -> None:
    def main(args: object) -> None:
        raise fault

    monkeypatch.setattr("hptransfer.data.command.main", main)
    with pytest.raises(type(fault)):
        cli.main(["data", "--write", "folder"])


def test_the_report_starts_with_one_thread_of_its_blas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")  # put back what it was afterwards
    for given, seen in ((None, "1"), ("4", "4")):
        if given is None:
            monkeypatch.delenv("OPENBLAS_NUM_THREADS")
        else:
            monkeypatch.setenv("OPENBLAS_NUM_THREADS", given)
        with pytest.raises(UsageError, match="unknown experiment"):
            cli.perform("report", ["--experiment", "none"])
        assert os.environ["OPENBLAS_NUM_THREADS"] == seen


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_knows_commands_and_options(capsys: pytest.CaptureFixture[str], shell: str) -> None:
    code, script, said = ended(capsys, "--print-completion", shell)
    assert (code, said) == (0, "")
    for word in (*STAGES, "retry-failed", "hold-out", "print-completion"):
        assert word in script


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("hptransfer coo", ["coordcheck"]),
        ("hptransfer search --retry", ["--retry-failed"]),
        ("hptransfer train --strategy f", ["fsdp"]),
        ("hptransfer export --prediction mi", ["mine.json"]),
    ],
)
def test_bash_completes(capsys: pytest.CaptureFixture[str], tmp_path: Path, line: str, found: list[str]) -> None:
    (tmp_path / "mine.json").write_text("{}")
    (tmp_path / "completion").write_text(ended(capsys, "--print-completion", "bash")[1])
    words = line.split()
    code = (
        f'. ./completion; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; COMP_LINE="{line}"; COMP_POINT={len(line)}; '
        f'"$(complete -p hptransfer | sed "s/.*-F \\([^ ]*\\).*/\\1/")" hptransfer {words[-1]} {words[-2]}; '
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert [word.strip() for word in done.stdout.splitlines()] == found, done.stderr
