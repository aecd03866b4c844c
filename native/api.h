/* The door: every name that Python may use, read by cffi (native/build.py) and cc alike.
 *
 * Only declarations that both understand: no #if, no #include below the guard, no
 * inline functions. Times are milliseconds of CLOCK_MONOTONIC unless a name says
 * otherwise; 0 means "none". Functions that can fail return 0 or -errno. */
#ifndef LBS_API_H
#define LBS_API_H

#define LBS_LAYOUT_VERSION 3 /* of the ledger; raised with each change of it */

#define LBS_NONE 4294967295 /* where no slot, pipe, session or backend is meant */

/* Sides of a session, and index of its legs. relays[LBS_CLIENT] moves what the client
 * sends (client to server), relays[LBS_SERVER] what the server sends. */
#define LBS_CLIENT 0
#define LBS_SERVER 1

/* Why a session ended and where it was: HAProxy's two letters (terms.py has the same). */
enum lbs_cause {
	LBS_CAUSE_NONE = 45,           /* - */
	LBS_CAUSE_CLIENT = 67,         /* C */
	LBS_CAUSE_SERVER = 83,         /* S */
	LBS_CAUSE_PROXY = 80,          /* P */
	LBS_CAUSE_LOCAL = 76,          /* L */
	LBS_CAUSE_RESOURCE = 82,       /* R */
	LBS_CAUSE_INTERNAL = 73,       /* I */
	LBS_CAUSE_DOWN = 68,           /* D */
	LBS_CAUSE_UP = 85,             /* U */
	LBS_CAUSE_KILLED = 75,         /* K */
	LBS_CAUSE_CLIENT_TIMEOUT = 99, /* c */
	LBS_CAUSE_SERVER_TIMEOUT = 115 /* s */
};
enum lbs_phase {
	LBS_PHASE_NONE = 45,    /* - */
	LBS_PHASE_REQUEST = 82, /* R */
	LBS_PHASE_QUEUE = 81,   /* Q */
	LBS_PHASE_CONNECT = 67, /* C */
	LBS_PHASE_DATA = 68,    /* D */
	LBS_PHASE_LAST = 76,    /* L */
	LBS_PHASE_TARPIT = 84   /* T */
};

/* ---- sizes ---- */

/* How large the shared tables are; fixed for the life of a ledger. */
typedef struct {
	uint32_t threads;
	uint32_t sessions;  /* per thread */
	uint32_t pipes;     /* per thread */
	uint32_t listeners; /* numbers run below these */
	uint32_t frontends;
	uint32_t backends;
	uint32_t slots;
	uint32_t events; /* ring places per thread, a power of two */
} lbs_sizes;

/* ---- the ledger's session record ---- */

/* lbs_leg.ready: what epoll has reported and no system call has used up. */
#define LBS_LEG_IN 1
#define LBS_LEG_OUT 2
#define LBS_LEG_RDHUP 4
#define LBS_LEG_ERROR 8
#define LBS_LEG_URGENT 16 /* there is an urgent byte in what it sends (TCP) */
#define LBS_LEG_UNIX 32   /* not an event: a unix socket */

/* lbs_relay.flags */
#define LBS_RELAY_END 1  /* the source has no more to say (its FIN, a reset or a timeout) */
#define LBS_RELAY_SHUT 2 /* the destination was told so */
#define LBS_RELAY_LOST 4 /* bytes of this direction could not be delivered */

/* lbs_session.flags */
#define LBS_SESSION_IN_SLOT 1      /* linked in its slot's list and counted there */
#define LBS_SESSION_REDISPATCHED 2 /* went to another server than the first */
#define LBS_SESSION_REPICK 4       /* the pause ends with a new choice of server */
#define LBS_SESSION_KILLED 8       /* resetting by order: bounded by a total time */
#define LBS_SESSION_RESET_SERVER 16 /* resetting: the leg to deliver to is the server's */
#define LBS_SESSION_IN_TIMER 32
#define LBS_SESSION_ASSIGNED 64    /* a server was chosen at least once */
#define LBS_SESSION_TOLD 128       /* killed, and the client's reset is on its way */

