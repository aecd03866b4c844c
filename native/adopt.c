/* The first half of an adoption: a thread's tables, from its records.
 *
 * Nothing that is a link or a sum is believed; what is believed is each record on its own,
 * and what the kernel says of the pipes. Every write leaves the ledger as adoptable as it
 * was, so a successor that dies here is succeeded like any other. */
#include "adopt.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "net.h"
#include "plane.h"
#include "relay.h"
#include "session_end.h"
#include "take.h"

/* Crashes in a row after which a session is taken for their cause. */
#define CRASHES_MAX 3U

/* What a rebuilding needs to know of the thread it is at. */
struct rebuild {
	struct worker *w;
	const lbs_crash *crash;
	lbs_adoption *told;
	uint8_t *held_pipes; /* by number: a direction has it */
};

/* ---- one session ---- */

/* Do its numbers lead anywhere? A stray write may have come before the crash. */
static int is_sane(const struct worker *w, const lbs_session *s)
{
	const lbs_sizes *sizes = &w->ledger->header->sizes;

	for (int side = 0; side < 2; side++)
		if (s->relays[side].pipe != LBS_NONE && s->relays[side].pipe >= w->head->pipe_high)
			return 0;
	return s->listener < sizes->listeners && s->frontend < sizes->frontends &&
	       (s->backend == LBS_NONE || s->backend < sizes->backends) &&
	       (s->slot < sizes->slots ||
		(s->slot == LBS_NONE &&
		 !(s->flags & (LBS_SESSION_IN_SLOT | LBS_SESSION_ASSIGNED)))) &&
	       s->state > LBS_FREE && s->state <= LBS_CLOSED;
}

/* Lay the crash at the door of the session that was worked on, and acquit all others. */
static void judge(struct rebuild *b, uint32_t session)
{
	lbs_session *s = &b->w->sessions[session];
	int accused = b->crash->thread == b->w->number && b->crash->session == session;

	if (b->crash->signal && b->crash->thread != LBS_NONE)
		s->crashes = accused ? (uint8_t)(b->crash->crashes < 255 ? b->crash->crashes : 255)
				     : 0;
}

/* Let it end with both legs reset, when its thread comes to it. */
static void condemn(struct rebuild *b, lbs_session *s, enum lbs_phase phase)
{
	b->told->resets++;
	s->phase = (uint8_t)phase;
	s->cause = LBS_CAUSE_INTERNAL;
	STEP();
	s->ending = LBS_ENDING_BEGUN | LBS_ENDING_RESET_CLIENT | LBS_ENDING_RESET_SERVER;
	STEP();
}

/* The pipe's content says what a splice did that was not noted any more. 0, or -1 if the
 * pipe is gone and what it held with it. */
static int count_bytes(struct rebuild *b, lbs_relay *r)
{
	uint32_t held = relay_held(r);
	int found;

	if (r->pipe == LBS_NONE || (r->flags & LBS_RELAY_LOST)) {
		r->taken = (uint32_t)r->moved;
		return 0;
	}
	if (b->held_pipes[r->pipe] || b->w->pipes.table[r->pipe].read_fd < 0 ||
	    ioctl(b->w->pipes.table[r->pipe].read_fd, FIONREAD, &found) < 0)
		return -1;
	if ((uint32_t)found < held)
		r->moved += held - (uint32_t)found;
	else if ((uint32_t)found > held)
		r->taken += (uint32_t)found - held;
	STEP();
	return 0;
}

/* A direction has a pipe only while bytes are in it that are to be delivered. */
static void settle_pipe(struct rebuild *b, const lbs_session *s, lbs_relay *r)
{
	int wanted = !s->ending && s->state != LBS_CLOSED && !(r->flags & LBS_RELAY_LOST);

	if (r->pipe != LBS_NONE && wanted && relay_held(r)) {
		b->held_pipes[r->pipe] = 1;
		b->told->pipes++;
		b->told->bytes += relay_held(r);
		return;
	}
	r->pipe = LBS_NONE;
	STEP();
	r->taken = (uint32_t)r->moved;
	STEP();
}

/* Are the sockets there that its state needs? */
static int has_legs(lbs_session *s)
{
	int needed = s->state == LBS_ESTABLISHED ? 3
		     : s->state == LBS_RESETTING && (s->flags & LBS_SESSION_RESET_SERVER)
			     ? 1 << LBS_SERVER
			     : 1 << LBS_CLIENT;

	for (int side = 0; side < 2; side++) {
		if (s->legs[side].fd >= 0 && !take_is_missing(s->legs[side].fd))
			continue;
		if (needed & 1 << side)
			return 0;
		net_close(&s->legs[side].fd, 0); /* what stands there is no socket */
	}
	return 1;
}

