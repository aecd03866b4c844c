#include "session_end.h"

#include <assert.h>
#include <string.h>

#include "net.h"
#include "relay.h"
#include "step.h"

_Static_assert(LBS_ENDING_RESET_CLIENT == 1U << LBS_CLIENT &&
		       LBS_ENDING_RESET_SERVER == 1U << LBS_SERVER,
	       "lbs_session.ending holds the bits of `reset`");

void session_reason(lbs_session *s, enum lbs_cause cause, enum lbs_phase phase)
{
	if (s->cause != LBS_CAUSE_NONE)
		return;
	s->phase = (uint8_t)phase;
	STEP();
	s->cause = (uint8_t)cause;
	STEP();
}

void session_enter_slot(struct worker *w, uint32_t session, uint32_t slot)
{
	lbs_session *s = &w->sessions[session];
	uint32_t first = w->slot_heads[slot];

	assert(!(s->flags & LBS_SESSION_IN_SLOT));
	s->slot = slot;
	STEP();
	s->slot_prev = LBS_NONE;
	s->slot_next = first;
	if (first != LBS_NONE)
		w->sessions[first].slot_prev = session;
	w->slot_heads[slot] = session;
	s->flags |= LBS_SESSION_IN_SLOT | LBS_SESSION_ASSIGNED;
	STEP();
	gauge_up(&w->slot_gauges[slot]);
}

void session_leave_slot(struct worker *w, uint32_t session)
{
	lbs_session *s = &w->sessions[session];

	if (!(s->flags & LBS_SESSION_IN_SLOT))
		return;
	/* A killing that walks this list goes on after us. */
	if (w->killing.next == session)
		w->killing.next = s->slot_next;
	if (s->slot_next != LBS_NONE)
		w->sessions[s->slot_next].slot_prev = s->slot_prev;
	if (s->slot_prev != LBS_NONE)
		w->sessions[s->slot_prev].slot_next = s->slot_next;
	else
		w->slot_heads[s->slot] = s->slot_next;
	s->flags &= (uint8_t)~LBS_SESSION_IN_SLOT;
	STEP();
	gauge_down(&w->slot_gauges[s->slot]);
}

static int64_t since(uint64_t later, uint64_t earlier)
{
	return later > earlier ? (int64_t)(later - earlier) : 0;
}

/* An event about the session for worker_tell, or NULL (then it is counted as dropped). */
static lbs_event *event_of(struct worker *w, const lbs_session *s, enum lbs_event_kind kind)
{
	lbs_event *e = worker_event(w, kind);

	if (!e)
		return NULL;
	e->cause = s->cause;
	e->phase = s->phase;
	e->client_family = s->client_family;
	e->destination_family = s->destination_family;
	e->redispatched = !!(s->flags & LBS_SESSION_REDISPATCHED);
	e->client_port = s->client_port;
	e->destination_port = s->destination_port;
	e->retries = s->retries;
	e->serial = s->serial;
	e->accepted_wall_ms = s->accepted_wall_ms;
	e->queue_ms = s->flags & LBS_SESSION_ASSIGNED ? 0 : -1;
	e->connect_ms = s->connected_ms ? since(s->connected_ms, s->accepted_ms) : -1;
	e->total_ms = since(w->now_ms, s->accepted_ms);
	e->bytes_from_client = s->relays[LBS_CLIENT].moved;
	e->bytes_from_server = s->relays[LBS_SERVER].moved;
	e->listener = s->listener;
	e->frontend = s->frontend;
	e->backend = s->backend;
	e->slot = s->flags & LBS_SESSION_ASSIGNED ? s->slot : LBS_NONE;
	e->process_sessions = gauge_read(w->process_gauge);
	e->frontend_sessions = gauge_read(&w->frontend_gauges[s->frontend]);
	if (s->backend != LBS_NONE)
		e->backend_sessions = gauge_read(&w->backend_gauges[s->backend]);
	if (s->flags & LBS_SESSION_ASSIGNED)
		e->slot_sessions = gauge_read(&w->slot_gauges[s->slot]);
	memcpy(e->client_ip, s->client_ip, sizeof(e->client_ip));
	memcpy(e->destination_ip, s->destination_ip, sizeof(e->destination_ip));
	return e;
}

static const lbs_frontend_row *frontend_of(const struct worker *w, const lbs_session *s)
{
	return w->plan ? w->plan->frontends[s->frontend] : NULL;
}

static void tell_connected(struct worker *w, uint32_t session)
{
	if (event_of(w, &w->sessions[session], LBS_EVENT_SESSION_CONNECTED))
		worker_tell(w);
}

