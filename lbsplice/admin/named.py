"""What a command names: proxies and servers by their names or, after a `#`, by their numbers
(`get weight #3/#1`). A name comes before a number that looks the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from lbsplice.admin.control import AdminError
from lbsplice.admin.state_text import leading_number
from lbsplice.admin.view import BackendView, FrontendView, ServerView, View
from lbsplice.plan.slots import ServerKey

_Half = TypeVar("_Half", FrontendView, BackendView)


def frontend(view: View, word: str) -> FrontendView:
    """Raises AdminError."""
    found = _proxy(view.frontends, word)
    if found is None:
        raise AdminError("No such frontend.")
    return found


def backend(view: View, word: str) -> BackendView:
    """Raises AdminError."""
    found = _proxy(view.backends, word)
    if found is None:
        raise AdminError("No such backend.")
    return found


def server(view: View, key: ServerKey) -> ServerView:
    """The server that was named `key[0]/key[1]`. Raises AdminError."""
    name = key[1]
    sid = leading_number(name[1:]) if name.startswith("#") else 0
    for each in backend(view, key[0]).servers:
        if each.key[1] == name or each.sid == sid:
            return each
    raise AdminError("No such server.")


def servers(view: View) -> dict[ServerKey, ServerView]:
    """All of them, by their names."""
    return {each.key: each for back in view.backends.values() for each in back.servers}


def proxy_id(view: View, word: str) -> int:
    """The number of the proxy of a name, or the word's own. Raises AdminError."""
    found = _proxy(view.frontends, word) or _proxy(view.backends, word)
    number = leading_number(word) if found is None else found.iid
    if not number:
        raise AdminError("No such proxy.")
    return number


def split_key(words: Sequence[str]) -> ServerKey:
    """The `backend/server` that stands first, as it was said. Raises AdminError."""
    name, slash, rest = (words[0] if words else "").partition("/")
    if not slash:
        raise AdminError("Require 'backend/server'.")
    return name, rest


def server_key(look: Callable[[], View], words: Sequence[str]) -> ServerKey:
    """The server that stands first. Names are taken as they are, for whoever is told to do
    something with it: a view is not made for each of a thousand orders. Raises AdminError."""
    key = split_key(words)
    return server(look(), key).key if key[0][:1] == "#" or key[1][:1] == "#" else key


def frontend_name(look: Callable[[], View], word: str) -> str:
    """The frontend's name, in the same way. Raises AdminError."""
    return frontend(look(), word).name if word.startswith("#") else word


def _proxy(halves: Mapping[str, _Half], word: str) -> _Half | None:
    if not word.startswith("#"):
        return halves.get(word)
    iid = leading_number(word[1:])
    return next((each for each in halves.values() if each.iid == iid), None)
