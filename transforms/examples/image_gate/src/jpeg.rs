//! The picture of a baseline JPEG in coarse: the mean brightness of each block of 8 × 8 pixels, which
//! the file holds as the block's first coefficient, gathered into a small grid. No pixel is computed.
//!
//! Whatever the bytes are, this ends, allocates a few KiB and does not panic.

/// Cells across and down the picture, at most.
const SIDE: usize = 32;
/// Pictures with more blocks are not looked at.
const MAX_BLOCKS: usize = 1 << 20;

/// Mean brightness of parts of the picture, 0 to 255, row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    /// Cells in a row.
    pub width: u8,
    /// Brightness.
    pub cells: Vec<u8>,
}

/// Reads a picture. `None` where it is no baseline JPEG, or is cut off.
pub fn grid(jpeg: &[u8]) -> Option<Grid> {
    let mut rest = jpeg.strip_prefix(&[0xff, 0xd8])?;
    let mut tables = Tables::default();
    let mut frame = None;
    loop {
        let (marker, segment, behind) = segment(rest)?;
        match marker {
            0xdb => tables.quantisation(segment)?,
            0xc4 => tables.huffman(segment)?,
            0xdd => tables.restart_every = usize::from(u16::from_be_bytes(segment.try_into().ok()?)),
            // Baseline, or extended with the same coding.
            0xc0 | 0xc1 => frame = Some(Frame::read(segment)?),
            // Every other way to code: progressive, lossless, arithmetic.
            0xc2 | 0xc3 | 0xc5..=0xcf => return None,
            0xda => return Scan::new(&tables, frame.as_ref()?, segment, behind)?.read(),
            0xd9 => return None,
            _ => {}
        }
        rest = behind;
    }
}

/// The next segment: its marker, what is in it, and what is behind it.
fn segment(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let start = bytes.iter().position(|b| *b != 0xff)?;
    if start == 0 {
        return None;
    }
    let (marker, rest) = (bytes[start], &bytes[start + 1..]);
    let len = usize::from(u16::from_be_bytes(*rest.first_chunk()?));
    let (segment, behind) = rest.split_at_checked(len)?;
    Some((marker, segment.get(2..)?, behind))
}

#[derive(Default)]
struct Tables {
    /// Of each table the step of the first coefficient, which is all that counts here.
    step: [i32; 4],
    dc: [Option<Huffman>; 4],
    ac: [Option<Huffman>; 4],
    restart_every: usize,
}

impl Tables {
    fn quantisation(&mut self, mut bytes: &[u8]) -> Option<()> {
        while let Some((head, rest)) = bytes.split_first() {
            let wide = head >> 4 == 1;
            let step =
                if wide { u16::from_be_bytes(*rest.first_chunk()?) } else { u16::from(*rest.first()?) };
            *self.step.get_mut(usize::from(head & 15))? = i32::from(step);
            bytes = rest.get(if wide { 128 } else { 64 }..)?;
        }
        Some(())
    }

    fn huffman(&mut self, mut bytes: &[u8]) -> Option<()> {
        while let Some((head, rest)) = bytes.split_first() {
            let counts: &[u8; 16] = rest.first_chunk()?;
            let symbols = counts.iter().map(|n| usize::from(*n)).sum();
            let (symbols, behind) = rest[16..].split_at_checked(symbols)?;
            let tables = if head >> 4 == 0 { &mut self.dc } else { &mut self.ac };
            *tables.get_mut(usize::from(head & 15))? = Some(Huffman::new(counts, symbols)?);
            bytes = behind;
        }
        Some(())
    }
}

/// A Huffman code: for each length the first code, the number of codes, and where their symbols are.
struct Huffman {
    lengths: [(u32, u32, usize); 16],
    symbols: Vec<u8>,
    /// Codes of at most 8 bits, found at once by the next 8 bits: length and symbol; length 0 for others.
    short: [(u8, u8); 256],
}

