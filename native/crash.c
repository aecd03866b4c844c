#include "crash.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "plane.h"

int lbs_crash_read(int fd, lbs_crash *crash)
{
	struct ledger ledger;
	int error = ledger_map(&ledger, fd, LEDGER_READ);

	if (error)
		return error;
	*crash = ledger.header->crash;
	ledger_close(&ledger);
	return crash->signal != 0;
}

/* A sanitizer wants to see these signals itself. */
#ifdef __SANITIZE_ADDRESS__

void crash_enter(struct worker *w)
{
	(void)w;
}

int lbs_crash_watch(lbs_plane *plane)
{
	(void)plane;
	return 0;
}

void crash_forget(const struct ledger_header *header)
{
	(void)header;
}

#else

#define STACK_BYTES 65536U

static const int SIGNALS[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
#define SIGNAL_COUNT (sizeof(SIGNALS) / sizeof(SIGNALS[0]))

/* A handler can ask for nothing: this is what it needs. Thread-local storage may be
 * allocated at its first use, so threads are told apart by their number. */
static struct {
	struct ledger_header *header;
	pid_t pid;
	uint32_t threads;
	struct {
		pid_t id;
		const struct worker *worker;
		void *stack;
	} thread[LEDGER_THREADS_MAX];
} watch;

static void note(int signal, int code)
{
	pid_t id = (pid_t)syscall(SYS_gettid);
	lbs_crash *c = &watch.header->crash;
	uint32_t session = LBS_NONE;

	c->code = code;
	c->pid = (uint32_t)watch.pid;
	c->thread = LBS_NONE;
	c->crashes = 0;
	for (uint32_t t = 0; t < watch.threads; t++)
		if (watch.thread[t].id == id) {
			c->thread = t;
			session = watch.thread[t].worker->head->working;
			if (session < watch.header->sizes.sessions)
				c->crashes = watch.thread[t].worker->sessions[session].crashes + 1U;
			else
				session = LBS_NONE;
		}
	c->session = session;
	__atomic_store_n(&c->signal, signal, __ATOMIC_RELEASE);
}

/* The signal's action is the default one again (SA_RESETHAND): what follows the return from
 * here is the death that was due, with its core and its status. */
static void on_fault(int signal, siginfo_t *info, void *context)
{
	pid_t pid = getpid();
	int aborted = info->si_code == SI_TKILL && info->si_pid == pid;

	(void)context;
	/* A child between fork and exec has these handlers, too. */
	if (pid == watch.pid && (info->si_code > 0 || aborted) && !watch.header->crash.signal)
		note(signal, info->si_code);
	/* An instruction that faulted does so again. A signal that was sent is not. */
	if (info->si_code <= 0)
		(void)syscall(SYS_tgkill, pid, (pid_t)syscall(SYS_gettid), signal);
}

/* A stack overflow leaves no room for a handler on the thread's own. */
static void use_own_stack(void **kept)
{
	stack_t stack = {.ss_size = STACK_BYTES};

	if (!*kept) {
		void *at = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (at == MAP_FAILED)
			return;
		*kept = at;
	}
	stack.ss_sp = *kept;
	(void)sigaltstack(&stack, NULL);
}

void crash_enter(struct worker *w)
{
	if (watch.pid != getpid() || w->number >= watch.threads)
		return;
	watch.thread[w->number].worker = w;
	watch.thread[w->number].id = (pid_t)syscall(SYS_gettid);
	use_own_stack(&watch.thread[w->number].stack);
}

int lbs_crash_watch(lbs_plane *plane)
{
	struct sigaction action;

	memset(&action, 0, sizeof(action));
	action.sa_sigaction = on_fault;
	action.sa_flags = SA_SIGINFO | SA_ONSTACK | (int)SA_RESETHAND;
	sigemptyset(&action.sa_mask);
	watch.header = plane->ledger.header;
	watch.threads = plane->ledger.header->sizes.threads;
	watch.pid = getpid();
	memset(watch.thread, 0, sizeof(watch.thread));
	for (size_t i = 0; i < SIGNAL_COUNT; i++)
		if (sigaction(SIGNALS[i], &action, NULL) < 0)
			return -errno;
	return 0;
}

void crash_forget(const struct ledger_header *header)
{
	if (watch.header == header)
		watch.pid = 0;
}

#endif
