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
 * - EFAULT means that nothing was sealed, begun, staged or settled; a commit that was made before it is
 *   undone. If another thread takes the argument's memory away during the call, what was sealed, staged or
 *   settled is told by the ioctl's result alone.
 */

/**
 * DOC: What is never written
 *
 * The module refuses, for everybody and whatever the allow-list says, to write a token whose number
 * stands in its built-in list (&enum dsmil_rule), and any token that shares its location with such a
 * token. A token that the firmware's table does not have does not exist: ENOENT.
 */

/**
 * DOC: What a change survives
 *
 * The module has one transaction at most. %DSMIL_IOC_BEGIN opens it, %DSMIL_IOC_STAGE collects what is to be
 * written, %DSMIL_IOC_COMMIT writes it and leaves it pending. It stays only if %DSMIL_IOC_CONFIRM comes; the
 * deadline, %DSMIL_IOC_UNDO, any close() of a descriptor of the file by the process that began it (also the
 * one that its exit implies), the end of that process in whatever other way (noticed within a second), the
 * last close of the file, suspend if %DSMIL_BEGIN_UNDO_ON_SUSPEND asked for it, hibernation, a reboot and the
 * unloading of the module (which an open file prevents, unless it is forced) bring the old values back; a
 * commit that one of these meets stops and is undone. A deadline that passed during suspend fires at resume. A
 * location that somebody else changed meanwhile is left alone and reported. An undo takes no heed of the rate
 * limits; one that meets a firmware error is retried with growing pauses, and until it succeeds no transaction
 * begins and the module cannot be unloaded.
 *
 * A panic or a power cut while a change is pending does not undo it: the firmware then keeps the new values.
 * Whoever needs that last step saves the old values durably before the commit, with
 * &struct dsmil_stage_entry.expected set to what was saved, and restores them at the next start, as dsmild
 * does.
 */

/**
 * DOC: Rates
 *
 * A call to the firmware may stall every processor of a real machine, so both ways of calling it are limited:
 * reads by %DSMIL_IOC_READ and %DSMIL_IOC_SNAPSHOT, and the entries of commits, each of which makes three
 * calls. Each limit is a bucket (module parameters read_rate, read_burst, write_rate, write_burst; a rate of
 * zero lifts the limit). A request that finds too little in it does nothing, fails with EAGAIN and
 * %DSMIL_REASON_RATE, and says in &struct dsmil_failure.wait_ms when to try again. One that is larger than the
 * whole bucket is served when the bucket is full, and leaves a debt. Undo is never limited.
 */

/**
 * DOC: Events
 *
 * read() on the node gives whole &struct dsmil_event records, oldest first, from those that came after the file
 * was opened. It waits for one, unless O_NONBLOCK is set (EAGAIN); a buffer too small for one record
 * is EINVAL. poll() and epoll say EPOLLIN while there is one. The module keeps the newest
 * &struct dsmil_info.events_max records for all readers, and each file its own position; the first record
 * after a gap says in &struct dsmil_event.lost how many that reader has missed.
 */

/**
 * DOC: Mapped pages
 *
 * mmap() of &struct dsmil_info.page_bytes bytes at offset 0, shared or private, PROT_READ alone, gives
 * &struct dsmil_page followed by its cells: the state and the cached values without a system call. EACCES for
 * PROT_WRITE or PROT_EXEC, now or later by mprotect(); EINVAL for another size or offset. A reader takes
 * the sequence (again while it is odd), then what it wants, then the sequence anew, and starts over if that
 * has changed; between these come the barriers of a sequence lock (acquire after the first, before the second).
 */

/**
 * define DSMIL_ABI_VERSION - version of this interface, raised by one when something is appended
 */
#define DSMIL_ABI_VERSION 1

/**
 * define DSMIL_LIST_MAX - most tokens that one %DSMIL_IOC_LIST fills in
 */
#define DSMIL_LIST_MAX 1024

/**
 * define DSMIL_READ_MAX - most entries of one %DSMIL_IOC_READ
 */
#define DSMIL_READ_MAX 256

/**
 * define DSMIL_ALLOW_MAX - most ids of one %DSMIL_IOC_ALLOW
 */
#define DSMIL_ALLOW_MAX 4096

/**
 * define DSMIL_STAGE_MAX - most entries of one %DSMIL_IOC_STAGE
 */
#define DSMIL_STAGE_MAX 256

/**
 * define DSMIL_TRANSACTION_MAX - most entries of one transaction
 */
#define DSMIL_TRANSACTION_MAX 512

