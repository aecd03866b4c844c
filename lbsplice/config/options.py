"""`option`, `no option` and `default option` of a proxy."""

from __future__ import annotations

from lbsplice.config.drafts import ProxyDraft
from lbsplice.config.keyword_tables import OPTION
from lbsplice.config.keywords import Support
from lbsplice.config.messages import Report
from lbsplice.config.statement import Statement, integer_in, known
from lbsplice.errors import ConfigError

FRONTEND_ONLY = frozenset(
    (
        "clitcpka",
        "contstats",
        "dontlog-normal",
        "dontlognull",
        "log-separate-errors",
        "logasap",
        "socket-stats",
        "tcp-smart-accept",
    )
)
BACKEND_ONLY = frozenset(
    (
        "abortonclose",
        "allbackups",
        "log-health-checks",
        "redispatch",
        "srvtcpka",
        "tcp-smart-connect",
    )
)
NOT_NEGATABLE = frozenset(("tcplog", "httplog", "tcpka"))


def read_option(line: Statement, draft: ProxyDraft, report: Report) -> None:
    """Take one option in. Raises `ConfigError`."""
    name = line.word(1)
    if not name:
        raise ConfigError("'option' expects an option name.")
    unknown = f"unknown option '{name}'"
    keyword = OPTION.get(name)
    if keyword is not None and line.prefix and keyword.support is not Support.USED:
        return  # what is not there is not there
    if keyword is None and line.prefix:
        raise ConfigError(f"negation/default is not supported for option '{name}'.")
    try:
        is_used = known(OPTION, name, f"option {name}", unknown, report, line.place)
    except ConfigError as error:
        text = str(error)
        raise ConfigError(f"{text}." if text == unknown else text) from None
    if not is_used:
        return
    if line.prefix and name in NOT_NEGATABLE:
        raise ConfigError(f"negation/default is not supported for option '{name}'.")
    if name == "redispatch":
        interval = _redispatch(line)
    else:
        interval = 0
        _no_more(line, name)
    if name == "httplog":
        report.warn("'option httplog' is for HTTP: taken as 'option tcplog'.", line.place)
        name = "tcplog"
    if name == "tcplog" and not draft.has_frontend:
        report.warn(
            f"{draft.title} : 'option tcplog' directive is ignored in backends.", line.place
        )
        return
    if not _fits(name, draft, report, line):
        return
    if name == "redispatch":
        draft.settings.redispatch = interval
    elif name == "tcpka":
        for side in ("clitcpka", "srvtcpka"):
            draft.settings.set_option(side, True)
    else:
        draft.settings.set_option(name, {"": True, "no": False, "default": None}[line.prefix])


def _no_more(line: Statement, name: str) -> None:
    if line.word(2):
        hint = ""
        if name in ("tcplog", "httplog") and line.word(2) == "clf":
            hint = " lbsplice does not do the CLF shape: not yet."
        raise ConfigError(
            f"'option {name}' cannot handle unexpected argument '{line.word(2)}'.{hint}"
        )


def _redispatch(line: Statement) -> int:
    """The interval of `option redispatch`: -1 is the last retry, 0 never."""
    if line.prefix:
        return 0
    text = line.word(2)
    if not text:
        return -1
    if line.word(3):
        raise ConfigError(
            f"'option redispatch' cannot handle unexpected argument '{line.word(3)}'."
        )
    interval = integer_in("'option redispatch' : ", text, low=-(2**31), high=2**31 - 1)
    if interval < -1:
        raise ConfigError(
            "'option redispatch' with an interval below -1 is not supported by lbsplice: not yet."
        )
    return interval


def _fits(name: str, draft: ProxyDraft, report: Report, line: Statement) -> bool:
    """Whether the option has a meaning here; warns if not."""
    missing = ""
    if name in FRONTEND_ONLY and not draft.has_frontend:
        missing = "frontend"
    elif name in BACKEND_ONLY and not draft.has_backend:
        missing = "backend"
    if missing:
        report.warn(
            f"'{name}' ignored because {draft.title} has no {missing} capability.", line.place
        )
    return not missing
