/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * addresses.c
 *		Is this the server that a secret's clients connect to?
 *
 * The host and port of the secret are compared with keyturn.addresses or, if
 * that is empty, with what the server knows of itself. Names are not resolved:
 * that may take long, and cannot be interrupted. A mismatch is a warning and not
 * an error, because clients may come by way of a pooler or another name.
 */
#include "compat.h"

#include <ifaddrs.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include "extension.h"
#include "postmaster/postmaster.h"

/* One "host:port" of a list; the port "" is any. */
typedef struct Address
{
	char		host[256];
	char		port[8];
} Address;

/* Is there a part of a list? Takes it off, without the blanks around it. */
static bool
next_part(const char **list, char *part, size_t size)
{
	const char *text = *list;
	const char *end;
	size_t		len;

	if (*text == '\0')
		return false;
	end = strchr(text, ',');
	len = end != NULL ? (size_t) (end - text) : strlen(text);
	*list = end != NULL ? end + 1 : text + len;
	while (len > 0 && *text == ' ')
		text++, len--;
	while (len > 0 && text[len - 1] == ' ')
		len--;
	strlcpy(part, text, Min(size, len + 1));
	return true;
}

static bool
is_port(const char *text)
{
	size_t		len = strspn(text, "0123456789");

	return len > 0 && len < 6 && text[len] == '\0' && atoi(text) > 0 && atoi(text) <= 65535;
}

/* "host:port", "[2001:db8::1]:port", or without the port. */
static bool
parse_address(const char *text, Address *address)
{
	const char *colon = strrchr(text, ':');
	const char *host = text;
	size_t		len;

	memset(address, 0, sizeof(*address));
	if (text[0] == '[')
	{
		const char *end = strchr(text, ']');

		if (end == NULL || (end[1] != '\0' && end[1] != ':'))
			return false;
		host = text + 1;
		len = end - host;
		colon = end[1] == ':' ? end + 1 : NULL;
	}
	else
	{
		if (colon != NULL && strchr(text, ':') != colon)
			colon = NULL;		/* an IPv6 address alone */
		len = colon != NULL ? (size_t) (colon - text) : strlen(text);
	}
	if (len == 0 || len >= sizeof(address->host) || (colon != NULL && !is_port(colon + 1)))
		return false;
	strlcpy(address->host, host, len + 1);
	if (colon != NULL)
		strlcpy(address->port, colon + 1, sizeof(address->port));
	return true;
}

/*
 * The check hook of keyturn.addresses.
 */
bool
ktpg_addresses_valid(char **text, void **extra, GucSource source)
{
	const char *list = *text;
	char		part[320];
	Address		address;

	while (list != NULL && next_part(&list, part, sizeof(part)))
	{
		if (parse_address(part, &address))
			continue;
		GUC_check_errdetail("\"%s\" is not HOST:PORT.", part);
		return false;
	}
	return true;
}

static bool
same(const char *host, const char *port, const char *other_host, const char *other_port)
{
	return pg_strcasecmp(host, other_host) == 0 &&
		(port[0] == '\0' || other_port[0] == '\0' || strcmp(port, other_port) == 0);
}

static bool
is_configured(const char *host, const char *port)
{
	const char *list = ktpg_addresses;
	char		part[320];
	Address		address;

	while (next_part(&list, part, sizeof(part)))
		if (parse_address(part, &address) && same(address.host, address.port, host, port))
			return true;
	return false;
}

/* Is it an address of this machine? */
static bool
is_interface(const char *host)
{
	struct ifaddrs *all;
	bool		found = false;

	if (getifaddrs(&all) != 0)
		return false;
	for (struct ifaddrs *one = all; one != NULL && !found; one = one->ifa_next)
	{
		char		text[NI_MAXHOST];
		int			family = one->ifa_addr != NULL ? one->ifa_addr->sa_family : AF_UNSPEC;
		socklen_t	size = family == AF_INET ? sizeof(struct sockaddr_in) :
			sizeof(struct sockaddr_in6);

		if ((family == AF_INET || family == AF_INET6) &&
			getnameinfo(one->ifa_addr, size, text, sizeof(text), NULL, 0, NI_NUMERICHOST) == 0)
		{
			text[strcspn(text, "%")] = '\0';	/* the scope of a local one */
			found = pg_strcasecmp(text, host) == 0;
		}
	}
	freeifaddrs(all);
	return found;
}