/* lbs_session.ending */
#define LBS_ENDING_RESET_CLIENT 1
#define LBS_ENDING_RESET_SERVER 2
#define LBS_ENDING_BEGUN 128

enum lbs_state {
	LBS_FREE = 0,
	LBS_CONNECTING,  /* a connect to `slot` is under way */
	LBS_PAUSING,     /* waiting before the next attempt */
	LBS_ESTABLISHED, /* relaying */
	LBS_RESETTING,   /* delivering what is left to one leg, which is then reset */
	LBS_CLOSED       /* ended; free after the batch */
};

typedef struct {
	int32_t fd;         /* -1: none */
	uint32_t ready;     /* LBS_LEG_IN, OUT ... */
	uint32_t active_ms; /* last progress on this leg, low 32 bits */
	uint32_t reserved;
} lbs_leg;

typedef struct {
	uint32_t pipe;  /* number in the thread's pipe table, or LBS_NONE */
	uint32_t taken; /* bytes read from this leg's socket, low 32 bits; taken - moved are in
			 * the pipe. Each of the two changes by one store, so that a
			 * successor knows what a splice did that was not noted any more. */
	uint64_t moved; /* bytes delivered to the other leg's socket */
	uint32_t flags; /* LBS_RELAY_* */
	uint32_t queue_next; /* directions that wait for a pipe or for their turn */
	uint32_t queue_prev;
	uint32_t queue; /* which of the two, or 0 */
} lbs_relay;

typedef struct {
	uint32_t magic;
	uint8_t state; /* enum lbs_state */
	uint8_t flags; /* LBS_SESSION_* */
	uint8_t cause;
	uint8_t phase;
	uint64_t serial; /* unique; thread in the top byte */
	uint64_t accepted_ms;
	uint64_t accepted_wall_ms; /* CLOCK_REALTIME */
	uint64_t connected_ms;     /* 0: never */
	uint32_t listener;
	uint32_t frontend;
	uint32_t backend;
	uint32_t slot;
	lbs_leg legs[2];
	uint8_t client_ip[16]; /* IPv4 in the first four bytes */
	uint8_t destination_ip[16];
	uint16_t client_port;
	uint16_t destination_port;
	uint8_t client_family; /* AF_INET, AF_INET6 or AF_UNIX */
	uint8_t destination_family;
	uint16_t retries;
	lbs_relay relays[2];
	uint32_t timer_next;
	uint32_t timer_prev;
	uint32_t timer_at;  /* low 32 bits of the time it fires at */
	uint32_t slot_next; /* the sessions of one slot in one thread */
	uint32_t slot_prev;
	uint32_t timeout_client;
	uint32_t timeout_server;
	uint32_t timeout_tunnel;
	uint32_t timeout_client_fin;
	uint32_t timeout_server_fin;
	uint32_t timeout_connect;
	uint32_t attempt_ms; /* when the attempt or the pause or the reset began, low 32 bits */
	uint32_t backlog;    /* while resetting: bytes the last leg's peer had not acknowledged */
	uint16_t retries_left;
	uint8_t ending;  /* LBS_ENDING_*: it is being ended, and how its legs are to be closed */
	uint8_t crashes; /* in a row, of a thread that worked on this session */
	uint32_t free_next;
} lbs_session;

/* ---- events, up ---- */

enum lbs_event_kind {
	LBS_EVENT_SESSION_ENDED = 1,
	LBS_EVENT_SESSION_CONNECTED = 2, /* for log lines that are written at connect */
	LBS_EVENT_PLAN_TAKEN = 3,        /* number: the generation; the older plan is out of use here */
	LBS_EVENT_KILLED = 4,            /* number: the slot; amount: sessions reset or sent elsewhere */
	LBS_EVENT_ACCEPT_PAUSED = 5,     /* number: errno (EMFILE, ENFILE, ENOMEM, ENOBUFS) */
	LBS_EVENT_STOPPED = 6
};

