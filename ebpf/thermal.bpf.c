// SPDX-License-Identifier: GPL-2.0-only
/*
 * Thermal events: each temperature that the kernel takes from a zone, and each trip point that it
 * finds reached.
 *
 * They are rare (a zone is polled some times a second at most), so each goes to user space at once
 * through a ring. The programs have no typed form: copying one small struct now and then gains nothing
 * from trusted pointers, and raw tracepoints can be driven by a test.
 */
#include "compat.bpf.h"
#include "events.h"

char LICENSE[] SEC("license") = "GPL";

/* 64 KiB hold 1,638 events; also the largest page size of any architecture, of which it must be a multiple. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 * 1024);
} thermal_events SEC(".maps");

/*
 * What an event is before it is filled in. A global, for clang describes only types that lasting things
 * have, and user space takes the event's layout from that description.
 */
const struct thermal_event blank = { .trip = TRIP_NONE };

/* Events that found the ring full. */
__u64 thermal_events_lost = 0;

static __always_inline void report(struct thermal_zone_device *tz, int trip)
{
	struct thermal_event *event = bpf_ringbuf_reserve(&thermal_events, sizeof(*event), 0);

	if (!event) {
		__sync_fetch_and_add(&thermal_events_lost, 1);
		return;
	}
	/* What lay in the ring before must not leave with a short name. */
	*event = blank;
	event->zone_id = BPF_CORE_READ(tz, id);
	event->temperature_mc = BPF_CORE_READ(tz, temperature);
	event->trip = trip;
	BPF_CORE_READ_STR_INTO(&event->zone, tz, type);
	/* Flag 0 wakes the reader only if it had read everything, so a burst costs one wake-up. */
	bpf_ringbuf_submit(event, 0);
}

SEC("raw_tp/thermal_temperature")
int BPF_PROG(temperature, struct thermal_zone_device *tz)
{
	report(tz, TRIP_NONE);
	return 0;
}

SEC("raw_tp/thermal_zone_trip")
int BPF_PROG(zone_trip, struct thermal_zone_device *tz, int trip)
{
	report(tz, trip);
	return 0;
}
