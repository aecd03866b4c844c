#include "connect.h"

#include <assert.h>
#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "balance.h"
#include "net.h"
#include "session_end.h"
#include "step.h"

/* The longest pause before the same server is tried again (FEATURES A.8). */
#define PAUSE_MS 1000U
/* A successor's thread may have no plan yet: how soon a session looks for one again. */
#define NO_PLAN_MS 10U
/* Attempts one after the other, each of which failed at once, before others get their turn. */
#define AT_ONCE 256U

/* Does the failure lie with us, not with the server? */
static int is_shortage(int error)
{
	return error == -EADDRNOTAVAIL || error == -EADDRINUSE || error == -EMFILE ||
	       error == -ENFILE || error == -ENOSPC || error == -ENOMEM ||
	       error == -ENOBUFS;
}

static const lbs_backend_row *backend_of(const struct worker *w, const lbs_session *s)
{
	return s->backend == LBS_NONE || !w->plan ? NULL : w->plan->backends[s->backend];
}

static void note_retry(lbs_session *s)
{
	if (s->retries < UINT16_MAX)
		s->retries++;
}

/* The server that failed is to be tried again. As HAProxy has it, an attempt that goes to
 * another one is a redispatch and no retry. */
static void count_retry(struct worker *w, uint32_t session)
{
	const lbs_session *s = &w->sessions[session];

	count(&w->slot_totals[s->slot].retries, 1);
	count(&w->backend_totals[s->backend].retries, 1);
}

static void pause_until(struct worker *w, uint32_t session, uint64_t at_ms)
{
	w->sessions[session].state = LBS_PAUSING;
	timers_set(&w->timers, session, at_ms);
}

/* Start an attempt to the slot. 0 or -errno. */
static int attempt(struct worker *w, uint32_t session, uint32_t slot)
{
	lbs_session *s = &w->sessions[session];
	const lbs_slot_row *row = w->plan->slots[slot];
	const lbs_backend_row *backend = backend_of(w, s);
	struct epoll_event event = {.events = LEG_EVENTS};
	int fd;

	assert(s->state == LBS_PAUSING && s->legs[LBS_SERVER].fd < 0);
	session_enter_slot(w, session, slot);
	count(&w->slot_totals[slot].sessions, 1);
	count(&w->slot_totals[slot].connects, 1);
	count(&w->backend_totals[s->backend].connects, 1);
	times_assigned(&w->slot_times[slot], w->wall_ms / 1000);
	s->attempt_ms = (uint32_t)w->now_ms;
	STEP();
	fd = net_connect(row, s, backend->smart_connect, (uint32_t)s->serial);
	STEP();
	if (fd < 0)
		return fd;
	s->legs[LBS_SERVER].active_ms = (uint32_t)w->now_ms;
	s->legs[LBS_SERVER].ready = net_family(&row->address) == AF_UNIX ? LBS_LEG_UNIX : 0;
	STEP();
	s->legs[LBS_SERVER].fd = fd;
	STEP();
	s->state = LBS_CONNECTING;
	STEP();
	event.data.u64 = tag_make(TAG_LEG, s->serial, session * 2 + LBS_SERVER);
	if (epoll_ctl(w->epoll, EPOLL_CTL_ADD, fd, &event) < 0)
		return -errno;
	if (s->timeout_connect)
		timers_set(&w->timers, session, w->now_ms + s->timeout_connect);
	return 0;
}

/* Choose a server, not `avoid` if there is another (`strictly`: never). LBS_NONE if there
 * is none: the session has ended then. */
static uint32_t choose(struct worker *w, uint32_t session, uint32_t avoid, int strictly)
{
	lbs_session *s = &w->sessions[session];
	const lbs_backend_row *backend = backend_of(w, s);
	uint32_t before = s->flags & LBS_SESSION_ASSIGNED ? s->slot : LBS_NONE;
	uint32_t slot = backend ? balance_pick(w, backend, s, avoid) : LBS_NONE;

	if (slot == LBS_NONE || (strictly && slot == avoid)) {
		if (s->backend != LBS_NONE)
			count(&w->backend_totals[s->backend].connect_errors, 1);
		session_reason(s, LBS_CAUSE_SERVER, LBS_PHASE_CONNECT);
		session_end(w, session, 0);
		return LBS_NONE;
	}
	count(&w->slot_totals[slot].chosen, 1);
	count(&w->backend_totals[s->backend].chosen, 1);
	times_assigned(&w->backend_times[s->backend], w->wall_ms / 1000);
	if (before == slot) {
		count_retry(w, session);
	} else if (before != LBS_NONE) {
		s->flags |= LBS_SESSION_REDISPATCHED;
		count(&w->slot_totals[before].redispatches, 1);
		count(&w->backend_totals[s->backend].redispatches, 1);
	}
	return slot;
}

/* Take the session off its server and close the attempt. */
static void withdraw(struct worker *w, uint32_t session)
{
	lbs_session *s = &w->sessions[session];

	timers_clear(&w->timers, session);
	s->connected_ms = 0;
	/* The state before the leg: one that is connecting has a socket. */
	STEP();
	s->state = LBS_PAUSING;
	STEP();
	session_leave_slot(w, session);
	net_close(&s->legs[LBS_SERVER].fd, 1);
	s->legs[LBS_SERVER].ready = 0;
}

