"""The lines of `defaults`, `frontend`, `backend` and `listen` sections."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from lbsplice.config.balance import parse_balance, parse_hash_type
from lbsplice.config.bind import MAX_LISTENERS, parse_bind
from lbsplice.config.drafts import ProxyDraft
from lbsplice.config.globals import NO_NEGATION, duration_argument, parse_log_tag
from lbsplice.config.keyword_tables import PROXY, SECTIONS, TIMEOUT
from lbsplice.config.keywords import hint
from lbsplice.config.logs import parse_log
from lbsplice.config.messages import Report
from lbsplice.config.model import StateFile
from lbsplice.config.options import read_option
from lbsplice.config.page_conditions import read_acl
from lbsplice.config.pages import read_http_request, read_monitor_uri, read_stats
from lbsplice.config.server import parse_default_server, parse_server, parse_source
from lbsplice.config.statement import Statement, known
from lbsplice.errors import ConfigError, UnitError
from lbsplice.units import Fault, QuantityError, parse_duration, parse_integer

_NO_FRONTEND = frozenset(["bind", "maxconn", "backlog", "default_backend"])
_STATE_FILE = "load-server-state-from-file"
_STATE_FILE_NAME = "server-state-file-name"
_NO_BACKEND = frozenset(
    ["balance", "hash-type", "retries", "source", _STATE_FILE, _STATE_FILE_NAME]
)
_NOT_IN_DEFAULTS = frozenset(
    ["bind", "server", "id", "description", "http-request", "acl", _STATE_FILE_NAME]
)
_CLIENT_TIMEOUTS = frozenset(("client", "client-fin"))
_SERVER_TIMEOUTS = frozenset(("connect", "server", "server-fin", "check", "tunnel"))


def read_proxy_line(line: Statement, draft: ProxyDraft, report: Report) -> None:
    """Take one line of a section in. Raises `ConfigError`."""
    name = line.keyword
    if line.prefix and name not in ("option", "log"):
        raise ConfigError(NO_NEGATION)
    unknown = f"unknown keyword '{name}' in '{draft.section}' section"
    if name not in PROXY:
        near = hint(name, _READERS) or hint(name, {**PROXY, **SECTIONS})
        raise ConfigError(f"{unknown}{near}")
    if not known(PROXY, name, name, unknown, report, line.place):
        return
    draft.said.append((name, line.place))
    if draft.kind is None and name in _NOT_IN_DEFAULTS:
        raise ConfigError(f"'{name}' not allowed in 'defaults' section.")
    if _is_out_of_place(line, draft, report):
        return
    _READERS[name](line, draft, report)


def _is_out_of_place(line: Statement, draft: ProxyDraft, report: Report) -> bool:
    """Whether the line is for the side that this proxy has not; warns of it."""
    name = line.keyword
    if not draft.has_frontend and name in _NO_FRONTEND:
        more = " Maybe you want 'fullconn' instead ?" if name == "maxconn" else ""
        text = f"'{name}' ignored because {draft.title} has no frontend capability.{more}"
    elif not draft.has_backend and name in _NO_BACKEND:
        text = f"'{name}' ignored because {draft.title} has no backend capability."
    elif not draft.has_backend and name in ("server", "default-server"):
        raise ConfigError(f"'{name}' not allowed because {draft.title} has no backend capability.")
    elif (not draft.has_frontend and name.startswith("clitcpka")) or (
        not draft.has_backend and name.startswith("srvtcpka")
    ):
        side = "backend" if draft.has_frontend else "frontend"
        text = f"{name} will be ignored because {draft.title} has no {side} capability"
    else:
        return False
    report.warn(text, line.place)
    return True


def _mode(line: Statement, draft: ProxyDraft, report: Report) -> None:
    mode = line.word(1)
    if mode in ("log", "spop", "haterm"):
        raise ConfigError(
            f"'mode {mode}' is not supported by lbsplice: it relays TCP only. Use 'mode tcp'."
        )
    if mode == "health":
        raise ConfigError("'mode health' is not supported by lbsplice: HAProxy has dropped it too.")
    if mode not in ("tcp", "http"):
        raise ConfigError(f"unknown proxy mode '{mode}'.")
    line.at_most(1)
    draft.settings.http = line.place if mode == "http" else None  # see check_pages


def _bind(line: Statement, draft: ProxyDraft, report: Report) -> None:
    binds = parse_bind(line, draft.section, report, MAX_LISTENERS - len(draft.binds))
    number = binds[0].id
    for other in draft.binds if number is not None else ():
        if other.id == number:
            raise ConfigError(
                f"'bind {line.word(1)}' in section '{draft.section}' : 'id' : custom id "
                f"{number} already used at {other.place}"
            )
    draft.binds.extend(binds)


def _server(line: Statement, draft: ProxyDraft, report: Report) -> None:
    server = parse_server(line, draft.name, draft.settings.server, report)
    number = server.settings.id
    for other in draft.servers if number is not None else ():
        if other.settings.id == number:
            raise ConfigError(
                f"'server {draft.name}/{server.name}' : 'id' : custom id {number} already used "
                f"at {other.place} ('server {other.name}')."
            )
    draft.servers.append(server)


def _default_server(line: Statement, draft: ProxyDraft, report: Report) -> None:
    settings = draft.settings
    settings.server = parse_default_server(line, settings.server, report)


def _default_backend(line: Statement, draft: ProxyDraft, report: Report) -> None:
    if not line.word(1):
        raise ConfigError("'default_backend' expects a backend name.")
    line.at_most(1)
    draft.settings.default_backend = (line.word(1), line.place)


def _balance(line: Statement, draft: ProxyDraft, report: Report) -> None:
    draft.settings.balance = parse_balance(line, draft.settings.balance)


def _hash_type(line: Statement, draft: ProxyDraft, report: Report) -> None:
    draft.settings.balance = parse_hash_type(line, draft.settings.balance)


def _timeout(line: Statement, draft: ProxyDraft, report: Report) -> None:
    name = line.word(1)
    shown = f"timeout {name}"
    unknown = (
        "'timeout' supports 'client', 'server', 'connect', 'check', 'queue', 'http-keep-alive', "
        "'http-request', 'tunnel', 'tarpit', 'client-fin' and 'server-fin' "
        f"(got '{name}')"
    )
    if not known(TIMEOUT, name, shown, unknown, report, line.place):
        return
    try:
        value = parse_duration(line.word(2))
    except QuantityError as error:
        raise ConfigError(_timeout_fault(error, shown)) from None
    if line.word(3):
        raise ConfigError(
            f"'{shown}' : unexpected extra argument '{line.word(3)}' after value '{line.word(2)}'."
        )
    missing = ""
    if name in _CLIENT_TIMEOUTS and not draft.has_frontend:
        missing = "frontend"
    elif name in _SERVER_TIMEOUTS and not draft.has_backend:
        missing = "backend"
    if missing:
        report.warn(
            f"'{shown}' will be ignored because {draft.title} has no {missing} capability",
            line.place,
        )
        return
    if name in draft.timeouts_seen and draft.kind is not None:
        report.warn(f"overwriting '{shown}' which was already specified", line.place)
    draft.timeouts_seen.add(name)
    field = name.replace("-", "_")
    draft.settings.timeouts = replace(draft.settings.timeouts, **{field: value or None})


def _timeout_fault(error: QuantityError, shown: str) -> str:
    if error.fault is Fault.EMPTY:
        return f"'{shown}' expects an integer value (in milliseconds)"
    if error.fault is Fault.OVERFLOW:
        return (
            f"timer overflow in argument '{error.text}' to '{shown}' "
            "(maximum value is 2147483647 ms or ~24.8 days)"
        )
    return f"unexpected character '{error.character}' in '{shown}'"


def _retries(line: Statement, draft: ProxyDraft, report: Report) -> None:
    if not line.word(1):
        raise ConfigError("'retries' expects an integer argument (dispatch counts for one).")
    draft.settings.retries = line.integer(high=65535)


def _maxconn(line: Statement, draft: ProxyDraft, report: Report) -> None:
    draft.settings.maxconn = line.integer() or None


def _backlog(line: Statement, draft: ProxyDraft, report: Report) -> None:
    draft.settings.backlog = line.integer() or None


def _log(line: Statement, draft: ProxyDraft, report: Report) -> None:
    if line.prefix == "no":
        if line.arguments:
            raise ConfigError("log : 'no log' does not expect arguments")
        draft.settings.logs = ()
        return
    draft.settings.logs = (*draft.settings.logs, parse_log(line, in_global=False))


def _log_tag(line: Statement, draft: ProxyDraft, report: Report) -> None:
    draft.settings.log_tag = parse_log_tag(line)


def _source(line: Statement, draft: ProxyDraft, report: Report) -> None:
    if not line.word(1):
        raise ConfigError(
            "'source' expects <addr>[:<port>], and optionally 'usesrc' <addr>, "
            "and 'interface' <name>."
        )
    parsed = parse_source(line.arguments)
    if parsed.words < len(line.arguments):
        raise ConfigError("'source' only supports optional keywords 'interface' and 'usesrc'.")
    draft.settings.source = parsed.source


def _able(line: Statement, draft: ProxyDraft, report: Report) -> None:
    line.at_most(0)
    draft.settings.disabled = line.keyword == "disabled"


def _id(line: Statement, draft: ProxyDraft, report: Report) -> None:
    text = line.word(1)
    if not text:
        raise ConfigError("'id' expects an integer argument.")
    line.at_most(1)
    try:
        number = parse_integer(text)
    except UnitError as error:
        raise ConfigError(f"'id' : {error}") from None
    if number <= 0:
        raise ConfigError("custom id has to be > 0.")
    if number > 2**31 - 1:
        raise ConfigError(f"'id' : {number} is too large")
    draft.id = number


def _description(line: Statement, draft: ProxyDraft, report: Report) -> None:
    if not line.word(1):
        raise ConfigError("'description' expects a string argument.")
    draft.description = " ".join(line.arguments)


def _keepalive(line: Statement, draft: ProxyDraft, report: Report) -> None:
    """`clitcpka-*` and `srvtcpka-*`: seconds, and a number of probes. 0 leaves the
    system's value."""
    name, text = line.keyword, line.word(1)
    if not text:
        raise ConfigError(f"'{name}' expects an integer value")
    line.at_most(1)
    side, _, what = name.partition("-")
    if what == "cnt":
        for c in text:
            if c not in "0123456789":
                raise ConfigError(
                    f"'{name}' : unexpected character '{c}' in integer value '{text}'"
                )
        value = int(text[:9])
    else:
        value = duration_argument(text, name, unit="s")
    high = 127 if what == "cnt" else 32767
    if value > high:
        unit = "" if what == "cnt" else " seconds (a number without a unit is seconds here)"
        raise ConfigError(f"'{name}' : {value}{unit} is more than the kernel takes ({high})")
    field = {"idle": "idle", "intvl": "interval", "cnt": "count"}[what]
    settings = draft.settings
    change = {field: value or None}
    if side == "clitcpka":
        settings.client_keepalive = replace(settings.client_keepalive, **change)  # type: ignore[arg-type]
    else:
        settings.server_keepalive = replace(settings.server_keepalive, **change)  # type: ignore[arg-type]