void session_connected(struct worker *w, uint32_t session)
{
	lbs_session *s = &w->sessions[session];
	const lbs_frontend_row *f = frontend_of(w, s);
	struct ledger_ending *undo = &w->head->ending;
	/* Who has no plan yet tells: the log knows what it wants. */
	int tells = !f || f->want_connect_event;

	if (tells) {
		undo->ring_head = w->ring->head;
		STEP();
		undo->session = session;
	}
	STEP();
	__atomic_store_n(&s->state, LBS_ESTABLISHED, __ATOMIC_RELEASE);
	STEP();
	if (!tells)
		return;
	tell_connected(w, session);
	STEP();
	undo->session = LBS_NONE;
	STEP();
}

static void add_listener(const lbs_session *s, lbs_listener_totals *t)
{
	count(&t->bytes_in, s->relays[LBS_CLIENT].moved);
	count(&t->bytes_out, s->relays[LBS_SERVER].moved);
	count(&t->ended, 1);
}

/* The counter of sessions that we end for this cause; NULL: that is no kill of ours. */
static uint64_t *killed_for(lbs_thread_counters *counters, uint8_t cause)
{
	switch (cause) {
	case LBS_CAUSE_DOWN:
		return &counters->killed_down;
	case LBS_CAUSE_UP:
		return &counters->killed_up;
	case LBS_CAUSE_KILLED:
		return &counters->killed_order;
	default:
		return NULL;
	}
}

static void add_totals(const lbs_session *s, lbs_totals *t)
{
	count(&t->bytes_in, s->relays[LBS_CLIENT].moved);
	count(&t->bytes_out, s->relays[LBS_SERVER].moved);
	count(&t->ended, 1);
	if (s->connected_ms && s->cause == LBS_CAUSE_SERVER)
		count(&t->response_errors, 1);
	if (s->cause == LBS_CAUSE_CLIENT || s->cause == LBS_CAUSE_CLIENT_TIMEOUT)
		count(&t->client_aborts, 1);
	else if (s->connected_ms &&
		 (s->cause == LBS_CAUSE_SERVER || s->cause == LBS_CAUSE_SERVER_TIMEOUT))
		count(&t->server_aborts, 1);
	else if (s->cause == LBS_CAUSE_DOWN || s->cause == LBS_CAUSE_UP ||
		 s->cause == LBS_CAUSE_KILLED)
		count(&t->killed, 1);
}

/* The averages know those that reached a server. Nobody waits in a queue. */
static void note_times(const struct worker *w, const lbs_session *s)
{
	uint64_t connect = (uint64_t)since(s->connected_ms, s->accepted_ms);
	uint64_t total = (uint64_t)since(w->now_ms, s->accepted_ms);

	if (!s->connected_ms)
		return;
	if (s->backend != LBS_NONE)
		times_note(&w->backend_times[s->backend], 0, connect, total);
	if (s->flags & LBS_SESSION_ASSIGNED)
		times_note(&w->slot_times[s->slot], 0, connect, total);
}

/* `option nolinger`: after an error nothing of the leg stays behind in the kernel. */
static unsigned without_linger(const struct worker *w, const lbs_session *s)
{
	const lbs_frontend_row *f = frontend_of(w, s);
	const lbs_backend_row *b = w->plan && s->backend != LBS_NONE
					   ? w->plan->backends[s->backend]
					   : NULL;

	if (s->cause == LBS_CAUSE_NONE)
		return 0;
	return (f && f->nolinger ? 1U << LBS_CLIENT : 0) |
	       (b && b->nolinger ? 1U << LBS_SERVER : 0);
}

/* Count the end and tell of it: once, though the worker may die at any point. What a
 * successor finds is one of three: the record is not LBS_CLOSED and nobody was told, then
 * all is taken back and done anew; the event stands in the ring, so all is counted; or the
 * record is LBS_CLOSED. */
