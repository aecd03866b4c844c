/* The timeouts of an established session (FEATURES A.7): client, server, tunnel and
 * the -fin ones. They cost nothing while bytes flow: the timer looks when it fires. */
#ifndef LBS_SESSION_IDLE_H
#define LBS_SESSION_IDLE_H

#include "worker.h"

/* Let the timer fire when the first of the two legs could time out. */
void session_idle_arm(struct worker *worker, uint32_t session);

/* All that the deadlines depend on, but the times: while it stays, they only get later, and
 * the timer need not be set anew. */
uint32_t session_idle_shape(const lbs_session *session);

/* The timer fired. A leg that has timed out has no more to say: its direction ends, and
 * the session goes on with what is left. 1 if bytes are lost so: reset both legs. */
int session_idle_expired(struct worker *worker, uint32_t session);

#endif
