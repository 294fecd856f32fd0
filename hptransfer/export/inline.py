"""The text of modules that import nothing of this project but one another, as one piece for a file that stands alone."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from importlib import resources


def standalone(*names: str, imports: Iterable[str] = ()) -> str:
    """The code of ``hptransfer.modules`` members by name, in order: their imports and ``imports`` first, each once, then all the
    rest."""
    heads = dict.fromkeys(imports)
    bodies = []
    for name in names:
        text = resources.files("hptransfer.modules").joinpath(f"{name}.py").read_text(encoding="utf-8")
        lines, tree = text.splitlines(), ast.parse(text)
        body = tree.body[1:]  # without the module's docstring
        found = [node for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
        for node in found:
            if not (isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("hptransfer", "__future__"))):
                heads[ast.unparse(node)] = None
        first = found[-1].end_lineno or 0
        bodies.append("\n".join(lines[first:]).strip("\n"))
    ordered = sorted(heads, key=lambda line: (line.split()[1].startswith(("torch", "hptransfer")), line.startswith("from"), line))
    return "\n".join(["from __future__ import annotations", "", *ordered]) + "\n\n\n" + "\n\n\n".join(bodies) + "\n"