/**
 * define DSMIL_SNAPSHOT_MAX - most entries of one %DSMIL_IOC_SNAPSHOT: every token with every select
 */
#define DSMIL_SNAPSHOT_MAX 12288

/**
 * define DSMIL_EVENTS_MAX - events that are kept for readers who are behind
 */
#define DSMIL_EVENTS_MAX 1024

/**
 * define DSMIL_AGE_ANY - as max_age_ms: from the cache whatever its age, without a call to the firmware
 */
#define DSMIL_AGE_ANY 0xffffffff

/**
 * define DSMIL_DEADLINE_MIN_MS - shortest deadline of a transaction, in milliseconds
 */
#define DSMIL_DEADLINE_MIN_MS 1000

/**
 * define DSMIL_DEADLINE_DEFAULT_MS - deadline where the caller gives zero, in milliseconds
 */
#define DSMIL_DEADLINE_DEFAULT_MS 30000

/**
 * define DSMIL_DEADLINE_MAX_MS - longest deadline of a transaction, in milliseconds
 */
#define DSMIL_DEADLINE_MAX_MS 600000

/**
 * define DSMIL_NO_INDEX - in &struct dsmil_failure.index: no single entry is to blame
 */
#define DSMIL_NO_INDEX 0xffffffff

/**
 * define DSMIL_NO_DEVICE - in &struct dsmil_token.group and .member: not a DSMIL device
 */
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

/**
 * enum dsmil_rule - why a token is never written
 */
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

/**
 * enum dsmil_backend - the way to the firmware that dell-smbios uses
 */
enum dsmil_backend {
	/** @DSMIL_BACKEND_NONE: none is known; calls fail with ENODEV */
	DSMIL_BACKEND_NONE = 0,
	/** @DSMIL_BACKEND_WMI: ACPI WMI */
	DSMIL_BACKEND_WMI = 1,
	/** @DSMIL_BACKEND_SMM: system management interrupts */
	DSMIL_BACKEND_SMM = 2,
};

/**
 * enum dsmil_lockdown - the kernel's lockdown mode
 */
enum dsmil_lockdown {
	/** @DSMIL_LOCKDOWN_NONE: not locked down */
	DSMIL_LOCKDOWN_NONE = 0,
	/** @DSMIL_LOCKDOWN_INTEGRITY: writes are refused */
	DSMIL_LOCKDOWN_INTEGRITY = 1,
	/** @DSMIL_LOCKDOWN_CONFIDENTIALITY: writes are refused */
	DSMIL_LOCKDOWN_CONFIDENTIALITY = 2,
};

/**
 * enum dsmil_state - where the module's one transaction stands
 */
enum dsmil_state {
	/** @DSMIL_STATE_IDLE: there is none */
	DSMIL_STATE_IDLE = 0,
	/** @DSMIL_STATE_OPEN: begun, and not yet committed; dropped at its deadline */
	DSMIL_STATE_OPEN = 1,
	/** @DSMIL_STATE_PENDING: written, waiting for its confirmation; undone at its deadline */
	DSMIL_STATE_PENDING = 2,
	/**
	 * @DSMIL_STATE_UNDOING: an undo met a firmware error and is being retried; no transaction begins
	 * and the module cannot be unloaded
	 */
	DSMIL_STATE_UNDOING = 3,
};

/**
 * enum dsmil_outcome - how a transaction ended
 */
enum dsmil_outcome {
	/** @DSMIL_OUTCOME_NONE: none has ended yet */
	DSMIL_OUTCOME_NONE = 0,
	/** @DSMIL_OUTCOME_CONFIRMED: kept by %DSMIL_IOC_CONFIRM */
	DSMIL_OUTCOME_CONFIRMED = 1,
	/** @DSMIL_OUTCOME_FAILED: its commit failed; what it had written was undone */
	DSMIL_OUTCOME_FAILED = 2,
	/** @DSMIL_OUTCOME_UNDONE: undone by %DSMIL_IOC_UNDO */
	DSMIL_OUTCOME_UNDONE = 3,
	/** @DSMIL_OUTCOME_EXPIRED: undone, or dropped, at its deadline */
	DSMIL_OUTCOME_EXPIRED = 4,
	/** @DSMIL_OUTCOME_CLOSED: undone, or dropped, because its owner closed the file or exited */
	DSMIL_OUTCOME_CLOSED = 5,
	/** @DSMIL_OUTCOME_SHUTDOWN: undone before a reboot or the unloading of the module */
	DSMIL_OUTCOME_SHUTDOWN = 6,
	/** @DSMIL_OUTCOME_SUSPENDED: undone before hibernation, or suspend, as %DSMIL_BEGIN_UNDO_ON_SUSPEND asked */
	DSMIL_OUTCOME_SUSPENDED = 7,
};

