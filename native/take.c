#include "take.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "ledger.h"
#include "source.h"

struct numbers {
	int32_t *at;
	size_t count;
	size_t room;
};

/* ---- which numbers ---- */

static int add(struct numbers *n, int32_t fd)
{
	if (n->count == n->room) {
		size_t room = n->room ? n->room * 2 : 1024;
		int32_t *at = realloc(n->at, room * sizeof(*at));

		if (!at)
			return -ENOMEM;
		n->at = at;
		n->room = room;
	}
	n->at[n->count++] = fd;
	return 0;
}

static int ascending(const void *a, const void *b)
{
	int32_t left = *(const int32_t *)a;
	int32_t right = *(const int32_t *)b;

	return (left > right) - (left < right);
}

/* All descriptors that the ledger names, ascending. 0 or -errno. */
static int collect(const struct ledger *ledger, struct numbers *n)
{
	const struct ledger_areas *a = &ledger->header->areas;
	int error = 0;

	for (uint32_t t = 0; t < ledger->header->sizes.threads && !error; t++) {
		const struct ledger_thread *head = ledger_of(ledger, t, a->head);
		const lbs_session *sessions = ledger_of(ledger, t, a->sessions);
		const struct ledger_pipe *pipes = ledger_of(ledger, t, a->pipes);

		for (uint32_t i = 0; i < head->high && !error; i++)
			for (int side = 0; side < 2 && !error; side++)
				if (sessions[i].magic == SESSION_MAGIC && sessions[i].legs[side].fd >= 0)
					error = add(n, sessions[i].legs[side].fd);
		for (uint32_t i = 0; i < head->pipe_high && !error; i++)
			if (pipes[i].read_fd >= 0) {
				error = add(n, pipes[i].read_fd);
				if (!error)
					error = add(n, pipes[i].write_fd);
			}
	}
	if (!error && n->count)
		qsort(n->at, n->count, sizeof(*n->at), ascending);
	return error;
}

int32_t lbs_ledger_highest(int fd)
{
	struct numbers n = {NULL, 0, 0};
	struct ledger ledger;
	int32_t highest = -1;

	if (ledger_map(&ledger, fd, LEDGER_READ))
		return -1;
	if (!collect(&ledger, &n) && n.count)
		highest = n.at[n.count - 1];
	free(n.at);
	ledger_close(&ledger);
	return highest;
}

/* ---- at the same numbers ---- */

int take_is_missing(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags < 0 || (flags & O_PATH);
}

/* Occupy a number whose descriptor is gone, so that nothing of ours gets it: the ledger
 * still says that it is a session's. */
static int hold(int number)
{
	int holder = open("/", O_PATH | O_CLOEXEC);
	int fd;

	if (holder < 0)
		return -errno;
	if (holder == number)
		return 0;
	fd = fcntl(holder, F_DUPFD_CLOEXEC, number);
	if (fd < 0)
		fd = -errno;
	close(holder);
	if (fd > number) {
		close(fd);
		return -EEXIST;
	}
	return fd < 0 ? fd : 0;
}

/* Everything that a taking over holds. */
struct taking {
	struct source from;
	const struct numbers *wanted;
	struct numbers taken;   /* settled, or held */
	struct numbers fillers; /* what fills the holes between them meanwhile */
	int any;                /* a descriptor to make fillers of */
	int32_t next;           /* below this one every number is in use */
	int silent;             /* the vault did not answer */
};

/* Occupy the free numbers below this one, so that it is the next to be given out. */
static int fill(struct taking *t, int32_t below)
{
	while (t->next < below) {
		int fd = fcntl(t->any, F_DUPFD_CLOEXEC, t->next);
		int error;

		if (fd < 0)
			return -errno;
		if (fd >= below) {
			close(fd);
			break;
		}
		error = add(&t->fillers, fd);
		if (error) {
			close(fd);
			return error;
		}
		t->next = fd + 1;
	}
	t->next = below + 1;
	return 0;
}

