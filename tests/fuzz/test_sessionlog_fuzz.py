"""Whatever a record holds, its log line is one line."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from lbsplice.config.model import ProxyKind
from lbsplice.plan.slots import assign
from lbsplice.report.record import LAYOUT, SESSION_CONNECTED, SESSION_ENDED, Record
from lbsplice.report.sessionlog import SessionLog, one_line
from lbsplice.report.syslog import Framer, encode
from lbsplice.terms import LogFormat, LogLevel
from tests.support.records import config, listen, udp_log

CONFIGURATION = config(
    listen("tcp", tcplog=True),
    listen("soon", tcplog=True, logasap=True),
    listen("short"),
    listen("bad\nname", tcplog=True, log_separate_errors=True),
    listen("none", kind=ProxyKind.FRONTEND, servers=(), tcplog=True),
)
LOG = SessionLog(CONFIGURATION, assign(CONFIGURATION))

# Bytes as a worker's ring might hold them; often those of a frontend that there is.
RECORDS = st.binary(min_size=LAYOUT.size, max_size=LAYOUT.size).map(
    lambda data: Record._make(LAYOUT.unpack(data))
)
KNOWN = st.builds(
    lambda record, frontend, kind, family: record._replace(
        frontend=frontend, kind=kind, client_family=family
    ),
    RECORDS,
    st.integers(0, 4),
    st.sampled_from([SESSION_ENDED, SESSION_CONNECTED]),
    st.sampled_from([0, 1, 2, 10, 255]),
)


def is_one_line(text):
    return len((text + "\n").splitlines()) == 1


@settings(max_examples=2000, deadline=None)
@given(KNOWN)
def test_every_record_of_a_known_frontend_gives_at_most_one_line(record):
    line = LOG.line(record)
    always = record.kind == SESSION_ENDED and record.frontend in (0, 3, 4)
    assert line is not None or not always
    if line is not None:
        assert is_one_line(line.text)
        assert line.text.isprintable()
        assert line.level in (LogLevel.INFO, LogLevel.ERR)
        assert line.frontend == record.frontend


@settings(max_examples=500, deadline=None)
@given(RECORDS)
@example(Record._make(LAYOUT.unpack(b"\xff" * LAYOUT.size)))
@example(Record._make(LAYOUT.unpack(bytes(LAYOUT.size))))
def test_records_of_any_kind_raise_nothing(record):
    line = LOG.line(record)
    assert line is None or is_one_line(line.text)


@settings(max_examples=1000, deadline=None)
@given(
    st.text(alphabet=st.characters(exclude_categories=["Cs"])),
    st.sampled_from(LogFormat),
    st.sampled_from(LogLevel),
    st.integers(0, 2**63),
    st.integers(80, 65535),
)
def test_every_text_is_framed_as_one_line_no_longer_than_wanted(
    text, log_format, level, now, length
):
    framer = Framer(udp_log(format=log_format, length=length), tag="lbsplice", hostname="vm", pid=1)
    frame = framer.frame(level, encode(one_line(text)), now)
    assert frame.count(b"\n") == 1
    assert frame.endswith(b"\n")
    assert len(frame) <= length + 1
