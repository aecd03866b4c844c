#include "pipes.h"

#include <assert.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "step.h"

/* Both descriptors by one store: whoever reads the table finds a pipe or none. */
static void publish(struct ledger_pipe *entry, int read_fd, int write_fd)
{
	int32_t fds[2] = {read_fd, write_fd};
	uint64_t both;

	memcpy(&both, fds, sizeof(both));
	STEP();
	__atomic_store_n((uint64_t *)(void *)entry, both, __ATOMIC_RELEASE);
	STEP();
}

static void count_free(struct pipes *p, int more)
{
	uint64_t *counter = &p->head->counters.pipes_free;

	__atomic_store_n(counter, *counter + (uint64_t)(int64_t)more, __ATOMIC_RELAXED);
}

static void list_place(struct pipes *p, uint32_t place)
{
	p->table[place].next = p->free_places;
	p->free_places = place;
}

/* A place in the table for a new pipe, or LBS_NONE. It stays listed until it is used. */
static uint32_t free_place(struct pipes *p)
{
	if (p->free_places != LBS_NONE)
		return p->free_places;
	if (p->head->pipe_high < p->places)
		return p->head->pipe_high;
	/* Those that another process's worker left are in no list yet. */
	if (p->head->counters.pipes_open < p->places)
		for (uint32_t i = 0; i < p->places; i++)
			if (p->table[i].read_fd < 0)
				list_place(p, i);
	return p->free_places;
}

static uint32_t open_pipe(struct pipes *p)
{
	uint32_t place = free_place(p);
	int fds[2];
	int bytes;

	if (place == LBS_NONE)
		return LBS_NONE;
	if (__atomic_fetch_add(p->open_everywhere, 1, __ATOMIC_RELAXED) >= p->open_limit ||
	    pipe2(fds, O_NONBLOCK | O_CLOEXEC) < 0) {
		__atomic_fetch_sub(p->open_everywhere, 1, __ATOMIC_RELAXED);
		return LBS_NONE;
	}
	/* The kernel may refuse (pipe-user-pages-soft); any size works. */
	(void)fcntl(fds[1], F_SETPIPE_SZ, (int)p->want_bytes);
	bytes = fcntl(fds[1], F_GETPIPE_SZ);
	if (place == p->free_places)
		p->free_places = p->table[place].next;
	p->table[place].bytes = bytes > 0 ? (uint32_t)bytes : 4096;
	p->table[place].next = LBS_NONE;
	publish(&p->table[place], fds[0], fds[1]);
	if (place == p->head->pipe_high)
		__atomic_store_n(&p->head->pipe_high, place + 1, __ATOMIC_RELEASE);
	STEP();
	p->head->counters.pipes_open++;
	return place;
}

uint32_t pipes_take(struct pipes *p)
{
	uint32_t pipe = p->head->pipe_free;

	if (pipe == LBS_NONE)
		return open_pipe(p);
	assert(p->head->counters.pipes_free);
	count_free(p, -1);
	p->head->pipe_free = p->table[pipe].next;
	return pipe;
}

int pipes_may_take(const struct pipes *p)
{
	return p->head->pipe_free != LBS_NONE ||
	       __atomic_load_n(p->open_everywhere, __ATOMIC_RELAXED) < p->open_limit;
}

void pipes_give(struct pipes *p, uint32_t pipe)
{
	if (p->head->counters.pipes_free >= p->keep_limit) {
		pipes_drop(p, pipe);
		return;
	}
	p->table[pipe].next = p->head->pipe_free;
	p->head->pipe_free = pipe;
	count_free(p, 1);
}

void pipes_drop(struct pipes *p, uint32_t pipe)
{
	struct ledger_pipe closing = p->table[pipe];

	assert(closing.read_fd >= 0);
	publish(&p->table[pipe], -1, -1);
	close(closing.read_fd);
	STEP();
	close(closing.write_fd);
	STEP();
	list_place(p, pipe);
	p->head->counters.pipes_open--;
	__atomic_fetch_sub(p->open_everywhere, 1, __ATOMIC_RELAXED);
}

void pipes_close(struct pipes *p)
{
	while (p->head->pipe_free != LBS_NONE) {
		uint32_t pipe = p->head->pipe_free;

		p->head->pipe_free = p->table[pipe].next;
		count_free(p, -1);
		pipes_drop(p, pipe);
	}
}
