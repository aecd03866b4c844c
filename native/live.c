/* What open sessions have moved so far: read beside the threads that relay them. */
#include <string.h>

#include "plane.h"

/* Where a session's bytes go to. */
struct owner {
	uint32_t listener;
	uint32_t frontend;
	uint32_t backend; /* LBS_NONE: none */
	uint32_t slot;    /* the same */
};

#define READ(place) __atomic_load_n(&(place), __ATOMIC_RELAXED)

/* What an open session has moved. 0: it is none, or ends, or was another one meanwhile. */
static int read_session(const lbs_session *s, struct owner *owner, lbs_moved *moved)
{
	uint64_t serial;

	if (__atomic_load_n(&s->magic, __ATOMIC_ACQUIRE) != SESSION_MAGIC)
		return 0;
	serial = READ(s->serial);
	owner->listener = READ(s->listener);
	owner->frontend = READ(s->frontend);
	owner->backend = READ(s->backend);
	owner->slot = READ(s->flags) & LBS_SESSION_ASSIGNED ? READ(s->slot) : LBS_NONE;
	moved->bytes_in = READ(s->relays[LBS_CLIENT].moved);
	moved->bytes_out = READ(s->relays[LBS_SERVER].moved);
	if (READ(s->ending))
		return 0;
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return READ(s->magic) == SESSION_MAGIC && READ(s->serial) == serial;
}

static void add(lbs_moved *rows, uint32_t count, uint32_t number, const lbs_moved *more)
{
	if (number >= count)
		return;
	rows[number].bytes_in += more->bytes_in;
	rows[number].bytes_out += more->bytes_out;
}

void lbs_live_bytes(lbs_plane *plane, const lbs_live *into)
{
	memset(into->listeners, 0, into->listener_count * sizeof(*into->listeners));
	memset(into->frontends, 0, into->frontend_count * sizeof(*into->frontends));
	memset(into->backends, 0, into->backend_count * sizeof(*into->backends));
	memset(into->slots, 0, into->slot_count * sizeof(*into->slots));
	/* The totals were read before. */
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	for (uint32_t t = 0; t < plane->ledger.header->sizes.threads; t++) {
		const struct worker *w = &plane->workers[t];
		uint32_t high = __atomic_load_n(&w->head->high, __ATOMIC_ACQUIRE);

		for (uint32_t i = 0; i < high; i++) {
			struct owner owner;
			lbs_moved moved;

			if (!read_session(&w->sessions[i], &owner, &moved))
				continue;
			add(into->listeners, into->listener_count, owner.listener, &moved);
			add(into->frontends, into->frontend_count, owner.frontend, &moved);
			add(into->backends, into->backend_count, owner.backend, &moved);
			add(into->slots, into->slot_count, owner.slot, &moved);
		}
	}
}