/* A session that is not yet established, as of its last complete step. */
static void settle_attempt(lbs_session *s)
{
	if (s->state != LBS_CONNECTING && s->state != LBS_PAUSING)
		return;
	if (s->legs[LBS_SERVER].fd < 0) {
		s->state = LBS_PAUSING;
	} else if (s->flags & LBS_SESSION_IN_SLOT) {
		s->state = LBS_CONNECTING;
	} else {
		/* It was being taken off its server. */
		s->state = LBS_PAUSING;
		STEP();
		net_close(&s->legs[LBS_SERVER].fd, 1);
	}
	STEP();
}

static void enter_lists(struct worker *w, uint32_t session)
{
	lbs_session *s = &w->sessions[session];
	uint32_t *first;

	w->process_gauge->now++;
	w->listener_gauges[s->listener].now++;
	w->frontend_gauges[s->frontend].now++;
	w->listener_totals[s->listener].sessions++;
	w->frontend_totals[s->frontend].sessions++;
	if (s->backend != LBS_NONE) {
		w->backend_gauges[s->backend].now++;
		w->backend_totals[s->backend].sessions++;
	}
	if (!(s->flags & LBS_SESSION_IN_SLOT))
		return;
	w->slot_gauges[s->slot].now++;
	first = &w->slot_heads[s->slot];
	s->slot_prev = LBS_NONE;
	s->slot_next = *first;
	if (*first != LBS_NONE)
		w->sessions[*first].slot_prev = session;
	*first = session;
}

static void list_free(struct worker *w, uint32_t session)
{
	lbs_session *s = &w->sessions[session];

	s->state = LBS_FREE;
	s->free_next = w->head->free_head;
	w->head->free_head = session;
}

/* Nothing of it can be relied on but its sockets. */
static void discard(struct rebuild *b, uint32_t session)
{
	lbs_session *s = &b->w->sessions[session];

	b->told->resets++;
	for (int side = 0; side < 2; side++)
		if (s->legs[side].fd > 2)
			net_close(&s->legs[side].fd, 1);
	s->magic = 0;
	STEP();
	list_free(b->w, session);
}

static void rebuild_session(struct rebuild *b, uint32_t session)
{
	lbs_session *s = &b->w->sessions[session];
	int broken = 0;

	if (s->magic != SESSION_MAGIC) {
		list_free(b->w, session);
		return;
	}
	if (!is_sane(b->w, s)) {
		discard(b, session);
		return;
	}
	judge(b, session);
	for (int side = 0; side < 2; side++) {
		s->relays[side].queue = QUEUE_NONE;
		if (s->state != LBS_CLOSED)
			broken |= count_bytes(b, &s->relays[side]);
	}
	if (s->state != LBS_CLOSED && !s->ending) {
		broken |= !has_legs(s);
		settle_attempt(s);
		if (s->crashes >= CRASHES_MAX) {
			b->told->poisoned++;
			condemn(b, s, LBS_PHASE_DATA);
		} else if (broken) {
			condemn(b, s, s->connected_ms ? LBS_PHASE_DATA : LBS_PHASE_CONNECT);
		} else {
			b->told->sessions++;
			b->told->connecting += s->state < LBS_ESTABLISHED;
		}
	}
	settle_pipe(b, s, &s->relays[LBS_CLIENT]);
	settle_pipe(b, s, &s->relays[LBS_SERVER]);
	if (s->state != LBS_CLOSED)
		enter_lists(b->w, session);
}

/* ---- a thread ---- */

static void rebuild_sessions(struct rebuild *b)
{
	struct worker *w = b->w;
	const lbs_sizes *sizes = &w->ledger->header->sizes;

	w->head->free_head = LBS_NONE;
	w->head->counters.accepted = w->head->counters.ended;
	w->head->counters.generation = 0;
	memset(w->slot_heads, 0xff, sizes->slots * sizeof(*w->slot_heads));
	w->head->counters.spliced_bytes = 0;
	for (uint32_t i = 0; i < sizes->listeners; i++)
		w->listener_totals[i].sessions = w->listener_totals[i].ended;
	for (uint32_t i = 0; i < sizes->frontends; i++) {
		lbs_totals *t = &w->frontend_totals[i];

		t->sessions = t->ended;
		w->head->counters.spliced_bytes += t->bytes_in + t->bytes_out;
	}
	for (uint32_t i = 0; i < sizes->backends; i++)
		w->backend_totals[i].sessions = w->backend_totals[i].ended;
	/* The lowest free record comes to stand first in its list. */
	for (uint32_t i = w->head->high; i-- > 0;) {
		const lbs_session *s = &w->sessions[i];

		rebuild_session(b, i);
		if (s->magic != SESSION_MAGIC || s->state == LBS_CLOSED)
			continue;
		w->head->counters.accepted++;
		w->head->counters.spliced_bytes += s->relays[0].moved + s->relays[1].moved;
	}
}