/**
 * enum dsmil_undo - what a failed commit left behind
 */
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

/**
 * enum dsmil_heat - what the processor's temperature means
 */
enum dsmil_heat {
	/** @DSMIL_HEAT_UNKNOWN: no sensor, or an implausible value: not to be taken as safe */
	DSMIL_HEAT_UNKNOWN = 0,
	/** @DSMIL_HEAT_NORMAL: below 85 degrees Celsius */
	DSMIL_HEAT_NORMAL = 1,
	/** @DSMIL_HEAT_WARNING: from 85 degrees; ends below 83 */
	DSMIL_HEAT_WARNING = 2,
	/** @DSMIL_HEAT_CRITICAL: from 95 degrees; ends below 93 */
	DSMIL_HEAT_CRITICAL = 3,
	/** @DSMIL_HEAT_EMERGENCY: from 100 degrees; ends below 98 */
	DSMIL_HEAT_EMERGENCY = 4,
};

/**
 * enum dsmil_reason - why something was refused; the error number stands beside each
 */
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
	/** @DSMIL_REASON_NEVER_WRITTEN: denied by the rule given (EPERM) */
	DSMIL_REASON_NEVER_WRITTEN = 7,
	/** @DSMIL_REASON_NOT_SEALED: no allow-list has been sealed yet (EPERM) */
	DSMIL_REASON_NOT_SEALED = 8,
	/** @DSMIL_REASON_SEALED: the allow-list is sealed until the module is reloaded (EPERM) */
	DSMIL_REASON_SEALED = 9,
	/** @DSMIL_REASON_NOT_ALLOWED: the token is not on the sealed allow-list (EPERM) */
	DSMIL_REASON_NOT_ALLOWED = 10,
	/**
	 * @DSMIL_REASON_PARTIAL_LOCATION: the allow-list has some, but not all, tokens of a location;
	 * the id given is one that is missing (EINVAL)
	 */
	DSMIL_REASON_PARTIAL_LOCATION = 11,
	/** @DSMIL_REASON_CAPABILITY: who opened the file lacks CAP_SYS_ADMIN in the initial namespace (EPERM) */
	DSMIL_REASON_CAPABILITY = 12,
	/** @DSMIL_REASON_READ_ONLY_FILE: the file was not opened for writing (EBADF) */
	DSMIL_REASON_READ_ONLY_FILE = 13,
	/** @DSMIL_REASON_LOCKED_DOWN: the kernel is locked down (EPERM) */
	DSMIL_REASON_LOCKED_DOWN = 14,
	/** @DSMIL_REASON_VALUE: not the table value of any token of a shared location (EINVAL) */
	DSMIL_REASON_VALUE = 15,
	/** @DSMIL_REASON_EXPECTED: the location holds another value than was expected (ESTALE) */
	DSMIL_REASON_EXPECTED = 16,
	/** @DSMIL_REASON_BUSY: another transaction is open or pending (EBUSY) */
	DSMIL_REASON_BUSY = 17,
	/** @DSMIL_REASON_UNDOING: an undo is being retried (EBUSY) */
	DSMIL_REASON_UNDOING = 18,
	/**
	 * @DSMIL_REASON_CLOSING: the machine or the module goes down, or the machine to a sleep that would
	 * undo it (ESHUTDOWN)
	 */
	DSMIL_REASON_CLOSING = 19,
	/** @DSMIL_REASON_FIRMWARE: the firmware or the way to it failed (EIO, ENXIO, EINVAL, ENODEV, ...) */
	DSMIL_REASON_FIRMWARE = 20,
	/** @DSMIL_REASON_NOT_STUCK: the firmware reported success, but reads back another value (EIO) */
	DSMIL_REASON_NOT_STUCK = 21,
	/** @DSMIL_REASON_PASSWORD: a BIOS administrator password forbids the write (EACCES) */
	DSMIL_REASON_PASSWORD = 22,
	/** @DSMIL_REASON_NO_TRANSACTION: no transaction of this number is open or pending (ESRCH) */
	DSMIL_REASON_NO_TRANSACTION = 23,
	/** @DSMIL_REASON_NOT_OWNER: the transaction belongs to another file or process (EPERM) */
	DSMIL_REASON_NOT_OWNER = 24,
	/** @DSMIL_REASON_COMMITTED: it is committed already: it can be confirmed or undone (EINVAL) */
	DSMIL_REASON_COMMITTED = 25,
	/** @DSMIL_REASON_NOT_COMMITTED: there is nothing to confirm before the commit (EINVAL) */
	DSMIL_REASON_NOT_COMMITTED = 26,
	/** @DSMIL_REASON_EMPTY: nothing is staged (EINVAL) */
	DSMIL_REASON_EMPTY = 27,
	/** @DSMIL_REASON_FULL: the transaction would have too many entries (E2BIG) */
	DSMIL_REASON_FULL = 28,
	/** @DSMIL_REASON_RATE: too many calls to the firmware; wait_ms says when to try again (EAGAIN) */
	DSMIL_REASON_RATE = 29,
	/** @DSMIL_REASON_ROOM: too little room for the answer; found says how many entries it has (ENOSPC) */
	DSMIL_REASON_ROOM = 30,
	/** @DSMIL_REASON_CHANGED: values kept changing while they were read (EAGAIN) */
	DSMIL_REASON_CHANGED = 31,
	/** @DSMIL_REASON_MEMORY: the kernel has no memory for it (ENOMEM) */
	DSMIL_REASON_MEMORY = 32,
	/** @DSMIL_REASON_INTERRUPTED: a signal came; nothing was changed, or it was undone (EINTR) */
	DSMIL_REASON_INTERRUPTED = 33,
};

