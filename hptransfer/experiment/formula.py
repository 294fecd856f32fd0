"""Arithmetic over the scales, such as ``12*3*width**2``: a few operators and functions, and nothing else that Python has."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping

from hptransfer.base.errors import UsageError

OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
FUNCTIONS: dict[str, Callable[..., float]] = {
    "round": round,
    "ceil": math.ceil,
    "floor": math.floor,
    "sqrt": math.sqrt,
    "log2": math.log2,
    "min": min,
    "max": max,
}
LONGEST = 500  # characters: a formula is a line that somebody reads
LARGEST = 64.0  # exponent: what is larger is no size of anything, and may take forever


def evaluate(text: str, values: Mapping[str, float]) -> float:
    """The value of a formula, ``values`` by name. Whole numbers stay whole. Raises UsageError, in one line, where it is none,
    names something else, or has no finite value above 0."""
    try:
        tree = ast.parse(text.strip(), mode="eval") if len(text) <= LONGEST else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        tree = None
    if tree is None:
        raise UsageError(f"formula {text[:80]!r} is no arithmetic, such as 12*depth*width**2")
    try:
        value = _value(tree.body, text, values)
    except (ArithmeticError, ValueError, TypeError, RecursionError) as error:
        raise UsageError(f"formula {text!r} has no value: {error}") from None
    if isinstance(value, complex) or not 0 < value < math.inf:
        raise UsageError(f"formula {text!r} is {value}, which is no size")
    return value


def names_in(text: str) -> set[str]:
    """What a formula names, its functions among them; nothing of what is no formula."""
    try:
        return {node.id for node in ast.walk(ast.parse(text.strip()[:LONGEST], mode="eval")) if isinstance(node, ast.Name)}
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()


def _value(node: ast.expr, text: str, values: Mapping[str, float]) -> float:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return number
        case ast.Name(id=name) if name in values:
            return values[name]
        case ast.Name(id=name):
            raise UsageError(f"formula {text!r} names {name}; known: {', '.join(values)}")
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, text, values)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            one, other = _value(left, text, values), _value(right, text, values)
            if isinstance(op, ast.Pow) and abs(other) > LARGEST:
                raise UsageError(f"formula {text!r} has an exponent of {other:g}, beyond {LARGEST:g}")
            return OPERATORS[type(op)](one, other)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in FUNCTIONS:
            return FUNCTIONS[name](*(_value(argument, text, values) for argument in arguments))
    known = f"+ - * / // % ** and {', '.join(FUNCTIONS)}"
    raise UsageError(
        f"formula {text!r}: {ast.unparse(node)[:40]!r} is not allowed; it may have numbers, {', '.join(values)}, {known}"
    )
