"""What the linter must know of HAProxy's words beside `config.keyword_tables`: which take a
value, where they may stand, which hold a time."""

from __future__ import annotations


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


SERVER_FLAGS = _set(
    "agent-check allow-0rtt backup check check-reuse-pool check-send-proxy check-sni-auto "
    "check-ssl check-via-socks4 disabled enabled force-sslv3 force-tlsv10 force-tlsv11 "
    "force-tlsv12 force-tlsv13 no-agent-check no-backup no-check no-check-reuse-pool "
    "no-check-send-proxy no-check-sni-auto no-check-ssl no-renegotiate no-send-proxy "
    "no-send-proxy-v2 no-send-proxy-v2-ssl no-send-proxy-v2-ssl-cn no-sni-auto no-ssl "
    "no-ssl-reuse no-sslv3 no-tfo no-tls-tickets no-tlsv10 no-tlsv11 no-tlsv12 no-tlsv13 "
    "no-verifyhost non-stick renegotiate send-proxy send-proxy-v2 send-proxy-v2-ssl "
    "send-proxy-v2-ssl-cn sni-auto ssl ssl-reuse stick strict-maxconn tfo tls-tickets"
)
"""Words of a `server` line without a value; all others have one."""

BIND_FLAGS = _set(
    "accept-proxy allow-0rtt defer-accept force-sslv3 force-tlsv10 force-tlsv11 force-tlsv12 "
    "force-tlsv13 generate-certificates no-alpn no-ca-names no-sslv3 no-strict-sni "
    "no-tls-tickets no-tlsv10 no-tlsv11 no-tlsv12 no-tlsv13 prefer-client-ciphers quic-force-retry "
    "ssl strict-sni tfo tls-tickets transparent v4v6 v6only"
)
"""Words of a `bind` line without a value."""

_SECTIONS = {
    # where: d(efaults) f(rontend) l(isten) b(ackend)
    "dfl": "clitcpka-cnt clitcpka-idle clitcpka-intvl default_backend error-log-format log-format "
    "log-format-sd maxconn monitor-uri rate-limit unique-id-format unique-id-header backlog",
    "fl": "bind use_backend monitor capture",
    "dlb": "balance cookie default-server fullconn hash-type http-check http-reuse "
    "http-send-name-header load-server-state-from-file max-keep-alive-queue persist retries "
    "retry-on server-state-file-name source srvtcpka-cnt srvtcpka-idle srvtcpka-intvl tcp-check "
    "external-check hash-balance-factor hash-preserve-affinity max-session-srv-conns",
    "lb": "server server-template use-server stick dispatch force-persist ignore-persist "
    "use-fcgi-app",
    "flb": "acl description id declare filter redirect stick-table",
}
PLACES = {word: letters for letters, words in _SECTIONS.items() for word in words.split()}
"""Where a keyword may stand; one that is not here may stand in every proxy section."""

OPTION_PLACES = {
    **dict.fromkeys(
        _set(
            "accept-invalid-http-request clitcpka contstats disable-h2-upgrade dontlog-normal "
            "dontlognull h1-case-adjust-bogus-client http-ignore-probes http-use-proxy-header "
            "httplog httpslog log-separate-errors logasap socket-stats tcp-smart-accept "
            "idle-close-on-response"
        ),
        "dfl",
    ),
    **dict.fromkeys(
        _set(
            "abortonclose accept-invalid-http-response allbackups checkcache "
            "h1-case-adjust-bogus-server http-pretend-keepalive httpchk ldap-check external-check "
            "log-health-checks mysql-check persist pgsql-check prefer-last-server redispatch "
            "redis-check smtpchk spop-check srvtcpka ssl-hello-chk tcp-check tcp-smart-connect "
            "transparent"
        ),
        "dlb",
    ),
}

TIMEOUT_PLACES = {
    **dict.fromkeys(("client", "client-fin", "client-hs"), "dfl"),
    **dict.fromkeys(("check", "connect", "queue", "server", "server-fin", "tunnel"), "dlb"),
}

LETTERS = {"defaults": "d", "frontend": "f", "listen": "l", "backend": "b"}

SECONDS = frozenset(f"{side}tcpka-{what}" for side in ("cli", "srv") for what in ("idle", "intvl"))
"""Keywords whose number without a unit is in seconds, not milliseconds."""

FIRST_SETTING = {"bind": 2, "default-server": 1, "server": 3, "server-template": 4}
"""Where the settings of a line begin: behind its names and addresses."""

SERVER_TIMES = frozenset(("inter", "fastinter", "downinter", "agent-inter", "tcp-ut"))
"""Words of a `server` line with a time in milliseconds. (`slowstart` too, but its
everyday values are long enough to be meant so.)"""

ACTIONS = {
    "on-marked-down": _set("shutdown-sessions"),
    "on-marked-up": _set("shutdown-backup-sessions"),
    "observe": _set("none layer4 layer7"),
    "on-error": _set("fastinter fail-check sudden-death mark-down"),
}
"""Words of a `server` line that take one of few values."""

L7_CHECKS = _set(
    "httpchk mysql-check pgsql-check redis-check smtpchk ldap-check ssl-hello-chk spop-check "
    "external-check"
)
"""Options that make a health check wait for an answer."""

CHECK_OPTIONS = L7_CHECKS | {"tcp-check"}
"""Options of which only the last one counts: they say what a health check does."""