static void rebuild_pipes(struct rebuild *b)
{
	struct worker *w = b->w;

	w->head->pipe_free = LBS_NONE;
	w->head->counters.pipes_free = 0;
	w->head->counters.pipes_open = 0;
	for (uint32_t i = 0; i < w->head->pipe_high; i++)
		w->head->counters.pipes_open += w->pipes.table[i].read_fd >= 0;
	w->ledger->header->pipes_open += (uint32_t)w->head->counters.pipes_open;
	for (uint32_t i = 0; i < w->head->pipe_high; i++) {
		int fd = w->pipes.table[i].read_fd;
		int bytes;

		if (fd < 0 || b->held_pipes[i])
			continue;
		if (ioctl(fd, FIONREAD, &bytes) == 0 && !bytes)
			pipes_give(&w->pipes, i);
		else
			pipes_drop(&w->pipes, i);
		STEP();
	}
}

static void rebuild_ring(struct worker *w)
{
	struct ring *ring = w->ring;

	ring->armed = 0;
	if (ring->head - ring->tail > (uint64_t)ring->mask + 1)
		ring->tail = ring->head;
}

/* What the thread was in the middle of counting or telling. */
static void recover(struct worker *w)
{
	rebuild_ring(w);
	if (w->head->ending.session >= w->head->high)
		w->head->ending.session = LBS_NONE;
	session_recover(w);
}

/* ---- the plane ---- */

static void clear(lbs_gauge *gauges, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		gauges[i].now = 0;
}

static void note_most(lbs_gauge *gauges, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		gauge_note(&gauges[i]);
}

/* What to do with every gauge. */
static void each_gauge(struct worker *w, void (*with)(lbs_gauge *gauges, uint32_t count))
{
	const lbs_sizes *sizes = &w->ledger->header->sizes;

	with(w->process_gauge, 1);
	with(w->listener_gauges, sizes->listeners);
	with(w->frontend_gauges, sizes->frontends);
	with(w->backend_gauges, sizes->backends);
	with(w->slot_gauges, sizes->slots);
}

static int rebuild(lbs_plane *plane, lbs_adoption *told)
{
	struct ledger_header *header = plane->ledger.header;
	struct rebuild b = {.crash = &header->crash, .told = told};

	b.held_pipes = malloc(header->sizes.pipes);
	if (!b.held_pipes)
		return -ENOMEM;
	for (uint32_t t = 0; t < header->sizes.threads; t++)
		recover(&plane->workers[t]);
	each_gauge(&plane->workers[0], clear);
	header->pipes_open = 0;
	for (uint32_t t = 0; t < header->sizes.threads; t++) {
		b.w = &plane->workers[t];
		memset(b.held_pipes, 0, b.w->head->pipe_high);
		rebuild_sessions(&b);
		rebuild_pipes(&b);
		b.w->adopting = 1;
	}
	each_gauge(&plane->workers[0], note_most);
	free(b.held_pipes);
	/* Only now: who dies before judges again, and comes to the same. */
	STEP();
	header->crash.signal = 0;
	for (uint32_t t = 0; t < header->sizes.threads; t++)
		plane->workers[t].head->working = LBS_NONE;
	STEP();
	return 0;
}

lbs_plane *lbs_plane_adopt(int fd, uint32_t pipe_bytes, uint32_t max_pipes, lbs_adoption *told,
			   int *error)
{
	lbs_plane *plane = calloc(1, sizeof(*plane));

	memset(told, 0, sizeof(*told));
	*error = plane ? ledger_map(&plane->ledger, fd, LEDGER_WRITE) : -ENOMEM;
	if (!*error)
		*error = plane_open_workers(plane, pipe_bytes, max_pipes);
	if (!*error)
		*error = rebuild(plane, told);
	if (!*error)
		return plane;
	if (plane)
		plane_forget(plane);
	return NULL;
}
