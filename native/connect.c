#include "connect.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "balance.h"
#include "net.h"
#include "session_end.h"

/* The longest pause before the same server is tried again (FEATURES A.8). */
#define PAUSE_MS 1000U

/* Does the failure lie with us, not with the server? */
static int is_shortage(int error)
{
	return error == -EADDRNOTAVAIL || error == -EADDRINUSE || error == -EMFILE ||
	       error == -ENFILE || error == -ENOSPC || error == -ENOMEM ||
	       error == -ENOBUFS;
}

static const lbs_backend_row *backend_of(const struct worker *w, const lbs_session *s)
{
	return s->backend == LBS_NONE ? NULL : w->plan->backends[s->backend];
}

/* Start an attempt to the slot. 0 or -errno. */
static int attempt(struct worker *w, uint32_t session, uint32_t slot)
{
	lbs_session *s = &w->sessions[session];
	const lbs_slot_row *row = w->plan->slots[slot];
	const lbs_backend_row *backend = backend_of(w, s);
	struct epoll_event event = {.events = LEG_EVENTS};
	int fd;

	session_enter_slot(w, session, slot);
	count(&w->slot_totals[slot].sessions, 1);
	s->attempt_ms = (uint32_t)w->now_ms;
	fd = net_connect(row, s, backend->smart_connect, (uint32_t)s->serial);
	if (fd < 0)
		return fd;
	s->legs[LBS_SERVER] = (lbs_leg){.fd = fd, .active_ms = (uint32_t)w->now_ms};
	if (net_family(&row->address) == AF_UNIX)
		s->legs[LBS_SERVER].ready = LBS_LEG_UNIX;
	s->state = LBS_CONNECTING;
	event.data.u64 = tag_make(TAG_LEG, s->serial, session * 2 + LBS_SERVER);
	if (epoll_ctl(w->epoll, EPOLL_CTL_ADD, fd, &event) < 0)
		return -errno;
	if (s->timeout_connect)
		timers_set(&w->timers, session, w->now_ms + s->timeout_connect);
	return 0;
}

/* Choose a server, not `avoid` if there is another (`strictly`: never), and attempt it. */
static void choose(struct worker *w, uint32_t session, uint32_t avoid, int strictly)
{
	lbs_session *s = &w->sessions[session];
	const lbs_backend_row *backend = backend_of(w, s);
	uint32_t before = s->flags & LBS_SESSION_ASSIGNED ? s->slot : LBS_NONE;
	uint32_t slot = backend ? balance_pick(w, backend, s, avoid) : LBS_NONE;
	int error;

	if (slot == LBS_NONE || (strictly && slot == avoid)) {
		session_reason(s, LBS_CAUSE_SERVER, LBS_PHASE_CONNECT);
		session_end(w, session, 0);
		return;
	}
	if (before != LBS_NONE && before != slot) {
		s->flags |= LBS_SESSION_REDISPATCHED;
		count(&w->slot_totals[before].redispatches, 1);
		count(&w->backend_totals[s->backend].redispatches, 1);
	}
	error = attempt(w, session, slot);
	if (error)
		connect_failed(w, session, error);
}

void connect_begin(struct worker *w, uint32_t session)
{
	choose(w, session, LBS_NONE, 0);
}

/* Take the session off its server and close the attempt. */
static void withdraw(struct worker *w, uint32_t session)
{
	lbs_session *s = &w->sessions[session];

	timers_clear(&w->timers, session);
	session_leave_slot(w, session);
	if (s->legs[LBS_SERVER].fd >= 0)
		net_reset(s->legs[LBS_SERVER].fd);
	s->legs[LBS_SERVER] = (lbs_leg){.fd = -1};
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

void connect_failed(struct worker *w, uint32_t session, int error)
{
	lbs_session *s = &w->sessions[session];
	const lbs_backend_row *backend = backend_of(w, s);
	uint32_t failed = s->slot;
	uint32_t pause = s->timeout_connect && s->timeout_connect < PAUSE_MS ? s->timeout_connect
									       : PAUSE_MS;

	withdraw(w, session);
	if (is_shortage(error)) {
		session_reason(s, LBS_CAUSE_RESOURCE, LBS_PHASE_CONNECT);
		session_end(w, session, 0);
		return;
	}
	count(&w->slot_totals[failed].connect_errors, 1);
	count(&w->backend_totals[s->backend].connect_errors, 1);
	if (!s->retries_left || !backend) {
		session_reason(s,
			       error == -ETIMEDOUT ? LBS_CAUSE_SERVER_TIMEOUT : LBS_CAUSE_SERVER,
			       LBS_PHASE_CONNECT);
		session_end(w, session, 0);
		return;
	}
	s->retries_left--;
	s->retries++;
	count(&w->slot_totals[failed].retries, 1);
	count(&w->backend_totals[s->backend].retries, 1);
	if (may_redispatch(backend, s)) {
		if (backend->redispatch_first_failure && backend->usable_count > 1) {
			choose(w, session, failed, 0);
			return;
		}
		s->flags |= LBS_SESSION_REPICK;
	}
	/* Stays with its server over the pause, so that a mark-down finds it there. */
	session_enter_slot(w, session, failed);
	if (error == -ETIMEDOUT) {
		/* It has waited long enough. */
		connect_again(w, session);
		return;
	}
	s->state = LBS_PAUSING;
	timers_set(&w->timers, session, w->now_ms + pause);
}

void connect_again(struct worker *w, uint32_t session)
{
	lbs_session *s = &w->sessions[session];
	uint32_t slot = s->slot;
	/* A new plan may know its server or its backend no more. */
	int repick = s->flags & LBS_SESSION_REPICK || !w->plan->slots[slot] || !backend_of(w, s);
	int error;

	session_leave_slot(w, session);
	s->flags &= (uint8_t)~LBS_SESSION_REPICK;
	if (repick) {
		choose(w, session, w->plan->slots[slot] ? slot : LBS_NONE, 0);
		return;
	}
	error = attempt(w, session, slot);
	if (error)
		connect_failed(w, session, error);
}

void connect_elsewhere(struct worker *w, uint32_t session)
{
	lbs_session *s = &w->sessions[session];
	uint32_t slot = s->slot;

	withdraw(w, session);
	s->flags &= (uint8_t)~LBS_SESSION_REPICK;
	s->retries++;
	choose(w, session, slot, 1);
}
