//! A small baseline JPEG encoder (ITU-T T.81, sequential DCT, Huffman): colour, 4:2:0, the tables of
//! the standard's annex K. Made for the simulated camera's pictures; no option but the quality.

/// A picture in YCbCr with all three planes at full size.
pub(super) struct Picture {
    pub(super) width: usize,
    pub(super) height: usize,
    /// Y, Cb, Cr of each pixel, row by row.
    pub(super) pixels: Vec<[u8; 3]>,
}

const ZIGZAG: [usize; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7,
    14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39,
    46, 53, 60, 61, 54, 47, 55, 62, 63,
];
/// Annex K.1, row by row.
const LUMINANCE: [u16; 64] = [
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17,
    22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78,
    87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
];
/// Annex K.2: its upper left corner; all other entries are 99.
const CHROMINANCE: [u16; 16] = [17, 18, 24, 47, 18, 21, 26, 66, 24, 26, 56, 99, 47, 66, 99, 99];

/// A Huffman table as JPEG writes it: how many codes of each length from 1 to 16, and their symbols.
struct Codes {
    counts: [u8; 16],
    symbols: &'static [u8],
}

const DC: Codes = Codes {
    counts: [0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0],
    symbols: &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
};
/// Annex K.5, used for both kinds of planes: a byte or two larger than with K.6, and one table less.
const AC: Codes = Codes {
    counts: [0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 125],
    symbols: &[
        0x01, 0x02, 0x03, 0x00, 0x04, 0x11, 0x05, 0x12, 0x21, 0x31, 0x41, 0x06, 0x13, 0x51, 0x61, 0x07, 0x22,
        0x71, 0x14, 0x32, 0x81, 0x91, 0xa1, 0x08, 0x23, 0x42, 0xb1, 0xc1, 0x15, 0x52, 0xd1, 0xf0, 0x24, 0x33,
        0x62, 0x72, 0x82, 0x09, 0x0a, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2a, 0x34,
        0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4a, 0x53, 0x54, 0x55,
        0x56, 0x57, 0x58, 0x59, 0x5a, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x73, 0x74, 0x75, 0x76,
        0x77, 0x78, 0x79, 0x7a, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x92, 0x93, 0x94, 0x95, 0x96,
        0x97, 0x98, 0x99, 0x9a, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xb2, 0xb3, 0xb4, 0xb5,
        0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xd2, 0xd3, 0xd4,
        0xd5, 0xd6, 0xd7, 0xd8, 0xd9, 0xda, 0xe1, 0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xf1,
        0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa,
    ],
};

impl Codes {
    /// Code and length of each symbol (annex C).
    fn table(&self) -> [(u16, u8); 256] {
        let mut table = [(0, 0); 256];
        let (mut code, mut symbols) = (0u16, self.symbols.iter());
        for (length, count) in (1..).zip(self.counts) {
            for symbol in symbols.by_ref().take(count.into()) {
                table[usize::from(*symbol)] = (code, length);
                code += 1;
            }
            code <<= 1;
        }
        table
    }
}

/// Bits of the scan, with a zero byte stuffed behind each 0xff.
struct Bits {
    out: Vec<u8>,
    held: u32,
    count: u8,
}

impl Bits {
    fn put(&mut self, code: u16, length: u8) {
        self.held = self.held << length | u32::from(code);
        self.count += length;
        while self.count >= 8 {
            self.count -= 8;
            let byte = (self.held >> self.count) as u8;
            self.out.push(byte);
            if byte == 0xff {
                self.out.push(0);
            }
        }
        self.held &= (1 << self.count) - 1;
    }
}

/// Encodes a picture whose sides are multiples of 16; `quality` is 1 to 100 as libjpeg counts it.
pub(super) fn encode(picture: &Picture, quality: u16) -> Vec<u8> {
    let tables = [scaled(|i| LUMINANCE[i], quality), scaled(chrominance, quality)];
    let mut out = vec![0xff, 0xd8];
    for (id, table) in (0u8..).zip(&tables) {
        let values = ZIGZAG.iter().map(|&i| table[i] as u8);
        segment(&mut out, 0xdb, &std::iter::once(id).chain(values).collect::<Vec<_>>());
    }
    let [h1, h0] = (picture.height as u16).to_be_bytes();
    let [w1, w0] = (picture.width as u16).to_be_bytes();
    segment(&mut out, 0xc0, &[8, h1, h0, w1, w0, 3, 1, 0x22, 0, 2, 0x11, 1, 3, 0x11, 1]);
    for (class, codes) in [(0x00, &DC), (0x10, &AC)] {
        segment(&mut out, 0xc4, &[&[class], &codes.counts[..], codes.symbols].concat());
    }
    segment(&mut out, 0xda, &[3, 1, 0, 2, 0, 3, 0, 0, 63, 0]);
    let mut bits = Bits { out, held: 0, count: 0 };
    let (dc, ac) = (DC.table(), AC.table());
    let mut before = [0; 3];
    for top in (0..picture.height).step_by(16) {
        for left in (0..picture.width).step_by(16) {
            for (plane, x, y, step) in
                [(0, 0, 0, 1), (0, 8, 0, 1), (0, 0, 8, 1), (0, 8, 8, 1), (1, 0, 0, 2), (2, 0, 0, 2)]
            {
                let samples = block(picture, plane, left + x, top + y, step);
                let values = quantise(&transform(&samples), &tables[plane.min(1)]);
                before[plane] = write(&mut bits, &values, before[plane], &dc, &ac);
            }
        }
    }
    bits.put(0x7f, 7);
    bits.out.extend([0xff, 0xd9]);
    bits.out
}

