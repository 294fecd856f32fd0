"""Members from one file each, with nothing in-tree edited: named by an experiment, conforming, trained."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tiny import DATA, tiny_corpus

from hptransfer.base import plugins
from hptransfer.base.errors import UsageError
from hptransfer.base.plugins import load_plugins, loaded_plugins
from hptransfer.experiment import Experiment, load_experiment
from hptransfer.experiment.arm import Arm
from hptransfer.experiment.space import load_space
from hptransfer.models import FAMILIES
from hptransfer.optimizers import RECIPES, get_recipe
from hptransfer.testing import check_family, check_recipe
from hptransfer.trainers.ours import points
from hptransfer.trainers.ours.loop import train
from hptransfer.trainers.ours.spec import RunSpec

HERE = Path(__file__).parent
FILES = [str(HERE / "toy_recipe.py"), str(HERE / "toy_family.py")]
EXPERIMENT = {
    "name": "toys",
    "plugins": FILES,
    "model": {"family": "window", "depth": 2, "context": 16, "window": 3},
    "base_width": 16,
    "widths": [16, 32],
    "target_width": 64,
    "horizon": {"tokens": 30 * 128},
    "batch_sequences": 8,
    "evaluation": {"tokens": 1024, "points": 3},
    "optimizers": ["toy", "muon"],
}


@pytest.fixture(autouse=True)
def no_plugins(monkeypatch) -> Iterator[None]:
    """Each test starts with none, and leaves none."""
    for registry in (RECIPES, FAMILIES):
        monkeypatch.setattr(registry, "_members", dict(registry._members))
    monkeypatch.setattr(plugins, "_loaded", {})


@pytest.fixture
def experiment(tmp_path) -> Experiment:
    path = tmp_path / "toys.yaml"
    path.write_text(yaml.safe_dump(EXPERIMENT))
    return load_experiment(str(path))


def spec_of(experiment: Experiment, recipe: str, width: int = 32) -> RunSpec:
    return points.spec_of(experiment.point(Arm.of(recipe, "mup"), DATA, width=width, lr=0.05, weight_decay=1e-3))


def test_the_recipe_conforms(experiment: Experiment) -> None:
    check_recipe(get_recipe("toy"))
    assert Arm.of("toy", "mup").colour == "#808000"


def test_the_family_conforms(experiment: Experiment) -> None:
    check_family(FAMILIES.get("window"), {"window": 3, "context": 16})


def test_the_space_is_the_recipe_s_with_the_experiment_s_changes(experiment: Experiment) -> None:
    assert load_space("toy", "mup", {}).lr.high == 0.2
    assert load_space("toy", "mup", {"lr": {"high": 0.1}}).lr.high == 0.1
    with pytest.raises(UsageError, match=r"the space of recipe 'toy' with the experiment's spaces\.toy: lr: "):
        load_space("toy", "mup", {"lr": {"high": -1}})


@pytest.mark.parametrize("recipe", ["toy", "muon"])
def test_both_train(experiment: Experiment, recipe: str) -> None:
    """From ln 32 = 3.47; the muP numbers are the rule table's."""
    spec = spec_of(experiment, recipe)
    assert {group.kind: group.lr for group in spec.groups()}["layer"] == pytest.approx(0.025 if recipe == "toy" else 0.05)
    record = train(spec, tiny_corpus())
    assert record.state == "complete" and record.loss is not None and record.loss < 3.0
    assert type(record).model_validate_json(record.model_dump_json()) == record


def test_a_spec_names_its_family_and_its_keys(experiment: Experiment) -> None:
    spec = spec_of(experiment, "toy")
    assert spec.model.model_dump() == {"family": "window", "width": 32, "depth": 2, "window": 3, "context": 16, "vocab": 32}
    assert RunSpec.model_validate_json(spec.model_dump_json()).run_id == spec.run_id
    assert spec.at(**{"model.window": 2}).run_id != spec.run_id


def test_a_worker_process_loads_the_same(experiment: Experiment) -> None:
    """What is pickled or written in JSON here is read there once the same files are loaded."""
    spec = spec_of(experiment, "toy")
    code = f"import pickle\nfrom hptransfer.base.plugins import load_plugins\nload_plugins({loaded_plugins()!r})\n"
    code += f"spec = pickle.loads({pickle.dumps(spec)!r})\nfrom hptransfer.trainers.ours.spec import RunSpec\n"
    code += f"assert RunSpec.model_validate_json({spec.model_dump_json()!r}) == spec\nprint(spec.run_id)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == spec.run_id


def test_set_loads_plugins_relative_to_the_working_directory(monkeypatch) -> None:
    monkeypatch.chdir(HERE)
    experiment = load_experiment("quickstart", ["plugins=[toy_recipe.py]", "optimizers=[toy]"])
    assert experiment.optimizers == ("toy",) and loaded_plugins() == (FILES[0],)


def test_a_file_is_loaded_once(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("counting.py").write_text("from pathlib import Path\nPath('log').open('a').write('x')\n")
    load_plugins(["counting.py"])
    load_plugins(["./counting.py", str(tmp_path / "counting.py")])
    assert Path("log").read_text() == "x"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "plugin mine.py: no such file"),
        ("1 / 0", "plugin mine.py: ZeroDivisionError: division by zero"),
        ("def f(:", "plugin mine.py: SyntaxError: "),
        ("from hptransfer.optimizers import RECIPES, get_recipe\nRECIPES.add(get_recipe('adamw'))", "recipe 'adamw' is taken"),
        ("from hptransfer.optimizers import get_recipe\nget_recipe('adamv')", "unknown recipe 'adamv'; did you mean 'adamw'"),
    ],
)
def test_a_plugin_that_fails_is_one_line(tmp_path, monkeypatch, content: str | None, says: str) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path("mine.py").write_text(content)
    with pytest.raises(UsageError) as error:
        load_plugins(["mine.py"])
    assert says in str(error.value) and "\n" not in str(error.value)
    assert loaded_plugins() == ()


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("model.family=gtp", "unknown model family 'gtp'; did you mean 'gpt'?"),
        ("model.windw=2", "unknown key 'model.windw'; did you mean 'model.window'?"),
        ("model.window=0", "model.window: Input should be greater than 0 (got 0)"),
        ("model.preset=bigrm", "unknown preset of model family 'window': 'bigrm'; did you mean 'bigram'?"),
        ("optimizers=[tay]", "unknown recipe 'tay'; did you mean 'toy'?"),
        ("plugins=[no.py]", "plugin no.py: no such file"),
        ("plugins=x.py", "plugins: "),
    ],
)
def test_a_mistake_beside_a_plugin_is_one_line(experiment: Experiment, tmp_path, setting: str, says: str) -> None:
    with pytest.raises(UsageError) as error:
        load_experiment(str(tmp_path / "toys.yaml"), [setting])
    assert says in str(error.value) and "\n" not in str(error.value)


def test_an_installed_package_adds_members(tmp_path) -> None:
    """By the entry-point group, at the first name that is not known."""
    (tmp_path / "toy_recipe.py").write_text((HERE / "toy_recipe.py").read_text())
    info = tmp_path / "toy-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[hptransfer.plugins]\ntoy = toy_recipe\n")
    code = (
        "import sys\nfrom hptransfer.optimizers import get_recipe\nget_recipe('adamw')\nassert 'toy_recipe' not in sys.modules\n"
    )
    code += "print(get_recipe('toy').colour)"
    path = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
    done = subprocess.run([sys.executable, "-c", path + code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "#808000"