/* lbsplice/report/record.py has the same fields in the same order. */
typedef struct {
	uint8_t kind;
	uint8_t cause;
	uint8_t phase;
	uint8_t thread;
	uint8_t client_family;
	uint8_t destination_family;
	uint8_t redispatched;
	uint8_t reserved;
	uint16_t client_port;
	uint16_t destination_port;
	uint32_t retries;
	uint32_t number;
	uint32_t amount;
	uint64_t serial;
	uint64_t accepted_wall_ms;
	int64_t queue_ms;   /* Tw, -1 if it never got so far */
	int64_t connect_ms; /* Tc, -1 if it never connected */
	int64_t total_ms;   /* Tt */
	uint64_t bytes_from_client;
	uint64_t bytes_from_server;
	uint32_t listener;
	uint32_t frontend;
	uint32_t backend;
	uint32_t slot;
	uint32_t process_sessions; /* concurrent ones when the event was made */
	uint32_t frontend_sessions;
	uint32_t backend_sessions;
	uint32_t slot_sessions;
	uint8_t client_ip[16];
	uint8_t destination_ip[16];
} lbs_event;

/* ---- counters: written by the workers, read by Python at any time ---- */

/* One per thread and number. */
typedef struct {
	uint64_t sessions; /* accepted, or sent to this backend; of a server: attempts to reach it */
	uint64_t bytes_in; /* from clients */
	uint64_t bytes_out;
	uint64_t connect_errors; /* sessions given up because no server was reached */
	uint64_t retries; /* attempts anew to the same server */
	uint64_t redispatches;
	uint64_t client_aborts;
	uint64_t server_aborts;
	uint64_t killed; /* ended with cause D, U or K */
	uint64_t ended;
	uint64_t chosen;   /* times that balancing chose it, or a server of it */
	uint64_t connects; /* attempts to connect */
	uint64_t response_errors; /* the server broke an established session off */
} lbs_totals;

/* One per thread and number of a listener. */
typedef struct {
	uint64_t sessions;
	uint64_t bytes_in; /* from clients */
	uint64_t bytes_out;
	uint64_t ended;
} lbs_listener_totals;

/* What sessions have moved that have not ended: it is in no total yet. */
typedef struct {
	uint64_t bytes_in;
	uint64_t bytes_out;
} lbs_moved;

/* Of how many sessions the averages are (native/times.h). */
#define LBS_TIMES_WINDOW 512

/* How long the sessions of a backend or of a server took, of those that were connected and
 * have ended; milliseconds. One for all threads. An average is its sum divided by `samples`
 * or by LBS_TIMES_WINDOW, whichever is less. */
typedef struct {
	uint64_t samples;
	uint64_t queue_sum;
	uint64_t connect_sum;
	uint64_t total_sum;
	uint64_t last_session_s; /* CLOCK_REALTIME seconds of the latest session assigned; 0: none */
	uint32_t queue_max;
	uint32_t connect_max;
	uint32_t total_max;
	uint32_t reserved[3];
} lbs_times;

/* One per thread. */
typedef struct {
	uint64_t accepted;
	uint64_t ended;
	uint64_t events_dropped;
	uint64_t events_unwanted; /* session ends nobody asked to hear of */
	uint64_t spliced_bytes;
	uint64_t pipes_open;
	uint64_t pipe_waits; /* times a direction found no pipe */
	uint64_t accept_pauses;
	uint64_t batches;
	uint64_t generation; /* of the plan in use */
	uint64_t pipes_free; /* of those open: empty, kept for the next direction */
	uint64_t maxconn_reached; /* sessions accepted with which the plan's maxconn was reached */
	uint64_t killed_down;     /* sessions that ended with cause D */
	uint64_t killed_up;       /* U */
	uint64_t killed_order;    /* K */
} lbs_thread_counters;

/* Shared by all threads. */
typedef struct {
	uint32_t now;
	uint32_t max;
} lbs_gauge;

/* A fault of the worker's own (not a signal that somebody sent). */
typedef struct {
	int32_t signal;  /* 0: none was noted */
	int32_t code;    /* si_code */
	uint32_t thread; /* LBS_NONE: not a relay thread */
	uint32_t pid;
	uint32_t session; /* the record that the thread worked on, or LBS_NONE */
	uint32_t crashes; /* in a row, at that session's door; this one is counted */
} lbs_crash;

/* ---- the plan, down (lbsplice/plan/tables.py has the same rows) ---- */

