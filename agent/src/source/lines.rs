//! Cuts a stream of bytes into lines of a bounded length. A longer line is passed over and counted.

/// The longest line: the largest image that a frame carries, as base64, fits.
pub(super) const MAX_LINE: usize = 8 << 20;

/// The state of cutting.
#[derive(Debug)]
pub(super) struct Lines {
    max: usize,
    line: Vec<u8>,
    /// The rest of the current line is passed over.
    skipping: bool,
    too_long: u64,
}

impl Lines {
    pub(super) fn new(max: usize) -> Self {
        Self { max, line: Vec::new(), skipping: false, too_long: 0 }
    }

    /// Takes bytes and gives each line that they complete, without its end and never empty.
    pub(super) fn push(&mut self, mut bytes: &[u8], mut out: impl FnMut(&[u8])) {
        while let Some(end) = bytes.iter().position(|b| *b == b'\n') {
            self.extend(&bytes[..end]);
            bytes = &bytes[end + 1..];
            self.finish(&mut out);
        }
        self.extend(bytes);
    }

    /// The stream has ended: a last line without its end counts.
    pub(super) fn end(&mut self, mut out: impl FnMut(&[u8])) {
        self.finish(&mut out);
    }

    /// Lines that were too long since the last time this was asked.
    pub(super) fn take_too_long(&mut self) -> u64 {
        std::mem::take(&mut self.too_long)
    }

    fn extend(&mut self, bytes: &[u8]) {
        if self.skipping {
            return;
        }
        if self.line.len() + bytes.len() > self.max {
            self.skipping = true;
            self.too_long += 1;
            self.line = Vec::new();
            return;
        }
        self.line.extend_from_slice(bytes);
    }

    fn finish(&mut self, out: &mut impl FnMut(&[u8])) {
        let line = self.line.trim_ascii();
        if !self.skipping && !line.is_empty() {
            out(line);
        }
        self.skipping = false;
        self.line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_out_however_the_bytes_are_cut() {
        let text = b"one\r\n\n two\nlonger than ten\nthree";
        for cut in 1..text.len() {
            let (mut lines, mut found) = (Lines::new(10), Vec::new());
            let mut out = |line: &[u8]| found.push(String::from_utf8(line.to_vec()).unwrap());
            text.chunks(cut).for_each(|piece| lines.push(piece, &mut out));
            lines.end(&mut out);
            assert_eq!(found, ["one", "two", "three"], "cut at {cut}");
            assert_eq!(lines.take_too_long(), 1);
        }
    }
}
