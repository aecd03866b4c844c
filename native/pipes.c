#include "pipes.h"

#include <assert.h>
#include <fcntl.h>
#include <unistd.h>

/* A place in the table for a new pipe, or LBS_NONE. */
static uint32_t free_place(struct pipes *p)
{
	if (p->head->pipe_high < p->places)
		return p->head->pipe_high;
	for (uint32_t i = 0; i < p->places; i++)
		if (p->table[i].read_fd < 0)
			return i;
	return LBS_NONE;
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
	p->table[place] = (struct ledger_pipe){
		.read_fd = fds[0],
		.write_fd = fds[1],
		.bytes = bytes > 0 ? (uint32_t)bytes : 4096,
		.next = LBS_NONE,
	};
	if (place == p->head->pipe_high)
		__atomic_store_n(&p->head->pipe_high, place + 1, __ATOMIC_RELEASE);
	p->head->counters.pipes_open++;
	return place;
}

uint32_t pipes_take(struct pipes *p)
{
	uint32_t pipe = p->head->pipe_free;

	if (pipe == LBS_NONE)
		return open_pipe(p);
	assert(p->kept);
	p->kept--;
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
	if (p->kept >= p->keep_limit) {
		pipes_drop(p, pipe);
		return;
	}
	p->table[pipe].next = p->head->pipe_free;
	p->head->pipe_free = pipe;
	p->kept++;
}

void pipes_drop(struct pipes *p, uint32_t pipe)
{
	struct ledger_pipe *entry = &p->table[pipe];

	assert(entry->read_fd >= 0);
	close(entry->read_fd);
	close(entry->write_fd);
	entry->read_fd = -1;
	entry->write_fd = -1;
	p->head->counters.pipes_open--;
	__atomic_fetch_sub(p->open_everywhere, 1, __ATOMIC_RELAXED);
}

void pipes_close(struct pipes *p)
{
	while (p->head->pipe_free != LBS_NONE) {
		uint32_t pipe = p->head->pipe_free;

		p->head->pipe_free = p->table[pipe].next;
		p->kept--;
		pipes_drop(p, pipe);
	}
}
