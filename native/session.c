#include "session.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#include "connect.h"
#include "net.h"
#include "relay.h"
#include "session_end.h"
#include "session_idle.h"
#include "session_reset.h"
#include "step.h"

#define BOTH ((1U << LBS_CLIENT) | (1U << LBS_SERVER))

/* ---- records ---- */

int session_has_room(const struct worker *w)
{
	return w->head->free_head != LBS_NONE || w->head->high < w->ledger->header->sizes.sessions;
}

static uint32_t take_record(struct worker *w)
{
	uint32_t session = w->head->free_head;

	if (session != LBS_NONE) {
		w->head->free_head = w->sessions[session].free_next;
		return session;
	}
	assert(w->head->high < w->ledger->header->sizes.sessions);
	session = w->head->high;
	__atomic_store_n(&w->head->high, session + 1, __ATOMIC_RELEASE);
	STEP();
	return session;
}

void session_free_closed(struct worker *w)
{
	while (w->closed_first != LBS_NONE) {
		uint32_t session = w->closed_first;
		lbs_session *s = &w->sessions[session];

		w->closed_first = s->free_next;
		STEP();
		s->magic = 0;
		STEP();
		__atomic_store_n(&s->state, LBS_FREE, __ATOMIC_RELEASE);
		s->free_next = w->head->free_head;
		w->head->free_head = session;
	}
}

/* Copy what the session needs of the plan: it never looks back for these. */
static void copy_plan(const struct plan *plan, const lbs_frontend_row *f, lbs_session *s)
{
	const lbs_backend_row *b = f->backend == LBS_NONE ? NULL : plan->backends[f->backend];

	s->backend = f->backend;
	s->timeout_client = f->timeout_client;
	s->timeout_client_fin = f->timeout_client_fin;
	if (!b)
		return;
	s->timeout_connect = b->timeout_connect;
	s->timeout_server = b->timeout_server;
	s->timeout_server_fin = b->timeout_server_fin;
	s->timeout_tunnel = b->timeout_tunnel;
	s->retries_left = b->retries < UINT16_MAX ? (uint16_t)b->retries : UINT16_MAX;
}

