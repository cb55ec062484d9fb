/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * compat.h
 *		Everything that differs between the PostgreSQL releases 13 to 18, so
 *		that no other file asks for PG_VERSION_NUM.
 */
#ifndef KEYTURN_COMPAT_H
#define KEYTURN_COMPAT_H

/* Only what is marked so leaves the library; before 16 the server marks nothing. */
#ifndef PGDLLEXPORT
#define PGDLLEXPORT __attribute__((visibility("default")))
#endif

#include "postgres.h"

#if PG_VERSION_NUM < 130000
#error "keyturn needs PostgreSQL 13 or later"
#endif

#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/guc.h"

/* A function that SQL calls; before 16 the server's own macro leaves it hidden. */
#define KTPG_FUNCTION(name) \
	extern PGDLLEXPORT Datum name(PG_FUNCTION_ARGS); \
	PG_FUNCTION_INFO_V1(name)

/* 18 renamed its macro, which must come first. */
#define KTPG_NORETURN __attribute__((noreturn))

/* 14 took wait events out of pgstat.h. */
#if PG_VERSION_NUM >= 140000
#include "utils/wait_event.h"
#else
#include "pgstat.h"
#endif

/* 14 added readOnlyTree: our tree is not shared, so it may be scribbled on. */
#if PG_VERSION_NUM >= 140000
#define KtpgProcessUtility(pstmt, text, dest) \
	ProcessUtility(pstmt, text, false, PROCESS_UTILITY_QUERY, NULL, NULL, dest, NULL)
#else
#define KtpgProcessUtility(pstmt, text, dest) \
	ProcessUtility(pstmt, text, PROCESS_UTILITY_QUERY, NULL, NULL, dest, NULL)
#endif

/* 15 made the detail for the log const. */
#if PG_VERSION_NUM >= 150000
typedef const char *KtpgLogDetail;
#else
typedef char *KtpgLogDetail;
#endif

/* 15 reserves a prefix, and then warns of misspelt names under it. */
#if PG_VERSION_NUM >= 150000
#define KtpgReserveGuc(prefix) MarkGUCPrefixReserved(prefix)
#else
#define KtpgReserveGuc(prefix) EmitWarningsOnPlaceholders(prefix)
#endif

/* Minor releases since 2022 tell the implicit transaction of a pipeline from others. */
#ifdef XACT_FLAGS_PIPELINING
#define KtpgPipelining() ((MyXactFlags & XACT_FLAGS_PIPELINING) != 0)
#else
#define KtpgPipelining() false
#endif
#ifdef XACT_FLAGS_NEEDIMMEDIATECOMMIT
#define KtpgCommitImmediately() (MyXactFlags |= XACT_FLAGS_NEEDIMMEDIATECOMMIT)
#else
#define KtpgCommitImmediately() ((void) 0)
#endif

/* 15 no longer has the timeline in a variable. */
#if PG_VERSION_NUM >= 150000
#define KtpgFlushed(timeline) GetFlushRecPtr(timeline)
#else
#define KtpgFlushed(timeline) (*(timeline) = ThisTimeLineID, GetFlushRecPtr())
#endif

/* 15 has a hook in which shared memory must be requested. */
#if PG_VERSION_NUM >= 150000
#define KTPG_SHMEM_REQUEST_HOOK 1
#endif

/* From 16 on CREATEROLE is not enough to alter another role. */
#if PG_VERSION_NUM >= 160000
#define KtpgIsAdminOf(user, role) is_admin_of_role(user, role)
#else
#define KtpgIsAdminOf(user, role) true
#endif

/* 18 lets a library state its name and version. */
#ifdef PG_MODULE_MAGIC_EXT
#define KTPG_MODULE_MAGIC PG_MODULE_MAGIC_EXT(.name = "keyturn", .version = KT_VERSION)
#else
#define KTPG_MODULE_MAGIC PG_MODULE_MAGIC
#endif

#endif							/* KEYTURN_COMPAT_H */