static bool
is_listed(const char *list, const char *host, bool *everywhere)
{
	char		part[MAXPGPATH];

	while (next_part(&list, part, sizeof(part)))
	{
		if (strcmp(part, "*") == 0 || strcmp(part, "0.0.0.0") == 0 || strcmp(part, "::") == 0)
			*everywhere = true;
		if (pg_strcasecmp(part, host) == 0)
			return true;
	}
	return false;
}

/* Without keyturn.addresses: where the server listens, and this machine's name. */
static bool
is_own(const char *host, const char *port)
{
	static const char *const loopback[] = {"localhost", "127.0.0.1", "::1"};
	char		own_port[8];
	char		name[256] = "";
	bool		everywhere = false;

	snprintf(own_port, sizeof(own_port), "%d", PostPortNumber);
	if (!same(host, port, host, own_port))
		return false;
	for (int i = 0; i < (int) lengthof(loopback); i++)
		if (pg_strcasecmp(host, loopback[i]) == 0)
			return true;
	if (gethostname(name, sizeof(name) - 1) == 0 && pg_strcasecmp(host, name) == 0)
		return true;
	if (is_listed(Unix_socket_directories, host, &everywhere) ||
		is_listed(ListenAddresses, host, &everywhere))
		return true;
	return everywhere && is_interface(host);
}

/* A field of the value; "" if there is none, and then there is nothing to compare. */
static void
read_field(const kt_secret_t *whole, const char *field, char *text, size_t size)
{
	kt_secret_t **value = ktpg_hold_secret();

	text[0] = '\0';
	if (kt_secret_field(whole, field, value) == KT_SUCCESS && kt_secret_size(*value) < size)
	{
		memcpy(text, kt_secret_bytes(*value), kt_secret_size(*value));
		text[kt_secret_size(*value)] = '\0';
	}
	ktpg_drop_secret(value);
}

/* An IPv6 address may be in brackets, in a connection URI for example. */
static const char *
bare(char *host)
{
	size_t		len = strlen(host);

	if (host[0] != '[' || host[len - 1] != ']')
		return host;
	host[len - 1] = '\0';
	return host + 1;
}

/*
 * Warns if the host and port of the secret's value are not an address of this
 * server. A list, as libpq takes it, needs one that is. The value itself is not
 * in the message.
 */
void
ktpg_addresses_check(kt_rotation_t *rotation, const char *name)
{
	char		hosts[1024];
	char		ports[256];
	char		host[1024];
	char		port[256] = "";
	const char *next = hosts;
	const char *next_port = ports;
	bool		configured = ktpg_addresses != NULL && ktpg_addresses[0] != '\0';
	kt_secret_t **whole = ktpg_hold_secret();

	if (kt_rotation_old(rotation, NULL, whole) != KT_SUCCESS)
		return;
	read_field(*whole, "host", hosts, sizeof(hosts));
	read_field(*whole, "port", ports, sizeof(ports));
	ktpg_drop_secret(whole);
	if (hosts[0] == '\0')
		return;
	while (next_part(&next, host, sizeof(host)))
	{
		const char *one = bare(host);

		(void) next_part(&next_port, port, sizeof(port));	/* the last one is for the rest */
		if (configured ? is_configured(one, port) : is_own(one, port))
			return;
	}
	ereport(WARNING,
			(errmsg("the clients of secret \"%s\" connect to another address than this server's",
					name),
			 errdetail("Its host and port are not %s.", configured ? "in keyturn.addresses" :
					   "what this server listens on"),
			 errhint("See \"keyturn get %s#host\". If that address leads here, add it with its "
					 "port to keyturn.addresses; otherwise the secret is another server's.",
					 name)));
}
