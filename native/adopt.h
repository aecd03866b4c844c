/* Going on with what another process's worker left behind. lbs_plane_adopt makes all lists,
 * gauges and pools anew, from the records alone; each thread then takes its sessions up. */
#ifndef LBS_ADOPT_H
#define LBS_ADOPT_H

struct worker;

/* The first thing a thread does when worker->adopting is set: watch its sessions' sockets,
 * set their timers, finish what the worker before was in the middle of. */
void adopt_thread(struct worker *worker);

/* The thread's first plan is there: begin those sessions that had been accepted but not
 * noted. */
void adopt_begin(struct worker *worker);

/* There will be no plan: close them. */
void adopt_turn_away(struct worker *worker);

#endif
