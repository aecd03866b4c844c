#include "accept.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "session.h"
#include "step.h"

/* How long to wait after the kernel had no descriptor or memory for us. */
#define SHORTAGE_MS 100U
/* A shortage that goes on is told at most this often. */
#define TELL_MS 1000U

static void watch(struct worker *w, uint32_t listener)
{
	struct acceptor *a = &w->acceptors[listener];
	struct epoll_event event = {.events = EPOLLIN | EPOLLEXCLUSIVE};

	event.data.u64 = tag_make(TAG_LISTENER, 0, listener);
	if (a->watched)
		return;
	if (epoll_ctl(w->epoll, EPOLL_CTL_ADD, a->fd, &event) == 0)
		a->watched = 1;
	else
		w->accept_retry_ms = w->now_ms + SHORTAGE_MS;
}

static void unwatch(struct worker *w, uint32_t listener)
{
	struct acceptor *a = &w->acceptors[listener];

	if (a->watched)
		(void)epoll_ctl(w->epoll, EPOLL_CTL_DEL, a->fd, NULL);
	a->watched = 0;
}

/* Take a place everywhere: how many sessions that makes in the process, or 0. */
static uint32_t reserve_all(struct worker *w, const lbs_listener_row *l)
{
	const lbs_frontend_row *f = w->plan->frontends[l->frontend];
	uint32_t sessions = session_has_room(w) ? gauge_try(w->process_gauge, w->plan->maxconn) : 0;

	if (!sessions)
		return 0;
	if (gauge_try(&w->frontend_gauges[f->number], f->maxconn)) {
		if (gauge_try(&w->listener_gauges[l->number], l->maxconn))
			return sessions;
		gauge_down(&w->frontend_gauges[f->number]);
	}
	gauge_down(w->process_gauge);
	return 0;
}

static void unreserve_all(struct worker *w, const lbs_listener_row *l)
{
	gauge_down(&w->listener_gauges[l->number]);
	gauge_down(&w->frontend_gauges[l->frontend]);
	gauge_down(w->process_gauge);
}

/* Only this thread's records are short: let a thread that has some look at its listeners.
 * epoll woke but one of us for the connection that waits (EPOLLEXCLUSIVE). */
static void pass_on(struct worker *w)
{
	for (uint32_t i = 1; i < w->peer_count; i++) {
		struct worker *peer = &w->peers[(w->number + i) % w->peer_count];
		const lbs_thread_counters *c = &peer->head->counters;
		uint64_t ended = __atomic_load_n(&c->ended, __ATOMIC_RELAXED);
		uint64_t accepted = __atomic_load_n(&c->accepted, __ATOMIC_RELAXED);

		if (accepted - ended >= w->ledger->header->sizes.sessions)
			continue;
		__atomic_fetch_or(&peer->accept_retry, ACCEPT_ALL, __ATOMIC_RELEASE);
		mailbox_signal(&peer->mailbox);
		return;
	}
}

/* A limit is reached: connections wait in the backlog until a session ends. */
static void pause_until_freed(struct worker *w, uint32_t listener)
{
	const lbs_listener_row *l = w->plan->listeners[listener];

	unwatch(w, listener);
	count(&w->head->counters.accept_pauses, 1);
	__atomic_fetch_or(w->paused_threads, 1ULL << w->number, __ATOMIC_SEQ_CST);
	/* A session may have ended before the bit was there to see. */
	if (reserve_all(w, l)) {
		unreserve_all(w, l);
		__atomic_fetch_or(&w->accept_retry, ACCEPT_PAUSED, __ATOMIC_RELEASE);
	}
	/* Its own records may be what is short: those nobody else can signal. */
	w->accept_retry_ms = w->now_ms + SHORTAGE_MS;
	if (!session_has_room(w))
		pass_on(w);
}

/* Try again in a while: there is nobody to tell us when. */
static void pause_a_while(struct worker *w, uint32_t listener)
{
	unwatch(w, listener);
	count(&w->head->counters.accept_pauses, 1);
	w->accept_retry_ms = w->now_ms + SHORTAGE_MS;
}