impl Huffman {
    fn new(counts: &[u8; 16], symbols: &[u8]) -> Option<Self> {
        let mut lengths = [(0, 0, 0); 16];
        let mut short = [(0, 0); 256];
        let (mut code, mut at) = (0u32, 0usize);
        for (i, count) in counts.iter().enumerate() {
            lengths[i] = (code, u32::from(*count), at);
            for symbol in &symbols[at..at + usize::from(*count)] {
                if i < 8 {
                    let first = (code as usize) << (7 - i);
                    short.get_mut(first..first + (1 << (7 - i)))?.fill((i as u8 + 1, *symbol));
                }
                code += 1;
            }
            at += usize::from(*count);
            // A code of so many bits has no more values.
            if code > 1 << (i + 1) {
                return None;
            }
            code <<= 1;
        }
        Some(Self { lengths, symbols: symbols.to_vec(), short })
    }
}

/// A part of the picture's colours.
struct Component {
    id: u8,
    across: usize,
    down: usize,
    quantisation: usize,
}

struct Frame {
    width: usize,
    height: usize,
    components: Vec<Component>,
}

impl Frame {
    fn read(bytes: &[u8]) -> Option<Self> {
        let [precision, h0, h1, w0, w1, n, rest @ ..] = bytes else { return None };
        let (width, height) =
            (usize::from(u16::from_be_bytes([*w0, *w1])), usize::from(u16::from_be_bytes([*h0, *h1])));
        let components: Vec<Component> = rest
            .chunks_exact(3)
            .map(|c| Component {
                id: c[0],
                across: usize::from(c[1] >> 4),
                down: usize::from(c[1] & 15),
                quantisation: usize::from(c[2]),
            })
            .collect();
        let sane = *precision == 8
            && width > 0
            && height > 0
            && (1..=4).contains(&components.len())
            && components.len() == usize::from(*n)
            && components.iter().all(|c| (1..=4).contains(&c.across) && (1..=4).contains(&c.down));
        (sane && width.div_ceil(8) * height.div_ceil(8) <= MAX_BLOCKS).then_some(Self {
            width,
            height,
            components,
        })
    }
}

/// Reads the coded blocks.
struct Scan<'a> {
    tables: &'a Tables,
    frame: &'a Frame,
    /// For each component its tables.
    coded_by: Vec<(&'a Huffman, &'a Huffman)>,
    bits: Bits<'a>,
    /// Sum and number of the blocks in each cell.
    cells: Vec<(i64, i64)>,
    /// Cells across and down.
    size: (usize, usize),
}

impl<'a> Scan<'a> {
    fn new(tables: &'a Tables, frame: &'a Frame, head: &[u8], coded: &'a [u8]) -> Option<Self> {
        let (n, rest) = head.split_first()?;
        // Baseline files have all components in one scan; brightness alone would come first elsewhere.
        if usize::from(*n) != frame.components.len() {
            return None;
        }
        let coded_by =
            rest.chunks_exact(2).take(frame.components.len()).zip(&frame.components).map(|(c, of)| {
                let dc = tables.dc.get(usize::from(c[1] >> 4))?.as_ref()?;
                let ac = tables.ac.get(usize::from(c[1] & 15))?.as_ref()?;
                (c[0] == of.id).then_some((dc, ac))
            });
        let coded_by: Vec<_> = coded_by.collect::<Option<_>>()?;
        let size = (frame.width.div_ceil(8).min(SIDE), frame.height.div_ceil(8).min(SIDE));
        let complete = coded_by.len() == frame.components.len();
        complete.then(|| Self {
            tables,
            frame,
            coded_by,
            bits: Bits { bytes: coded, held: 0, count: 0, made_up: 0 },
            cells: vec![(0, 0); size.0 * size.1],
            size,
        })
    }

    fn read(mut self) -> Option<Grid> {
        let parts = &self.frame.components;
        let single = parts.len() == 1;
        // A scan of one component has a block at a time, whatever its sampling says.
        let most =
            |f: fn(&Component) -> usize| if single { 1 } else { parts.iter().map(f).max().unwrap_or(1) };
        let (across, down) = (most(|c| c.across), most(|c| c.down));
        let columns = self.frame.width.div_ceil(8 * across);
        let rows = self.frame.height.div_ceil(8 * down);
        let mut last = [0i32; 4];
        for unit in 0..columns * rows {
            if self.tables.restart_every > 0 && unit > 0 && unit % self.tables.restart_every == 0 {
                last = [0; 4];
                self.bits.restart()?;
            }
            let (column, row) = (unit % columns, unit / columns);
            for (i, last) in (0..parts.len()).zip(&mut last) {
                let (x, y) = if single { (1, 1) } else { (parts[i].across, parts[i].down) };
                for block in 0..x * y {
                    let level = self.block(i, last)?;
                    if i == 0 {
                        self.note(column * x + block % x, row * y + block / x, level);
                    }
                }
            }
        }
        let cells = self.cells.iter().map(|(sum, n)| (sum / (*n).max(1)).clamp(0, 255) as u8).collect();
        Some(Grid { width: self.size.0 as u8, cells })
    }