enum lbs_algorithm {
	LBS_ROUNDROBIN = 0,
	LBS_STATIC_RR,
	LBS_LEASTCONN,
	LBS_FIRST,
	LBS_RANDOM,
	LBS_SOURCE
};
enum lbs_port_rule { LBS_PORT_FIXED = 0, LBS_PORT_OFFSET = 1 };
enum lbs_redispatch { LBS_REDISPATCH_NEVER = 0, LBS_REDISPATCH_INTERVAL = 1, LBS_REDISPATCH_LAST = 2 };

typedef struct {
	uint32_t length; /* 0: none */
	uint8_t bytes[112];
} lbs_address;

typedef struct {
	uint8_t enabled;
	uint8_t reserved[3];
	uint32_t idle; /* seconds; 0: the system's */
	uint32_t interval;
	uint32_t count;
} lbs_keepalive;

typedef struct {
	uint32_t number;
	uint32_t frontend;
	int32_t fd; /* a listening, non-blocking socket; stays Python's */
	uint32_t maxconn;
	uint8_t want_destination;
	uint8_t reserved[3];
} lbs_listener_row;

typedef struct {
	uint32_t number;
	uint32_t backend;
	uint32_t maxconn;
	uint32_t timeout_client;
	uint32_t timeout_client_fin;
	uint8_t want_end_event;
	uint8_t want_connect_event;
	uint8_t nolinger;
	uint8_t reserved;
} lbs_frontend_row;

typedef struct {
	uint32_t number;
	uint32_t backend;
	lbs_address address;
	uint32_t port_rule;
	int32_t port_offset;
	uint32_t weight;
	uint32_t tcp_ut;
	lbs_keepalive keepalive;
	lbs_address source;
	uint16_t source_port_low;
	uint16_t source_port_high;
	char source_interface[16];
} lbs_slot_row;

typedef struct {
	uint32_t key;
	uint32_t slot;
} lbs_point;

typedef struct {
	uint32_t number;
	uint32_t algorithm;
	uint32_t usable; /* first of usable_count entries in lbs_plan_rows.entries */
	uint32_t usable_count;
	uint32_t wheel; /* first of wheel_count entries there */
	uint32_t wheel_count;
	uint32_t points; /* first of points_count in lbs_plan_rows.points */
	uint32_t points_count;
	uint32_t draws;
	uint32_t retries;
	uint32_t redispatch;
	uint32_t redispatch_interval;
	uint32_t timeout_connect;
	uint32_t timeout_server;
	uint32_t timeout_server_fin;
	uint32_t timeout_tunnel;
	uint8_t redispatch_first_failure;
	uint8_t avalanche;
	uint8_t abortonclose;
	uint8_t nolinger;
	uint8_t smart_connect;
	uint8_t reserved[3];
} lbs_backend_row;

typedef struct {
	uint64_t generation;
	uint32_t maxconn; /* of the process */
	uint32_t maxaccept; /* per wake-up and listener */
	const lbs_listener_row *listeners;
	const lbs_frontend_row *frontends;
	const lbs_backend_row *backends;
	const lbs_slot_row *slots;
	const uint32_t *entries;
	const lbs_point *points;
	uint32_t listener_count;
	uint32_t frontend_count;
	uint32_t backend_count;
	uint32_t slot_count;
	uint32_t entry_count;
	uint32_t point_count;
} lbs_plan_rows;

/* ---- the data plane ---- */

typedef struct lbs_plane lbs_plane; /* the ledger, the plan in force and the workers */

/* Bytes a ledger of these sizes needs, or 0 if a size is out of range. */
uint64_t lbs_ledger_bytes(const lbs_sizes *sizes);

/* Lay out a new ledger in the memfd `fd` (already lbs_ledger_bytes() long; stays the
 * caller's) and make workers for it. `pipe_bytes` is the wanted size of a pipe, 0 the
 * default; `max_pipes` bounds all threads' pipes together. NULL and *error on failure. */
lbs_plane *lbs_plane_open(int fd, const lbs_sizes *sizes, uint32_t pipe_bytes, uint32_t max_pipes,
			  int *error);

