/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Programs that do nothing, at the places where ours and runqlat measure: what the kernel takes for calling any.
 */
#define SEC(name) __attribute__((section(name), used))

char LICENSE[] SEC("license") = "GPL";

SEC("tp_btf/sched_wakeup")
int empty_wakeup(void *context)
{
	return 0;
}

SEC("tp_btf/sched_wakeup_new")
int empty_create(void *context)
{
	return 0;
}

SEC("tp_btf/sched_switch")
int empty_switch(void *context)
{
	return 0;
}
