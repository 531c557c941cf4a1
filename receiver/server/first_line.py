"""First lines of requests as strangers write them, made such as the parser takes.

Senders that put a URL together from texts leave blanks, Thai letters and `#` in its query as they
are, where httptools takes no more than ASCII without blanks: such a query is percent-encoded before
it is read.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

# A first line that httptools reads as it is meant. It leaves out what is behind a `#`.
PLAIN: Final = re.compile(rb"[A-Z-]+ [!\"$-~]+ HTTP/1\.[01]\r\n")
MAY_BEGIN: Final = re.compile(rb"[A-Z-]{1,24}(?: |\Z)")
# Neither NUL nor a line break in it: where the line ends nobody may see otherwise.
_LINE: Final = re.compile(rb"([A-Z-]+ +)([^?& \0\r\n]+)((?:[?&][^\0\r\n]*?)?)( +HTTP/[0-9.]+\r?\n)")
_IN_A_PATH: Final = "".join(map(chr, range(128)))
_IN_A_QUERY: Final = "".join(chr(c) for c in range(0x21, 0x7F) if chr(c) != "#")


def encoded(line: bytes) -> bytes:
    """Return a request's first line with its target in ASCII, and without a blank in its query.

    The query begins with `?` or `&`. What is no first line is left as it is.
    """
    parts = _LINE.fullmatch(line)
    if parts is None:
        return line
    method, path, query, version = parts.groups()
    target = quote(path, safe=_IN_A_PATH) + quote(query, safe=_IN_A_QUERY)
    return b"%b%b%b" % (method, target.encode(), version)
