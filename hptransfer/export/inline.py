"""The text of modules that import nothing of this project but one another, as one piece for a file that stands alone."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from importlib import resources


def standalone(*names: str, imports: Iterable[str] = ()) -> str:
    """The code of ``hptransfer.modules`` members by name, in order: all that they and ``imports`` import first, then the rest."""
    heads, bodies = ast.parse("\n".join(imports)).body, []
    for name in names:
        text = resources.files("hptransfer.modules").joinpath(f"{name}.py").read_text(encoding="utf-8")
        found = [node for node in ast.parse(text).body if isinstance(node, ast.Import | ast.ImportFrom)]
        heads += [node for node in found if not ast.unparse(node).startswith(("from hptransfer", "from __future__"))]
        bodies.append("\n".join(text.splitlines()[found[-1].end_lineno :]).strip("\n"))
    return f"from __future__ import annotations\n\n{_merged(heads)}\n\n\n" + "\n\n\n".join(bodies) + "\n"


def _merged(heads: list[ast.stmt]) -> str:
    """Import statements, one for each module, Python's own first."""
    whole: set[str] = set()
    parts: dict[str, set[str]] = {}
    for node in heads:
        if isinstance(node, ast.ImportFrom):
            parts.setdefault(str(node.module), set()).update(ast.unparse(alias) for alias in node.names)
        else:
            whole.add(ast.unparse(node))
    lines = [*sorted(whole), *(f"from {module} import {', '.join(sorted(names))}" for module, names in sorted(parts.items()))]
    return "\n".join(sorted(lines, key=lambda line: line.split()[1].startswith(("torch", "hptransfer"))))
