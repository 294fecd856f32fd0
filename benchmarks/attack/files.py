"""Wrong files of what hptransfer keeps: records, decisions, claims, predictions, checks, checkpoints; and those it is given."""

from __future__ import annotations

import io
import json
import random
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from benchmarks.attack import world
from benchmarks.attack.damage import DAMAGES, changed, damage_file, differs, leaves, put
from benchmarks.attack.right import RIGHT, TINY, Call, must_be
from benchmarks.attack.values import NO_YAML, VALUES, YAML

STORED_DAMAGES = ("cut", "flipped", "empty", "list", "zeros", "not UTF-8", "brackets", "folder")
STORE_READERS = ("plan", "search", "transfer", "validate", "store", "report", "coordcheck", "train")


def stored(draw: random.Random) -> Call:
    command = draw.choice(STORE_READERS)
    folder_name = draw.choice(("runs", "runs", "runs", "predictions", "studies", "claims"))
    kind, seed = draw.choice([*VALUES, *STORED_DAMAGES, "missing", "name"]), draw.random()

    def prepare(folder: Path) -> None:
        own, home = random.Random(seed), folder / "runs" / folder_name
        path = own.choice(sorted(home.glob("*.json")))
        if kind == "name":
            (home / "odd\udcff.json").write_bytes(path.read_bytes())
        else:
            put_wrong(path, kind, own)

    goes_on = folder_name == "claims" or (folder_name == "runs" and command in ("plan", "transfer", "store", "report"))
    words = RIGHT[command][0], f"a file of {folder_name}/", kind
    return Call(command, *words, "go on" if goes_on else None, (folder_name, "store"), prepare)


def put_wrong(path: Path, kind: str, own: random.Random) -> None:
    """A file of JSON that is damaged, or has a wrong value at one of its places."""
    if kind in DAMAGES:
        damage_file(path, kind, own)
        return
    data = json.loads(path.read_text())
    places = [place for place in leaves(data) if differs(data, place, kind)]
    path.write_text(changed(data, own.choice(places), kind), encoding="utf-8", errors="surrogatepass")


def gathered(draw: random.Random) -> Call:
    command, seed = draw.choice(STORE_READERS), draw.random()
    kind = draw.choice(
        ("flipped", "flipped", "flipped", "cut", "empty", "null record", "wrong record", "no column", "wrong type", "zeros")
    )

    def prepare(folder: Path) -> None:
        import polars as pl

        own = random.Random(seed)
        path = next((folder / "gathered").glob("*.parquet"))
        if kind in DAMAGES:
            damage_file(path, kind, own)
            return
        frame = pl.read_parquet(path)
        columns = [name for name in frame.columns if name != "record"]
        records = frame["record"].to_list()
        place = own.randrange(len(records))
        if kind == "null record":
            records[place] = None
        elif kind == "wrong record":
            data = json.loads(records[place])
            records[place] = changed(data, own.choice(list(leaves(data))), own.choice(["null", "word", "2^64", "missing", "nan"]))
        elif kind == "no column":
            frame = frame.drop(own.choice(columns))
        else:
            frame = frame.with_columns(pl.lit("abc").alias(own.choice(columns)))
        frame.with_columns(pl.Series("record", records)).write_parquet(path)

    return Call(command, (*RIGHT[command][0], "--store", "gathered"), "a gathered file", kind, None, ("gathered",), prepare)


PREDICTION_READERS = (
    ("export", "--target", "all", "--prediction"),
    ("train", *TINY, "--prediction"),
    ("validate", *TINY, "--predictions"),
    ("report", *TINY, "--predictions"),
)


def prediction(draw: random.Random) -> Call:
    reader = draw.choice(PREDICTION_READERS)
    kind, seed = draw.choice([*VALUES, *STORED_DAMAGES, "missing"]), draw.random()

    def prepare(folder: Path) -> None:
        own, path = random.Random(seed), folder / "p.json"
        content = (folder / world.PREDICTION).read_text()
        path.write_text(content)
        if kind in DAMAGES:
            damage_file(path, kind, own)
            return
        data = json.loads(content)
        places = [place for place in leaves(data) if place[0] not in ("digest", "provenance") and differs(data, place, kind)]
        path.write_text(changed(data, own.choice(places), kind), encoding="utf-8", errors="surrogatepass")

    refused = kind != "flipped"
    return Call(reader[0], (*reader[1:], "p.json"), "a prediction", kind, must_be(refused), ("p.json",), prepare)