static void pause_for_shortage(struct worker *w, uint32_t listener, int error)
{
	pause_a_while(w, listener);
	if (!w->accept_told_ms || w->now_ms - w->accept_told_ms >= TELL_MS) {
		lbs_event *event = worker_event(w, LBS_EVENT_ACCEPT_PAUSED);

		w->accept_told_ms = w->now_ms;
		if (event) {
			event->number = (uint32_t)error;
			event->listener = listener;
			worker_tell(w);
		}
	}
}

/* How many accepts to try: one more call than there are connections is a wasted one,
 * so bursts grow only while each wake-up fills them. */
static uint32_t burst(struct worker *w, struct acceptor *a)
{
	if (a->batch + 1 != w->batch || !a->burst)
		a->burst = 1;
	a->batch = w->batch;
	return a->burst;
}

void accept_ready(struct worker *w, uint32_t listener)
{
	struct acceptor *a = &w->acceptors[listener];
	const lbs_listener_row *l = w->plan ? w->plan->listeners[listener] : NULL;
	uint32_t tries = burst(w, a);

	/* Another listener of this batch may have led to the pausing of this one. */
	if (!l || !a->watched)
		return;
	for (uint32_t i = 0; i < tries; i++) {
		struct sockaddr_storage client;
		socklen_t length = sizeof(client);
		uint32_t sessions = reserve_all(w, l);
		int fd;

		if (!sessions) {
			pause_until_freed(w, listener);
			return;
		}
		client.ss_family = AF_UNSPEC;
		/* Until the new session's record is complete. */
		w->head->accepting = listener;
		STEP();
		fd = accept4(a->fd, (struct sockaddr *)&client, &length,
			     SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0) {
			int error = errno;

			w->head->accepting = LBS_NONE;
			unreserve_all(w, l);
			if (error == EMFILE || error == ENFILE || error == ENOMEM ||
			    error == ENOBUFS) {
				pause_for_shortage(w, listener, error);
				return;
			}
			a->burst = 1;
			if (error == EAGAIN)
				return;
			/* It listens no more, or not for now: who shares it may have shut it
			 * down. epoll would report it without end. */
			if (error == EINVAL || error == EBADF || error == ENOTSOCK) {
				pause_a_while(w, listener);
				return;
			}
			/* Other errors concern one connection that was waiting (accept(2)). */
			continue;
		}
		STEP();
		if (sessions == w->plan->maxconn)
			count(&w->head->counters.maxconn_reached, 1);
		session_begin(w, l, fd, &client);
		worker_works_on(w, LBS_NONE);
	}
	if (a->burst < w->plan->maxaccept)
		a->burst = a->burst * 2 < w->plan->maxaccept ? a->burst * 2 : w->plan->maxaccept;
}

void accept_follow_plan(struct worker *w)
{
	for (uint32_t i = 0; i < w->ledger->header->sizes.listeners; i++) {
		struct acceptor *a = &w->acceptors[i];
		const lbs_listener_row *l = w->plan->listeners[i];

		if (a->fd >= 0 && (!l || l->fd != a->fd)) {
			unwatch(w, i);
			a->fd = -1;
		}
		if (l && a->fd < 0) {
			*a = (struct acceptor){.fd = l->fd};
			watch(w, i);
		}
	}
	/* Limits may have been raised. */
	__atomic_fetch_or(&w->accept_retry, ACCEPT_PAUSED, __ATOMIC_RELEASE);
}

void accept_resume(struct worker *w)
{
	int due = w->accept_retry_ms && w->now_ms >= w->accept_retry_ms;
	int retry = __atomic_exchange_n(&w->accept_retry, 0, __ATOMIC_ACQ_REL);

	if (!retry && !due)
		return;
	w->accept_retry_ms = 0;
	for (uint32_t i = 0; w->plan && i < w->ledger->header->sizes.listeners; i++) {
		if (w->acceptors[i].fd < 0)
			continue;
		/* Adding one anew reports a connection that waits already. */
		if (retry & ACCEPT_ALL)
			unwatch(w, i);
		watch(w, i);
	}
}
