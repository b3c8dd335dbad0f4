//! Bits, least significant first, and the three variable-length codes that a body is written in.

use alloc::vec::Vec;

/// The unary part of a Rice code ends here; what is larger is written with its length.
pub(super) const RICE_CAP: u32 = 24;

/// The number of bits of `u`, 0 for 0.
pub(super) fn bit_len(u: u64) -> u32 {
    64 - u.leading_zeros()
}

/// Small magnitudes of either sign as small numbers: 0, -1, 1, -2, 2 …
pub(super) fn zigzag(v: i64) -> u64 {
    ((v << 1) ^ (v >> 63)) as u64
}

/// Undoes [`zigzag`].
pub(super) fn unzigzag(u: u64) -> i64 {
    (u >> 1) as i64 ^ -((u & 1) as i64)
}

fn low_bits(n: u32) -> u64 {
    if n >= 64 { u64::MAX } else { (1 << n) - 1 }
}

/// Bits on their way into bytes.
#[derive(Default)]
pub(super) struct Writer {
    out: Vec<u8>,
    acc: u64,
    used: u32,
}

impl Writer {
    /// Writes behind the bytes of `out`.
    pub(super) fn behind(out: Vec<u8>) -> Self {
        Self { out, acc: 0, used: 0 }
    }

    /// Appends the `n` low bits of `v`, which has no others; `n` is at most 64.
    #[inline]
    pub(super) fn put(&mut self, v: u64, n: u32) {
        debug_assert!(v & !low_bits(n) == 0, "{v} has more than {n} bits");
        self.acc |= v << self.used;
        let total = self.used + n;
        if total < 64 {
            self.used = total;
            return;
        }
        self.out.extend_from_slice(&self.acc.to_le_bytes());
        let taken = 64 - self.used;
        self.acc = if taken < 64 { v >> taken } else { 0 };
        self.used = total - 64;
    }

    /// Appends one bit.
    pub(super) fn flag(&mut self, set: bool) {
        self.put(u64::from(set), 1);
    }

    /// Elias's gamma code of `x`, which is at least 1: its length in ones, a zero, its lower bits.
    pub(super) fn gamma(&mut self, x: u64) {
        let below = bit_len(x) - 1;
        self.put(low_bits(below), below + 1);
        self.put(x & low_bits(below), below);
    }

    /// The exponential Golomb code of `u` with parameter `k` (at least 1 where `u` may be `u64::MAX`).
    pub(super) fn golomb(&mut self, u: u64, k: u32) {
        self.gamma((u >> k) + 1);
        self.put(u & low_bits(k), k);
    }

    /// The Rice code of `u` with parameter `k`: the upper part in ones, a zero, the `k` lower bits.
    /// From [`RICE_CAP`] ones on: that many ones, 6 bits of length less 1, the value.
    #[inline]
    pub(super) fn rice(&mut self, u: u64, k: u32) {
        let upper = u >> k;
        if upper >= u64::from(RICE_CAP) {
            let n = bit_len(u);
            self.put(low_bits(RICE_CAP), RICE_CAP);
            self.put(u64::from(n - 1), 6);
            self.put(u, n);
            return;
        }
        let ones = upper as u32;
        if ones + 1 + k <= 64 {
            self.put(low_bits(ones) | (u & low_bits(k)) << (ones + 1), ones + 1 + k);
        } else {
            self.put(low_bits(ones), ones + 1);
            self.put(u & low_bits(k), k);
        }
    }

    /// The bytes, the last one filled up with zeros.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let rest = self.used.div_ceil(8) as usize;
        self.out.extend_from_slice(&self.acc.to_le_bytes()[..rest]);
        self.out
    }
}

/// The bits a Rice code takes.
#[inline]
pub(super) fn rice_bits(u: u64, k: u32) -> u32 {
    let upper = u >> k;
    if upper < u64::from(RICE_CAP) { upper as u32 + 1 + k } else { RICE_CAP + 6 + bit_len(u) }
}

/// The bits an exponential Golomb code takes.
pub(super) fn golomb_bits(u: u64, k: u32) -> u32 {
    2 * bit_len((u >> k) + 1) - 1 + k
}

