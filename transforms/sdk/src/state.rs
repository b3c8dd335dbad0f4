//! What a transform remembers between batches, as bytes: the agent takes it after each batch and gives
//! it back to a fresh instance, after a failure or a restart.
//!
//! [`keeps!`](crate::keeps) inside `impl Transform` is all that most transforms need.

/// Bytes of a snapshot, written and read in the same order. Numbers are little-endian.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Saved {
    bytes: Vec<u8>,
    read: usize,
}

impl Saved {
    /// Takes bytes to read.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self { bytes, read: 0 }
    }

    /// The bytes written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Writes a value.
    pub fn put<T: Keep>(&mut self, value: &T) {
        value.put(self);
    }

    /// Reads the next value. What fails takes nothing, so that a field that is new may have a default.
    pub fn take<T: Keep>(&mut self) -> Result<T, String> {
        let before = self.read;
        T::take(self).inspect_err(|_| self.read = before)
    }

    /// Refuses what is left over.
    pub fn finish(&self) -> Result<(), String> {
        match self.bytes.len() - self.read {
            0 => Ok(()),
            left => Err(format!("The saved state has {left} bytes too many: it is another version's")),
        }
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let next = self.bytes.get(self.read..).and_then(|b| b.first_chunk::<N>().copied());
        let next = next.ok_or("The saved state is too short: it is another version's")?;
        self.read += N;
        Ok(next)
    }
}

/// What can be kept.
pub trait Keep: Sized {
    /// Writes it.
    fn put(&self, to: &mut Saved);
    /// Reads it.
    fn take(from: &mut Saved) -> Result<Self, String>;
}

macro_rules! keep_number {
    ($($t:ty),*) => {$(
        impl Keep for $t {
            fn put(&self, to: &mut Saved) {
                to.bytes.extend_from_slice(&self.to_le_bytes());
            }
            fn take(from: &mut Saved) -> Result<Self, String> {
                from.bytes().map(<$t>::from_le_bytes)
            }
        }
    )*};
}
keep_number!(u8, u16, u32, u64, i8, i16, i32, i64, f32, f64);

impl Keep for bool {
    fn put(&self, to: &mut Saved) {
        to.put(&u8::from(*self));
    }
    fn take(from: &mut Saved) -> Result<Self, String> {
        from.take::<u8>().map(|b| b != 0)
    }
}

impl<T: Keep> Keep for Option<T> {
    fn put(&self, to: &mut Saved) {
        to.put(&self.is_some());
        if let Some(value) = self {
            to.put(value);
        }
    }
    fn take(from: &mut Saved) -> Result<Self, String> {
        if from.take()? { from.take().map(Some) } else { Ok(None) }
    }
}

impl<T: Keep> Keep for Vec<T> {
    fn put(&self, to: &mut Saved) {
        to.put(&(self.len() as u32));
        self.iter().for_each(|value| to.put(value));
    }
    fn take(from: &mut Saved) -> Result<Self, String> {
        (0..from.take::<u32>()?).map(|_| from.take()).collect()
    }
}

impl Keep for String {
    fn put(&self, to: &mut Saved) {
        to.put(&(self.len() as u32));
        to.bytes.extend_from_slice(self.as_bytes());
    }
    fn take(from: &mut Saved) -> Result<Self, String> {
        let bytes = Vec::take(from)?;
        String::from_utf8(bytes).map_err(|_| "The saved state has a text that is not UTF-8".into())
    }
}

impl<T: Keep, const N: usize> Keep for [T; N] {
    fn put(&self, to: &mut Saved) {
        self.iter().for_each(|value| to.put(value));
    }
    fn take(from: &mut Saved) -> Result<Self, String> {
        let values: Vec<T> = (0..N).map(|_| from.take()).collect::<Result<_, _>>()?;
        values.try_into().map_err(|_| "The saved state is another version's".into())
    }
}

macro_rules! keep_tuple {
    ($(($($t:ident $i:tt),*)),*) => {$(
        impl<$($t: Keep),*> Keep for ($($t,)*) {
            fn put(&self, to: &mut Saved) {
                $(to.put(&self.$i);)*
            }
            fn take(from: &mut Saved) -> Result<Self, String> {
                Ok(($(from.take::<$t>()?,)*))
            }
        }
    )*};
}
keep_tuple!((A 0, B 1), (A 0, B 1, C 2), (A 0, B 1, C 2, D 3));

/// Inside `impl Transform`: names the fields that outlive a failure or a restart.
///
/// ```
/// # use milepost_transform::{Params, Transform, keeps};
/// struct Odometer { metres: f64, last: Option<(f64, f64)> }
/// impl Transform for Odometer {
///     keeps!(metres, last);
///     fn new(_: &mut Params) -> Result<Self, String> { Ok(Self { metres: 0.0, last: None }) }
/// }
/// ```
#[macro_export]
macro_rules! keeps {
    ($($field:ident),+ $(,)?) => {
        const KEEPS_STATE: bool = true;
        fn save(&self, to: &mut $crate::Saved) {
            $(to.put(&self.$field);)+
        }
        fn load(&mut self, from: &mut $crate::Saved) -> Result<(), String> {
            $(self.$field = from.take()?;)+
            Ok(())
        }
    };
}

/// Makes a struct of kept fields something that can be kept: `keep_struct!(Episode { kind, until_us })`.
#[macro_export]
macro_rules! keep_struct {
    ($name:ident { $($field:ident),+ $(,)? }) => {
        impl $crate::state::Keep for $name {
            fn put(&self, to: &mut $crate::Saved) {
                $(to.put(&self.$field);)+
            }
            fn take(from: &mut $crate::Saved) -> Result<Self, String> {
                Ok(Self { $($field: from.take()?),+ })
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_reads_back_and_cut_bytes_are_refused() {
        type All = (u8, Option<(i64, f64)>, Vec<String>, [Option<bool>; 2]);
        let all: All = (7, Some((-5, 0.25)), vec!["a".into(), "bc".into()], [Some(true), None]);
        let mut saved = Saved::default();
        saved.put(&all);
        let bytes = saved.into_bytes();
        let mut back = Saved::from_bytes(bytes.clone());
        assert_eq!(back.take::<All>(), Ok(all));
        assert_eq!(back.finish(), Ok(()));
        let mut older = Saved::from_bytes(bytes[..bytes.len() - 1].to_vec());
        assert!(older.take::<All>().is_err());
        assert_eq!(older.take::<u8>(), Ok(7), "what failed took nothing");
        for cut in 0..bytes.len() {
            assert!(Saved::from_bytes(bytes[..cut].to_vec()).take::<All>().is_err(), "{cut}");
        }
    }
}
