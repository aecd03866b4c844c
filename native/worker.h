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
#include "timers.h"

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

struct worker {
	uint32_t number;
	int epoll;
	int events_fd; /* Python waits on it */
	int stopping;
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
	lbs_totals *frontend_totals;
	lbs_totals *backend_totals;
	lbs_totals *slot_totals;
	lbs_gauge *process_gauge;
	lbs_gauge *listener_gauges;
	lbs_gauge *frontend_gauges;
	lbs_gauge *backend_gauges;
	lbs_gauge *slot_gauges;
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
	enum { KILL_NONE, KILL_TELL, KILL_CLOSE } kill_pass; /* of a killing under way */
	uint32_t kill_next; /* where it goes on */
	uint32_t kill_count;
	struct mailbox mailbox;
};

/* What epoll hands back: a kind, 24 bits of the session's serial, and a number. */
enum tag_kind { TAG_MAILBOX = 1, TAG_LISTENER, TAG_LEG };

/* What a leg's socket is watched for, from its first moment on. */
#define LEG_EVENTS (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET)

static inline uint64_t tag_make(enum tag_kind kind, uint64_t serial, uint32_t number)
{
	return (uint64_t)kind << 56 | (serial & 0xffffff) << 32 | number;
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

/* One more on a gauge all threads share, unless it stands at the limit (0: none). What
 * is only tried is no peak: note that when it is settled. */
static inline int gauge_try(lbs_gauge *gauge, uint32_t limit)
{
	uint32_t now = __atomic_load_n(&gauge->now, __ATOMIC_RELAXED);

	do {
		if (limit && now >= limit)
			return 0;
	} while (!__atomic_compare_exchange_n(&gauge->now, &now, now + 1, 1, __ATOMIC_RELAXED,
					      __ATOMIC_RELAXED));
	return 1;
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

/* Some session ended: threads that wait for a free place may try again. */
void worker_place_freed(struct worker *worker);

/* Prepare a worker over its part of the ledger; undo. */
int worker_open(struct worker *worker, struct ledger *ledger, uint32_t number);
void worker_close(struct worker *worker);

/* The loop: returns 0 when told to stop, or -errno. */
int worker_run(struct worker *worker);

#endif