/* May this retry go to another server (option redispatch)? */
static int may_redispatch(const lbs_backend_row *b, const lbs_session *s)
{
	if (b->redispatch == LBS_REDISPATCH_NEVER)
		return 0;
	if (b->redispatch_first_failure && b->usable_count > 1)
		return 1;
	if (b->redispatch == LBS_REDISPATCH_LAST)
		return s->retries_left == 0;
	return s->retries % b->redispatch_interval == 0;
}

/* The pause is over: the server to attempt, or LBS_NONE as choose says. */
static uint32_t after_pause(struct worker *w, uint32_t session)
{
	lbs_session *s = &w->sessions[session];
	uint32_t slot = s->slot;
	/* A new plan may know its server or its backend no more. */
	int known = slot != LBS_NONE && w->plan->slots[slot];
	int repick = (s->flags & LBS_SESSION_REPICK) || !known || !backend_of(w, s);

	withdraw(w, session);
	s->flags &= (uint8_t)~LBS_SESSION_REPICK;
	return repick ? choose(w, session, known ? slot : LBS_NONE, 0) : slot;
}

/* An attempt failed before there was a plan that says what follows: it is made again. */
static void wait_for_plan(struct worker *w, uint32_t session, int error)
{
	uint32_t slot = w->sessions[session].slot;

	/* One that is too late is not late before somebody looks. */
	if (error != -ETIMEDOUT) {
		withdraw(w, session);
		session_enter_slot(w, session, slot);
	}
	timers_set(&w->timers, session, w->now_ms + NO_PLAN_MS);
}

/* The server to attempt at once, or LBS_NONE: the session pauses or has ended. */
static uint32_t after_failure(struct worker *w, uint32_t session, int error)
{
	lbs_session *s = &w->sessions[session];
	const lbs_backend_row *backend = backend_of(w, s);
	uint32_t failed = s->slot;
	uint32_t pause = s->timeout_connect && s->timeout_connect < PAUSE_MS ? s->timeout_connect
									       : PAUSE_MS;

	if (!w->plan) {
		wait_for_plan(w, session, error);
		return LBS_NONE;
	}
	withdraw(w, session);
	if (is_shortage(error)) {
		session_reason(s, LBS_CAUSE_RESOURCE, LBS_PHASE_CONNECT);
		session_end(w, session, 0);
		return LBS_NONE;
	}
	if (!s->retries_left || !backend) {
		count(&w->slot_totals[failed].connect_errors, 1);
		count(&w->backend_totals[s->backend].connect_errors, 1);
		session_reason(s,
			       error == -ETIMEDOUT ? LBS_CAUSE_SERVER_TIMEOUT : LBS_CAUSE_SERVER,
			       LBS_PHASE_CONNECT);
		session_end(w, session, 0);
		return LBS_NONE;
	}
	s->retries_left--;
	note_retry(s);
	STEP();
	if (may_redispatch(backend, s)) {
		if (backend->redispatch_first_failure && backend->usable_count > 1)
			return choose(w, session, failed, 0);
		s->flags |= LBS_SESSION_REPICK;
	} else {
		count_retry(w, session);
	}
	/* Stays with its server over the pause, so that a mark-down finds it there. */
	session_enter_slot(w, session, failed);
	if (error == -ETIMEDOUT)
		return after_pause(w, session); /* it has waited long enough */
	pause_until(w, session, w->now_ms + pause);
	return LBS_NONE;
}

/* Attempt this server and what follows from its failing at once. */
static void attempts(struct worker *w, uint32_t session, uint32_t slot)
{
	for (uint32_t i = 0; slot != LBS_NONE; i++) {
		int error;

		if (i == AT_ONCE) {
			session_enter_slot(w, session, slot);
			pause_until(w, session, w->now_ms);
			return;
		}
		error = attempt(w, session, slot);
		slot = error ? after_failure(w, session, error) : LBS_NONE;
	}
}

void connect_begin(struct worker *w, uint32_t session)
{
	attempts(w, session, choose(w, session, LBS_NONE, 0));
}

void connect_failed(struct worker *w, uint32_t session, int error)
{
	attempts(w, session, after_failure(w, session, error));
}

void connect_again(struct worker *w, uint32_t session)
{
	if (w->plan)
		attempts(w, session, after_pause(w, session));
	else
		pause_until(w, session, w->now_ms + NO_PLAN_MS);
}

void connect_elsewhere(struct worker *w, uint32_t session)
{
	lbs_session *s = &w->sessions[session];
	uint32_t slot = s->slot;

	withdraw(w, session);
	s->flags &= (uint8_t)~LBS_SESSION_REPICK;
	note_retry(s);
	if (w->plan) {
		attempts(w, session, choose(w, session, slot, 1));
		return;
	}
	s->flags |= LBS_SESSION_REPICK;
	pause_until(w, session, w->now_ms + NO_PLAN_MS);
}
