/* A crowd of clients and their servers, in one process that has nothing else to do.
 *
 * Prints `port N`, where its servers listen, then obeys one command a line:
 *
 *     hold PORT N          N sessions through the proxy at 127.0.0.1:PORT, which stay open;
 *                          says `held N` when a byte went each way on all of them
 *     ask                  a byte each way on all of them again: `alive N`
 *     told                 wait until every client saw its end: `told RESETS ENDS MS`, the
 *                          last one that long after the first
 *     churn PORT N WIDE    N sessions, WIDE at a time: a byte each way, then the client
 *                          resets, every 16th closes: `churned N ERRORS`
 *
 * What is asked for and does not come within a minute ends the process. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MANY 65536
#define OPENING 500 /* held sessions under way at a time */

enum role { NOBODY, LISTENER, SERVER, CLIENT };

static enum role roles[MANY];
static int epoll_fd;
static struct sockaddr_in proxy = {.sin_family = AF_INET};

static unsigned servers; /* open ones */
static unsigned answered, resets, ends, errors, started, finished, wanted;
static int churning;
static int64_t first_ns, last_ns;

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void fail(const char *what)
{
	fprintf(stderr, "crowd: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void watch(int fd, enum role role)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

	if (fd >= MANY || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
		fail("epoll_ctl");
	roles[fd] = role;
	servers += role == SERVER;
}

static void leave(int fd, int reset)
{
	struct linger now = {1, 0};

	if (reset)
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	servers -= roles[fd] == SERVER;
	roles[fd] = NOBODY;
	close(fd);
}

static void start(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		fail("socket");
	if (connect(fd, (struct sockaddr *)&proxy, sizeof(proxy)) < 0)
		fail("connect");
	if (send(fd, "?", 1, MSG_NOSIGNAL) != 1)
		fail("send");
	watch(fd, CLIENT);
	started++;
}

static void client_ended(int fd, int reset)
{
	last_ns = now_ns();
	if (!first_ns)
		first_ns = last_ns;
	resets += reset;
	ends += !reset;
	errors += churning;
	finished += churning;
	leave(fd, 0);
}

static void ready(int fd)
{
	char byte;
	ssize_t got;

	if (roles[fd] == LISTENER) {
		for (int i = 0; i < 64; i++) {
			int session = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

			if (session < 0 && errno != EAGAIN)
				fail("accept");
			if (session < 0)
				return;
			watch(session, SERVER);
		}
		return;
	}
	got = recv(fd, &byte, 1, MSG_DONTWAIT);
	if (got < 0 && errno == EAGAIN)
		return;
	if (roles[fd] == SERVER) {
		if (got != 1 || send(fd, &byte, 1, MSG_NOSIGNAL) != 1)
			leave(fd, 0);
	} else if (got != 1) {
		client_ended(fd, got < 0);
	} else if (churning) {
		leave(fd, ++finished % 16 != 0);
	} else {
		answered++;
	}
}

/* Go on until `*done` is `goal`, keeping `wide` sessions under way, and if they were
 * churned until their servers have left too. */
static void run(const unsigned *done, unsigned goal, unsigned wide)
{
	int64_t deadline = now_ns() + 60000000000;
	struct epoll_event events[256];

	while (*done < goal || (churning && servers)) {
		int many;

		while (started < wanted && started - *done < wide)
			start();
		many = epoll_wait(epoll_fd, events, 256, 1000);
		for (int i = 0; i < many; i++)
			if (roles[events[i].data.fd] != NOBODY)
				ready(events[i].data.fd);
		if (now_ns() > deadline) {
			fprintf(stderr, "crowd: %u of %u within a minute\n", *done, goal);
			exit(1);
		}
	}
}

static void obey(const char *line)
{
	unsigned port;
	unsigned sessions;
	unsigned wide;

	if (sscanf(line, "hold %u %u", &port, &sessions) == 2) {
		proxy.sin_port = htons((uint16_t)port);
		started = answered = 0;
		wanted = sessions;
		run(&answered, sessions, OPENING);
		printf("held %u\n", answered);
	} else if (strncmp(line, "ask", 3) == 0) {
		answered = 0;
		for (int fd = 0; fd < MANY; fd++)
			if (roles[fd] == CLIENT && send(fd, "?", 1, MSG_NOSIGNAL) != 1)
				fail("ask");
		run(&answered, wanted, 0);
		printf("alive %u\n", answered);
	} else if (strncmp(line, "told", 4) == 0) {
		unsigned left = 0; /* clients to be told */

		for (int fd = 0; fd < MANY; fd++)
			left += roles[fd] == CLIENT;
		resets = ends = 0;
		while (resets + ends < left) {
			struct epoll_event events[256];
			int many = epoll_wait(epoll_fd, events, 256, 30000);

			if (many <= 0)
				fail("nobody is told any more");
			for (int i = 0; i < many; i++)
				if (roles[events[i].data.fd] != NOBODY)
					ready(events[i].data.fd);
		}
		printf("told %u %u %lld\n", resets, ends, (long long)((last_ns - first_ns) / 1000000));
	} else if (sscanf(line, "churn %u %u %u", &port, &sessions, &wide) == 3) {
		proxy.sin_port = htons((uint16_t)port);
		started = finished = errors = 0;
		wanted = sessions;
		churning = 1;
		run(&finished, sessions, wide);
		churning = 0;
		printf("churned %u %u\n", finished, errors);
	} else {
		fprintf(stderr, "crowd: what is %s", line);
		exit(1);
	}
	fflush(stdout);
}

int main(void)
{
	struct sockaddr_in own = {.sin_family = AF_INET};
	socklen_t length = sizeof(own);
	char line[256];
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	own.sin_addr.s_addr = proxy.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || bind(fd, (struct sockaddr *)&own, sizeof(own)) < 0 || listen(fd, 4096) < 0 ||
	    getsockname(fd, (struct sockaddr *)&own, &length) < 0)
		fail("listen");
	watch(fd, LISTENER);
	printf("port %d\n", ntohs(own.sin_port));
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin))
		obey(line);
	return 0;
}
