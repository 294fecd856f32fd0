"""The layers: base <- trainers, base <- analysis, stages over both. Analysis works without torch, ray and trainers."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import hptransfer

PACKAGE = Path(__file__).parent.parent / "hptransfer"

# What stands where, by the name of a package or module: the longest one counts. A ``command`` is a stage wherever it stands.
LAYERS = {
    "base": ("base", "runs", "experiment", "optimizers", "models", "cli"),
    "trainers": (
        "optimizers.engine",
        "models.gpt",
        "models.lstm",
        "models.loss",
        "models.model",
        "models.shapes",
        "modules",
        "trainers",
    ),
    "analysis": ("transfer", "laws", "backtest", "report", "export", "validate", "plan.cost", "plan.hardware", "plan.simulate"),
    "stages": (
        "store",
        "import",
        "data",
        "plan",
        "search",
        "coordcheck",
        "train",
        "convert",
        "validate.stage",
        "testing",
        "api",
        "modules.api",
    ),
}
# What each layer may import beside itself, and which packages it must do without.
STANDS_ON = {"base": (), "trainers": ("base",), "analysis": ("base",), "stages": ("base", "trainers", "analysis")}
WITHOUT = {
    "base": {"torch", "ray", "optuna", "mup"},
    "trainers": {"optuna"},
    "analysis": {"torch", "ray", "optuna", "mup"},
    "stages": set(),
}


def layer(module: str) -> str:
    """The layer of ``a.b`` (without the package's name)."""
    parts = module.split(".")
    if parts[-1] in ("command", "__main__") and module != "trainers.command":
        return "stages"
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        for found, members in LAYERS.items():
            if name in members:
                return found
    raise AssertionError(f"{module} belongs to no layer")


def back_edges(module: str, source: str) -> list[str]:
    """Imports in ``source`` (also those inside functions) that the layer of ``module`` must not have.

    Members of a protocol (a recipe, a family) name their engine where a step is taken or a model built, and for their types; a
    source its tool where it reads.
    """
    own, found = layer(module), []
    tree = ast.parse(source)
    lazy = {id(node) for part in ast.walk(tree) if isinstance(part, ast.FunctionDef) for node in ast.walk(part)}
    types = [part for part in ast.walk(tree) if isinstance(part, ast.If) and ast.unparse(part.test) == "TYPE_CHECKING"]
    lazy |= {id(node) for part in types for node in ast.walk(part)}
    is_member = module.startswith(("optimizers.", "models.")) and not module.startswith("optimizers.rules")
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            top, _, rest = name.partition(".")
            if top == "hptransfer" and rest:
                if is_member and rest.startswith(("optimizers.engine", "models.")) and id(node) in lazy:
                    continue
                if layer(rest) not in (own, *STANDS_ON[own]):
                    found.append(name)
            elif top in WITHOUT[own] and not (module.startswith("runs.sources.") and top == "optuna" and id(node) in lazy):
                found.append(name)
    return found


def modules() -> list[tuple[str, Path]]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
        if name not in ("__init__", "__main__"):
            found.append((name, path))
    return found


@pytest.mark.parametrize(("name", "path"), modules(), ids=[name for name, _ in modules()])
def test_no_back_edge(name: str, path: Path) -> None:
    assert back_edges(name, path.read_text()) == []


@pytest.mark.parametrize(
    ("module", "source", "edge"),
    [
        ("transfer.law", "import torch", "torch"),
        ("report.page", "def f():\n    from ray import tune", "ray"),
        ("optimizers.rules.width", "from hptransfer.optimizers.engine import transforms", "hptransfer.optimizers.engine"),
        ("optimizers.muon", "from hptransfer.optimizers.engine import transforms", "hptransfer.optimizers.engine"),
        ("validate.regret", "from hptransfer.trainers.ours.loop import train", "hptransfer.trainers.ours.loop"),
        (
            "validate.verdict",
            "def f():\n    from hptransfer.trainers.ours.points import resolve",
            "hptransfer.trainers.ours.points",
        ),
        ("trainers.ours.loop", "from hptransfer.transfer.law import fit", "hptransfer.transfer.law"),
        ("export.canonical", "from hptransfer.validate.command import main", "hptransfer.validate.command"),
        ("runs.store", "from hptransfer.trainers.ours.spec import RunSpec", "hptransfer.trainers.ours.spec"),
    ],
)
def test_a_back_edge_is_found(module: str, source: str, edge: str) -> None:
    assert back_edges(module, source) == [edge]


def packages(found: Iterable[tuple[str, str]]) -> dict[str, set[str]]:
    """Which packages of the analysis each of them imports, by the names and sources of their modules."""
    graph: dict[str, set[str]] = {}
    for module, source in found:
        for node in ast.walk(ast.parse(source)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            inside = [rest for top, _, rest in (name.partition(".") for name in names) if top == "hptransfer" and rest]
            others = {name.split(".")[0] for name in inside if layer(name) == "analysis"} - {module.split(".")[0]}
            graph.setdefault(module.split(".")[0], set()).update(others)
    return graph


def test_analysis_is_read_in_one_direction() -> None:
    """No two of its packages import each other, nor several in a circle: what they share lies lower."""
    analysis = [(name, path.read_text()) for name, path in modules() if layer(name) == "analysis"]
    assert [*TopologicalSorter(packages(analysis)).static_order()]


def test_a_circle_is_found() -> None:
    circle = [("laws.progress", "import hptransfer.validate.survival"), ("validate.foretold", "from hptransfer.laws import LAWS")]
    with pytest.raises(CycleError):
        TopologicalSorter(packages(circle)).prepare()


def test_a_recipe_may_name_its_engine_where_a_step_is_taken() -> None:
    assert back_edges("optimizers.muon", "def chain():\n    from hptransfer.optimizers.engine import transforms") == []


def test_a_source_may_name_its_tool_where_it_reads() -> None:
    assert back_edges("runs.sources.optuna_storage", "def read():\n    import optuna") == []
    assert back_edges("runs.sources.optuna_storage", "import optuna") == ["optuna"]
    assert back_edges("runs.sources.optuna_storage", "def read():\n    import torch") == ["torch"]


# What our own trainer's run is made of: whoever else named it would know no other trainer's.
OURS = re.compile(r"\b(RunSpec|ModelSpec)\b|\bspec\.model\b")


@pytest.mark.parametrize(("name", "path"), modules(), ids=[name for name, _ in modules()])
def test_our_trainers_run_is_named_in_its_room_alone(name: str, path: Path) -> None:
    if not name.startswith(("trainers.ours", "testing")):  # the conformance suites are its tests
        assert OURS.findall(path.read_text()) == []


def test_analysis_runs_without_torch_ray_and_trainers() -> None:
    """Importing every analysis module loads none of them, directly or through another."""
    names = [f"hptransfer.{name}" for name, _ in modules() if layer(name) == "analysis"]
    code = f"import importlib, sys\nfor name in {names!r}: importlib.import_module(name)\n"
    code += "print([name for name in ('torch', 'ray', 'hptransfer.trainers', 'hptransfer.models.gpt') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# Calls by which a file or a string becomes code.
CODE = {
    "eval", "exec", "pickle.load", "pickle.loads", "pickle.Unpickler", "cloudpickle.load", "cloudpickle.loads",
    "ray.cloudpickle.load", "ray.cloudpickle.loads", "dill.load", "dill.loads", "joblib.load", "marshal.load", "marshal.loads",
    "shelve.open", "pandas.read_pickle", "yaml.load", "yaml.load_all", "yaml.full_load", "yaml.full_load_all", "yaml.unsafe_load",
    "yaml.unsafe_load_all", "torch.jit.load", "torch.package.PackageImporter",
}  # fmt: skip
# Safe or not by an argument: its value that is safe, and that of a call without it.
BY_ARGUMENT = {"torch.load": ("weights_only", True, False), "numpy.load": ("allow_pickle", False, False)}


def unsafe_calls(source: str) -> list[str]:
    """Calls in ``source`` that run what a file holds, by their full names whatever they were imported as."""
    tree, imported, found = ast.parse(source), {}, []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom):
            imported |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        first, dot, rest = ast.unparse(node.func).partition(".")
        name = imported.get(first, first) + dot + rest
        given = {keyword.arg: getattr(keyword.value, "value", None) for keyword in node.keywords}
        argument, safe, default = BY_ARGUMENT.get(name, ("trust_remote_code", False, False))
        if name in CODE or given.get(argument, default) is not safe:
            found.append(name)
    return found


@pytest.mark.parametrize(("name", "path"), modules(), ids=[name for name, _ in modules()])
def test_nothing_that_is_read_is_run(name: str, path: Path) -> None:
    """A store, a checkpoint and an experiment may come from a stranger."""
    assert unsafe_calls(path.read_text()) == []


@pytest.mark.parametrize(
    ("source", "call"),
    [
        ("import torch\ntorch.load(file)", "torch.load"),
        ("import torch\ntorch.load(file, weights_only=False)", "torch.load"),
        ("from torch import load as read\nread(file)", "torch.load"),
        ("def f():\n    import pickle as p\n    return p.loads(text)", "pickle.loads"),
        ("import yaml\nyaml.load(text, Loader=yaml.Loader)", "yaml.load"),
        ("import numpy as np\nnp.load(file, allow_pickle=True)", "numpy.load"),
        ("import ray.cloudpickle as pickle\npickle.load(file)", "ray.cloudpickle.load"),
        ("import datasets\ndatasets.load_dataset(name, trust_remote_code=True)", "datasets.load_dataset"),
        ("eval(text)", "eval"),
        ("exec(text)", "exec"),
    ],
)
def test_an_unsafe_call_is_found(source: str, call: str) -> None:
    assert unsafe_calls(source) == [call]


def test_safe_calls_are_let_through() -> None:
    safe = "import torch, yaml\nimport numpy as np\ntorch.load(file, weights_only=True)\nyaml.safe_load(text)\nmodel.eval()\n"
    assert unsafe_calls(safe + "np.load(file)\nnp.load(file, allow_pickle=False)") == []


def speaks(name: str) -> bool:
    """Whether a module is of the command line, which alone prints."""
    return name.startswith(("cli", "report.terminal", "report.live")) or name.split(".")[-1] in ("command", "__main__")


def printed(source: str) -> list[str]:
    """What writes to a terminal in ``source``."""
    used = [ast.unparse(node) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name | ast.Attribute)]
    return [name for name in used if name in ("print", "console", "cli.console", "cli.table", "sys.stdout", "sys.stderr")]


