//! Records of one partition that wait to be written, and when they are cut. Pure.

use crate::build::Record;
use std::collections::VecDeque;
use std::time::Duration;

/// What a record costs beside its bytes.
const OVERHEAD: u64 = 96;

/// When records are cut.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a claim.
    pub bytes: u64,
    /// Records of a claim.
    pub records: usize,
    /// Age of the oldest record here.
    pub age: Duration,
}

/// Records in the order of their offsets.
#[derive(Debug, Default)]
pub struct Buffer {
    records: VecDeque<(Record, Duration)>,
    bytes: u64,
}

impl Buffer {
    /// Appends a record that came in at `now`.
    pub fn push(&mut self, record: Record, now: Duration) {
        self.bytes += cost(&record);
        self.records.push_back((record, now));
    }

    /// What the records cost in memory.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Whether a claim's worth has come together.
    pub fn is_full(&self, limits: &Limits) -> bool {
        self.bytes >= limits.bytes || self.records.len() >= limits.records
    }

    /// Whether it is time to cut.
    pub fn is_due(&self, limits: &Limits, now: Duration) -> bool {
        let old = |(_, at): &(Record, Duration)| now.saturating_sub(*at) >= limits.age;
        self.is_full(limits) || self.records.front().is_some_and(old)
    }

    /// Takes up to a claim's worth from the front; at least one record where there is one.
    pub fn cut(&mut self, limits: &Limits) -> Vec<Record> {
        let (mut out, mut bytes) = (Vec::new(), 0);
        while out.len() < limits.records.max(1) && (bytes < limits.bytes || out.is_empty()) {
            let Some((record, _)) = self.records.pop_front() else { break };
            bytes += cost(&record);
            out.push(record);
        }
        self.bytes -= bytes;
        out
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

/// What records cost in memory.
pub fn cost_of(records: &[Record]) -> u64 {
    records.iter().map(cost).sum()
}

fn cost(record: &Record) -> u64 {
    record.value.len() as u64 + OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    const LIMITS: Limits = Limits { bytes: 1000, records: 5, age: Duration::from_secs(60) };

    fn record(offset: i64, len: usize) -> Record {
        Record { offset, at_ms: 0, value: Bytes::from(vec![0; len]) }
    }

    #[test]
    fn records_are_cut_by_age_by_number_and_by_bytes() {
        let at = Duration::from_secs;
        let mut buffer = Buffer::default();
        assert!(!buffer.is_due(&LIMITS, at(1000)));
        buffer.push(record(0, 1), at(10));
        assert!(!buffer.is_due(&LIMITS, at(69)));
        assert!(buffer.is_due(&LIMITS, at(70)));
        for offset in 1..5 {
            buffer.push(record(offset, 1), at(11));
        }
        assert!(buffer.is_due(&LIMITS, at(11)));
        buffer.push(record(5, 950), at(12));
        let offsets = |cut: Vec<Record>| cut.iter().map(|r| r.offset).collect::<Vec<_>>();
        assert_eq!(offsets(buffer.cut(&LIMITS)), [0, 1, 2, 3, 4]);
        assert!(buffer.is_due(&LIMITS, at(12)), "by bytes");
        assert_eq!(offsets(buffer.cut(&LIMITS)), [5]);
        assert_eq!((buffer.bytes(), buffer.is_empty()), (0, true));
    }

    #[test]
    fn a_record_larger_than_a_claim_is_cut_alone() {
        let mut buffer = Buffer::default();
        buffer.push(record(0, 5000), Duration::ZERO);
        buffer.push(record(1, 5000), Duration::ZERO);
        assert_eq!(buffer.cut(&LIMITS).len(), 1);
        assert_eq!(buffer.bytes(), 5000 + OVERHEAD);
        assert_eq!(cost_of(&buffer.cut(&LIMITS)), 5000 + OVERHEAD);
    }
}
