#include "session_reset.h"

#include "net.h"
#include "relay.h"
#include "session_end.h"
#include "step.h"

#define BOTH ((1U << LBS_CLIENT) | (1U << LBS_SERVER))
/* How long a killed session may take to deliver what it holds for its client. */
#define KILL_BOUND_MS 1000U
/* The same without an order, if no idle timeout bounds it. */
#define QUIET_BOUND_MS 60000U
/* How often a resetting session looks at its send queue: soon while it moves. */
#define LOOK_AGAIN_MS 8U
#define LOOK_SELDOM_MS 200U

int session_reset_target(const lbs_session *s)
{
	return s->flags & LBS_SESSION_RESET_SERVER ? LBS_SERVER : LBS_CLIENT;
}

/* The leg that is of no more use: reset it, with what was meant for it. */
static void let_go(struct worker *w, uint32_t session, int gone)
{
	lbs_session *s = &w->sessions[session];

	if (s->legs[gone].fd < 0)
		return;
	relay_abandon(w, session, !gone);
	queue_remove(w, session * 2 + (uint32_t)gone);
	if (gone == LBS_SERVER)
		session_leave_slot(w, session);
	net_close(&s->legs[gone].fd, 1);
}

void session_reset_go_on(struct worker *w, uint32_t session)
{
	lbs_session *s = &w->sessions[session];
	int target = session_reset_target(s);
	lbs_relay *r = &s->relays[!target];
	uint32_t limit = target == LBS_CLIENT ? s->timeout_client : s->timeout_server;
	uint32_t backlog;
	uint32_t look;

	if (s->flags & LBS_SESSION_TOLD) {
		session_end(w, session, BOTH);
		return;
	}
	let_go(w, session, !target);
	if (relay_flush(w, session, !target) != RELAY_OK) {
		session_end(w, session, BOTH);
		return;
	}
	if (!relay_held(r))
		relay_abandon(w, session, !target); /* the pipe is of use to others */
	backlog = relay_held(r) + (uint32_t)net_unsent(s->legs[target].fd);
	if (backlog < s->backlog) {
		s->backlog = backlog;
		if (!(s->flags & LBS_SESSION_KILLED))
			s->attempt_ms = (uint32_t)w->now_ms;
	}
	if (s->flags & LBS_SESSION_KILLED)
		limit = KILL_BOUND_MS;
	else if (!limit || limit > QUIET_BOUND_MS)
		limit = QUIET_BOUND_MS;
	if (!backlog || worker_past(w, s->attempt_ms) >= limit) {
		session_end(w, session, BOTH);
		return;
	}
	look = worker_past(w, s->attempt_ms) / 8;
	look = look < LOOK_AGAIN_MS ? LOOK_AGAIN_MS : look > LOOK_SELDOM_MS ? LOOK_SELDOM_MS : look;
	timers_set(&w->timers, session, w->now_ms + look);
}

void session_reset_begin(struct worker *w, uint32_t session, int gone)
{
	lbs_session *s = &w->sessions[session];

	if (gone == LBS_CLIENT)
		s->flags |= LBS_SESSION_RESET_SERVER;
	else
		s->flags &= (uint8_t)~LBS_SESSION_RESET_SERVER;
	s->attempt_ms = (uint32_t)w->now_ms;
	s->backlog = UINT32_MAX;
	/* The state before the leg is gone: an established session has both. */
	STEP();
	s->state = LBS_RESETTING;
	STEP();
	session_reset_go_on(w, session);
}
