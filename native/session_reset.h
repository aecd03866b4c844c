/* The end of a session that can not end cleanly: what is left for one leg is delivered,
 * then that leg is reset, too. */
#ifndef LBS_SESSION_RESET_H
#define LBS_SESSION_RESET_H

#include "worker.h"

/* The leg `gone` is of no more use: reset it, and the other one after it has got what we
 * hold for it. A reset throws away what the peer's kernel has not acknowledged. */
void session_reset_begin(struct worker *worker, uint32_t session, int gone);

/* Go on delivering; end the session when nothing is left, or when it takes too long. */
void session_reset_go_on(struct worker *worker, uint32_t session);

/* The leg that is still delivered to. */
int session_reset_target(const lbs_session *session);

#endif
