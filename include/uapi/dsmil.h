/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * DSMIL: the firmware's tokens as devices, behind /dev/dsmil.
 *
 * This header is the only source of the interface; dsmil.rs beside it is generated from it.
 */
#ifndef _UAPI_DSMIL_H
#define _UAPI_DSMIL_H

#include <linux/ioctl.h>
#include <linux/types.h>

/**
 * DOC: Rules of the interface
 *
 * - Every structure has the same layout on 32 and 64 bit: fixed-width members at natural alignment, no
 *   unions, user pointers as __u64.
 * - Members named reserved, and flag bits that are not defined here, must be zero on the way in
 *   (EINVAL) and are zero on the way out.
 * - Numbers are append-only: ioctls, flags, reasons, rules and states keep their meaning for ever.
 *   A reader treats a number that it does not know as "something newer".
 * - Unknown ioctls fail with ENOTTY, whoever asks.
 * - ioctl numbers are members of an enum because bindgen drops function-like macros.
 * - An ioctl with a struct dsmil_failure writes its structure back also when it fails with an error
 *   other than EFAULT; the failure then names the entry and the reason.
 * - EFAULT means that nothing was sealed or settled; a write that was made before it is undone.
 *
 * DOC: What is never written
 *
 * The module refuses, for everybody and whatever the allow-list says, to write a token whose number
 * stands in its built-in list (&enum dsmil_rule), and any token that shares its location with such a
 * token. A token that the firmware's table does not have does not exist: ENOENT.
 *
 * DOC: What a change survives
 *
 * %DSMIL_IOC_WRITE leaves the change pending. It stays only if %DSMIL_IOC_CONFIRM comes; the deadline,
 * %DSMIL_IOC_UNDO, any close() of a descriptor of the file by the process that wrote (also the one
 * that exit implies), the last close of the file, a reboot and the unloading of the module (which an
 * open file prevents, unless it is forced) bring the old values back. A panic or a power cut while a change is pending does not: the firmware then
 * keeps the new values. Whoever needs that last step saves the old values durably before the write,
 * with &struct dsmil_write_entry.expected set to what was saved, and restores them at the next start,
 * as dsmild does.
 */

/** DSMIL_ABI_VERSION - version of this interface, raised by one when something is appended */
#define DSMIL_ABI_VERSION 1

/** DSMIL_LIST_MAX - most tokens that one %DSMIL_IOC_LIST fills in */
#define DSMIL_LIST_MAX 1024

/** DSMIL_READ_MAX - most entries of one %DSMIL_IOC_READ */
#define DSMIL_READ_MAX 256

/** DSMIL_ALLOW_MAX - most ids of one %DSMIL_IOC_ALLOW */
#define DSMIL_ALLOW_MAX 4096

/** DSMIL_WRITE_MAX - most entries of one %DSMIL_IOC_WRITE */
#define DSMIL_WRITE_MAX 64

/** DSMIL_DEADLINE_MIN_MS - shortest deadline of a pending change, in milliseconds */
#define DSMIL_DEADLINE_MIN_MS 1000

/** DSMIL_DEADLINE_DEFAULT_MS - deadline where the caller gives zero, in milliseconds */
#define DSMIL_DEADLINE_DEFAULT_MS 30000

/** DSMIL_DEADLINE_MAX_MS - longest deadline of a pending change, in milliseconds */
#define DSMIL_DEADLINE_MAX_MS 600000

/** DSMIL_NO_INDEX - in &struct dsmil_failure.index: no single entry is to blame */
#define DSMIL_NO_INDEX 0xffffffff

/** DSMIL_NO_DEVICE - in &struct dsmil_token.group and .member: not a DSMIL device */
#define DSMIL_NO_DEVICE 0xff

/**
 * enum dsmil_select - which of a location's values is meant
 *
 * The numbers are the firmware's, as SELECT_TOKEN_* in linux/wmi.h.
 */
enum dsmil_select {
	/** @DSMIL_SELECT_CURRENT: the value in force */
	DSMIL_SELECT_CURRENT = 0,
	/** @DSMIL_SELECT_BATTERY: the value on battery */
	DSMIL_SELECT_BATTERY = 1,
	/** @DSMIL_SELECT_AC: the value on mains power */
	DSMIL_SELECT_AC = 2,
};