/**
 * struct dsmil_failure - which entry was refused, and why
 *
 * All members are zero, and @index is %DSMIL_NO_INDEX, if nothing was.
 */
struct dsmil_failure {
	/** @reason: out: &enum dsmil_reason */
	__u32 reason;
	/** @index: out: index of the entry to blame, or %DSMIL_NO_INDEX; of a commit in the order of staging */
	__u32 index;
	/** @id: out: the token, where the reason is about one, else 0 */
	__u16 id;
	/** @rule: out: &enum dsmil_rule, for %DSMIL_REASON_NEVER_WRITTEN */
	__u16 rule;
	/**
	 * @status: out: for %DSMIL_REASON_FIRMWARE and %DSMIL_REASON_PASSWORD the firmware's own status (-1
	 * completed with error, -2 not supported, -3 no answer), 0 if it was not reached
	 */
	__s32 status;
	/**
	 * @found: out: for %DSMIL_REASON_EXPECTED and %DSMIL_REASON_NOT_STUCK the value that was read, for
	 * %DSMIL_REASON_ROOM the entries there are
	 */
	__u32 found;
	/** @error: out: the error number that the ioctl fails with, positive */
	__s32 error;
	/** @wait_ms: out: for %DSMIL_REASON_RATE, milliseconds until the same request would be served */
	__u32 wait_ms;
	/** @reserved: in/out: zero */
	__u32 reserved;
};

/**
 * struct dsmil_version - argument of %DSMIL_IOC_VERSION
 */
struct dsmil_version {
	/** @abi: out: %DSMIL_ABI_VERSION of the module */
	__u32 abi;
	/** @reserved: out: zero */
	__u32 reserved;
};

/**
 * enum dsmil_info_flags - bits of &struct dsmil_info.flags
 */
enum dsmil_info_flags {
	/** @DSMIL_INFO_SEALED: an allow-list is sealed */
	DSMIL_INFO_SEALED = 1,
	/**
	 * @DSMIL_INFO_HYPERVISOR: the processor says that it is virtual, so the firmware is emulated or
	 * filtered as far as is known
	 */
	DSMIL_INFO_HYPERVISOR = 2,
};

