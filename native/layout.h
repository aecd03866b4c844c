/* The layouts of the ledger that this program can read: its own and older ones. */
#ifndef LBS_LAYOUT_H
#define LBS_LAYOUT_H

#include "ledger.h"

/* How a version's records are read. `head` and `session` fill in this version's. */
struct layout {
	uint32_t version;
	uint32_t totals;          /* numbers in a row of lbs_totals, the first of this version's */
	uint32_t listener_totals; /* the same of lbs_listener_totals; 0: it has none */
	int has_times;            /* ledger_areas.backend_times, slot_times */
	void (*head)(const void *from, struct ledger_thread *to);
	void (*session)(const void *from, lbs_session *to);
};

/* NULL: none is known. */
const struct layout *layout_find(uint32_t version);

#endif