/** enum dsmil_rule - why a token is never written */
enum dsmil_rule {
	/** @DSMIL_RULE_NONE: no rule denies it */
	DSMIL_RULE_NONE = 0,
	/** @DSMIL_RULE_QUARANTINE: wipe, recovery, hidden memory, network kill, blackout */
	DSMIL_RULE_QUARANTINE = 1,
	/** @DSMIL_RULE_POWER: switches some machines off */
	DSMIL_RULE_POWER = 2,
	/** @DSMIL_RULE_DESTRUCTIVE: destroys data */
	DSMIL_RULE_DESTRUCTIVE = 3,
	/** @DSMIL_RULE_UPSTREAM: denied to user space by the kernel's dell-smbios too */
	DSMIL_RULE_UPSTREAM = 4,
	/** @DSMIL_RULE_SHARED_LOCATION: its location is also that of a denied token */
	DSMIL_RULE_SHARED_LOCATION = 5,
};

/** enum dsmil_backend - the way to the firmware that dell-smbios uses */
enum dsmil_backend {
	/** @DSMIL_BACKEND_NONE: none is known; calls fail with ENODEV */
	DSMIL_BACKEND_NONE = 0,
	/** @DSMIL_BACKEND_WMI: ACPI WMI */
	DSMIL_BACKEND_WMI = 1,
	/** @DSMIL_BACKEND_SMM: system management interrupts */
	DSMIL_BACKEND_SMM = 2,
};

/** enum dsmil_lockdown - the kernel's lockdown mode */
enum dsmil_lockdown {
	/** @DSMIL_LOCKDOWN_NONE: not locked down */
	DSMIL_LOCKDOWN_NONE = 0,
	/** @DSMIL_LOCKDOWN_INTEGRITY: writes are refused */
	DSMIL_LOCKDOWN_INTEGRITY = 1,
	/** @DSMIL_LOCKDOWN_CONFIDENTIALITY: writes are refused */
	DSMIL_LOCKDOWN_CONFIDENTIALITY = 2,
};

/** enum dsmil_state - where the module's one transaction stands */
enum dsmil_state {
	/** @DSMIL_STATE_IDLE: no change is pending */
	DSMIL_STATE_IDLE = 0,
	/** @DSMIL_STATE_PENDING: written, waiting for its confirmation */
	DSMIL_STATE_PENDING = 1,
	/**
	 * @DSMIL_STATE_UNDOING: an undo met a firmware error and is being retried; no new write is
	 * accepted and the module cannot be unloaded
	 */
	DSMIL_STATE_UNDOING = 2,
};

/** enum dsmil_outcome - how a transaction ended */
enum dsmil_outcome {
	/** @DSMIL_OUTCOME_NONE: none has ended yet */
	DSMIL_OUTCOME_NONE = 0,
	/** @DSMIL_OUTCOME_CONFIRMED: kept by %DSMIL_IOC_CONFIRM */
	DSMIL_OUTCOME_CONFIRMED = 1,
	/** @DSMIL_OUTCOME_FAILED: its commit failed; what it had written was undone */
	DSMIL_OUTCOME_FAILED = 2,
	/** @DSMIL_OUTCOME_UNDONE: undone by %DSMIL_IOC_UNDO */
	DSMIL_OUTCOME_UNDONE = 3,
	/** @DSMIL_OUTCOME_EXPIRED: undone at its deadline */
	DSMIL_OUTCOME_EXPIRED = 4,
	/** @DSMIL_OUTCOME_CLOSED: undone because its owner closed the file or exited */
	DSMIL_OUTCOME_CLOSED = 5,
	/** @DSMIL_OUTCOME_SHUTDOWN: undone before a reboot or the unloading of the module */
	DSMIL_OUTCOME_SHUTDOWN = 6,
};

/** enum dsmil_undo - what a failed commit left behind */
enum dsmil_undo {
	/** @DSMIL_UNDO_NONE: nothing had been written */
	DSMIL_UNDO_NONE = 0,
	/** @DSMIL_UNDO_DONE: the old values are back */
	DSMIL_UNDO_DONE = 1,
	/** @DSMIL_UNDO_RETRYING: the undo failed as well and is being retried */
	DSMIL_UNDO_RETRYING = 2,
	/** @DSMIL_UNDO_LEFT: done, but for locations that somebody else changed meanwhile */
	DSMIL_UNDO_LEFT = 3,
};

