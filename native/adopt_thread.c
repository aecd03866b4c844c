/* The second half of an adoption: each thread goes on with its sessions. What is done twice
 * because somebody died here does no harm: a socket is watched by an epoll instance of this
 * process, a timer stands in this thread's wheel, a shutdown is a shutdown. */
#include <assert.h>
#include <errno.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "adopt.h"
#include "connect.h"
#include "net.h"
#include "plane.h"
#include "relay.h"
#include "session.h"
#include "session_end.h"
#include "session_idle.h"
#include "session_reset.h"

#define BOTH ((1U << LBS_CLIENT) | (1U << LBS_SERVER))
#define CLOSE_WAIT 8 /* tcp_info.tcpi_state: the peer's FIN is here */

/* ---- sessions ---- */

/* Have its sockets reported. 0, or -1 if the session has ended for want of memory. */
static int watch(struct worker *w, uint32_t session)
{
	lbs_session *s = &w->sessions[session];

	for (int side = 0; side < 2; side++) {
		struct epoll_event event = {.events = LEG_EVENTS};

		if (s->legs[side].fd < 0)
			continue;
		s->legs[side].ready &= LEG_KEPT;
		event.data.u64 = tag_make(TAG_LEG, s->serial, session * 2 + (uint32_t)side);
		if (epoll_ctl(w->epoll, EPOLL_CTL_ADD, s->legs[side].fd, &event) < 0 &&
		    errno != EEXIST) {
			session_reason(s, LBS_CAUSE_RESOURCE, LBS_PHASE_DATA);
			session_end(w, session, BOTH);
			return -1;
		}
	}
	return 0;
}

/* A pause ends when it would have, an attempt is too late when it would have been.
 * `timer_at`: the tick of the timer it had, if it had one. */
static void wait_on(struct worker *w, uint32_t session, int had_timer)
{
	const lbs_session *s = &w->sessions[session];
	uint32_t past = worker_past(w, s->attempt_ms);
	uint32_t ticks = s->timer_at - (uint32_t)(w->now_ms / TIMERS_TICK_MS);
	uint64_t at = w->now_ms;

	if (s->state == LBS_CONNECTING && s->timeout_connect)
		at += past < s->timeout_connect ? s->timeout_connect - past : 0;
	else if (s->state == LBS_CONNECTING)
		return;
	else if (had_timer && ticks < INT32_MAX)
		at += (uint64_t)ticks * TIMERS_TICK_MS;
	timers_set(&w->timers, session, at);
}

static void relay_on(struct worker *w, uint32_t session)
{
	lbs_session *s = &w->sessions[session];

	if (s->flags & LBS_SESSION_KILLED) {
		session_reset_begin(w, session, LBS_SERVER);
		return;
	}
	for (int side = 0; side < 2; side++) {
		lbs_relay *r = &s->relays[side];

		if (r->flags & LBS_RELAY_LOST) {
			/* Writing to that leg had failed. */
			r->flags |= LBS_RELAY_END | LBS_RELAY_SHUT;
			s->legs[!side].ready |= LBS_LEG_IN | LBS_LEG_ERROR;
		} else if (r->flags & LBS_RELAY_SHUT) {
			(void)shutdown(s->legs[!side].fd, SHUT_WR);
		}
		/* Its end may be due to be passed on, whether a socket reports anything or not. */
		if (r->flags)
			queue_add(w, &w->for_turn, session * 2 + (uint32_t)side);
	}
	session_idle_arm(w, session);
}

static void take_up(struct worker *w, uint32_t session)
{
	lbs_session *s = &w->sessions[session];
	int had_timer = !!(s->flags & LBS_SESSION_IN_TIMER);

	if (s->magic != SESSION_MAGIC)
		return;
	s->flags &= (uint8_t)~LBS_SESSION_IN_TIMER; /* in a wheel that is no more */
	STEP();
	if (s->state == LBS_CLOSED) {
		session_close(w, session);
		return;
	}
	if (s->ending) {
		session_end(w, session, s->ending & BOTH);
		return;
	}
	if (watch(w, session) < 0)
		return;
	STEP();
	switch (s->state) {
	case LBS_CONNECTING:
	case LBS_PAUSING:
		wait_on(w, session, had_timer);
		return;
	case LBS_ESTABLISHED:
		relay_on(w, session);
		return;
	case LBS_RESETTING:
		session_reset_go_on(w, session);
		return;
	default:
		assert(!"lbs_plane_adopt leaves no other state");
	}
}

