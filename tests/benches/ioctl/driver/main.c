// SPDX-License-Identifier: GPL-2.0-only
/* The node /dev/dsmil_c and its ioctls. */
#include <linux/compat.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/security.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>
#include <linux/uaccess.h>
#include <asm/cpufeature.h>
#include "dsmil_c.h"

/* Refuses a whole request, with what the failure says of it. */
static int refuse(struct dsmil_failure *failure, u32 reason, int error)
{
	failure->reason = reason;
	failure->error = -error;
	return error;
}

/* Whether the caller left the failure zero; it is what the answer begins with then. */
static bool take_failure(struct dsmil_failure *failure)
{
	bool blank = !memchr_inv(failure, 0, sizeof(*failure));

	*failure = (struct dsmil_failure){ .index = DSMIL_NO_INDEX };
	return blank;
}

static long get_version(void __user *arg)
{
	struct dsmil_version version = { .abi = DSMIL_ABI_VERSION };

	return copy_to_user(arg, &version, sizeof(version)) ? -EFAULT : 0;
}

static u32 lockdown(void)
{
	if (!security_locked_down(LOCKDOWN_DEV_MEM))
		return DSMIL_LOCKDOWN_NONE;
	return security_locked_down(LOCKDOWN_KCORE) ? DSMIL_LOCKDOWN_CONFIDENTIALITY : DSMIL_LOCKDOWN_INTEGRITY;
}

static long get_info(void __user *arg)
{
	struct dsmil_info info = {
		.abi = DSMIL_ABI_VERSION,
		.tokens = dsmil_c_count,
		.devices = dsmil_c_devices,
		.readable = dsmil_c_readable,
		.list_max = DSMIL_LIST_MAX,
		.read_max = DSMIL_READ_MAX,
		.snapshot_max = DSMIL_SNAPSHOT_MAX,
		.allow_max = DSMIL_ALLOW_MAX,
		.stage_max = DSMIL_STAGE_MAX,
		.transaction_max = DSMIL_TRANSACTION_MAX,
		.events_max = DSMIL_EVENTS_MAX,
		.page_bytes = dsmil_c_page_bytes,
		.deadline_min_ms = DSMIL_DEADLINE_MIN_MS,
		.deadline_default_ms = DSMIL_DEADLINE_DEFAULT_MS,
		.deadline_max_ms = DSMIL_DEADLINE_MAX_MS,
	};

	info.backend = dsmil_c_backend();
	info.lockdown = lockdown();
	if (boot_cpu_has(X86_FEATURE_HYPERVISOR))
		info.flags |= DSMIL_INFO_HYPERVISOR;
	dsmil_c_limits(&info);
	dsmil_c_describe(&info);
	return copy_to_user(arg, &info, sizeof(info)) ? -EFAULT : 0;
}

static long get_list(struct dsmil_list __user *arg)
{
	struct dsmil_list list;
	u32 count;
	int error;

	if (copy_from_user(&list, arg, sizeof(list)))
		return -EFAULT;
	if (list.reserved || !list.count || list.cursor > dsmil_c_count)
		return -EINVAL;
	if (list.count > DSMIL_LIST_MAX)
		return -E2BIG;
	count = min(list.count, dsmil_c_count - list.cursor);
	down_read(&dsmil_c_seal);
	error = copy_to_user(u64_to_user_ptr(list.tokens), dsmil_c_tokens + list.cursor,
			     count * sizeof(*dsmil_c_tokens));
	up_read(&dsmil_c_seal);
	if (error)
		return -EFAULT;
	list.count = count;
	list.cursor += count;
	return copy_to_user(arg, &list, sizeof(list)) ? -EFAULT : 0;
}

static void begin(struct dsmil_c_reading *reading, u32 max_age_ms)
{
	reading->began_ns = ktime_get_boottime_ns();
	reading->cached = 0;
	reading->cached_only = max_age_ms == DSMIL_AGE_ANY;
	reading->max_age_ns = reading->cached_only ? U64_MAX : (u64)max_age_ms * NSEC_PER_MSEC;
}

