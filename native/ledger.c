#include "ledger.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "ring.h"

_Static_assert(sizeof(lbs_session) == 256, "a session record is four cache lines");
_Static_assert(sizeof(lbs_event) == 144, "lbsplice/report/record.py reads this layout");
_Static_assert(sizeof(lbs_times) == 64, "times that two threads write share no cache line");

#define MANY 16777216U /* no table needs more places */

static uint64_t place(uint64_t *end, uint64_t bytes)
{
	uint64_t at = (*end + 63) & ~63ULL;

	*end = at + bytes;
	return at;
}

uint64_t ledger_plan(const lbs_sizes *s, struct ledger_areas *a)
{
	uint64_t end = sizeof(struct ledger_header);
	uint64_t part = 0;

	if (!s->threads || s->threads > LEDGER_THREADS_MAX || !s->sessions ||
	    s->sessions > MANY || !s->pipes || s->pipes > MANY || !s->listeners || s->listeners > MANY || !s->frontends ||
	    s->frontends > MANY || !s->backends || s->backends > MANY || !s->slots ||
	    s->slots > MANY || s->events < 2 || s->events > MANY || (s->events & (s->events - 1)))
		return 0;
	a->process_gauge = place(&end, sizeof(lbs_gauge));
	a->listener_gauges = place(&end, s->listeners * sizeof(lbs_gauge));
	a->frontend_gauges = place(&end, s->frontends * sizeof(lbs_gauge));
	a->backend_gauges = place(&end, s->backends * sizeof(lbs_gauge));
	a->slot_gauges = place(&end, s->slots * sizeof(lbs_gauge));
	a->cursors = place(&end, s->backends * sizeof(uint32_t));
	a->backend_times = place(&end, s->backends * sizeof(lbs_times));
	a->slot_times = place(&end, s->slots * sizeof(lbs_times));
	a->head = place(&part, sizeof(struct ledger_thread));
	a->frontend_totals = place(&part, s->frontends * sizeof(lbs_totals));
	a->backend_totals = place(&part, s->backends * sizeof(lbs_totals));
	a->slot_totals = place(&part, s->slots * sizeof(lbs_totals));
	a->listener_totals = place(&part, s->listeners * sizeof(lbs_listener_totals));
	a->slot_heads = place(&part, s->slots * sizeof(uint32_t));
	a->pipes = place(&part, s->pipes * sizeof(struct ledger_pipe));
	a->ring = place(&part, sizeof(struct ring) + s->events * sizeof(lbs_event));
	part = (part + 4095) & ~4095ULL;
	a->sessions = place(&part, (uint64_t)s->sessions * sizeof(lbs_session));
	a->thread_bytes = (part + 4095) & ~4095ULL;
	end = (end + 4095) & ~4095ULL;
	a->threads = end;
	a->total = end + s->threads * a->thread_bytes;
	return a->total;
}

int ledger_create(struct ledger *ledger, int fd, const lbs_sizes *sizes)
{
	struct ledger_areas areas;
	struct stat st;
	uint64_t bytes = ledger_plan(sizes, &areas);
	void *base;

	if (!bytes)
		return -EINVAL;
	if (fstat(fd, &st) < 0)
		return -errno;
	if ((uint64_t)st.st_size < bytes)
		return -ENOSPC;
	base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (base == MAP_FAILED)
		return -errno;
	ledger->base = base;
	ledger->header = base;
	ledger->bytes = bytes;
	ledger->header->version = LBS_LAYOUT_VERSION;
	ledger->header->sizes = *sizes;
	ledger->header->areas = areas;
	for (uint32_t t = 0; t < sizes->threads; t++) {
		struct ledger_thread *head = ledger_of(ledger, t, areas.head);

		head->free_head = LBS_NONE;
		head->pipe_free = LBS_NONE;
		head->working = LBS_NONE;
		head->accepting = LBS_NONE;
		head->ending.session = LBS_NONE;
		memset(ledger_of(ledger, t, areas.slot_heads), 0xff,
		       sizes->slots * sizeof(uint32_t));
	}
	/* The magic last: a reader that sees it sees all of the above. */
	__atomic_store_n(&ledger->header->magic, LEDGER_MAGIC, __ATOMIC_RELEASE);
	return 0;
}

/* Does it say of itself what can be true? */
static int is_sound(const struct ledger_header *header, uint64_t bytes)
{
	struct ledger_areas areas;
	uint64_t total;

	if (header->version != LBS_LAYOUT_VERSION)
		return 0;
	memset(&areas, 0, sizeof(areas));
	total = ledger_plan(&header->sizes, &areas);
	if (!total || total > bytes || memcmp(&areas, &header->areas, sizeof(areas)) != 0)
		return 0;
	for (uint32_t t = 0; t < header->sizes.threads; t++) {
		const struct ledger_thread *head = (const void *)((const unsigned char *)header +
			areas.threads + t * areas.thread_bytes + areas.head);

		if (head->high > header->sizes.sessions || head->pipe_high > header->sizes.pipes)
			return 0;
	}
	return 1;
}

int ledger_map_any(struct ledger *ledger, int fd, enum ledger_access access)
{
	int protection = access == LEDGER_WRITE ? PROT_READ | PROT_WRITE : PROT_READ;
	struct stat st;
	void *base;

	if (fstat(fd, &st) < 0)
		return -errno;
	if ((uint64_t)st.st_size < sizeof(struct ledger_header))
		return -EPROTO;
	base = mmap(NULL, (size_t)st.st_size, protection, MAP_SHARED, fd, 0);
	if (base == MAP_FAILED)
		return -errno;
	ledger->base = base;
	ledger->header = base;
	ledger->bytes = (uint64_t)st.st_size;
	if (__atomic_load_n(&ledger->header->magic, __ATOMIC_ACQUIRE) == LEDGER_MAGIC)
		return 0;
	ledger_close(ledger);
	return -EPROTO;
}

int ledger_map(struct ledger *ledger, int fd, enum ledger_access access)
{
	int error = ledger_map_any(ledger, fd, access);

	if (error)
		return error;
	if (is_sound(ledger->header, ledger->bytes))
		return 0;
	ledger_close(ledger);
	return -EPROTO;
}

void ledger_close(struct ledger *ledger)
{
	if (!ledger->base)
		return;
	munmap(ledger->base, ledger->bytes);
	ledger->base = NULL;
	ledger->header = NULL;
}
