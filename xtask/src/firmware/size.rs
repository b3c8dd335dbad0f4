//! How much of its chip a firmware takes, and whether that is within its budget.

use super::elf::Elf;
use anyhow::{Result, bail};
use std::ops::Range;

/// A chip's memory, and how much of it a firmware may take.
pub(super) struct Memory {
    pub(super) flash: Range<u32>,
    pub(super) ram: Range<u32>,
    pub(super) flash_budget: u64,
    pub(super) ram_budget: u64,
}

/// What a firmware takes, bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Report {
    /// What is stored: code, constants, and the beginnings of variables.
    pub(super) flash: u64,
    /// What stands in RAM for as long as it runs, without the stack.
    pub(super) ram: u64,
    /// What is left for the stack.
    stack: u64,
    flash_budget: u64,
    ram_budget: u64,
}

pub(super) fn measure(elf: &Elf, memory: &Memory) -> Report {
    let flash =
        elf.stored.iter().filter(|(at, _)| memory.flash.contains(at)).map(|(_, d)| d.len() as u64).sum();
    let in_ram = elf.wanted.iter().filter(|(at, _)| memory.ram.contains(at));
    let ram = in_ram.map(|(_, size)| u64::from(*size)).sum();
    let stack = (u64::from(memory.ram.end - memory.ram.start)).saturating_sub(ram);
    let Memory { flash_budget, ram_budget, .. } = *memory;
    Report { flash, ram, stack, flash_budget, ram_budget }
}

impl Report {
    pub(super) fn text(&self, board: &str) -> String {
        format!(
            "{board}: flash {} of {} bytes, static RAM {} of {} bytes, {} bytes left for the stack",
            self.flash, self.flash_budget, self.ram, self.ram_budget, self.stack
        )
    }

    pub(super) fn json(&self, board: &str) -> String {
        format!(
            "{{\"board\":\"{board}\",\"flash\":{},\"ram\":{},\"stack\":{},\"flash_budget\":{},\"ram_budget\":{}}}",
            self.flash, self.ram, self.stack, self.flash_budget, self.ram_budget
        )
    }

    /// An error where it takes more than it may.
    pub(super) fn check(&self) -> Result<()> {
        for (what, takes, budget) in
            [("flash", self.flash, self.flash_budget), ("static RAM", self.ram, self.ram_budget)]
        {
            if takes > budget {
                bail!("The firmware takes {takes} bytes of {what}; its budget is {budget}");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_counts_as_flash_and_what_is_in_memory_as_ram() {
        let memory = Memory { flash: 0x100..0x200, ram: 0x1000..0x1100, flash_budget: 40, ram_budget: 20 };
        let stored = vec![(0x100, vec![0; 30]), (0x11e, vec![0; 8]), (0x9000, vec![0; 99])];
        let elf = Elf { stored, wanted: vec![(0x100, 30), (0x1000, 8), (0x1008, 10)] };
        let report = measure(&elf, &memory);
        assert_eq!((report.flash, report.ram, report.stack), (38, 18, 238));
        assert!(report.check().is_ok());
        let tight = measure(&elf, &Memory { ram_budget: 17, ..memory });
        assert!(tight.check().unwrap_err().to_string().contains("18 bytes of static RAM"));
    }
}
