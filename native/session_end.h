/* The end of a session, however it comes: one place that closes, counts and tells. */
#ifndef LBS_SESSION_END_H
#define LBS_SESSION_END_H

#include "worker.h"

/* Note why it ends; the first reason stays. */
void session_reason(lbs_session *session, enum lbs_cause cause, enum lbs_phase phase);

/* Link to a server's list and count there; undo. */
void session_enter_slot(struct worker *worker, uint32_t session, uint32_t slot);
void session_leave_slot(struct worker *worker, uint32_t session);

/* It is established from here on; tell of that, if its frontend wants to hear of it. */
void session_connected(struct worker *worker, uint32_t session);

/* Count and tell, then close both legs (each by FIN, or by reset where `reset` has its bit,
 * 1 << side), and put the record on the list of those to be freed after the batch. A
 * successor that finds lbs_session.ending set calls it again, with the bits noted there. */
void session_end(struct worker *worker, uint32_t session, unsigned reset);

/* Close what a session that was counted (LBS_CLOSED) still holds: session_end's last part,
 * which a successor finishes. */
void session_close(struct worker *worker, uint32_t session);

/* For a successor, before any other of these: the counting or telling that the thread was
 * in the middle of (ledger_thread.ending) is taken back, or it turns out to be complete. */
void session_recover(struct worker *worker);

#endif
