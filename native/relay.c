#include "relay.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/types.h>

#include "net.h"
#include "step.h"

/* Passes before others get their turn. */
#define ROUNDS 16

#define HOW (SPLICE_F_MOVE | SPLICE_F_NONBLOCK)

static void give_pipe(struct worker *w, lbs_relay *r)
{
	uint32_t pipe = r->pipe;

	if (pipe == LBS_NONE)
		return;
	assert(!relay_held(r));
	r->pipe = LBS_NONE;
	STEP();
	pipes_give(&w->pipes, pipe);
	/* One pipe came free: one direction that waits for one may go on. */
	if (w->for_pipe.first != LBS_NONE)
		queue_add(w, &w->for_turn, queue_pop(w, &w->for_pipe));
}

static int take_pipe(struct worker *w, lbs_relay *r, uint32_t member)
{
	uint32_t pipe;

	if (r->pipe != LBS_NONE)
		return 1;
	pipe = pipes_take(&w->pipes);
	if (pipe == LBS_NONE) {
		count(&w->head->counters.pipe_waits, 1);
		queue_add(w, &w->for_pipe, member);
		return 0;
	}
	r->pipe = pipe;
	STEP();
	/* An event may have brought it here before its turn came. */
	queue_remove(w, member);
	return 1;
}

void relay_abandon(struct worker *w, uint32_t session, int side)
{
	lbs_relay *r = &w->sessions[session].relays[side];

	queue_remove(w, session * 2 + (uint32_t)side);
	if (relay_held(r)) {
		uint32_t pipe = r->pipe;

		r->flags |= LBS_RELAY_LOST;
		STEP();
		r->taken = (uint32_t)r->moved;
		STEP();
		r->pipe = LBS_NONE;
		STEP();
		pipes_drop(&w->pipes, pipe);
		if (w->for_pipe.first != LBS_NONE)
			queue_add(w, &w->for_turn, queue_pop(w, &w->for_pipe));
	} else {
		give_pipe(w, r);
	}
}

enum relay_result relay_flush(struct worker *w, uint32_t session, int side)
{
	lbs_session *s = &w->sessions[session];
	lbs_relay *r = &s->relays[side];
	lbs_leg *to = &s->legs[!side];

	while (relay_held(r) && (to->ready & LBS_LEG_OUT)) {
		uint32_t held = relay_held(r);
		ssize_t moved;

		STEP();
		moved = splice(w->pipes.table[r->pipe].read_fd, NULL, to->fd, NULL, held, HOW);

		if (moved > 0) {
			STEP();
			assert((uint32_t)moved <= held);
			/* One store: a successor that finds less in the pipe knows why. */
			r->moved += (uint64_t)moved;
			STEP();
			to->active_ms = (uint32_t)w->now_ms;
			/* Its reader may go on, and is waited for from now. */
			if ((uint32_t)moved == held)
				s->legs[side].active_ms = (uint32_t)w->now_ms;
			count(&w->head->counters.spliced_bytes, (uint64_t)moved);
		} else if (moved < 0 && errno == EAGAIN) {
			to->ready &= ~(uint32_t)LBS_LEG_OUT;
		} else if (moved == 0 || errno != EINTR) {
			/* A socket tells its error once only; a successor must know. */
			to->ready |= LBS_LEG_ERROR;
			STEP();
			return RELAY_TARGET_BROKEN;
		}
	}
	return RELAY_OK;
}

/* Is a read of `bytes` into a pipe of this size sure to have emptied the socket? Every
 * byte may take up one of the pipe's pages, so only a read of fewer bytes than pages
 * can not have been cut short by the pipe. Urgent data cuts reads short too, and so do
 * descriptors sent over a unix socket. */
static int surely_drained(const struct worker *w, const lbs_leg *from,
			  const struct ledger_pipe *pipe, ssize_t bytes)
{
	return !(from->ready & (LBS_LEG_URGENT | LBS_LEG_UNIX)) &&
	       (uint64_t)bytes < pipe->bytes / w->pipes.page_bytes;
}

/* A read that got nothing may have stopped at an urgent byte, which is dropped (as
 * programs that read without SO_OOBINLINE drop it): what follows can be read then. */
static int passed_urgent(lbs_leg *from)
{
	if (!(from->ready & LBS_LEG_URGENT) || !net_skip_urgent(from->fd))
		return 0;
	from->ready &= ~(uint32_t)LBS_LEG_URGENT;
	return 1;
}

enum relay_result relay_move(struct worker *w, uint32_t session, int side)
{
	lbs_session *s = &w->sessions[session];
	lbs_relay *r = &s->relays[side];
	lbs_leg *from = &s->legs[side];
	uint32_t member = session * 2 + (uint32_t)side;

	for (int round = 0;; round++) {
		const struct ledger_pipe *pipe;
		enum relay_result result = relay_flush(w, session, side);
		ssize_t got;

		if (result != RELAY_OK || relay_held(r))
			return result;
		if ((r->flags & LBS_RELAY_END) || !(from->ready & LBS_LEG_IN))
			break;
		if (round == ROUNDS) {
			queue_add(w, &w->for_turn, member);
			break;
		}
		if (!take_pipe(w, r, member))
			break;
		pipe = &w->pipes.table[r->pipe];
		STEP();
		got = splice(from->fd, NULL, pipe->write_fd, NULL, pipe->bytes, HOW);
		if (got > 0) {
			STEP();
			r->taken += (uint32_t)got;
			STEP();
			from->active_ms = (uint32_t)w->now_ms;
			if (surely_drained(w, from, pipe, got)) {
				from->ready &= ~(uint32_t)LBS_LEG_IN;
				/* The FIN came after these bytes. An error may have too: read on. */
				if ((from->ready & (LBS_LEG_RDHUP | LBS_LEG_ERROR)) == LBS_LEG_RDHUP)
					r->flags |= LBS_RELAY_END;
				else if (from->ready & LBS_LEG_ERROR)
					from->ready |= LBS_LEG_IN;
			}
		} else if (got == 0) {
			if (!passed_urgent(from))
				r->flags |= LBS_RELAY_END;
		} else if (errno == EAGAIN) {
			if (!passed_urgent(from))
				from->ready &= ~(uint32_t)LBS_LEG_IN;
		} else if (errno != EINTR) {
			from->ready |= LBS_LEG_ERROR; /* for a successor, as above */
			STEP();
			give_pipe(w, r);
			return RELAY_SOURCE_BROKEN;
		}
	}
	give_pipe(w, r);
	return RELAY_OK;
}
