"""The tables of HAProxy's keywords (its versions up to 3.2), by group.

`docs/configuration.md` lists the same; a test holds the two equal."""

from __future__ import annotations

from lbsplice.config.keywords import Group, Table, make_table

HTTP = "it is for HTTP, and lbsplice relays TCP without reading it"
TLS = "it is for TLS, and lbsplice relays TCP as it is"
LATER = "not yet"
LUA = "it has no scripting"
QUEUE = "it has no queues yet: a server takes every session it is given"
DEVICE = "it needs HTTP headers"
OBSOLETE = "HAProxy itself does not know it any more"

SECTIONS: Table = make_table(
    Group.SECTION,
    "global defaults frontend backend listen",
    refused={
        LATER: "resolvers peers mailers ring log-profile log-forward healthcheck traces userlist",
        "it runs no other programs": "program",
        HTTP: "cache http-errors fcgi-app",
        TLS: "crt-store crt-list acme",
    },
)

_NO_TLS = "there is no TLS here that it could apply to"
_NO_HTTP = "there is no HTTP here that it could apply to"
_NO_BUFFER = "bytes are spliced, there are no buffers"
_NO_NEED = "lbsplice has nothing that it would change"

GLOBAL: Table = make_table(
    Group.GLOBAL,
    "maxconn nbthread user group uid gid chroot daemon master-worker pidfile node description "
    "log log-tag log-send-hostname stats ulimit-n maxpipes tune.pipesize tune.maxaccept "
    "spread-checks hard-stop-after debug quiet zero-warning set-dumpable setenv presetenv "
    "unsetenv resetenv server-state-base server-state-file",
    ignored={
        _NO_TLS: "ca-base crt-base key-base ssl-default-bind-ciphers ssl-default-bind-ciphersuites "
        "ssl-default-bind-client-sigalgs ssl-default-bind-curves ssl-default-bind-options "
        "ssl-default-bind-sigalgs ssl-default-server-ciphers ssl-default-server-ciphersuites "
        "ssl-default-server-client-sigalgs ssl-default-server-curves ssl-default-server-options "
        "ssl-default-server-sigalgs ssl-dh-param-file ssl-load-extra-del-ext "
        "ssl-load-extra-files ssl-mode-async ssl-propquery ssl-provider ssl-provider-path "
        "ssl-security-level ssl-server-verify ssl-skip-self-issued-ca ssl-engine "
        "issuers-chain-path maxsslconn maxsslrate tune.ssl.cachesize "
        "tune.ssl.capture-buffer-size tune.ssl.capture-cipherlist-size "
        "tune.ssl.certificate-compression tune.ssl.default-dh-param "
        "tune.ssl.force-private-cache tune.ssl.hard-maxrecord tune.ssl.keylog "
        "tune.ssl.lifetime tune.ssl.maxrecord tune.ssl.ocsp-update.maxdelay "
        "tune.ssl.ocsp-update.mindelay tune.ssl.ssl-ctx-cache-size ocsp-update.disable "
        "ocsp-update.httpproxy ocsp-update.maxdelay ocsp-update.mindelay ocsp-update.mode",
        _NO_HTTP: "h1-accept-payload-with-any-method h1-case-adjust h1-case-adjust-file "
        "h1-do-not-close-on-insecure-transfer-encoding h2-workaround-bogus-websocket-clients "
        "http-err-codes http-fail-codes httpclient.resolvers.disabled httpclient.resolvers.id "
        "httpclient.resolvers.prefer httpclient.retries httpclient.ssl.ca-file "
        "httpclient.ssl.verify httpclient.timeout.connect maxcompcpuusage maxcomprate "
        "maxzlibmem tune.comp.maxlevel tune.glitches.kill.cpu-usage tune.h1.zero-copy-fwd-recv "
        "tune.h1.zero-copy-fwd-send tune.h2.be.glitches-threshold "
        "tune.h2.be.initial-window-size tune.h2.be.max-concurrent-streams "
        "tune.h2.be.rxbuf tune.h2.fe.glitches-threshold tune.h2.fe.initial-window-size "
        "tune.h2.fe.max-concurrent-streams tune.h2.fe.max-total-streams tune.h2.fe.rxbuf "
        "tune.h2.header-table-size tune.h2.initial-window-size "
        "tune.h2.log-errors tune.h2.max-concurrent-streams tune.h2.max-frame-size "
        "tune.h2.zero-copy-fwd-send tune.http.cookielen tune.http.logurilen tune.http.maxhdr "
        "tune.max-rules-at-once tune.quic.cc-hystart tune.quic.disable-tx-pacing "
        "tune.quic.disable-udp-gso tune.quic.cc.cubic.min-losses "
        "tune.quic.frontend.conn-tx-buffers.limit tune.quic.frontend.default-max-window-size "
        "tune.quic.frontend.glitches-threshold tune.quic.frontend.max-data-size "
        "tune.quic.frontend.max-idle-timeout tune.quic.frontend.max-streams-bidi "
        "tune.quic.frontend.max-tx-mem tune.quic.frontend.stream-data-ratio "
        "tune.quic.max-frame-loss tune.quic.reorder-ratio tune.quic.retry-threshold "
        "tune.quic.socket-owner tune.quic.zero-copy-fwd-send tune.zlib.memlevel "
        "tune.zlib.windowsize",
        _NO_BUFFER: "tune.buffers.limit tune.buffers.reserve tune.bufsize tune.bufsize.small "
        "tune.maxrewrite tune.recv_enough tune.pt.zero-copy-forwarding "
        "tune.disable-fast-forward tune.disable-zero-copy-forwarding",
        "splicing is always on": "nosplice",
        "the kernel and the workers see to it": "cpu-map cpu-policy cpu-set numa-cpu-mapping "
        "busy-polling thread-group thread-groups thread-hard-limit noepoll noevports nogetaddrinfo "
        "nokqueue nopoll tune.epoll.mask-events tune.fd.edge-triggered tune.idletimer "
        "tune.listener.default-shards tune.listener.multi-queue tune.maxpollevents "
        "tune.runqueue-depth tune.sched.low-latency tune.takeover-other-tg-connections "
        "tune.max-checks-per-thread tune.defaults.purge",
        _NO_NEED: "insecure-fork-wanted insecure-setuid-wanted localpeer "
        "no-memory-trimming tune.memory.hot-size prealloc-fd "
        "expose-deprecated-directives expose-experimental-directives profiling.memory "
        "profiling.tasks tune.fail-alloc tune.idle-pool.shared tune.pattern.cache-size "
        "tune.peers.max-updates-at-once tune.pool-high-fd-ratio tune.pool-low-fd-ratio "
        "tune.ring.queues tune.stick-counters tune.events.max-events-at-once "
        "tune.applet.zero-copy-forwarding tune.vars.check-max-size tune.vars.global-max-size "
        "tune.vars.proc-max-size tune.vars.reqres-max-size tune.vars.sess-max-size "
        "tune.vars.txn-max-size anonkey tune.notsent-lowat.client tune.notsent-lowat.server "
        "warn-blocked-traffic-after dns-accept-family harden.reject-privileged-ports.tcp "
        "harden.reject-privileged-ports.quic grace force-cfg-parser-pause",
    },
    refused={
        LATER: "close-spread-time default-path external-check fd-hard-limit limited-quic "
        "max-spread-checks maxconnrate maxsessrate "
        "mworker-max-reloads mworker-prg no-quic noreuseport pp2-never-send-local "
        "setcap set-var set-var-fmt shm-stats-file shm-stats-file-max-objects "
        "stats-file strict-limits "
        "tune.rcvbuf.backend tune.rcvbuf.client tune.rcvbuf.frontend tune.rcvbuf.server "
        "tune.sndbuf.backend tune.sndbuf.client tune.sndbuf.frontend tune.sndbuf.server "
        "unix-bind tune.max-checks-per-server",
        LUA: "lua-load lua-load-per-thread lua-prepend-path tune.lua.bool-sample-conversion "
        "tune.lua.burst-timeout tune.lua.forced-yield tune.lua.log.loggers tune.lua.log.stderr "
        "tune.lua.maxmem tune.lua.openlibs tune.lua.service-timeout tune.lua.session-timeout "
        "tune.lua.task-timeout",
        DEVICE: "51degrees-cache-size 51degrees-data-file 51degrees-property-name-list "
        "51degrees-property-separator deviceatlas-json-file deviceatlas-log-level "
        "deviceatlas-properties-cookie deviceatlas-separator wurfl-cache-size wurfl-data-file "
        "wurfl-information-list wurfl-information-list-separator",
        OBSOLETE: "nbproc cpu-map-auto tune.chksize stats-bind-process",
    },
)

