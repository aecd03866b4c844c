"""lbsplice under load, while its processes are killed: nothing may be lost or doubled, no
session may end.

    pattern, script, end, loop    the two ends of a session, and a process full of them
    near, far, probe              the processes: clients, servers, a stream of timestamps
    load                          those processes as the caller sees them
    family, harm                  lbsplice's processes, and what is done to them
    pauses                        what the stream of timestamps saw of it
    run, show, __main__           all of it together; `scripts/torture`"""
