//! Runs probes by hand, with arguments of the test's choice.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};

use libbpf_rs::libbpf_sys::{bpf_prog_test_run_opts, bpf_test_run_opts};
use libbpf_rs::query::ProgInfoIter;
use libbpf_rs::skel::{OpenSkel as _, SkelBuilder as _};
use libbpf_rs::{MapHandle, Program};

use super::skeleton::DriveSkelBuilder;
use crate::Probes;

/// A thermal zone that lives in kernel memory as long as this does.
pub struct Zone {
    address: u64,
    /// Keeps the memory.
    _room: MapHandle,
}

impl Zone {
    pub fn new(id: i32, name: &str, temperature_mc: i32) -> Self {
        let mut storage = MaybeUninit::uninit();
        let mut open = DriveSkelBuilder::default().open(&mut storage).unwrap();
        for mut program in open.open_object_mut().progs_mut() {
            program.set_autoload(program.name() == "make_zone");
        }
        let bss = open.maps.bss_data.as_mut().unwrap();
        bss.zone_id = id;
        bss.temperature_mc = temperature_mc;
        for (to, from) in bss.zone_name.iter_mut().zip(name.bytes()) {
            *to = from.cast_signed();
        }
        let skeleton = open.load().unwrap();
        run(skeleton.progs.make_zone.as_fd(), &mut []);
        let address = skeleton.maps.bss_data.as_ref().unwrap().room_address;
        Self { address, _room: MapHandle::try_from(&skeleton.maps.bss).unwrap() }
    }

    /// As if the kernel had updated the zone.
    pub fn report_temperature(&self, probes: &Probes) {
        run(program(probes, "temperature").as_fd(), &mut [self.address]);
    }

    /// As if the kernel had found a trip point reached.
    pub fn report_trip(&self, probes: &Probes, trip: u64) {
        run(program(probes, "zone_trip").as_fd(), &mut [self.address, trip, 0]);
    }
}

/// The slots that the scheduler probe finds for waits of so many microseconds.
pub fn slots_of(waits_us: &[u64]) -> Vec<u32> {
    let mut storage = MaybeUninit::uninit();
    let mut open = DriveSkelBuilder::default().open(&mut storage).unwrap();
    for mut program in open.open_object_mut().progs_mut() {
        program.set_autoload(program.name() == "find_slot");
    }
    let mut skeleton = open.load().unwrap();
    let mut slots = Vec::new();
    for &wait_us in waits_us {
        skeleton.maps.bss_data.as_mut().unwrap().wait_us = wait_us;
        run(skeleton.progs.find_slot.as_fd(), &mut []);
        slots.push(skeleton.maps.bss_data.as_ref().unwrap().wait_slot);
    }
    slots
}

/// The loaded program of that name, found through the probes' own links.
fn program(probes: &Probes, name: &str) -> std::os::fd::OwnedFd {
    let ours: Vec<u32> = probes.links.iter().map(|link| link.info().unwrap().prog_id).collect();
    let info = ProgInfoIter::default()
        .find(|info| ours.contains(&info.id) && info.name.to_str() == Some(name))
        .unwrap_or_else(|| panic!("{name} is not attached"));
    Program::fd_from_id(info.id).unwrap()
}

/// Runs a raw tracepoint's program once.
fn run(program: BorrowedFd<'_>, args: &mut [u64]) {
    let mut opts = bpf_test_run_opts {
        sz: size_of::<bpf_test_run_opts>().try_into().unwrap(),
        ctx_in: args.as_mut_ptr().cast(),
        ctx_size_in: size_of_val(args).try_into().unwrap(),
        ..Default::default()
    };
    if args.is_empty() {
        opts.ctx_in = std::ptr::null();
    }
    // SAFETY: The descriptor is open, and `opts` and what it points to live and keep their sizes
    // during the call.
    let code = unsafe { bpf_prog_test_run_opts(program.as_raw_fd(), &raw mut opts) };
    assert_eq!(code, 0, "test run: {}", std::io::Error::last_os_error());
}
