#include "kill.h"

#include "session.h"

/* Sessions killed, and records looked at, between two looks at the sockets. */
#define KILL_CHUNK 512U
#define LOOK_CHUNK 8192U

static int tell(struct worker *w, uint32_t session, enum lbs_cause cause)
{
	int told;

	worker_works_on(w, session);
	told = session_tell_killed(w, session, cause);
	worker_works_on(w, LBS_NONE);
	return told;
}

static void end(struct worker *w, uint32_t session, enum lbs_cause cause)
{
	worker_works_on(w, session);
	session_kill(w, session, cause);
	worker_works_on(w, LBS_NONE);
}

/* Two passes over the slot's list: the first tells the clients that can be told at once, the
 * second closes, until the list is empty: a session whose pause ended between two chunks may
 * have come back to it. For those that leave it meanwhile session_leave_slot keeps
 * killing.next right. */
int kill_slot(struct worker *w, uint32_t slot, enum lbs_cause cause)
{
	struct killing *k = &w->killing;
	const uint32_t *head = &w->slot_heads[slot];
	uint32_t done = 0;

	if (k->pass == KILL_NONE) {
		k->pass = KILL_TELL;
		k->next = *head;
		k->count = 0;
	}
	for (; k->next != LBS_NONE && done < KILL_CHUNK; done++) {
		uint32_t session = k->next;

		k->next = w->sessions[session].slot_next;
		k->count += (uint32_t)tell(w, session, cause);
	}
	if (k->next != LBS_NONE)
		return 0;
	k->pass = KILL_CLOSE;
	for (; *head != LBS_NONE && done < KILL_CHUNK; done++) {
		k->count += !(w->sessions[*head].flags & LBS_SESSION_TOLD);
		end(w, *head, cause);
	}
	if (*head != LBS_NONE)
		return 0;
	worker_tell_number(w, LBS_EVENT_KILLED, slot, k->count);
	k->pass = KILL_NONE;
	return 1;
}

/* Begin to look at all records, or go on; up to which one this time. */
static uint32_t look_until(struct worker *w)
{
	struct killing *k = &w->killing;

	if (k->pass == KILL_NONE) {
		k->pass = KILL_CLOSE;
		k->look = 0;
		k->end = w->head->high;
	}
	return k->end - k->look > LOOK_CHUNK ? k->look + LOOK_CHUNK : k->end;
}

int kill_all(struct worker *w, enum lbs_cause cause)
{
	struct killing *k = &w->killing;
	uint32_t until = look_until(w);

	for (uint32_t done = 0; k->look < until && done < KILL_CHUNK; k->look++)
		if (w->sessions[k->look].magic == SESSION_MAGIC) {
			end(w, k->look, cause);
			done++;
		}
	if (k->look < k->end)
		return 0;
	k->pass = KILL_NONE;
	return 1;
}

int kill_session(struct worker *w, uint64_t serial, enum lbs_cause cause)
{
	struct killing *k = &w->killing;
	uint32_t until = look_until(w);

	for (; k->look < until; k->look++) {
		const lbs_session *s = &w->sessions[k->look];

		if (s->magic == SESSION_MAGIC && s->serial == serial) {
			end(w, k->look, cause);
			k->look = k->end;
			break;
		}
	}
	if (k->look < k->end)
		return 0;
	k->pass = KILL_NONE;
	return 1;
}
