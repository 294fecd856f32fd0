"""The folder that every wrong call starts from: an experiment, its store, predictions and tables, all of them right."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

EXPERIMENT = """\
name: tiny
model: {depth: 1, head_dim: 8, context: 32}
data: {corpus: text}
base_width: 16
widths: [16, 32]
target_width: 64
horizon: {policy: tokens, tokens: 8192}
batch_sequences: 4
schedule: {shape: linear, warmup_tokens: 512}
evaluation: {tokens: 1024, points: 2}
optimizers: [adamw, muon]
parametrizations: [mup]
search: {trials: 8, sampler: design, seed: 0}
validation: {seeds: 2, probe_octaves: [1], ladder: [0.5, 2]}
resources: {cpus: 1, hang_seconds: 60}
budget: {hours: 5}
"""
BEST = {"adamw": 0.01, "muon": 0.02}
NOTE = "a file of the user's\n"
PREDICTION = "predictions/tiny/muon-64.json"
STORES = {"runs": "single files", "gathered": "one Parquet file"}
TABLES = ("sweep.csv", "sweep.parquet", "sweep.jsonl", "laws.csv", "own.csv")


def make(folder: Path) -> None:
    """Fill the folder, which is the working one; as `search`, `transfer` and `store --compact` leave it."""
    import polars as pl

    from hptransfer.cli import perform
    from hptransfer.experiment import load_experiment
    from hptransfer.runs import Outcome, Record, Store
    from hptransfer.trainers.ours.data.corpus import load_corpus
    from hptransfer.trainers.ours.points import resolve

    (folder / "tiny.yaml").write_text(EXPERIMENT)
    (folder / "notes.txt").write_text(NOTE)
    (folder / "empty").mkdir()
    (folder / "text").mkdir()
    words = random.Random(0)
    text = " ".join("".join(words.choices("etaoinshrdlu", k=words.randint(1, 9))) for _ in range(8000))
    (folder / "text/words.txt").write_text(text)

    experiment, store = load_experiment("tiny.yaml"), Store("runs")
    data = load_corpus(experiment.data).spec
    own = []
    for arm in experiment.compared:
        for width in experiment.widths:
            for place in range(8):
                best = BEST[str(arm.optimizer)]
                lr = best * math.exp(0.5 * (place - 3.4))
                loss = 3 * math.exp(0.04 * math.log(lr / best) ** 2 - 0.05 * math.log(width) + words.gauss(0, 0.002))
                job = resolve(experiment.point(arm, data, width=width, lr=lr, weight_decay=1e-3 * (1 + place % 3)))
                outcome = {"state": "complete", "steps": job.steps, "tokens": job.point["tokens"], "loss": loss}
                outcome |= {"flops": job.flops, "flops_optimizer": 1e6, "training_wall_seconds": 1.0, "device": "none"}
                outcome |= {"optimizer_wall_seconds": 0.1, "evaluation_wall_seconds": 0.1}
                outcome |= {"peak_memory_bytes": 1, "optimizer_state_bytes": 1}
                store.add(Record(job=job, outcome=Outcome.model_validate(outcome)))
                own.append(
                    {"optimizer": arm.optimizer, "width": width, "lr": lr, "weight_decay": 1e-3, "loss": loss, "seed": place}
                )
    store.decide("tiny", {"embedding_lr_ratio": 1.0})
    pl.DataFrame(own).write_csv("own.csv")
    gathered = Store("gathered")
    for record in store.records().values():
        gathered.add(record)
    gathered.compact()

    rows = [
        {"model": "gpt", "width": width, "lr": 2.0**power, "seed": power % 2, "loss": _bowl(width, power) + words.gauss(0, 0.002)}
        for width in (64, 128, 256, 512)
        for power in range(-9, -2)
    ]
    frame = pl.DataFrame(rows)
    frame.write_csv("sweep.csv")
    frame.write_parquet("sweep.parquet")
    frame.write_ndjson("sweep.jsonl")
    sizes = [(n, n * ratio) for n in (1e7, 3e7, 1e8, 3e8) for ratio in (5, 10, 20, 40, 80)]
    losses = [{"N": n, "D": d, "loss": 1.7 + 400 / n**0.34 + 410 / d**0.28 + words.gauss(0, 0.003)} for n, d in sizes]
    pl.DataFrame(losses).write_csv("laws.csv")
    for arm in experiment.compared:
        perform("transfer", ["--experiment", "tiny.yaml", "--optimizer", arm.name])
    prediction = json.loads(Path(PREDICTION).read_text())
    store.register_prediction(prediction["job"].get("run_id", "0" * 16), prediction)


def _bowl(width: int, power: int) -> float:
    return 3 + 0.02 * (power + 6 + 0.3 * math.log2(width / 64)) ** 2 - 0.05 * math.log2(width / 64)
