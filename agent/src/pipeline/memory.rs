//! What the transforms remember, as the bytes that the outbox keeps with the rows that they belong to.
//!
//! It is read by the agent that wrote it and by its later versions, and by nobody else.

use milepost_transform_host::State;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The first byte. What another version wrote is not read: the transforms begin without.
const VERSION: u8 = 1;
/// The most that is kept: a record of the journal holds it.
const BYTES_MAX: usize = 4 << 20;

/// The state of one transform.
#[derive(Serialize, Deserialize)]
struct Saved {
    edition: [u8; 32],
    snapshot: Option<Vec<u8>>,
    stored: BTreeMap<String, Vec<u8>>,
    now_us: Option<i64>,
    next_tick_us: Option<i64>,
}

/// The state of each transform, by its name.
#[derive(Default)]
pub struct Memory {
    parts: BTreeMap<Arc<str>, Vec<u8>>,
    /// All parts together, until one changes.
    whole: Option<Arc<[u8]>>,
    /// It was said that this is too much to be kept.
    said: bool,
}

impl Memory {
    /// Reads what [`Memory::bytes`] wrote.
    pub fn read(bytes: &[u8]) -> Self {
        let parts = match bytes.split_first() {
            Some((&VERSION, rest)) => postcard::from_bytes::<BTreeMap<String, Vec<u8>>>(rest).ok(),
            Some(_) => None,
            None => Some(BTreeMap::new()),
        };
        if parts.is_none() {
            tracing::error!(
                "What the transforms remembered was written by another version: they begin without"
            );
        }
        let parts = parts.unwrap_or_default().into_iter().map(|(name, part)| (name.into(), part));
        Self { parts: parts.collect(), ..Self::default() }
    }

    /// Takes out a transform's state, with the edition that it is of.
    pub fn take(&mut self, name: &str) -> Option<([u8; 32], State)> {
        self.whole = None;
        let saved: Saved = postcard::from_bytes(&self.parts.remove(name)?).ok()?;
        let Saved { edition, snapshot, stored, now_us, next_tick_us } = saved;
        Some((edition, State { snapshot, stored, now_us, next_tick_us }))
    }

    /// Sets a transform's state; `None` where it remembers nothing.
    pub fn set(&mut self, name: &Arc<str>, edition: [u8; 32], state: Option<State>) {
        let Some(State { snapshot, stored, now_us, next_tick_us }) = state else {
            if self.parts.remove(name).is_some() {
                self.whole = None;
            }
            return;
        };
        let saved = Saved { edition, snapshot, stored, now_us, next_tick_us };
        let Ok(part) = postcard::to_allocvec(&saved) else { return };
        match self.parts.get_mut(name) {
            Some(known) if *known == part => return,
            Some(known) => *known = part,
            None => drop(self.parts.insert(name.clone(), part)),
        }
        self.whole = None;
    }

    /// All of it; empty where nothing is remembered.
    pub fn bytes(&mut self) -> Arc<[u8]> {
        if let Some(whole) = &self.whole {
            return whole.clone();
        }
        let whole = self.write();
        self.whole = Some(whole.clone());
        whole
    }

    fn write(&mut self) -> Arc<[u8]> {
        if self.parts.is_empty() {
            return Arc::default();
        }
        let parts: BTreeMap<&str, &Vec<u8>> = self.parts.iter().map(|(n, p)| (&**n, p)).collect();
        let mut bytes = vec![VERSION];
        bytes.extend(postcard::to_allocvec(&parts).unwrap_or_default());
        if bytes.len() <= BYTES_MAX {
            return bytes.into();
        }
        if !std::mem::replace(&mut self.said, true) {
            let bytes = bytes.len();
            tracing::error!(bytes, "The transforms remember too much: nothing of it outlives this run");
        }
        Arc::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(n: u8) -> State {
        let stored = [("k".to_owned(), vec![n; 3])].into();
        State { snapshot: Some(vec![n]), stored, now_us: Some(5), next_tick_us: Some(i64::from(n)) }
    }

    #[test]
    fn what_is_remembered_reads_back_by_name() {
        let mut memory = Memory::default();
        assert!(memory.bytes().is_empty());
        memory.set(&"a".into(), [7; 32], Some(state(1)));
        memory.set(&"b".into(), [8; 32], Some(state(2)));
        let bytes = memory.bytes();
        memory.set(&"a".into(), [7; 32], Some(state(1)));
        assert!(Arc::ptr_eq(&bytes, &memory.bytes()), "nothing has changed");
        let mut back = Memory::read(&bytes);
        assert_eq!(back.take("b"), Some(([8; 32], state(2))));
        assert_eq!((back.take("a"), back.take("a")), (Some(([7; 32], state(1))), None));
        memory.set(&"a".into(), [7; 32], None);
        memory.set(&"b".into(), [7; 32], None);
        assert!(memory.bytes().is_empty());
    }

    #[test]
    fn bytes_that_are_no_memory_are_nothing() {
        for bytes in [&[0][..], &[9, 1, 2], &[1, 0xff, 0xff, 0xff], &[1, 1, 1, b'a', 3, 1, 2, 3]] {
            assert_eq!(Memory::read(bytes).take("a"), None, "{bytes:?}");
        }
    }

    #[test]
    fn too_much_is_not_kept() {
        let mut memory = Memory::default();
        let state = State { snapshot: Some(vec![0; BYTES_MAX]), ..State::default() };
        memory.set(&"a".into(), [7; 32], Some(state));
        assert!(memory.bytes().is_empty());
    }
}
