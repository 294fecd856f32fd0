"""JSON as every reader takes it: without NaN and infinities, which are none of its numbers."""

from __future__ import annotations

import json
import math
from typing import Any


def to_json(value: Any, **form: Any) -> str:
    """A value as JSON; what is not finite is null, which is what unknown numbers are everywhere. ``form``: ``json.dumps``'s own
    options."""
    return json.dumps(_finite(value), allow_nan=False, **form)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, list | tuple) else value
