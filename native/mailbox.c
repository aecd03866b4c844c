#include "mailbox.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

int mailbox_open(struct mailbox *m)
{
	m->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	return m->event_fd < 0 ? -errno : 0;
}

void mailbox_close(struct mailbox *m)
{
	if (m->event_fd >= 0)
		close(m->event_fd);
	m->event_fd = -1;
}

int mailbox_has_room(const struct mailbox *m)
{
	return m->head - __atomic_load_n(&m->tail, __ATOMIC_ACQUIRE) < MAILBOX_PLACES;
}

void mailbox_put(struct mailbox *m, const struct command *command)
{
	m->places[m->head % MAILBOX_PLACES] = *command;
	__atomic_store_n(&m->head, m->head + 1, __ATOMIC_RELEASE);
}

void mailbox_signal(struct mailbox *m)
{
	uint64_t one = 1;
	/* EAGAIN means that the worker has signals enough. */
	ssize_t written = write(m->event_fd, &one, sizeof(one));

	(void)written;
}

const struct command *mailbox_peek(struct mailbox *m)
{
	if (__atomic_load_n(&m->head, __ATOMIC_ACQUIRE) == m->tail)
		return NULL;
	return &m->places[m->tail % MAILBOX_PLACES];
}

void mailbox_next(struct mailbox *m)
{
	__atomic_store_n(&m->tail, m->tail + 1, __ATOMIC_RELEASE);
}
