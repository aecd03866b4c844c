/* One relay thread: what it owns, and the loop that drives it. */
#ifndef LBS_WORKER_H
#define LBS_WORKER_H

#include <stdint.h>

#include "ledger.h"
#include "mailbox.h"
#include "pipes.h"
#include "plan.h"
#include "queue.h"
#include "ring.h"
#include "step.h"
#include "timers.h"
#include "times.h"

/* What a worker is asked to do about its listeners. */
enum {
	ACCEPT_PAUSED = 1, /* watch those again that it paused: there may be room */
	ACCEPT_ALL = 2     /* look at all: another thread was woken for a connection, in vain */
};

/* A listening socket as this thread sees it. */
struct acceptor {
	int32_t fd;       /* -1: none */
	uint8_t watched;  /* in epoll */
	uint32_t burst;   /* accepts to try at the next wake-up */
	uint64_t batch;   /* of the last wake-up */
};

/* An order to kill that takes more than one batch: how far it has got. */
struct killing {
	enum { KILL_NONE, KILL_TELL, KILL_CLOSE } pass;
	uint32_t next;  /* a slot's sessions: where the telling goes on */
	uint32_t count; /* reset or sent elsewhere */
	uint32_t look;  /* all sessions: the next record to be looked at */
	uint32_t end;   /* records from here on were not in use when it began */
};

struct worker {
	uint32_t number;
	int epoll;
	int events_fd; /* Python waits on it */
	int stopping;
	int adopting; /* its sessions were another process's: adopt_thread comes first */
	uint64_t now_ms;
	uint64_t wall_ms;
	uint64_t batch;
	uint64_t random;
	struct plan *plan;
	struct ledger *ledger;
	uint64_t *paused_threads; /* bit per thread that waits for a free place */
	struct worker *peers;     /* all workers, this one among them */
	uint32_t peer_count;
	/* in the ledger */
	struct ledger_thread *head;
	lbs_session *sessions;
	uint32_t *slot_heads;
	lbs_listener_totals *listener_totals;
	lbs_totals *frontend_totals;
	lbs_totals *backend_totals;
	lbs_totals *slot_totals;
	lbs_gauge *process_gauge;
	lbs_gauge *listener_gauges;
	lbs_gauge *frontend_gauges;
	lbs_gauge *backend_gauges;
	lbs_gauge *slot_gauges;
	lbs_times *backend_times;
	lbs_times *slot_times;
	uint32_t *cursors;
	struct ring *ring;
	/* private */
	struct pipes pipes;
	struct timers timers;
	struct queue for_pipe;
	struct queue for_turn;
	struct acceptor *acceptors;
	int accept_retry; /* ACCEPT_*: any thread sets it, and signals the mailbox */
	uint64_t accept_retry_ms;
	uint64_t accept_told_ms; /* when a shortage was last reported */
	uint32_t closed_first; /* ended in this batch, to be freed at its end */
	struct arrival *arrivals; /* accepted by the worker before, not begun yet (adopt.h) */
	struct killing killing;
	struct mailbox mailbox;
};

/* What epoll hands back: a kind, 24 bits of the session's serial, and a number. */
enum tag_kind { TAG_MAILBOX = 1, TAG_LISTENER, TAG_LEG };

/* What a leg's socket is watched for, from its first moment on. */
#define LEG_EVENTS (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET)

/* What of lbs_leg.ready holds for a successor: its epoll reports the rest anew. An error may
 * have been used up by the system call that told it. */
#define LEG_KEPT (LBS_LEG_UNIX | LBS_LEG_ERROR)

static inline uint64_t tag_make(enum tag_kind kind, uint64_t serial, uint32_t number)
{
	return (uint64_t)kind << 56 | (serial & 0xffffff) << 32 | number;
}

/* Note the session that the thread works on from now on, or LBS_NONE: at whose door a crash
 * is laid. */
static inline void worker_works_on(struct worker *worker, uint32_t session)
{
	__atomic_store_n(&worker->head->working, session, __ATOMIC_RELAXED);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	if (session != LBS_NONE)
		WORKS_ON(worker->sessions[session].client_port);
}

static inline void count(uint64_t *counter, uint64_t more)
{
	__atomic_store_n(counter, *counter + more, __ATOMIC_RELAXED);
}

/* How long since `then`, a time's low 32 bits (right over their running over). */
static inline uint32_t worker_past(const struct worker *worker, uint32_t then)
{
	return (uint32_t)worker->now_ms - then;
}

/* One more on a gauge all threads share, unless it stands at the limit (0: none): how many
 * it makes, or 0. What is only tried is no peak: note that when it is settled. */
static inline uint32_t gauge_try(lbs_gauge *gauge, uint32_t limit)
{
	uint32_t now = __atomic_load_n(&gauge->now, __ATOMIC_RELAXED);

	do {
		if (limit && now >= limit)
			return 0;
	} while (!__atomic_compare_exchange_n(&gauge->now, &now, now + 1, 1, __ATOMIC_RELAXED,
					      __ATOMIC_RELAXED));
	return now + 1;
}

/* Note the most there were. */
static inline void gauge_note(lbs_gauge *gauge)
{
	uint32_t now = __atomic_load_n(&gauge->now, __ATOMIC_RELAXED);
	uint32_t max = __atomic_load_n(&gauge->max, __ATOMIC_RELAXED);

	while (now > max && !__atomic_compare_exchange_n(&gauge->max, &max, now, 1, __ATOMIC_RELAXED,
							 __ATOMIC_RELAXED))
		;
}

static inline void gauge_up(lbs_gauge *gauge)
{
	(void)gauge_try(gauge, 0);
	gauge_note(gauge);
}

static inline void gauge_down(lbs_gauge *gauge)
{
	__atomic_fetch_sub(&gauge->now, 1, __ATOMIC_RELAXED);
}

static inline uint32_t gauge_read(const lbs_gauge *gauge)
{
	return __atomic_load_n(&gauge->now, __ATOMIC_RELAXED);
}

/* A fresh random number. */
uint64_t worker_random(struct worker *worker);

/* An event to fill, or NULL (counted as dropped). worker_tell makes it visible. */
lbs_event *worker_event(struct worker *worker, enum lbs_event_kind kind);
void worker_tell(struct worker *worker);

/* Tell something that is a number and an amount. */
void worker_tell_number(struct worker *worker, enum lbs_event_kind kind, uint32_t number,
			uint32_t amount);

/* Some session ended: threads that wait for a free place may try again. */
void worker_place_freed(struct worker *worker);

/* Prepare a worker over its part of the ledger; undo. */
int worker_open(struct worker *worker, struct ledger *ledger, uint32_t number);
void worker_close(struct worker *worker);

/* The loop: returns 0 when told to stop, at the end of a batch, or -errno. It may be run
 * again, and goes on as if it had not stopped. */
int worker_run(struct worker *worker);

#endif
