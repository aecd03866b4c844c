/* The ledger: everything the workers know, in one shared mapping of a memfd.
 * No pointers inside, only numbers, so that another process can read and adopt it. */
#ifndef LBS_LEDGER_H
#define LBS_LEDGER_H

#include <stddef.h>
#include <stdint.h>

#include "api.h"

#define LEDGER_MAGIC 0x4c42534cU  /* "LBSL" */
#define LEDGER_THREADS_MAX 64U
#define SESSION_MAGIC 0x53455353U /* "SESS": in use */

struct ledger_pipe {
	int32_t read_fd; /* -1: none */
	int32_t write_fd;
	uint32_t bytes; /* its size */
	uint32_t next;  /* in the list of empty pipes */
};

/* Where each area begins, from the start of the mapping. */
struct ledger_areas {
	uint64_t process_gauge;
	uint64_t listener_gauges;
	uint64_t frontend_gauges;
	uint64_t backend_gauges;
	uint64_t slot_gauges;
	uint64_t cursors; /* one uint32_t per backend: whose turn it is */
	uint64_t threads; /* the first thread's part */
	uint64_t thread_bytes;
	/* from the start of a thread's part */
	uint64_t head;
	uint64_t frontend_totals;
	uint64_t backend_totals;
	uint64_t slot_totals;
	uint64_t slot_heads; /* first session of each slot */
	uint64_t pipes;
	uint64_t ring;
	uint64_t sessions;
	uint64_t total;
	/* since version 3, from the start of the mapping */
	uint64_t backend_times;
	uint64_t slot_times;
	/* since version 3, from the start of a thread's part */
	uint64_t listener_totals;
};

/* Up to `areas.total` it is the same in every version: lbs_ledger_read and convert.c rely on
 * it. */
struct ledger_header {
	uint32_t magic;
	uint32_t version;
	lbs_sizes sizes;
	uint32_t pipes_open; /* all threads' */
	struct ledger_areas areas;
	lbs_crash crash; /* noted by the worker's signal handler (crash.h), its `signal` last */
};

/* The counters as they were before a session's end was counted. While `session` names
 * one, a successor puts them back and ends that session anew: its end is counted and told
 * exactly once, whenever the worker dies. `session` is the last to be set, the first to
 * be cleared. */
struct ledger_ending {
	uint32_t session; /* LBS_NONE: no end is being counted */
	uint32_t reserved;
	uint64_t ended;
	uint64_t events_unwanted;
	uint64_t events_dropped;
	uint64_t ring_head;
	lbs_totals frontend;
	lbs_totals backend;
	lbs_totals slot;
	uint64_t killed_down;
	uint64_t killed_up;
	uint64_t killed_order;
	lbs_listener_totals listener;
};

/* The fixed part of a thread's area. */
struct ledger_thread {
	lbs_thread_counters counters;
	uint64_t serial;    /* of the latest session */
	uint32_t free_head; /* list of free records below `high` */
	uint32_t high;      /* records from here on were never used */
	uint32_t pipe_free; /* list of empty pipes */
	uint32_t pipe_high;
	uint32_t working;   /* the session it works on, or LBS_NONE: at whose door a crash lies */
	uint32_t accepting; /* the listener it accepts from at this moment, or LBS_NONE: a socket
			     * that no record names may be a new session's */
	struct ledger_ending ending;
};

struct ledger {
	unsigned char *base;
	struct ledger_header *header;
	uint64_t bytes; /* mapped */
};

/* Lay out the areas for these sizes. 0 if a size is out of range, else the total. */
uint64_t ledger_plan(const lbs_sizes *sizes, struct ledger_areas *areas);

/* Map the memfd and write a fresh header. 0 or -errno. */
int ledger_create(struct ledger *ledger, int fd, const lbs_sizes *sizes);

enum ledger_access { LEDGER_READ, LEDGER_WRITE };

/* Map what says that it is a ledger, of any version: only what all versions have of the
 * header can be relied on. 0; -EPROTO: it is none; or -errno. */
int ledger_map_any(struct ledger *ledger, int fd, enum ledger_access access);

/* Map a ledger of this program's layout, whoever made it. 0; -EPROTO: it is none, or of
 * another version, or damaged; or -errno. */
int ledger_map(struct ledger *ledger, int fd, enum ledger_access access);

/* Unmap. */
void ledger_close(struct ledger *ledger);

/* An area that all threads share. */
static inline void *ledger_shared(const struct ledger *ledger, uint64_t offset)
{
	return ledger->base + offset;
}

/* An area of one thread. */
static inline void *ledger_of(const struct ledger *ledger, uint32_t thread, uint64_t offset)
{
	const struct ledger_areas *a = &ledger->header->areas;

	return ledger->base + a->threads + thread * a->thread_bytes + offset;
}

#endif
