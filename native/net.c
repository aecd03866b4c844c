#include "net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "step.h"

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

/* Source ports tried for a connection before the range is taken for used up. */
#define PORT_TRIES 256U

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	struct sockaddr_un un;
	unsigned char bytes[sizeof(struct sockaddr_storage)];
};

static int set(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof(value)) < 0 ? -errno : 0;
}

static void set_port(union address *a, uint16_t port)
{
	if (a->any.sa_family == AF_INET)
		a->v4.sin_port = htons(port);
	else if (a->any.sa_family == AF_INET6)
		a->v6.sin6_port = htons(port);
}

static int get_port(const union address *a)
{
	return ntohs(a->any.sa_family == AF_INET ? a->v4.sin_port : a->v6.sin6_port);
}

/* Bind to the slot's source, with this port (0: connect chooses one). */
static int bind_source(int fd, const lbs_slot_row *slot, uint16_t port)
{
	union address a;

	if (slot->source_interface[0] &&
	    setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, slot->source_interface,
		       (socklen_t)strnlen(slot->source_interface, sizeof(slot->source_interface))) < 0)
		return -errno;
	if (!slot->source.length)
		return 0;
	memcpy(a.bytes, slot->source.bytes, slot->source.length);
	if (port) {
		(void)set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
		set_port(&a, port);
	} else {
		/* Let connect choose the port: one port serves many servers then (ip(7)). */
		(void)set(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
	}
	return bind(fd, &a.any, slot->source.length) < 0 ? -errno : 0;
}

static int set_tcp_options(int fd, const lbs_slot_row *slot, int smart_connect)
{
	const lbs_keepalive *k = &slot->keepalive;
	int error = set(fd, IPPROTO_TCP, TCP_NODELAY, 1);

	if (!error && k->enabled)
		error = set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	if (!error && k->enabled && k->idle)
		error = set(fd, IPPROTO_TCP, TCP_KEEPIDLE, (int)k->idle);
	if (!error && k->enabled && k->interval)
		error = set(fd, IPPROTO_TCP, TCP_KEEPINTVL, (int)k->interval);
	if (!error && k->enabled && k->count)
		error = set(fd, IPPROTO_TCP, TCP_KEEPCNT, (int)k->count);
	if (!error && slot->tcp_ut)
		error = set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, (int)slot->tcp_ut);
	if (!error && smart_connect)
		error = set(fd, IPPROTO_TCP, TCP_QUICKACK, 0);
	return error;
}

/* A socket on its way to `to`, from this port of the slot's source; or -errno. */
static int connect_from(const lbs_slot_row *slot, const union address *to, int smart_connect,
			uint16_t port)
{
	int error = 0;
	int fd = socket(to->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (to->any.sa_family != AF_UNIX)
		error = set_tcp_options(fd, slot, smart_connect);
	if (!error && (slot->source.length || slot->source_interface[0]))
		error = bind_source(fd, slot, port);
	if (!error && connect(fd, &to->any, slot->address.length) < 0 && errno != EINPROGRESS)
		error = -errno;
	if (error) {
		close(fd);
		return error;
	}
	return fd;
}

int net_family(const lbs_address *address)
{
	sa_family_t family;

	memcpy(&family, address->bytes, sizeof(family));
	return family;
}

int net_connect(const lbs_slot_row *slot, const lbs_session *session, int smart_connect,
		uint32_t turn)
{
	uint32_t ports = (uint32_t)slot->source_port_high - slot->source_port_low + 1;
	union address to;

	memcpy(to.bytes, slot->address.bytes, slot->address.length);
	if (to.any.sa_family != AF_UNIX) {
		if (slot->port_rule == LBS_PORT_OFFSET)
			set_port(&to, (uint16_t)(session->destination_port + slot->port_offset));
		if (!get_port(&to))
			return -EADDRNOTAVAIL;
	}
	if (!slot->source.length || !slot->source_port_low)
		return connect_from(slot, &to, smart_connect, 0);
	/* Bind does not see that another session to this server has the port: connect does. */
	for (uint32_t i = 0; i < ports && i < PORT_TRIES; i++) {
		uint32_t port = slot->source_port_low + (turn + i) % ports;
		int fd = connect_from(slot, &to, smart_connect, (uint16_t)port);

		if (fd != -EADDRINUSE && fd != -EADDRNOTAVAIL)
			return fd;
	}
	return -EADDRNOTAVAIL;
}

void net_close(int32_t *fd, int reset)
{
	struct linger now = {.l_onoff = 1, .l_linger = 0};
	int closing = *fd;

	if (closing < 0)
		return;
	STEP();
	if (reset)
		(void)setsockopt(closing, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	STEP();
	*fd = -1;
	STEP();
	close(closing);
	STEP();
}

int net_abort(int fd)
{
	struct sockaddr nobody = {.sa_family = AF_UNSPEC};

	return connect(fd, &nobody, sizeof(nobody)) < 0 ? -errno : 0;
}

int net_error(int fd)
{
	int error = 0;
	socklen_t length = sizeof(error);

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0)
		return -errno;
	return -error;
}

static int amount(int fd, unsigned long what)
{
	int bytes = 0;

	return ioctl(fd, what, &bytes) < 0 ? 0 : bytes;
}

int net_unsent(int fd)
{
	return amount(fd, SIOCOUTQ);
}

int net_unread(int fd)
{
	return amount(fd, FIONREAD);
}

int net_skip_urgent(int fd)
{
	int at_mark = 0;

	if (ioctl(fd, SIOCATMARK, &at_mark) < 0 || !at_mark ||
	    set(fd, SOL_SOCKET, SO_OOBINLINE, 1) < 0)
		return 0;
	/* MSG_TRUNC: the kernel drops what it would copy (tcp(7)). */
	return recv(fd, NULL, 1, MSG_TRUNC | MSG_DONTWAIT) == 1;
}

static void note(const union address *a, uint8_t *family, uint8_t *ip, uint16_t *port)
{
	*family = (uint8_t)a->any.sa_family;
	if (a->any.sa_family == AF_INET) {
		memcpy(ip, &a->v4.sin_addr, 4);
		*port = ntohs(a->v4.sin_port);
	} else if (a->any.sa_family == AF_INET6) {
		memcpy(ip, &a->v6.sin6_addr, 16);
		*port = ntohs(a->v6.sin6_port);
	}
}

void net_note_client(lbs_session *s, const struct sockaddr_storage *address)
{
	note((const union address *)address, &s->client_family, s->client_ip, &s->client_port);
}

void net_note_destination(lbs_session *s, int fd)
{
	union address a;
	socklen_t length = sizeof(a);

	memset(&a, 0, sizeof(a.any));
	if (getsockname(fd, &a.any, &length) == 0)
		note(&a, &s->destination_family, s->destination_ip, &s->destination_port);
}
