import pytest

from hptransfer.base.errors import UsageError
from hptransfer.laws.chinchilla import Chinchilla
from hptransfer.laws.columns import assignments, law_table
from hptransfer.laws.isoflop import IsoFlop
from hptransfer.runs.sources.reading import read_rows


def frame(**columns):
    rows = {"params": [1e8, 2e8, 4e8], "flops": [1e19, 2e19, 4e19], "loss": [3.0, 2.9, 2.8]} | columns
    return read_rows(rows).frame


def read(table, law=Chinchilla, scale="N=params,D=flops/(6*params)", loss="loss"):
    return law_table(table, law, assignments(scale), loss)


def test_expressions_become_the_laws_columns():
    found, notes = read(frame())
    assert found.columns == ["row", "N", "D", "loss"]
    assert found["D"].to_list() == pytest.approx([1e19 / 6e8, 2e19 / 12e8, 4e19 / 24e8])
    assert notes == ()


def test_usual_names_are_found_and_compute_follows_from_n_and_d():
    found, _ = law_table(read_rows({"params": [1e8], "tokens": [2e9], "val_loss": [3.0]}).frame, IsoFlop, {}, None)
    assert found.row(0) == (0, 6 * 1e8 * 2e9, 1e8, 2e9, "all", 3.0)


def test_a_comma_within_brackets_is_the_expressions():
    assert assignments("N=greatest(a,b), D=c") == {"N": "greatest(a,b)", "D": "c"}


def test_a_name_that_is_said_twice_is_refused():
    with pytest.raises(UsageError, match="--scale 'N=a,N=b' says N twice"):
        assignments("N=a,N=b")


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"loss": [3.0, None, 2.8]}, "1 runs without a finite loss"),
        ({"loss": [3.0, float("nan"), float("inf")]}, "2 runs without a finite loss"),
        ({"params": [1e8, None, 4e8]}, "1 rows without a value in N, D"),
        ({"params": [1e8] * 3, "flops": [1e19] * 3, "loss": [3.0, 3.0, 2.9]}, "1 rows that repeat another"),
    ],
    ids=["empty", "diverged", "no size", "repeated"],
)
def test_what_is_left_out_is_said(columns, said):
    found, notes = read(frame(**columns))
    assert len(found) == 3 - int(said[0])
    assert len(notes) == 1
    assert said in notes[0]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"params": [1e8, -2e8, 4e8]}, "row 1: N -200000000.0 is not positive"),
        ({"params": [1e8, 0, 4e8]}, "row 1: N 0.0 is not positive"),
        ({"loss": [3.0, -2.9, 2.8]}, "row 1: loss -2.9 is not positive"),
        ({"params": [0.1, 0.2, 0.4]}, "N is at most 0.4, where a number of parameters is meant"),
        ({"params": [1e8, float("inf"), 4e8]}, "row 1: N inf is not finite"),
        ({"params": ["small", "350M", "1B"]}, "expression|not a number"),
        ({"loss": [None, None, None]}, "no value in loss"),
    ],
    ids=["negative", "zero", "negative loss", "units", "infinite", "words", "nothing"],
)
def test_a_value_that_cannot_be_is_one_line(columns, message):
    with pytest.raises(UsageError, match=message) as raised:
        read(frame(**columns))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        ("N=params", "needs D .training tokens.; the table has params, flops, loss: say --scale 'D=...'"),
        ("M=params", "unknown column of law chinchilla 'M'"),
        ("N", "is not NAME=COLUMN"),
        ("N=parms,D=flops", "parms"),
    ],
)
def test_a_scale_that_is_not_there_is_one_line(scale, message):
    with pytest.raises(UsageError, match=message) as raised:
        read(frame(), scale=scale)
    assert "\n" not in str(raised.value)


def test_rows_to_predict_need_no_loss():
    table = read_rows({"N": [1e9, 1e9], "D": [2e10, 2e10]}).frame
    found, _ = law_table(table, Chinchilla, {}, None, to_predict=True)
    assert len(found) == 2
