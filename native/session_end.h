/* The end of a session, however it comes: one place that closes, counts and tells. */
#ifndef LBS_SESSION_END_H
#define LBS_SESSION_END_H

#include "worker.h"

/* Note why it ends; the first reason stays. */
void session_reason(lbs_session *session, enum lbs_cause cause, enum lbs_phase phase);

/* Link to a server's list and count there; undo. */
void session_enter_slot(struct worker *worker, uint32_t session, uint32_t slot);
void session_leave_slot(struct worker *worker, uint32_t session);

/* Tell of a session that was connected, if its frontend wants to hear of it. */
void session_tell_connected(struct worker *worker, uint32_t session);

/* Close both legs (each by FIN, or by reset where `reset` has its bit, 1 << side), count,
 * tell, and put the record on the list of those to be freed after the batch. */
void session_end(struct worker *worker, uint32_t session, unsigned reset);

#endif