/**
 * struct dsmil_info - argument of %DSMIL_IOC_INFO
 */
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
	/** @readable: out: tokens that can be read */
	__u32 readable;
	/** @writable: out: tokens on the sealed allow-list */
	__u32 writable;
	/** @list_max: out: most tokens of one %DSMIL_IOC_LIST */
	__u32 list_max;
	/** @read_max: out: most entries of one %DSMIL_IOC_READ */
	__u32 read_max;
	/** @snapshot_max: out: most entries of one %DSMIL_IOC_SNAPSHOT */
	__u32 snapshot_max;
	/** @allow_max: out: most ids of one %DSMIL_IOC_ALLOW */
	__u32 allow_max;
	/** @stage_max: out: most entries of one %DSMIL_IOC_STAGE */
	__u32 stage_max;
	/** @transaction_max: out: most entries of one transaction */
	__u32 transaction_max;
	/** @events_max: out: events that are kept for readers who are behind */
	__u32 events_max;
	/** @page_bytes: out: size of the mapping, a multiple of the page size */
	__u32 page_bytes;
	/** @deadline_min_ms: out: shortest deadline, in milliseconds */
	__u32 deadline_min_ms;
	/** @deadline_default_ms: out: deadline where none is given, in milliseconds */
	__u32 deadline_default_ms;
	/** @deadline_max_ms: out: longest deadline, in milliseconds */
	__u32 deadline_max_ms;
	/** @read_rate: out: reads of the firmware per second, 0: not limited */
	__u32 read_rate;
	/** @read_burst: out: reads of the firmware at once */
	__u32 read_burst;
	/** @write_rate: out: committed entries per second, 0: not limited */
	__u32 write_rate;
	/** @write_burst: out: committed entries at once */
	__u32 write_burst;
	/** @state: out: &enum dsmil_state */
	__u32 state;
	/** @generation: out: raised when a commit or an undo begins to write and when it has ended */
	__u64 generation;
	/** @transaction: out: number of the present or, when idle, the last transaction; 0: none yet */
	__u64 transaction;
	/** @events: out: number of the newest event, 0: none yet */
	__u64 events;
	/** @outcome: out: &enum dsmil_outcome of the last transaction that ended */
	__u32 outcome;
	/** @entries: out: entries of the present transaction */
	__u32 entries;
	/** @remaining_ms: out: while open or pending, milliseconds until the deadline (CLOCK_BOOTTIME) */
	__u32 remaining_ms;
	/** @attempts: out: while undoing, attempts that failed so far */
	__u32 attempts;
	/** @left: out: locations that undos left alone because somebody else had changed them, since load */
	__u32 left;
	/** @heat: out: &enum dsmil_heat */
	__u32 heat;
	/** @temperature_mc: out: the processor's temperature in thousandths of a degree Celsius, if known */
	__s32 temperature_mc;
	/** @reserved: out: zero */
	__u32 reserved[15];
};

/**
 * enum dsmil_token_flags - bits of &struct dsmil_token.flags
 */
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

/**
 * struct dsmil_token - one token of the firmware's table
 */
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

/**
 * struct dsmil_read_entry - one value
 */
struct dsmil_read_entry {
	/** @id: the token; the firmware is asked for its location; in for a read, out for a snapshot */
	__u16 id;
	/** @select: &enum dsmil_select; in for a read, out for a snapshot */
	__u8 select;
	/** @reserved: in/out: zero */
	__u8 reserved;
	/** @value: in: zero; out: the location's value, meaningful only if @error is zero */
	__u32 value;
	/**
	 * @error: in: zero; out: 0, or this entry's error number, positive: ENOENT unknown token, EACCES
	 * write-only token, EINVAL no such select or nonzero input, ENODATA not in the cache, else from the
	 * firmware (EIO, ENXIO, ENODEV, EINVAL with @status set)
	 */
	__s32 error;
	/** @status: in: zero; out: the firmware's own status, as in &struct dsmil_failure */
	__s32 status;
	/** @age_ns: in: zero; out: nanoseconds since the firmware gave the value, 0: during this call */
	__u64 age_ns;
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
	/**
	 * @max_age_ms: in: a cached value no older than this will do; 0: each value fresh from the
	 * firmware; %DSMIL_AGE_ANY: cached values alone, ENODATA for one that there is none of
	 */
	__u32 max_age_ms;
	/** @failed: in: zero; out: entries whose error is not zero */
	__u32 failed;
	/** @entries: in: user pointer to an array of &struct dsmil_read_entry */
	__u64 entries;
	/** @failure: in: zero; out: why nothing was read */
	struct dsmil_failure failure;
};

/**
 * struct dsmil_snapshot - argument of %DSMIL_IOC_SNAPSHOT
 *
 * Every readable token, in ascending order of ids and then of selects, with nothing written by this
 * module in between: @generation stood at the beginning and at the end. The values fit into
 * %DSMIL_IOC_STAGE to bring them back.
 */
