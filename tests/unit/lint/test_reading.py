"""Any configuration is read; what matters of it ends up in the model."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lbsplice.config.files import Source
from lbsplice.lint.analysis import analyse
from lbsplice.lint.build import build
from lbsplice.lint.reader import read
from lbsplice.sysctl.values import Sysctls
from tests.unit.lint.corpus import FILES


def model(text, env=None):
    return build(read([Source("a.cfg", text)], env or {}))


def settings(server):
    return {name: " ".join(said.value) for name, said in server.settings.items()}


def test_default_server_is_for_the_servers_after_it_and_no_words_undo_it():
    (proxy,) = model(
        "listen l\n server a 1.1.1.1:1\n default-server check inter 1s backup\n"
        " server b 1.1.1.1:1 inter 2s\n server c 1.1.1.1:1 no-check no-backup disabled\n"
        " default-server enabled\n"
    ).proxies
    a, b, c = proxy.servers
    assert settings(a) == {}
    assert settings(b) == {"check": "", "inter": "2s", "backup": ""}
    assert not c.has("check")
    assert not c.has("backup")
    assert c.has("disabled")


def test_words_of_a_server_with_values_do_not_run_into_each_other():
    (proxy,) = model(
        "listen l\n server a 1.1.1.1:1 ssl verify none source 2.2.2.2 usesrc clientip interface e0"
        " set-proxy-v2-tlv-fmt(0x20) %[x] sni str(check) inter 3s\n"
    ).proxies
    assert settings(proxy.servers[0]) == {
        "ssl": "",
        "verify": "none",
        "source": "2.2.2.2 usesrc clientip interface e0",
        "set-proxy-v2-tlv-fmt(0x20)": "%[x]",
        "sni": "str(check)",
        "inter": "3s",
    }


def test_an_unknown_id_in_a_comment_is_noted_and_a_reason_is_not():
    text = (
        "# lbsplice-lint: disable-file=l12, L1O\n"
        "listen l  # lbsplice-lint: disable=L10 as we know, and all agree\n"
        " mode tcp  # lbsplice-lint: disable=hangs\n"
        " mode tcp  # lbsplice-lint: disable=all\n"
        " mode tcp  # lbsplice-lint: disable=L1 L5,L99 for now\n"
    )
    notes = analyse([Source("a.cfg", text)], {}, Sysctls()).notes
    assert [(n.place.line, n.text.split("'")[1]) for n in notes] == [
        (1, "L1O"),
        (3, "HANGS"),
        (5, "L99"),
    ]


def test_defaults_are_inherited_by_name_or_from_the_last():
    first, second, third = model(
        "defaults one\n timeout client 1s\n option clitcpka\n"
        "defaults two from one\n timeout client 2s\n no option clitcpka\n"
        "listen a\nlisten b from one\nlisten c from nowhere\n"
    ).proxies
    assert [p.timeouts["client"].value for p in (first, second)] == [2000, 1000]
    assert (first.option("clitcpka"), third.timeouts) == (None, {})
    assert second.option("clitcpka").place.line == 3


def test_the_last_check_option_counts():
    (proxy,) = model("defaults\n option httpchk\nlisten l\n option tcp-check\n").proxies
    assert proxy.option("httpchk") is None
    assert proxy.option("tcp-check")


def test_a_template_is_as_many_servers():
    (proxy,) = model("listen l\n server-template s 2-5 a.example:1 check\n").proxies
    assert (proxy.servers[0].name, proxy.servers[0].count) == ("s2..5", 4)


def test_several_files_are_one_configuration_but_sections_end_with_a_file():
    sources = [Source("a.cfg", "defaults\n timeout client 9s\n"), Source("b.cfg", " timeout x\n")]
    document = read([*sources, Source("c.cfg", "listen l\n")], {})
    assert [line.place.file for line in document.strays] == ["b.cfg"]
    assert build(document).proxies[0].timeouts["client"].value == 9000


def test_variables_that_are_set_are_replaced():
    (proxy,) = model('listen l\n timeout client "$T"\n', {"T": "7s"}).proxies
    assert proxy.timeouts["client"].value == 7000


@given(st.text(alphabet="abcdefgilmnoprstuvx \n\t\"'\\${}%[]#.:-0123456789", max_size=300))
def test_nothing_makes_it_fail(text):
    analyse([Source("a.cfg", text)], {}, Sysctls())


@given(st.data())
def test_no_damaged_configuration_makes_it_fail(data):
    text = data.draw(st.sampled_from(FILES)).read_text()
    at = data.draw(st.integers(0, len(text)))
    cut = data.draw(st.integers(0, 40))
    put = data.draw(st.sampled_from(["", " ", "\n", '"', "no ", "default-server ", "\0", "-1"]))
    analyse([Source("a.cfg", text[:at] + put + text[at + cut :])], {}, Sysctls())
