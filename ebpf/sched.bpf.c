// SPDX-License-Identifier: GPL-2.0-only
/*
 * Scheduler latency: how long tasks wait on a run queue, as one histogram per CPU.
 *
 * A task is marked when it becomes runnable (woken, created, or put back by another that takes its CPU)
 * and counted on the CPU where it then runs. All of it happens in the kernel; user space reads the
 * histogram when it likes.
 *
 * Each program exists twice. The `typed` form gets pointers that the verifier trusts, so the mark can lie
 * in the task itself, which is the quickest place and can neither overflow nor outlive the task. The
 * `raw` form serves kernels that refuse the first and keeps the marks in a hash by thread id. User space
 * loads one form, never both.
 */
#include "compat.bpf.h"
#include "events.h"

#define NS_PER_US 1000

char LICENSE[] SEC("license") = "GPL";

/*
 * When a task became runnable, in nanoseconds of CLOCK_MONOTONIC; 0 while it is not. For the raw form
 * user space turns this into a hash before it loads the object.
 */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u64);
} runnable_since SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct latency_histogram);
} latency SEC(".maps");

/* Marks that found no memory: waits that are missing in the histogram. */
__u64 waits_lost = 0;

/* floor(log2(us)), 0 for 0; by halves, for the instruction set has no count of leading zeros. */
static __always_inline __u32 log2_slot(__u64 us)
{
	__u32 value = us >> LATENCY_SLOTS ? 1u << (LATENCY_SLOTS - 1) : (__u32)us;
	__u32 slot, shift;

	slot = (value > 0xffff) << 4;
	value >>= slot;
	shift = (value > 0xff) << 3;
	value >>= shift;
	slot |= shift;
	shift = (value > 0xf) << 2;
	value >>= shift;
	slot |= shift;
	shift = (value > 0x3) << 1;
	value >>= shift;
	slot |= shift;
	return slot | (value >> 1);
}

/* Interrupts are off in sched_switch, so nothing else counts on this CPU meanwhile. */
static __always_inline void count_wait(__u64 since, __u64 now)
{
	struct latency_histogram *histogram;
	__u32 key = 0, slot;

	/* The clocks of two CPUs may differ by a little. */
	slot = now > since ? log2_slot((now - since) / NS_PER_US) : 0;
	histogram = bpf_map_lookup_elem(&latency, &key);
	if (histogram && slot < LATENCY_SLOTS)
		histogram->slots[slot]++;
}

static __always_inline void mark_typed(struct task_struct *task, __u64 now)
{
	__u64 *since = bpf_task_storage_get(&runnable_since, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (since)
		*since = now;
	else
		__sync_fetch_and_add(&waits_lost, 1);
}

SEC("tp_btf/sched_wakeup")
int BPF_PROG(wakeup_typed, struct task_struct *task)
{
	mark_typed(task, bpf_ktime_get_ns());
	return 0;
}

SEC("tp_btf/sched_wakeup_new")
int BPF_PROG(create_typed, struct task_struct *task)
{
	mark_typed(task, bpf_ktime_get_ns());
	return 0;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(switch_typed, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	__u64 now = bpf_ktime_get_ns();
	__u64 *since;

	/* Thread id 0 is the idle task, which waits for nothing. */
	if (prev->pid && (preempt || is_running_typed(prev)))
		mark_typed(prev, now);
	if (!next->pid)
		return 0;
	since = bpf_task_storage_get(&runnable_since, next, 0, 0);
	if (since && *since) {
		count_wait(*since, now);
		*since = 0;
	}
	return 0;
}

static __always_inline void mark_raw(int pid, __u64 now)
{
	if (bpf_map_update_elem(&runnable_since, &pid, &now, BPF_ANY))
		__sync_fetch_and_add(&waits_lost, 1);
}

SEC("raw_tp/sched_wakeup")
int BPF_PROG(wakeup_raw, struct task_struct *task)
{
	mark_raw(BPF_CORE_READ(task, pid), bpf_ktime_get_ns());
	return 0;
}

SEC("raw_tp/sched_wakeup_new")
int BPF_PROG(create_raw, struct task_struct *task)
{
	mark_raw(BPF_CORE_READ(task, pid), bpf_ktime_get_ns());
	return 0;
}

SEC("raw_tp/sched_switch")
int BPF_PROG(switch_raw, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	__u64 now = bpf_ktime_get_ns();
	int pid = BPF_CORE_READ(prev, pid);
	__u64 *since;

	if (pid && (preempt || is_running_raw(prev)))
		mark_raw(pid, now);
	pid = BPF_CORE_READ(next, pid);
	if (!pid)
		return 0;
	since = bpf_map_lookup_elem(&runnable_since, &pid);
	if (since) {
		count_wait(*since, now);
		bpf_map_delete_elem(&runnable_since, &pid);
	}
	return 0;
}
