"""Imports go one way: words, pure modules, edges, assembly, front.

A module imports from its own layer or below, never up and never in a circle. Words and
pure modules open no socket, start no thread and read no clock. One module alone knows
the extension. Imports inside functions count as well."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from enum import IntEnum
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "lbsplice"


class Layer(IntEnum):
    WORDS = 0
    PURE = 1
    EDGES = 2
    ASSEMBLY = 3
    FRONT = 4


# A row places a module and all below it; the longest row that fits counts. Packages with
# modules of several layers have no row of their own: each new module there asks for one.
LAYERS = {
    "lbsplice.errors": Layer.WORDS,
    "lbsplice.terms": Layer.WORDS,
    "lbsplice.units": Layer.WORDS,
    "lbsplice.admin.commands": Layer.PURE,
    "lbsplice.admin.control": Layer.PURE,
    "lbsplice.admin.explain": Layer.PURE,
    "lbsplice.admin.explain_text": Layer.PURE,
    "lbsplice.admin.giving_up": Layer.PURE,
    "lbsplice.admin.http": Layer.EDGES,
    "lbsplice.admin.http_actions": Layer.PURE,
    "lbsplice.admin.http_door": Layer.EDGES,
    "lbsplice.admin.http_events": Layer.EDGES,
    "lbsplice.admin.http_head": Layer.EDGES,
    "lbsplice.admin.http_live": Layer.PURE,
    "lbsplice.admin.http_request": Layer.PURE,
    "lbsplice.admin.http_stream": Layer.EDGES,
    "lbsplice.admin.info": Layer.PURE,
    "lbsplice.admin.kernel_leg": Layer.PURE,
    "lbsplice.admin.kernel_words": Layer.PURE,
    "lbsplice.admin.levels": Layer.PURE,
    "lbsplice.admin.metrics": Layer.PURE,
    "lbsplice.admin.metrics_block": Layer.PURE,
    "lbsplice.admin.metrics_kind": Layer.PURE,
    "lbsplice.admin.metrics_process": Layer.PURE,
    "lbsplice.admin.metrics_table": Layer.PURE,
    "lbsplice.admin.named": Layer.PURE,
    "lbsplice.admin.objects": Layer.PURE,
    "lbsplice.admin.own_answers": Layer.EDGES,
    "lbsplice.admin.own_commands": Layer.EDGES,
    "lbsplice.admin.sess": Layer.PURE,
    "lbsplice.admin.session": Layer.PURE,
    "lbsplice.admin.session_filter": Layer.PURE,
    "lbsplice.admin.show_commands": Layer.EDGES,
    "lbsplice.admin.show_commands_process": Layer.EDGES,
    "lbsplice.admin.spans": Layer.PURE,
    "lbsplice.admin.stat": Layer.PURE,
    "lbsplice.admin.stat_columns": Layer.PURE,
    "lbsplice.admin.stat_filter": Layer.PURE,
    "lbsplice.admin.state_text": Layer.PURE,
    "lbsplice.admin.typed": Layer.PURE,
    "lbsplice.admin.view": Layer.PURE,
    "lbsplice.admin.change_commands": Layer.EDGES,
    "lbsplice.admin.change_commands_process": Layer.EDGES,
    "lbsplice.admin.commands_all": Layer.EDGES,
    "lbsplice.admin.commands_cli": Layer.PURE,
    "lbsplice.admin.help": Layer.PURE,
    "lbsplice.admin.lines": Layer.EDGES,
    "lbsplice.admin.protocol": Layer.PURE,
    "lbsplice.admin.server": Layer.EDGES,
    "lbsplice.admin.server_conversation": Layer.EDGES,
    "lbsplice.admin.stats_sockets": Layer.EDGES,
    "lbsplice.admin.baselines": Layer.ASSEMBLY,
    "lbsplice.admin.changes": Layer.ASSEMBLY,
    "lbsplice.admin.desk": Layer.ASSEMBLY,
    "lbsplice.admin.server_words": Layer.PURE,
    "lbsplice.admin.building": Layer.EDGES,
    "lbsplice.admin.history": Layer.PURE,
    "lbsplice.admin.layout": Layer.EDGES,
    "lbsplice.admin.looking": Layer.ASSEMBLY,
    "lbsplice.admin.meters": Layer.PURE,
    "lbsplice.admin.page_rows": Layer.PURE,
    "lbsplice.admin.service": Layer.ASSEMBLY,
    "lbsplice.admin.sessions_copy": Layer.EDGES,
    "lbsplice.admin.stalled": Layer.EDGES,
    "lbsplice.admin.transitions": Layer.EDGES,
    "lbsplice.config": Layer.PURE,
    "lbsplice.deaths": Layer.PURE,
    "lbsplice.edits": Layer.PURE,
    "lbsplice.health.judge": Layer.PURE,
    "lbsplice.health.schedule": Layer.PURE,
    "lbsplice.lab.crash_results": Layer.PURE,
    "lbsplice.lab.crash_scene": Layer.PURE,
    "lbsplice.lab.crash_verdict": Layer.PURE,
    "lbsplice.lab.keepalive_results": Layer.PURE,
    "lbsplice.lab.keepalive_scene": Layer.PURE,
    "lbsplice.lab.keepalive_verdict": Layer.PURE,
    "lbsplice.lab.loglines": Layer.PURE,
    "lbsplice.lab.reload_results": Layer.PURE,
    "lbsplice.lab.reload_scene": Layer.PURE,
    "lbsplice.lab.results": Layer.PURE,
    "lbsplice.lab.scene": Layer.PURE,
    "lbsplice.lab.summary": Layer.PURE,
    "lbsplice.lab.topology": Layer.PURE,
    "lbsplice.lab.verdict": Layer.PURE,
    "lbsplice.limits": Layer.PURE,
    "lbsplice.lint": Layer.PURE,
    "lbsplice.plan": Layer.PURE,
    "lbsplice.report.healthlog": Layer.PURE,
    "lbsplice.report.record": Layer.PURE,
    "lbsplice.report.sessionlog": Layer.PURE,
    "lbsplice.report.syslog": Layer.PURE,
    "lbsplice.kill_orders": Layer.PURE,
    "lbsplice.memory": Layer.PURE,
    "lbsplice.plain": Layer.PURE,
    "lbsplice.protocol": Layer.PURE,
    "lbsplice.roster": Layer.PURE,
    "lbsplice.stuck.downs": Layer.PURE,
    "lbsplice.stuck.pairing": Layer.PURE,
    "lbsplice.stuck.selection": Layer.PURE,
    "lbsplice.stuck.statements": Layer.PURE,
    "lbsplice.sysctl": Layer.PURE,
    "lbsplice.server_state": Layer.PURE,
    "lbsplice.statefile": Layer.PURE,
    "lbsplice.activation": Layer.EDGES,
    "lbsplice.channel": Layer.EDGES,
    "lbsplice.collector": Layer.EDGES,
    "lbsplice.console": Layer.EDGES,
    "lbsplice.dataplane": Layer.EDGES,
    "lbsplice.descriptors": Layer.EDGES,
    "lbsplice.ending": Layer.EDGES,
    "lbsplice.errand": Layer.EDGES,
    "lbsplice.getsocks": Layer.EDGES,
    "lbsplice.handover": Layer.EDGES,
    "lbsplice.health.checker": Layer.EDGES,
    "lbsplice.health.probes": Layer.EDGES,
    "lbsplice.health.target": Layer.EDGES,
    "lbsplice.hearing": Layer.EDGES,
    "lbsplice.holding": Layer.EDGES,
    "lbsplice.hush": Layer.EDGES,
    "lbsplice.in_force": Layer.EDGES,
    "lbsplice.in_flight": Layer.EDGES,
    "lbsplice.journal": Layer.EDGES,
    "lbsplice.kernel": Layer.EDGES,
    "lbsplice.lab.cast": Layer.EDGES,
    "lbsplice.lab.crash": Layer.EDGES,
    "lbsplice.lab.crash_show": Layer.EDGES,
    "lbsplice.lab.crash_stage": Layer.EDGES,
    "lbsplice.lab.crash_traffic": Layer.EDGES,
    "lbsplice.lab.crash_workers": Layer.EDGES,
    "lbsplice.lab.failover": Layer.EDGES,
    "lbsplice.lab.faults": Layer.EDGES,
    "lbsplice.lab.keepalive": Layer.EDGES,
    "lbsplice.lab.keepalive_capture": Layer.EDGES,
    "lbsplice.lab.namespaces": Layer.EDGES,
    "lbsplice.lab.processes": Layer.EDGES,
    "lbsplice.lab.proxies": Layer.EDGES,
    "lbsplice.lab.reload": Layer.EDGES,
    "lbsplice.lab.shows": Layer.EDGES,
    "lbsplice.lab.stage": Layer.EDGES,
    "lbsplice.lab.timeline": Layer.EDGES,
    "lbsplice.lab.traffic": Layer.EDGES,
    "lbsplice.listeners": Layer.EDGES,
    "lbsplice.migration": Layer.EDGES,
    "lbsplice.meeting": Layer.EDGES,
    "lbsplice.notify": Layer.EDGES,
    "lbsplice.process": Layer.EDGES,
    "lbsplice.program": Layer.EDGES,
    "lbsplice.reactor": Layer.EDGES,
    "lbsplice.receivers": Layer.EDGES,
    "lbsplice.rendezvous": Layer.EDGES,
    "lbsplice.report.hub": Layer.EDGES,
    "lbsplice.report.sinks": Layer.EDGES,
    "lbsplice.resolve": Layer.EDGES,
    "lbsplice.socket_options": Layer.EDGES,
    "lbsplice.proxy_lines": Layer.EDGES,
    "lbsplice.restore": Layer.EDGES,
    "lbsplice.road": Layer.EDGES,
    "lbsplice.rooms": Layer.EDGES,
    "lbsplice.service": Layer.EDGES,
    "lbsplice.startup": Layer.EDGES,
    "lbsplice.state_files": Layer.EDGES,
    "lbsplice.stuck.find": Layer.EDGES,
    "lbsplice.stuck.line": Layer.EDGES,
    "lbsplice.stuck.owners": Layer.EDGES,
    "lbsplice.stuck.session": Layer.EDGES,
    "lbsplice.stuck.show": Layer.EDGES,
    "lbsplice.stuck.watch": Layer.EDGES,
    "lbsplice.tallies": Layer.EDGES,
    "lbsplice.turns": Layer.EDGES,
    "lbsplice.worker_listeners": Layer.EDGES,
    "lbsplice.orchestrator": Layer.ASSEMBLY,
    "lbsplice.family": Layer.ASSEMBLY,
    "lbsplice.kinship": Layer.ASSEMBLY,
    "lbsplice.launch": Layer.ASSEMBLY,
    "lbsplice.operations": Layer.ASSEMBLY,
    "lbsplice.succession": Layer.ASSEMBLY,
    "lbsplice.watchdog": Layer.ASSEMBLY,
    "lbsplice.worker": Layer.ASSEMBLY,
    "lbsplice.workerprocess": Layer.ASSEMBLY,
    "lbsplice.supervisor": Layer.ASSEMBLY,
    "lbsplice.__main__": Layer.FRONT,
    "lbsplice.cli": Layer.FRONT,
}

NOT_PURE = {"socket", "asyncio", "threading", "select", "time"}
EXTENSION = "lbsplice._native"
BINDING = "lbsplice.dataplane.binding"


def layer_of(module: str) -> Layer | None:
    name = module
    while name:
        if name in LAYERS:
            return LAYERS[name]
        name = name.rpartition(".")[0]
    return None


def imported(module: str, tree: ast.Module, modules: Mapping[str, str]) -> Iterator[str]:
    """The modules that a module names in its imports: ours, the extension and others."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: a relative import hides its layer"
            base = node.module or ""
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                yield whole if whole in modules or whole == EXTENSION else base


