//! How fast a disk takes what is written to it, tried once on a file that has no name.
//!
//! The file is made where it is asked for, and is gone with its descriptor. What is written looks random, so that a file
//! system that compresses has to write it too. A first flush is not counted: it makes the file.

use std::fs::OpenOptions;
use std::io::{Result, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

const PROBE_BYTES: usize = 4 << 20;

/// A trial under way, or its result.
pub struct Trial {
    /// As [`f64::to_bits`]; 0 until it is known, and for good where no such file can be written.
    bytes_per_second: Arc<AtomicU64>,
}

impl Trial {
    /// Begins to write in `folder`, on a thread of its own that ends with the trial.
    pub fn begin(folder: PathBuf) -> Trial {
        let bytes_per_second = Arc::new(AtomicU64::new(0));
        let result = bytes_per_second.clone();
        let work = move || {
            if let Ok(rate) = rate(&folder) {
                result.store(rate.to_bits(), Ordering::Relaxed);
            }
        };
        // Without a thread nothing is found out.
        let _ = std::thread::Builder::new().name("larder-disk".into()).spawn(work);
        Trial { bytes_per_second }
    }

    /// Bytes per second that are on the disk, copying included; `None` while that is not known.
    pub fn bytes_per_second(&self) -> Option<f64> {
        Some(f64::from_bits(self.bytes_per_second.load(Ordering::Relaxed))).filter(|rate| *rate > 0.0)
    }
}

fn rate(folder: &Path) -> Result<f64> {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600).custom_flags(libc::O_TMPFILE);
    let mut file = options.open(folder)?;
    let data = noise(PROBE_BYTES);
    file.write_all(&data[..4096])?;
    file.sync_data()?;
    let began = Instant::now();
    file.write_all(&data)?;
    file.sync_data()?;
    Ok(data.len() as f64 / began.elapsed().as_secs_f64().max(1e-6))
}

/// Bytes without a pattern (xorshift).
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut data = Vec::with_capacity(len);
    while data.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        data.extend_from_slice(&state.to_le_bytes());
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_says_a_rate_or_why_there_is_none_and_leaves_no_file() {
        let folder = std::env::temp_dir().join(format!("larder-disk-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        if let Ok(rate) = rate(&folder) {
            assert!(rate.is_finite() && rate > 0.0);
        }
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
        std::fs::remove_dir(&folder).unwrap();
        assert!(rate(&folder).is_err(), "no such folder");
    }

    #[test]
    fn noise_does_not_repeat() {
        let data = noise(1 << 16);
        let words: std::collections::HashSet<&[u8]> = data.chunks_exact(8).collect();
        assert_eq!(words.len(), data.len() / 8);
    }
}
