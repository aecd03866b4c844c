/* The life of a session: accepted, connecting, established, ended. */
#ifndef LBS_SESSION_H
#define LBS_SESSION_H

#include <sys/socket.h>

#include "worker.h"

/* Is there a record for one more? */
int session_has_room(const struct worker *worker);

/* Begin a session with a client's socket, which is the session's from here on. The
 * process's, frontend's and listener's gauges count it already, and there is a plan. The
 * thread accepts no more on return (ledger_thread.accepting). */
void session_begin(struct worker *worker, const lbs_listener_row *listener, int fd,
		   const struct sockaddr_storage *client);

/* epoll reported `events` on a leg. */
void session_event(struct worker *worker, uint32_t session, int side, uint32_t events);

/* The session's timer fired. */
void session_timer(struct worker *worker, uint32_t session);

/* A direction's turn has come, or there is a pipe for it. */
void session_turn(struct worker *worker, uint32_t member);

/* End it by order. One that is still connecting goes to another server if the cause is
 * its server's, and ends otherwise. */
void session_kill(struct worker *worker, uint32_t session, enum lbs_cause cause);

/* The first half of a kill by mark-down: tell the client of an established session, if
 * nothing has to be delivered to it before. Cheap beside the closing, which session_kill
 * does: so the last of many clients is told long before the last session is cleaned up.
 * 1 if the client was told. */
int session_tell_killed(struct worker *worker, uint32_t session, enum lbs_cause cause);

/* After a batch: free what ended in it. */
void session_free_closed(struct worker *worker);

#endif
