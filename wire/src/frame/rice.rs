//! Small numbers in Rice codes: with one parameter for all, with one for each block of 16, or, where 0
//! is likelier than its neighbours, each of the others behind the number of zeros before it.
//!
//! A *level* stands for the parameter: 0 says that all numbers are 0 and takes no bits for them, `k + 1`
//! is Rice parameter `k`. The first level takes 4 bits: 0 to 13, 14 for a higher one, whose rest follows
//! as Golomb 1, or [`SPARSE`]. More than 16 numbers begin with a bit that says whether there are blocks.

use super::bits::{RICE_CAP, Reader, Writer, bit_len, golomb_bits, rice_bits, unzigzag, zigzag};
use alloc::vec::Vec;

/// The numbers that share a parameter.
const BLOCK: usize = 16;
/// The largest level: Rice parameter 63.
const TOP: u32 = 64;
/// The least level that does not fit into the first 4 bits.
const HIGH: u32 = 14;
const TOO_HIGH: &str = "a Rice parameter above 63";
/// In place of a first level: zeros are counted.
const SPARSE: u64 = 15;
/// The bits of the Rice parameter of how many zeros there are.
const ZEROS: u32 = 2;

/// How numbers are to be written, and what that costs.
pub(super) struct Plan {
    /// The bits it takes.
    pub(super) bits: u32,
    how: How,
}

enum How {
    /// One level for all.
    Whole(u32),
    /// A level for each block.
    Blocks,
    Sparse(Sparse),
}

/// Parameters of numbers whose zeros are counted.
struct Sparse {
    /// Rice parameter of how many zeros there are.
    zeros: u32,
    /// Level of the others, less 1.
    level: u32,
}

/// The cheapest way; `None` where none can take `wanted` bits or fewer. Zeros are counted only of
/// numbers that may `hold` at 0. One parameter for each block is tried only where it might win: it seldom
/// saves more than a quarter.
pub(super) fn plan(numbers: &[u64], holds: bool, wanted: u32) -> Option<Plan> {
    // Whatever the way, a number that is not 0 takes a bit more than it has (zeros counted and all others
    // the same 1 take less, but then nearly nothing).
    let sums = Sums::of(numbers);
    let others = numbers.len() as u32 - sums.zeros;
    let least = sums.lengths + others;
    if least > wanted {
        return None;
    }
    let (level, bits) = best_level(numbers, &sums, first_level_bits);
    let mut plan = Plan { bits, how: How::Whole(level) };
    // A zero takes as many bits as its level. Counted it saves most of them, and each of the others takes
    // a bit for the zeros before it.
    if holds && sums.zeros * level > others && least < bits.min(wanted) {
        let (bits, sparse) = sparse(numbers);
        if bits < plan.bits {
            plan = Plan { bits, how: How::Sparse(sparse) };
        }
    }
    if numbers.len() <= BLOCK {
        return Some(plan);
    }
    plan.bits += 1;
    if plan.bits - plan.bits / 4 > wanted {
        return Some(plan);
    }
    let (mut blocks, mut before) = (1, None);
    for block in numbers.chunks(BLOCK) {
        let (level, bits) = block_level(block, before);
        blocks += bits;
        before = Some(level);
    }
    if blocks < plan.bits {
        plan = Plan { bits: blocks, how: How::Blocks };
    }
    Some(plan)
}

/// Writes the numbers as planned.
pub(super) fn write(w: &mut Writer, numbers: &[u64], plan: &Plan) {
    if numbers.len() > BLOCK {
        w.flag(matches!(plan.how, How::Blocks));
    }
    match &plan.how {
        How::Whole(level) => {
            write_first_level(w, *level);
            write_all(w, numbers, *level);
        }
        How::Blocks => {
            let mut before = None;
            for block in numbers.chunks(BLOCK) {
                let level = block_level(block, before).0;
                match before {
                    None => write_first_level(w, level),
                    Some(before) => w.golomb(zigzag(i64::from(level) - i64::from(before)), 0),
                }
                before = Some(level);
                write_all(w, block, level);
            }
        }
        How::Sparse(plan) => write_sparse(w, numbers, plan),
    }
}

