/* Orders to end sessions, in chunks: between two of them the thread looks at its sockets. */
#ifndef LBS_KILL_H
#define LBS_KILL_H

#include "worker.h"

/* Each ends a chunk of what it is ordered to: 1 when all are done, 0 to be called again.
 * One order at a time. */

/* The sessions of a slot; tells Python how many, at the end. */
int kill_slot(struct worker *worker, uint32_t slot, enum lbs_cause cause);

/* All that had begun when the order did. */
int kill_all(struct worker *worker, enum lbs_cause cause);

/* The one with this serial, if it is this thread's and still there. */
int kill_session(struct worker *worker, uint64_t serial, enum lbs_cause cause);

#endif
