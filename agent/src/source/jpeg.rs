//! Whether bytes are a whole JPEG image, and how large it is: the markers only, no decoding.

/// What a look at an image says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// A whole image of this width and height, pixels.
    Whole(u16, u16),
    /// It begins like one, but its end or its size is not there yet.
    Partial,
    /// It is no JPEG image.
    Other,
}

const START: [u8; 2] = [0xff, 0xd8];
const END: [u8; 2] = [0xff, 0xd9];

/// Looks at an image.
pub(super) fn look(bytes: &[u8]) -> Look {
    match bytes.strip_prefix(&START) {
        None if START.starts_with(bytes) => return Look::Partial,
        None => return Look::Other,
        Some(_) => {}
    }
    // Some cameras fill their files up with zeros.
    let filled = bytes.iter().rev().take_while(|b| **b == 0).count();
    let ends = bytes[..bytes.len() - filled].ends_with(&END);
    match size(&bytes[2..]) {
        Ok(Some((width, height))) if ends => Look::Whole(width, height),
        Ok(_) => Look::Partial,
        Err(NotJpeg) => Look::Other,
    }
}

struct NotJpeg;

/// Width and height from the frame header; `None` where the bytes end before it.
fn size(mut bytes: &[u8]) -> Result<Option<(u16, u16)>, NotJpeg> {
    loop {
        let (marker, rest) = match bytes {
            [0xff, 0xff, ..] => {
                bytes = &bytes[1..];
                continue;
            }
            [0xff, marker, rest @ ..] => (*marker, rest),
            [] | [0xff] => return Ok(None),
            _ => return Err(NotJpeg),
        };
        // Markers that stand alone.
        if matches!(marker, 0x01 | 0xd0..=0xd7) {
            bytes = rest;
            continue;
        }
        let &[high, low, ..] = rest else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length < 2 {
            return Err(NotJpeg);
        }
        let is_frame = matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc);
        if is_frame {
            return Ok(match rest.get(3..7) {
                Some(&[a, b, c, d]) => Some((u16::from_be_bytes([c, d]), u16::from_be_bytes([a, b]))),
                _ => None,
            });
        }
        // The picture's data, or its end, before its size.
        if matches!(marker, 0xda | 0xd9) {
            return Err(NotJpeg);
        }
        let Some(behind) = rest.get(length..) else { return Ok(None) };
        bytes = behind;
    }
}

/// For tests: the markers of a JPEG image of a size, with as many bytes of data.
#[cfg(test)]
pub(super) fn markers(width: u16, height: u16, data: usize) -> Vec<u8> {
    let ([a, b], [c, d]) = (height.to_be_bytes(), width.to_be_bytes());
    let mut bytes =
        vec![0xff, 0xd8, 0xff, 0xe0, 0, 4, b'x', b'y', 0xff, 0xff, 0xc0, 0, 11, 8, a, b, c, d, 1, 1, 0x11, 0];
    bytes.extend([0xff, 0xda, 0, 2]);
    bytes.resize(bytes.len() + data, 0x55);
    bytes.extend(END);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_image_says_its_size_and_every_beginning_of_it_is_partial() {
        let image = markers(640, 480, 10);
        assert_eq!(look(&image), Look::Whole(640, 480));
        assert_eq!(look(&[&image[..], &[0; 9]].concat()), Look::Whole(640, 480));
        for end in 0..image.len() {
            assert_eq!(look(&image[..end]), Look::Partial, "cut at {end}");
        }
    }

    #[test]
    fn what_is_no_image_is_told_apart() {
        for other in [
            &b"PNG"[..],
            b"\xff\xd8\x00\x00",
            b"\xff\xd8\xff\xd9\x00\x02",
            b"\xff\xd8\xff\xe0\x00\x01\xff\xd9",
        ] {
            assert_eq!(look(other), Look::Other, "{other:?}");
        }
    }
}
