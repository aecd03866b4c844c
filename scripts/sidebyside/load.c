/* The load of scripts/bench: clients and servers of a proxy in one epoll loop.
 *
 *     load WORK SERVER_IP SESSIONS
 *
 * listens on SERVER_IP, prints what happens as one JSON object a line, and reads commands
 * from its input, one a line:
 *
 *     go IP PORT WARM_MS MEASURE_MS PID[/TID]...
 *                  send the work through the proxy at IP:PORT; PIDs are the processes, or
 *                  the single threads, whose CPU time counts
 *     unlisten     close the listening socket (the server refuses)
 *     quit         or the end of the input
 *
 * WORK is one of
 *     up        clients send without end, the servers discard what they receive
 *     down      the same, the other way round
 *     messages  each client has one 64-byte message under way, which the server returns
 *     churn     as messages, with a new session for each message
 *     hold      each session carries one message and is then only watched
 *
 * Times are CLOCK_MONOTONIC in nanoseconds. CPU time is CPUCLOCK_SCHED of whole processes:
 * user and system time of all threads, without the 10 ms steps of /proc/PID/stat. That of a
 * single thread is as old as its last tick. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MESSAGE 64
#define CHUNK (256 * 1024)
#define AT_ONCE 128 /* sessions that `hold` opens at the same time */
#define PIDS 32
#define LINE 1024

enum work { UP, DOWN, MESSAGES, CHURN, HOLD };
enum role { LISTENER, INPUT, CLIENT, SERVER };

struct end {
	enum role role;
	int fd;
	size_t got;     /* bytes of the message under way */
	bool connected; /* a client's first edge was seen */
	bool used;      /* hold: a whole message went both ways */
	bool told;      /* hold: its end was seen */
};

static struct {
	enum work work;
	int epoll;
	struct end listener;
	struct end input;
	unsigned sessions;
	struct sockaddr_in proxy;
	pid_t pids[PIDS];
	pid_t tids[PIDS]; /* 0: the whole process */
	unsigned pid_count;
	bool going;
	bool measuring;
	bool quit;
	int64_t measure_at;
	int64_t measured_ns;
	int64_t stop_at;
	int64_t cpu_at_start;
	int64_t began_at;
	uint64_t bytes; /* received, of bulk work */
	uint64_t count; /* messages, or sessions of churn */
	uint64_t count_at_start;
	uint64_t errors;
	unsigned opened; /* hold */
	unsigned used;
	unsigned resets;
	unsigned ends;
	int64_t first_told;
	int64_t last_told;
	char line[LINE];
	size_t line_length;
} load;

static char chunk[CHUNK];

static void fail(const char *what)
{
	fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* CPU time of one thread of another process; a thread's clock is its own process' only. */
static bool thread_cpu_ns(pid_t pid, pid_t tid, int64_t *ns)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/task/%d/schedstat", (int)pid, (int)tid);
	FILE *file = fopen(path, "r");
	if (!file)
		return false;
	bool read = fscanf(file, "%" SCNd64, ns) == 1;
	fclose(file);
	return read;
}

static bool process_cpu_ns(pid_t pid, int64_t *ns)
{
	clockid_t clock;
	struct timespec t;
	if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &t) < 0)
		return false;
	*ns = (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
	return true;
}

/* CPU time of the proxy's processes or threads so far. One that is gone is an error: what
 * it used can no longer be told. */
static int64_t cpu_ns(void)
{
	int64_t sum = 0;
	for (unsigned i = 0; i < load.pid_count; i++) {
		pid_t pid = load.pids[i], tid = load.tids[i];
		int64_t ns;
		if (!(tid ? thread_cpu_ns(pid, tid, &ns) : process_cpu_ns(pid, &ns))) {
			fprintf(stderr, "load: process %d of the proxy is gone\n", (int)pid);
			exit(1);
		}
		sum += ns;
	}
	return sum;
}

static void watch(struct end *end, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = end };
	if (epoll_ctl(load.epoll, EPOLL_CTL_ADD, end->fd, &event) < 0)
		fail("epoll_ctl");
}

static void no_delay(int fd)
{
	int on = 1;
	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0)
		fail("TCP_NODELAY");
}

static struct end *new_end(enum role role, int fd)
{
	struct end *end = calloc(1, sizeof(*end));
	if (!end)
		fail("calloc");
	end->role = role;
	end->fd = fd;
	return end;
}

static void free_end(struct end *end)
{
	close(end->fd);
	free(end);
}

static void send_message(struct end *end)
{
	/* 64 bytes always fit: at most one message is under way on a socket. */
	ssize_t n = send(end->fd, chunk, MESSAGE, MSG_NOSIGNAL);
	if (n != MESSAGE && errno != ECONNRESET && errno != EPIPE)
		fail("send");
}

