//! What a firmware's ELF says about memory: which bytes go where, and which addresses it wants.

use anyhow::{Context, Result, anyhow};
use object::elf::{PT_LOAD, SHF_ALLOC};
use object::read::elf::{ElfFile32, ProgramHeader as _};
use object::{Endianness, Object as _, ObjectSection as _, SectionFlags};
use std::path::Path;

/// A firmware.
pub(super) struct Elf {
    /// What is stored, by its physical address.
    pub(super) stored: Vec<(u32, Vec<u8>)>,
    /// Address and size of every section that takes memory at run time.
    pub(super) wanted: Vec<(u32, u32)>,
}

impl Elf {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).with_context(|| format!("Cannot read {}", path.display()))?;
        Self::parse(&bytes).with_context(|| format!("{} is no firmware", path.display()))
    }

    fn parse(bytes: &[u8]) -> Result<Self> {
        let file = ElfFile32::<Endianness>::parse(bytes).map_err(|e| anyhow!("{e}"))?;
        let mut stored = Vec::new();
        for header in file.elf_program_headers() {
            if header.p_type(file.endian()) == PT_LOAD {
                let data =
                    header.data(file.endian(), bytes).ok().context("A segment lies outside of the file")?;
                stored.push((header.p_paddr(file.endian()), data.to_vec()));
            }
        }
        stored.retain(|(_, data)| !data.is_empty());
        let takes_memory =
            |flags| matches!(flags, SectionFlags::Elf { sh_flags } if sh_flags & u64::from(SHF_ALLOC) != 0);
        let sections = file.sections().filter(|s| takes_memory(s.flags()));
        let wanted = sections.map(|s| (s.address() as u32, s.size() as u32)).collect();
        Ok(Self { stored, wanted })
    }
}