PROXY: Table = make_table(
    Group.PROXY,
    "mode bind server default-server default_backend balance hash-type timeout retries option "
    "maxconn backlog log log-tag source disabled enabled id description clitcpka-cnt "
    "clitcpka-idle clitcpka-intvl srvtcpka-cnt srvtcpka-idle srvtcpka-intvl "
    "load-server-state-from-file server-state-file-name stats http-request acl monitor-uri",
    ignored={
        HTTP: "errorfile errorfiles errorloc errorloc302 errorloc303 http-error http-reuse",
        "every listener is served by all threads": "bind-process",
    },
    refused={
        LATER: "declare email-alert error-log-format external-check filter force-be-switch "
        "force-persist fullconn guid "
        "hash-balance-factor hash-preserve-affinity http-check ignore-persist "
        "log-format log-format-sd log-steps persist rate-limit "
        "server-template stick stick-table tcp-check tcp-request "
        "tcp-response unique-id-format use-server use_backend dispatch transparent",
        HTTP: "capture compression cookie http-after-response http-response "
        "http-send-name-header max-keep-alive-queue max-session-srv-conns monitor "
        "quic-initial redirect retry-on unique-id-header use-fcgi-app use-small-buffers "
        "monitor-net httplog",
        f"{OBSOLETE}; write 'timeout client'": "clitimeout",
        f"{OBSOLETE}; write 'timeout connect'": "contimeout",
        f"{OBSOLETE}; write 'timeout server'": "srvtimeout",
        f"{OBSOLETE}; write 'option redispatch'": "redispatch redisp",
        OBSOLETE: "appsession block reqrep reqdel reqadd rspadd rspdel rsprep "
        "grace process cliexp srvexp reqallow reqdeny reqtarpit reqpass rspdeny",
    },
)

