"""Pages that open from disk without a server: templates with what all of them share, `page.css`. Nothing in them is fetched."""

from pathlib import Path

import jinja2

SHARED = Path(__file__).parent


def environment(folder: Path) -> jinja2.Environment:
    """Where the templates of a folder are rendered: texts are escaped, and a value that is not there is a mistake."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, SHARED]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
