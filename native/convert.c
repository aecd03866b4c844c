/* A ledger of other sizes, or of an older layout, told anew in this program's layout.
 *
 * The old one is read only. Threads may be more or fewer: thread t becomes t modulo their
 * number. What adoption rebuilds (lists, gauges, pools) is left out; so is a pipe that no
 * direction holds. */
#include <errno.h>
#include <string.h>

#include "layout.h"
#include "ring.h"

/* ---- reading the old one ---- */

struct old {
	const struct layout *layout;
	struct ledger ledger;
	const struct ledger_header *header; /* only what all versions have */
};

/* Do its areas lie where there is something? */
static int is_whole(const struct old *o)
{
	const struct ledger_areas *a = &o->header->areas;
	const lbs_sizes *s = &o->header->sizes;
	uint64_t bytes = o->ledger.bytes;

	return s->threads && s->threads <= LEDGER_THREADS_MAX && a->total <= bytes &&
	       a->sessions < a->thread_bytes && a->thread_bytes <= bytes &&
	       a->threads + s->threads * a->thread_bytes <= bytes &&
	       a->sessions + (uint64_t)s->sessions * sizeof(lbs_session) <= a->thread_bytes;
}

static int open_old(struct old *o, int fd)
{
	int error = ledger_map_any(&o->ledger, fd, LEDGER_READ);

	if (error)
		return error;
	o->header = o->ledger.header;
	o->layout = layout_find(o->header->version);
	if (o->layout && is_whole(o))
		return 0;
	ledger_close(&o->ledger);
	return -EPROTO;
}

static const void *shared_of(const struct old *o, uint64_t offset)
{
	return ledger_shared(&o->ledger, offset);
}

static const void *old_of(const struct old *o, uint32_t thread, uint64_t offset)
{
	return ledger_of(&o->ledger, thread, offset);
}

/* ---- numbers ---- */

static uint32_t least(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

#define NUMBERS(row) ((uint32_t)(sizeof(row) / sizeof(uint64_t)))

/* A table of counters: rows of nothing but uint64_t. */
struct table {
	uint64_t *at;
	uint32_t rows;
	uint32_t wide; /* numbers in a row: what an older version had is what a newer begins with */
};

/* Add one to the other. -ENOSPC if what there is no row for has been used. */
static int add_rows(const struct table *from, const struct table *to)
{
	for (uint32_t i = 0; i < from->rows; i++)
		for (uint32_t j = 0; j < from->wide; j++) {
			uint64_t old = from->at[(size_t)i * from->wide + j];

			if (i < to->rows)
				to->at[(size_t)i * to->wide + j] += old;
			else if (old)
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

/* A table of an area in the old ledger, or in the new one: of lbs_totals, or of
 * lbs_listener_totals. */
static struct table old_table(const struct old *o, uint32_t thread, uint64_t area, uint32_t rows)
{
	return (struct table){(uint64_t *)(uintptr_t)old_of(o, thread, area), rows,
			      o->layout->totals};
}

static struct table new_table(const struct target *to, uint64_t area, uint32_t rows)
{
	return (struct table){ledger_of(to->ledger, to->thread, area), rows, NUMBERS(lbs_totals)};
}

static struct table old_listeners(const struct old *o, uint32_t thread)
{
	uint32_t wide = o->layout->listener_totals;
	uint64_t area = wide ? o->header->areas.listener_totals : 0;

	return (struct table){(uint64_t *)(uintptr_t)old_of(o, thread, area),
			      wide ? o->header->sizes.listeners : 0, wide};
}

static struct table new_listeners(const struct target *to)
{
	return (struct table){
		ledger_of(to->ledger, to->thread, to->ledger->header->areas.listener_totals),
		to->ledger->header->sizes.listeners, NUMBERS(lbs_listener_totals)};
}

/* The counters with a half counted end, which were added, become those from before it. */
static void put_back(struct table to, struct table half, uint32_t number, const uint64_t *good)
{
	for (uint32_t i = 0; i < half.wide; i++)
		to.at[(size_t)number * to.wide + i] +=
			good[i] - half.at[(size_t)number * half.wide + i];
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
	to->head->counters.killed_down += undo->killed_down - from->counters.killed_down;
	to->head->counters.killed_up += undo->killed_up - from->counters.killed_up;
	to->head->counters.killed_order += undo->killed_order - from->counters.killed_order;
	put_back(new_listeners(to), old_listeners(o, thread), s->listener,
		 (const uint64_t *)&undo->listener);
	put_back(new_table(to, areas->frontend_totals, 0),
		 old_table(o, thread, old->frontend_totals, 0), s->frontend,
		 (const uint64_t *)&undo->frontend);
	if (s->backend != LBS_NONE)
		put_back(new_table(to, areas->backend_totals, 0),
			 old_table(o, thread, old->backend_totals, 0), s->backend,
			 (const uint64_t *)&undo->backend);
	if (s->flags & LBS_SESSION_ASSIGNED)
		put_back(new_table(to, areas->slot_totals, 0),
			 old_table(o, thread, old->slot_totals, 0), s->slot,
			 (const uint64_t *)&undo->slot);
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
	const struct table from[] = {
		old_listeners(o, thread),
		old_table(o, thread, old->frontend_totals, had->frontends),
		old_table(o, thread, old->backend_totals, had->backends),
		old_table(o, thread, old->slot_totals, had->slots),
	};
	const struct table into[] = {
		new_listeners(to),
		new_table(to, areas->frontend_totals, sizes->frontends),
		new_table(to, areas->backend_totals, sizes->backends),
		new_table(to, areas->slot_totals, sizes->slots),
	};
	int error = 0;

	for (size_t i = 0; i < sizeof(from) / sizeof(from[0]) && !error; i++)
		error = add_rows(&from[i], &into[i]);
	return error;
}

static int copy_thread(const struct old *o, uint32_t thread, struct target *to)
{
	struct ledger_thread head;
	int error;

	o->layout->head(old_of(o, thread, o->header->areas.head), &head);
	(void)add_rows(&(struct table){(uint64_t *)&head.counters, 1, NUMBERS(head.counters)},
		       &(struct table){(uint64_t *)&to->head->counters, 1, NUMBERS(head.counters)});
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
	if (!o->layout->has_times)
		return;
	memcpy(ledger_shared(to, areas->backend_times), shared_of(o, old->backend_times),
	       least(had->backends, sizes->backends) * sizeof(lbs_times));
	memcpy(ledger_shared(to, areas->slot_times), shared_of(o, old->slot_times),
	       least(had->slots, sizes->slots) * sizeof(lbs_times));
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
	struct old o = {0};
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
	ledger_close(&o.ledger);
	return error;
}
