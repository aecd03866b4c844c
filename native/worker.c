#include "worker.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "accept.h"
#include "adopt.h"
#include "crash.h"
#include "kill.h"
#include "net.h"
#include "session.h"

#define BATCH 256
/* How often a direction that waits for a pipe looks for one of another thread. */
#define PIPE_RETRY_MS 10

/* ---- small services ---- */

uint64_t worker_random(struct worker *w)
{
	/* xorshift64 (Marsaglia 2003) */
	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;
	return w->random >> 16;
}

lbs_event *worker_event(struct worker *w, enum lbs_event_kind kind)
{
	lbs_event *event = ring_place(w->ring);

	if (!event) {
		count(&w->head->counters.events_dropped, 1);
		return NULL;
	}
	event->kind = (uint8_t)kind;
	event->thread = (uint8_t)w->number;
	return event;
}

void worker_tell(struct worker *w)
{
	ring_commit(w->ring);
}

void worker_tell_number(struct worker *w, enum lbs_event_kind kind, uint32_t number,
			uint32_t amount)
{
	lbs_event *event = worker_event(w, kind);

	if (!event)
		return;
	event->number = number;
	event->amount = amount;
	worker_tell(w);
}

void worker_place_freed(struct worker *w)
{
	uint64_t waiting = __atomic_load_n(w->paused_threads, __ATOMIC_SEQ_CST);

	if (!waiting)
		return;
	waiting = __atomic_exchange_n(w->paused_threads, 0, __ATOMIC_SEQ_CST);
	for (uint32_t t = 0; t < w->peer_count; t++)
		if (waiting >> t & 1) {
			__atomic_fetch_or(&w->peers[t].accept_retry, ACCEPT_PAUSED, __ATOMIC_RELEASE);
			mailbox_signal(&w->peers[t].mailbox);
		}
}

