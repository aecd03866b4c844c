/* The vault's life, from clone(2) to its end.
 *
 * The child keeps its stack and the page of its own code, gives back all other memory and
 * makes only raw system calls: there is nothing in it that could fail. Its code therefore
 * stands in a section of its own and calls no function, reads no constant that is not part
 * of an instruction, and has no stack protector (that reads thread-local storage). */
#include "vault.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "api.h"

#define STACK_BYTES 65536U
#define ADDRESSES_END (1UL << 56) /* no machine's processes have more */

#define RSEQ_UNREGISTER 1
#ifdef __aarch64__
#define RSEQ_SIGNATURE 0xd428bc00L
#else
#define RSEQ_SIGNATURE 0x53053053L
#endif

/* What glibc tells of the area it registered with rseq(2); older ones register none. */
extern const ptrdiff_t __rseq_offset __attribute__((weak));
extern const unsigned int __rseq_size __attribute__((weak));

extern const char __start_lbs_vault[] __attribute__((visibility("hidden")));
extern const char __stop_lbs_vault[] __attribute__((visibility("hidden")));

#ifdef __clang__
#define BARE no_stack_protector, no_sanitize("address", "undefined", "thread")
#else
#define BARE                                                                        \
	no_sanitize("address", "undefined", "thread"),                              \
		optimize("no-stack-protector", "no-tree-loop-distribute-patterns")
#endif
#define IN_VAULT __attribute__((always_inline, BARE)) static inline
#define VAULT_CODE __attribute__((section("lbs_vault"), noinline, used, BARE)) static

struct pages {
	unsigned long from;
	unsigned long to;
};

/* All that the child knows; it lies at the top of its stack. */
struct vault {
	int request;
	int owner; /* a pidfd of the worker */
	unsigned long page;
	struct pages kept[2]; /* its code and its stack, the lower one first */
	/* What rseq(2) is registered with, 0 for nothing. Its length depends on the C
	 * library's version. */
	unsigned long rseq;
	unsigned long rseq_bytes[4];
	char name[16];
	struct pollfd poll;
	struct iovec data;
	struct msghdr message;
	struct vault_ask ask;
	struct vault_answer answer;
	struct {
		struct cmsghdr head;
		int32_t fds[VAULT_BATCH];
	} rights;
};

_Static_assert(sizeof(struct vault) < STACK_BYTES / 4, "it lies on the vault's stack");
_Static_assert(CMSG_LEN(0) == sizeof(struct cmsghdr), "a control message's data follows its head");

/* ---- raw system calls ---- */

#if defined(__x86_64__)
IN_VAULT long call(long number, long a, long b, long c, long d, long e)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = 0;
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}
#elif defined(__aarch64__)
IN_VAULT long call(long number, long a, long b, long c, long d, long e)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = 0;

	__asm__ volatile("svc 0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
			 : "memory");
	return x0;
}
#else
#error "the vault calls the kernel without the C library: write call() for this machine"
#endif

/* ---- in the child ---- */

/* Give back what is mapped in a range. Pages that the kernel has sealed (the vdso, maybe)
 * stay; where the address space ends, it ends. */
IN_VAULT void give_back(unsigned long from, unsigned long to, unsigned long page)
{
	unsigned long bytes = to - from;

	while (from < to) {
		long error;

		if (bytes > to - from)
			bytes = to - from;
		error = call(SYS_munmap, (long)from, (long)bytes, 0, 0, 0);
		if (!error) {
			from += bytes;
			bytes *= 2;
		} else if (bytes > page) {
			bytes = bytes / 2 & ~(page - 1);
		} else if (error == -EINVAL) {
			return;
		} else {
			from += page;
		}
	}
}

/* Keep the code and the stack, and what can not be done without. */
IN_VAULT void forget_all(const struct vault *v)
{
	unsigned long rseq = v->rseq & ~(v->page - 1);

	/* The kernel writes to a registered area whenever it preempts. */
	for (int i = 0; i < 4 && rseq; i++)
		if (!call(SYS_rseq, (long)v->rseq, (long)v->rseq_bytes[i], RSEQ_UNREGISTER,
			  RSEQ_SIGNATURE, 0))
			rseq = 0;
	for (int i = 0; i < 3; i++) {
		unsigned long from = i ? v->kept[i - 1].to : 0;
		unsigned long to = i < 2 ? v->kept[i].from : ADDRESSES_END;

		if (rseq >= from && rseq < to) {
			give_back(from, rseq, v->page);
			from = rseq + v->page;
		}
		give_back(from, to, v->page);
	}
}

