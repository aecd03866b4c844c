"""The machines of the lab: what Vagrant makes of the Vagrantfile, and what
scripts/provision makes of a fresh Debian. Needs vagrant; root, debootstrap and a Debian archive
for the second part."""

import json
import os
import shutil
import subprocess
import time

import pytest

from lbsplice.lab.topology import BALANCER, CLIENT, SERVERS
from tests.support.command import ROOT
from tests.support.debian import SOURCE, USER, Debian, possible

PROVISION = f"{SOURCE}/scripts/provision"
WHY_NOT = possible()

needs_vagrant = pytest.mark.skipif(shutil.which("vagrant") is None, reason="no vagrant here")
needs_ruby = pytest.mark.skipif(shutil.which("ruby") is None, reason="no ruby here")

# Stands in for Vagrant: notes whatever the Vagrantfile says of each machine.
RECORDER = """
require "json"
class Recorder
  attr_reader :said
  def initialize; @said = []; end
  def method_missing(name, *words, **options, &block)
    inner = Recorder.new
    block.call(inner) if block
    @said << [name, words, options, inner.said]
    name == :vm ? (@vm ||= inner) : inner
  end
  def respond_to_missing?(*) = true
end
module Vagrant
  def self.configure(version)
    top = Recorder.new
    yield top
    puts JSON.dump(top.vm.said)
  end
end
load ARGV[0]
"""


