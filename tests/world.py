"""A training run that takes no time: its loss is a known function of what it is given. A program, and a function for tests.

The best LR moves as width^-0.3; in a world with a number, ``wander``, it wanders about that by .1 per root of an e-fold, as the
best of public sweeps do. ``multiplier``: a run reaches what the baseline reaches with so many times its tokens.
``sleep``: seconds that a run takes. ``faults``: the share of runs that crash, hang, print nan or no loss, or leave a child behind
that ignores SIGTERM; which ones, their numbers say.
"""

import argparse
import math
import os
import signal
import sys
import time

import numpy as np

BASE, BEST, DRIFT = 64, 0.02, -0.3
CURVATURE, SKEW = 0.012, 1.2


def best_lr(width, wander=0):
    rng, off, at = np.random.default_rng([11, int(wander)]), 0.0, BASE
    while wander and at < width:
        off, at = off + 0.1 * math.sqrt(math.log(2)) * rng.standard_normal(), 2 * at
    return BEST * (width / BASE) ** DRIFT * math.exp(off)


def floor(width, tokens, multiplier):
    """The loss at the best LR, without noise."""
    return 1.7 + 20 * (36 * width**2) ** -0.25 + 12 * (multiplier * tokens) ** -0.28


def loss(*, width, lr, tokens, seed=0, multiplier=1.0, noise=0.001, wander=0):
    u = math.log(lr / best_lr(width, wander))
    if u > 3:
        return math.nan
    rng = np.random.default_rng([seed, int(width), int(tokens), int(1000 * multiplier), int(lr * 1e9)])
    bowl = CURVATURE * (SKEW * u if u > 0 else u) ** 2
    return floor(width, tokens, multiplier) * math.exp(bowl + noise * rng.standard_normal())


def fail(kind):
    if kind == 0:
        sys.exit("out of memory")
    if kind == 1:
        time.sleep(3600)
    if kind == 2:
        print("final loss nan")
    if kind == 4 and os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.setsid()
        time.sleep(3600)


def main():
    parser = argparse.ArgumentParser()
    for name, default in {
        "width": None,
        "lr": None,
        "tokens": None,
        "seed": 0,
        "multiplier": 1,
        "noise": 0.001,
        "faults": 0,
        "wander": 0,
        "sleep": 0,
    }.items():
        parser.add_argument(f"--{name}", type=float, required=default is None, default=default)
    args = parser.parse_args()
    args.seed = int(args.seed)
    chosen = np.random.default_rng([7, args.seed, int(args.width), int(args.lr * 1e9)])
    kind = int(chosen.integers(5)) if chosen.random() < args.faults else None
    if kind is not None:
        fail(kind)
    time.sleep(args.sleep)
    numbers = {name: value for name, value in vars(args).items() if name not in ("faults", "sleep")}
    found = loss(**numbers)
    if kind not in (2, 3):
        for step in range(1, 4):
            print(f"step {step} loss {found * (1 + 0.5 / step):.5f}")
        print(f"final loss {found:.6f}")


if __name__ == "__main__":
    main()
