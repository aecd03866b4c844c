/* A hierarchical wheel of session timers: three levels of 256 buckets, ticks of 4 ms.
 * A timer fires at its time or up to one tick later, never earlier. Links are session
 * numbers, kept in the records; a session has one timer. */
#ifndef LBS_TIMERS_H
#define LBS_TIMERS_H

#include <stdint.h>

#include "api.h"

#define TIMERS_TICK_MS 4
#define TIMERS_LEVELS 3
#define TIMERS_BUCKETS 256

struct timers {
	lbs_session *sessions;
	uint64_t tick; /* all buckets up to and with this one were run */
	uint32_t heads[TIMERS_LEVELS * TIMERS_BUCKETS];
	uint64_t full[TIMERS_LEVELS][TIMERS_BUCKETS / 64]; /* buckets that hold something */
};

void timers_init(struct timers *timers, lbs_session *sessions, uint64_t now_ms);

/* Let the session's timer fire at `at_ms` (replaces an earlier order). */
void timers_set(struct timers *timers, uint32_t session, uint64_t at_ms);

/* Forget the session's timer, if it has one. */
void timers_clear(struct timers *timers, uint32_t session);

/* Take one session whose time has come, its timer cleared; LBS_NONE when there is none. */
uint32_t timers_due(struct timers *timers, uint64_t now_ms);

/* How long until timers_due may have something: ms, or -1 for ever. */
int timers_wait_ms(const struct timers *timers, uint64_t now_ms);

#endif