/* Put a descriptor to its number. It came at that one, unless another was missing. */
static int settle(int fd, int32_t number)
{
	if (fd == number)
		return 0;
	if (fcntl(number, F_GETFD) >= 0)
		return -EEXIST;
	if (dup3(fd, number, O_CLOEXEC) < 0)
		return -errno;
	close(fd);
	return 0;
}

static int hold_and_note(struct taking *t, int32_t number)
{
	int error = hold(number);

	return error ? error : add(&t->taken, number);
}

static int settle_and_note(struct taking *t, int fd, int32_t number)
{
	int error = settle(fd, number);

	if (error)
		close(fd);
	return error ? error : add(&t->taken, number);
}

/* How many came, or -errno. */
static int take_one(struct taking *t, int32_t number)
{
	int fd = source_get(t->from.pidfd, number);
	int error;

	if (fd < 0 && fd != -EBADF)
		return fd;
	error = fd < 0 ? hold_and_note(t, number) : settle_and_note(t, fd, number);
	return error ? error : fd >= 0;
}

static int take_batch(struct taking *t, const int32_t *numbers, uint32_t count)
{
	struct vault_answer answer;
	int fds[VAULT_BATCH];
	uint32_t found = 0;
	uint32_t left;
	int error = source_ask(&t->from, numbers, count, &answer, fds, &found);

	t->silent = error != 0;
	/* Where some are missing the others came at lower numbers than theirs: moved from
	 * the top down they never meet. */
	left = found;
	for (uint32_t i = count; i-- > 0 && !error;)
		if (answer.open[i])
			error = left ? settle_and_note(t, fds[--left], numbers[i]) : -EPROTO;
	if (error) {
		source_close(fds, left);
		return error;
	}
	for (uint32_t i = 0; i < count && !error; i++)
		if (!answer.open[i])
			error = hold_and_note(t, numbers[i]);
	return error ? error : (int)found;
}

/* The next ones, as many as come at once. How many came, or -errno. */
static int take_next(struct taking *t, size_t first, size_t *tried)
{
	const struct source *from = &t->from;
	size_t left = t->wanted->count - first;
	size_t count = from->request < 0 ? 1 : left < VAULT_BATCH ? left : VAULT_BATCH;

	*tried = first + count;
	for (size_t i = first; i < *tried; i++) {
		int error = fill(t, t->wanted->at[i]);

		if (error)
			return error;
	}
	if (from->request >= 0)
		return take_batch(t, t->wanted->at + first, (uint32_t)count);
	if (from->pidfd >= 0)
		return take_one(t, t->wanted->at[first]);
	return hold_and_note(t, t->wanted->at[first]);
}

static int64_t take_all(struct taking *t)
{
	int64_t taken = 0;
	size_t tried;

	for (size_t i = 0; i < t->wanted->count; i = tried) {
		int result = take_next(t, i, &tried);

		if (t->silent && t->from.pidfd >= 0) {
			t->from.request = -1;
			t->silent = 0;
			tried = i;
		} else if (result < 0) {
			return result;
		} else {
			taken += result;
		}
	}
	return taken;
}

int64_t lbs_descriptors_take(int ledger_fd, int pidfd, int request)
{
	struct numbers wanted = {NULL, 0, 0};
	struct taking t = {.from = {request, pidfd}, .wanted = &wanted, .any = ledger_fd};
	struct ledger ledger;
	int64_t result = ledger_map(&ledger, ledger_fd, LEDGER_READ);

	if (result)
		return result;
	result = collect(&ledger, &wanted);
	if (!result)
		result = take_all(&t);
	for (size_t i = 0; i < t.fillers.count; i++)
		close(t.fillers.at[i]);
	for (size_t i = 0; i < t.taken.count && result < 0; i++)
		close(t.taken.at[i]);
	free(t.taken.at);
	free(t.fillers.at);
	free(wanted.at);
	ledger_close(&ledger);
	return result;
}