static void count_end(struct worker *w, uint32_t session)
{
	lbs_session *s = &w->sessions[session];
	const lbs_frontend_row *f = frontend_of(w, s);
	struct ledger_ending *undo = &w->head->ending;
	lbs_thread_counters *counters = &w->head->counters;
	uint64_t *killed = killed_for(counters, s->cause);
	lbs_listener_totals *listener = &w->listener_totals[s->listener];
	lbs_totals *frontend = &w->frontend_totals[s->frontend];
	lbs_totals *backend = s->backend == LBS_NONE ? NULL : &w->backend_totals[s->backend];
	lbs_totals *slot = s->flags & LBS_SESSION_ASSIGNED ? &w->slot_totals[s->slot] : NULL;
	lbs_event *event = NULL;

	undo->ended = counters->ended;
	undo->events_unwanted = counters->events_unwanted;
	undo->events_dropped = counters->events_dropped;
	undo->ring_head = w->ring->head;
	undo->killed_down = counters->killed_down;
	undo->killed_up = counters->killed_up;
	undo->killed_order = counters->killed_order;
	undo->listener = *listener;
	undo->frontend = *frontend;
	if (backend)
		undo->backend = *backend;
	if (slot)
		undo->slot = *slot;
	STEP();
	undo->session = session;
	STEP();
	count(&counters->ended, 1);
	if (killed)
		count(killed, 1);
	STEP();
	add_listener(s, listener);
	STEP();
	add_totals(s, frontend);
	STEP();
	if (backend)
		add_totals(s, backend);
	STEP();
	if (slot)
		add_totals(s, slot);
	STEP();
	note_times(w, s);
	if (!f || f->want_end_event)
		event = event_of(w, s, LBS_EVENT_SESSION_ENDED);
	else
		count(&counters->events_unwanted, 1);
	STEP();
	if (event)
		worker_tell(w);
	STEP();
	__atomic_store_n(&s->state, LBS_CLOSED, __ATOMIC_RELEASE);
	STEP();
	undo->session = LBS_NONE;
	STEP();
}

static void take_back(struct worker *w, const lbs_session *s, const struct ledger_ending *undo)
{
	lbs_thread_counters *counters = &w->head->counters;

	counters->ended = undo->ended;
	counters->events_unwanted = undo->events_unwanted;
	counters->events_dropped = undo->events_dropped;
	counters->killed_down = undo->killed_down;
	counters->killed_up = undo->killed_up;
	counters->killed_order = undo->killed_order;
	w->listener_totals[s->listener] = undo->listener;
	w->frontend_totals[s->frontend] = undo->frontend;
	if (s->backend != LBS_NONE)
		w->backend_totals[s->backend] = undo->backend;
	if (s->flags & LBS_SESSION_ASSIGNED)
		w->slot_totals[s->slot] = undo->slot;
}

void session_recover(struct worker *w)
{
	struct ledger_ending *undo = &w->head->ending;
	uint32_t session = undo->session;
	lbs_session *s;
	int told;

	if (session == LBS_NONE)
		return;
	s = &w->sessions[session];
	told = w->ring->head != undo->ring_head;
	STEP();
	if (s->ending && (told || s->state == LBS_CLOSED))
		s->state = LBS_CLOSED;
	else if (s->ending)
		take_back(w, s, undo);
	else if (s->state == LBS_ESTABLISHED && !told)
		tell_connected(w, session);
	STEP();
	undo->session = LBS_NONE;
	STEP();
}

void session_close(struct worker *w, uint32_t session)
{
	lbs_session *s = &w->sessions[session];

	assert(s->magic == SESSION_MAGIC && s->state == LBS_CLOSED);
	relay_abandon(w, session, LBS_CLIENT);
	relay_abandon(w, session, LBS_SERVER);
	net_close(&s->legs[LBS_SERVER].fd, s->ending & LBS_ENDING_RESET_SERVER);
	net_close(&s->legs[LBS_CLIENT].fd, s->ending & LBS_ENDING_RESET_CLIENT);
	s->free_next = w->closed_first;
	w->closed_first = session;
}

void session_end(struct worker *w, uint32_t session, unsigned reset)
{
	lbs_session *s = &w->sessions[session];

	assert(s->magic == SESSION_MAGIC && s->state != LBS_CLOSED);
	reset |= without_linger(w, s);
	if (s->flags & LBS_SESSION_TOLD)
		reset &= ~(1U << LBS_CLIENT);
	STEP();
	s->ending = (uint8_t)(LBS_ENDING_BEGUN | reset);
	/* Whoever sees it counted among those that ended sees that it ends (live.c). */
	__atomic_thread_fence(__ATOMIC_RELEASE);
	STEP();
	timers_clear(&w->timers, session);
	/* HAProxy's log line counts this session in the process and the frontend still,
	 * in the backend and the server no more (FEATURES A.13). */
	session_leave_slot(w, session);
	if (s->backend != LBS_NONE)
		gauge_down(&w->backend_gauges[s->backend]);
	count_end(w, session);
	session_close(w, session);
	gauge_down(&w->listener_gauges[s->listener]);
	gauge_down(&w->frontend_gauges[s->frontend]);
	gauge_down(w->process_gauge);
	worker_place_freed(w);
}
