/* The data plane as Python sees it: the functions of api.h. */
#include "plane.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "adopt.h"
#include "crash.h"

static const lbs_sizes *sizes_of(const lbs_plane *plane)
{
	return &plane->ledger.header->sizes;
}

uint64_t lbs_ledger_bytes(const lbs_sizes *sizes)
{
	struct ledger_areas areas;

	return ledger_plan(sizes, &areas);
}

static int open_worker(lbs_plane *plane, uint32_t number, uint32_t pipe_bytes, uint32_t max_pipes)
{
	struct worker *w = &plane->workers[number];
	int error;

	w->acceptors = calloc(sizes_of(plane)->listeners, sizeof(*w->acceptors));
	if (!w->acceptors)
		return -ENOMEM;
	for (uint32_t i = 0; i < sizes_of(plane)->listeners; i++)
		w->acceptors[i].fd = -1;
	error = worker_open(w, &plane->ledger, number);
	w->paused_threads = &plane->paused_threads;
	w->peers = plane->workers;
	w->peer_count = sizes_of(plane)->threads;
	w->pipes.want_bytes = pipe_bytes ? pipe_bytes : PIPES_DEFAULT_BYTES;
	w->pipes.open_limit = max_pipes;
	w->pipes.keep_limit = w->peer_count > 1 ? max_pipes / w->peer_count / 2 : max_pipes;
	if (w->pipes.keep_limit > PIPES_KEPT)
		w->pipes.keep_limit = PIPES_KEPT;
	return error;
}

int plane_open_workers(lbs_plane *plane, uint32_t pipe_bytes, uint32_t max_pipes)
{
	int error = 0;

	plane->workers = calloc(sizes_of(plane)->threads, sizeof(*plane->workers));
	if (!plane->workers)
		return -ENOMEM;
	for (uint32_t t = 0; t < sizes_of(plane)->threads; t++) {
		plane->workers[t].events_fd = -1;
		plane->workers[t].mailbox.event_fd = -1;
	}
	for (uint32_t t = 0; !error && t < sizes_of(plane)->threads; t++)
		error = open_worker(plane, t, pipe_bytes, max_pipes);
	return error;
}

void plane_forget(lbs_plane *plane)
{
	for (uint32_t t = 0; plane->workers && t < sizes_of(plane)->threads; t++) {
		struct worker *w = &plane->workers[t];

		mailbox_close(&w->mailbox);
		if (w->events_fd >= 0)
			close(w->events_fd);
		free(w->acceptors);
	}
	free(plane->workers);
	crash_forget(plane->ledger.header);
	ledger_close(&plane->ledger);
	free(plane);
}

lbs_plane *lbs_plane_open(int fd, const lbs_sizes *sizes, uint32_t pipe_bytes, uint32_t max_pipes,
			  int *error)
{
	lbs_plane *plane = calloc(1, sizeof(*plane));

	*error = plane ? ledger_create(&plane->ledger, fd, sizes) : -ENOMEM;
	if (!*error)
		*error = plane_open_workers(plane, pipe_bytes, max_pipes);
	if (!*error)
		return plane;
	if (plane)
		plane_forget(plane);
	return NULL;
}

void lbs_plane_close(lbs_plane *plane)
{
	for (uint32_t t = 0; t < sizes_of(plane)->threads; t++) {
		adopt_turn_away(&plane->workers[t]);
		worker_close(&plane->workers[t]);
	}
	plane_forget(plane);
}

int lbs_worker_attach(lbs_plane *plane, uint32_t thread, int epoll)
{
	struct epoll_event event = {.events = EPOLLIN};
	struct worker *w;

	if (thread >= sizes_of(plane)->threads)
		return -EINVAL;
	w = &plane->workers[thread];
	event.data.u64 = tag_make(TAG_MAILBOX, 0, 0);
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, w->mailbox.event_fd, &event) < 0)
		return -errno;
	w->epoll = epoll;
	return w->events_fd;
}

int lbs_worker_run(lbs_plane *plane, uint32_t thread)
{
	if (thread >= sizes_of(plane)->threads || plane->workers[thread].epoll < 0)
		return -EINVAL;
	return worker_run(&plane->workers[thread]);
}

/* Give all workers the same command, or none of them. A plan's command takes one
 * reference for each. */
static int command_all(lbs_plane *plane, const struct command *command)
{
	uint32_t threads = sizes_of(plane)->threads;

	for (uint32_t t = 0; t < threads; t++)
		if (!mailbox_has_room(&plane->workers[t].mailbox))
			return -EAGAIN;
	for (uint32_t t = 0; t < threads; t++) {
		if (command->plan)
			plan_hold(command->plan);
		mailbox_put(&plane->workers[t].mailbox, command);
		mailbox_signal(&plane->workers[t].mailbox);
	}
	return 0;
}