    /// Reads a block; gives its brightness.
    fn block(&mut self, component: usize, last: &mut i32) -> Option<i64> {
        let (dc, ac) = self.coded_by[component];
        let size = self.bits.symbol(dc)?;
        *last = last.checked_add(self.bits.number(size)?)?;
        let mut k = 1;
        while k < 64 {
            let symbol = self.bits.symbol(ac)?;
            match (symbol >> 4, symbol & 15) {
                (15, 0) => k += 16,
                (_, 0) => break,
                (zeros, size) => {
                    self.bits.number(size)?;
                    k += usize::from(zeros) + 1;
                }
            }
        }
        let step = self.tables.step.get(self.frame.components[component].quantisation)?;
        Some(i64::from(*last) * i64::from(*step) / 8 + 128)
    }

    /// Adds a block to its cell.
    fn note(&mut self, x: usize, y: usize, level: i64) {
        let (width, height) = (self.frame.width.div_ceil(8), self.frame.height.div_ceil(8));
        if x >= width || y >= height {
            return;
        }
        let cell = y * self.size.1 / height * self.size.0 + x * self.size.0 / width;
        let (sum, n) = &mut self.cells[cell];
        *sum = sum.saturating_add(level);
        *n += 1;
    }
}

/// Bits of the coded part, most significant first, without the zeros that are stuffed behind `ff`.
struct Bits<'a> {
    bytes: &'a [u8],
    held: u32,
    count: u32,
    /// How many of those that are held come from behind the end.
    made_up: u32,
}

