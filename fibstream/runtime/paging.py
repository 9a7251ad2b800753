"""Pages of a list: their size, and tokens that name where the next one starts.

A token is base64 of the canonical JSON of ``[position, request, version]``. It is no secret: who
forges one is answered with another page of the same list.
"""

import base64
import binascii
import json

from fibstream.core.errors import LimitExceeded, WrongUse
from fibstream.core.keys import canonical

MAX_PAGE = 10_000  # items of a hundred bytes are 1 MB, which gRPC sends fastest
PAGE = 1000  # items when a request names no size
MAX_TOKEN = 500  # characters: a position and two hashes or names take less
MAX_POSITION = 1 << 63  # exclusive: object ids and offsets are below it


def page_size(wanted: int) -> int:
    """Return the number of items of a page; ``wanted`` is 0 for the default.

    Raises
    ------
    LimitExceeded
        ``wanted`` is more than ``MAX_PAGE``.
    """
    if wanted > MAX_PAGE:
        raise LimitExceeded(f"page_size {wanted}: at most {MAX_PAGE}")
    return wanted or PAGE


def encode_token(position: int, request: str, version: str = "") -> str:
    """Return the token of the page after ``position``.

    Parameters
    ----------
    position
        The last id, or the number of items, of the pages so far; positive.
    request
        Names what is listed: a token is valid for this request alone.
    version
        Names the state of what is listed; of a list by name, the last name of the pages so far.
    """
    return base64.urlsafe_b64encode(canonical([position, request, version])).decode()


def decode_token(token: str, request: str) -> tuple[int, str | None]:
    """Return position and version of a token; 0 and None for the first page, which has none.

    Raises
    ------
    WrongUse
        Not a token, or one of another request.
    """
    if not token:
        return 0, None
    wrong = WrongUse("page_token: not one that this request was answered with")
    if len(token) > MAX_TOKEN:
        raise wrong
    try:
        found = json.loads(base64.b64decode(token.encode("ascii"), b"-_", validate=True))
        position, of_request, version = found
    except (UnicodeError, binascii.Error, ValueError, TypeError):
        raise wrong from None
    if type(position) is not int or not 0 < position < MAX_POSITION:
        raise wrong
    if of_request != request or type(version) is not str:
        raise wrong
    return position, version
