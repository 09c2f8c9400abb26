"""Write the table of variables into docs/data.md: python docs/make_tables.py"""

from __future__ import annotations

from pathlib import Path

from xflux.cf.variables import VARIABLES

PAGE = Path(__file__).parent / "data.md"
START, END = "<!-- variables: docs/make_tables.py -->", "<!-- end of variables -->"
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


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
