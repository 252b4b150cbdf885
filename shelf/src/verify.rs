//! Verification: every page of every variable against its checksum.

use crate::error::{Damage, ReadError};
use crate::format::{PAGE, crc};
use crate::shelf::Shelf;

/// What [`Shelf::verify`] found.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Pages whose checksum was compared.
    pub pages: u64,
    pub bytes: u64,
    pub variables: usize,
    pub damages: Vec<Damage>,
}

impl Report {
    pub fn is_sound(&self) -> bool {
        self.damages.is_empty()
    }
}

impl Shelf {
    /// Compares every page of every committed variable with its checksum. `progress(done, total)` counts pages.
    pub fn verify(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<Report, ReadError> {
        let state = self.core.lock()?;
        let media = &self.core.media;
        let failed = |source| ReadError::Io {
            name: self.core.name.clone(),
            source,
        };
        let total = state
            .committed
            .values()
            .flat_map(|item| &item.buffers)
            .map(|b| u64::from(b.pages()))
            .sum();
        let mut report = Report {
            variables: state.committed.len(),
            ..Report::default()
        };
        const PART: u32 = 256;
        let mut bytes = vec![0u8; PART as usize * PAGE as usize];
        let mut sums = vec![0u8; PART as usize * 4];
        progress(0, total);
        for (name, item) in &state.committed {
            for segment in item.buffers.iter().flat_map(|b| b.segments.iter()) {
                for start in (0..segment.count).step_by(PART as usize) {
                    let count = PART.min(segment.count - start) as usize;
                    let first = segment.first + start;
                    let bytes = &mut bytes[..count * PAGE as usize];
                    let sums = &mut sums[..count * 4];
                    media.read_at(segment.extent.page_at(first), bytes).map_err(failed)?;
                    media.read_at(segment.extent.crc_at(first), sums).map_err(failed)?;
                    for (index, (page, sum)) in bytes.chunks(PAGE as usize).zip(sums.chunks(4)).enumerate() {
                        let at = segment.extent.page_at(first + index as u32);
                        // A newer image in the log was checked when it was read; the page under it may be old.
                        if !state.overlay.contains_key(&at) && crc(page).to_le_bytes() != *sum {
                            report.damages.push(Damage {
                                name: self.core.name.clone(),
                                offset: at,
                                what: "a page does not match its checksum".into(),
                                variable: Some(name.to_string()),
                            });
                        }
                    }
                    report.pages += count as u64;
                    report.bytes += count as u64 * PAGE;
                    progress(report.pages, total);
                }
            }
        }
        Ok(report)
    }
}