static void open_session(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		fail("socket");
	no_delay(fd);
	if (connect(fd, (struct sockaddr *)&load.proxy, sizeof(load.proxy)) < 0 &&
	    errno != EINPROGRESS)
		fail("connect");
	load.opened++;
	struct end *end = new_end(CLIENT, fd);
	if (load.work == UP) {
		watch(end, EPOLLOUT);
	} else if (load.work == DOWN) {
		watch(end, EPOLLIN);
	} else {
		/* Edges: the first is the connection's, then one for each arrival. */
		watch(end, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
	}
}

static void accept_sessions(void)
{
	while (load.listener.fd >= 0) {
		int fd = accept4(load.listener.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0) {
			if (errno == EAGAIN || errno == ECONNABORTED)
				return;
			fail("accept");
		}
		if (load.work == HOLD && load.used == load.sessions) {
			close(fd); /* all sessions stand: a health check */
			continue;
		}
		no_delay(fd);
		watch(new_end(SERVER, fd), load.work == DOWN ? EPOLLIN | EPOLLOUT : EPOLLIN);
	}
}

/* One send or receive of bulk work. False when the session is over. */
static bool bulk(struct end *end, uint32_t events)
{
	if (events & EPOLLOUT) {
		ssize_t n = send(end->fd, chunk, sizeof(chunk), MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN)
			return false;
	}
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
		/* MSG_TRUNC: the kernel discards, nothing is copied. */
		ssize_t n = recv(end->fd, chunk, 4 * sizeof(chunk), MSG_TRUNC | MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno != EAGAIN))
			return false;
		if (n > 0)
			load.bytes += (uint64_t)n;
	}
	return true;
}

/* Receive what is there of a message. 1: whole; 0: not yet; -1: the session is over. */
static int receive_message(struct end *end)
{
	ssize_t n = recv(end->fd, chunk, MESSAGE - end->got, 0);
	if (n < 0)
		return errno == EAGAIN ? 0 : -1;
	if (n == 0)
		return -1;
	end->got += (size_t)n;
	if (end->got < MESSAGE)
		return 0;
	end->got = 0;
	return 1;
}

static void held_session_used(struct end *end)
{
	end->used = true;
	load.used++;
	if (load.opened < load.sessions)
		open_session();
	if (load.used == load.sessions)
		printf("{\"event\":\"ready\",\"at_ns\":%" PRId64 "}\n", now_ns());
}

/* A client of `hold` whose message is through hears something: its session's end. */
static void held_session_told(struct end *end)
{
	ssize_t n = recv(end->fd, chunk, MESSAGE, 0);
	if (end->told || (n < 0 && errno == EAGAIN))
		return;
	end->told = true;
	load.last_told = now_ns();
	if (load.resets + load.ends == 0)
		load.first_told = load.last_told;
	if (n < 0)
		load.resets++;
	else
		load.ends++;
	if (load.resets + load.ends == load.sessions)
		printf("{\"event\":\"told\",\"resets\":%u,\"ends\":%u,\"first_ns\":%" PRId64
		       ",\"last_ns\":%" PRId64 "}\n",
		       load.resets, load.ends, load.first_told, load.last_told);
}

static void client_lost(struct end *end)
{
	load.errors++;
	free_end(end);
	if (load.work == CHURN)
		open_session();
}

static void client_event(struct end *end, uint32_t events)
{
	if (load.work == UP || load.work == DOWN) {
		if (!bulk(end, events))
			client_lost(end);
		return;
	}
	if (load.work == HOLD && end->used) {
		held_session_told(end);
		return;
	}
	if (!end->connected) {
		if (events & (EPOLLERR | EPOLLHUP)) {
			client_lost(end);
			return;
		}
		end->connected = true;
		send_message(end);
		return;
	}
	int whole = receive_message(end);
	if (whole == 0)
		return;
	if (whole < 0) {
		client_lost(end);
	} else if (load.work == MESSAGES) {
		load.count++;
		send_message(end);
	} else if (load.work == CHURN) {
		load.count++;
		free_end(end);
		open_session();
	} else {
		held_session_used(end);
	}
}

static void server_event(struct end *end, uint32_t events)
{
	if (load.work == UP || load.work == DOWN) {
		if (!bulk(end, events))
			free_end(end);
		return;
	}
	int whole = receive_message(end);
	if (whole < 0) {
		free_end(end);
	} else if (whole > 0) {
		send_message(end);
		/* What this end hears later is not measured and must not cost time then. */
		if (load.work == HOLD && epoll_ctl(load.epoll, EPOLL_CTL_DEL, end->fd, NULL) < 0)
			fail("epoll_ctl");
	}
}