/* Hand over those of the descriptors asked for that are open. */
IN_VAULT void give(struct vault *v)
{
	uint32_t count = v->ask.count < VAULT_BATCH ? v->ask.count : VAULT_BATCH;
	uint32_t found = 0;
	long sent;

	for (uint32_t i = 0; i < count; i++) {
		int fd = v->ask.numbers[i];

		v->answer.open[i] = call(SYS_fcntl, fd, F_GETFD, 0, 0, 0) >= 0;
		if (v->answer.open[i])
			v->rights.fds[found++] = fd;
	}
	v->answer.token = v->ask.token;
	v->answer.count = count;
	v->rights.head.cmsg_len = CMSG_LEN(found * sizeof(int32_t));
	v->data.iov_base = &v->answer;
	v->data.iov_len = sizeof(v->answer);
	v->message.msg_iov = &v->data;
	v->message.msg_iovlen = 1;
	v->message.msg_control = found ? &v->rights : (void *)0;
	v->message.msg_controllen = found ? CMSG_SPACE(found * sizeof(int32_t)) : 0;
	for (;;) {
		sent = call(SYS_sendmsg, v->request, (long)&v->message, MSG_NOSIGNAL, 0, 0);
		if (sent >= 0 || sent == -EPIPE)
			return;
		if (sent != -EAGAIN && sent != -EINTR) {
			/* Too many in flight, say: an answer that is none, for another way. */
			if (v->answer.count == VAULT_CAN_NOT)
				return;
			v->answer.count = VAULT_CAN_NOT;
			v->message.msg_control = (void *)0;
			v->message.msg_controllen = 0;
			continue;
		}
		v->poll.fd = v->request;
		v->poll.events = POLLOUT;
		(void)call(SYS_ppoll, (long)&v->poll, 1, 0, 0, 0);
	}
}

/* The child. It ends when told to; and, when nobody is left who could tell it, with the
 * worker. It closes nothing: the table is the worker's. */
VAULT_CODE _Noreturn int live(void *at)
{
	struct vault *v = at;
	int heard = 1;

	(void)call(SYS_prctl, PR_SET_NAME, (long)v->name, 0, 0, 0);
	forget_all(v);
	for (;;) {
		long got;

		v->poll.fd = heard ? v->request : v->owner;
		v->poll.events = POLLIN;
		got = call(SYS_ppoll, (long)&v->poll, 1, 0, 0, 0);
		if (got < 1)
			continue;
		if (!heard)
			break;
		got = call(SYS_recvfrom, v->request, (long)&v->ask, sizeof(v->ask), MSG_WAITALL, 0);
		if (got == -EAGAIN || got == -EINTR)
			continue;
		if (got <= 0)
			heard = 0;
		else if (v->ask.what == VAULT_QUIT)
			break;
		else if (v->ask.what == VAULT_GIVE && got == sizeof(v->ask))
			give(v);
	}
	for (;;)
		(void)call(SYS_exit_group, 0, 0, 0, 0, 0);
}

/* ---- in the worker ---- */

/* A pidfd of this process, opened once and never closed: the vault knows it by its number
 * in the table that they share. */
static int own_pidfd(void)
{
	static pid_t pid;
	static int fd;

	if (pid != getpid()) {
		fd = (int)syscall(SYS_pidfd_open, getpid(), 0);
		if (fd < 0)
			return -errno;
		pid = getpid();
	}
	return fd;
}

static void describe(struct vault *v, int request, int owner, char *stack)
{
	struct pages code;
	struct pages own = {(unsigned long)stack, (unsigned long)stack + STACK_BYTES};

	memset(v, 0, sizeof(*v));
	v->request = request;
	v->owner = owner;
	v->page = (unsigned long)sysconf(_SC_PAGESIZE);
	code.from = (unsigned long)__start_lbs_vault & ~(v->page - 1);
	code.to = ((unsigned long)__stop_lbs_vault + v->page - 1) & ~(v->page - 1);
	v->kept[0] = code.from < own.from ? code : own;
	v->kept[1] = code.from < own.from ? own : code;
	if (&__rseq_size && __rseq_size) {
		v->rseq = (unsigned long)__builtin_thread_pointer() + (unsigned long)__rseq_offset;
		v->rseq_bytes[0] = 32;
		v->rseq_bytes[1] = __rseq_size;
		v->rseq_bytes[2] = (__rseq_size + 31) & ~31U;
		v->rseq_bytes[3] = 64;
	}
	strcpy(v->name, "lbsplice-vault");
	v->rights.head.cmsg_level = SOL_SOCKET;
	v->rights.head.cmsg_type = SCM_RIGHTS;
}

int lbs_vault_start(int request)
{
	int owner = own_pidfd();
	sigset_t all;
	sigset_t before;
	struct vault *v;
	char *stack;
	int pid;

	if (owner < 0)
		return owner;
	stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (stack == MAP_FAILED)
		return -errno;
	v = (struct vault *)(stack + STACK_BYTES - ((sizeof(*v) + 63) & ~(size_t)63));
	describe(v, request, owner, stack);
	/* It has no handlers to run: nothing reaches it but SIGKILL and SIGSTOP. */
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	pid = clone(live, v, CLONE_FILES | CLONE_PARENT | SIGCHLD, v);
	if (pid < 0)
		pid = -errno;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	munmap(stack, STACK_BYTES);
	return pid;
}
