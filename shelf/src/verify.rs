//! Verification: every page of every variable against its checksum.

use crate::catalog::{Item, Segment, page_bytes};
use crate::core::State;
use crate::error::{Damage, OpenError, ReadError};
use crate::format::{PAGE, crc};
use crate::options::{Mode, OpenOptions};
use crate::shelf::Shelf;
use std::collections::HashSet;
use std::io;
use std::path::Path;

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
    /// Compares every page of every committed variable, and of the older ones that history keeps, with its checksum; for
    /// a writer also the catalog on the medium. `progress(done, total)` counts pages.
    pub fn verify(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<Report, ReadError> {
        let state = self.core.lock()?;
        let media = &self.core.media;
        let failed = |source| ReadError::Io {
            name: self.core.name.clone(),
            source,
        };
        let (mut seen, mut hit) = (HashSet::new(), HashSet::new());
        let mut places: Vec<(String, &Segment)> = Vec::new();
        let now = state.committed.iter().map(|(name, item)| (name.to_string(), item));
        let kept = state.history.iter().flat_map(|commit| &commit.undo);
        let then = kept.filter_map(|(name, item)| {
            let item = item.as_ref()?;
            Some((format!("{name} of commit {}", item.commit), item))
        });
        for (name, item) in now.chain(then) {
            for segment in item.buffers.iter().flat_map(|b| b.segments.iter()) {
                if seen.insert((segment.at(), segment.count)) {
                    places.push((name.clone(), segment));
                }
            }
        }
        let total = places.iter().map(|(_, segment)| u64::from(segment.count)).sum();
        let mut report = Report {
            variables: state.committed.len(),
            ..Report::default()
        };
        const PART: u32 = 256;
        let mut bytes = vec![0u8; PART as usize * PAGE as usize];
        let mut sums = vec![0u8; PART as usize * 4];
        progress(0, total);
        if !self.core.read_only {
            // A reader's may be written over by now.
            report.damages.extend(self.catalog_damage(&state).map_err(failed)?);
        }
        for (name, segment) in places {
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
                    let wrong = !state.overlay.contains_key(&at) && crc(page).to_le_bytes() != *sum;
                    if wrong && hit.insert(at) {
                        report.damages.push(Damage {
                            name: self.core.name.clone(),
                            offset: at,
                            what: "a page does not match its checksum".into(),
                            variable: Some(name.clone()),
                        });
                    }
                }
                report.pages += count as u64;
                report.bytes += count as u64 * PAGE;
                progress(report.pages, total);
            }
        }
        Ok(report)
    }

    /// What is wrong with the catalog on the medium: nothing needs it until the next open. (A spare superblock that does
    /// not check is no damage: a power loss tears it.)
    fn catalog_damage(&self, state: &State) -> io::Result<Option<Damage>> {
        let mut bytes = vec![0u8; state.root.snapshot_len as usize];
        self.core.media.read_at(state.root.snapshot_at, &mut bytes)?;
        Ok((crc(&bytes) != state.root.snapshot_crc).then(|| Damage {
            name: self.core.name.clone(),
            offset: state.root.snapshot_at,
            what: "the catalog does not match its checksum".into(),
            variable: None,
        }))
    }
}

/// What [`Shelf::salvage`] brought over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Salvage {
    /// The commit whose state was found.
    pub commit: u64,
    pub saved: Vec<String>,
    /// Names that are lost, and why.
    pub lost: Vec<(String, String)>,
}

impl Shelf {
    /// Copies every variable that is whole from a damaged shelf to a new one. The damaged file is only read.
    ///
    /// Takes the newest catalog that can be read, and the log up to its first damage.
    ///
    /// # Errors
    /// As [`Shelf::open`] if no catalog can be read; `Exists` if there is a file at `into`.
    pub fn salvage(path: &Path, into: &Path) -> Result<Salvage, OpenError> {
        let options = OpenOptions {
            mode: Mode::R,
            lenient: true,
            ..OpenOptions::default()
        };
        let damaged = Shelf::open(path, &options)?;
        let target = Shelf::open(
            into,
            &OpenOptions {
                mode: Mode::X,
                ..OpenOptions::default()
            },
        )?;
        let copied = damaged.copy_sound(&target).and_then(|result| {
            target.close().map_err(|error| error.to_string())?;
            Ok(result)
        });
        copied.map_err(|error| {
            // Half a copy must not be taken for one.
            let _ = std::fs::remove_file(into);
            OpenError::io(into, io::Error::other(error))
        })
    }

    fn copy_sound(&self, target: &Shelf) -> Result<Salvage, String> {
        let state = self.core.state.lock();
        let mut result = Salvage {
            commit: state.commit,
            ..Salvage::default()
        };
        for (name, item) in &state.committed {
            match self.read_sound(&state, item) {
                Ok(buffers) => {
                    let spans: Vec<&[u8]> = buffers.iter().map(Vec::as_slice).collect();
                    target
                        .put(name, &item.kind, &item.meta, &spans)
                        .map_err(|error| error.to_string())?;
                    result.saved.push(name.to_string());
                }
                Err(why) => result.lost.push((name.to_string(), why)),
            }
        }
        target.commit(Some("salvaged")).map_err(|error| error.to_string())?;
        Ok(result)
    }

    /// The buffers of an item, every page checked. Reads the file, not views: a cut file must not end the process.
    fn read_sound(&self, state: &State, item: &Item) -> Result<Vec<Vec<u8>>, String> {
        let media = &self.core.media;
        let mut page = [0u8; PAGE as usize];
        let mut buffers = Vec::with_capacity(item.buffers.len());
        for stored in &item.buffers {
            let mut bytes = Vec::new();
            for index in 0..stored.pages() {
                let (extent, at) = stored.locate(index).ok_or("its pages are not all there")?;
                let mut sum = [0u8; 4];
                let logged = state.overlay.get(&extent.page_at(at));
                let place = logged.map_or(extent.page_at(at), |logged| logged.image_at);
                match logged {
                    Some(logged) => self.core.read_logged(logged, &mut page),
                    None => media.read_at(place, &mut page),
                }
                .map_err(|error| format!("page at {place:#x}: {error}"))?;
                match logged {
                    Some(logged) => sum = logged.page.crc.to_le_bytes(),
                    None => media
                        .read_at(extent.crc_at(at), &mut sum)
                        .map_err(|error| error.to_string())?,
                }
                if crc(&page).to_le_bytes() != sum {
                    return Err(format!("the page at {place:#x} does not match its checksum"));
                }
                bytes.extend_from_slice(&page[..page_bytes(stored.len, index)]);
            }
            buffers.push(bytes);
        }
        Ok(buffers)
    }
}