def check(draw: random.Random) -> Call:
    """A file of `coordcheck`, which a report reads."""
    kind, seed = draw.choice([*VALUES, *(one for one in DAMAGES if one not in ("UTF-16", "folder")), "missing"]), draw.random()
    refused = kind in DAMAGES and kind != "flipped"

    def prepare(folder: Path) -> None:
        put_wrong(folder / world.CHECK, kind, random.Random(seed))

    command = draw.choice(("report", "validate"))
    name = Path(world.CHECK).name
    return Call(
        command, TINY, "a coordinate check", kind, must_be(refused and command == "report"), (name, name.split(".")[0]), prepare
    )


# -- what is given -----------------------------------------------------------------------------------------------------


@cache
def _space() -> dict[str, Any]:
    text = Path(__file__).parents[2].joinpath("search_spaces/muon.yaml").read_text("utf-8")
    return {key: value for key, value in yaml.safe_load(text).items() if key != "parametrizations"}


def search_space(draw: random.Random) -> Call:
    """A value of a search space of the user's own; what its ranges may be is said by their type."""
    command, place = draw.choice(("plan", "search", "coordcheck", "train")), draw.choice(list(leaves(_space())))
    kind, text = draw.choice([*YAML.items(), ("missing", "")])
    refused = command in ("plan", "search") and _is_no_space(place, kind, text)

    def prepare(folder: Path) -> None:
        (folder / "search_spaces").mkdir()
        data = put(deepcopy(_space()), place, "PLACE", kind == "missing")
        written = yaml.safe_dump(data, sort_keys=False, width=10**9).replace("PLACE", text)
        (folder / "search_spaces/muon.yaml").write_text(written, "utf-8")

    names = ("muon.yaml", "'muon'", *map(str, place[-1:]))
    return Call(command, (*TINY, "--optimizer", "muon"), "search_spaces/muon.yaml", kind, must_be(refused), names, prepare)


def _is_no_space(place: tuple[Any, ...], kind: str, text: str) -> bool:
    from hptransfer.experiment.space import SearchSpace

    if kind in NO_YAML:
        return True
    try:
        value = None if kind == "missing" else yaml.safe_load(text)
        SearchSpace.model_validate(put(deepcopy(_space()), place, value, kind == "missing"))
    except (yaml.YAMLError, ValueError, RecursionError):
        return True
    return False


CORPORA = ("docs.txt", "docs.jsonl", "docs.parquet", "docs.jsonl.gz", "tokenizer.json")


def corpus(draw: random.Random) -> Call:
    """A file of text, or of its tokenizer."""
    command, name = draw.choice(("data", "plan", "train")), draw.choice(CORPORA)
    damage, seed = draw.choice(DAMAGES), draw.random()
    settings = ("data.corpus=docs.txt", f"data.tokenizer={name}") if name == "tokenizer.json" else (f"data.corpus={name}",)
    argv = (*RIGHT[command][0], *(word for one in settings for word in ("--set", one)))
    is_lost = damage in ("empty", "brackets", "zeros", "aliases", "list", "1 MB", "folder") and name not in ("docs.txt",)

    def prepare(folder: Path) -> None:
        damage_file(folder / name, damage, random.Random(seed))

    refused = command == "data" and (is_lost or (name == "docs.txt" and damage in ("empty", "zeros", "folder")))
    return Call(command, argv, f"corpus {name}", damage, must_be(refused), (name, "corpus", "tokenizer"), prepare)


def checkpoint(draw: random.Random) -> Call:
    """The state of an interrupted run: it goes on, or starts over; whatever the bytes suffer, it ends as it would have."""
    kind = draw.choice([*VALUES, "missing", "shape", "type", *["flipped"] * 6, *["cut"] * 3, "empty", "zeros", "1 MB", "list"])
    seed = draw.random()

    def prepare(folder: Path) -> None:
        own, path = random.Random(seed), next((folder / "resumed/checkpoints").glob("*.pt"))
        if kind in DAMAGES:
            damage_file(path, kind, own)
        else:
            _put_wrong_state(path, kind, own)

    return Call(world.RESUME, (), "a checkpoint", kind, "go on", (), prepare)


def _put_wrong_state(path: Path, kind: str, own: random.Random) -> None:
    import torch

    saved = torch.load(io.BytesIO(path.read_bytes()[:-32]), weights_only=True)  # without its digest
    places = [place for place in leaves(saved) if kind not in ("shape", "type") or isinstance(_at(saved, place), torch.Tensor)]
    place = own.choice(places)
    wrong = VALUES.get(kind)
    if kind == "shape":
        wrong = torch.cat((_at(saved, place).reshape(-1), torch.zeros(1)))
    elif kind == "type":
        wrong = _at(saved, place).to(own.choice((torch.int8, torch.complex64, torch.bool)))
    torch.save(put(saved, place, wrong, kind == "missing"), path)


def _at(data: Any, place: tuple[Any, ...]) -> Any:
    for key in place:
        data = data[key]
    return data
