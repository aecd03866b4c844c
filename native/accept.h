/* Accepting: in batches, never above a limit, never spinning. */
#ifndef LBS_ACCEPT_H
#define LBS_ACCEPT_H

#include "worker.h"

/* A listener is ready: accept a burst. */
void accept_ready(struct worker *worker, uint32_t listener);

/* After a new plan: watch its listeners and no others. */
void accept_follow_plan(struct worker *worker);

/* Watch paused listeners again if there may be room for them now. */
void accept_resume(struct worker *worker);

#endif
