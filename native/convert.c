/* A ledger of other sizes, or of an older layout, told anew in this program's layout.
 *
 * The old one is read only. Threads may be more or fewer: thread t becomes t modulo their
 * number. What adoption rebuilds (lists, gauges, pools) is left out; so is a pipe that no
 * direction holds. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "layout.h"
#include "ring.h"

/* ---- reading the old one ---- */

struct old {
	const struct layout *layout;
	const unsigned char *base;
	const struct ledger_header *header; /* only what all versions have */
	uint64_t bytes;
};

/* Do its areas lie where there is something? */
static int is_whole(const struct old *o)
{
	const struct ledger_areas *a = &o->header->areas;
	const lbs_sizes *s = &o->header->sizes;

	return s->threads && s->threads <= 64 && a->total <= o->bytes && a->sessions < a->thread_bytes &&
	       a->thread_bytes <= o->bytes && a->threads + s->threads * a->thread_bytes <= o->bytes &&
	       a->sessions + (uint64_t)s->sessions * sizeof(lbs_session) <= a->thread_bytes;
}

static int open_old(struct old *o, int fd)
{
	struct stat st;
	void *base;

	if (fstat(fd, &st) < 0)
		return -errno;
	if ((uint64_t)st.st_size < sizeof(struct ledger_header))
		return -EPROTO;
	base = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (base == MAP_FAILED)
		return -errno;
	*o = (struct old){.base = base, .header = base, .bytes = (uint64_t)st.st_size};
	if (o->header->magic == LEDGER_MAGIC)
		o->layout = layout_find(o->header->version);
	if (!o->layout || !is_whole(o)) {
		munmap(base, o->bytes);
		return -EPROTO;
	}
	return 0;
}

static const void *shared_of(const struct old *o, uint64_t offset)
{
	return o->base + offset;
}

static const void *old_of(const struct old *o, uint32_t thread, uint64_t offset)
{
	return o->base + o->header->areas.threads + thread * o->header->areas.thread_bytes + offset;
}

/* ---- numbers ---- */