def validated(tmp_path, lab):
    return subprocess.run(
        # The providers' own settings need the plugins of the providers.
        ["vagrant", "validate", "--ignore-provider"],
        cwd=ROOT,
        env={
            **os.environ,
            "LAB": lab,
            "VAGRANT_HOME": str(tmp_path / "home"),
            "VAGRANT_DOTFILE_PATH": str(tmp_path / "state"),
            "VAGRANT_CHECKPOINT_DISABLE": "1",
        },
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@needs_vagrant
@pytest.mark.parametrize("lab", ["", "multi"])
def test_vagrant_accepts_the_vagrantfile(tmp_path, lab):
    done = validated(tmp_path, lab)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "validated successfully" in done.stdout


def machines(lab):
    """Each machine's network and provisioning, by name, as the Vagrantfile says."""
    done = subprocess.run(
        ["ruby", "-e", RECORDER, str(ROOT / "Vagrantfile")],
        env={**os.environ, "LAB": lab},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = {}
    for what, words, _, inner in json.loads(done.stdout):
        if what == "define":
            (settings,) = [said for name, _, _, said in inner if name == "vm" and said]
            found[words[0]] = {name: options for name, _, options, _ in settings}
    return found


@needs_ruby
def test_four_machines_have_the_addresses_of_the_scenes():
    found = machines("multi")
    addresses = {name: one["network"]["ip"] for name, one in found.items()}
    assert addresses == {host.name: host.address for host in (CLIENT, BALANCER, *SERVERS)}
    for server in SERVERS:
        words = found[server.name]["provision"]["args"]
        assert words == ["server", server.name, server.address]


@needs_ruby
def test_one_box_has_no_network_of_its_own():
    (box,) = machines("").values()
    assert box["provision"]["args"] == ["box"]
    assert "network" not in box


@pytest.mark.parametrize("words", [["nobody"], ["server", "a"], ["box", "more"]])
def test_provision_refuses_words_that_it_does_not_know(words):
    done = subprocess.run(
        [ROOT / "scripts/provision", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("provision: ")
    assert done.stderr.count("\n") == 1


@pytest.fixture(scope="module")
def debian(tmp_path_factory):
    if WHY_NOT:
        pytest.skip(WHY_NOT)
    with Debian(tmp_path_factory.mktemp("debian")) as one:
        done = one.run(PROVISION)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "HAProxy" in done.stderr
        yield one


# The first test waits for the system, its packages and the extension to be made.
made_here = pytest.mark.timeout(600)


@made_here
def test_the_second_provisioning_does_nothing_and_is_quick(debian):
    started = time.monotonic()
    done = debian.run(PROVISION)
    assert time.monotonic() - started < 10
    assert done.returncode == 0, done.stderr
    assert "installing" not in done.stderr
    assert done.stderr.startswith("ready: lbsplice version ")


@made_here
def test_a_user_of_the_box_sees_the_failure_in_haproxy_and_the_cure(debian):
    done = debian.run("lbsplice", "lab", "failover", "--watch", "1", user=USER)
    assert done.returncode == 0, done.stdout + done.stderr
    haproxy, cured = done.stdout.split("\nlbsplice ")
    assert haproxy.startswith("HAProxy ")
    assert "not a byte, not an end, for 1 s: the session hangs" in haproxy
    assert "With the action it is reset" in cured


@made_here
def test_the_box_plays_the_other_scenes_too(debian):
    scenes = [
        ["keepalive", "--proxy", "lbsplice", "--case", "dead-server"],
        ["reload", "--proxy", "lbsplice", "--case", "after-reload"],
    ]
    for words in scenes:
        done = debian.run("lbsplice", "lab", *words, "--json", user=USER)
        assert done.returncode == 0, done.stdout + done.stderr
        assert json.loads(done.stdout)["held"]


@made_here
def test_commands_that_need_no_root_do_not_become_root(debian):
    done = debian.run("lbsplice", "run", "-v", user=USER)
    assert done.returncode == 0, done.stderr
    rights = debian.run("sh", "-c", "grep -v lab /usr/local/bin/lbsplice | grep -c 'exec sudo'")
    assert rights.stdout == "1\n"


def start_of(debian, unit):
    """What a unit runs."""
    text = debian.read(f"/etc/systemd/system/{unit}.service").replace("\\\n", "")
    (line,) = [line for line in text.splitlines() if line.startswith("ExecStart=")]
    return line.removeprefix("ExecStart=").replace("$$", "$")


@pytest.fixture(scope="module")
def four_machines(debian):
    """What runs on each of the four, by its name."""
    found = {}
    for server in SERVERS:
        done = debian.run(PROVISION, "server", server.name, server.address)
        assert done.returncode == 0, done.stderr
        found[server.name] = start_of(debian, "lab-server")
    for role in ("balancer", "client"):
        done = debian.run(PROVISION, role)
        assert done.returncode == 0, done.stderr
    found["address"] = start_of(debian, "lab-address")
    found["client"] = "/usr/local/bin/lab-client"
    return found


@made_here
@pytest.mark.parametrize("proxy", ["haproxy", "lbsplice"])
def test_the_balancer_of_four_machines_accepts_its_configuration(debian, four_machines, proxy):
    start = start_of(debian, f"lab-{proxy}")
    program, *_, file = start.split()
    assert file == f"/etc/lbsplice/lab-{proxy}.cfg"
    checked = debian.run(program, *(["-c", "-f"] if proxy == "haproxy" else ["check"]), file)
    assert checked.returncode == 0, checked.stdout + checked.stderr


# The four machines as namespaces: what the units start, on each, and then a server is cut off.
SCENE = """
import json, os, signal, subprocess, sys
from lbsplice.lab.namespaces import Network
from lbsplice.lab.topology import BALANCER, CLIENT, HOSTS, SERVICE_ADDRESS

runs, proxy = json.loads(sys.argv[1]), sys.argv[2]
running = []

def start(host, words, **pipes):
    with network.entered(host):
        running.append(subprocess.Popen(words, shell=True, start_new_session=True, **pipes))
    return running[-1]

def seen(child, wanted):
    for line in child.stdout:
        if any(word in line for word in wanted):
            return line
    raise SystemExit(f"not seen: {wanted}")

pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
try:
    with Network() as network:
        with network.entered(BALANCER):
            subprocess.run(f"ip address delete {SERVICE_ADDRESS}/24 dev eth0", shell=True)
        start(BALANCER, runs["address"]).wait()
        for host in HOSTS:
            if host.name in runs and host is not CLIENT:
                seen(start(host, runs[host.name], **pipes), ["listening"])
        balancer = start(BALANCER, proxy, **pipes)
        seen(balancer, ["2/2 UP"])
        seen(balancer, ["2/2 UP"])
        client = start(CLIENT, runs["client"], **pipes)
        seen(client, ["connected"])
        client.stdin.write("ask\\n")
        seen(client, ["answered"])
        cut = "iptables -A OUTPUT -d 192.168.1.29 -p tcp --dport 81 -j DROP"
        start(BALANCER, cut).wait()
        seen(balancer, ["lbb-811tmjow is DOWN"])
        print(seen(client, ["fin", "reset", "error"]))
finally:
    for child in running:
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
"""


@made_here
@pytest.mark.parametrize(("proxy", "told"), [("haproxy", "fin"), ("lbsplice", "reset")])
def test_four_machines_play_the_scene_with_what_their_units_start(
    debian, four_machines, proxy, told
):
    start = start_of(debian, f"lab-{proxy}")
    python = "/opt/lbsplice/bin/python"
    done = debian.run("timeout", "60", python, "-c", SCENE, json.dumps(four_machines), start)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["event"] == told
