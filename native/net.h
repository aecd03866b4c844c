/* System calls on sockets: what a session needs of the network. */
#ifndef LBS_NET_H
#define LBS_NET_H

#include <stdint.h>

#include "api.h"

/* Start a connection to the server for this session; the socket, or -errno. A unix
 * server may be connected on return; an IP one reports through epoll. */
int net_connect(const lbs_slot_row *slot, const lbs_session *session, int smart_connect,
		uint32_t turn);

/* AF_INET, AF_INET6 or AF_UNIX. */
int net_family(const lbs_address *address);

/* Close the socket of a record and clear its number there; with `reset` its peer gets a
 * reset and nothing stays behind. In an order that keeps this true when the process dies on
 * the way: a socket that no record names is closed with its table. */
void net_close(int32_t *fd, int reset);

/* Send the peer a reset now; the socket stays open, for nothing (tcp(7): AF_UNSPEC).
 * 0, or -errno if this socket can not do that. */
int net_abort(int fd);

/* The socket's pending error as -errno, or 0. Uses it up. */
int net_error(int fd);

/* Bytes that the peer's kernel has not acknowledged, and bytes not yet read here. */
int net_unsent(int fd);
int net_unread(int fd);

/* Is the next byte to be read an urgent one, at which every splice stops? Then discard it:
 * 1, else 0. What it is does not enter our memory. */
int net_skip_urgent(int fd);

/* Note who connected, and to which of our addresses. */
struct sockaddr_storage;
void net_note_client(lbs_session *session, const struct sockaddr_storage *address);
void net_note_destination(lbs_session *session, int fd);

#endif
