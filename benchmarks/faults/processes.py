"""Faults of processes, of nodes, and of the machine that they are on."""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from benchmarks.faults.bench import Bench, Inject, Place
from benchmarks.faults.mounts import filled, mounted

START_SECONDS = 12.0  # within which a search on a Ray of its own has begun to train, on a quiet machine
PAUSE_SECONDS = 5.0  # that a process stands still at most, and goes on
DAYS = 86400.0


def signal_workers(sent: signal.Signals, *settings: str, goes_on: bool = False) -> Inject:
    """``goes_on``: it is continued after a while."""

    def inject(bench: Bench, place: Place, chance: random.Random, count: int) -> set[str]:
        process = bench.start(place, *settings)
        for victim in bench.moments(place, process, chance, count):
            with suppress(ProcessLookupError):  # it had just finished
                os.kill(victim.pid, sent)
                if goes_on:
                    time.sleep(chance.uniform(0.2, PAUSE_SECONDS))
                    os.kill(victim.pid, signal.SIGCONT)
        bench.end(place, process)
        return set()

    return inject


def pause_driver(bench: Bench, place: Place, chance: random.Random, count: int) -> set[str]:
    process = bench.start(place)
    for _ in bench.moments(place, process, chance, count):
        process.send_signal(signal.SIGSTOP)
        time.sleep(chance.uniform(0.2, PAUSE_SECONDS))
        process.send_signal(signal.SIGCONT)
    bench.end(place, process)
    return set()


def signal_driver(sent: signal.Signals) -> Inject:
    """While it trains."""

    def inject(bench: Bench, place: Place, chance: random.Random, count: int) -> set[str]:
        for index in range(count):
            process = bench.start(place)
            bench.wait_for_runs(place, process, min(14, 1 + 14 * index // count))
            time.sleep(chance.uniform(0, 1))
            bench.hits += process.poll() is None
            process.send_signal(sent)
            bench.end(place, process, code=None)
        return set()

    return inject


def interrupt(sent: signal.Signals) -> Inject:
    """At any moment, and to everything of the command as a terminal does."""

    def inject(bench: Bench, place: Place, chance: random.Random, count: int) -> set[str]:
        for index in range(count):
            process = bench.start(place)
            _wait_for_handlers(process)
            time.sleep(START_SECONDS * (index + chance.random()) / count)
            bench.hits += process.poll() is None
            with suppress(ProcessLookupError):
                os.killpg(process.pid, sent)
            bench.end(place, process, code=None)
        return set()

    return inject


def _wait_for_handlers(process: subprocess.Popen[str]) -> None:
    """Until Python has started and the command hears interrupts: it catches the signal by which it is reminded of them."""
    while process.poll() is None:
        caught = int(Path(f"/proc/{process.pid}/status").read_text().partition("SigCgt:")[2].split()[0], 16)
        if caught >> (signal.SIGALRM - 1) & 1:
            return
        time.sleep(0.01)


def close_terminal(bench: Bench, place: Place, chance: random.Random, count: int) -> set[str]:
    for index in range(count):
        with terminal() as (slave, close):
            process = bench.start(
                place, before=("setsid", "--ctty"), stdin=slave, stdout=slave, stderr=slave, start_new_session=False
            )
            time.sleep(START_SECONDS * (index + chance.random()) / count)
            bench.hits += process.poll() is None
            close()
            bench.end(place, process, code=None)
    return set()


@contextmanager
def terminal() -> Iterator[tuple[int, Any]]:
    """One that is read, and what closes it."""
    master, slave = os.openpty()
    closed = threading.Event()

    def read() -> None:
        while not closed.is_set():
            with suppress(OSError):
                if select.select([master], [], [], 0.1)[0]:
                    os.read(master, 65536)

    reader = threading.Thread(target=read)
    reader.start()

    def close() -> None:
        if not closed.is_set():
            closed.set()
            reader.join()
            os.close(slave)
            os.close(master)

    try:
        yield slave, close
    finally:
        close()


def remove_node(bench: Bench, place: Place, chance: random.Random, count: int) -> set[str]:
    process = bench.start(place)
    for _ in bench.moments(place, process, chance, count):
        bench.replace_node()
    bench.end(place, process)
    return set()


def restart_head(bench: Bench, place: Place, chance: random.Random, count: int) -> set[str]:
    for index in range(count):
        process = bench.start(place)
        bench.wait_for_runs(place, process, chance.randint(4 * index, 4 * index + 3))
        bench.hits += process.poll() is None
        bench.restart_head()
        bench.end(place, process, code=1)
    return set()


def start_others(bench: Bench, place: Place, chance: random.Random, count: int) -> set[str]:
    processes = [bench.start(place)]
    for _ in range(count):
        time.sleep(chance.uniform(0, 4))
        bench.hits += processes[0].poll() is None
        processes.append(bench.start(place))
    for process in processes:
        bench.end(place, process)
    return set()


def jump_in_time(bench: Bench, place: Place, chance: random.Random, count: int) -> set[str]:
    process = bench.start(place)
    try:
        for _ in bench.moments(place, process, chance, count):
            bench.shift_clock(chance.choice((-1, 1)) * chance.uniform(1, 1000) * DAYS)
        bench.end(place, process)
    finally:
        bench.shift_clock(0.0)
    return set()


def limit_memory(bench: Bench, place: Place, chance: random.Random, count: int) -> set[str]:
    for index in range(count):
        megabytes = int(512 * 2 ** (5 * (index + chance.random()) / count))  # 0.5 to 16 GB
        process = bench.start(place, before=("sh", "-c", f'ulimit -v {megabytes << 10}; exec "$@"', "sh"))
        bench.hits += 1
        bench.end(place, process, code=None)
    return set()


def fill_temporary_folder(bench: Bench, place: Place, chance: random.Random, count: int) -> set[str]:
    """From the first moment on, and later and later. (What is full at the start Python leaves for another that is not.)"""
    place.make()
    with mounted(place.temporary, megabytes=64):
        for index in range(count):
            process = bench.start(place)
            bench.wait_for_runs(place, process, 2 * index)
            time.sleep(chance.uniform(0, 1))
            bench.hits += process.poll() is None
            with filled(place.temporary):
                bench.end(place, process, code=None)
    return set()
