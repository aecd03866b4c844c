/* From accept to an established session: choosing a server, attempts, retries. */
#ifndef LBS_CONNECT_H
#define LBS_CONNECT_H

#include "worker.h"

/* Choose a server and start the first attempt; ends the session if there is none. */
void connect_begin(struct worker *worker, uint32_t session);

/* The attempt under way came to nothing, with this error (-errno; -ETIMEDOUT for the
 * connect timeout): try again as `retries` and `option redispatch` say, or end. */
void connect_failed(struct worker *worker, uint32_t session, int error);

/* The pause before an attempt is over, or none was needed. */
void connect_again(struct worker *worker, uint32_t session);

/* The server of a session that is not yet established went down: to another one. */
void connect_elsewhere(struct worker *worker, uint32_t session);

#endif