static void read_clocks(struct worker *w)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	w->now_ms = (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
	clock_gettime(CLOCK_REALTIME, &t);
	w->wall_ms = (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* ---- commands ---- */

static void take_plan(struct worker *w, struct plan *plan)
{
	struct plan *old = w->plan;

	w->plan = plan;
	count(&w->head->counters.generation, plan->generation - w->head->counters.generation);
	adopt_begin(w);
	accept_follow_plan(w);
	plan_release(old);
	worker_tell_number(w, LBS_EVENT_PLAN_TAKEN, (uint32_t)plan->generation, 0);
}

/* Obey what is in the mailbox. 1 if there is more to do at once. */
static int obey(struct worker *w)
{
	const struct command *c;
	int done = 1;

	while (!w->stopping && (c = mailbox_peek(&w->mailbox))) {
		switch ((enum command_kind)c->kind) {
		case COMMAND_PLAN:
			take_plan(w, c->plan);
			break;
		case COMMAND_KILL_SLOT:
			done = kill_slot(w, c->slot, (enum lbs_cause)c->cause);
			break;
		case COMMAND_KILL_ALL:
			done = kill_all(w, (enum lbs_cause)c->cause);
			break;
		case COMMAND_KILL_SESSION:
			done = kill_session(w, c->serial, (enum lbs_cause)c->cause);
			break;
		case COMMAND_STOP:
			w->stopping = 1;
			break;
		}
		if (!done)
			return 1;
		mailbox_next(&w->mailbox);
	}
	return 0;
}

/* ---- the loop ---- */

/* Let one direction that waits for a pipe try again if there may be one: another thread
 * gave it up, or the direction that was told of it ended before its turn. */
static void retry_pipe(struct worker *w)
{
	if (w->for_pipe.first != LBS_NONE && pipes_may_take(&w->pipes))
		queue_add(w, &w->for_turn, queue_pop(w, &w->for_pipe));
}

static void dispatch(struct worker *w, const struct epoll_event *event)
{
	uint64_t tag = event->data.u64;
	uint32_t number = (uint32_t)tag;
	uint64_t signals;
	lbs_session *s;

	switch ((enum tag_kind)(tag >> 56)) {
	case TAG_MAILBOX:
		/* Only resets the eventfd: the mailbox is looked at after every batch. */
		if (read(w->mailbox.event_fd, &signals, sizeof(signals)) < 0)
			assert(errno == EAGAIN);
		return;
	case TAG_LISTENER:
		accept_ready(w, number);
		return;
	case TAG_LEG:
		s = &w->sessions[number / 2];
		/* Ended earlier in this batch, or what follows it in its record. */
		if (s->magic != SESSION_MAGIC || ((s->serial ^ tag >> 32) & 0xffffff))
			return;
		worker_works_on(w, number / 2);
		session_event(w, number / 2, (int)(number % 2), event->events);
		worker_works_on(w, LBS_NONE);
		return;
	}
	assert(!"epoll handed back a tag that nobody made");
}

static int wait_ms(const struct worker *w, int busy)
{
	int wait = timers_wait_ms(&w->timers, w->now_ms);

	if (busy)
		return 0;
	/* Nobody signals a pipe that another thread gave up. */
	if (w->for_pipe.first != LBS_NONE && (wait < 0 || wait > PIPE_RETRY_MS))
		wait = PIPE_RETRY_MS;
	if (w->accept_retry_ms) {
		int retry = w->accept_retry_ms > w->now_ms ? (int)(w->accept_retry_ms - w->now_ms)
							   : 0;

		if (wait < 0 || retry < wait)
			wait = retry;
	}
	return wait;
}

/* Give each direction that waits for its turn one; those it adds wait for the next. */
static void take_turns(struct worker *w)
{
	uint32_t last = w->for_turn.last;
	uint32_t member;

	while ((member = queue_pop(w, &w->for_turn)) != LBS_NONE) {
		worker_works_on(w, member / 2);
		session_turn(w, member);
		worker_works_on(w, LBS_NONE);
		if (member == last)
			break;
	}
}

static void run_timers(struct worker *w)
{
	uint32_t session;

	while ((session = timers_due(&w->timers, w->now_ms)) != LBS_NONE) {
		worker_works_on(w, session);
		session_timer(w, session);
		worker_works_on(w, LBS_NONE);
	}
}

/* Wake Python if it asked for that and there is something to hear. */
static void signal_events(struct worker *w)
{
	uint64_t one = 1;
	ssize_t written;

	if (!ring_must_signal(w->ring))
		return;
	written = write(w->events_fd, &one, sizeof(one));
	(void)written;
}

/* Take a thread's name, and no signals: they are for Python's thread, but for those that the
 * thread's own faults raise. SIGPIPE is for nobody: EPIPE says it. */
static void become_relay_thread(const struct worker *w)
{
	static const int own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS};
	sigset_t blocked;
	char name[16];

	snprintf(name, sizeof(name), "relay-%u", w->number);
	prctl(PR_SET_NAME, name);
	sigfillset(&blocked);
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		sigdelset(&blocked, own[i]);
	pthread_sigmask(SIG_BLOCK, &blocked, NULL);
}

int worker_run(struct worker *w)
{
	struct epoll_event events[BATCH];
	/* What it was told while it did not run has no wake-up of its own any more. */
	int busy = 1;

	become_relay_thread(w);
	crash_enter(w);
	w->stopping = 0;
	read_clocks(w);
	if (w->adopting)
		adopt_thread(w);
	while (!w->stopping) {
		int ready = epoll_wait(w->epoll, events, BATCH, wait_ms(w, busy));

		if (ready < 0 && errno != EINTR)
			return -errno;
		w->batch++;
		count(&w->head->counters.batches, 1);
		read_clocks(w);
		for (int i = 0; i < ready; i++)
			dispatch(w, &events[i]);
		retry_pipe(w);
		take_turns(w);
		run_timers(w);
		session_free_closed(w);
		busy = obey(w);
		session_free_closed(w);
		accept_resume(w);
		busy |= w->for_turn.first != LBS_NONE;
		signal_events(w);
	}
	worker_tell_number(w, LBS_EVENT_STOPPED, 0, 0);
	signal_events(w);
	return 0;
}

/* ---- opening and closing ---- */

int worker_open(struct worker *w, struct ledger *ledger, uint32_t number)
{
	const struct ledger_areas *a = &ledger->header->areas;
	const lbs_sizes *sizes = &ledger->header->sizes;

	w->number = number;
	w->epoll = -1;
	w->events_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (w->events_fd < 0)
		return -errno;
	read_clocks(w);
	w->random = w->wall_ms * 2654435761U + number + 1;
	w->ledger = ledger;
	w->head = ledger_of(ledger, number, a->head);
	w->sessions = ledger_of(ledger, number, a->sessions);
	w->slot_heads = ledger_of(ledger, number, a->slot_heads);
	w->listener_totals = ledger_of(ledger, number, a->listener_totals);
	w->frontend_totals = ledger_of(ledger, number, a->frontend_totals);
	w->backend_totals = ledger_of(ledger, number, a->backend_totals);
	w->slot_totals = ledger_of(ledger, number, a->slot_totals);
	w->process_gauge = ledger_shared(ledger, a->process_gauge);
	w->listener_gauges = ledger_shared(ledger, a->listener_gauges);
	w->frontend_gauges = ledger_shared(ledger, a->frontend_gauges);
	w->backend_gauges = ledger_shared(ledger, a->backend_gauges);
	w->slot_gauges = ledger_shared(ledger, a->slot_gauges);
	w->backend_times = ledger_shared(ledger, a->backend_times);
	w->slot_times = ledger_shared(ledger, a->slot_times);
	w->cursors = ledger_shared(ledger, a->cursors);
	w->ring = ledger_of(ledger, number, a->ring);
	w->ring->mask = sizes->events - 1;
	w->for_pipe = (struct queue){LBS_NONE, LBS_NONE, QUEUE_PIPE};
	w->for_turn = (struct queue){LBS_NONE, LBS_NONE, QUEUE_TURN};
	w->closed_first = LBS_NONE;
	w->killing.next = LBS_NONE;
	w->pipes = (struct pipes){
		.head = w->head,
		.table = ledger_of(ledger, number, a->pipes),
		.open_everywhere = &ledger->header->pipes_open,
		.places = sizes->pipes,
		.free_places = LBS_NONE,
		.page_bytes = (uint32_t)sysconf(_SC_PAGESIZE),
	};
	timers_init(&w->timers, w->sessions, w->now_ms);
	return mailbox_open(&w->mailbox);
}

/* Reset what a session still holds: it did not end by itself. No event tells of it. */
static void close_session(struct worker *w, lbs_session *s)
{
	for (int side = 0; side < 2; side++) {
		net_close(&s->legs[side].fd, 1);
		if (s->relays[side].pipe != LBS_NONE)
			pipes_drop(&w->pipes, s->relays[side].pipe);
	}
	s->magic = 0;
}

void worker_close(struct worker *w)
{
	const struct command *c;

	if (!w->ledger)
		return;
	for (uint32_t i = 0; i < w->head->high; i++)
		if (w->sessions[i].magic == SESSION_MAGIC)
			close_session(w, &w->sessions[i]);
	pipes_close(&w->pipes);
	while ((c = mailbox_peek(&w->mailbox))) {
		if (c->kind == COMMAND_PLAN)
			plan_release(c->plan);
		mailbox_next(&w->mailbox);
	}
	plan_release(w->plan);
	w->plan = NULL;
	mailbox_close(&w->mailbox);
	if (w->events_fd >= 0)
		close(w->events_fd);
	w->events_fd = -1;
}