OPTION: Table = make_table(
    Group.OPTION,
    "abortonclose allbackups clitcpka contstats dontlog-normal dontlognull log-health-checks "
    "httplog log-separate-errors logasap nolinger redispatch socket-stats splice-auto "
    "splice-request splice-response srvtcpka tcp-smart-accept tcp-smart-connect tcpka tcplog",
    ignored={
        HTTP: "accept-invalid-http-request accept-invalid-http-response "
        "accept-unsafe-violations-in-http-request accept-unsafe-violations-in-http-response "
        "checkcache disable-h2-upgrade forwarded forwardfor h1-case-adjust-bogus-client "
        "h1-case-adjust-bogus-server http-buffer-request http-drop-request-trailers "
        "http-drop-response-trailers http-ignore-probes "
        "http-keep-alive http-no-delay http-pretend-keepalive http-restrict-req-hdr-names "
        "http-server-close http-use-htx http-use-proxy-header httpclose httpslog "
        "idle-close-on-response originalto prefer-last-server",
    },
    refused={
        LATER: "external-check httpchk independent-streams ldap-check mysql-check persist "
        "pgsql-check redis-check smtpchk spop-check ssl-hello-chk tcp-check "
        "transparent assume-rfc6587-ntf",
        OBSOLETE: "forceclose http-tunnel http_proxy tcp-ut",
    },
)

TIMEOUT: Table = make_table(
    Group.TIMEOUT,
    "check client client-fin connect server server-fin tunnel",
    ignored={
        QUEUE: "queue",
        "there is no HTTP or TLS phase here that it could end": "client-hs http-keep-alive "
        "http-request tarpit",
    },
)

