/* Commands down: one producer (Python), one consumer (a worker), in order. */
#ifndef LBS_MAILBOX_H
#define LBS_MAILBOX_H

#include <stdint.h>

#define MAILBOX_PLACES 1024U

enum command_kind { COMMAND_PLAN = 1, COMMAND_KILL_SLOT, COMMAND_KILL_ALL, COMMAND_KILL_SESSION, COMMAND_STOP };

struct plan;

struct command {
	uint32_t kind;
	uint32_t slot;
	uint32_t cause;
	uint64_t serial;
	struct plan *plan; /* with a reference of its own */
};

struct mailbox {
	uint64_t head;
	uint64_t tail;
	int event_fd;
	struct command places[MAILBOX_PLACES];
};

int mailbox_open(struct mailbox *mailbox);
void mailbox_close(struct mailbox *mailbox);

/* The producer's side: room for one more? Then put, then signal. */
int mailbox_has_room(const struct mailbox *mailbox);
void mailbox_put(struct mailbox *mailbox, const struct command *command);

/* Wake the worker; any thread may. */
void mailbox_signal(struct mailbox *mailbox);

/* The consumer's side: the oldest command or NULL; done with it. */
const struct command *mailbox_peek(struct mailbox *mailbox);
void mailbox_next(struct mailbox *mailbox);

#endif
