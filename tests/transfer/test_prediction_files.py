"""A prediction file is what was predicted, or it is refused in one line."""

import json

import pytest

from hptransfer.base.errors import UsageError
from hptransfer.runs import Store
from hptransfer.transfer.prediction import Prediction, is_prediction_file, read_prediction, write_prediction
from hptransfer.validate.standing import known_predictions

EDITS = {
    "a negative lr": lambda d: d["hyperparameters"]["lr"].update(value=-1.0),
    "no lr": lambda d: d["hyperparameters"]["lr"].update(value=0.0, low=None, high=None),
    "low above high": lambda d: d["hyperparameters"]["lr"].update(low=2.0, high=1.0),
    "a value outside its interval": lambda d: d["hyperparameters"]["lr"].update(high=d["hyperparameters"]["lr"]["value"] / 2),
    "a negative final lr": lambda d: d["job"]["kinds"][0].update(lr=-1.0),
    "an unknown role": lambda d: d["job"]["kinds"][0].update(role="body"),
    "a list": lambda d: d.update(job=[]),
    "an infinite number": lambda d: d["job"].update(flops=float("inf")),
}
SUBTLE = {
    "another lr": lambda d: d["hyperparameters"]["lr"].update(value=d["hyperparameters"]["lr"]["value"] * 1.01),
    "another optimizer": lambda d: d["job"]["point"]["settings"].update(optimizer="sgd"),
    "no roles": lambda d: d["job"].update(kinds=[]),
}


@pytest.fixture
def prediction(full) -> Prediction:
    return full.predictions["adamw"]


def edited(path, change, *, digest: bool) -> None:
    data = json.loads(path.read_text())
    change(data)
    if not digest:
        del data["digest"]
    path.write_text(json.dumps(data))


def test_a_file_comes_back_as_it_was_however_it_is_laid_out(prediction, folder):
    path = write_prediction(prediction, folder / "p.json")
    assert read_prediction(path) == prediction
    path.write_text(json.dumps(json.loads(path.read_text()), sort_keys=True))
    assert read_prediction(path) == prediction
    assert json.loads(path.read_text())["digest"] == prediction.digest


def test_a_file_of_before_there_was_a_digest_is_read(prediction, folder):
    (folder / "p.json").write_text(prediction.model_dump_json())
    assert read_prediction(folder / "p.json") == prediction


@pytest.mark.parametrize("kind", [*EDITS, *SUBTLE])
def test_an_edited_file_is_refused_in_one_line(prediction, folder, kind):
    path = write_prediction(prediction, folder / "p.json")
    edited(path, (EDITS | SUBTLE)[kind], digest=True)
    with pytest.raises(UsageError, match=r"p\.json (was edited after it was written|is not a prediction file)") as error:
        read_prediction(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", EDITS)
def test_without_its_digest_values_that_none_are_are_refused(prediction, folder, kind):
    path = write_prediction(prediction, folder / "p.json")
    edited(path, EDITS[kind], digest=False)
    with pytest.raises(UsageError, match=r"p\.json is (damaged|not a prediction file)") as error:
        read_prediction(path)
    assert "\n" not in str(error.value)


def test_a_registered_prediction_that_was_edited_is_not_used(prediction, folder, experiment):
    store = Store("store")
    store.register_prediction(prediction.run.run_id, prediction.stored())
    assert known_predictions(experiment, store)[-1] == prediction
    (path,) = (folder / "store/predictions").glob("*.json")
    path.write_text(path.read_text().replace('"adamw"', '"muon"'))
    assert prediction.digest in path.read_text() and '"muon"' in path.read_text()
    assert prediction.run.run_id not in [one.run.run_id for one in known_predictions(experiment, store)]


@pytest.mark.parametrize("content", ['"of a prediction_version"', '["prediction_version"]', "x", "[" * 100_000], ids=range(4))
def test_what_only_names_a_prediction_is_none(folder, content, prediction):
    path = folder / "mine.json"
    path.write_text(content)
    assert not is_prediction_file(path)
    with pytest.raises(UsageError, match="it is not overwritten"):
        write_prediction(prediction, path)
    assert path.read_text() == content
