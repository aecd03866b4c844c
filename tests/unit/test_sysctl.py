"""What sysctls mean, what to set, and keeping it so that it can be undone.
tests/lab/test_sysctl_measured.py holds the times against the kernel."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from lbsplice.cli.main import commands
from lbsplice.config.files import Source
from lbsplice.errors import ConfigError, EnvironmentLacks
from lbsplice.kernel import sysctl, sysctl_file
from lbsplice.lint.build import build
from lbsplice.lint.reader import read
from lbsplice.sysctl import tcp
from lbsplice.sysctl.explain import Question, explain
from lbsplice.sysctl.kept import HEADER, Kept, merged, parse_kept
from lbsplice.sysctl.keys import KEYS, key_of
from lbsplice.sysctl.plan import SHORTEST_MS, plan, timing_for
from lbsplice.sysctl.values import Sysctls, dotted, parse_sysctls
from tests.unit.lint.corpus import CORPUS

RETRIES2, SOMAXCONN = "net.ipv4.tcp_retries2", "net.core.somaxconn"
PORTS = "net.ipv4.ip_local_port_range"


@pytest.mark.parametrize(
    ("arguments", "span"),
    [
        ((7200, 75, 9), (675_000, 7_875_000)),
        ((110, 30, 3), (90_000, 200_000)),
        ((1, 1, 2, 500), (1_000, 2_000)),
        ((2, 1, 9, 4_500), (3_000, 5_000)),
        ((1, 10, 1), (10_000, 20_000)),
    ],
)
def test_keepalive(arguments, span):
    assert tcp.keepalive(*arguments) == span


def test_unacknowledged_data():
    assert tcp.unacknowledged(15).best_ms == 924_600
    assert tcp.unacknowledged(8).best_ms == 102_200
    assert tcp.unacknowledged(5, rto_max_ms=1_000).best_ms == 4_400
    assert tcp.unacknowledged(15, user_timeout_ms=1_500) == (1_500, 1_900)


@pytest.mark.parametrize(
    ("retries", "linear", "ms", "syns"),
    # measured on Linux 6.18
    [
        (1, 0, 3, 2),
        (1, 1, 4, 3),
        (1, 2, 3, 3),
        (1, 4, 3, 3),
        (2, 1, 8, 4),
        (2, 4, 7, 6),
        (6, 4, 131, 11),
    ],
)
def test_connects(retries, linear, ms, syns):
    assert tcp.connecting(retries, linear) == 1000 * ms
    assert tcp.syns_within(1000 * ms, linear) == syns


def test_files_of_sysctls_are_read_in_every_shape():
    text = (
        "# comment\n; another\n\nnet.ipv4.ip_local_port_range = 32768\t60999\n"
        "-net/core/somaxconn=5000\nsysctl: permission denied on key x\nkernel.x =\n"
    )
    values = parse_sysctls(text, "f")
    assert values.numbers(PORTS) == (32768, 60999)
    assert values.number(SOMAXCONN) == 5000
    assert values.number(RETRIES2) == 15
    assert not values.known(RETRIES2)
    with pytest.raises(ConfigError, match="f:1: not"):
        parse_sysctls("nonsense\n", "f")
    assert dotted("net/ipv4/conf/eth0") == "net.ipv4.conf.eth0"


@pytest.mark.parametrize("key", KEYS.values(), ids=lambda key: key.name)
def test_bounds(key):
    for number in (key.low, key.high):
        assert key.check("\t".join([str(number)] * key.count)).split() == [str(number)] * key.count
    for number in (key.low - 1, key.high + 1):
        with pytest.raises(ConfigError, match="out of range"):
            key.check(" ".join([str(number)] * key.count))
    for text in ("", "x", " ".join(["1"] * (key.count + 1))):
        with pytest.raises(ConfigError):
            key.check(text)


def test_a_range_must_not_fall_and_unknown_names_are_refused():
    with pytest.raises(ConfigError, match="fall"):
        key_of(PORTS).check("2000 1999")
    with pytest.raises(ConfigError, match="not one of"):
        key_of("kernel.panic")


@given(st.integers(SHORTEST_MS, 86_400_000))
def test_a_plans_times_are_within_the_wish_even_if_timers_are_late(detect_ms):
    timing = timing_for(detect_ms)
    assert timing.idle_s >= 1
    assert timing.probes >= 1
    worst = max(timing.keepalive.worst_ms, timing.unacknowledged.worst_ms, timing.check_ms)
    assert worst * 9 / 8 <= detect_ms + 100
    # tcp-ut and the count agree: neither cuts the other short
    by_count = tcp.keepalive(timing.idle_s, timing.interval_s, timing.probes)
    assert timing.keepalive == by_count


def test_a_plan_touches_only_what_must_change():
    small = plan(10_000, 1000, Sysctls(), None)
    assert small.changes == ()
    large = plan(10_000, 50_000, Sysctls(), None)
    assert {change.name: change.value for change in large.changes} == {
        PORTS: "13036 65535",
        SOMAXCONN: "5000",
    }
    without_cookies = plan(10_000, 50_000, Sysctls({"net.ipv4.tcp_syncookies": "0"}), None)
    changes = {change.name: change.value for change in without_cookies.changes}
    assert changes["net.ipv4.tcp_max_syn_backlog"] == "6667"
    assert large.cost.keepalive_pps == 2 * 50_000 * 2 / 5
    servers = "listen l\n" + "".join(f" server s{n} 10.0.0.{n}:1\n" for n in range(1, 5))
    model = build(read([Source("a.cfg", servers)], {}))
    assert PORTS not in {c.name for c in plan(10_000, 50_000, Sysctls(), model).changes}
    huge = plan(10_000, 2_000_000, Sysctls({"fs.file-max": "1000000"}), None)
    assert {"fs.nr_open", "fs.file-max"} <= {c.name for c in huge.changes}
    assert any("do not fit into the ports" in warning for warning in huge.warnings)


@pytest.mark.parametrize(("detect", "sessions"), [(SHORTEST_MS - 1, 10), (10_000, 0)])
def test_a_wish_that_can_not_be_had_is_refused(detect, sessions):
    with pytest.raises(ConfigError):
        plan(detect, sessions, Sysctls(), None)


def explained(config="", **values):
    model = build(read([Source("a.cfg", config)], {})) if config else None
    return {e.name: e for e in explain(Question(Sysctls(values), model))}


def test_explaining_tells_the_consequence_in_seconds_and_sessions():
    found = explained(
        **{
            "net.ipv4.tcp_keepalive_time": "110",
            "net.ipv4.tcp_keepalive_intvl": "30",
            "net.ipv4.tcp_keepalive_probes": "3",
        }
    )
    text = found["net.ipv4.tcp_keepalive_time"].means
    assert "110 s idle, then 3 probes 30 s apart" in text
    assert "(200 s)" in text
    assert "924 s at least" in found[RETRIES2].means
    assert "28232 sessions" in found[PORTS].means
    assert "524238 sessions" in found["fs.nr_open"].means
    assert found["net.netfilter.nf_conntrack_max"].value is None


def test_explaining_for_a_configuration_says_who_uses_it_and_what_is_too_small():
    config = (
        "global\n maxconn 200000\nlisten l\n bind :1 tcp-ut 5s\n option clitcpka\n"
        " timeout connect 5s\n server a 1.1.1.1:1\n"
    )
    found = explained(config, **{"net.netfilter.nf_conntrack_max": "262144"})
    assert "listen l (client side)" in found["net.ipv4.tcp_keepalive_time"].here
    assert found[RETRIES2].here == "decides for listen l (server side)"
    assert "lets 3 SYNs go" in found["net.ipv4.tcp_syn_retries"].here
    assert found["net.netfilter.nf_conntrack_max"].is_tight
    assert found[PORTS].is_tight
    assert not found["fs.nr_open"].is_tight


def test_every_key_is_explained_and_every_explanation_is_of_a_key():
    names = set(explained()) - {"tcp_user_timeout"}
    assert names == set(KEYS)


def test_what_is_kept_reads_back():
    kept = merged(
        Kept(), {SOMAXCONN: "5000", PORTS: "1024\t65535"}, {SOMAXCONN: "4096", PORTS: "a b"}
    )
    assert parse_kept(kept.text(), "f") == kept
    assert kept.values[PORTS] == "1024 65535"
    again = merged(kept, {SOMAXCONN: "6000"}, {SOMAXCONN: "5000"})
    assert (again.values, again.before) == ({SOMAXCONN: "6000"}, {SOMAXCONN: "4096"})


@pytest.mark.parametrize(
    "text", ["", "net.core.somaxconn = 1\n", f"{HEADER}\nnet.core.somaxconn = 1\n"]
)
def test_a_file_of_somebody_else_is_left_alone(text, tmp_path):
    file = tmp_path / "90-lbsplice.conf"
    file.write_text(text)
    with pytest.raises(ConfigError):
        sysctl_file.apply(file, {SOMAXCONN: "5000"})
    assert file.read_text() == text


class Kernel(dict):
    """Sysctls in memory, in place of /proc/sys."""

    def write(self, name, value):
        if value == "66":
            raise EnvironmentLacks(f"{name} = {value} is refused: no")
        self[name] = value


@pytest.fixture
def kernel(monkeypatch):
    values = Kernel({SOMAXCONN: "4096", RETRIES2: "15", PORTS: "32768 60999"})
    values["net.ipv4.tcp_max_syn_backlog"] = "65536"
    monkeypatch.setattr(sysctl, "read", values.get)
    monkeypatch.setattr(sysctl, "write", values.write)
    return values


def run(*words):
    return CliRunner().invoke(commands, ["sysctl", *map(str, words)])


def test_apply_and_revert_from_the_command_line(kernel, tmp_path):
    file = tmp_path / "90-lbsplice.conf"
    given = ["--file", file, "--set", f"{RETRIES2}=8"]
    before = dict(kernel)
    dry = run("apply", "--dry-run", *given)
    assert (dry.exit_code, dry.stdout) == (0, f"would set {RETRIES2} = 8 (was 15)\n")
    assert not file.exists()
    assert kernel == before
    assert run("diff", *given).exit_code == 1
    assert run("apply", *given).stdout == f"set {RETRIES2} = 8 (was 15)\n"
    assert kernel[RETRIES2] == "8"
    assert run("apply", *given).stdout == "nothing to do\n"
    assert run("diff", "--file", file).exit_code == 0
    kernel[RETRIES2] = "9"
    changed = run("diff", "--file", file)
    assert changed.exit_code == 1
    assert f"-{RETRIES2} = 9\n+{RETRIES2} = 8" in changed.stdout
    kernel[RETRIES2] = "8"
    assert "would set" in run("revert", "--dry-run", "--file", file).stdout
    assert run("revert", "--file", file).stdout == f"set {RETRIES2} = 15 (was 8)\n"
    assert kernel == before
    assert not file.exists()
    assert run("revert", "--file", file).stdout == "nothing to do\n"


def test_what_somebody_else_changed_since_is_left_alone(kernel, tmp_path):
    file = tmp_path / "90-lbsplice.conf"
    run("apply", "--file", file, "--set", f"{RETRIES2}=8", "--set", f"{SOMAXCONN}=5000")
    kernel[RETRIES2] = "10"
    done = run("revert", "--file", file)
    assert kernel[RETRIES2] == "10"
    assert kernel[SOMAXCONN] == "4096"
    assert "left alone" in done.stderr


def test_what_a_second_apply_does_not_name_is_set_back_unless_somebody_else_changed_it(
    kernel, tmp_path
):
    file = tmp_path / "90-lbsplice.conf"
    run("apply", "--file", file, "--set", f"{RETRIES2}=8", "--set", f"{SOMAXCONN}=5000")
    kernel[RETRIES2] = "10"
    done = run("apply", "--file", file, "--set", f"{PORTS}=1024 65535")
    assert (kernel[RETRIES2], kernel[SOMAXCONN]) == ("10", "4096")
    assert RETRIES2 not in done.stdout


def test_a_dry_run_and_a_diff_fail_where_apply_would(kernel, tmp_path):
    file = tmp_path / "90-lbsplice.conf"
    given = ("--file", file, "--set", "net.ipv4.tcp_fin_timeout=30")  # this kernel has none
    assert run("apply", *given).exit_code == 1
    dry = run("apply", "--dry-run", *given)
    assert (dry.exit_code, dry.stdout) == (1, "")
    assert "this kernel has no net.ipv4.tcp_fin_timeout" in dry.stderr
    config = str(CORPUS / "limits-good.cfg")
    assert run("apply", "--file", file, "-f", config).exit_code == 2
    assert run("diff", "--file", file, "-f", config).exit_code == 2


def test_a_refused_value_undoes_the_ones_before_it_and_the_file(kernel, tmp_path):
    file = tmp_path / "90-lbsplice.conf"
    run("apply", "--file", file, "--set", f"{SOMAXCONN}=5000")
    text, values = file.read_text(), dict(kernel)
    done = run("apply", "--file", file, "--set", f"{SOMAXCONN}=6000", "--set", f"{RETRIES2}=66")
    assert done.exit_code == 1
    assert "refused" in done.stderr
    assert (file.read_text(), dict(kernel)) == (text, values)


def test_values_out_of_bounds_and_files_read_later_are_told(kernel, tmp_path):
    file = tmp_path / "90-lbsplice.conf"
    done = run("apply", "--file", file, "--set", f"{RETRIES2}=256")
    assert (done.exit_code, file.exists()) == (1, False)
    assert "out of range (1..255)" in done.stderr
    (tmp_path / "99-other.conf").write_text(f"{RETRIES2} = 3\n")
    assert "read later" in run("apply", "--file", file, "--set", f"{RETRIES2}=8").stderr


def test_files_of_all_directories_that_win_at_boot_are_told(kernel, tmp_path, monkeypatch):
    places = [tmp_path / name for name in ("etc", "run", "lib")]
    for place in places:
        place.mkdir()
    monkeypatch.setattr(sysctl_file, "READ_AT_BOOT", tuple(places))
    etc, volatile, lib = places
    (etc / "10-before.conf").write_text(f"{RETRIES2} = 3\n")
    (lib / "95-lib.conf").write_text("# a comment\n-net/ipv4/tcp_retries2=3\n")
    (volatile / "96-hidden.conf").write_text(f"{RETRIES2} = 3\n")
    (etc / "96-hidden.conf").write_text(f"#{RETRIES2} = 3\n{RETRIES2}_not = 3\n")
    (etc / "97-linked.conf").symlink_to(tmp_path / "nowhere")
    for place in (etc, lib):
        (place / "90-lbsplice.conf").write_text(
            f"{HEADER}\n# before: {RETRIES2} = 3\n{RETRIES2}=4\n"
        )
    (etc / "90-lbsplice.conf").unlink()
    given = (f"--set={RETRIES2}=8",)
    expected = f"note: {lib}/95-lib.conf sets {RETRIES2} as well and is read later\n"
    for more in (("--dry-run",), ()):
        done = run("apply", "--file", etc / "90-lbsplice.conf", *given, *more)
        assert done.stderr == expected
    in_place = run("apply", "--file", volatile / "90-lbsplice.conf", *given).stderr
    assert f"{etc}/90-lbsplice.conf sets {RETRIES2} as well and is read in place of" in in_place
    assert in_place.endswith(expected)


def test_apply_with_a_plan_stays_the_same_when_it_is_said_again(kernel, tmp_path):
    file = tmp_path / "90-lbsplice.conf"
    words = ["--file", file, "--detect", "10s", "--sessions", "60000"]
    assert f"set {SOMAXCONN} = 6000 (was 4096)" in run("apply", *words).stdout
    assert run("apply", *words).stdout == "nothing to do\n"
    run("apply", "--file", file, "--detect", "10s", "--sessions", "1000")
    assert kernel[SOMAXCONN] == "4096"


def test_the_commands_that_only_read():
    config = str(CORPUS / "limits-good.cfg")
    shown = run("explain", "-f", config)
    assert shown.exit_code == 0
    assert "maxconn is 20000" in shown.stdout
    planned = run("plan", "--detect", "10s", "-f", config)
    assert planned.exit_code == 0
    assert "srvtcpka-idle 5s" in planned.stdout
    assert run("plan", "--detect", "10s").exit_code == 2
    assert run("plan", "--sessions", "5").exit_code == 2
    assert run("plan", "--detect", "soon", "--sessions", "5").exit_code == 2
    assert run("plan", "--detect", "1s", "--sessions", "5").exit_code == 1
