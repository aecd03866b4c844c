/* How long the sessions of a backend or of a server took: averages and maxima.
 *
 * An average is HAProxy's sliding sum: each sample takes away the share of one in the window
 * and adds itself, so old sessions fade and none is remembered. The first LBS_TIMES_WINDOW
 * samples are just added, and their sum is divided by their number. All threads write:
 * no sample is lost among them, and a sum and `samples` may be one sample apart. They have no
 * journal: a worker that dies here leaves them off by the session it was counting. */
#ifndef LBS_TIMES_H
#define LBS_TIMES_H

#include <stdint.h>

#include "api.h"

/* Count an ended session; milliseconds. */
void times_note(lbs_times *times, uint64_t queue, uint64_t connect, uint64_t total);

/* A session was assigned at this second of CLOCK_REALTIME. */
void times_assigned(lbs_times *times, uint64_t second);

/* Begin anew with the maxima; with `all`, with everything. */
void times_forget(lbs_times *times, int all);

#endif
