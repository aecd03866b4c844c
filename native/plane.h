/* All relay threads of a process, over one ledger. */
#ifndef LBS_PLANE_H
#define LBS_PLANE_H

#include "worker.h"

struct lbs_plane {
	struct ledger ledger;
	uint64_t paused_threads;
	uint32_t plans_alive;
	struct worker *workers;
};

/* Make the workers over the plane's ledger. 0 or -errno. */
int plane_open_workers(lbs_plane *plane, uint32_t pipe_bytes, uint32_t max_pipes);

/* Give back what the process holds for it, and leave the ledger and all that it names as
 * they are. */
void plane_forget(lbs_plane *plane);

#endif