void session_begin(struct worker *w, const lbs_listener_row *listener, int fd,
		   const struct sockaddr_storage *client)
{
	const lbs_frontend_row *f = w->plan->frontends[listener->frontend];
	struct epoll_event event = {.events = LEG_EVENTS};
	uint32_t session = take_record(w);
	lbs_session *s = &w->sessions[session];

	/* Who reads the record meanwhile (live.c) sees first that it is free. */
	__atomic_thread_fence(__ATOMIC_RELEASE);
	memset(s, 0, sizeof(*s));
	s->cause = LBS_CAUSE_NONE;
	s->phase = LBS_PHASE_NONE;
	s->serial = (uint64_t)w->number << 56 | ++w->head->serial;
	s->accepted_ms = w->now_ms;
	s->accepted_wall_ms = w->wall_ms;
	s->listener = listener->number;
	s->frontend = listener->frontend;
	s->slot = LBS_NONE;
	s->legs[LBS_CLIENT] = (lbs_leg){.fd = fd, .active_ms = (uint32_t)w->now_ms};
	if (client->ss_family == AF_UNIX)
		s->legs[LBS_CLIENT].ready = LBS_LEG_UNIX;
	s->legs[LBS_SERVER] = (lbs_leg){.fd = -1};
	s->relays[LBS_CLIENT].pipe = LBS_NONE;
	s->relays[LBS_SERVER].pipe = LBS_NONE;
	copy_plan(w->plan, f, s);
	net_note_client(s, client);
	if (listener->want_destination)
		net_note_destination(s, fd);
	s->state = LBS_PAUSING;
	/* The magic last: from here on the session is known, to a successor as well. */
	STEP();
	__atomic_store_n(&s->magic, SESSION_MAGIC, __ATOMIC_RELEASE);
	STEP();
	w->head->accepting = LBS_NONE;
	worker_works_on(w, session);
	gauge_note(w->process_gauge);
	gauge_note(&w->frontend_gauges[s->frontend]);
	gauge_note(&w->listener_gauges[s->listener]);
	count(&w->head->counters.accepted, 1);
	count(&w->listener_totals[s->listener].sessions, 1);
	count(&w->frontend_totals[s->frontend].sessions, 1);
	if (s->backend != LBS_NONE) {
		gauge_up(&w->backend_gauges[s->backend]);
		count(&w->backend_totals[s->backend].sessions, 1);
	}
	event.data.u64 = tag_make(TAG_LEG, s->serial, session * 2 + LBS_CLIENT);
	if (epoll_ctl(w->epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
		session_reason(s, LBS_CAUSE_RESOURCE, LBS_PHASE_CONNECT);
		session_end(w, session, BOTH);
		return;
	}
	connect_begin(w, session);
}

/* ---- established ---- */

/* A leg broke (its peer reset it, or the kernel gave it up). */
static void leg_broken(struct worker *w, uint32_t session, int side)
{
	lbs_session *s = &w->sessions[session];

	session_reason(s, side == LBS_CLIENT ? LBS_CAUSE_CLIENT : LBS_CAUSE_SERVER,
		       LBS_PHASE_DATA);
	session_reset_begin(w, session, side);
}

/* Carry a direction's end across, once it is delivered. 0, or -1 if the leg is broken. */
static int pass_end(struct worker *w, lbs_session *s, int side)
{
	lbs_relay *r = &s->relays[side];
	int failed;

	if (!relay_done(r) || (r->flags & LBS_RELAY_SHUT))
		return 0;
	r->flags |= LBS_RELAY_SHUT;
	/* From now on the -fin timeout runs on the other leg. Without one its timeout goes on:
	 * that leg has done nothing. */
	if (side == LBS_CLIENT ? s->timeout_server_fin : s->timeout_client_fin)
		s->legs[!side].active_ms = (uint32_t)w->now_ms;
	STEP();
	failed = shutdown(s->legs[!side].fd, SHUT_WR) < 0;
	STEP();
	return failed ? -1 : 0;
}

/* Writing to leg `side` failed. What it sent before may still be read: the other
 * direction goes on until that is delivered and reading fails too. */
static void stop_writing(struct worker *w, uint32_t session, int side)
{
	lbs_session *s = &w->sessions[session];

	relay_abandon(w, session, !side);
	s->relays[!side].flags |= LBS_RELAY_END | LBS_RELAY_SHUT | LBS_RELAY_LOST;
	s->legs[side].ready |= LBS_LEG_IN | LBS_LEG_ERROR;
	STEP();
}

/* Move what can be moved both ways, and draw the conclusions. The session may have
 * ended on return. */
static void run(struct worker *w, uint32_t session)
{
	lbs_session *s = &w->sessions[session];
	uint32_t before = session_idle_shape(s);

	for (int side = 0; side < 2; side++) {
		enum relay_result result = relay_move(w, session, side);

		if (result == RELAY_SOURCE_BROKEN) {
			leg_broken(w, session, side);
			return;
		}
		if (result == RELAY_TARGET_BROKEN) {
			stop_writing(w, session, !side);
			/* Reading from that leg comes next, or came before this pass. */
			if (side == LBS_SERVER)
				side = -1;
		}
	}
	for (int side = 0; side < 2; side++) {
		lbs_relay *r = &s->relays[side];
		/* No more to read from a leg that can not be written to either. */
		int dead = (s->relays[!side].flags & LBS_RELAY_LOST) ||
			   (s->legs[side].ready & LBS_LEG_ERROR);

		if (relay_done(r) && dead) {
			leg_broken(w, session, side);
			return;
		}
	}
	if (relay_done(&s->relays[0]) && relay_done(&s->relays[1])) {
		session_end(w, session, 0);
		return;
	}
	for (int side = 0; side < 2; side++) {
		if (pass_end(w, s, side) < 0) {
			/* It is closed for writing. What it said before is still delivered. */
			stop_writing(w, session, !side);
			queue_add(w, &w->for_turn, session * 2 + (uint32_t)!side);
		}
	}
	/* Arming is lazy: only these can make the first deadline an earlier one. */
	if (before != session_idle_shape(s) ||
	    ((s->relays[0].flags | s->relays[1].flags) & LBS_RELAY_END))
		session_idle_arm(w, session);
}

static void established(struct worker *w, uint32_t session)
{
	lbs_session *s = &w->sessions[session];

	s->connected_ms = w->now_ms ? w->now_ms : 1;
	s->legs[LBS_SERVER].active_ms = (uint32_t)w->now_ms;
	s->legs[LBS_CLIENT].active_ms = (uint32_t)w->now_ms;
	s->legs[LBS_SERVER].ready |= LBS_LEG_OUT;
	s->legs[LBS_CLIENT].ready |= LBS_LEG_OUT;
	session_connected(w, session);
	timers_clear(&w->timers, session);
	session_idle_arm(w, session);
	run(w, session);
}

/* Did the client leave before it had a server? Half-closing counts as leaving when it
 * has sent nothing, or with `option abortonclose`. */
static int client_left(struct worker *w, const lbs_session *s)
{
	const lbs_backend_row *b =
		w->plan && s->backend != LBS_NONE ? w->plan->backends[s->backend] : NULL;
	const lbs_leg *client = &s->legs[LBS_CLIENT];

	if (client->ready & LBS_LEG_ERROR)
		return 1;
	return (client->ready & LBS_LEG_RDHUP) &&
	       ((b && b->abortonclose) || net_unread(client->fd) == 0);
}

void session_event(struct worker *w, uint32_t session, int side, uint32_t events)
{
	lbs_session *s = &w->sessions[session];
	lbs_leg *leg = &s->legs[side];
	int failed = !!(events & (EPOLLERR | EPOLLHUP));

	if (events & EPOLLIN)
		leg->ready |= LBS_LEG_IN;
	if (events & EPOLLOUT)
		leg->ready |= LBS_LEG_OUT;
	if (events & EPOLLRDHUP)
		leg->ready |= LBS_LEG_RDHUP;
	/* It may be all there is to read, and is no EPOLLIN then. */
	if (events & EPOLLPRI)
		leg->ready |= LBS_LEG_URGENT | LBS_LEG_IN;
	/* HUP alone: both directions are shut, which two FINs do as well. */
	if (events & EPOLLERR)
		leg->ready |= LBS_LEG_ERROR | LBS_LEG_IN | LBS_LEG_OUT;
	else if (events & EPOLLHUP)
		leg->ready |= LBS_LEG_IN | LBS_LEG_OUT;
	switch (s->state) {
	case LBS_CONNECTING:
		if (side == LBS_SERVER && failed) {
			int error = net_error(leg->fd);

			connect_failed(w, session, error ? error : -ECONNREFUSED);
			return;
		}
		if (side == LBS_SERVER && (events & EPOLLOUT)) {
			established(w, session);
			return;
		}
		/* fall through */
	case LBS_PAUSING:
		if (side == LBS_CLIENT && client_left(w, s)) {
			session_reason(s, LBS_CAUSE_CLIENT, LBS_PHASE_CONNECT);
			session_end(w, session, 1U << LBS_SERVER);
		}
		return;
	case LBS_ESTABLISHED:
		run(w, session);
		return;
	case LBS_RESETTING:
		/* The killing that told its client closes it as well. */
		if (s->flags & LBS_SESSION_TOLD)
			return;
		if (failed && side == session_reset_target(s))
			session_end(w, session, BOTH);
		else
			session_reset_go_on(w, session);
		return;
	default:
		return;
	}
}

void session_timer(struct worker *w, uint32_t session)
{
	switch (w->sessions[session].state) {
	case LBS_CONNECTING:
		connect_failed(w, session, -ETIMEDOUT);
		return;
	case LBS_PAUSING:
		connect_again(w, session);
		return;
	case LBS_ESTABLISHED:
		if (session_idle_expired(w, session))
			session_end(w, session, BOTH);
		else
			run(w, session);
		return;
	case LBS_RESETTING:
		session_reset_go_on(w, session);
		return;
	default:
		assert(!"a closed session has no timer");
	}
}

void session_turn(struct worker *w, uint32_t member)
{
	if (w->sessions[member / 2].state == LBS_ESTABLISHED)
		run(w, member / 2);
}

/* HAProxy's letters for an order of the operator are KC, UC (FEATURES A.7); a mark-down is
 * told as what it is. */
static void reason_killed(lbs_session *s, enum lbs_cause cause)
{
	session_reason(s, cause, cause == LBS_CAUSE_DOWN ? LBS_PHASE_DATA : LBS_PHASE_CONNECT);
	s->flags |= LBS_SESSION_KILLED;
	STEP();
}

int session_tell_killed(struct worker *w, uint32_t session, enum lbs_cause cause)
{
	lbs_session *s = &w->sessions[session];
	int client = s->legs[LBS_CLIENT].fd;

	if (s->state != LBS_ESTABLISHED || relay_held(&s->relays[LBS_SERVER]) || net_unsent(client))
		return 0;
	/* The reason first: whoever finds the leg aborted knows it then. */
	reason_killed(s, cause);
	if (net_abort(client) < 0)
		return 0;
	STEP();
	s->flags |= LBS_SESSION_TOLD;
	STEP();
	s->state = LBS_RESETTING;
	STEP();
	return 1;
}

void session_kill(struct worker *w, uint32_t session, enum lbs_cause cause)
{
	lbs_session *s = &w->sessions[session];

	switch (s->state) {
	case LBS_CONNECTING:
	case LBS_PAUSING:
		if (cause == LBS_CAUSE_DOWN) {
			connect_elsewhere(w, session);
			return;
		}
		session_reason(s, cause, LBS_PHASE_CONNECT);
		session_end(w, session, BOTH);
		return;
	case LBS_ESTABLISHED:
		reason_killed(s, cause);
		session_reset_begin(w, session, LBS_SERVER);
		return;
	case LBS_RESETTING:
		if (session_reset_target(s) == LBS_SERVER || (s->flags & LBS_SESSION_TOLD))
			session_end(w, session, BOTH);
		else
			s->flags |= LBS_SESSION_KILLED;
		return;
	default:
		return;
	}
}
