"""Our own trainer as a member of the protocol."""

from __future__ import annotations

from pathlib import Path

from hptransfer.experiment.arm import Arm, Inputs
from hptransfer.experiment.experiment import Experiment
from hptransfer.experiment.settings import DataSpec
from hptransfer.runs import Job, Point, Record
from hptransfer.trainers.ours import points
from hptransfer.trainers.ours.data.corpus import identify, open_corpus
from hptransfer.trainers.trainer import Place


class Ours:
    """See `Trainer`."""

    name = "ours"

    def inputs(self, experiment: Experiment, arm: Arm) -> Inputs:
        return identify(experiment.under(arm).data)

    def describe(self, experiment: Experiment, arm: Arm) -> str:
        one, data = experiment.under(arm), self.inputs(experiment, arm)
        assert isinstance(data, DataSpec)
        model, per_parameter = one.model, f"{one.horizon.tpp} per parameter" if one.horizon else ""

        def sizes(scale: str) -> str:
            searched = one.scales.get(scale) or (one.smallest(scale),)
            return ", ".join(str(value) for value in sorted(searched, key=lambda value: value or 0) if value)

        batch = sizes("batch_tokens") if "batch_tokens" in one.scales else f"{one.batch_sequences} x {model.context}"
        return (
            f"depth {sizes('depth')}, {model.of.summary(model.config)}, context {model.context}; "
            f"corpus {data.corpus} ({data.tokenizer}, {f'text in {data.text}, ' if data.text else ''}sha256 {data.sha256[:16]}), "
            f"batch {batch} tokens, horizon {sizes('tokens') or per_parameter} tokens"
        )

    def resolve(self, point: Point) -> Job:
        return points.resolve(point)

    def prepare(self, job: Job, folder: Path) -> None:
        data = DataSpec.model_validate(job.point.settings["data"])
        open_corpus(data).require(data, job.point.settings["model"]["context"])

    def train(self, job: Job, place: Place) -> Record:
        import torch

        from hptransfer.trainers.ours.loop import train

        spec = points.spec_of(job.point)
        device = None if place.gpus else torch.device("cpu")  # Ray hides no GPU from a trial that asked for none
        return train(
            spec,
            open_corpus(spec.data),
            store=place.store,
            reporter=place.report,
            claim=place.claim,
            threads=place.threads,
            device=device,
        )


OURS = Ours()
