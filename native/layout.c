#include "layout.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

/* ---- version 2: this one ---- */

static void head_2(const void *from, struct ledger_thread *to)
{
	memcpy(to, from, sizeof(*to));
}

static void session_2(const void *from, lbs_session *to)
{
	memcpy(to, from, sizeof(*to));
}

/* ---- version 1: before successions ---- */

struct head_1 {
	lbs_thread_counters counters;
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
	to->counters = old.counters;
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
	{1, head_1, session_1},
	{2, head_2, session_2},
};

_Static_assert(LBS_LAYOUT_VERSION == 2, "a new layout needs a reader of the one before: a row");

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
