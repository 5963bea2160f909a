// SPDX-License-Identifier: GPL-2.0-only
/* What the driver says of the machine: the way to the firmware, the temperature, counts. */
#include <linux/mm.h>
#include <linux/platform_device.h>
#include <linux/string.h>
#include <linux/thermal.h>
#include <linux/workqueue.h>
#include "dsmil_c.h"

/* How long until the temperature is looked at again, while somebody has the node open. */
#define LOOK_MS 1000

struct dsmil_c_state dsmil_c_state = { .lock = __SPIN_LOCK_UNLOCKED(dsmil_c_state.lock) };
struct dsmil_c_counters dsmil_c_counters;
u32 dsmil_c_page_bytes;

/* dell-smbios' WMI device and the driver that was bound to it at load. */
static struct device *wmi;
static const struct device_driver *wmi_driver;
/* Whether dell-smbios' other back end was there at load. */
static bool smm;
static atomic_t files = ATOMIC_INIT(0);

static void look(struct work_struct *work);
static DECLARE_DELAYED_WORK(looking, look);

static int find_bound(struct device *device, void *unused)
{
	device_lock(device);
	if (device->driver && !strcmp(device->driver->name, "dell-smbios")) {
		wmi = get_device(device);
		wmi_driver = device->driver;
	}
	device_unlock(device);
	return wmi != NULL;
}

static int find_wmi_bus(struct device *device, void *unused)
{
	return strstarts(dev_name(device), "wmi_bus-") ? device_for_each_child(device, NULL, find_bound) : 0;
}

static int find_platform(struct device *device, void *unused)
{
	return device_for_each_child(device, NULL, find_wmi_bus);
}

/* The way to the firmware: the back end found at load, as long as its driver is bound. */
u32 dsmil_c_backend(void)
{
	if (wmi && READ_ONCE(wmi->driver) == wmi_driver)
		return DSMIL_BACKEND_WMI;
	return smm ? DSMIL_BACKEND_SMM : DSMIL_BACKEND_NONE;
}

/* Fills in what changes. */
void dsmil_c_describe(struct dsmil_info *info)
{
	spin_lock(&dsmil_c_state.lock);
	info->generation = dsmil_c_state.generation;
	info->transaction = dsmil_c_state.transaction;
	info->events = dsmil_c_state.events;
	info->state = dsmil_c_state.state;
	info->outcome = dsmil_c_state.outcome;
	info->entries = dsmil_c_state.entries;
	info->attempts = dsmil_c_state.attempts;
	info->left = dsmil_c_state.left;
	info->heat = dsmil_c_state.heat;
	info->temperature_mc = dsmil_c_state.temperature_mc;
	spin_unlock(&dsmil_c_state.lock);
}

static u32 level(u32 before, int mc)
{
	if (mc < -40000 || mc > 125000)
		return DSMIL_HEAT_UNKNOWN;
	if (mc >= 100000 - (before >= DSMIL_HEAT_EMERGENCY ? 2000 : 0))
		return DSMIL_HEAT_EMERGENCY;
	if (mc >= 95000 - (before >= DSMIL_HEAT_CRITICAL ? 2000 : 0))
		return DSMIL_HEAT_CRITICAL;
	if (mc >= 85000 - (before >= DSMIL_HEAT_WARNING ? 2000 : 0))
		return DSMIL_HEAT_WARNING;
	return DSMIL_HEAT_NORMAL;
}

static void look(struct work_struct *work)
{
	static const char *const names[] = { "x86_pkg_temp", "acpitz" };
	bool found = false;
	int mc = 0, i;

	for (i = 0; i < ARRAY_SIZE(names) && !found; i++) {
		struct thermal_zone_device *zone = thermal_zone_get_zone_by_name(names[i]);

		found = !IS_ERR_OR_NULL(zone) && !thermal_zone_get_temp(zone, &mc);
	}
	spin_lock(&dsmil_c_state.lock);
	dsmil_c_state.heat = found ? level(dsmil_c_state.heat, mc) : DSMIL_HEAT_UNKNOWN;
	dsmil_c_state.temperature_mc = found ? mc : 0;
	spin_unlock(&dsmil_c_state.lock);
	if (atomic_read(&files))
		queue_delayed_work(system_freezable_wq, &looking, msecs_to_jiffies(LOOK_MS));
}

void dsmil_c_opened(void)
{
	if (atomic_inc_return(&files) == 1)
		queue_delayed_work(system_freezable_wq, &looking, 0);
}

void dsmil_c_released(void)
{
	atomic_dec(&files);
}

void dsmil_c_state_init(void)
{
	struct device *found;

	bus_for_each_dev(&platform_bus_type, NULL, NULL, find_platform);
	found = bus_find_device_by_name(&platform_bus_type, NULL, "dell-smbios.1");
	smm = found != NULL;
	put_device(found);
	dsmil_c_page_bytes = PAGE_ALIGN(sizeof(struct dsmil_page) +
					dsmil_c_count * DSMIL_C_SELECTS * sizeof(struct dsmil_cell));
}

void dsmil_c_state_exit(void)
{
	cancel_delayed_work_sync(&looking);
	put_device(wmi);
}
