"""Excel files as small as they can be, for tests: no writer of them is among what the project needs."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from xml.sax.saxutils import escape

Cell = str | float | bool | None

TYPES = (
    '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="xml" ContentType="application/xml"/><Override PartName="/xl/workbook.xml" '
    'ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/></Types>'
)
RELATIONS = '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">{}</Relationships>'
RELATION = '<Relationship Id="r{0}" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/{1}" Target="{2}"/>'
MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'


def write_workbook(path: Path, sheets: Mapping[str, Sequence[Sequence[Cell]]]) -> str:
    """A workbook with the rows of each sheet; text that begins with # is an error, as of a formula."""
    numbered = list(enumerate(sheets.items(), start=1))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("[Content_Types].xml", TYPES)
        archive.writestr("_rels/.rels", RELATIONS.format(RELATION.format(1, "officeDocument", "xl/workbook.xml")))
        names = "".join(f'<sheet name="{escape(name)}" sheetId="{n}" r:id="r{n}"/>' for n, (name, _) in numbered)
        namespace = 'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"'
        archive.writestr("xl/workbook.xml", f"<workbook {MAIN} {namespace}><sheets>{names}</sheets></workbook>")
        targets = "".join(RELATION.format(n, "worksheet", f"worksheets/sheet{n}.xml") for n, _ in numbered)
        archive.writestr("xl/_rels/workbook.xml.rels", RELATIONS.format(targets))
        for n, (_, rows) in numbered:
            cells = (
                "".join(_cell(f"{ascii_uppercase[place]}{line}", cell) for place, cell in enumerate(row))
                for line, row in enumerate(rows, start=1)
            )
            body = "".join(f'<row r="{line}">{row}</row>' for line, row in enumerate(cells, start=1))
            archive.writestr(f"xl/worksheets/sheet{n}.xml", f"<worksheet {MAIN}><sheetData>{body}</sheetData></worksheet>")
    return str(path)


def _cell(where: str, cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return f'<c r="{where}" t="b"><v>{int(cell)}</v></c>'
    if not isinstance(cell, str):
        return f'<c r="{where}"><v>{cell!r}</v></c>'
    if cell.startswith("#"):
        return f'<c r="{where}" t="e"><v>{cell}</v></c>'
    return f'<c r="{where}" t="inlineStr"><is><t>{escape(cell)}</t></is></c>'
