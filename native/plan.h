/* A plan: Python's tables, checked and copied, counted by those who use them. */
#ifndef LBS_PLAN_H
#define LBS_PLAN_H

#include <stdint.h>

#include "api.h"

struct plan {
	uint32_t references;
	uint32_t *alive; /* where living plans are counted */
	uint64_t generation;
	uint32_t maxconn;
	uint32_t maxaccept;
	lbs_sizes sizes;
	/* By number; NULL where there is none. */
	const lbs_listener_row **listeners;
	const lbs_frontend_row **frontends;
	const lbs_backend_row **backends;
	const lbs_slot_row **slots;
	const uint32_t *entries;
	const lbs_point *points;
};

/* Check and copy. One reference. -EINVAL if a number is out of range or refers to a
 * row that is not there, -ENOMEM. */
int plan_new(const lbs_plan_rows *rows, const lbs_sizes *sizes, uint32_t *alive, struct plan **out);
struct plan *plan_hold(struct plan *plan);
void plan_release(struct plan *plan);

#endif
