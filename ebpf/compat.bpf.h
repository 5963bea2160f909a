/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel as the probes see it: the few fields they read, and what differs between versions.
 *
 * libbpf finds the fields' real places in the running kernel when it loads the object, so the structs
 * here name only what is read, and order and offsets mean nothing.
 */
#ifndef DSMIL_COMPAT_BPF_H
#define DSMIL_COMPAT_BPF_H

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#define TASK_RUNNING 0

struct task_struct {
	int pid;
	unsigned int __state;
} __attribute__((preserve_access_index));

/* Until 5.13 the state was a long without underscores. */
struct task_struct___until_5_13 {
	volatile long state;
} __attribute__((preserve_access_index));

/* Private to the thermal core, yet its type information is there like any other. */
struct thermal_zone_device {
	int id;
	char type[20];
	int temperature;
} __attribute__((preserve_access_index));

/* Whether a task is neither asleep nor dead. For programs whose pointers the verifier knows. */
static __always_inline bool is_running_typed(const struct task_struct *task)
{
	if (bpf_core_field_exists(task->__state))
		return task->__state == TASK_RUNNING;
	return ((const struct task_struct___until_5_13 *)task)->state == TASK_RUNNING;
}

/* The same for programs whose arguments are bare numbers to the verifier. */
static __always_inline bool is_running_raw(const struct task_struct *task)
{
	if (bpf_core_field_exists(task->__state))
		return BPF_CORE_READ(task, __state) == TASK_RUNNING;
	return BPF_CORE_READ((const struct task_struct___until_5_13 *)task, state) == TASK_RUNNING;
}

#endif
