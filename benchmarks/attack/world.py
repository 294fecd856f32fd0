"""The folder that every wrong call starts from: an experiment, its store, predictions and tables, all of them right."""

from __future__ import annotations

import json
import math
import random
from contextlib import suppress
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
CHECK = "reports/coordcheck/muon-mup.json"
RESUME = "resume"  # no command: it goes on with the run of the checkpoint in resumed/


def make(folder: Path) -> None:
    """Fill the folder, which is the working one; as `search`, `transfer` and `store --compact` leave it."""
    import polars as pl

    from hptransfer.cli import perform
    from hptransfer.experiment import load_experiment
    from hptransfer.runs import Claims, Outcome, Record, Store
    from hptransfer.search.studies import make_studies
    from hptransfer.trainers import inputs_of_arms
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
    for study in make_studies(experiment, inputs_of_arms(experiment, experiment.compared), store).studies:
        decision = {
            "optimizer": study.arm.optimizer,
            "parametrization": "mup",
            "cell": study.cell,
            "sampler": "design",
            "seed": 0,
        }
        store.decide(study.study_id, decision | {"batch": 4, "embedding_lr_ratio": 1.0, "run_ids": [job.run_id]})
    Claims(store).take("f" * 16, session="search", what="muon, width 32")  # by this process, which is gone by then
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
    _write_laws()
    _write_documents(text)
    _check_coordinates()
    _interrupt()


def _write_laws() -> None:
    """Tables of laws that need other columns: budgets with several sizes, curves of schedules."""
    import polars as pl

    from hptransfer.testing.ladders import profiles

    profiles(noise=0.002).drop("row").write_csv("budgets.csv")
    steps = range(2000, 20_001, 600)
    ends = {"constant": 1.0, "linear": 0.1, "low": 0.01}  # of the learning rate, relative to where it begins
    curves = []
    for run, end in ends.items():
        for step in steps:
            lr = 3e-4 * (1 - (1 - end) * (step - 2000) / 18_000)
            curves.append({"run": run, "step": step, "lr": lr, "loss": 2.9 + 30 / step**0.5 * (1 + end) / 2})
    pl.DataFrame(curves).write_csv("curves.csv")


def _write_documents(text: str) -> None:
    """The same text in every form that a corpus has, and a tokenizer for it."""
    import gzip

    import polars as pl
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    parts = [text[place : place + 500] for place in range(0, len(text), 500)]
    lines = "".join(json.dumps({"text": part}) + "\n" for part in parts)
    Path("docs.txt").write_text(text)
    Path("docs.jsonl").write_text(lines)
    Path("docs.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    pl.DataFrame({"text": parts}).write_parquet("docs.parquet")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(parts[:20], trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False))
    tokenizer.save("tokenizer.json")


def _check_coordinates() -> None:
    """What `coordcheck` writes, measured in this process."""
    import hptransfer.coordcheck.measure as measure
    from hptransfer.cli import perform
    from hptransfer.experiment import load_experiment
    from hptransfer.trainers.ours.data.corpus import load_corpus

    corpus = load_corpus(load_experiment("tiny.yaml").data)
    measure.measure = lambda jobs, steps: iter([measure.measure_run(job, corpus, steps) for job in jobs])
    shortest = ("--widths", "16", "32", "--steps", "3", "--seeds", "1")
    perform("coordcheck", ["--experiment", "tiny.yaml", "--optimizer", "muon", *shortest])


class _Interrupted(Exception):
    pass


def _interrupt() -> None:
    """A run that was interrupted after a checkpoint, and the loss that it would have had."""
    from hptransfer.runs import Store
    from hptransfer.testing.small import small_corpus, small_spec
    from hptransfer.trainers.ours.checkpoint import Checkpoints
    from hptransfer.trainers.ours.loop import train

    def stop(_: object) -> None:
        raise _Interrupted

    spec, corpus = small_spec("muon", lr=0.02), small_corpus()
    straight = train(spec, corpus)
    Checkpoints.is_due = lambda self: True  # type: ignore[method-assign]
    with suppress(_Interrupted):
        train(spec, corpus, store=Store("resumed"), reporter=stop)
    Path("resumed/loss").write_text(repr(straight.loss))


def resume() -> int:
    """Go on with that run. Exit code 3 where it ends otherwise than it would have."""
    from hptransfer.runs import Store
    from hptransfer.testing.small import small_corpus, small_spec
    from hptransfer.trainers.ours.loop import train

    record = train(small_spec("muon", lr=0.02), small_corpus(), store=Store("resumed"))
    return 0 if repr(record.loss) == Path("resumed/loss").read_text() else 3


def _bowl(width: int, power: int) -> float:
    return 3 + 0.02 * (power + 6 + 0.3 * math.log2(width / 64)) ** 2 - 0.05 * math.log2(width / 64)
