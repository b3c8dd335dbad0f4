//! Follows the markers of a JPEG image (ITU-T T.81, annex B) through its bytes, to see where it ends and
//! that it is one. A camera's buffer is longer than the image in it, and what stands behind the image is
//! left from the one before, ends and all.

/// Where in an image the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// The two bytes of its beginning.
    Start(u8),
    /// Before a marker.
    Marker,
    /// Behind the `ff` of one.
    Code,
    /// In the length of a segment; the marker, and the first byte.
    Length(u8, Option<u8>),
    /// In a segment with so many bytes to come; whether compressed data follow.
    Segment { left: u16, scan: bool },
    /// In compressed data.
    Scan,
    /// Behind an `ff` in compressed data.
    ScanCode,
    /// Behind the end.
    End,
    /// This is no image.
    Broken,
}

/// How far an image is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It goes on.
    More,
    /// It ended: so many of the bytes given belong to it.
    Whole(usize),
    /// These bytes are no JPEG.
    Broken,
}

/// The state of following.
#[derive(Clone, Copy, Debug)]
pub struct Markers(At);

impl Default for Markers {
    fn default() -> Self {
        Self(At::Start(0xff))
    }
}

impl Markers {
    /// Follows more bytes.
    pub fn push(&mut self, bytes: &[u8]) -> Progress {
        for (i, byte) in bytes.iter().enumerate() {
            self.0 = next(self.0, *byte);
            match self.0 {
                At::End => return Progress::Whole(i + 1),
                At::Broken => return Progress::Broken,
                _ => {}
            }
        }
        Progress::More
    }
}

fn next(at: At, byte: u8) -> At {
    match (at, byte) {
        (At::Start(0xff), 0xff) => At::Start(0xd8),
        (At::Start(0xd8), 0xd8) | (At::Code, 0x01) => At::Marker,
        // Any number of `ff` may stand before a code.
        (At::Marker, 0xff) | (At::Code, 0xff) => At::Code,
        (At::Code | At::ScanCode, 0xd9) => At::End,
        (At::Code, 0x00 | 0xd0..=0xd8) => At::Broken,
        (At::Code, code) => At::Length(code, None),
        (At::Length(code, None), high) => At::Length(code, Some(high)),
        (At::Length(code, Some(high)), low) => segment(code, u16::from_be_bytes([high, low])),
        (At::Segment { left: 1, scan: true }, _) => At::Scan,
        (At::Segment { left: 1, scan: false }, _) => At::Marker,
        (At::Segment { left, scan }, _) => At::Segment { left: left - 1, scan },
        (At::Scan, 0xff) | (At::ScanCode, 0xff) => At::ScanCode,
        (At::Scan, _) | (At::ScanCode, 0x00 | 0xd0..=0xd7) => At::Scan,
        (At::ScanCode, 0xd8) => At::Broken,
        (At::ScanCode, code) => At::Length(code, None),
        _ => At::Broken,
    }
}

/// A segment's length counts its own two bytes.
fn segment(code: u8, length: u16) -> At {
    let scan = code == 0xda;
    match length {
        0 | 1 => At::Broken,
        2 if scan => At::Scan,
        2 => At::Marker,
        _ => At::Segment { left: length - 2, scan },
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A small image whose compressed data and comment hold what looks like an end.
    pub(crate) const IMAGE: [u8; 31] = [
        0xff, 0xd8, 0xff, 0xfe, 0, 6, 0xff, 0xd9, 0xff, 0xd9, // a comment that holds two ends
        0xff, 0xff, 0xda, 0, 4, 1, 2, 7, 8, 0xff, 0x00, 0xd9, 0xff, 0xd3, 9, 0xff, 0xff, 0x00, 5, 0xff, 0xd9,
    ];

    #[test]
    fn an_image_ends_at_its_own_end() {
        for cut in 1..IMAGE.len() {
            let (mut markers, mut seen) = (Markers::default(), 0);
            let whole = IMAGE.chunks(cut).find_map(|part| match markers.push(part) {
                Progress::More => {
                    seen += part.len();
                    None
                }
                Progress::Whole(n) => Some(seen + n),
                Progress::Broken => panic!("broken in {part:x?}"),
            });
            assert_eq!(whole, Some(IMAGE.len()), "cut in pieces of {cut}");
        }
        let longer = [&IMAGE[..], &[0xff, 0xd9, 0]].concat();
        assert_eq!(Markers::default().push(&longer), Progress::Whole(IMAGE.len()), "what follows is not it");
    }

    #[test]
    fn what_is_no_image_is_told() {
        for bytes in [
            &[0xff, 0xd9][..],
            &[0x00, 0xff, 0xd8],
            &[0xff, 0xd8, 0x00],
            &[0xff, 0xd8, 0xff, 0xe0, 0, 1],
            &[0xff, 0xd8, 0xff, 0xd8],
            &[0xff, 0xd8, 0xff, 0xda, 0, 2, 1, 0xff, 0xd8],
        ] {
            assert_eq!(Markers::default().push(bytes), Progress::Broken, "{bytes:x?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic_and_an_end_is_an_end(bytes in prop::collection::vec(
            prop_oneof![3 => prop::sample::select(vec![0xff, 0xd8, 0xd9, 0xda, 0, 2]), 1 => any::<u8>()], 0..300)) {
            let bytes = [&[0xff, 0xd8][..], &bytes].concat();
            if let Progress::Whole(n) = Markers::default().push(&bytes) {
                prop_assert_eq!(&bytes[n - 2..n], &[0xff, 0xd9]);
            }
        }
    }
}
