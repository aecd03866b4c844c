/* The ledger: everything the workers know, in one shared mapping of a memfd.
 * No pointers inside, only numbers, so that another process can read and adopt it. */
#ifndef LBS_LEDGER_H
#define LBS_LEDGER_H

#include <stddef.h>
#include <stdint.h>

#include "api.h"

#define LEDGER_MAGIC 0x4c42534cU  /* "LBSL" */
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
};

struct ledger_header {
	uint32_t magic;
	uint32_t version;
	lbs_sizes sizes;
	uint32_t pipes_open; /* all threads' */
	struct ledger_areas areas;
};

/* The fixed part of a thread's area. */
struct ledger_thread {
	lbs_thread_counters counters;
	uint64_t serial;    /* of the latest session */
	uint32_t free_head; /* list of free records below `high` */
	uint32_t high;      /* records from here on were never used */
	uint32_t pipe_free; /* list of empty pipes */
	uint32_t pipe_high;
};

struct ledger {
	unsigned char *base;
	struct ledger_header *header;
};

/* Lay out the areas for these sizes. 0 if a size is out of range, else the total. */
uint64_t ledger_plan(const lbs_sizes *sizes, struct ledger_areas *areas);

/* Map the memfd and write a fresh header. 0 or -errno. */
int ledger_create(struct ledger *ledger, int fd, const lbs_sizes *sizes);

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