/* What an adoption found. */
typedef struct {
	uint32_t sessions;   /* that go on */
	uint32_t connecting; /* of these: that have no server yet */
	uint32_t pipes;      /* with bytes in them */
	uint32_t resets;     /* sessions that end: their descriptors are gone, or see poisoned */
	uint32_t poisoned;   /* of these: were being worked on in three crashes in a row */
	uint32_t reserved;
	uint64_t bytes;      /* in the pipes */
} lbs_adoption;

/* Go on with another process's ledger, whose descriptors this process has at the same
 * numbers (lbs_descriptors_take). Every list, gauge and pool is made anew from the records;
 * the threads then do the rest as they begin to run. Dying on the way harms nothing.
 * Otherwise as lbs_plane_open; -EPROTO: not a ledger of this layout. */
lbs_plane *lbs_plane_adopt(int fd, uint32_t pipe_bytes, uint32_t max_pipes, lbs_adoption *told,
			   int *error);

/* Before lbs_worker_run: a socket of this listener that the worker before had accepted and
 * had no time to note (lbs_accepting). It is the plane's from here on, and begun as a session
 * when its thread has a plan: the one that had accepted it, else `thread`. -EINVAL: it is not
 * fresh (bytes went through it, so some session had it), given twice, or no number fits; it
 * stays the caller's then. */
int lbs_plane_begin(lbs_plane *plane, uint32_t thread, uint32_t listener, int fd);

/* Unmap and free. No worker may be running; what sessions are left are closed. */
void lbs_plane_close(lbs_plane *plane);

/* Give `thread` its epoll instance (stays the caller's) before lbs_worker_run. Its
 * mailbox and ring have eventfds of their own: the mailbox's is waited for in epoll,
 * the ring's is returned for the caller to wait on (stays the plane's), or -errno. */
int lbs_worker_attach(lbs_plane *plane, uint32_t thread, int epoll);

/* Run one worker on the calling thread until lbs_command_stop. 0 or -errno. May be called
 * again then: it goes on where it stopped. */
int lbs_worker_run(lbs_plane *plane, uint32_t thread);

/* Check and copy a plan and tell every worker to take it. Workers answer with
 * LBS_EVENT_PLAN_TAKEN each; older plans are freed once no worker uses them.
 * -EINVAL: a number is out of range or refers to nothing; -EAGAIN: a mailbox is full. */
int lbs_publish(lbs_plane *plane, const lbs_plan_rows *rows);

/* End all sessions of a server, in every thread (those still connecting go to another
 * server if the plan has one). Commands are obeyed in order: publish first. */
int lbs_command_kill_slot(lbs_plane *plane, uint32_t slot, uint32_t cause);

/* End every session, at once, with this cause. */
int lbs_command_kill_all(lbs_plane *plane, uint32_t cause);

/* End one session. It may have ended by itself meanwhile. */
int lbs_command_kill_session(lbs_plane *plane, uint64_t serial, uint32_t cause);

/* Let lbs_worker_run return, after the commands before this one. */
int lbs_command_stop(lbs_plane *plane);

/* Copy up to `room` events of a thread, oldest first; how many. They stay in the ring, for a
 * successor as well, until lbs_events_told. */
uint32_t lbs_events_look(lbs_plane *plane, uint32_t thread, lbs_event *into, uint32_t room);

/* The oldest `count` events, which were looked at, are dealt with. */
void lbs_events_told(lbs_plane *plane, uint32_t thread, uint32_t count);

/* Ask for a signal on the ring's eventfd at the next event. 1 if events are waiting
 * already (take them first; nothing was armed), else 0. */
int lbs_events_arm(lbs_plane *plane, uint32_t thread);

/* Read-only views, valid until lbs_plane_close. */
const lbs_session *lbs_sessions(lbs_plane *plane, uint32_t thread);
const lbs_thread_counters *lbs_thread_counts(lbs_plane *plane, uint32_t thread);
const lbs_listener_totals *lbs_listener_totals_of(lbs_plane *plane, uint32_t thread);
const lbs_totals *lbs_frontend_totals(lbs_plane *plane, uint32_t thread); /* by frontend number */
const lbs_totals *lbs_backend_totals(lbs_plane *plane, uint32_t thread);
const lbs_totals *lbs_slot_totals(lbs_plane *plane, uint32_t thread);
const lbs_gauge *lbs_frontend_gauges(lbs_plane *plane);
const lbs_gauge *lbs_listener_gauges(lbs_plane *plane);
const lbs_gauge *lbs_backend_gauges(lbs_plane *plane);
const lbs_gauge *lbs_slot_gauges(lbs_plane *plane);
const lbs_gauge *lbs_process_gauge(lbs_plane *plane);
const lbs_times *lbs_backend_times(lbs_plane *plane);
const lbs_times *lbs_slot_times(lbs_plane *plane);
uint32_t lbs_plans_alive(lbs_plane *plane);

