use proptest::prelude::*;

use super::*;

mod memory;
mod model;
mod race;

use memory::{Layout, Written};

#[test]
fn finds_what_the_table_has_and_reads_what_was_read() {
    let written = Written::new(&Layout::of(&[0x8000, 0x8005, 0x9000]));
    written.cell(4, 77, 0xdead_beef);
    let pages = written.map().unwrap();
    let (id, battery) = (TokenId(0x8005), Select::Battery);
    let cell = pages.find(id, battery).unwrap();
    let cached = Cached { value: 0xdead_beef, time_ns: 77 };
    assert_eq!(pages.get(cell), Ok(Some(cached)));
    assert_eq!(pages.value(id, battery), Ok(Some(cached)));
    assert_eq!(pages.value(id, Select::Ac), Ok(None));
    assert_eq!(pages.find(TokenId(0x8001), Select::Current), None);
    let contents = pages.all().unwrap();
    assert_eq!(contents.values, [Held { id, select: battery, cached }]);
    assert_eq!(contents.state, pages.state().unwrap());
}

#[test]
fn the_state_is_what_the_head_says() {
    let written = Written::new(&Layout::of(&[1]));
    written.head(&dsmil_page {
        state: uapi::DSMIL_STATE_PENDING,
        outcome: uapi::DSMIL_OUTCOME_EXPIRED,
        entries: 3,
        generation: 4,
        transaction: 5,
        deadline_ns: 6,
        events: 7,
        attempts: 8,
        left: 9,
        heat: uapi::DSMIL_HEAT_WARNING,
        temperature_mc: 86_000,
        ..written.layout.head()
    });
    let state = PageState {
        generation: 4,
        transaction: 5,
        phase: Phase::Pending,
        deadline_ns: Some(6),
        attempts: 8,
        entries: 3,
        outcome: Outcome::Expired,
        left: 9,
        events: 7,
        heat: Heat::Warning,
        temperature: Some(MilliCelsius(86_000)),
    };
    assert_eq!(written.map().unwrap().state(), Ok(state));
}

#[test]
fn a_change_that_does_not_end_is_not_waited_for() {
    let written = Written::new(&Layout::of(&[1]));
    let pages = written.map().unwrap();
    let cell = pages.find(TokenId(1), Select::Current).unwrap();
    written.sequence(1);
    assert_eq!(pages.get(cell), Err(Error::Changed));
    assert_eq!(pages.state(), Err(Error::Changed));
    assert_eq!(pages.all(), Err(Error::Changed));
    written.sequence(2);
    assert_eq!(pages.get(cell), Ok(None));
}

#[test]
fn heads_are_looked_at_once() {
    let written = Written::new(&Layout::of(&[1, 2]));
    let pages = written.map().unwrap();
    let cell = pages.find(TokenId(2), Select::Ac).unwrap();
    written.cell(5, 9, 8);
    // Whatever the head says of the cells now.
    let wild = dsmil_page {
        cells_offset: u32::MAX - 7,
        cell_bytes: u32::MAX,
        cells: u32::MAX,
        ..written.layout.head()
    };
    written.head(&wild);
    assert_eq!(pages.get(cell), Ok(Some(Cached { value: 8, time_ns: 9 })));
    assert_eq!(pages.all().unwrap().values.len(), 1);
}

#[test]
fn a_cell_of_larger_pages_is_nothing_here() {
    let ids: Vec<u16> = (1..200).collect();
    let larger = Written::new(&Layout::of(&ids)).map().unwrap();
    let cell = larger.find(TokenId(199), Select::Ac).unwrap();
    assert_eq!(Written::new(&Layout::of(&[1])).map().unwrap().get(cell), Ok(None));
}

#[test]
fn strange_pages_are_refused() {
    let good = Layout::of(&[1, 2]);
    let refused = |layout: &Layout| Written::new(layout).map().err();
    let strange = Some(Error::System { call: "map", source: Errno::EPROTO });
    assert_eq!(refused(&good), None);
    assert_eq!(refused(&Layout { abi: 0, ..good.clone() }), Some(Error::Abi { found: 0, needed: 1 }));
    assert_eq!(refused(&Layout { abi: 2, ..good.clone() }), None);
    // Cells may grow at their end.
    assert_eq!(refused(&Layout { step: 24, ..good.clone() }), None);
    for (offset, step) in [(120, 16), (132, 16), (128, 8), (128, 20), (128, 0)] {
        assert_eq!(refused(&Layout { offset, step, ..good.clone() }), strange, "{offset} {step}");
    }
    assert_eq!(refused(&Layout { cells: Some(249), ..good.clone() }), strange);
    assert_eq!(refused(&Layout { names: vec![(2, 0), (1, 0)], ..good.clone() }), strange);
    assert_eq!(refused(&Layout { names: vec![(2, 0), (2, 0)], ..good.clone() }), strange);
    let written = Written::new(&good);
    for bytes in [0, 8, 120, 4095] {
        assert_eq!(written.map_bytes(bytes).err(), strange, "{bytes}");
    }
}

proptest! {
    /// No head leads out of the mapping: where it says that the cells lie beyond, it is refused, else each can be read.
    #[test]
    fn no_head_leads_out_of_the_pages(
        offset in prop_oneof![0_u32..8192, any::<u32>()],
        step in prop_oneof![0_u32..64, any::<u32>()],
        cells in prop_oneof![0_u32..300, any::<u32>()],
    ) {
        let layout = Layout { offset, step, cells: Some(cells), ..Layout::of(&[]) };
        let fits = u128::from(offset) + u128::from(step) * u128::from(cells) <= 4096
            && offset >= 128 && offset % 8 == 0 && step >= 16 && step % 8 == 0;
        let count = if fits { usize::try_from(cells).unwrap() } else { 0 };
        let names = (0..count).map(|n| (u16::try_from(n / 3).unwrap(), u8::try_from(n % 3).unwrap()));
        let written = Written::new(&Layout { names: names.collect(), ..layout });
        let pages = written.map();
        prop_assert_eq!(pages.is_ok(), fits);
        if let Ok(pages) = pages {
            for index in 0..count {
                written.cell(index, 1, u32::try_from(index).unwrap());
            }
            let contents = pages.all().unwrap();
            prop_assert_eq!(contents.values.len(), count);
            for (index, held) in contents.values.iter().enumerate() {
                prop_assert_eq!(held.cached.value, u32::try_from(index).unwrap());
            }
        }
    }
}