void adopt_thread(struct worker *w)
{
	for (uint32_t i = 0; i < w->head->high; i++) {
		w->head->working = i;
		STEP();
		take_up(w, i);
	}
	w->head->working = LBS_NONE;
	w->adopting = 0;
	session_free_closed(w);
}

/* ---- connections that were accepted, and no session yet ---- */

/* One that waits for the thread's first plan. */
struct arrival {
	struct arrival *next;
	uint64_t cookie; /* the kernel's name for the socket */
	uint32_t listener;
	int32_t fd;
};

/* Did no byte go through this connection yet? What a session had may stand in the dead
 * table, too: its number leaves the ledger before it is closed. */
static int is_fresh(int fd)
{
	struct tcp_info info;
	struct linger linger;
	struct sockaddr_storage peer;
	socklen_t length = sizeof(peer);

	if (getpeername(fd, (struct sockaddr *)&peer, &length) < 0)
		return 0;
	length = sizeof(linger);
	if (getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &length) < 0 || linger.l_onoff)
		return 0;
	if (peer.ss_family == AF_UNIX)
		return 1;
	memset(&info, 0, sizeof(info));
	length = sizeof(info);
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) < 0)
		return 0;
	return !info.tcpi_bytes_acked && !net_unsent(fd) &&
	       info.tcpi_bytes_received <=
		       (uint64_t)net_unread(fd) + (info.tcpi_state == CLOSE_WAIT);
}

/* Is a copy of this socket among those that wait? */
static int is_known(const lbs_plane *plane, uint64_t cookie)
{
	for (uint32_t t = 0; t < plane->ledger.header->sizes.threads; t++)
		for (const struct arrival *a = plane->workers[t].arrivals; a; a = a->next)
			if (a->cookie == cookie)
				return 1;
	return 0;
}

int lbs_plane_begin(lbs_plane *plane, uint32_t thread, uint32_t listener, int fd)
{
	const lbs_sizes *sizes = &plane->ledger.header->sizes;
	struct arrival *arrival;
	struct worker *w;
	uint64_t cookie = 0;
	socklen_t length = sizeof(cookie);

	if (thread >= sizes->threads || listener >= sizes->listeners ||
	    getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &length) < 0 || !is_fresh(fd) ||
	    is_known(plane, cookie))
		return -EINVAL;
	/* Best by the thread that accepted it: until it is begun its note of that stands, and
	 * a successor of ours would find it so. */
	for (uint32_t t = 0; t < sizes->threads; t++)
		if (plane->workers[t].head->accepting == listener && !plane->workers[t].arrivals)
			thread = t;
	w = &plane->workers[thread];
	arrival = malloc(sizeof(*arrival));
	if (!arrival)
		return -ENOMEM;
	*arrival = (struct arrival){w->arrivals, cookie, listener, fd};
	w->arrivals = arrival;
	return 0;
}

static void begin(struct worker *w, uint32_t listener, int32_t fd)
{
	const lbs_listener_row *l =
		listener < w->plan->sizes.listeners ? w->plan->listeners[listener] : NULL;
	struct sockaddr_storage client = {.ss_family = AF_UNSPEC};
	socklen_t length = sizeof(client);

	if (!l || !session_has_room(w)) {
		net_close(&fd, 1);
		return;
	}
	(void)getpeername(fd, (struct sockaddr *)&client, &length);
	(void)gauge_try(w->process_gauge, 0);
	(void)gauge_try(&w->frontend_gauges[l->frontend], 0);
	(void)gauge_try(&w->listener_gauges[l->number], 0);
	session_begin(w, l, fd, &client);
	worker_works_on(w, LBS_NONE);
}

void adopt_begin(struct worker *w)
{
	while (w->arrivals) {
		struct arrival *arrival = w->arrivals;

		w->arrivals = arrival->next;
		begin(w, arrival->listener, arrival->fd);
		free(arrival);
	}
	w->head->accepting = LBS_NONE;
}

void adopt_turn_away(struct worker *w)
{
	while (w->arrivals) {
		struct arrival *arrival = w->arrivals;

		w->arrivals = arrival->next;
		net_close(&arrival->fd, 1);
		free(arrival);
	}
}

uint32_t lbs_accepting(int fd, uint32_t *listeners, uint32_t room)
{
	struct ledger ledger;
	uint32_t count = 0;

	if (ledger_map(&ledger, fd, LEDGER_READ))
		return 0;
	for (uint32_t t = 0; t < ledger.header->sizes.threads && count < room; t++) {
		const struct ledger_thread *head = ledger_of(&ledger, t, ledger.header->areas.head);

		if (head->accepting < ledger.header->sizes.listeners)
			listeners[count++] = head->accepting;
	}
	ledger_close(&ledger);
	return count;
}
