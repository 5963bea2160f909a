// SPDX-License-Identifier: GPL-2.0-only
/* Calls to the firmware, the cache of what they gave, and the limit of their rate. */
#include <linux/dmi.h>
#include <linux/math64.h>
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/timekeeping.h>
#include "dell-smbios.h"
#include "dsmil_c.h"

/* dell-smbios' class of reads. */
#define CLASS_READ 0

static unsigned int read_rate = 1000, read_burst = 2048;
module_param(read_rate, uint, 0444);
MODULE_PARM_DESC(read_rate, "reads of the firmware per second, 0: no limit");
module_param(read_burst, uint, 0444);
MODULE_PARM_DESC(read_burst, "reads of the firmware at once");

/* Keeps a call and the entry of its answer in the cache together. Taken before cells. */
static DEFINE_MUTEX(firmware);
/* Guards all cells. */
static DEFINE_SPINLOCK(cells);
/* Guards the bucket: how much is in it, in nanoseconds' worth of rate, and since when. */
static DEFINE_SPINLOCK(bucket);
static s64 bucket_level = S64_MAX;
static u64 bucket_since;

/* Takes so many calls out of the bucket, or says how long to wait. */
int dsmil_c_take(u32 calls, u32 *wait_ms)
{
	u64 now = ktime_get_boottime_ns(), price;
	s64 full, needed;
	int error = 0;

	if (!read_rate || !calls)
		return 0;
	price = div_u64(NSEC_PER_SEC, read_rate);
	full = price * read_burst;
	spin_lock(&bucket);
	bucket_level = bucket_level > full ? full : min_t(s64, full, bucket_level + (now - bucket_since));
	bucket_since = now;
	needed = min_t(s64, full, price * calls);
	if (bucket_level < needed) {
		*wait_ms = div_u64(needed - bucket_level + NSEC_PER_MSEC - 1, NSEC_PER_MSEC);
		error = -EAGAIN;
		atomic64_inc(&dsmil_c_counters.reads_limited);
	} else {
		bucket_level -= price * calls;
	}
	spin_unlock(&bucket);
	return error;
}

/* The limits never change. */
void dsmil_c_limits(struct dsmil_info *info)
{
	info->read_rate = read_rate;
	info->read_burst = read_burst;
}

/* Asks the firmware; 0 or a negative error number. */
static int call(u16 location, u8 select, u32 *value, s32 *status)
{
	struct calling_interface_buffer buffer = {};
	int error;

	atomic64_inc(&dsmil_c_counters.reads);
	dell_fill_request(&buffer, location, 0, 0, 0);
	buffer.cmd_class = CLASS_READ;
	buffer.cmd_select = select;
	error = dell_smbios_call(&buffer);
	if (error)
		return error;
	*status = buffer.output[0];
	*value = buffer.output[1];
	return dell_smbios_error(buffer.output[0]);
}

/* Puts a value into the cells of all tokens of a location. */
static void remember(u32 index, u8 select, u32 value, u64 now_ns)
{
	u32 at = index;

	spin_lock(&cells);
	do {
		struct dsmil_c_token *token = &dsmil_c_values[at];

		token->cells[select].time_ns = now_ns;
		token->cells[select].value = value;
		at = token->companion;
	} while (at != index);
	spin_unlock(&cells);
}

/* A cached value that is young enough. */
static bool recall(struct dsmil_c_reading *reading, u32 index, struct dsmil_read_entry *entry)
{
	const struct dsmil_c_cell *cell = &dsmil_c_values[index].cells[entry->select];
	u64 time_ns, age_ns;
	u32 value;

	spin_lock(&cells);
	time_ns = cell->time_ns;
	value = cell->value;
	spin_unlock(&cells);
	if (!time_ns)
		return false;
	age_ns = time_ns < reading->began_ns ? reading->began_ns - time_ns : 0;
	if (age_ns > reading->max_age_ns)
		return false;
	entry->value = value;
	entry->age_ns = age_ns;
	if (age_ns)
		reading->cached++;
	return true;
}

/* Fills in one entry; -EINTR if a signal came, else 0 with the entry's own error. */
int dsmil_c_read_token(struct dsmil_c_reading *reading, u32 index, struct dsmil_read_entry *entry)
{
	int error;

	if (recall(reading, index, entry))
		return 0;
	if (reading->cached_only) {
		entry->error = ENODATA;
		return 0;
	}
	if (signal_pending(current) || mutex_lock_interruptible(&firmware))
		return -EINTR;
	/* Another request may have asked meanwhile. */
	if (!recall(reading, index, entry)) {
		error = call(dsmil_c_tokens[index].location, entry->select, &entry->value, &entry->status);
		if (error) {
			atomic64_inc(&dsmil_c_counters.reads_failed);
			entry->value = 0;
			entry->error = -error;
		} else {
			remember(index, entry->select, entry->value, ktime_get_boottime_ns());
		}
	}
	mutex_unlock(&firmware);
	return 0;
}

/* One call for each readable location and select, and nothing else. */
int dsmil_c_bare(struct dsmil_c_bare *bare)
{
	u32 index, select, value, at;
	s32 status;

	for (index = 0; index < dsmil_c_count; index++) {
		if (!(dsmil_c_tokens[index].flags & DSMIL_TOKEN_READABLE))
			continue;
		/* A location's first token stands for it. */
		for (at = dsmil_c_values[index].companion; at > index; at = dsmil_c_values[at].companion)
			;
		if (at < index)
			continue;
		for (select = 0; select < DSMIL_C_SELECTS; select++) {
			if (!(bare->selects & BIT(select)))
				continue;
			if (signal_pending(current))
				return -EINTR;
			bare->calls++;
			if (call(dsmil_c_tokens[index].location, select, &value, &status))
				bare->failed++;
		}
	}
	return 0;
}
