/* The fault-injection build (LBSPLICE_FAULTS=1): how a worker dies at a point of step.h.
 *
 * The environment variable LBSPLICE_FAULT is read at the first point that a process passes.
 * It holds clauses, separated by ';', of words, separated by ',':
 *
 *   step=N              at the Nth point that any thread of the process passes
 *   random=SEED,mean=M  after a random number of points, M on the average
 *   file=F,line=L       at this point, as grep -n 'STEP()' names it; nth=K: the Kth time
 *   poison=PORT         whenever a thread begins to work on the session of the client at PORT
 *   counter=PATH        a clause of its own: the file that holds how many deaths there were
 *
 * and with each of the first four
 *
 *   signal=S  of what: 9 KILL (the default), 11 SEGV, 6 ABRT, 7 BUS, 0 one of these at random
 *   times=T   how many deaths the clause is for (the default is 1; 0: all from then on)
 *
 * One clause holds for one life of a process. Which one is told by the counter's file, which
 * each death raises: the first clause for its number of deaths, then the second, and so on;
 * then nothing any more. Without such a file it is always the first.
 *
 *   LBSPLICE_FAULT='counter=/tmp/deaths;file=relay.c,line=91;random=7,mean=900,signal=0,times=9'
 *
 * A fault is a real one: SIGSEGV comes of a write to address 0, SIGBUS of a mapping beyond
 * its file's end, SIGABRT of abort(). */
#ifdef LBS_FAULTS

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

#include "step.h"

/* What this life is to die of; 0 or "": not of that. */
struct fault {
	uint64_t step;
	uint64_t random;
	uint64_t mean;
	char file[64];
	uint64_t line;
	uint64_t nth;
	uint64_t poison;
	uint64_t signal;
	uint64_t times;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pid_t owner; /* whose life the rest is about; a forked process begins its own */
static struct fault fault;
static char counter_path[256];
static uint64_t passed; /* points, or times at fault.file */

static void malformed(const char *what)
{
	fprintf(stderr, "LBSPLICE_FAULT: what is '%s'?\n", what);
	_exit(2);
}

static void read_word(struct fault *f, const char *word)
{
	static const struct {
		const char *name;
		size_t at;
	} numbers[] = {
		{"step=", offsetof(struct fault, step)},     {"random=", offsetof(struct fault, random)},
		{"mean=", offsetof(struct fault, mean)},     {"line=", offsetof(struct fault, line)},
		{"nth=", offsetof(struct fault, nth)},       {"poison=", offsetof(struct fault, poison)},
		{"signal=", offsetof(struct fault, signal)}, {"times=", offsetof(struct fault, times)},
	};
	size_t count = sizeof(numbers) / sizeof(numbers[0]);

	if (!strncmp(word, "file=", 5) && strlen(word + 5) < sizeof(f->file)) {
		strcpy(f->file, word + 5);
		return;
	}
	for (size_t i = 0; i < count; i++) {
		size_t length = strlen(numbers[i].name);
		uint64_t value;
		char *end;

		if (strncmp(word, numbers[i].name, length))
			continue;
		value = strtoull(word + length, &end, 10);
		if (*end || end == word + length)
			malformed(word);
		memcpy((char *)f + numbers[i].at, &value, sizeof(value));
		return;
	}
	malformed(word);
}

static struct fault read_clause(char *clause)
{
	struct fault f = {.signal = SIGKILL, .nth = 1, .times = 1};
	char *rest;

	for (char *word = strtok_r(clause, ",", &rest); word; word = strtok_r(NULL, ",", &rest))
		read_word(&f, word);
	if (!f.step && !f.mean && !f.poison && !(f.file[0] && f.line))
		malformed(clause);
	return f;
}

/* Deaths so far, and with `more` one more. */
static uint64_t deaths(uint64_t more)
{
	int fd = counter_path[0] ? open(counter_path, O_RDWR | O_CREAT | O_CLOEXEC, 0666) : -1;
	char text[32] = "";
	uint64_t count;

	if (fd < 0)
		return 0;
	(void)flock(fd, LOCK_EX);
	if (pread(fd, text, sizeof(text) - 1, 0) < 0)
		text[0] = 0;
	count = strtoull(text, NULL, 10) + more;
	if (more) {
		int length = snprintf(text, sizeof(text), "%llu\n", (unsigned long long)count);

		if (pwrite(fd, text, (size_t)length, 0) < 0)
			perror(counter_path);
	}
	close(fd);
	return count;
}

/* A number that looks random, different for each life. */
static uint64_t draw(uint64_t seed, uint64_t life)
{
	uint64_t x = seed * 0x9e3779b97f4a7c15U + life * 0xbf58476d1ce4e5b9U + 1;

	/* splitmix64 (Vigna 2015) */
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
	return x ^ (x >> 31);
}

/* Find out what this process is to die of. */
static void begin_life(void)
{
	const char *variable = getenv("LBSPLICE_FAULT");
	struct fault clauses[32];
	uint64_t count = 0;
	uint64_t life;
	uint64_t left;
	char *rest;
	char *text;

	owner = getpid();
	passed = 0;
	fault = (struct fault){0};
	text = strdup(variable ? variable : "");
	if (!text)
		abort();
	for (char *part = strtok_r(text, ";", &rest); part; part = strtok_r(NULL, ";", &rest)) {
		if (!strncmp(part, "counter=", 8) && strlen(part + 8) < sizeof(counter_path))
			strcpy(counter_path, part + 8);
		else if (count < sizeof(clauses) / sizeof(clauses[0]))
			clauses[count++] = read_clause(part);
		else
			malformed(part);
	}
	free(text);
	life = left = deaths(0);
	for (uint64_t i = 0; i < count; i++) {
		if (!clauses[i].times || left < clauses[i].times) {
			fault = clauses[i];
			break;
		}
		left -= clauses[i].times;
	}
	if (fault.mean)
		fault.step = 1 + draw(fault.random, life) % (2 * fault.mean);
	if (!fault.signal) {
		static const int any[] = {SIGKILL, SIGSEGV, SIGABRT, SIGBUS};

		fault.signal = (uint64_t)any[draw(fault.random + 1, life) % 4];
	}
}

_Noreturn static void die(void)
{
	volatile char *volatile nowhere = NULL;

	(void)deaths(1);
	if (fault.signal == SIGSEGV) {
		*nowhere = 1;
	} else if (fault.signal == SIGABRT) {
		abort();
	} else if (fault.signal == SIGBUS) {
		int fd = memfd_create("empty", MFD_CLOEXEC);
		volatile char *beyond = mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, fd, 0);

		*beyond = 1;
	} else {
		kill(getpid(), (int)fault.signal);
	}
	/* Nobody else takes a step any more: the lock is held. */
	for (;;)
		pause();
}

static const char *base(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static void enter(void)
{
	pthread_mutex_lock(&lock);
	if (owner != getpid())
		begin_life();
}

void fault_step(const char *file, int line)
{
	int error = errno;

	enter();
	if (fault.file[0]) {
		if (fault.line == (uint64_t)line && !strcmp(fault.file, base(file)) &&
		    ++passed == fault.nth)
			die();
	} else if (fault.step && ++passed == fault.step) {
		die();
	}
	pthread_mutex_unlock(&lock);
	errno = error;
}

void fault_session(unsigned port)
{
	enter();
	if (fault.poison && fault.poison == port)
		die();
	pthread_mutex_unlock(&lock);
}

#endif