static uint32_t least(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/* Add two tables of counters, which are nothing but uint64_t. -ENOSPC if what there is no
 * row for has been used. */
static int add_rows(const void *from, uint32_t from_rows, void *to, uint32_t to_rows,
		    size_t row_bytes)
{
	const uint64_t *old = from;
	uint64_t *new = to;
	size_t wide = row_bytes / sizeof(uint64_t);

	for (size_t i = 0; i < from_rows * wide; i++) {
		if (i < to_rows * wide)
			new[i] += old[i];
		else if (old[i])
			return -ENOSPC;
	}
	return 0;
}

static void copy_peaks(const lbs_gauge *from, uint32_t from_rows, lbs_gauge *to, uint32_t to_rows)
{
	for (uint32_t i = 0; i < least(from_rows, to_rows); i++)
		to[i].max = from[i].max;
}

/* ---- a thread ---- */

/* The events that nobody has read. What finds no room is counted as dropped. */
static void copy_events(const struct ring *from, struct ring *to, uint32_t room,
			lbs_thread_counters *counters)
{
	uint64_t at = from->tail;
	uint64_t count = from->head - from->tail;

	if (count > (uint64_t)from->mask + 1)
		return;
	to->mask = room - 1;
	for (; at != from->head; at++) {
		if (to->head - to->tail == room) {
			to->tail++;
			counters->events_dropped++;
		}
		to->events[to->head++ & to->mask] = from->events[at & from->mask];
	}
}

/* A pipe moves to the new thread's table. Its new number or LBS_NONE. */
static uint32_t copy_pipe(const struct ledger_pipe *from, struct ledger_thread *head,
			  struct ledger_pipe *table, uint32_t room)
{
	if (head->pipe_high == room)
		return LBS_NONE;
	table[head->pipe_high] = *from;
	table[head->pipe_high].next = LBS_NONE;
	return head->pipe_high++;
}

static int fits(const lbs_session *s, const lbs_sizes *sizes)
{
	return s->listener < sizes->listeners && s->frontend < sizes->frontends &&
	       (s->backend == LBS_NONE || s->backend < sizes->backends) &&
	       (s->slot == LBS_NONE || s->slot < sizes->slots);
}

struct target {
	struct ledger *ledger;
	uint32_t thread;
	struct ledger_thread *head;
};

static int copy_session(const struct old *o, uint32_t thread, const void *record, struct target *to)
{
	const struct ledger_areas *old = &o->header->areas;
	const struct ledger_areas *areas = &to->ledger->header->areas;
	const lbs_sizes *sizes = &to->ledger->header->sizes;
	const struct ledger_pipe *pipes = old_of(o, thread, old->pipes);
	lbs_session *s = ledger_of(to->ledger, to->thread, areas->sessions);

	if (to->head->high == sizes->sessions)
		return -ENOSPC;
	s += to->head->high;
	o->layout->session(record, s);
	if (!fits(s, sizes))
		return -ENOSPC;
	for (int side = 0; side < 2; side++) {
		uint32_t pipe = s->relays[side].pipe;

		if (pipe == LBS_NONE || pipe >= o->header->sizes.pipes)
			continue;
		s->relays[side].pipe =
			copy_pipe(&pipes[pipe], to->head,
				  ledger_of(to->ledger, to->thread, areas->pipes), sizes->pipes);
		if (s->relays[side].pipe == LBS_NONE)
			return -ENOSPC;
	}
	to->head->high++;
	return 0;
}

static lbs_totals *row_of(const struct target *to, uint64_t area, uint32_t number)
{
	lbs_totals *rows = ledger_of(to->ledger, to->thread, area);

	return &rows[number];
}

/* The counters with a half counted end, which were added, become those from before it. */
static void put_back(lbs_totals *row, const lbs_totals *half, const lbs_totals *before)
{
	uint64_t *new = (uint64_t *)row;
	const uint64_t *old = (const uint64_t *)half;
	const uint64_t *good = (const uint64_t *)before;

	for (size_t i = 0; i < sizeof(*row) / sizeof(uint64_t); i++)
		new[i] += good[i] - old[i];
}

/* The worker died in the middle of counting a session's end, or of telling that it was
 * established (session_recover does the same in place). */
static void settle_ending(const struct old *o, uint32_t thread, const struct ledger_thread *from,
			  struct target *to, uint32_t session)
{
	const struct ledger_ending *undo = &from->ending;
	const struct ledger_areas *old = &o->header->areas;
	const struct ledger_areas *areas = &to->ledger->header->areas;
	lbs_session *s = (lbs_session *)ledger_of(to->ledger, to->thread, areas->sessions) + session;
	const struct ring *ring = old_of(o, thread, old->ring);
	const lbs_totals *frontends = old_of(o, thread, old->frontend_totals);
	const lbs_totals *backends = old_of(o, thread, old->backend_totals);
	const lbs_totals *slots = old_of(o, thread, old->slot_totals);

	if (!s->ending) {
		to->head->ending.session = session;
		return;
	}
	if (s->state == LBS_CLOSED || ring->head != undo->ring_head) {
		s->state = LBS_CLOSED;
		return;
	}
	to->head->counters.ended += undo->ended - from->counters.ended;
	to->head->counters.events_unwanted +=
		undo->events_unwanted - from->counters.events_unwanted;
	to->head->counters.events_dropped += undo->events_dropped - from->counters.events_dropped;
	put_back(row_of(to, areas->frontend_totals, s->frontend), &frontends[s->frontend],
		 &undo->frontend);
	if (s->backend != LBS_NONE)
		put_back(row_of(to, areas->backend_totals, s->backend), &backends[s->backend],
			 &undo->backend);
	if (s->flags & LBS_SESSION_ASSIGNED)
		put_back(row_of(to, areas->slot_totals, s->slot), &slots[s->slot], &undo->slot);
}

static int copy_sessions(const struct old *o, uint32_t thread, const struct ledger_thread *head,
			 struct target *to)
{
	const lbs_session *records = old_of(o, thread, o->header->areas.sessions);

	for (uint32_t i = 0; i < least(head->high, o->header->sizes.sessions); i++) {
		int error;

		if (records[i].magic != SESSION_MAGIC)
			continue;
		error = copy_session(o, thread, &records[i], to);
		if (error)
			return error;
		if (head->ending.session == i)
			settle_ending(o, thread, head, to, to->head->high - 1);
	}
	return 0;
}

static int copy_totals(const struct old *o, uint32_t thread, struct target *to)
{
	const struct ledger_areas *old = &o->header->areas;
	const struct ledger_areas *areas = &to->ledger->header->areas;
	const lbs_sizes *had = &o->header->sizes;
	const lbs_sizes *sizes = &to->ledger->header->sizes;
	const struct {
		uint64_t from;
		uint64_t to;
		uint32_t had;
		uint32_t rows;
	} tables[] = {
		{old->frontend_totals, areas->frontend_totals, had->frontends, sizes->frontends},
		{old->backend_totals, areas->backend_totals, had->backends, sizes->backends},
		{old->slot_totals, areas->slot_totals, had->slots, sizes->slots},
	};
	int error = 0;

	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]) && !error; i++)
		error = add_rows(old_of(o, thread, tables[i].from), tables[i].had,
				 ledger_of(to->ledger, to->thread, tables[i].to), tables[i].rows,
				 sizeof(lbs_totals));
	return error;
}

