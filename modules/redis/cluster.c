/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cluster.c: which node of a cluster has a secret.
 *
 * A name belongs to one of 16384 slots, and a slot to a node. What is not known is asked of any
 * node: it answers MOVED with the right one, which is kept, or ASK with the one that has the key
 * already, for this command only, while a slot moves (the cluster specification of Redis). A node
 * is an instance of its own, with one address and one connection.
 */
#include "cluster.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "address.h"

#define SLOTS 16384u

struct kr_cluster {
    ktp_instance_t *nodes[KR_NODES_MAX];
    size_t count;
    unsigned char owners[SLOTS]; /* number of the node, from 1; 0: not known */
};

/* CRC-16/XMODEM. Names of secrets have no braces, so there are no hash tags. */
static unsigned slot_of(const char *name)
{
    unsigned crc = 0;

    for (; *name != '\0'; name++) {
        crc ^= (unsigned)(unsigned char)*name << 8;
        for (int bit = 0; bit < 8; bit++)
            crc = (crc & 0x8000u) != 0 ? (crc << 1 ^ 0x1021u) & 0xffffu : crc << 1 & 0xffffu;
    }
    return crc % SLOTS;
}

/* ---- nodes ---- */

static void free_node(ktp_instance_t *node)
{
    kr_close(&node->commands);
    kr_cluster_free(node);
    if (node->kept.data != NULL)
        node->services->secret_free(node->services->host, node->kept.data);
    free(node->host);
    free(node->servers.text);
    free(node);
}

static ktp_instance_t *new_node(const ktp_instance_t *instance, const char *address)
{
    ktp_instance_t *node = calloc(1, sizeof(*node));

    if (node == NULL)
        return NULL;
    node->services = instance->services;
    node->pid = instance->pid;
    node->tls = instance->tls;
    node->username = instance->username;
    node->password_option = instance->password_option;
    node->timeout = instance->timeout;
    node->db = instance->db;
    node->servers.text = strdup(address);
    node->servers.items[0] = node->address = node->servers.text;
    node->servers.count = 1;
    if (node->servers.text != NULL)
        return node;
    free(node);
    return NULL;
}

/* It may have found a newer password than ours; ours may be newer than that which it began with. */
static ktp_instance_t *ready(const ktp_instance_t *instance, ktp_instance_t *node)
{
    if (node != instance && node->kept.data == NULL) {
        node->password = instance->password;
        node->password_size = instance->password_size;
    }
    return node;
}

ktp_instance_t *kr_cluster_node(ktp_instance_t *instance, const char *address)
{
    struct kr_cluster *cluster = instance->cluster;
    ktp_instance_t *node;

    if (cluster == NULL)
        cluster = instance->cluster = calloc(1, sizeof(*cluster));
    for (size_t i = 0; cluster != NULL && i < cluster->count; i++) {
        if (strcmp(cluster->nodes[i]->address, address) == 0)
            return ready(instance, cluster->nodes[i]);
    }
    if (cluster != NULL && cluster->count == KR_NODES_MAX) {
        kr_fail(instance, KTP_UNAVAIL, "the cluster has named more than %u nodes", KR_NODES_MAX);
        return NULL;
    }
    node = cluster != NULL ? new_node(instance, address) : NULL;
    if (node == NULL) {
        kr_fail(instance, KTP_UNAVAIL, "out of memory");
        return NULL;
    }
    cluster->nodes[cluster->count++] = node;
    return ready(instance, node);
}

void kr_cluster_free(ktp_instance_t *instance)
{
    struct kr_cluster *cluster = instance->cluster;

    for (size_t i = 0; cluster != NULL && i < cluster->count; i++)
        free_node(cluster->nodes[i]);
    free(cluster);
    instance->cluster = NULL;
}

/* ---- slots ---- */

ktp_instance_t *kr_cluster_owner(ktp_instance_t *instance, const char *name)
{
    const struct kr_cluster *cluster = instance->cluster;
    unsigned owner = cluster != NULL ? cluster->owners[slot_of(name)] : 0;

    return owner == 0 ? instance : ready(instance, cluster->nodes[owner - 1]);
}

static void own(struct kr_cluster *cluster, unsigned slot, const ktp_instance_t *node)
{
    for (size_t i = 0; i < cluster->count; i++) {
        if (cluster->nodes[i] == node)
            cluster->owners[slot] = (unsigned char)(i + 1);
    }
}

/* Its place stays: a node that comes back is used again when another one names it. */
void kr_cluster_forget(ktp_instance_t *instance, const ktp_instance_t *node)
{
    struct kr_cluster *cluster = instance->cluster;

    for (size_t slot = 0; cluster != NULL && slot < SLOTS; slot++) {
        if (cluster->owners[slot] != 0 && cluster->nodes[cluster->owners[slot] - 1] == node)
            cluster->owners[slot] = 0;
    }
}

int kr_cluster_address(const ktp_instance_t *from, const char *host, size_t length,
                       const char *port, char address[KR_ADDRESS_MAX])
{
    int len;

    if (length == 0 || (length == 1 && host[0] == '?')) {
        host = from->host != NULL ? from->host : "";
        length = strlen(host);
    }
    len = snprintf(address, KR_ADDRESS_MAX,
                   memchr(host, ':', length) != NULL ? "%s[%.*s]:%s" : "%s%.*s:%s",
                   from->secure ? "rediss://" : "", (int)length, host, port);
    return length > 0 && len > 0 && (unsigned)len < KR_ADDRESS_MAX ? 0 : -1;
}

ktp_instance_t *kr_cluster_follow(ktp_instance_t *instance, const ktp_instance_t *from)
{
    const char *place = strchr(from->redirect, ' '), *port = strrchr(from->redirect, ':');
    unsigned long slot = strtoul(from->redirect, NULL, 10);
    char address[KR_ADDRESS_MAX];
    ktp_instance_t probe = {.host = NULL}, *node;

    if (place == NULL || port == NULL || port < place || slot >= SLOTS ||
        kr_cluster_address(from, place + 1, (size_t)(port - place - 1), port + 1, address) != 0 ||
        kr_address(&probe, address) != 0) {
        free(probe.host);
        kr_fail(instance, KTP_UNAVAIL, "a node of the cluster names another one that is not an "
                                       "address");
        return NULL;
    }
    free(probe.host);
    node = kr_cluster_node(instance, address);
    if (node != NULL && from->refusal == KR_MOVED)
        own(instance->cluster, (unsigned)slot, node);
    return node;
}