BIND: Table = make_table(
    Group.BIND,
    "backlog defer-accept gid group id interface maxconn mode mss name tcp-ut transparent uid "
    "user v4v6 v6only",
    ignored={
        "every listener is served by all threads": "process shards thread",
        "it is for the statistics socket only": "expose-fd level severity-output",
    },
    refused={
        LATER: "accept-netscaler-cip accept-proxy cc default-crt guid-prefix idle-ping label "
        "namespace nice tcp-md5sig tcp-ss tfo",
        HTTP: "proto nbconn quic-cc-algo quic-force-retry quic-socket",
        TLS: "allow-0rtt alpn ca-file ca-ignore-err ca-sign-file ca-sign-pass ca-verify-file "
        "ciphers ciphersuites client-sigalgs crl-file crt crt-ignore-err crt-list curves ecdhe "
        "ech force-sslv3 force-tlsv10 force-tlsv11 force-tlsv12 force-tlsv13 "
        "generate-certificates no-alpn no-ca-names no-sslv3 no-strict-sni no-tls-tickets "
        "no-tlsv10 no-tlsv11 no-tlsv12 no-tlsv13 npn ocsp-update prefer-client-ciphers sigalgs "
        "ssl ssl-max-ver ssl-min-ver strict-sni tls-ticket-keys tls-tickets verify",
    },
)

SERVER: Table = make_table(
    Group.SERVER,
    "addr backup check disabled downinter enabled fall fastinter id inter no-backup no-check "
    "on-marked-down port rise source tcp-ut weight",
    refused={
        LATER: "agent-addr agent-check agent-inter agent-port agent-send cc check-pool-conn-name "
        "check-proto check-reuse-pool check-send-proxy check-via-socks4 error-limit guid hash-key "
        "healthcheck "
        "idle-ping init-addr init-state log-bufsize log-proto namespace no-agent-check "
        "no-check-reuse-pool no-check-send-proxy no-send-proxy no-send-proxy-v2 "
        "no-send-proxy-v2-ssl no-send-proxy-v2-ssl-cn no-tfo non-stick observe on-error "
        "on-marked-up proxy-v2-options resolve-net resolve-opts resolve-prefer resolvers "
        "send-proxy send-proxy-v2 send-proxy-v2-ssl send-proxy-v2-ssl-cn set-proxy-v2-tlv-fmt "
        "slowstart socks4 stick tcp-md5sig tfo track usesrc",
        QUEUE: "maxconn maxqueue minconn strict-maxconn",
        HTTP: "cookie max-reuse pool-conn-name pool-low-conn pool-max-conn pool-purge-delay proto "
        "redir ws",
        TLS: "allow-0rtt alpn ca-file check-alpn check-sni check-sni-auto check-ssl ciphers "
        "ciphersuites client-sigalgs crl-file crt curves force-sslv3 force-tlsv10 force-tlsv11 "
        "force-tlsv12 force-tlsv13 no-check-sni-auto no-check-ssl no-renegotiate no-sni-auto "
        "no-ssl no-ssl-reuse no-sslv3 no-tls-tickets no-tlsv10 no-tlsv11 no-tlsv12 no-tlsv13 "
        "no-verifyhost npn renegotiate sigalgs sni sni-auto ssl ssl-max-ver ssl-min-ver "
        "ssl-reuse tls-tickets verify verifyhost",
    },
)

BALANCE: Table = make_table(
    Group.BALANCE,
    "roundrobin static-rr leastconn first random source",
    refused={
        LATER: "hash rdp-cookie",
        HTTP: "uri url_param hdr",
        "it is for `mode log` only": "sticky log-hash",
    },
)

STATS: Table = make_table(
    Group.STATS,
    "admin auth enable hide-version realm refresh scope show-desc show-legends show-node uri",
    ignored={"there are no modules with counters of their own": "show-modules"},
    refused={"the page asks for what `stats auth` and `stats admin` say": "http-request"},
)

TABLES = {
    Group.SECTION: SECTIONS,
    Group.GLOBAL: GLOBAL,
    Group.PROXY: PROXY,
    Group.OPTION: OPTION,
    Group.TIMEOUT: TIMEOUT,
    Group.BIND: BIND,
    Group.SERVER: SERVER,
    Group.BALANCE: BALANCE,
    Group.STATS: STATS,
}