static int copy_thread(const struct old *o, uint32_t thread, struct target *to)
{
	struct ledger_thread head;
	int error;

	o->layout->head(old_of(o, thread, o->header->areas.head), &head);
	(void)add_rows(&head.counters, 1, &to->head->counters, 1, sizeof(head.counters));
	if (head.accepting < to->ledger->header->sizes.listeners)
		to->head->accepting = head.accepting;
	copy_events(old_of(o, thread, o->header->areas.ring),
		    ledger_of(to->ledger, to->thread, to->ledger->header->areas.ring),
		    to->ledger->header->sizes.events, &to->head->counters);
	error = copy_totals(o, thread, to);
	return error ? error : copy_sessions(o, thread, &head, to);
}

/* ---- the whole ---- */

/* What all threads share, of which adoption only counts again what is now. */
static void copy_shared(const struct old *o, struct ledger *to)
{
	const struct ledger_areas *old = &o->header->areas;
	const struct ledger_areas *areas = &to->header->areas;
	const lbs_sizes *had = &o->header->sizes;
	const lbs_sizes *sizes = &to->header->sizes;

	copy_peaks(shared_of(o, old->process_gauge), 1, ledger_shared(to, areas->process_gauge), 1);
	copy_peaks(shared_of(o, old->listener_gauges), had->listeners,
		   ledger_shared(to, areas->listener_gauges), sizes->listeners);
	copy_peaks(shared_of(o, old->frontend_gauges), had->frontends,
		   ledger_shared(to, areas->frontend_gauges), sizes->frontends);
	copy_peaks(shared_of(o, old->backend_gauges), had->backends,
		   ledger_shared(to, areas->backend_gauges), sizes->backends);
	copy_peaks(shared_of(o, old->slot_gauges), had->slots,
		   ledger_shared(to, areas->slot_gauges), sizes->slots);
	memcpy(ledger_shared(to, areas->cursors), shared_of(o, old->cursors),
	       least(had->backends, sizes->backends) * sizeof(uint32_t));
}

/* No serial number is given out twice. */
static void finish_threads(const struct old *o, struct ledger *to)
{
	uint64_t serial = 0;

	for (uint32_t t = 0; t < o->header->sizes.threads; t++) {
		struct ledger_thread head;

		o->layout->head(old_of(o, t, o->header->areas.head), &head);
		serial = head.serial > serial ? head.serial : serial;
	}
	for (uint32_t t = 0; t < to->header->sizes.threads; t++) {
		struct ledger_thread *head = ledger_of(to, t, to->header->areas.head);
		const struct ring *ring = ledger_of(to, t, to->header->areas.ring);

		head->serial = serial;
		head->ending.ring_head = ring->head;
	}
}

int lbs_ledger_convert(int from, int to_fd, const lbs_sizes *sizes)
{
	struct ledger to;
	struct old o = {NULL, NULL, NULL, 0};
	int error = open_old(&o, from);

	if (error)
		return error;
	error = ledger_create(&to, to_fd, sizes);
	if (error)
		goto close_old;
	copy_shared(&o, &to);
	for (uint32_t t = 0; t < o.header->sizes.threads && !error; t++) {
		struct target target = {.ledger = &to, .thread = t % sizes->threads};

		target.head = ledger_of(&to, target.thread, to.header->areas.head);
		error = copy_thread(&o, t, &target);
	}
	finish_threads(&o, &to);
	if (error)
		to.header->magic = 0; /* nobody takes it for one */
	ledger_close(&to);
close_old:
	munmap((void *)o.base, o.bytes);
	return error;
}
