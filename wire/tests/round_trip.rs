//! Whatever a batch holds, its frame gives it back.

mod batches;

use batches::any_batch;
use milepost_wire::frame::{check, decode, encode};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn every_batch_comes_back_as_it_was(batch in any_batch()) {
        batches::assert_round_trip(&batch);
    }

    #[test]
    fn the_header_says_what_the_batch_holds(batch in any_batch()) {
        let frame = encode(&batch).unwrap();
        let header = check(&frame).unwrap();
        prop_assert_eq!(header.vehicle, batch.vehicle);
        prop_assert_eq!(header.boot, batch.boot);
        prop_assert_eq!(header.stream, batch.stream);
        prop_assert_eq!(header.first_seq, batch.first_seq);
        prop_assert_eq!(header.count as usize, batch.rows.ts.len());
        prop_assert_eq!(Some(header.ts_min), batch.rows.ts.iter().min().copied());
        prop_assert_eq!(Some(header.ts_max), batch.rows.ts.iter().max().copied());
        prop_assert_eq!(header.lineage, batch.lineage);
    }

    #[test]
    fn a_frame_with_one_byte_changed_or_missing_is_refused(batch in any_batch(), at in any::<prop::sample::Index>(), flip in 1..=255u8) {
        let frame = encode(&batch).unwrap();
        let at = at.index(frame.len());
        let mut damaged = frame.clone();
        damaged[at] ^= flip;
        prop_assert!(decode(&damaged).is_err());
        prop_assert!(decode(&frame[..at]).is_err());
        let mut longer = frame;
        longer.push(flip);
        prop_assert!(decode(&longer).is_err());
    }
}