impl Bits<'_> {
    /// Has at least `n` bits ready, 16 at most. Behind the end there are zeros, for whoever looks ahead.
    fn fill(&mut self, n: u32) {
        while self.count < n {
            let byte = match self.bytes {
                [0xff, 0x00, rest @ ..] => {
                    self.bytes = rest;
                    0xff
                }
                [0xff, ..] | [] => {
                    self.made_up += 8;
                    0
                }
                [byte, rest @ ..] => {
                    self.bytes = rest;
                    *byte
                }
            };
            self.held = self.held << 8 | u32::from(byte);
            self.count += 8;
        }
    }

    /// Takes bits that were looked at. `None` where the picture is cut off before them.
    fn take(&mut self, n: u32) -> Option<()> {
        self.count -= n;
        (self.count >= self.made_up).then_some(())
    }

    fn peek(&mut self, n: u32) -> u32 {
        self.fill(n);
        self.held >> (self.count - n) & ((1 << n) - 1)
    }

    fn symbol(&mut self, code: &Huffman) -> Option<u8> {
        let (len, symbol) = code.short[self.peek(8) as usize];
        if len > 0 {
            self.take(u32::from(len))?;
            return Some(symbol);
        }
        for len in 9..=16u32 {
            let bits = self.peek(len);
            let (first, n, at) = code.lengths[len as usize - 1];
            if bits >= first && bits - first < n {
                self.take(len)?;
                return code.symbols.get(at + (bits - first) as usize).copied();
            }
        }
        None
    }

    /// A signed number of so many bits.
    fn number(&mut self, size: u8) -> Option<i32> {
        let size = u32::from(size);
        if size == 0 || size > 15 {
            return (size == 0).then_some(0);
        }
        let bits = self.peek(size) as i32;
        self.take(size)?;
        Some(if bits < 1 << (size - 1) { bits - (1 << size) + 1 } else { bits })
    }

    /// Goes on behind a restart marker.
    fn restart(&mut self) -> Option<()> {
        (self.held, self.count, self.made_up) = (0, 0, 0);
        let at = self.bytes.windows(2).position(|w| w[0] == 0xff && (0xd0..=0xd7).contains(&w[1]))?;
        self.bytes = &self.bytes[at + 2..];
        Some(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A baseline JPEG of grey blocks, written by the book: one component, a code of 4 bits for each size of
    /// a difference, a code of 1 bit for "nothing more in this block".
    pub(crate) fn picture(across: usize, down: usize, level: impl Fn(usize, usize) -> u8) -> Vec<u8> {
        let mut jpeg = vec![0xff, 0xd8];
        let mut segment = |marker: u8, bytes: &[u8]| {
            jpeg.extend([0xff, marker]);
            jpeg.extend((bytes.len() as u16 + 2).to_be_bytes());
            jpeg.extend(bytes);
        };
        segment(0xe0, b"JFIF\0");
        segment(0xdb, &[&[0][..], &[8; 64]].concat());
        let (w, h) = ((across as u16 * 8).to_be_bytes(), (down as u16 * 8).to_be_bytes());
        segment(0xc0, &[8, h[0], h[1], w[0], w[1], 1, 1, 0x11, 0]);
        let counts = |len: usize, n: u8| (1..=16).map(move |l| if l == len { n } else { 0 });
        segment(0xc4, &[0].into_iter().chain(counts(4, 12)).chain(0..12).collect::<Vec<u8>>());
        segment(0xc4, &[0x10].into_iter().chain(counts(1, 1)).chain([0]).collect::<Vec<u8>>());
        segment(0xda, &[1, 1, 0, 0, 63, 0]);
        let mut bits = String::new();
        let mut last = 0i32;
        for y in 0..down {
            for x in 0..across {
                // With a step of 8, a unit is a level.
                let dc = i32::from(level(x, y)) - 128;
                let (diff, size) = (dc - last, 32 - (dc - last).unsigned_abs().leading_zeros());
                last = dc;
                bits += &format!("{size:04b}");
                if size > 0 {
                    let value = if diff < 0 { diff + (1 << size) - 1 } else { diff };
                    bits += &format!("{value:0width$b}", width = size as usize);
                }
                bits += "0";
            }
        }
        while bits.len() % 8 > 0 {
            bits.push('1');
        }
        for byte in bits.as_bytes().chunks(8) {
            let byte = byte.iter().fold(0, |a, b| a << 1 | (b - b'0'));
            jpeg.push(byte);
            if byte == 0xff {
                jpeg.push(0);
            }
        }
        jpeg.extend([0xff, 0xd9]);
        jpeg
    }

    #[test]
    fn blocks_have_their_brightness() {
        let level = |x: usize, y: usize| (x * 50 + y * 30) as u8;
        let found = grid(&picture(5, 3, level)).unwrap();
        assert_eq!(found.width, 5);
        let expected: Vec<u8> = (0..15).map(|i| level(i % 5, i / 5)).collect();
        assert_eq!(found.cells, expected);
    }

    #[test]
    fn a_large_picture_becomes_a_small_grid() {
        let found = grid(&picture(64, 96, |x, _| if x < 32 { 10 } else { 200 })).unwrap();
        assert_eq!((found.width, found.cells.len()), (32, 32 * 32));
        assert!(found.cells.chunks(32).all(|row| row[..16] == [10; 16] && row[16..] == [200; 16]));
    }

    #[test]
    fn what_is_no_picture_or_is_cut_off_is_none() {
        let jpeg = picture(8, 8, |x, y| (x * 31 ^ y * 17) as u8);
        assert!(grid(&jpeg).is_some());
        for cut in 0..jpeg.len() - 8 {
            assert_eq!(grid(&jpeg[..cut]), None, "{cut}");
        }
        assert_eq!(grid(b"no picture"), None);
    }

    #[test]
    fn whatever_the_bytes_it_ends() {
        let jpeg = picture(16, 16, |x, y| (x * 31 ^ y * 17) as u8);
        let mut random = 0x5eed_u64;
        for _ in 0..20_000 {
            let mut bytes = jpeg.clone();
            for _ in 0..3 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let at = random as usize % bytes.len();
                bytes[at] = (random >> 40) as u8;
            }
            if let Some(grid) = grid(&bytes) {
                assert!(grid.cells.len() <= SIDE * SIDE);
            }
        }
    }
}
