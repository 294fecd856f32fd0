"""``hptransfer convert``: a learning rate of one implementation of Muon in the units of another."""

from __future__ import annotations

import argparse
import math
import re
from typing import Any

from hptransfer import cli
from hptransfer.base.errors import UsageError
from hptransfer.optimizers.rules.dialects import DIALECTS, Shape, convert_lr, convert_weight_decay, find_dialect


def main(args: argparse.Namespace) -> None:
    """Print the conversion for each shape, or all dialects."""
    given = {"--from": args.source, "--to": args.target, "--shape": args.shape, "--lr": args.lr}
    if args.list:
        if said := [option for option, value in given.items() if value is not None]:
            raise UsageError(f"{said[0]} is not heeded with --list; leave it out")
        list_dialects(args)
        return
    if missing := [option for option, value in given.items() if value is None]:
        raise UsageError(f"convert needs {', '.join(missing)}; `hptransfer convert --list` names the dialects")

    source, target = find_dialect(args.source), find_dialect(args.target)
    rows = []
    for shape in parse_shapes(args.shape):
        lr = convert_lr(args.lr, args.source, args.target, shape)  # refuses a shape that no matrix has
        factors = {"source_factor": source.factor(shape), "target_factor": target.factor(shape)}
        row: dict[str, Any] = {"shape": list(shape), **factors, "lr": lr}
        if args.weight_decay is not None:
            row["weight_decay"] = convert_weight_decay(args.weight_decay, args.lr, args.source, args.target, shape)
        rows.append(row)
    varying = [name for name in ("lr", "weight_decay") if name in rows[0] and not same([row[name] for row in rows])]

    numbers = {"lr": args.lr} | ({} if args.weight_decay is None else {"weight_decay": args.weight_decay})
    cli.table(
        ", ".join(f"{name} {cli.number(value)}" for name, value in numbers.items()) + f" of {args.source} in {args.target}",
        ("d_out x d_in", f"factor of {args.source}", f"factor of {args.target}", *numbers),
        [("x".join(map(str, row["shape"])), *list(row.values())[1:]) for row in rows],
    )
    if varying:
        cli.console.print(f"{' and '.join(varying)}: one value cannot express this; {args.target} needs one group per shape")
    notes = list(dict.fromkeys(dialect.note for dialect in (source, target) if dialect.note))
    for note in notes:
        cli.console.print(f"note:    {note}")
    cli.finish(
        args,
        {"source": args.source, "target": args.target, **numbers, "conversions": rows, "varying": varying, "notes": notes},
    )


def list_dialects(args: argparse.Namespace) -> None:
    """Print every dialect: what it multiplies the polar factor by, what its weight decay multiplies, and where that was read."""
    cli.table(
        "what multiplies the polar factor of a matrix, and the share that weight decay takes of it",
        ("dialect", "factor", "weight decay", "source"),
        [(name, one.formula, one.decay or "-", one.source) for name, one in DIALECTS.items()],
    )
    cli.console.print("The value of an option is given behind a colon: megatron.spectral:0.2")
    cli.finish(args, {"dialects": {name: one._asdict() | {"formula": one.formula} for name, one in DIALECTS.items()}})


def parse_shapes(texts: list[str]) -> list[Shape]:
    """Shapes as they are typed: ``4096x1024``, several apart by spaces or commas. Raises UsageError for any other text."""
    shapes = []
    for text in (part for word in texts for part in word.split(",") if part.strip()):
        if not (found := re.fullmatch(r"(\d{1,9})x(\d{1,9})", text.strip())):
            raise UsageError(f"--shape {text!r} is not of the form d_out x d_in, such as 4096x1024")
        shapes.append((int(found[1]), int(found[2])))
    if not shapes:
        raise UsageError("--shape names no shape, such as 4096x1024")
    return list(dict.fromkeys(shapes))


def same(values: list[float]) -> bool:
    """Whether one value stands for all."""
    return all(math.isclose(value, values[0], rel_tol=1e-9) for value in values)
