/* Moving bytes one way: socket -> pipe -> socket, with splice(2). */
#ifndef LBS_RELAY_H
#define LBS_RELAY_H

#include "worker.h"

enum relay_result {
	RELAY_OK = 0,          /* waits for an event, a pipe or its turn */
	RELAY_SOURCE_BROKEN,   /* reading failed; all that came before is delivered */
	RELAY_TARGET_BROKEN,   /* writing failed; what the pipe held is lost */
};

/* Move what is ready from leg `side` to the other one.
 * On return the direction waits for one side only: the target if the pipe holds bytes,
 * the source if it is empty; with RELAY_OK and its end seen and delivered, for nobody.
 * The pipe, once empty, is back in the pool. */
enum relay_result relay_move(struct worker *worker, uint32_t session, int side);

/* Push only what the pipe still holds. */
enum relay_result relay_flush(struct worker *worker, uint32_t session, int side);

/* Give the direction up: its pipe is closed with what it holds. */
void relay_abandon(struct worker *worker, uint32_t session, int side);

/* How many bytes its pipe holds. */
static inline uint32_t relay_held(const lbs_relay *relay)
{
	return relay->taken - (uint32_t)relay->moved;
}

/* Has the direction ended, with nothing left to deliver? */
static inline int relay_done(const lbs_relay *relay)
{
	return (relay->flags & LBS_RELAY_END) && !relay_held(relay);
}

#endif
