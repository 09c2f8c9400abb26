"""Write the tables of docs/data.md and docs/check.md: python docs/make_tables.py"""

from __future__ import annotations

from pathlib import Path

from xflux.audit.kinds import KINDS
from xflux.cf.variables import VARIABLES

PAGE = Path(__file__).parent / "data.md"
START, END = "<!-- variables: docs/make_tables.py -->", "<!-- end of variables -->"
CHECK_PAGE = Path(__file__).parent / "check.md"
CHECK_START, CHECK_END = "<!-- kinds: docs/make_tables.py -->", "<!-- end of kinds -->"
HEADINGS = {
    "driver": "Drivers",
    "precursor": "From which VPD is derived where it is not there",
    "target": "Targets",
    "quality": "Quality",
    "characteristic": "Characteristics",
}


def table() -> str:
    """The variables by role, as one Markdown table each."""
    parts = []
    for role, heading in HEADINGS.items():
        rows = [row for row in VARIABLES if row.role == role]
        parts.append(f"**{heading}**\n")
        parts.append("| xflux | meaning | unit | CF standard name | names it is known by |")
        parts.append("| --- | --- | --- | --- | --- |")
        for row in rows:
            standard = " ".join(f"`{name}`" for name in row.known_standard_names) or "none"
            names = dict.fromkeys(alias for group in row.aliases.values() for alias in group)
            aliases = " ".join(f"`{alias}`" for alias in names)
            unit = "text" if row.name in ("igbp", "climate") else row.units
            parts.append(f"| `{row.name}` | {row.long_name} | {unit} | {standard} | {aliases} |")
        parts.append("")
    return "\n".join(parts)


def page(text: str) -> str:
    """The page with the table of today between its marks."""
    before, rest = text.split(START)
    after = rest.split(END)[1]
    return f"{before}{START}\n\n{table()}\n{END}{after}"


def check_table() -> str:
    """The kinds of findings by family, as one Markdown table each."""
    parts = []
    for family in dict.fromkeys(kind.family for kind in KINDS.values()):
        parts.append(f"**{family[0].upper()}{family[1:]}**\n")
        parts.append("| kind | how sure | what is looked for |")
        parts.append("| --- | --- | --- |")
        parts += [
            f"| {name} | {kind.severity} | {kind.found} |"
            for name, kind in KINDS.items()
            if kind.family == family
        ]
        parts.append("")
    return "\n".join(parts)


def check_page(text: str) -> str:
    """The page of the audit with the table of today between its marks."""
    before, rest = text.split(CHECK_START)
    after = rest.split(CHECK_END)[1]
    return f"{before}{CHECK_START}\n\n{check_table()}\n{CHECK_END}{after}"


if __name__ == "__main__":
    CHECK_PAGE.write_text(check_page(CHECK_PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