def faults(modules: Mapping[str, str]) -> list[str]:
    """What is wrong with these modules, given as name -> source."""
    found: list[str] = []
    graph: dict[str, set[str]] = {}
    for module, source in modules.items():
        tree = ast.parse(source, module)
        if not tree.body or module == "lbsplice":
            continue  # an empty __init__, or the version
        own = layer_of(module)
        if own is None:
            found.append(f"{module} is in no layer: give it a row in LAYERS")
            continue
        graph[module] = set()
        for name in imported(module, tree, modules):
            if name == EXTENSION or name.startswith(f"{EXTENSION}."):
                if module != BINDING:
                    found.append(f"{module} imports the extension; only {BINDING} may")
            elif name in modules:
                graph[module].add(name)
                other = layer_of(name)
                if other is not None and other > own:
                    found.append(
                        f"{module} ({own.name}) imports {name} ({other.name}): that is upward"
                    )
            elif own <= Layer.PURE and name.partition(".")[0] in NOT_PURE:
                found.append(f"{module} ({own.name}) imports {name}: that is not pure")
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found.append("imports in a circle: " + " -> ".join(error.args[1]))
    return found


def our_modules() -> dict[str, str]:
    modules = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        modules[name] = path.read_text()
    return modules


def test_imports_go_one_way():
    assert faults(our_modules()) == []


