"""Bodies in gzip, and files in forms: what clients wrap around a picture or an array."""

import zlib
from collections.abc import Iterator
from email.message import Message
from typing import Final

from aae_zoo.runtime.errors import InvalidInput

FORM: Final = "multipart/form-data"
_STEP: Final = 1 << 16
_GZIP: Final = 16 + zlib.MAX_WBITS
# The most bytes of the head of a form's field.
_MAX_HEAD: Final = 1 << 12


def unpacked_size(body: bytes, most: int) -> int:
    """How many bytes gzip unpacks to, or more than `most`; takes the memory of one piece.

    Raises:
        InvalidInput: it is not gzip, is cut short, or is followed by something else.
    """
    size = 0
    for piece in _pieces(body):
        size += len(piece)
        if size > most:
            break
    return size


def unpacked(body: bytes, size: int) -> bytes:
    """What gzip unpacks to, whose size `unpacked_size` has found."""
    whole = bytearray()
    for piece in _pieces(body):
        whole += piece
    if len(whole) != size:
        raise InvalidInput(f"the body unpacks to {len(whole)} bytes, expected {size}")
    return bytes(whole)


def _pieces(body: bytes) -> Iterator[bytes]:
    unpacker, rest = zlib.decompressobj(_GZIP), body
    try:
        while not unpacker.eof:
            piece = unpacker.decompress(rest, _STEP)
            rest = unpacker.unconsumed_tail
            if not piece and not rest and not unpacker.eof:
                raise InvalidInput("the body's gzip is cut short; send all of it")
            yield piece
    except zlib.error as error:
        raise InvalidInput(f"the body cannot be read as gzip ({error}); leave out Content-Encoding") from None
    if unpacker.unused_data:
        raise InvalidInput("the body has more behind its gzip, expected one stream; pack it in one")


def file_of_form(content_type: str, body: bytes) -> bytes:
    """The one file of a form, as `curl -F file=@seven.png` sends it; what it is called is not looked at.

    Raises:
        InvalidInput: it is not such a form, or has other fields.
    """
    head = Message()
    head["Content-Type"] = content_type
    border = head.get_param("boundary")
    if not isinstance(border, str) or not 0 < len(border) <= 70:  # RFC 2046
        raise InvalidInput("the form's Content-Type has no boundary; let the client write it, as curl -F does")
    try:
        mark = b"--" + border.encode("ascii")
        start = body.index(mark) + len(mark) + 2
        middle = body.index(b"\r\n\r\n", start, start + _MAX_HEAD) + 4
        end = body.index(b"\r\n" + mark, middle)
    except (ValueError, UnicodeError):
        raise InvalidInput("the form cannot be read as multipart/form-data; send it as curl -F does") from None
    if body[end + 2 + len(mark) : end + 4 + len(mark)] != b"--":
        raise InvalidInput("the form has several fields, expected one, the file; send parameters in the query")
    return body[middle:end]
