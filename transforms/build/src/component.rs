//! From the core module that a compiler wrote to the component that the agent loads.

use wit_component::ComponentEncoder;

/// The first bytes of a core module.
const MAGIC: &[u8; 8] = b"\0asm\x01\0\0\0";

/// Wraps a core module, which carries the description of its world, as a component.
pub fn componentise(module: &[u8]) -> Result<Vec<u8>, String> {
    let encode = || ComponentEncoder::default().validate(true).module(module)?.encode();
    encode().map_err(|e| match format!("{e:#}") {
        e if e.contains("wasi") => format!(
            "It asks for WASI, which a transform does not get: no files, clock, random numbers or standard \
             output. Take out what needs them ({e})"
        ),
        e => e,
    })
}

/// The module without names and debug information: what is shipped. Anything that is no module comes
/// back as it is.
pub fn strip(module: &[u8]) -> Vec<u8> {
    let mut stripped = MAGIC.to_vec();
    let mut rest = match module.strip_prefix(MAGIC) {
        Some(rest) => rest,
        None => return module.to_vec(),
    };
    while let Some((section, behind)) = section(rest) {
        let (whole, after) = rest.split_at(rest.len() - behind.len());
        if !(whole[0] == 0 && is_for_debugging(section)) {
            stripped.extend_from_slice(whole);
        }
        rest = after;
    }
    if rest.is_empty() { stripped } else { module.to_vec() }
}

/// The contents of the first section, and what is behind it.
fn section(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (size, rest) = number(bytes.get(1..)?)?;
    rest.split_at_checked(size)
}

fn is_for_debugging(custom: &[u8]) -> bool {
    let name = number(custom).and_then(|(len, rest)| rest.get(..len));
    name.is_some_and(|name| name == b"name" || name.starts_with(b".debug_"))
}

/// An unsigned LEB128 number of at most 32 bits, and what is behind it.
fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0usize;
    for (i, byte) in bytes.iter().take(5).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[i + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn custom(name: &str, contents: &[u8]) -> Vec<u8> {
        let size = 1 + name.len() + contents.len();
        [&[0, size as u8, name.len() as u8], name.as_bytes(), contents].concat()
    }

    #[test]
    fn names_and_debug_sections_go_and_everything_else_stays() {
        let types = [1, 1, 0];
        let kept =
            [MAGIC, &types[..], &custom("component-type:x", b"wit"), &custom("producers", b"p")].concat();
        let whole = [
            &MAGIC[..],
            &custom(".debug_info", &[7; 100]),
            &types,
            &custom("component-type:x", b"wit"),
            &custom("name", b"n"),
            &custom("producers", b"p"),
        ]
        .concat();
        assert_eq!(strip(&whole), kept);
    }

    #[test]
    fn what_is_no_module_or_is_cut_off_comes_back() {
        for bytes in [
            &b""[..],
            b"garbage",
            b"\0asm\x01\0\0\0\x01\x7f\x00",
            b"\0asm\x01\0\0\0\x01\xff\xff\xff\xff\xff\x01",
        ] {
            assert_eq!(strip(bytes), bytes);
        }
    }

    #[test]
    fn a_module_without_a_world_is_no_component() {
        assert!(componentise(b"garbage").is_err());
    }
}