/// Bits out of bytes. Behind the last byte there are zeros: who reads asks [`Reader::overrun`] in time.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Reads from byte `from` of `bytes`.
    pub(super) fn new(bytes: &'a [u8], from: usize) -> Self {
        Self { bytes, at: from * 8 }
    }

    /// The byte that holds the next bit.
    pub(super) fn byte(&self) -> usize {
        self.at / 8
    }

    /// Whether more was read than there is.
    pub(super) fn overrun(&self) -> bool {
        self.at > self.bytes.len() * 8
    }

    /// Goes to the next byte's start; false where a bit that was left over is set.
    pub(super) fn align(&mut self) -> bool {
        let left = (8 - self.at % 8) % 8;
        self.get(left as u32) == 0
    }

    /// At least 57 bits from the next one on.
    #[inline]
    fn window(&self) -> u64 {
        let byte = self.at >> 3;
        let word = match self.bytes.get(byte..byte + 8) {
            Some(eight) => u64::from_le_bytes(eight.try_into().unwrap_or_default()),
            None => self.tail(byte),
        };
        word >> (self.at & 7)
    }

    #[cold]
    fn tail(&self, byte: usize) -> u64 {
        let mut eight = [0; 8];
        if let Some(rest) = self.bytes.get(byte..) {
            eight[..rest.len()].copy_from_slice(rest);
        }
        u64::from_le_bytes(eight)
    }

    /// The next `n` bits, at most 64.
    #[inline]
    pub(super) fn get(&mut self, n: u32) -> u64 {
        if n > 56 {
            let low = self.get(32);
            return low | self.get(n - 32) << 32;
        }
        let v = self.window() & low_bits(n);
        self.at += n as usize;
        v
    }

    /// The next bit.
    pub(super) fn flag(&mut self) -> bool {
        self.get(1) == 1
    }

    /// Reads what [`Writer::gamma`] wrote.
    pub(super) fn gamma(&mut self) -> Result<u64, &'static str> {
        let mut ones = 0;
        loop {
            let more = (!self.window()).trailing_zeros().min(56);
            self.at += more as usize;
            ones += more;
            if ones > 63 {
                return Err("a number of more than 64 bits");
            }
            if more < 56 {
                self.at += 1;
                return Ok(1 << ones | self.get(ones));
            }
        }
    }

    /// Reads what [`Writer::golomb`] wrote.
    pub(super) fn golomb(&mut self, k: u32) -> Result<u64, &'static str> {
        let upper = self.gamma()? - 1;
        if bit_len(upper) + k > 64 {
            return Err("a number of more than 64 bits");
        }
        Ok(upper << k | self.get(k))
    }

    /// Reads what [`Writer::rice`] wrote.
    #[inline]
    pub(super) fn rice(&mut self, k: u32) -> u64 {
        let window = self.window();
        let ones = (!window).trailing_zeros();
        if ones < RICE_CAP && k <= 32 {
            self.at += (ones + 1 + k) as usize;
            return u64::from(ones) << k | (window >> (ones + 1) & low_bits(k));
        }
        self.rice_long(ones, k)
    }

    #[cold]
    fn rice_long(&mut self, ones: u32, k: u32) -> u64 {
        if ones < RICE_CAP {
            self.at += ones as usize + 1;
            return u64::from(ones) << k | self.get(k);
        }
        self.at += RICE_CAP as usize;
        let n = self.get(6) as u32 + 1;
        self.get(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_reads_back_at_every_alignment() {
        let values = [0, 1, 2, 3, 23, 24, 25, 1000, u64::from(u32::MAX), 1 << 62, u64::MAX - 1, u64::MAX];
        for shift in 0..8 {
            for k in [0, 1, 4, 13, 31, 32, 33, 62, 63] {
                let mut w = Writer::default();
                w.put(0, shift);
                for u in values {
                    w.rice(u, k);
                    w.golomb(u, k.max(1));
                    w.put(u, 64);
                }
                let bytes = w.finish();
                let mut r = Reader::new(&bytes, 0);
                r.get(shift);
                for u in values {
                    assert_eq!(r.rice(k), u, "rice {k}");
                    assert_eq!(r.golomb(k.max(1)), Ok(u), "golomb {k}");
                    assert_eq!(r.get(64), u);
                }
                assert!(r.align() && !r.overrun() && r.byte() == bytes.len());
            }
        }
    }

    #[test]
    fn the_stated_sizes_are_the_written_ones() {
        for u in [0, 1, 7, 23 << 5, 24 << 5, 1 << 40, u64::MAX] {
            for k in [1, 5, 9] {
                let size = |f: &dyn Fn(&mut Writer)| {
                    let mut w = Writer::default();
                    f(&mut w);
                    w.out.len() as u32 * 8 + w.used
                };
                assert_eq!(size(&|w| w.rice(u, k)), rice_bits(u, k), "rice {u} {k}");
                assert_eq!(size(&|w| w.golomb(u, k)), golomb_bits(u, k), "golomb {u} {k}");
            }
        }
    }

    #[test]
    fn zigzag_undoes_itself() {
        for v in [0, -1, 1, i64::MIN, i64::MAX] {
            assert_eq!(unzigzag(zigzag(v)), v);
        }
    }
}
