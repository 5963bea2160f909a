/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the probes hand to user space.
 *
 * The only source of these layouts: the Rust side is generated from the type information that clang
 * writes for them into the object. Sizes are fixed, padding is explicit, and there is none.
 */
#ifndef DSMIL_EVENTS_H
#define DSMIL_EVENTS_H

#include <linux/types.h>

enum {
	/*
	 * Slot n counts waits of [2^n, 2^(n+1)) microseconds, slot 0 also those below 1 us, the last one
	 * also everything above (2^25 us are 33 s).
	 */
	LATENCY_SLOTS = 26,
	/* The kernel's THERMAL_NAME_LENGTH, terminating NUL included. */
	ZONE_NAME_LENGTH = 20,
	/* thermal_event.trip of a plain temperature. */
	TRIP_NONE = -1,
};

/* How long tasks of one CPU waited between becoming runnable and running; the value of `latency`. */
struct latency_histogram {
	__u64 slots[LATENCY_SLOTS];
};

/* A record of the ring `thermal_events`. */
struct thermal_event {
	__s32 zone_id;			/* N of /sys/class/thermal/thermal_zoneN */
	__s32 temperature_mc;		/* thousandths of a degree Celsius */
	__s32 trip;			/* number of the trip point that was reached, or TRIP_NONE */
	char zone[ZONE_NAME_LENGTH];	/* the zone's type, NUL-terminated */
};

_Static_assert(sizeof(struct latency_histogram) == 208, "latency_histogram has no padding");
_Static_assert(sizeof(struct thermal_event) == 32, "thermal_event has no padding");

#endif
