"""Which rows `show stat WORDS` asks for."""

from __future__ import annotations

from collections.abc import Sequence

from lbsplice.admin import named
from lbsplice.admin.stat import ALL, Filter
from lbsplice.admin.state_text import leading_number
from lbsplice.admin.view import View


def parse_filter(words: Sequence[str], view: View, *, legends: bool = True) -> Filter:
    """The filter of `show stat WORDS`. Three words that are there are the proxy, the type
    and the server, whatever they say. Raises AdminError for a proxy that is not there."""
    iid = types = sid = ALL
    rest = words
    if len(words) >= 3:
        iid = named.proxy_id(view, words[0])
        types, sid = leading_number(words[1]), leading_number(words[2])
        rest = words[3:]
    return Filter(
        iid, types, sid, "up" in rest, "no-maint" in rest, legends, is_bound=rest is not words
    )
