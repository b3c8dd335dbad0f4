//! Small numbers in Rice codes, with one parameter for all or one for each block of 16.
//!
//! A *level* stands for the parameter: 0 says that all numbers are 0 and takes no bits for them, `k + 1`
//! is Rice parameter `k`.

use super::bits::{RICE_CAP, Reader, Writer, bit_len, golomb_bits, rice_bits, unzigzag, zigzag};

/// The numbers that share a parameter.
const BLOCK: usize = 16;
/// The largest level: Rice parameter 63.
const TOP: u32 = 64;

/// How numbers are to be written, and what that costs.
pub(super) struct Plan {
    /// The bits it takes.
    pub(super) bits: u32,
    /// Whether each block has its own parameter.
    pub(super) blocks: bool,
}

/// The cheaper of the two ways; `None` where neither can take `wanted` bits or fewer. One parameter for
/// each block is tried only where it might: it seldom saves more than a quarter.
pub(super) fn plan(numbers: &[u64], wanted: u32) -> Option<Plan> {
    // Whatever the parameter, a number that is not 0 takes a bit more than it has.
    let least: u32 = numbers.iter().map(|&u| bit_len(u) + u32::from(u > 0)).sum();
    if least > wanted {
        return None;
    }
    let (level, whole) = best_level(numbers, |_| 0);
    let whole = whole + first_level_bits(level);
    if numbers.len() <= BLOCK || whole - whole / 4 > wanted {
        return Some(Plan { bits: whole, blocks: false });
    }
    let (mut blocks, mut before) = (0, None);
    for block in numbers.chunks(BLOCK) {
        let (level, bits) = block_level(block, before);
        blocks += bits;
        before = Some(level);
    }
    Some(Plan { bits: 1 + whole.min(blocks), blocks: blocks < whole })
}

/// Writes the numbers as planned.
pub(super) fn write(w: &mut Writer, numbers: &[u64], plan: &Plan) {
    if numbers.len() > BLOCK {
        w.flag(plan.blocks);
    }
    let mut before = None;
    let size = if plan.blocks { BLOCK } else { numbers.len().max(1) };
    for block in numbers.chunks(size) {
        let level = match plan.blocks {
            true => block_level(block, before).0,
            false => best_level(block, |_| 0).0,
        };
        match before {
            None => {
                w.put(u64::from(level.min(15)), 4);
                if level >= 15 {
                    w.put(u64::from(level - 15), 6);
                }
            }
            Some(before) => w.golomb(zigzag(i64::from(level) - i64::from(before)), 0),
        }
        before = Some(level);
        if level > 0 {
            block.iter().for_each(|&u| w.rice(u, level - 1));
        }
    }
}

/// Reads as many numbers as `out` has room for, as signed.
pub(super) fn read(r: &mut Reader<'_>, out: &mut [i64]) -> Result<(), &'static str> {
    let blocks = out.len() > BLOCK && r.flag();
    let size = if blocks { BLOCK } else { out.len().max(1) };
    let mut before = None;
    for block in out.chunks_mut(size) {
        let level = match before {
            None => match r.get(4) {
                15 => 15 + r.get(6) as i64,
                level => level as i64,
            },
            Some(before) => unzigzag(r.golomb(0)?).saturating_add(before),
        };
        if !(0..=i64::from(TOP)).contains(&level) {
            return Err("a Rice parameter above 63");
        }
        before = Some(level);
        match level {
            0 => block.fill(0),
            level => {
                let k = level as u32 - 1;
                block.iter_mut().for_each(|x| *x = unzigzag(r.rice(k)));
            }
        }
    }
    Ok(())
}

fn first_level_bits(level: u32) -> u32 {
    if level < 15 { 4 } else { 10 }
}

/// A block's level and bits, with those of the level itself.
fn block_level(block: &[u64], before: Option<u32>) -> (u32, u32) {
    best_level(block, |level| match before {
        None => first_level_bits(level),
        Some(before) => golomb_bits(zigzag(i64::from(level) - i64::from(before)), 0),
    })
}

/// The level with the fewest bits: from the numbers' mean length up or down, as long as it gets better.
fn best_level(numbers: &[u64], extra: impl Fn(u32) -> u32) -> (u32, u32) {
    let lengths: u32 = numbers.iter().map(|&u| bit_len(u)).sum();
    if lengths == 0 {
        return (0, extra(0));
    }
    let mut best = (TOP, u32::MAX);
    let mut try_from = |least: u32| {
        for (level, bits) in (least + 1..).zip(three_sizes(numbers, least)) {
            let bits = bits + extra(level);
            if bits < best.1 {
                best = (level, bits);
            }
        }
        best
    };
    let mean = lengths / numbers.len() as u32;
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
fn three_sizes(numbers: &[u64], k: u32) -> [u32; 3] {
    if numbers.iter().fold(0, |any, u| any | u) >> k < u64::from(RICE_CAP) {
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