static int read_entry(struct dsmil_c_reading *reading, struct dsmil_read_entry *entry)
{
	int index;

	if (entry->reserved || entry->value || entry->error || entry->status || entry->age_ns ||
	    entry->select >= DSMIL_C_SELECTS) {
		entry->reserved = 0;
		entry->value = 0;
		entry->status = 0;
		entry->age_ns = 0;
		entry->error = EINVAL;
		return 0;
	}
	index = dsmil_c_find(entry->id);
	if (index < 0) {
		entry->error = ENOENT;
		return 0;
	}
	if (!(dsmil_c_tokens[index].flags & DSMIL_TOKEN_READABLE)) {
		entry->error = EACCES;
		return 0;
	}
	return dsmil_c_read_token(reading, index, entry);
}

static int read_all(struct dsmil_read *read)
{
	struct dsmil_c_reading reading;
	struct dsmil_read_entry *entries;
	int error = 0;
	u32 i;

	if (!take_failure(&read->failure) || read->flags || read->failed) {
		read->failed = 0;
		return refuse(&read->failure, DSMIL_REASON_RESERVED, -EINVAL);
	}
	if (!read->count)
		return refuse(&read->failure, DSMIL_REASON_COUNT, -EINVAL);
	if (read->count > DSMIL_READ_MAX)
		return refuse(&read->failure, DSMIL_REASON_COUNT, -E2BIG);
	entries = memdup_array_user(u64_to_user_ptr(read->entries), read->count, sizeof(*entries));
	if (IS_ERR(entries))
		return PTR_ERR(entries) == -ENOMEM ? refuse(&read->failure, DSMIL_REASON_MEMORY, -ENOMEM) :
						     PTR_ERR(entries);
	begin(&reading, read->max_age_ms);
	if (!reading.cached_only &&
	    dsmil_c_take(read->count, &read->failure.wait_ms)) {
		error = refuse(&read->failure, DSMIL_REASON_RATE, -EAGAIN);
		goto out;
	}
	for (i = 0; i < read->count; i++) {
		error = read_entry(&reading, &entries[i]);
		if (error) {
			refuse(&read->failure, DSMIL_REASON_INTERRUPTED, error);
			read->failed = 0;
			goto out;
		}
		if (entries[i].error)
			read->failed++;
	}
	if (copy_to_user(u64_to_user_ptr(read->entries), entries, read->count * sizeof(*entries)))
		error = -EFAULT;
out:
	atomic64_add(reading.cached, &dsmil_c_counters.cached);
	kfree(entries);
	return error;
}

static int snapshot_all(struct dsmil_snapshot *snapshot)
{
	const u32 selects = hweight32(snapshot->selects), needed = dsmil_c_readable * selects;
	struct dsmil_c_reading reading;
	struct dsmil_read_entry *entries;
	u32 index, select, filled = 0;
	int error = 0;

	if (!take_failure(&snapshot->failure) || snapshot->failed || snapshot->generation || snapshot->time_ns) {
		snapshot->failed = 0;
		snapshot->generation = 0;
		snapshot->time_ns = 0;
		return refuse(&snapshot->failure, DSMIL_REASON_RESERVED, -EINVAL);
	}
	if (!snapshot->selects || snapshot->selects >= BIT(DSMIL_C_SELECTS))
		return refuse(&snapshot->failure, DSMIL_REASON_SELECT, -EINVAL);
	if (snapshot->count > DSMIL_SNAPSHOT_MAX)
		return refuse(&snapshot->failure, DSMIL_REASON_COUNT, -E2BIG);
	if (snapshot->count < needed) {
		snapshot->failure.found = needed;
		return refuse(&snapshot->failure, DSMIL_REASON_ROOM, -ENOSPC);
	}
	entries = kvcalloc(needed, sizeof(*entries), GFP_KERNEL);
	if (!entries)
		return refuse(&snapshot->failure, DSMIL_REASON_MEMORY, -ENOMEM);
	begin(&reading, snapshot->max_age_ms);
	if (!reading.cached_only && dsmil_c_take(needed, &snapshot->failure.wait_ms)) {
		error = refuse(&snapshot->failure, DSMIL_REASON_RATE, -EAGAIN);
		goto out;
	}
	snapshot->time_ns = reading.began_ns;
	for (index = 0; index < dsmil_c_count; index++) {
		if (!(dsmil_c_tokens[index].flags & DSMIL_TOKEN_READABLE))
			continue;
		for (select = 0; select < DSMIL_C_SELECTS; select++) {
			struct dsmil_read_entry *entry = &entries[filled];

			if (!(snapshot->selects & BIT(select)))
				continue;
			entry->id = dsmil_c_tokens[index].id;
			entry->select = select;
			error = dsmil_c_read_token(&reading, index, entry);
			if (error) {
				refuse(&snapshot->failure, DSMIL_REASON_INTERRUPTED, error);
				goto out;
			}
			if (entry->error)
				snapshot->failed++;
			filled++;
		}
	}
	snapshot->count = filled;
	if (copy_to_user(u64_to_user_ptr(snapshot->entries), entries, filled * sizeof(*entries)))
		error = -EFAULT;
out:
	atomic64_add(reading.cached, &dsmil_c_counters.cached);
	kvfree(entries);
	return error;
}

