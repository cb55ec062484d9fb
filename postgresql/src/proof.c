/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * proof.c
 *		What a rotation notes of itself, and what the notes prove afterwards.
 *
 * A rotation notes the role's OID, the verifier, its transaction, how far the
 * WAL was on the disk, and in which data directory it runs. Copies of a cluster
 * share its system identifier, so that alone says nothing: a clone or a standby
 * that was promoted may find a rotation which its original is just making.
 *
 * The catalogue proves that the role has the password. That it has not, and
 * never will have it, is proved only where the WAL is the one that the rotation
 * was written to: in the same data directory; on a later timeline of the same
 * WAL; or elsewhere if the transaction was aborted in it. Everything else is
 * left alone.
 */
#include "compat.h"

#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "access/timeline.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "extension.h"
#include "utils/builtins.h"
#include "utils/xid8.h"

/* Notes of a pending version, read back; "" or 0 if there is none. */
typedef struct Noted
{
	char		target[KT_META_VALUE_MAX + 1];
	char		verifier[KT_META_VALUE_MAX + 1];
	char		place[KTPG_PLACE_SIZE];
	Oid			role;
	FullTransactionId xid;
	TimeLineID	timeline;
	XLogRecPtr	flushed;
} Noted;

/*
 * This data directory: the machine, the file system and the inode of pg_control,
 * which the server overwrites in place. A copy has another one.
 */
static void
this_place(char place[KTPG_PLACE_SIZE])
{
	char		machine[33] = "-";
	struct statvfs fs = {0};
	struct stat file = {0};
	FILE	   *in = fopen("/etc/machine-id", "r");

	if (in != NULL)
	{
		if (fscanf(in, "%32[0-9a-f]", machine) != 1)
			strlcpy(machine, "-", sizeof(machine));
		fclose(in);
	}
	place[0] = '\0';
	/* the working directory of a server is its data directory */
	if (stat("global/pg_control", &file) == 0 && statvfs("global/pg_control", &fs) == 0)
		snprintf(place, KTPG_PLACE_SIZE, "%s %lx %llu", machine, (unsigned long) fs.f_fsid,
				 (unsigned long long) file.st_ino);
}

/*
 * Fills in what a rotation by this transaction notes from its beginning.
 */
void
ktpg_proof_init(KtpgProof *proof)
{
	FullTransactionId xid = GetTopFullTransactionId();
	TimeLineID	timeline;
	XLogRecPtr	flushed = KtpgFlushed(&timeline);

	snprintf(proof->xid, sizeof(proof->xid), UINT64_FORMAT, U64FromFullTransactionId(xid));
	snprintf(proof->wal, sizeof(proof->wal), "%u %X/%X", timeline, (uint32) (flushed >> 32),
			 (uint32) flushed);
	this_place(proof->place);
	proof->notes[0] = (kt_meta_t) {KTPG_NOTE_XID, proof->xid};
	proof->notes[1] = (kt_meta_t) {KTPG_NOTE_WAL, proof->wal};
	proof->notes[2] = (kt_meta_t) {KTPG_NOTE_PLACE, proof->place};
}

/* A note, "" if there is none. An error of reading is not that. */
static kt_status_t
read_note(kt_rotation_t *rotation, const char *key, char *text, size_t size)
{
	kt_status_t status = kt_rotation_noted(rotation, 1, key, text, size);

	if (status == KT_SUCCESS)
		return status;
	text[0] = '\0';
	return status == KT_NOTFOUND || status == KT_TOOLARGE ? KT_SUCCESS : status;
}

static void
read_wal(const char *text, Noted *noted)
{
	unsigned int timeline;
	unsigned int high;
	unsigned int low;

	if (sscanf(text, "%u %X/%X", &timeline, &high, &low) != 3)
		return;
	noted->timeline = timeline;
	noted->flushed = ((uint64) high << 32) | low;
}

static kt_status_t
read_notes(kt_rotation_t *rotation, Noted *noted)
{
	char		role[24];
	char		xid[24];
	char		wal[48];
	kt_status_t status;

	memset(noted, 0, sizeof(*noted));
	status = read_note(rotation, KTPG_NOTE_TARGET, noted->target, sizeof(noted->target));
	if (status == KT_SUCCESS)
		status = read_note(rotation, KTPG_NOTE_VERIFIER, noted->verifier, sizeof(noted->verifier));
	if (status == KT_SUCCESS)
		status = read_note(rotation, KTPG_NOTE_PLACE, noted->place, sizeof(noted->place));
	if (status == KT_SUCCESS)
		status = read_note(rotation, KTPG_NOTE_ROLE_OID, role, sizeof(role));
	if (status == KT_SUCCESS)
		status = read_note(rotation, KTPG_NOTE_XID, xid, sizeof(xid));
	if (status == KT_SUCCESS)
		status = read_note(rotation, KTPG_NOTE_WAL, wal, sizeof(wal));
	if (status != KT_SUCCESS)
		return status;
	noted->role = (Oid) strtoul(role, NULL, 10);
	noted->xid = FullTransactionIdFromU64(strtoull(xid, NULL, 10));
	read_wal(wal, noted);
	return KT_SUCCESS;
}

/*
 * Is our WAL the one that the rotation was written to, as far as that was on
 * the disk when it began? *later says that it ended that timeline since.
 */
