"""What is stored is read as if a stranger had written it: bounded, every fault one line."""

import json
import time

import pytest

from hptransfer.base.stored import from_json, from_yaml, may_be_odd, sealed, shown, unsealed

BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 30))


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        "a: &a {<<: *a}",
        "a: &a [*a]",
        "a: 2024-13-45",
        "a: 2024-12-24",
        "a: " + "9" * 5000,
        "a: 18446744073709551616",
        "!!int abc",
        "[" * 2000 + "]" * 2000,
        "[" * 80 + "]" * 80,
        "? [a, b]\n: c",
        "? {a: b}\n: c",
        "1: a",
        "a: .nan",
        "a: !!binary nonsense",
        "a: !!python/object:os.system x",
        "a: !!timestamp x",
        "a: b: c",
        "a: *b",
        "a: 'x\x00'",
        "x" * 300_000,
    ],
)
def test_what_no_yaml_of_ours_is_is_said_in_one_line(text):
    began = time.monotonic()
    with pytest.raises(ValueError) as error:
        from_yaml(text)
    assert "\n" not in str(error.value)
    assert 0 < len(str(error.value)) < 400
    assert time.monotonic() - began < 10


def test_aliases_within_the_bounds_are_written_out():
    assert from_yaml("base: &b {lr: 1}\nmine: {<<: *b, wd: 2}\nlist: [*b, *b]") == {
        "base": {"lr": 1},
        "mine": {"lr": 1, "wd": 2},
        "list": [{"lr": 1}, {"lr": 1}],
    }
    assert from_yaml("") is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',
        b'{"a": 1E+400}',
        b'{"a": 18446744073709551616}',
        b'{"a": -9223372036854775809}',
        b'{"a": "\\ud800"}',
        b'{"\\udfff": 1}',
        b"9" * 5000,
        b"[" * 100_000,
        b"[" * 70 + b"]" * 70,
    ],
)
def test_what_no_json_of_ours_is_is_said_in_one_line(content):
    with pytest.raises(ValueError) as error:
        from_json(content)
    assert "\n" not in str(error.value)


def test_the_fast_look_misses_no_odd_value():
    odd = ["NaN", "-Infinity", "1e999", "1E400", "1E+400", str(2**63), str(-(2**64)), '"\\ud800"', '"\\uDFFF"']
    assert all(may_be_odd(f'{{"a": {value}}}'.encode()) for value in odd)
    assert not may_be_odd(b'{"a": 0.0006666666666666666, "b": "dc87f58d6e5e87749915", "c": 1e-8, "d": 9000000000000}')


def test_a_seal_holds_every_bit():
    text = json.dumps({"a": 1, "b": "x"})
    content = sealed(text).encode()
    assert unsealed(content) == text.encode()
    assert json.loads(content)["b"] == "x"
    for bit in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            found = unsealed(bytes(flipped))
        except ValueError:
            continue
        assert found == bytes(flipped)  # the seal itself is no seal any more: a key that no model knows


def test_a_long_value_is_cut():
    assert len(shown("x" * 1_000_000)) < 100
    assert shown(10**5000) == "a int too long to show"
