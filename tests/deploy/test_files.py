"""The files that ship: a RayJob as KubeRay's schema has it, an image and a script that agree with this package."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from hptransfer.base.errors import UsageError
from hptransfer.cli import perform

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "hptransfer/deploy"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def mapping(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


TEXT, WHOLE, TEXTS = {"type": "string"}, {"type": "integer"}, {"type": "object", "additionalProperties": {"type": "string"}}
QUANTITIES = {"type": "object", "additionalProperties": {"anyOf": [TEXT, WHOLE]}}
CONTAINER = mapping(
    ("name",),
    name=TEXT,
    image=TEXT,
    envFrom={"type": "array", "items": mapping(secretRef=mapping(name=TEXT, optional={"type": "boolean"}))},
    resources=mapping(requests=QUANTITIES, limits=QUANTITIES),
)
POD = mapping(spec=mapping(("containers",), containers={"type": "array", "minItems": 1, "items": CONTAINER}))
# What rayjob.yaml uses of ray-operator/config/crd/bases/ray.io_rayjobs.yaml of KubeRay 1.7.0, its names, types and what it
# requires; without the thousands of fields of a pod.
RAYJOB = mapping(
    ("apiVersion", "kind", "metadata", "spec"),
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=mapping(name=TEXT),
    spec=mapping(
        entrypoint=TEXT,
        backoffLimit=WHOLE,
        shutdownAfterJobFinishes={"type": "boolean"},
        ttlSecondsAfterFinished=WHOLE,
        rayClusterSpec=mapping(
            ("headGroupSpec",),
            rayVersion=TEXT,
            authOptions=mapping(mode={"enum": ["disabled", "token"]}),
            headGroupSpec=mapping(("template",), rayStartParams=TEXTS, template=POD),
            workerGroupSpecs={
                "type": "array",
                "items": mapping(
                    ("groupName", "maxReplicas", "minReplicas", "template"),
                    groupName=TEXT,
                    replicas=WHOLE,
                    minReplicas=WHOLE,
                    maxReplicas=WHOLE,
                    rayStartParams=TEXTS,
                    template=POD,
                ),
            },
        ),
    ),
)


@pytest.fixture
def job() -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / "rayjob.yaml").read_text())


def containers(job: dict[str, Any]) -> list[dict[str, Any]]:
    cluster = job["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [container for group in groups for container in group["template"]["spec"]["containers"]]


def test_the_rayjob_is_one_by_kuberays_schema(job):
    jsonschema.validate(job, RAYJOB)
    job["spec"]["rayClusterSpec"]["headGroupSpec"]["rayStartParameters"] = {}
    with pytest.raises(jsonschema.ValidationError, match="rayStartParameters"):
        jsonschema.validate(job, RAYJOB)


def test_ray_and_python_are_the_same_everywhere_and_what_the_package_takes(job):
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    base = re.search(r"^FROM rayproject/ray:(?P<ray>[\d.]+)-py3(?P<minor>\d+)-cpu$", dockerfile, re.MULTILINE)
    pinned = re.search(r'"ray\[default,tune,train\]==([\d.]+)"', dockerfile)
    assert base and pinned
    assert base["ray"] == pinned[1] == job["spec"]["rayClusterSpec"]["rayVersion"]
    assert len({container["image"] for container in containers(job)}) == 1
    wanted = next(one for one in map(Requirement, PROJECT["dependencies"]) if one.name == "ray")
    assert base["ray"] in wanted.specifier and f"3.{base['minor']}" in SpecifierSet(PROJECT["requires-python"])
    assert next(Requirement(one) for one in PROJECT["optional-dependencies"]["cluster"]).specifier == wanted.specifier


def test_the_job_is_behind_a_token_and_its_store_is_none_of_one_node(job):
    assert job["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token"}
    words = job["spec"]["entrypoint"].split()
    assert words[:3] == ["python", "-m", "hptransfer.search"]
    assert words[words.index("--store") + 1].startswith("s3://")


def test_the_entrypoint_is_a_command_that_the_search_takes(job):
    """All options are known: what it stumbles over is a value that is wrong on purpose."""
    words = job["spec"]["entrypoint"].split()[3:]
    with pytest.raises(UsageError, match="recipe 'none'"):
        perform("search", [*words, "--optimizer", "none"])


def test_the_slurm_script_says_how_it_is_used():
    done = subprocess.run(["bash", str(DEPLOY / "slurm.sh")], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.startswith("usage: sbatch slurm.sh")


@pytest.mark.slow
def test_the_wheel_holds_them(tmp_path):
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True, timeout=300)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {f"hptransfer/deploy/{path.name}" for path in DEPLOY.iterdir()} <= set(names)