fn segment(out: &mut Vec<u8>, marker: u8, body: &[u8]) {
    out.extend([0xff, marker]);
    out.extend((body.len() as u16 + 2).to_be_bytes());
    out.extend(body);
}

fn chrominance(i: usize) -> u16 {
    let (row, column) = (i / 8, i % 8);
    if row < 4 && column < 4 { CHROMINANCE[row * 4 + column] } else { 99 }
}

fn scaled(base: impl Fn(usize) -> u16, quality: u16) -> [u16; 64] {
    let quality = u32::from(quality.clamp(1, 100));
    let scale = if quality < 50 { 5000 / quality } else { 200 - 2 * quality };
    std::array::from_fn(|i| ((u32::from(base(i)) * scale + 50) / 100).clamp(1, 255) as u16)
}

/// 8 × 8 samples of a plane, each the mean of `step` × `step` pixels, about 0.
fn block(picture: &Picture, plane: usize, left: usize, top: usize, step: usize) -> [f64; 64] {
    std::array::from_fn(|i| {
        let (x, y) = (left + i % 8 * step, top + i / 8 * step);
        let sum: u32 = (0..step * step)
            .map(|k| u32::from(picture.pixels[(y + k / step) * picture.width + x + k % step][plane]))
            .sum();
        f64::from(sum) / (step * step) as f64 - 128.0
    })
}

/// The two-dimensional DCT (A.3.3).
fn transform(samples: &[f64; 64]) -> [f64; 64] {
    // cos(kπ/16) for k = 0..8, so that no platform's library rounds them otherwise.
    const COS: [f64; 9] = [
        1.0,
        0.980_785_280_403_230_4,
        0.923_879_532_511_286_7,
        0.831_469_612_302_545_2,
        std::f64::consts::FRAC_1_SQRT_2,
        0.555_570_233_019_602_2,
        0.382_683_432_365_089_8,
        0.195_090_322_016_128_28,
        0.0,
    ];
    let cosine = |x: usize, u: usize| match (2 * x + 1) * u % 32 {
        k @ 0..=8 => COS[k],
        k @ 9..=16 => -COS[16 - k],
        k @ 17..=24 => -COS[k - 16],
        k => COS[32 - k],
    };
    let once = |input: &[f64; 64]| -> [f64; 64] {
        // Transforms each row and transposes, so that doing it twice does both.
        std::array::from_fn(|i| {
            let (u, row) = (i / 8, i % 8);
            let factor = if u == 0 { COS[4] } else { 1.0 };
            (0..8).map(|x| input[row * 8 + x] * cosine(x, u)).sum::<f64>() * factor / 2.0
        })
    };
    once(&once(samples))
}

fn quantise(coefficients: &[f64; 64], table: &[u16; 64]) -> [i32; 64] {
    std::array::from_fn(|i| (coefficients[ZIGZAG[i]] / f64::from(table[ZIGZAG[i]])).round() as i32)
}

/// Writes a block's values, which are in zigzag order; returns its DC for the next.
fn write(
    bits: &mut Bits,
    values: &[i32; 64],
    before: i32,
    dc: &[(u16, u8); 256],
    ac: &[(u16, u8); 256],
) -> i32 {
    let mut number = |table: &[(u16, u8); 256], run: u8, value: i32| {
        let size = (32 - value.unsigned_abs().leading_zeros()) as u8;
        let (code, length) = table[usize::from(run << 4 | size)];
        bits.put(code, length);
        let low = if value < 0 { value - 1 } else { value };
        bits.put((low & ((1 << size) - 1)) as u16, size);
    };
    number(dc, 0, values[0] - before);
    let mut run = 0;
    let last = values.iter().rposition(|v| *v != 0).unwrap_or(0);
    for &value in &values[1..=last.max(1)] {
        if value == 0 {
            run += 1;
            continue;
        }
        while run > 15 {
            number(ac, 15, 0);
            run -= 16;
        }
        number(ac, run, value);
        run = 0;
    }
    if last < 63 {
        number(ac, 0, 0);
    }
    values[0]
}