def _state_file(line: Statement, draft: ProxyDraft, report: Report) -> None:
    try:
        draft.settings.state_file = StateFile(line.word(1))
    except ValueError:
        raise ConfigError(
            f"'{line.keyword}' expects 'global', 'local' or 'none'. Got '{line.word(1)}'"
        ) from None
    line.at_most(1)


def _state_file_name(line: Statement, draft: ProxyDraft, report: Report) -> None:
    if len(line.arguments) > 1:
        raise ConfigError(f"'{line.keyword}' cannot handle unexpected argument '{line.word(2)}'.")
    name = line.word(1)
    draft.state_file_name = None if name in ("", "use-backend-name") else name


_Reader = Callable[[Statement, ProxyDraft, Report], None]
_READERS: dict[str, _Reader] = {
    "mode": _mode,
    "stats": read_stats,
    "http-request": read_http_request,
    "acl": read_acl,
    "monitor-uri": read_monitor_uri,
    "bind": _bind,
    "server": _server,
    "default-server": _default_server,
    "default_backend": _default_backend,
    "balance": _balance,
    "hash-type": _hash_type,
    "timeout": _timeout,
    "retries": _retries,
    "option": read_option,
    "maxconn": _maxconn,
    "backlog": _backlog,
    "log": _log,
    "log-tag": _log_tag,
    "source": _source,
    "disabled": _able,
    "enabled": _able,
    "id": _id,
    "description": _description,
    _STATE_FILE: _state_file,
    _STATE_FILE_NAME: _state_file_name,
    "clitcpka-idle": _keepalive,
    "clitcpka-intvl": _keepalive,
    "clitcpka-cnt": _keepalive,
    "srvtcpka-idle": _keepalive,
    "srvtcpka-intvl": _keepalive,
    "srvtcpka-cnt": _keepalive,
}