/** enum dsmil_reason - why something was refused; the error number stands beside each */
enum dsmil_reason {
	/** @DSMIL_REASON_NONE: it was not refused */
	DSMIL_REASON_NONE = 0,
	/** @DSMIL_REASON_RESERVED: a reserved member or an unknown flag is not zero (EINVAL) */
	DSMIL_REASON_RESERVED = 1,
	/** @DSMIL_REASON_COUNT: no entries (EINVAL) or more than the limit (E2BIG) */
	DSMIL_REASON_COUNT = 2,
	/** @DSMIL_REASON_DEADLINE: the deadline is out of range (EINVAL) */
	DSMIL_REASON_DEADLINE = 3,
	/** @DSMIL_REASON_SELECT: no such select (EINVAL) */
	DSMIL_REASON_SELECT = 4,
	/** @DSMIL_REASON_DUPLICATE: two entries for one location and select, or one id twice (EINVAL) */
	DSMIL_REASON_DUPLICATE = 5,
	/** @DSMIL_REASON_UNKNOWN: the firmware's table has no such token (ENOENT) */
	DSMIL_REASON_UNKNOWN = 6,
	/** @DSMIL_REASON_NOT_READABLE: the token is write-only (EACCES) */
	DSMIL_REASON_NOT_READABLE = 7,
	/** @DSMIL_REASON_NEVER_WRITTEN: denied by the rule given (EPERM) */
	DSMIL_REASON_NEVER_WRITTEN = 8,
	/** @DSMIL_REASON_NOT_SEALED: no allow-list has been sealed yet (EPERM) */
	DSMIL_REASON_NOT_SEALED = 9,
	/** @DSMIL_REASON_SEALED: the allow-list is sealed until the module is reloaded (EPERM) */
	DSMIL_REASON_SEALED = 10,
	/** @DSMIL_REASON_NOT_ALLOWED: the token is not on the sealed allow-list (EPERM) */
	DSMIL_REASON_NOT_ALLOWED = 11,
	/**
	 * @DSMIL_REASON_PARTIAL_LOCATION: the allow-list has some, but not all, tokens of a location;
	 * the id given is one that is missing (EINVAL)
	 */
	DSMIL_REASON_PARTIAL_LOCATION = 12,
	/** @DSMIL_REASON_CAPABILITY: who opened the file lacks CAP_SYS_ADMIN in the initial namespace (EPERM) */
	DSMIL_REASON_CAPABILITY = 13,
	/** @DSMIL_REASON_READ_ONLY_FILE: the file was not opened for writing (EBADF) */
	DSMIL_REASON_READ_ONLY_FILE = 14,
	/** @DSMIL_REASON_LOCKED_DOWN: the kernel is locked down (EPERM) */
	DSMIL_REASON_LOCKED_DOWN = 15,
	/** @DSMIL_REASON_VALUE: not the table value of any token of a shared location (EINVAL) */
	DSMIL_REASON_VALUE = 16,
	/** @DSMIL_REASON_EXPECTED: the location holds another value than was expected (ESTALE) */
	DSMIL_REASON_EXPECTED = 17,
	/** @DSMIL_REASON_BUSY: another change is pending (EBUSY) */
	DSMIL_REASON_BUSY = 18,
	/** @DSMIL_REASON_UNDOING: an undo is being retried (EBUSY) */
	DSMIL_REASON_UNDOING = 19,
	/** @DSMIL_REASON_FIRMWARE: the firmware or the way to it failed (EIO, ENXIO, EINVAL, ENODEV, ...) */
	DSMIL_REASON_FIRMWARE = 20,
	/** @DSMIL_REASON_NOT_STUCK: the firmware reported success, but reads back another value (EIO) */
	DSMIL_REASON_NOT_STUCK = 21,
	/** @DSMIL_REASON_NO_TRANSACTION: no pending transaction has this number (ESRCH) */
	DSMIL_REASON_NO_TRANSACTION = 22,
	/** @DSMIL_REASON_NOT_OWNER: the transaction belongs to another file or process (EPERM) */
	DSMIL_REASON_NOT_OWNER = 23,
	/** @DSMIL_REASON_MEMORY: the kernel has no memory for it (ENOMEM) */
	DSMIL_REASON_MEMORY = 24,
	/** @DSMIL_REASON_CURSOR: the cursor lies beyond the end of the table (EINVAL) */
	DSMIL_REASON_CURSOR = 25,
};

/**
 * struct dsmil_failure - which entry was refused, and why
 *
 * All members are zero, and @index is %DSMIL_NO_INDEX, if nothing was.
 */
