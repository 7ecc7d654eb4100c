"""Where a page will be published, and the tags by which services that show links find the page and its picture."""

import re
from typing import Final
from urllib.parse import urlsplit

from aae_zoo.runtime.errors import InvalidInput
from aae_zoo.runtime.escapes import html_text

# The characters of an address's host and path (RFC 3986, appendix A), but for the apostrophe.
_ADDRESS: Final = re.compile(r"https?://[A-Za-z0-9._~:/%!$&()*+,;=\[\]-]+")
_EXAMPLE: Final = "https://example.org/zoo/"


def site_address(url: str | None) -> str | None:
    """The address of a site's folder with a slash at its end, or None where it is not known.

    Raises:
        InvalidInput: `url` is not the address of a folder on a web server.
    """
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        right = bool(_ADDRESS.fullmatch(url) and parts.hostname) and parts.port != 0
    except ValueError:  # the port is not a number, or a bracket is missing
        right = False
    if not right:
        raise InvalidInput(
            f"--url is {url[:200]!r}, expected the address of the site's folder, such as {_EXAMPLE}, with no name, "
            "question mark, fragment, quotation mark or space in it; other letters as browsers copy them, ä as %C3%A4"
        )
    if parts.path.endswith((".html", ".htm")):
        raise InvalidInput(f"--url is {url[:200]!r}, a page; give the address of its folder, such as {_EXAMPLE}")
    return url.rstrip("/") + "/"


def link_tags(page: str | None, picture: str) -> str:
    """The tags of a page that say where it is and where its picture is, a path relative to it.

    With the address of the page they are absolute, as https://ogp.me wants them; without it the page has no other way
    than to name the picture as it does for itself.
    """
    if page is None:
        return f'<meta property="og:image" content="{html_text(picture)}">'
    return (
        f'<link rel="canonical" href="{html_text(page)}">\n'
        f'  <meta property="og:url" content="{html_text(page)}">\n'
        f'  <meta property="og:image" content="{html_text(page + picture)}">'
    )
