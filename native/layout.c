#include "layout.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

/* ---- version 3: this one ---- */

#define TOTALS (sizeof(lbs_totals) / sizeof(uint64_t))
#define LISTENER_TOTALS (sizeof(lbs_listener_totals) / sizeof(uint64_t))

static void head_3(const void *from, struct ledger_thread *to)
{
	memcpy(to, from, sizeof(*to));
}

static void session_3(const void *from, lbs_session *to)
{
	memcpy(to, from, sizeof(*to));
}

/* ---- version 2: before the averages ---- */

#define COUNTERS_2 10
#define TOTALS_2 10

struct ending_2 {
	uint32_t session;
	uint32_t reserved;
	uint64_t ended;
	uint64_t events_unwanted;
	uint64_t events_dropped;
	uint64_t ring_head;
	uint64_t frontend[TOTALS_2];
	uint64_t backend[TOTALS_2];
	uint64_t slot[TOTALS_2];
};

struct head_2 {
	uint64_t counters[COUNTERS_2];
	uint64_t serial;
	uint32_t free_head;
	uint32_t high;
	uint32_t pipe_free;
	uint32_t pipe_high;
	uint32_t working;
	uint32_t accepting;
	struct ending_2 ending;
};

static void ending_2(const struct ending_2 *from, struct ledger_ending *to)
{
	to->session = from->session;
	to->ended = from->ended;
	to->events_unwanted = from->events_unwanted;
	to->events_dropped = from->events_dropped;
	to->ring_head = from->ring_head;
	memcpy(&to->frontend, from->frontend, sizeof(from->frontend));
	memcpy(&to->backend, from->backend, sizeof(from->backend));
	memcpy(&to->slot, from->slot, sizeof(from->slot));
}

static void head_2(const void *from, struct ledger_thread *to)
{
	struct head_2 old;

	memcpy(&old, from, sizeof(old));
	memset(to, 0, sizeof(*to));
	memcpy(&to->counters, old.counters, sizeof(old.counters));
	to->serial = old.serial;
	to->high = old.high;
	to->pipe_high = old.pipe_high;
	to->working = old.working;
	to->accepting = old.accepting;
	ending_2(&old.ending, &to->ending);
}

/* ---- version 1: before successions ---- */

struct head_1 {
	uint64_t counters[COUNTERS_2];
	uint64_t serial;
	uint32_t free_head;
	uint32_t high;
	uint32_t pipe_free;
	uint32_t pipe_high;
};

static void head_1(const void *from, struct ledger_thread *to)
{
	struct head_1 old;

	memcpy(&old, from, sizeof(old));
	memset(to, 0, sizeof(*to));
	memcpy(&to->counters, old.counters, sizeof(old.counters));
	to->serial = old.serial;
	to->high = old.high;
	to->pipe_high = old.pipe_high;
	to->working = LBS_NONE;
	to->accepting = LBS_NONE;
	to->ending.session = LBS_NONE;
}

/* Where `taken` is, a direction had the number of bytes in its pipe; where retries_left,
 * ending and crashes are, a session had retries_left alone. */
static void session_1(const void *from, lbs_session *to)
{
	uint32_t retries;

	memcpy(to, from, sizeof(*to));
	for (int side = 0; side < 2; side++)
		to->relays[side].taken += (uint32_t)to->relays[side].moved;
	memcpy(&retries, &to->retries_left, sizeof(retries));
	to->retries_left = retries < UINT16_MAX ? (uint16_t)retries : UINT16_MAX;
	to->ending = 0;
	to->crashes = 0;
}

static const struct layout LAYOUTS[] = {
	{1, TOTALS_2, 0, 0, head_1, session_1},
	{2, TOTALS_2, 0, 0, head_2, session_3},
	{3, TOTALS, LISTENER_TOTALS, 1, head_3, session_3},
};

_Static_assert(LBS_LAYOUT_VERSION == 3, "a new layout needs a reader of the one before: a row");

const struct layout *layout_find(uint32_t version)
{
	for (size_t i = 0; i < sizeof(LAYOUTS) / sizeof(LAYOUTS[0]); i++)
		if (LAYOUTS[i].version == version)
			return &LAYOUTS[i];
	return NULL;
}

int lbs_ledger_read(int fd, uint32_t *version, lbs_sizes *sizes)
{
	struct stat st;
	const struct ledger_header *header;
	int sound;

	if (fstat(fd, &st) < 0)
		return -errno;
	if ((uint64_t)st.st_size < sizeof(*header))
		return -EPROTO;
	header = mmap(NULL, sizeof(*header), PROT_READ, MAP_SHARED, fd, 0);
	if (header == MAP_FAILED)
		return -errno;
	sound = header->magic == LEDGER_MAGIC;
	*version = header->version;
	*sizes = header->sizes;
	munmap((void *)header, sizeof(*header));
	return sound ? 0 : -EPROTO;
}