struct dsmil_failure {
	/** @reason: out: &enum dsmil_reason */
	__u32 reason;
	/** @index: out: index of the entry to blame, or %DSMIL_NO_INDEX */
	__u32 index;
	/** @id: out: the token, where the reason is about one, else 0 */
	__u16 id;
	/** @rule: out: &enum dsmil_rule, for %DSMIL_REASON_NEVER_WRITTEN */
	__u16 rule;
	/**
	 * @status: out: for %DSMIL_REASON_FIRMWARE the firmware's own status (-1 completed with error, -2
	 * not supported, -3 no answer), 0 if it was not reached
	 */
	__s32 status;
	/** @found: out: for %DSMIL_REASON_EXPECTED and %DSMIL_REASON_NOT_STUCK the value that was read */
	__u32 found;
	/** @error: out: the error number that the ioctl fails with, positive */
	__s32 error;
};

/** struct dsmil_version - argument of %DSMIL_IOC_VERSION */
struct dsmil_version {
	/** @abi: out: %DSMIL_ABI_VERSION of the module */
	__u32 abi;
	/** @reserved: out: zero */
	__u32 reserved;
};

/** enum dsmil_info_flags - bits of &struct dsmil_info.flags */
enum dsmil_info_flags {
	/** @DSMIL_INFO_SEALED: an allow-list is sealed */
	DSMIL_INFO_SEALED = 1,
	/**
	 * @DSMIL_INFO_HYPERVISOR: the processor says that it is virtual, so the firmware is emulated or
	 * filtered as far as is known
	 */
	DSMIL_INFO_HYPERVISOR = 2,
};

/** struct dsmil_info - argument of %DSMIL_IOC_INFO */
struct dsmil_info {
	/** @abi: out: as in &struct dsmil_version */
	__u32 abi;
	/** @flags: out: &enum dsmil_info_flags */
	__u32 flags;
	/** @backend: out: &enum dsmil_backend */
	__u32 backend;
	/** @lockdown: out: &enum dsmil_lockdown */
	__u32 lockdown;
	/** @tokens: out: tokens in the firmware's table */
	__u32 tokens;
	/** @devices: out: DSMIL devices among them */
	__u32 devices;
	/** @writable: out: tokens on the sealed allow-list */
	__u32 writable;
	/** @list_max: out: most tokens of one %DSMIL_IOC_LIST */
	__u32 list_max;
	/** @read_max: out: most entries of one %DSMIL_IOC_READ */
	__u32 read_max;
	/** @allow_max: out: most ids of one %DSMIL_IOC_ALLOW */
	__u32 allow_max;
	/** @write_max: out: most entries of one %DSMIL_IOC_WRITE */
	__u32 write_max;
	/** @deadline_min_ms: out: shortest deadline, in milliseconds */
	__u32 deadline_min_ms;
	/** @deadline_default_ms: out: deadline where none is given, in milliseconds */
	__u32 deadline_default_ms;
	/** @deadline_max_ms: out: longest deadline, in milliseconds */
	__u32 deadline_max_ms;
	/** @generation: out: raised by each commit and each undo that reached the firmware */
	__u64 generation;
	/** @transaction: out: number of the present or, when idle, the last transaction; 0: none yet */
	__u64 transaction;
	/** @state: out: &enum dsmil_state */
	__u32 state;
	/** @outcome: out: &enum dsmil_outcome of the last transaction that ended */
	__u32 outcome;
	/** @remaining_ms: out: while pending, milliseconds until the deadline (CLOCK_BOOTTIME) */
	__u32 remaining_ms;
	/** @attempts: out: while undoing, attempts that failed so far */
	__u32 attempts;
	/** @left: out: locations that undos left alone because somebody else had changed them, since load */
	__u32 left;
	/** @reserved: out: zero */
	__u32 reserved[11];
};

/** enum dsmil_token_flags - bits of &struct dsmil_token.flags */
enum dsmil_token_flags {
	/** @DSMIL_TOKEN_DEVICE: a DSMIL device; group and member are set */
	DSMIL_TOKEN_DEVICE = 1,
	/** @DSMIL_TOKEN_READABLE: %DSMIL_IOC_READ may read it */
	DSMIL_TOKEN_READABLE = 2,
	/** @DSMIL_TOKEN_WRITABLE: on the sealed allow-list */
	DSMIL_TOKEN_WRITABLE = 4,
	/** @DSMIL_TOKEN_DENIED: never written; rule is set */
	DSMIL_TOKEN_DENIED = 8,
	/** @DSMIL_TOKEN_SHARED: another token has the same location */
	DSMIL_TOKEN_SHARED = 16,
};

