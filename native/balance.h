/* Choosing a server from the plan's tables. */
#ifndef LBS_BALANCE_H
#define LBS_BALANCE_H

#include <stdint.h>

#include "worker.h"

/* The slot for this session, or LBS_NONE if the backend has no usable server. `avoid`
 * (or LBS_NONE) is chosen only when there is no other. */
uint32_t balance_pick(struct worker *worker, const lbs_backend_row *backend,
		      const lbs_session *session, uint32_t avoid);

#endif
