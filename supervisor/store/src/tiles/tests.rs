use proptest::prelude::*;

use super::*;
use crate::bytes::size as usize_of;
use crate::merkle::leaf_hash;
use crate::merkle::tests::defined;

#[test]
fn paths_are_those_of_the_specification() {
    assert_eq!(path(0, 1_234_067, WIDTH), "tile/0/x001/x234/067");
    assert_eq!(path(1, 0, 17), "tile/1/000.p/17");
    assert_eq!(path(2, 999, WIDTH), "tile/2/999");
    assert_eq!(path(2, 1000, 1), "tile/2/x001/000.p/1");
    assert_eq!(entries_path(273, 112), "tile/entries/273.p/112");
}

/// The example of the specification: 273 whole tiles and one of 112 at level 0, 1 and 17 at level 1, 1 hash at level 2.
#[test]
fn a_tree_of_seventy_thousand_has_the_tiles_of_the_specification() {
    let mut edge = Edge::default();
    let mut whole = [0; 3];
    for index in 0..70_000_u64 {
        edge.append(leaf_hash(&index.to_le_bytes()), &mut |level, number, hashes| {
            assert_eq!((number, hashes.len()), (whole[level as usize], WIDTH));
            whole[level as usize] += 1;
        });
    }
    assert_eq!(whole, [273, 1, 0]);
    assert_eq!([0, 1, 2, 3].map(|level| edge.hashes(level).len()), [112, 17, 1, 0]);
    assert_eq!([0, 1, 2, 3].map(|level| width_at(70_000, level)), [112, 17, 1, 0]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn edge_and_tiles_are_those_of_the_tree(size in 0_usize..1500) {
        let leaves: Vec<Hash> = (0..size).map(|index| leaf_hash(&index.to_le_bytes())).collect();
        let mut edge = Edge::default();
        edge.extend(&leaves, &mut |level, number, hashes| {
            for (place, hash) in hashes.iter().enumerate() {
                let span = WIDTH.pow(level);
                let start = (usize_of(number) * WIDTH + place) * span;
                assert_eq!(*hash, defined(&leaves[start..start + span]));
            }
        });
        prop_assert_eq!(edge.size(), size as u64);
        prop_assert_eq!(edge.root(), defined(&leaves));
        let bytes = edge.encode();
        let mut fields = Fields(&bytes);
        prop_assert_eq!(Edge::decode(&mut fields).unwrap(), edge);
        prop_assert!(fields.0.is_empty());
        prop_assert!(size == 0 || Edge::decode(&mut Fields(&bytes[..bytes.len() - 1])).is_none());
    }
}
