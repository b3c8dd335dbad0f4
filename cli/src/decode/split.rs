//! Cuts a stream of bytes into frames.
//!
//! A file is one frame, or any number of frames, each after its length in bytes as a little-endian
//! `u32`. Nothing marks which: a whole file that passes [`milepost_wire::frame::check`] is one frame;
//! otherwise, where its first four bytes are a length that a frame may have and the byte after them is
//! a version, it is a sequence. What is neither is reported as the damaged frame that it probably is.

use milepost_wire::frame::{self, MAX_FRAME};
use std::io::{self, Read};

/// A frame's bytes, or why there are none, with the offset in the file where it begins.
#[derive(Debug)]
pub(crate) struct Piece {
    pub offset: u64,
    pub frame: Result<Vec<u8>, Broken>,
}

/// Why a file cannot be cut further. What follows in that file is not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// The length before a frame is none that a frame may have.
    #[error(
        "The length before this frame is {0}, and a frame has 1 to {MAX_FRAME} bytes: nothing after it in this file can be read"
    )]
    Length(u32),
    /// The file ends inside a length or a frame.
    #[error("The file ends {missing} bytes too early for the frame that begins here")]
    Short {
        /// How many bytes more the frame would need.
        missing: usize,
    },
    /// The file is larger than a frame and is no sequence.
    #[error(
        "This is neither a frame (of at most {MAX_FRAME} bytes) nor a sequence of frames, each after its length as a \
         little-endian u32"
    )]
    Neither,
    /// The file cannot be read.
    #[error("It cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// Cuts `input` and hands each piece to `each`, for as long as it wants more. Holds at most one frame
/// and its length in memory.
pub(crate) fn split(mut input: impl Read, mut each: impl FnMut(Piece) -> bool) {
    let mut head = Vec::new();
    if let Err(e) = input.by_ref().take(MAX_FRAME as u64 + 4).read_to_end(&mut head) {
        each(Piece { offset: 0, frame: Err(e.into()) });
        return;
    }
    if !is_sequence(&head) {
        let frame = if head.len() > MAX_FRAME { Err(Broken::Neither) } else { Ok(head) };
        each(Piece { offset: 0, frame });
        return;
    }
    let mut input = head.as_slice().chain(input);
    let mut offset = 0;
    while let Some(frame) = next(&mut input).transpose() {
        let length = frame.as_ref().map(Vec::len);
        let end = length.is_err();
        let next = offset + 4 + length.unwrap_or_default() as u64;
        if !each(Piece { offset, frame }) || end {
            break;
        }
        offset = next;
    }
}

/// Whether the file that begins with `head` is a sequence.
fn is_sequence(head: &[u8]) -> bool {
    let [a, b, c, d, version, ..] = *head else { return false };
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    let versions = milepost_wire::version::FRAME_MIN..=milepost_wire::version::FRAME;
    (1..=MAX_FRAME).contains(&length) && versions.contains(&version) && frame::check(head).is_err()
}

/// The next frame of a sequence; `None` at its end.
fn next(input: &mut impl Read) -> Result<Option<Vec<u8>>, Broken> {
    let mut length = Vec::with_capacity(4);
    input.by_ref().take(4).read_to_end(&mut length)?;
    let length = match *length {
        [] => return Ok(None),
        [a, b, c, d] => u32::from_le_bytes([a, b, c, d]),
        _ => return Err(Broken::Short { missing: 4 - length.len() }),
    };
    if length == 0 || length as usize > MAX_FRAME {
        return Err(Broken::Length(length));
    }
    let mut frame = Vec::new();
    input.by_ref().take(u64::from(length)).read_to_end(&mut frame)?;
    match length as usize - frame.len() {
        0 => Ok(Some(frame)),
        missing => Err(Broken::Short { missing }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::tests::frame_of;

    fn pieces(bytes: &[u8]) -> Vec<(u64, Result<Vec<u8>, String>)> {
        let mut all = Vec::new();
        split(bytes, |p| {
            all.push((p.offset, p.frame.map_err(|e| e.to_string())));
            true
        });
        all
    }

    fn sequence(frames: &[Vec<u8>]) -> Vec<u8> {
        let prefixed = |f: &Vec<u8>| [&(f.len() as u32).to_le_bytes()[..], f].concat();
        frames.iter().flat_map(prefixed).collect()
    }

    #[test]
    fn a_file_may_be_one_frame() {
        let frame = frame_of(0, 3);
        assert_eq!(pieces(&frame), [(0, Ok(frame.clone()))]);
    }

    #[test]
    fn a_file_may_be_frames_after_their_lengths() {
        let frames = [frame_of(0, 3), frame_of(3, 40), frame_of(43, 1)];
        let found = pieces(&sequence(&frames));
        assert_eq!(found.len(), 3);
        let mut offset = 0;
        for (frame, (at, got)) in frames.iter().zip(found) {
            assert_eq!((at, got.as_ref()), (offset, Ok(frame)));
            offset += 4 + frame.len() as u64;
        }
    }

    #[test]
    fn nothing_is_read_that_nobody_wants_any_more() {
        struct Endless(Vec<u8>, usize);
        impl Read for Endless {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                for (i, byte) in buffer.iter_mut().enumerate() {
                    *byte = self.0[(self.1 + i) % self.0.len()];
                }
                self.1 += buffer.len();
                Ok(buffer.len())
            }
        }
        let file = Endless(sequence(&[frame_of(0, 3)]), 0);
        let mut seen = 0;
        split(file, |_| {
            seen += 1;
            seen < 3
        });
        assert_eq!(seen, 3);
    }

    #[test]
    fn a_torn_sequence_says_where_and_how_much_is_missing() {
        let whole = sequence(&[frame_of(0, 3), frame_of(3, 40)]);
        let second = 4 + frame_of(0, 3).len() as u64;
        for cut in [1, 2, 10] {
            let found = pieces(&whole[..whole.len() - cut]);
            assert_eq!(found.len(), 2);
            assert_eq!(found[1].0, second);
            assert!(
                found[1].1.as_ref().unwrap_err().contains(&format!("ends {cut} bytes too early")),
                "{found:?}"
            );
        }
        let in_length = pieces(&whole[..second as usize + 3]);
        assert!(in_length[1].1.as_ref().unwrap_err().contains("ends 1 bytes too early"));
    }

    #[test]
    fn an_impossible_length_ends_the_file_with_its_value() {
        for length in [0, MAX_FRAME as u32 + 1, u32::MAX] {
            let bytes = [sequence(&[frame_of(0, 3)]), length.to_le_bytes().to_vec(), vec![1; 100]].concat();
            let found = pieces(&bytes);
            assert_eq!(found.len(), 2, "{length}");
            assert!(found[1].1.as_ref().unwrap_err().contains(&length.to_string()));
        }
    }

    #[test]
    fn what_is_larger_than_a_frame_and_no_sequence_is_refused() {
        let found = pieces(&vec![0xff; MAX_FRAME + 100]);
        assert!(found[0].1.as_ref().unwrap_err().contains("neither a frame"));
    }

    #[test]
    fn an_empty_file_is_one_empty_frame_for_the_decoder_to_refuse() {
        assert_eq!(pieces(b""), [(0, Ok(Vec::new()))]);
    }
}
