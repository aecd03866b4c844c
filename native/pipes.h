/* A thread's pipes. A pipe is in the list of empty ones, or a direction holds it while
 * bytes are in it. Numbers index the thread's pipe table in the ledger. */
#ifndef LBS_PIPES_H
#define LBS_PIPES_H

#include <stdint.h>

#include "ledger.h"

#define PIPES_DEFAULT_BYTES 524288U
/* Empty pipes kept for the next direction, at most; more are closed. Threads that share
 * a small limit keep fewer, or one of them would starve the others. */
#define PIPES_KEPT 256U

struct pipes {
	struct ledger_thread *head;
	struct ledger_pipe *table;
	uint32_t *open_everywhere; /* all threads' pipes, in the ledger */
	uint32_t open_limit;
	uint32_t places; /* in the table */
	uint32_t free_places; /* list of those below head->pipe_high that hold no pipe */
	uint32_t keep_limit; /* of empty ones */
	uint32_t want_bytes;
	uint32_t page_bytes; /* the system's; a pipe has one place for each */
};

/* A pipe that holds nothing, or LBS_NONE if there is none to be had now. */
uint32_t pipes_take(struct pipes *pipes);

/* Is pipes_take worth trying? */
int pipes_may_take(const struct pipes *pipes);

/* Give back a pipe that holds nothing. */
void pipes_give(struct pipes *pipes, uint32_t pipe);

/* Close a pipe with whatever is in it. No direction may refer to it any more. */
void pipes_drop(struct pipes *pipes, uint32_t pipe);

/* Close all empty pipes (the end of a thread). */
void pipes_close(struct pipes *pipes);

#endif
