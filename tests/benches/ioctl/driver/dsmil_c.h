/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The peer of the benchmark "ioctl": the reading half of include/uapi/dsmil.h as a plain C driver.
 *
 * It has no transactions, events and mapped pages: their ioctls are unknown to it. What it has does what the
 * module does: the same checks in the same order, the same copies, the same answers.
 */
#ifndef _DSMIL_C_H
#define _DSMIL_C_H

#include <linux/atomic.h>
#include <linux/mutex.h>
#include <linux/rwsem.h>
#include <linux/spinlock.h>
#include "dsmil.h"

/* Values of a location that the firmware tells apart: in force, on battery, on mains power. */
#define DSMIL_C_SELECTS 3

/* Most entries of the firmware's table; what is beyond is left out. */
#define DSMIL_C_TOKENS_MAX 4096

/* struct dsmil_c_bare - argument of DSMIL_C_IOC_BARE: one call to the firmware for each readable location and select */
struct dsmil_c_bare {
	/* in: bit 1 << select for each select wanted */
	__u32 selects;
	/* out: calls that were made */
	__u32 calls;
	/* out: calls that failed */
	__u32 failed;
	/* in/out: zero */
	__u32 reserved;
};

/* Of this driver alone; the number is none of DSMIL's. */
#define DSMIL_C_IOC_BARE _IOWR(0xdb, 0x00, struct dsmil_c_bare)

/* Where things stand; all but heat and temperature stay zero without transactions and events. */
struct dsmil_c_state {
	spinlock_t lock;
	u64 generation, transaction, events;
	u32 state, outcome, entries, attempts, left, heat;
	s32 temperature_mc;
};

extern struct dsmil_c_state dsmil_c_state;
extern u32 dsmil_c_page_bytes;

/* What would be shown in debugfs. */
struct dsmil_c_counters {
	atomic64_t reads, reads_failed, cached, reads_limited;
};

extern struct dsmil_c_counters dsmil_c_counters;

u32 dsmil_c_backend(void);
void dsmil_c_describe(struct dsmil_info *info);
void dsmil_c_opened(void);
void dsmil_c_released(void);
void dsmil_c_state_init(void);
void dsmil_c_state_exit(void);

/* A cached value. */
struct dsmil_c_cell {
	/* CLOCK_BOOTTIME in nanoseconds, 0: never */
	u64 time_ns;
	u32 value;
};

/* What a token has besides that which the interface shows. */
struct dsmil_c_token {
	/* Index of another token at the same location, in a ring; its own if it is alone. */
	u32 companion;
	struct dsmil_c_cell cells[DSMIL_C_SELECTS];
};

/* The firmware's table, sorted by id; constant but for the flag DSMIL_TOKEN_WRITABLE, which seal guards. */
extern struct dsmil_token *dsmil_c_tokens;
extern struct dsmil_c_token *dsmil_c_values;
extern u32 dsmil_c_count, dsmil_c_devices, dsmil_c_readable;
extern struct rw_semaphore dsmil_c_seal;

int dsmil_c_table_init(void);
void dsmil_c_table_exit(void);
int dsmil_c_find(u16 id);

/* What one request to read has in common. */
struct dsmil_c_reading {
	/* When it began: a value from then on is fresh. */
	u64 began_ns;
	/* A cached value no older will do. */
	u64 max_age_ns;
	/* Values that came from the cache. */
	u32 cached;
	/* No call to the firmware. */
	bool cached_only;
};

int dsmil_c_read_token(struct dsmil_c_reading *reading, u32 index, struct dsmil_read_entry *entry);
int dsmil_c_bare(struct dsmil_c_bare *bare);
int dsmil_c_take(u32 calls, u32 *wait_ms);
void dsmil_c_limits(struct dsmil_info *info);

#endif