/** struct dsmil_token - one token of the firmware's table */
struct dsmil_token {
	/** @id: out: its number */
	__u16 id;
	/** @location: out: the storage behind it */
	__u16 location;
	/** @value: out: the value at which it counts as active; a constant of the table */
	__u16 value;
	/** @rule: out: &enum dsmil_rule that denies it */
	__u16 rule;
	/** @flags: out: &enum dsmil_token_flags */
	__u32 flags;
	/** @group: out: group of the DSMIL device, 0-6, or %DSMIL_NO_DEVICE */
	__u8 group;
	/** @member: out: place in the group, 0-11, or %DSMIL_NO_DEVICE */
	__u8 member;
	/** @reserved: out: zero */
	__u16 reserved;
};

/**
 * struct dsmil_list - argument of %DSMIL_IOC_LIST
 *
 * Tokens come in ascending order of their ids. The first call has a zero @cursor; each further one
 * takes the cursor that came back, until @count comes back as zero.
 */
struct dsmil_list {
	/** @cursor: in/out: where to start, then where to go on */
	__u32 cursor;
	/** @count: in/out: room at @tokens, 1 to %DSMIL_LIST_MAX, then the number filled in */
	__u32 count;
	/** @tokens: in: user pointer to an array of &struct dsmil_token */
	__u64 tokens;
	/** @reserved: in/out: zero */
	__u64 reserved;
};

/** struct dsmil_read_entry - one value to read */
struct dsmil_read_entry {
	/** @id: in: the token; the firmware is asked for its location */
	__u16 id;
	/** @select: in: &enum dsmil_select */
	__u8 select;
	/** @reserved: in/out: zero */
	__u8 reserved;
	/** @value: in: zero; out: the location's value, meaningful only if @error is zero */
	__u32 value;
	/**
	 * @error: in: zero; out: 0, or this entry's error number, positive: ENOENT unknown token, EACCES
	 * write-only token, EINVAL no such select or nonzero input, else from the firmware (EIO, ENXIO,
	 * ENODEV, EINVAL with @status set)
	 */
	__s32 error;
	/** @status: in: zero; out: the firmware's own status, as in &struct dsmil_failure */
	__s32 status;
};

/**
 * struct dsmil_read - argument of %DSMIL_IOC_READ
 *
 * The ioctl succeeds if the entries could be taken in and given back; what became of each stands in
 * its own error. A signal ends it early with EINTR.
 */
struct dsmil_read {
	/** @count: in: number of entries, 1 to %DSMIL_READ_MAX */
	__u32 count;
	/** @flags: in: zero */
	__u32 flags;
	/** @entries: in: user pointer to an array of &struct dsmil_read_entry */
	__u64 entries;
	/** @failed: in: zero; out: entries whose error is not zero */
	__u32 failed;
	/** @reserved: in/out: zero */
	__u32 reserved;
};

/**
 * struct dsmil_allow - argument of %DSMIL_IOC_ALLOW
 *
 * All or nothing: a refused list leaves the module unsealed. An empty list is a seal too: nothing may
 * be written until the module is reloaded.
 */
struct dsmil_allow {
	/** @count: in: number of ids, 0 to %DSMIL_ALLOW_MAX */
	__u32 count;
	/** @flags: in: zero */
	__u32 flags;
	/** @ids: in: user pointer to an array of __u16, ignored if @count is zero */
	__u64 ids;
	/** @failure: in: zero; out: what was refused */
	struct dsmil_failure failure;
};

/** enum dsmil_write_entry_flags - bits of &struct dsmil_write_entry.flags */
enum dsmil_write_entry_flags {
	/** @DSMIL_WRITE_EXPECTED: write only if the location holds the expected value now */
	DSMIL_WRITE_EXPECTED = 1,
};

/** struct dsmil_write_entry - one value to write */
struct dsmil_write_entry {
	/** @id: in: the token; the firmware is given its location */
	__u16 id;
	/** @select: in: &enum dsmil_select */
	__u8 select;
	/** @flags: in: &enum dsmil_write_entry_flags */
	__u8 flags;
	/**
	 * @value: in: the location's new value; where tokens share the location it must be the table
	 * value of one of them
	 */
	__u32 value;
	/** @expected: in: the value that must stand there now, with %DSMIL_WRITE_EXPECTED; else zero */
	__u32 expected;
	/** @old: in: zero; out, if the ioctl succeeds: the value that stood there */
	__u32 old;
};

