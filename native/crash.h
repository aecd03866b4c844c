/* Faults of our own: which thread, and which session it worked on, noted by the signal
 * handler for the successor, who tells one session's doing from bad luck. */
#ifndef LBS_CRASH_H
#define LBS_CRASH_H

struct ledger_header;
struct worker;

/* The calling thread runs this worker; its faults are noted from now on, if any are. */
void crash_enter(struct worker *worker);

/* This ledger is about to be unmapped: faults are not noted there any more. */
void crash_forget(const struct ledger_header *header);

#endif