static bool
shares_wal(const Noted *noted, bool *later)
{
	TimeLineID	timeline;
	XLogRecPtr	flushed = KtpgFlushed(&timeline);

	*later = timeline != noted->timeline;
	if (noted->timeline == 0 || noted->flushed == 0 || noted->flushed > flushed)
		return false;
	/* the last byte that was flushed: the next one may be the first of a new timeline */
	return !*later ||
		tliOfPointInHistory(noted->flushed - 1, readTimeLineHistory(timeline)) == noted->timeline;
}

/* The same machine and file; the file system may have another number after a restart. */
static bool
is_same_place(const char *a, const char *b)
{
	const char *a_file = strrchr(a, ' ');
	const char *b_file = strrchr(b, ' ');
	size_t		machine = strcspn(a, " ");

	return a_file != NULL && b_file != NULL && strcmp(a_file, b_file) == 0 &&
		strncmp(a, b, machine + 1) == 0;
}

/*
 * Was a version with these notes given to a role in another copy of this cluster,
 * which this one has not taken over from, by a promotion or a recovery? False if
 * that is not known. *later: this one is on another timeline than that copy was.
 */
bool
ktpg_is_copy(const char *noted_place, const char *noted_wal, bool *later)
{
	Noted		noted = {0};
	char		place[KTPG_PLACE_SIZE];

	*later = false;
	this_place(place);
	if (noted_place == NULL || noted_wal == NULL || place[0] == '\0' || noted_place[0] == '\0' ||
		is_same_place(place, noted_place))
		return false;
	read_wal(noted_wal, &noted);
	return !shares_wal(&noted, later) || !*later;
}

/* What became here of the transaction with the noted number. */
typedef enum Outcome
{
	ABORTED,					/* also by a crash */
	COMMITTED,
	NOT_YET,					/* no transaction of that number has begun here */
	NOT_KNOWN					/* it is running, or too old to tell */
} Outcome;

static Outcome
outcome_of(FullTransactionId xid)
{
	LOCAL_FCINFO(fcinfo, 1);
	Datum		answer;
	char	   *name;

	if (!FullTransactionIdIsValid(xid))
		return NOT_KNOWN;
	if (!FullTransactionIdPrecedes(xid, ReadNextFullTransactionId()))
		return NOT_YET;
	InitFunctionCallInfoData(*fcinfo, NULL, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = FullTransactionIdGetDatum(xid);
	fcinfo->args[0].isnull = false;
	answer = pg_xact_status(fcinfo);
	if (fcinfo->isnull)
		return NOT_KNOWN;
	name = TextDatumGetCString(answer);
	return strcmp(name, "aborted") == 0 ? ABORTED :
		strcmp(name, "committed") == 0 ? COMMITTED : NOT_KNOWN;
}

/* Does the role have the pending password? Its verifier may have been made again from it. */
static KtpgAnswer
role_has_password(kt_rotation_t *rotation, const KtpgRole *role, kt_status_t *status)
{
	kt_secret_t **password = ktpg_hold_secret();
	KtpgAnswer	match;

	if (role->verifier == NULL)
		return KTPG_NO;
	*status = ktpg_password_at(rotation, kt_rotation_version(rotation), password);
	if (*status != KT_SUCCESS)
		return KTPG_UNKNOWN;
	match = ktpg_verifier_match(role, *password);
	ktpg_drop_secret(password);
	return match;
}

/* The verdict if the catalogue does not show that the role has the verifier. */
static KtpgOutcome
judge_absent(kt_rotation_t *rotation, const Noted *noted, const KtpgRole *role,
			 kt_status_t *status)
{
	Outcome		outcome = outcome_of(noted->xid);
	KtpgAnswer	has = KTPG_NO;
	char		place[KTPG_PLACE_SIZE];
	bool		here;
	bool		later;

	if (!shares_wal(noted, &later))
		return KTPG_FOREIGN;
	if (role != NULL && outcome != ABORTED && outcome != NOT_YET)
		has = role_has_password(rotation, role, status);
	if (has != KTPG_NO)
		return has == KTPG_YES ? KTPG_FINISHED : *status != KT_SUCCESS ? KTPG_LATER : KTPG_FOREIGN;

	this_place(place);
	here = later || (place[0] != '\0' && strcmp(place, noted->place) == 0);
	return here || outcome == ABORTED ? KTPG_ABANDONED : KTPG_FOREIGN;
}

/*
 * What became of an interrupted rotation of a secret that the caller has
 * locked: KTPG_FINISHED, KTPG_ABANDONED, KTPG_FOREIGN; or KTPG_LATER, and
 * *status says what could not be read.
 */
KtpgOutcome
ktpg_judge(kt_rotation_t *rotation, kt_status_t *status)
{
	Noted		noted;
	KtpgRole	role;
	bool		found;

	*status = read_notes(rotation, &noted);
	if (*status != KT_SUCCESS)
		return KTPG_LATER;
	if (strcmp(noted.target, ktpg_target()) != 0)
		return KTPG_FOREIGN;

	/* before it knows the OID, a rotation does not touch the role */
	found = OidIsValid(noted.role) && ktpg_role_find_oid(noted.role, &role);
	if (found && role.verifier != NULL && noted.verifier[0] != '\0' &&
		strcmp(role.verifier, noted.verifier) == 0)
		return KTPG_FINISHED;
	return judge_absent(rotation, &noted, found ? &role : NULL, status);
}