/**
 * struct dsmil_write - argument of %DSMIL_IOC_WRITE
 *
 * The transaction in one call. Everything is checked before anything is written; then the old values
 * are read and saved, and each entry is written, read back and compared. Any failure undoes what was
 * written, in reverse order. On success the change is pending (see "What a change survives"); the
 * module has one pending transaction at most.
 */
struct dsmil_write {
	/** @count: in: number of entries, 1 to %DSMIL_WRITE_MAX */
	__u32 count;
	/** @flags: in: zero */
	__u32 flags;
	/** @entries: in: user pointer to an array of &struct dsmil_write_entry */
	__u64 entries;
	/**
	 * @deadline_ms: in: milliseconds from the commit until the change is undone, counting suspend;
	 * %DSMIL_DEADLINE_MIN_MS to %DSMIL_DEADLINE_MAX_MS, or 0 for the default
	 */
	__u32 deadline_ms;
	/** @undo: in: zero; out, if the ioctl fails: &enum dsmil_undo */
	__u32 undo;
	/** @transaction: in: zero; out: number of the pending transaction, never 0 */
	__u64 transaction;
	/** @failure: in: zero; out: what was refused or went wrong */
	struct dsmil_failure failure;
};

/**
 * struct dsmil_settle - argument of %DSMIL_IOC_CONFIRM and %DSMIL_IOC_UNDO
 *
 * Only through the open file, and by the process, that wrote.
 */
struct dsmil_settle {
	/** @transaction: in: the number that %DSMIL_IOC_WRITE gave */
	__u64 transaction;
	/** @flags: in: zero */
	__u32 flags;
	/** @undone: in: zero; out: entries whose old value is back */
	__u32 undone;
	/** @left: in: zero; out: entries left alone because somebody else had changed the location */
	__u32 left;
	/** @reserved: in/out: zero */
	__u32 reserved;
	/** @failure: in: zero; out: why it was refused, or the firmware's error that stopped the undo */
	struct dsmil_failure failure;
};

/** DSMIL_IOC_MAGIC - type of all ioctls: 0xDA, the SMBIOS structure that holds the tokens */
#define DSMIL_IOC_MAGIC 0xda

/** enum dsmil_ioctl - the commands of /dev/dsmil */
enum dsmil_ioctl {
	/** @DSMIL_IOC_VERSION: version of the interface; anybody who may open the node */
	DSMIL_IOC_VERSION = _IOR(DSMIL_IOC_MAGIC, 0x00, struct dsmil_version),
	/** @DSMIL_IOC_INFO: counts, limits and states; anybody who may open the node */
	DSMIL_IOC_INFO = _IOR(DSMIL_IOC_MAGIC, 0x01, struct dsmil_info),
	/** @DSMIL_IOC_LIST: the tokens of the firmware's table; anybody who may open the node */
	DSMIL_IOC_LIST = _IOWR(DSMIL_IOC_MAGIC, 0x02, struct dsmil_list),
	/** @DSMIL_IOC_READ: values, fresh from the firmware; anybody who may open the node */
	DSMIL_IOC_READ = _IOWR(DSMIL_IOC_MAGIC, 0x03, struct dsmil_read),
	/**
	 * @DSMIL_IOC_ALLOW: set the ids that may be written and seal them until the module is
	 * reloaded; needs a file opened for writing by somebody with CAP_SYS_ADMIN in the initial
	 * user namespace, and a kernel that is not locked down
	 */
	DSMIL_IOC_ALLOW = _IOWR(DSMIL_IOC_MAGIC, 0x04, struct dsmil_allow),
	/**
	 * @DSMIL_IOC_WRITE: write values, pending until confirmed; needs what %DSMIL_IOC_ALLOW needs,
	 * and a seal
	 */
	DSMIL_IOC_WRITE = _IOWR(DSMIL_IOC_MAGIC, 0x05, struct dsmil_write),
	/** @DSMIL_IOC_CONFIRM: keep the pending change; its owner only */
	DSMIL_IOC_CONFIRM = _IOWR(DSMIL_IOC_MAGIC, 0x06, struct dsmil_settle),
	/** @DSMIL_IOC_UNDO: bring the old values back now; its owner only */
	DSMIL_IOC_UNDO = _IOWR(DSMIL_IOC_MAGIC, 0x07, struct dsmil_settle),
};

#endif /* _UAPI_DSMIL_H */
