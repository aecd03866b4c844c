#include "session_end.h"

#include <assert.h>
#include <string.h>
#include <unistd.h>

#include "net.h"
#include "relay.h"

void session_reason(lbs_session *s, enum lbs_cause cause, enum lbs_phase phase)
{
	if (s->cause != LBS_CAUSE_NONE)
		return;
	s->cause = (uint8_t)cause;
	s->phase = (uint8_t)phase;
}

void session_enter_slot(struct worker *w, uint32_t session, uint32_t slot)
{
	lbs_session *s = &w->sessions[session];
	uint32_t first = w->slot_heads[slot];

	assert(!(s->flags & LBS_SESSION_IN_SLOT));
	s->slot = slot;
	s->slot_prev = LBS_NONE;
	s->slot_next = first;
	if (first != LBS_NONE)
		w->sessions[first].slot_prev = session;
	w->slot_heads[slot] = session;
	s->flags |= LBS_SESSION_IN_SLOT | LBS_SESSION_ASSIGNED;
	gauge_up(&w->slot_gauges[slot]);
}

void session_leave_slot(struct worker *w, uint32_t session)
{
	lbs_session *s = &w->sessions[session];

	if (!(s->flags & LBS_SESSION_IN_SLOT))
		return;
	/* A killing that walks this list goes on after us. */
	if (w->kill_next == session)
		w->kill_next = s->slot_next;
	if (s->slot_next != LBS_NONE)
		w->sessions[s->slot_next].slot_prev = s->slot_prev;
	if (s->slot_prev != LBS_NONE)
		w->sessions[s->slot_prev].slot_next = s->slot_next;
	else
		w->slot_heads[s->slot] = s->slot_next;
	s->flags &= (uint8_t)~LBS_SESSION_IN_SLOT;
	gauge_down(&w->slot_gauges[s->slot]);
}

static int64_t since(uint64_t later, uint64_t earlier)
{
	return later > earlier ? (int64_t)(later - earlier) : 0;
}

static void tell(struct worker *w, const lbs_session *s, enum lbs_event_kind kind)
{
	lbs_event *e = worker_event(w, kind);

	if (!e)
		return;
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
	worker_tell(w);
}

static const lbs_frontend_row *frontend_of(const struct worker *w, const lbs_session *s)
{
	return w->plan ? w->plan->frontends[s->frontend] : NULL;
}

void session_tell_connected(struct worker *w, uint32_t session)
{
	const lbs_session *s = &w->sessions[session];
	const lbs_frontend_row *f = frontend_of(w, s);

	if (f && f->want_connect_event)
		tell(w, s, LBS_EVENT_SESSION_CONNECTED);
}

static void add_totals(const lbs_session *s, lbs_totals *t)
{
	count(&t->bytes_in, s->relays[LBS_CLIENT].moved);
	count(&t->bytes_out, s->relays[LBS_SERVER].moved);
	count(&t->ended, 1);
	if (s->cause == LBS_CAUSE_CLIENT || s->cause == LBS_CAUSE_CLIENT_TIMEOUT)
		count(&t->client_aborts, 1);
	else if (s->connected_ms &&
		 (s->cause == LBS_CAUSE_SERVER || s->cause == LBS_CAUSE_SERVER_TIMEOUT))
		count(&t->server_aborts, 1);
	else if (s->cause == LBS_CAUSE_DOWN || s->cause == LBS_CAUSE_UP ||
		 s->cause == LBS_CAUSE_KILLED)
		count(&t->killed, 1);
}

static void close_leg(lbs_leg *leg, int reset)
{
	if (leg->fd < 0)
		return;
	if (reset)
		net_reset(leg->fd);
	else
		close(leg->fd);
	leg->fd = -1;
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

void session_end(struct worker *w, uint32_t session, unsigned reset)
{
	lbs_session *s = &w->sessions[session];
	const lbs_frontend_row *f = frontend_of(w, s);

	assert(s->magic == SESSION_MAGIC && s->state != LBS_CLOSED);
	reset |= without_linger(w, s);
	if (s->flags & LBS_SESSION_TOLD)
		reset &= ~(1U << LBS_CLIENT);
	timers_clear(&w->timers, session);
	relay_abandon(w, session, LBS_CLIENT);
	relay_abandon(w, session, LBS_SERVER);
	close_leg(&s->legs[LBS_SERVER], !!(reset & 1U << LBS_SERVER));
	close_leg(&s->legs[LBS_CLIENT], !!(reset & 1U << LBS_CLIENT));
	/* HAProxy's log line counts this session in the process and the frontend still,
	 * in the backend and the server no more (FEATURES A.13). */
	session_leave_slot(w, session);
	if (s->backend != LBS_NONE)
		gauge_down(&w->backend_gauges[s->backend]);
	count(&w->head->counters.ended, 1);
	add_totals(s, &w->frontend_totals[s->frontend]);
	if (s->backend != LBS_NONE)
		add_totals(s, &w->backend_totals[s->backend]);
	if (s->flags & LBS_SESSION_ASSIGNED)
		add_totals(s, &w->slot_totals[s->slot]);
	if (!f || f->want_end_event)
		tell(w, s, LBS_EVENT_SESSION_ENDED);
	else
		count(&w->head->counters.events_unwanted, 1);
	gauge_down(&w->listener_gauges[s->listener]);
	gauge_down(&w->frontend_gauges[s->frontend]);
	gauge_down(w->process_gauge);
	s->free_next = w->closed_first;
	__atomic_store_n(&s->state, LBS_CLOSED, __ATOMIC_RELEASE);
	w->closed_first = session;
	worker_place_freed(w);
}
