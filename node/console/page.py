"""The live page: a Picture as HTML, whole or part by part. Everything foreign is escaped."""

from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from node.console.picture import HEIGHT, WIDTH, Picture

PARTS: Final = (
    ("map", "Who talks to whom"),
    ("facts", "State"),
    ("cipher", "What the host sees"),
    ("uploads", "Shares on their way"),
    ("shares", "Sealed shares"),
    ("runs", "Runs"),
    ("refusals", "Refused, and by which rule"),
    ("feed", "What happens"),
)
"""Each part of the page: its id, and its title."""

_HEADS: Final = {
    "shares": ("of", "rows", "share", "state"),
    "runs": ("run", "order", "contributors", "outcome"),
    "refusals": ("refused by", "what", "set by", "rule"),
    "feed": ("time", "where", "event", "record"),
}

_TEMPLATES: Final = Environment(
    loader=PackageLoader("node.console"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def parts(picture: Picture) -> dict[str, str]:
    """Part id -> HTML."""
    tables = {
        "shares": picture.shares,
        "runs": picture.runs,
        "refusals": picture.refusals,
        "feed": picture.feed,
    }
    made = {
        name: _render("table.html", heads=_HEADS[name], rows=rows) for name, rows in tables.items()
    }
    made["map"] = _render("map.html", picture=picture, width=WIDTH, height=HEIGHT)
    made["facts"] = _render("facts.html", picture=picture)
    made["uploads"] = _render("uploads.html", picture=picture)
    made["cipher"] = _render("cipher.html", picture=picture)
    return made


def whole(picture: Picture) -> str:
    """The page."""
    return _render("page.html", picture=picture, parts=PARTS, rendered=parts(picture))


def _render(template: str, **values: object) -> str:
    return _TEMPLATES.get_template(template).render(**values)
