#include "source.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "api.h"

/* A vault answers at once. How long it may take on a busy machine, where there is another
 * way, and where there is none. */
#define PATIENCE_MS 1000
#define LAST_PATIENCE_MS 5000

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* The next message from the vault; 0 or -errno. `fds` gets what descriptors came with it. */
static int hear(int request, struct vault_answer *answer, int *fds, uint32_t *count, int wait_ms)
{
	union {
		struct cmsghdr head;
		char bytes[CMSG_SPACE(VAULT_BATCH * sizeof(int))];
	} control;
	struct iovec data = {.iov_base = answer, .iov_len = sizeof(*answer)};
	struct msghdr message = {.msg_iov = &data,
				 .msg_iovlen = 1,
				 .msg_control = &control,
				 .msg_controllen = sizeof(control)};
	struct pollfd poll_for = {.fd = request, .events = POLLIN};
	const struct cmsghdr *c;
	ssize_t got;

	*count = 0;
	got = poll(&poll_for, 1, wait_ms);
	if (got < 0)
		return errno == EINTR ? -EAGAIN : -errno;
	if (!got)
		return -ETIMEDOUT;
	got = recvmsg(request, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	if (got < 0)
		return errno == EINTR ? -EAGAIN : -errno;
	for (c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, (struct cmsghdr *)c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
			*count = (uint32_t)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
			memcpy(fds, CMSG_DATA(c), *count * sizeof(int));
		}
	if (got != sizeof(*answer))
		return got ? -EPROTO : -EPIPE;
	return message.msg_flags & MSG_CTRUNC ? -EMFILE : 0;
}

void source_close(const int *fds, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		close(fds[i]);
}

int source_ask(const struct source *from, const int32_t *numbers, uint32_t count, struct vault_answer *answer,
	       int *fds, uint32_t *found)
{
	struct vault_ask a = {.what = VAULT_GIVE, .count = count};
	int64_t until = now_ms() + (from->pidfd < 0 ? LAST_PATIENCE_MS : PATIENCE_MS);
	ssize_t sent;

	memcpy(a.numbers, numbers, count * sizeof(*numbers));
	if (getrandom(&a.token, sizeof(a.token), GRND_NONBLOCK) != sizeof(a.token))
		a.token = (uint64_t)getpid() << 32 ^ (uint64_t)until;
	do
		sent = send(from->request, &a, sizeof(a), MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	if (sent < 0)
		return -errno;
	for (;;) {
		int64_t left = until - now_ms();
		int error = hear(from->request, answer, fds, found, left > 0 ? (int)left : 0);

		if (!error && answer->token == a.token)
			return answer->count == count ? 0 : -EPROTO;
		/* What was asked for by somebody who did not live to hear it. */
		source_close(fds, *found);
		*found = 0;
		if (error && error != -EAGAIN)
			return error;
	}
}

int source_get(int pidfd, int number)
{
	int fd = (int)syscall(SYS_pidfd_getfd, pidfd, number, 0);

	return fd < 0 ? -errno : fd;
}

int lbs_descriptor_take(int pidfd, int request, int number)
{
	struct vault_answer answer;
	int fds[VAULT_BATCH];
	uint32_t found = 0;
	const struct source from = {request, pidfd};
	int error = -EBADF;

	if (request >= 0) {
		error = source_ask(&from, &number, 1, &answer, fds, &found);
		if (!error)
			return found ? fds[0] : -EBADF;
		source_close(fds, found);
	}
	return pidfd >= 0 ? source_get(pidfd, number) : error;
}

int lbs_vault_quit(int request)
{
	struct vault_ask a = {.what = VAULT_QUIT};

	return send(request, &a, sizeof(a), MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}