int lbs_publish(lbs_plane *plane, const lbs_plan_rows *rows)
{
	struct plan *plan;
	int error = plan_new(rows, sizes_of(plane), &plane->plans_alive, &plan);

	if (error)
		return error;
	error = command_all(plane, &(struct command){.kind = COMMAND_PLAN, .plan = plan});
	plan_release(plan);
	return error;
}

int lbs_command_kill_slot(lbs_plane *plane, uint32_t slot, uint32_t cause)
{
	if (slot >= sizes_of(plane)->slots)
		return -EINVAL;
	return command_all(plane, &(struct command){
					  .kind = COMMAND_KILL_SLOT, .slot = slot, .cause = cause});
}

int lbs_command_kill_all(lbs_plane *plane, uint32_t cause)
{
	return command_all(plane, &(struct command){.kind = COMMAND_KILL_ALL, .cause = cause});
}

int lbs_command_kill_session(lbs_plane *plane, uint64_t serial, uint32_t cause)
{
	return command_all(plane, &(struct command){
					  .kind = COMMAND_KILL_SESSION, .serial = serial, .cause = cause});
}

int lbs_command_stop(lbs_plane *plane)
{
	return command_all(plane, &(struct command){.kind = COMMAND_STOP});
}

uint32_t lbs_events_look(lbs_plane *plane, uint32_t thread, lbs_event *into, uint32_t room)
{
	return ring_look(plane->workers[thread].ring, into, room);
}

void lbs_events_told(lbs_plane *plane, uint32_t thread, uint32_t count)
{
	ring_told(plane->workers[thread].ring, count);
}

int lbs_events_arm(lbs_plane *plane, uint32_t thread)
{
	return ring_arm(plane->workers[thread].ring);
}

const lbs_session *lbs_sessions(lbs_plane *plane, uint32_t thread)
{
	return plane->workers[thread].sessions;
}

uint32_t lbs_sessions_high(lbs_plane *plane, uint32_t thread)
{
	return __atomic_load_n(&plane->workers[thread].head->high, __ATOMIC_ACQUIRE);
}

const lbs_thread_counters *lbs_thread_counts(lbs_plane *plane, uint32_t thread)
{
	return &plane->workers[thread].head->counters;
}

const lbs_listener_totals *lbs_listener_totals_of(lbs_plane *plane, uint32_t thread)
{
	return plane->workers[thread].listener_totals;
}

const lbs_totals *lbs_frontend_totals(lbs_plane *plane, uint32_t thread)
{
	return plane->workers[thread].frontend_totals;
}

const lbs_totals *lbs_backend_totals(lbs_plane *plane, uint32_t thread)
{
	return plane->workers[thread].backend_totals;
}

const lbs_totals *lbs_slot_totals(lbs_plane *plane, uint32_t thread)
{
	return plane->workers[thread].slot_totals;
}

const lbs_gauge *lbs_frontend_gauges(lbs_plane *plane)
{
	return plane->workers[0].frontend_gauges;
}

const lbs_gauge *lbs_listener_gauges(lbs_plane *plane)
{
	return plane->workers[0].listener_gauges;
}

const lbs_gauge *lbs_backend_gauges(lbs_plane *plane)
{
	return plane->workers[0].backend_gauges;
}

const lbs_gauge *lbs_slot_gauges(lbs_plane *plane)
{
	return plane->workers[0].slot_gauges;
}

const lbs_gauge *lbs_process_gauge(lbs_plane *plane)
{
	return plane->workers[0].process_gauge;
}

const lbs_times *lbs_backend_times(lbs_plane *plane)
{
	return plane->workers[0].backend_times;
}

const lbs_times *lbs_slot_times(lbs_plane *plane)
{
	return plane->workers[0].slot_times;
}

int lbs_forget(lbs_plane *plane, uint32_t table, uint32_t number, int all)
{
	const struct worker *w = &plane->workers[0];
	const lbs_sizes *s = sizes_of(plane);
	const struct {
		lbs_gauge *gauges;
		lbs_times *times;
		uint32_t rows;
	} tables[] = {
		[LBS_TABLE_PROCESS] = {w->process_gauge, NULL, 1},
		[LBS_TABLE_LISTENERS] = {w->listener_gauges, NULL, s->listeners},
		[LBS_TABLE_FRONTENDS] = {w->frontend_gauges, NULL, s->frontends},
		[LBS_TABLE_BACKENDS] = {w->backend_gauges, w->backend_times, s->backends},
		[LBS_TABLE_SLOTS] = {w->slot_gauges, w->slot_times, s->slots},
	};

	if (table >= sizeof(tables) / sizeof(tables[0]) || number >= tables[table].rows)
		return -EINVAL;
	__atomic_store_n(&tables[table].gauges[number].max,
			 gauge_read(&tables[table].gauges[number]), __ATOMIC_RELAXED);
	if (tables[table].times)
		times_forget(&tables[table].times[number], all);
	return 0;
}

uint32_t lbs_plans_alive(lbs_plane *plane)
{
	return __atomic_load_n(&plane->plans_alive, __ATOMIC_RELAXED);
}