fn write_all(w: &mut Writer, numbers: &[u64], level: u32) {
    if level > 0 {
        numbers.iter().for_each(|&u| w.rice(u, level - 1));
    }
}

/// Reads as many numbers as `out` has room for, as signed.
pub(super) fn read(r: &mut Reader<'_>, out: &mut [i64]) -> Result<(), &'static str> {
    let blocks = out.len() > BLOCK && r.flag();
    let mut level = match read_first_level(r)? {
        Some(level) => level,
        None if blocks => return Err("blocks of which zeros are counted"),
        None => return read_sparse(r, out),
    };
    if !blocks {
        read_all(r, out, level);
        return Ok(());
    }
    for (i, block) in out.chunks_mut(BLOCK).enumerate() {
        if i > 0 {
            level = read_next_level(r, level)?;
        }
        read_all(r, block, level);
    }
    Ok(())
}

fn read_all(r: &mut Reader<'_>, out: &mut [i64], level: u32) {
    match level {
        0 => out.fill(0),
        level => out.iter_mut().for_each(|x| *x = unzigzag(r.rice(level - 1))),
    }
}

fn first_level_bits(level: u32) -> u32 {
    4 + if level < HIGH { 0 } else { golomb_bits(u64::from(level - HIGH), 1) }
}

fn write_first_level(w: &mut Writer, level: u32) {
    w.put(u64::from(level.min(HIGH)), 4);
    if level >= HIGH {
        w.golomb(u64::from(level - HIGH), 1);
    }
}

/// Reads a first level; `None` is [`SPARSE`].
fn read_first_level(r: &mut Reader<'_>) -> Result<Option<u32>, &'static str> {
    match r.get(4) {
        SPARSE => Ok(None),
        level if level < u64::from(HIGH) => Ok(Some(level as u32)),
        _ => match r.golomb(1)? {
            more if more <= u64::from(TOP - HIGH) => Ok(Some(HIGH + more as u32)),
            _ => Err(TOO_HIGH),
        },
    }
}

/// Reads a block's level, as its difference from the one before.
fn read_next_level(r: &mut Reader<'_>, before: u32) -> Result<u32, &'static str> {
    let level = unzigzag(r.golomb(0)?).saturating_add(i64::from(before));
    u32::try_from(level).ok().filter(|level| *level <= TOP).ok_or(TOO_HIGH)
}

/// The bits of numbers that are not all 0, with zeros counted.
fn sparse(numbers: &[u64]) -> (u32, Sparse) {
    let runs: Vec<u64> = runs(numbers).collect();
    let others: Vec<u64> = numbers.iter().filter(|u| **u > 0).map(|u| u - 1).collect();
    let run_bits = [0, 1, 2, 3].map(|k| runs.iter().map(|&run| rice_bits(run, k)).sum::<u32>());
    let (bits, zeros) = run_bits.into_iter().zip(0..).min().unwrap_or_default();
    let (level, other_bits) = best_level(&others, &Sums::of(&others), first_level_bits);
    (4 + ZEROS + bits + other_bits, Sparse { zeros, level })
}

/// The zeros before each other number, and where the last one is a zero those behind.
fn runs(numbers: &[u64]) -> impl Iterator<Item = u64> + '_ {
    let behind = numbers.last() == Some(&0);
    let pieces = numbers.split(|u| *u > 0).map(|zeros| zeros.len() as u64);
    let n = numbers.iter().filter(|u| **u > 0).count() + usize::from(behind);
    pieces.take(n)
}

fn write_sparse(w: &mut Writer, numbers: &[u64], plan: &Sparse) {
    w.put(SPARSE, 4);
    w.put(u64::from(plan.zeros), ZEROS);
    write_first_level(w, plan.level);
    let mut others = numbers.iter().filter(|u| **u > 0);
    for run in runs(numbers) {
        w.rice(run, plan.zeros);
        if let (Some(u), 1..) = (others.next(), plan.level) {
            w.rice(u - 1, plan.level - 1);
        }
    }
}

fn read_sparse(r: &mut Reader<'_>, out: &mut [i64]) -> Result<(), &'static str> {
    let zeros = r.get(ZEROS) as u32;
    let level = read_first_level(r)?.ok_or("zeros that are counted twice")?;
    out.fill(0);
    let mut rest = out;
    while !rest.is_empty() {
        let run = r.rice(zeros);
        if run > rest.len() as u64 {
            return Err("more zeros than there are numbers");
        }
        let behind = &mut core::mem::take(&mut rest)[run as usize..];
        let Some((number, behind)) = behind.split_first_mut() else { return Ok(()) };
        let less = if level > 0 { r.rice(level - 1) } else { 0 };
        *number = unzigzag(less.wrapping_add(1));
        rest = behind;
    }
    Ok(())
}

fn block_level(block: &[u64], before: Option<u32>) -> (u32, u32) {
    best_level(block, &Sums::of(block), |level| match before {
        None => first_level_bits(level),
        Some(before) => golomb_bits(zigzag(i64::from(level) - i64::from(before)), 0),
    })
}

/// What one look at numbers says of them.
#[derive(Clone, Copy, Default)]
struct Sums {
    /// The sum of their lengths in bits.
    lengths: u32,
    /// How many are 0.
    zeros: u32,
    /// The bits that any of them has.
    any: u64,
}

impl Sums {
    #[inline]
    fn of(numbers: &[u64]) -> Self {
        numbers.iter().fold(Self::default(), |sums, &u| Self {
            lengths: sums.lengths + bit_len(u),
            zeros: sums.zeros + u32::from(u == 0),
            any: sums.any | u,
        })
    }
}

/// The level with the fewest bits, with `extra` for the level itself: from the numbers' mean length up or
/// down, as long as it gets better.
#[inline]
fn best_level(numbers: &[u64], sums: &Sums, extra: impl Fn(u32) -> u32) -> (u32, u32) {
    if sums.any == 0 {
        return (0, extra(0));
    }
    let mut best = (TOP, u32::MAX);
    let mut try_from = |least: u32| {
        for (level, bits) in (least + 1..).zip(three_sizes(numbers, sums.any, least)) {
            let bits = bits + extra(level);
            if bits < best.1 {
                best = (level, bits);
            }
        }
        best
    };
    let mean = sums.lengths / numbers.len() as u32;
    let mut least = mean.saturating_sub(1).min(61);
    let mut level = try_from(least).0;
    if level == least + 1 {
        while level == least + 1 && least > 0 {
            least = least.saturating_sub(3);
            level = try_from(least).0;
        }
    } else {
        while level == least + 3 && least < 61 {
            least = (least + 3).min(61);
            level = try_from(least).0;
        }
    }
    best
}

/// The bits that numbers take with parameter `k` and the two above it.
#[inline]
fn three_sizes(numbers: &[u64], any: u64, k: u32) -> [u32; 3] {
    if any >> k < u64::from(RICE_CAP) {
        // None is long, so that the sizes are sums without a choice, several numbers at a time.
        let upper = numbers.iter().fold([0; 3], |[a, b, c], &u| {
            let u = (u >> k) as u32;
            [a + u, b + (u >> 1), c + (u >> 2)]
        });
        let n = numbers.len() as u32 * (k + 1);
        let more = numbers.len() as u32;
        return [upper[0] + n, upper[1] + n + more, upper[2] + n + 2 * more];
    }
    [k, k + 1, k + 2].map(|k| numbers.iter().map(|&u| rice_bits(u, k)).sum())
}
