"""Every finding there is, in order. The page of each is docs/lint/ID.md."""

from __future__ import annotations

from lbsplice.lint.finding import Rule
from lbsplice.lint.findings import capacity, checks, keepalive, servers, sessions, timeouts, words

RULES = (
    Rule("L1", "old sessions hang when their server dies", sessions.hanging_sessions),
    Rule("L2", "keepalive values without the option", keepalive.values_without_option),
    Rule("L3", "keepalive that comes too late", keepalive.keepalive_too_late),
    Rule("L4", "tcp-ut takes the place of the probe count", keepalive.user_timeout_wins),
    Rule("L5", "timeouts that are missing or differ", timeouts.timeouts_together),
    Rule("L6", "checks that fail too easily", checks.quick_checks),
    Rule("L7", "server settings without effect", checks.words_without_effect),
    Rule("L8", "failed connects that are not tried elsewhere", servers.failed_connects),
    Rule("L9", "ended sessions that are not logged", sessions.unlogged_kills),
    Rule("L10", "old processes that pile up after reloads", sessions.old_processes),
    Rule("L11", "limits that contradict each other", capacity.limits_together),
    Rule("L12", "balancing that surprises", servers.balancing),
    Rule("L13", "words that are unknown or do nothing", words.words_out_of_place),
    Rule("L14", "times without a unit", timeouts.times_and_units),
    Rule("L15", "checks without the PROXY header", checks.checks_without_proxy_header),
    Rule("L16", "deaths that nothing notices", sessions.unnoticed_deaths),
    Rule("L17", "slowstart without effect", servers.slowstart_in_vain),
    Rule("L18", "names, ids and tracking", servers.names_and_ids),
)

IDS = tuple(rule.id for rule in RULES)