/* The structure comes back also with an error, which it then explains. */
static long get_values(struct dsmil_read __user *arg)
{
	struct dsmil_read read;
	int error;

	if (copy_from_user(&read, arg, sizeof(read)))
		return -EFAULT;
	error = read_all(&read);
	if (error == -EFAULT || copy_to_user(arg, &read, sizeof(read)))
		return -EFAULT;
	return error;
}

static long get_snapshot(struct dsmil_snapshot __user *arg)
{
	struct dsmil_snapshot snapshot;
	int error;

	if (copy_from_user(&snapshot, arg, sizeof(snapshot)))
		return -EFAULT;
	error = snapshot_all(&snapshot);
	if (error == -EFAULT || copy_to_user(arg, &snapshot, sizeof(snapshot)))
		return -EFAULT;
	return error;
}

static long make_bare_calls(struct dsmil_c_bare __user *arg)
{
	struct dsmil_c_bare bare;
	int error;

	if (copy_from_user(&bare, arg, sizeof(bare)))
		return -EFAULT;
	error = dsmil_c_bare(&bare);
	return error ?: copy_to_user(arg, &bare, sizeof(bare)) ? -EFAULT : 0;
}

static long dsmil_c_ioctl(struct file *file, unsigned int command, unsigned long arg)
{
	void __user *to = (void __user *)arg;

	switch (command) {
	case DSMIL_IOC_VERSION:
		return get_version(to);
	case DSMIL_IOC_INFO:
		return get_info(to);
	case DSMIL_IOC_LIST:
		return get_list(to);
	case DSMIL_IOC_READ:
		return get_values(to);
	case DSMIL_IOC_SNAPSHOT:
		return get_snapshot(to);
	case DSMIL_C_IOC_BARE:
		return make_bare_calls(to);
	default:
		return -ENOTTY;
	}
}

static int dsmil_c_open(struct inode *inode, struct file *file)
{
	dsmil_c_opened();
	return nonseekable_open(inode, file);
}

static int dsmil_c_release(struct inode *inode, struct file *file)
{
	dsmil_c_released();
	return 0;
}

static const struct file_operations dsmil_c_operations = {
	.owner = THIS_MODULE,
	.open = dsmil_c_open,
	.release = dsmil_c_release,
	.unlocked_ioctl = dsmil_c_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static struct miscdevice dsmil_c_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "dsmil_c",
	.fops = &dsmil_c_operations,
	.mode = 0600,
};

static int __init dsmil_c_init(void)
{
	int error = dsmil_c_table_init();

	if (error)
		return error;
	dsmil_c_state_init();
	error = misc_register(&dsmil_c_device);
	if (error) {
		dsmil_c_state_exit();
		dsmil_c_table_exit();
	}
	return error;
}

static void __exit dsmil_c_exit(void)
{
	misc_deregister(&dsmil_c_device);
	dsmil_c_state_exit();
	dsmil_c_table_exit();
}

module_init(dsmil_c_init);
module_exit(dsmil_c_exit);
MODULE_DESCRIPTION("The reading half of DSMIL's device, in C: the peer of a benchmark");
MODULE_LICENSE("GPL");
