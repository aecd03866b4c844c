#include "session_idle.h"

#include "net.h"
#include "relay.h"
#include "session_end.h"

/* Does `timeout tunnel` hold for this leg, in place of its own one? */
static int in_tunnel(const lbs_session *s, int side)
{
	uint32_t fin = side == LBS_CLIENT ? s->timeout_client_fin : s->timeout_server_fin;

	return s->timeout_tunnel && !(fin && (s->relays[!side].flags & LBS_RELAY_SHUT));
}

/* After how long without progress on this leg it has timed out; 0: never. */
static uint32_t limit_of(const lbs_session *s, int side)
{
	uint32_t fin = side == LBS_CLIENT ? s->timeout_client_fin : s->timeout_server_fin;

	/* Nothing is expected of a leg that has said all, or that waits for the other one to
	 * take what it said: it is that one which is late then. */
	if (((s->relays[side].flags & LBS_RELAY_END) || relay_held(&s->relays[side])) &&
	    !relay_held(&s->relays[!side]))
		return 0;
	if (fin && (s->relays[!side].flags & LBS_RELAY_SHUT))
		return fin;
	if (s->timeout_tunnel)
		return s->timeout_tunnel;
	return side == LBS_CLIENT ? s->timeout_client : s->timeout_server;
}

/* How long since the leg made progress. A tunnel is idle when both legs are. */
static uint32_t idle_of(const struct worker *w, const lbs_session *s, int side)
{
	uint32_t idle = worker_past(w, s->legs[side].active_ms);
	uint32_t other = worker_past(w, s->legs[!side].active_ms);

	return in_tunnel(s, side) && other < idle ? other : idle;
}

void session_idle_arm(struct worker *w, uint32_t session)
{
	const lbs_session *s = &w->sessions[session];
	uint64_t best = 0;

	for (int side = 0; side < 2; side++) {
		uint32_t limit = limit_of(s, side);
		uint32_t idle = idle_of(w, s, side);
		uint64_t at = w->now_ms + (idle < limit ? limit - idle : 0);

		if (limit && (!best || at < best))
			best = at;
	}
	if (best)
		timers_set(&w->timers, session, best);
	else
		timers_clear(&w->timers, session);
}

uint32_t session_idle_shape(const lbs_session *s)
{
	const lbs_relay *r = s->relays;

	return r[0].flags | r[1].flags << 8 | (uint32_t)!!relay_held(&r[0]) << 16 |
	       (uint32_t)!!relay_held(&r[1]) << 17;
}

/* Does the leg have something to say that we could not or did not read yet (no pipe, or
 * it came this moment)? It is not the one who is late, and its end would look clean. */
static int unheard(const lbs_session *s, int side)
{
	return !(s->relays[side].flags & LBS_RELAY_END) && !relay_held(&s->relays[!side]) &&
	       net_unread(s->legs[side].fd) > 0;
}

/* Is a timeout on this leg the client's? That of a tunnel is, as long as more may come from
 * the client. */
static int is_clients(const lbs_session *s, int side)
{
	return side == LBS_CLIENT ||
	       (in_tunnel(s, side) && !(s->relays[LBS_CLIENT].flags & LBS_RELAY_END));
}

int session_idle_expired(struct worker *w, uint32_t session)
{
	lbs_session *s = &w->sessions[session];

	for (int side = 0; side < 2; side++) {
		uint32_t limit = limit_of(s, side);

		if (!limit || idle_of(w, s, side) < limit)
			continue;
		if (unheard(s, side)) {
			s->legs[side].active_ms = (uint32_t)w->now_ms;
			s->legs[side].ready |= LBS_LEG_IN;
			continue;
		}
		session_reason(s, is_clients(s, side) ? LBS_CAUSE_CLIENT_TIMEOUT
						      : LBS_CAUSE_SERVER_TIMEOUT,
			       LBS_PHASE_DATA);
		if (relay_held(&s->relays[!side])) {
			/* It takes nothing any more, and what we hold for it is lost: the
			 * end must not look like a clean one, to either of them. */
			return 1;
		}
		s->relays[side].flags |= LBS_RELAY_END;
	}
	session_idle_arm(w, session);
	return 0;
}
