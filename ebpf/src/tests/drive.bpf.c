// SPDX-License-Identifier: GPL-2.0-only
/*
 * For tests: parts of the probes that the kernel alone cannot be made to exercise.
 */
#include "../../sched.bpf.c"

/* Larger than any kernel's thermal_zone_device; the verifier refuses the program if a field lies outside. */
char room[16384] = {};
/* Where the zone in that room lies, for the thermal probe's argument. */
__u64 room_address = 0;
/* What the zone shall hold. */
int zone_id = 0;
int temperature_mc = 0;
char zone_name[ZONE_NAME_LENGTH] = {};

/* The slot of a wait of so many microseconds. */
__u64 wait_us = 0;
__u32 wait_slot = 0;

#define FIELD(field) (room + bpf_core_field_offset(struct thermal_zone_device, field))

/* A zone in kernel memory, its fields where this kernel's own type information puts them. */
SEC("raw_tp")
int make_zone(void *ctx)
{
	*(int *)FIELD(id) = zone_id;
	*(int *)FIELD(temperature) = temperature_mc;
	__builtin_memcpy(FIELD(type), zone_name, sizeof(zone_name));
	room_address = (__u64)room;
	return 0;
}

SEC("raw_tp")
int find_slot(void *ctx)
{
	wait_slot = log2_slot(wait_us);
	return 0;
}