struct dsmil_snapshot {
	/** @count: in: room at @entries, up to %DSMIL_SNAPSHOT_MAX; out: entries filled in */
	__u32 count;
	/** @selects: in: bit 1 << &enum dsmil_select for each select wanted, at least one */
	__u32 selects;
	/** @max_age_ms: in: as in &struct dsmil_read */
	__u32 max_age_ms;
	/** @failed: in: zero; out: entries whose error is not zero */
	__u32 failed;
	/** @entries: in: user pointer to an array of &struct dsmil_read_entry */
	__u64 entries;
	/** @generation: in: zero; out: generation of all values */
	__u64 generation;
	/** @time_ns: in: zero; out: when it began, CLOCK_BOOTTIME in nanoseconds */
	__u64 time_ns;
	/** @failure: in: zero; out: why there is none */
	struct dsmil_failure failure;
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

/**
 * enum dsmil_begin_flags - bits of &struct dsmil_begin.flags
 */
enum dsmil_begin_flags {
	/**
	 * @DSMIL_BEGIN_UNDO_ON_SUSPEND: suspend undoes the pending change first, as hibernation does in any case;
	 * the machine stays awake if that cannot be done
	 */
	DSMIL_BEGIN_UNDO_ON_SUSPEND = 1,
};

/**
 * struct dsmil_begin - argument of %DSMIL_IOC_BEGIN
 *
 * The transaction belongs to the open file and the process that began it; EBUSY for everybody else until it
 * ends.
 */
struct dsmil_begin {
	/**
	 * @deadline_ms: in: %DSMIL_DEADLINE_MIN_MS to %DSMIL_DEADLINE_MAX_MS milliseconds, counting suspend, or 0
	 * for the default: from here until an uncommitted transaction is dropped, and anew from the commit
	 * until an unconfirmed one is undone
	 */
	__u32 deadline_ms;
	/** @flags: in: &enum dsmil_begin_flags */
	__u32 flags;
	/** @transaction: in: zero; out: its number, never 0 */
	__u64 transaction;
	/** @failure: in: zero; out: why it was refused */
	struct dsmil_failure failure;
};

/**
 * enum dsmil_stage_flags - bits of &struct dsmil_stage_entry.flags
 */
enum dsmil_stage_flags {
	/** @DSMIL_STAGE_EXPECTED: commit only if the location holds the expected value then */
	DSMIL_STAGE_EXPECTED = 1,
};

/**
 * struct dsmil_stage_entry - one value to write
 */
struct dsmil_stage_entry {
	/** @id: in: the token; the firmware is given its location */
	__u16 id;
	/** @select: in: &enum dsmil_select */
	__u8 select;
	/** @flags: in: &enum dsmil_stage_flags */
	__u8 flags;
	/**
	 * @value: in: the location's new value; where tokens share the location it must be the table
	 * value of one of them
	 */
	__u32 value;
	/** @expected: in: the value that must stand there at the commit, with %DSMIL_STAGE_EXPECTED; else zero */
	__u32 expected;
	/** @reserved: in: zero */
	__u32 reserved;
};

/**
 * struct dsmil_stage - argument of %DSMIL_IOC_STAGE
 *
 * Adds entries to the open transaction, all or none. Nothing is asked of the firmware.
 */
struct dsmil_stage {
	/** @transaction: in: the number that %DSMIL_IOC_BEGIN gave */
	__u64 transaction;
	/** @count: in: number of entries, 1 to %DSMIL_STAGE_MAX */
	__u32 count;
	/** @flags: in: zero */
	__u32 flags;
	/** @entries: in: user pointer to an array of &struct dsmil_stage_entry */
	__u64 entries;
	/** @staged: in: zero; out: entries of the transaction now */
	__u32 staged;
	/** @reserved: in/out: zero */
	__u32 reserved;
	/** @failure: in: zero; out: what was refused */
	struct dsmil_failure failure;
};

/**
 * struct dsmil_commit - argument of %DSMIL_IOC_COMMIT
 *
 * Reads and saves the old values, compares the expected ones, then writes each entry, reads it back and
 * compares. Any failure undoes what was written, in reverse order, and ends the transaction; only
 * %DSMIL_REASON_RATE, and what is refused before the transaction is looked at, leave it open. On success the
 * change is pending and its deadline runs (see "What a change survives").
 */
struct dsmil_commit {
	/** @transaction: in: the number that %DSMIL_IOC_BEGIN gave */
	__u64 transaction;
	/** @flags: in: zero */
	__u32 flags;
	/** @count: in: room at @old: 0, or as many as are staged */
	__u32 count;
	/**
	 * @old: in: user pointer to an array of __u32, filled in, if the ioctl succeeds, with the values that
	 * stood there, in the order of staging; ignored if @count is zero
	 */
	__u64 old;
	/** @undo: in: zero; out, if the ioctl fails: &enum dsmil_undo */
	__u32 undo;
	/** @reserved: in/out: zero */
	__u32 reserved;
	/** @failure: in: zero; out: what was refused or went wrong */
	struct dsmil_failure failure;
};

/**
 * struct dsmil_settle - argument of %DSMIL_IOC_CONFIRM and %DSMIL_IOC_UNDO
 *
 * Only through the open file, and by the process, that began the transaction. Undo also ends one that is not
 * committed yet.
 */
struct dsmil_settle {
	/** @transaction: in: the number that %DSMIL_IOC_BEGIN gave */
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

/**
 * enum dsmil_event_kind - what happened
 */
enum dsmil_event_kind {
	/**
	 * @DSMIL_EVENT_TOKEN: the value of a token's location changed: id, select, old, new; detail is
	 * &enum dsmil_cause
	 */
	DSMIL_EVENT_TOKEN = 1,
	/** @DSMIL_EVENT_SEALED: the allow-list was sealed; detail: ids on it */
	DSMIL_EVENT_SEALED = 2,
	/** @DSMIL_EVENT_BEGUN: a transaction was begun */
	DSMIL_EVENT_BEGUN = 3,
	/** @DSMIL_EVENT_COMMITTED: it was written and is pending; detail: entries */
	DSMIL_EVENT_COMMITTED = 4,
	/** @DSMIL_EVENT_ENDED: it ended; detail: &enum dsmil_outcome */
	DSMIL_EVENT_ENDED = 5,
	/** @DSMIL_EVENT_RETRYING: its undo failed and will be retried; detail: attempts so far */
	DSMIL_EVENT_RETRYING = 6,
	/**
	 * @DSMIL_EVENT_LEFT: an undo left a location alone because somebody else had changed it: id, select,
	 * old: what would have come back
	 */
	DSMIL_EVENT_LEFT = 7,
	/** @DSMIL_EVENT_REFUSED: a change was refused, or failed: command, reason, error; id, if it was about one */
	DSMIL_EVENT_REFUSED = 8,
	/** @DSMIL_EVENT_FIRMWARE: the firmware, or the way to it, failed: id, select, error, status */
	DSMIL_EVENT_FIRMWARE = 9,
	/** @DSMIL_EVENT_HEAT: the temperature crossed a threshold; detail: &enum dsmil_heat, old and new: it */
	DSMIL_EVENT_HEAT = 10,
};

/**
 * enum dsmil_cause - who changed a token's value
 */
enum dsmil_cause {
	/** @DSMIL_CAUSE_COMMIT: a commit */
	DSMIL_CAUSE_COMMIT = 1,
	/** @DSMIL_CAUSE_UNDO: an undo */
	DSMIL_CAUSE_UNDO = 2,
	/** @DSMIL_CAUSE_ELSEWHERE: not this module: a read found another value than the last one */
	DSMIL_CAUSE_ELSEWHERE = 3,
};

/**
 * struct dsmil_event - one record that read() gives
 */
struct dsmil_event {
	/** @number: events since load, from 1 */
	__u64 number;
	/** @time_ns: when, CLOCK_BOOTTIME in nanoseconds */
	__u64 time_ns;
	/** @transaction: the transaction that it belongs to, 0: none */
	__u64 transaction;
	/** @kind: &enum dsmil_event_kind */
	__u32 kind;
	/** @detail: as the kind says, else zero */
	__u32 detail;
	/** @pid: whose doing, as a process of the initial namespace; the owner's for a transaction; 0: nobody's */
	__u32 pid;
	/** @uid: their user in the initial namespace */
	__u32 uid;
	/** @command: &enum dsmil_ioctl under way, 0: none */
	__u32 command;
	/** @reason: &enum dsmil_reason, for %DSMIL_EVENT_REFUSED */
	__u32 reason;
	/** @error: error number, positive, for refusals and failures */
	__s32 error;
	/** @status: the firmware's own status, for %DSMIL_EVENT_FIRMWARE and a change that it made fail */
	__s32 status;
	/** @old: value before */
	__u32 old;
	/** @new_value: value after */
	__u32 new_value;
	/** @id: the token, where it is about one */
	__u16 id;
	/** @select: &enum dsmil_select */
	__u8 select;
	/** @reserved: zero */
	__u8 reserved;
	/** @lost: events just before this one that this reader has missed, up to 0xffffffff */
	__u32 lost;
};

/**
 * struct dsmil_page - head of the mapped pages
 *
 * The offsets are part of the interface; new members take reserved space, cells may grow at their end.
 */
struct dsmil_page {
	/** @abi: %DSMIL_ABI_VERSION */
	__u32 abi;
	/** @sequence: odd while the pages are being changed */
	__u32 sequence;
	/** @cells_offset: where the cells begin, in bytes from the start of the mapping; constant */
	__u32 cells_offset;
	/** @cell_bytes: distance between two cells; constant */
	__u32 cell_bytes;
	/** @cells: number of cells: three for each token, in ascending order of ids, then selects; constant */
	__u32 cells;
	/** @state: &enum dsmil_state */
	__u32 state;
	/** @outcome: &enum dsmil_outcome of the last transaction that ended */
	__u32 outcome;
	/** @entries: entries of the present transaction */
	__u32 entries;
	/** @generation: as in &struct dsmil_info */
	__u64 generation;
	/** @transaction: as in &struct dsmil_info */
	__u64 transaction;
	/** @deadline_ns: when the transaction is dropped or undone, or its undo tried again; CLOCK_BOOTTIME, 0: none */
	__u64 deadline_ns;
	/** @events: as in &struct dsmil_info */
	__u64 events;
	/** @attempts: as in &struct dsmil_info */
	__u32 attempts;
	/** @left: as in &struct dsmil_info */
	__u32 left;
	/** @heat: as in &struct dsmil_info */
	__u32 heat;
	/** @temperature_mc: as in &struct dsmil_info */
	__s32 temperature_mc;
	/** @reserved: zero */
	__u64 reserved[6];
};

/**
 * struct dsmil_cell - one cached value in the mapped pages
 */
struct dsmil_cell {
	/** @time_ns: when the firmware gave it, CLOCK_BOOTTIME in nanoseconds; 0: never, no value */
	__u64 time_ns;
	/** @value: the location's value */
	__u32 value;
	/** @id: the token; constant */
	__u16 id;
	/** @select: &enum dsmil_select; constant */
	__u8 select;
	/** @reserved: zero */
	__u8 reserved;
};

/**
 * define DSMIL_IOC_MAGIC - type of all ioctls: 0xDA, the SMBIOS structure that holds the tokens
 */
#define DSMIL_IOC_MAGIC 0xda

/**
 * enum dsmil_ioctl - the commands of /dev/dsmil
 */
enum dsmil_ioctl {
	/** @DSMIL_IOC_VERSION: version of the interface; anybody who may open the node */
	DSMIL_IOC_VERSION = _IOR(DSMIL_IOC_MAGIC, 0x00, struct dsmil_version),
	/** @DSMIL_IOC_INFO: counts, limits and states; anybody who may open the node */
	DSMIL_IOC_INFO = _IOR(DSMIL_IOC_MAGIC, 0x01, struct dsmil_info),
	/** @DSMIL_IOC_LIST: the tokens of the firmware's table; anybody who may open the node */
	DSMIL_IOC_LIST = _IOWR(DSMIL_IOC_MAGIC, 0x02, struct dsmil_list),
	/** @DSMIL_IOC_READ: values, from the firmware or the cache; anybody who may open the node */
	DSMIL_IOC_READ = _IOWR(DSMIL_IOC_MAGIC, 0x03, struct dsmil_read),
	/** @DSMIL_IOC_SNAPSHOT: all values of one generation; anybody who may open the node */
	DSMIL_IOC_SNAPSHOT = _IOWR(DSMIL_IOC_MAGIC, 0x04, struct dsmil_snapshot),
	/**
	 * @DSMIL_IOC_ALLOW: set the ids that may be written and seal them until the module is
	 * reloaded; needs a file opened for writing by somebody with CAP_SYS_ADMIN in the initial
	 * user namespace, and a kernel that is not locked down
	 */
	DSMIL_IOC_ALLOW = _IOWR(DSMIL_IOC_MAGIC, 0x05, struct dsmil_allow),
	/** @DSMIL_IOC_BEGIN: open the transaction; needs what %DSMIL_IOC_ALLOW needs, and a seal */
	DSMIL_IOC_BEGIN = _IOWR(DSMIL_IOC_MAGIC, 0x06, struct dsmil_begin),
	/** @DSMIL_IOC_STAGE: add to it; its owner only */
	DSMIL_IOC_STAGE = _IOWR(DSMIL_IOC_MAGIC, 0x07, struct dsmil_stage),
	/** @DSMIL_IOC_COMMIT: write it; its owner only; needs what %DSMIL_IOC_BEGIN needed */
	DSMIL_IOC_COMMIT = _IOWR(DSMIL_IOC_MAGIC, 0x08, struct dsmil_commit),
	/** @DSMIL_IOC_CONFIRM: keep the pending change; its owner only */
	DSMIL_IOC_CONFIRM = _IOWR(DSMIL_IOC_MAGIC, 0x09, struct dsmil_settle),
	/** @DSMIL_IOC_UNDO: bring the old values back now, or drop what is staged; its owner only */
	DSMIL_IOC_UNDO = _IOWR(DSMIL_IOC_MAGIC, 0x0a, struct dsmil_settle),
};

#endif /* _UAPI_DSMIL_H */