/* Begin anew with what is no sum: the most sessions there were at once, and of backends and
 * servers the longest times; with `all` their averages and latest session as well. Workers
 * may be running. `table`: LBS_TABLE_*. 0 or -EINVAL. */
enum lbs_table {
	LBS_TABLE_PROCESS = 0, /* `number` is of no concern */
	LBS_TABLE_LISTENERS,
	LBS_TABLE_FRONTENDS,
	LBS_TABLE_BACKENDS,
	LBS_TABLE_SLOTS
};
int lbs_forget(lbs_plane *plane, uint32_t table, uint32_t number, int all);

/* Rows by number that lbs_live_bytes fills in, and how many of each there are. */
typedef struct {
	lbs_moved *listeners;
	lbs_moved *frontends;
	lbs_moved *backends;
	lbs_moved *slots;
	uint32_t listener_count;
	uint32_t frontend_count;
	uint32_t backend_count;
	uint32_t slot_count;
} lbs_live;

/* What the open sessions have moved so far, by what they belong to. Workers may be running:
 * read the totals first. A session that ends meanwhile is then missed, never counted twice. */
void lbs_live_bytes(lbs_plane *plane, const lbs_live *into);

/* Records of a thread from here on were never used. */
uint32_t lbs_sessions_high(lbs_plane *plane, uint32_t thread);

/* ---- succession ---- */

/* A ledger's layout version and sizes, whatever the version. -EPROTO: not a ledger. */
int lbs_ledger_read(int fd, uint32_t *version, lbs_sizes *sizes);

/* The highest descriptor number that a ledger names, or -1. */
int32_t lbs_ledger_highest(int fd);

/* Fill the memfd `to` (lbs_ledger_bytes() of `sizes` long, empty) with what a parked worker's
 * ledger says: of an older layout, or of other sizes. Convert first, take the descriptors
 * that the new ledger names then: those it has no use for are left out. The old one is not
 * touched. -EPROTO: no converter for its version; -ENOSPC: the sizes are too small. */
int lbs_ledger_convert(int from, int to, const lbs_sizes *sizes);

/* Listeners that a worker was accepting from when it died, at most `room`; how many. */
uint32_t lbs_accepting(int ledger, uint32_t *listeners, uint32_t room);

/* Clone the vault (vault.h): a process that shares this one's descriptor table, as a child
 * of this one's parent. It answers on `request`, a unix socket of type SEQPACKET or STREAM;
 * while somebody has the other end, it lives until told to quit; afterwards as long as this
 * process. Its pid, or -errno. */
int lbs_vault_start(int request);

/* Ask the vault at the other end to quit. */
int lbs_vault_quit(int request);

/* Take over all descriptors that a ledger names, at the same numbers: from the vault at the
 * other end of `request`, or, where that does not answer or is -1, with pidfd_getfd(2) from
 * the process of `pidfd` (-1: none). Numbers that are gone there, or all if there is neither,
 * are occupied so that nothing else gets them; adoption ends their sessions. How many were
 * taken, or -errno and none is; -EEXIST: this process uses such a number. */
int64_t lbs_descriptors_take(int ledger, int pidfd, int request);

/* Take one, at any number. The descriptor or -errno; -EBADF: there is none. */
int lbs_descriptor_take(int pidfd, int request, int number);

/* From now on note in the ledger where a fault of this process happens, before it dies of
 * it as it would have. Once per process. */
int lbs_crash_watch(lbs_plane *plane);

/* 1 if a fault was noted since the last adoption, 0 if not, -EPROTO: no ledger of ours. */
int lbs_crash_read(int ledger, lbs_crash *crash);

#endif
