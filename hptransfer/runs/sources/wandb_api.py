"""Weights & Biases over the network: ``wandb:ENTITY/PROJECT``, or the address of a project or a sweep in the browser."""

from __future__ import annotations

import re

from hptransfer.base.errors import UsageError, first_line
from hptransfer.runs.sources.extras import missing
from hptransfer.runs.sources.source import Raw
from hptransfer.runs.sources.wandb_runs import raw_of, row_of

_PLACE = re.compile(r"(?:wandb:(?://)?|https?://(?:www\.)?wandb\.ai/)([^/?#]+)/([^/?#]+)(?:/sweeps/([^/?#]+))?(?:[/?#].*)?")
TIMEOUT_SECONDS = 30


class WandbApi:
    """Columns as in `hptransfer.runs.sources.wandb_runs.row_of`. The server is asked for whole runs, 500 at a time; which server
    and which key is wandb's to know (``WANDB_BASE_URL``, ``WANDB_API_KEY``, ``wandb login``)."""

    name = "wandb"

    def sniff(self, place: str) -> str | None:
        return "a project of Weights & Biases, over the network" if _PLACE.fullmatch(place) else None

    def read(self, place: str) -> Raw:
        named = _PLACE.fullmatch(place) or re.fullmatch(r"([^/]+)/([^/]+)(?:/sweeps/([^/]+))?", place)
        if not named:
            raise UsageError(
                f"{place}: a project of Weights & Biases is wandb:ENTITY/PROJECT, a sweep wandb:ENTITY/PROJECT/sweeps/ID"
            )
        try:
            import wandb
        except ImportError:
            raise missing(place, "wandb", "wandb") from None
        entity, project, sweep = named.groups()
        # It neither prints nor asks for a key, and gives up within seconds where there is no network: else it tries for hours.
        wandb.setup(wandb.Settings(silent=True, x_graphql_retry_max=2))
        try:
            asked = {"sweep": sweep} if sweep else None
            runs = wandb.Api(timeout=TIMEOUT_SECONDS).runs(f"{entity}/{project}", filters=asked, per_page=500, lazy=False)
            rows = [
                row_of(
                    {"id": run.id, "name": run.name, "state": run.state, "group": run.group, "sweep": run.sweep_name},
                    run.config,
                    run.summary_metrics,
                )
                for run in runs
            ]
        except (wandb.Error, ValueError, OSError) as error:
            raise UsageError(
                f"{place}: Weights & Biases did not answer ({first_line(error)}). It needs the network and a key (WANDB_API_KEY "
                "or `wandb login`); without them give a local wandb folder, or the runs table as CSV"
            ) from None
        if not rows:
            raise UsageError(f"{place}: the project has no run that this key may see")
        return raw_of(rows, f"W&B project {entity}/{project}, {len(rows)} runs")


SOURCE = WandbApi()