static void go(char *arguments)
{
	char ip[INET_ADDRSTRLEN];
	unsigned port, warm_ms, measure_ms;
	int used = 0;
	if (sscanf(arguments, "%15s %u %u %u%n", ip, &port, &warm_ms, &measure_ms, &used) != 4) {
		fprintf(stderr, "load: go IP PORT WARM_MS MEASURE_MS PID[/TID]...\n");
		exit(2);
	}
	load.proxy.sin_family = AF_INET;
	load.proxy.sin_port = htons((uint16_t)port);
	if (inet_pton(AF_INET, ip, &load.proxy.sin_addr) != 1)
		fail("proxy's address");
	char *rest = arguments + used;
	for (char *word = strtok(rest, " "); word; word = strtok(NULL, " ")) {
		assert(load.pid_count < PIDS);
		char *tid = strchr(word, '/');
		load.pids[load.pid_count] = (pid_t)atoi(word);
		load.tids[load.pid_count++] = tid ? (pid_t)atoi(tid + 1) : 0;
	}
	load.going = true;
	load.measure_at = now_ns() + (int64_t)warm_ms * 1000000;
	load.measured_ns = (int64_t)measure_ms * 1000000;
	unsigned first = load.work == HOLD && load.sessions > AT_ONCE ? AT_ONCE : load.sessions;
	while (load.opened < first)
		open_session();
}

static void command(char *line)
{
	if (strncmp(line, "go ", 3) == 0) {
		go(line + 3);
	} else if (strcmp(line, "unlisten") == 0) {
		close(load.listener.fd);
		load.listener.fd = -1;
		printf("{\"event\":\"unlistened\",\"at_ns\":%" PRId64 "}\n", now_ns());
	} else if (strcmp(line, "quit") == 0) {
		load.quit = true;
	} else {
		fprintf(stderr, "load: unknown command '%s'\n", line);
		exit(2);
	}
}

static void read_commands(void)
{
	ssize_t n = read(STDIN_FILENO, load.line + load.line_length,
			 sizeof(load.line) - 1 - load.line_length);
	if (n < 0)
		fail("read");
	if (n == 0) {
		load.quit = true;
		return;
	}
	load.line_length += (size_t)n;
	load.line[load.line_length] = 0;
	char *end;
	while ((end = strchr(load.line, '\n'))) {
		*end = 0;
		command(load.line);
		load.line_length -= (size_t)(end + 1 - load.line);
		memmove(load.line, end + 1, load.line_length + 1);
	}
}

/* Begin and end the measured time of the works that have one. */
static void turn_the_clock(void)
{
	if (load.work == HOLD || !load.going)
		return;
	int64_t now = now_ns();
	if (!load.measuring && now >= load.measure_at) {
		load.measuring = true;
		load.bytes = 0;
		load.errors = 0;
		load.count_at_start = load.count;
		load.cpu_at_start = cpu_ns();
		load.began_at = now_ns();
		load.stop_at = load.began_at + load.measured_ns;
	} else if (load.measuring && now >= load.stop_at) {
		int64_t cpu = cpu_ns() - load.cpu_at_start;
		printf("{\"event\":\"measured\",\"wall_ns\":%" PRId64 ",\"cpu_ns\":%" PRId64
		       ",\"bytes\":%" PRIu64 ",\"count\":%" PRIu64 ",\"errors\":%" PRIu64 "}\n",
		       now - load.began_at, cpu, load.bytes, load.count - load.count_at_start,
		       load.errors);
		load.quit = true;
	}
}

static void serve(const char *ip)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	socklen_t length = sizeof(address);
	if (inet_pton(AF_INET, ip, &address.sin_addr) != 1)
		fail("server's address");
	load.listener.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (load.listener.fd < 0 ||
	    bind(load.listener.fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(load.listener.fd, 4096) < 0 ||
	    getsockname(load.listener.fd, (struct sockaddr *)&address, &length) < 0)
		fail("listen");
	load.listener.role = LISTENER;
	watch(&load.listener, EPOLLIN);
	printf("{\"event\":\"listening\",\"port\":%u}\n", ntohs(address.sin_port));
}

static enum work work_named(const char *name)
{
	static const char *names[] = { "up", "down", "messages", "churn", "hold" };
	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(name, names[i]) == 0)
			return (enum work)i;
	fprintf(stderr, "load: unknown work '%s'\n", name);
	exit(2);
}

int main(int argc, char **argv)
{
	if (argc != 4) {
		fprintf(stderr, "usage: load up|down|messages|churn|hold SERVER_IP SESSIONS\n");
		return 2;
	}
	load.work = work_named(argv[1]);
	load.sessions = (unsigned)atoi(argv[3]);
	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGPIPE, SIG_IGN);
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		fail("getrlimit");
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		fail("setrlimit");
	load.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (load.epoll < 0)
		fail("epoll_create1");
	load.input.role = INPUT;
	load.input.fd = STDIN_FILENO;
	watch(&load.input, EPOLLIN);
	serve(argv[2]);
	while (!load.quit) {
		struct epoll_event events[256];
		int n = epoll_wait(load.epoll, events, 256, 10);
		if (n < 0 && errno != EINTR)
			fail("epoll_wait");
		for (int i = 0; i < n; i++) {
			struct end *end = events[i].data.ptr;
			switch (end->role) {
			case LISTENER: accept_sessions(); break;
			case INPUT: read_commands(); break;
			case CLIENT: client_event(end, events[i].events); break;
			case SERVER: server_event(end, events[i].events); break;
			}
		}
		turn_the_clock();
	}
	return 0;
}