def test_all_modules_are_looked_at():
    assert {"lbsplice", "lbsplice.terms", "lbsplice.plan.compile"} <= set(our_modules())


@pytest.mark.parametrize(
    ("modules", "says"),
    [
        ({"lbsplice.new": "x = 1"}, "in no layer"),
        ({"lbsplice.lab.new": "x = 1"}, "in no layer"),
        (
            {"lbsplice.terms": "from lbsplice.config import lex", "lbsplice.config.lex": "x = 1"},
            "upward",
        ),
        (
            {
                "lbsplice.roster": "def f():\n    import lbsplice.supervisor",
                "lbsplice.supervisor": "x = 1",
            },
            "upward",
        ),
        ({"lbsplice.plan.wheel": "import time"}, "not pure"),
        ({"lbsplice.terms": "from socket import AF_INET"}, "not pure"),
        ({"lbsplice.config.lex": "import asyncio.events"}, "not pure"),
        (
            {
                "lbsplice.config.a": "from lbsplice.config.b import x",
                "lbsplice.config.b": "from lbsplice.config import a",
            },
            "circle",
        ),
        ({"lbsplice.dataplane.load": "from lbsplice._native import lib"}, "extension"),
        ({"lbsplice.dataplane.load": "from lbsplice import _native"}, "extension"),
    ],
)
def test_a_fault_is_found(modules, says):
    (fault,) = faults(modules)
    assert says in fault


def test_what_is_allowed_is_no_fault():
    assert not faults(
        {
            "lbsplice": "__version__ = '1'",
            "lbsplice.health": "",
            "lbsplice.health.judge": "from lbsplice import __version__",
            "lbsplice.health.checker": "import asyncio\nfrom lbsplice.health import judge",
            BINDING: "from lbsplice._native import lib",
        }
    )