@pytest.mark.parametrize(("name", "path"), modules(), ids=[name for name, _ in modules()])
def test_the_library_does_not_print(name: str, path: Path) -> None:
    """It logs (`hptransfer.base.log`, the one module that may write it out), and returns what it found."""
    if not speaks(name) and name != "base.log":
        assert printed(path.read_text()) == []


@pytest.mark.parametrize(
    "source", ["print(1)", "import sys\nsys.stderr.write('a')", "from hptransfer import cli\ncli.console.print()"]
)
def test_what_prints_is_found(source: str) -> None:
    assert printed(source)


def test_a_public_name_means_one_thing() -> None:
    """No other module defines a function or a class that has the name of one of the library's. (A trainer's ``resolve`` is what
    that of all trainers calls.)"""
    found = []
    for name, path in modules():
        if name.startswith("trainers."):
            continue
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name in hptransfer.__all__:
                home = getattr(hptransfer, node.name).__module__
                found += [(name, node.name)] if home != f"hptransfer.{name}" else []
    assert not found


def test_files_can_be_read_in_one_sitting() -> None:
    long = {name: count for name, path in modules() if (count := len(path.read_text().splitlines())) > 400}
    assert not long


def test_members_are_told_apart_in_their_own_rooms_alone() -> None:
    """Elsewhere nobody asks of which class options, a recipe or a family are: a new one would have to be added there."""
    found = []
    for name, path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if name.startswith(("optimizers", "models")) or not isinstance(node, ast.Call):
                continue
            if ast.unparse(node.func) in ("isinstance", "issubclass"):
                asked = ast.unparse(node.args[1])
                found += [(name, asked) for word in ("Options", "Recipe", "Family", "GPT") if word in asked]
    assert not found
