"""``hptransfer export``: write a prediction in the form that a production trainer reads."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from hptransfer import cli
from hptransfer.base.errors import UsageError
from hptransfer.base.files import replace
from hptransfer.export.canonical import Canonical, canonical
from hptransfer.export.host import Host
from hptransfer.export.hosts import HOSTS
from hptransfer.trainers import resolve
from hptransfer.transfer import choice

OURS = re.compile(r"(#!\S+\n)?\S+ .*: hptransfer \S+ for |\{\s*\"export_version\"")

ALL = ("all",)


def main(args: argparse.Namespace) -> int:
    """Read one prediction file; write the files of each host, or list which host can say what was predicted."""
    asked = HOSTS.names() if args.target == ALL or args.list else args.target
    hosts = [HOSTS.get(name) for name in asked]
    if args.list:
        cli.refuse_unheeded(args, "with --list, which writes nothing", "output")
    cli.refuse_unheeded(args, "by export, which reads a prediction alone", "store")
    if args.prediction:
        cli.refuse_unheeded(args, choice.ITS_OWN, "width", "experiment")
    source, prediction = choice.chosen(args, resolve)
    record = canonical(prediction)
    refused = {host.name: why for host in hosts if (why := host.refuse(record)) is not None}
    _say(record, source, hosts, refused)
    if args.list:
        cli.finish(args, {"hosts": {host.name: refused.get(host.name) for host in hosts}})
        return 0

    folder = Path(args.output or default_output(source))
    files = {
        folder / host.name / name: text
        for host in hosts
        if host.name not in refused
        for name, text in host.render(record).items()
    }
    for path in files:
        _refuse_foreign(path)
    for path, text in files.items():
        replace(path, text)
    cli.finish(
        args,
        {
            "record": record.as_dict(),
            "written": [str(path) for path in files],
            "refused": refused,
        },
        written=[str(path) for path in files],
    )
    return 1 if refused and args.target != ALL else 0


def _say(record: Canonical, source: Path, hosts: list[Host], refused: dict[str, str]) -> None:
    scales = ", ".join(f"{name} {value:g}" for name, value in record.scales.items())
    cli.console.print(f"{record.name} at {scales}, from {source}")
    if record.command:
        cli.console.print(record.command)
    if record.optimizer is not None:
        cli.table(
            f"{record.name}: final numbers",
            ("role", "learning rate", "weight decay, independent", "weight decay / learning rate", "epsilons"),
            [
                (
                    role,
                    numbers.lr,
                    numbers.weight_decay,
                    numbers.weight_decay_coupled,
                    ", ".join(f"{name} {cli.number(eps)}" for name, eps in numbers.epsilons.items()),
                )
                for role, numbers in record.optimizer.roles.items()
            ],
        )
    cli.table(
        "hosts", ("host", "version", "can say it"), [(one.name, one.version, refused.get(one.name, "yes")) for one in hosts]
    )


def _refuse_foreign(path: Path) -> None:
    """Raises UsageError where a file is there that is no export: it does not begin as `comments` do, nor as a record does."""
    if path.exists() and not OURS.match(path.read_text(encoding="utf-8", errors="replace")):
        raise UsageError(f"{path} is there and is no export of hptransfer: it is not overwritten; choose another --output")


def default_output(prediction: Path) -> Path:
    """The folder of exports unless one is given: as the prediction, in ``exports`` rather than ``predictions``."""
    home = Path("predictions")
    return ("exports" / (prediction.relative_to(home) if prediction.is_relative_to(home) else Path(prediction.name))).with_suffix(
        ""
    )
