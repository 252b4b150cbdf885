//! Creating and opening: from the bytes of a file to a shelf at its last commit.
//!
//! Opening writes nothing. It flushes the file (a record seen only in the page cache must not be shown and then lost),
//! takes the valid superblock with the higher generation, reads its snapshot, and replays the log in memory; page
//! images stay in the log until the next checkpoint and are laid over views as they are mapped.
//!
//! Invariants
//!
//! - What one open showed, every later open shows, until a commit changes it.
//! - A damaged byte is an error that names its place, or (in the last, torn record) a commit that was never acknowledged.

use crate::catalog::{Names, Op, decode_ops, decode_snapshot};
use crate::commit::{Log, next_salt, now_ns, remember, zero_fill};
use crate::core::{Core, Logged, State};
use crate::error::{Damage, OpenError};
use crate::format::{
    HEAP_START, PAGE, PAGE_REF, PageRef, RECORD_HEADER, Reader, RecordHeader, Slot, Superblock, crc, pages,
};
use crate::media::Media;
use crate::media::dax::DaxMedia;
use crate::media::file::FileMedia;
use crate::options::{MediumChoice, Mode, OpenOptions};
use crate::shelf::Shelf;
use crate::space::Space;
use crate::tracker::{Tracker, TrackerKind};
use crate::view::Arena;
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, VecDeque};
use std::fs::{File, OpenOptions as FileOptions};
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// How far past the end of the log to look for records that prove a damaged one in between, in bytes.
const LOOK_AHEAD: u64 = 1 << 20;

impl Shelf {
    /// Opens or creates the shelf at `path`.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing is written to an existing file in any case.
    pub fn open(path: &Path, options: &OpenOptions) -> Result<Shelf, OpenError> {
        if options.medium == MediumChoice::Dram {
            let media = Arc::new(FileMedia::dram().map_err(|error| OpenError::io(path, error))?);
            return start(media, path, None, options, true);
        }
        loop {
            let file = FileOptions::new().read(true).write(options.mode != Mode::R).open(path);
            let file = match (file, options.mode) {
                (Ok(_), Mode::X) => {
                    return Err(OpenError::Exists {
                        path: path.display().to_string(),
                    });
                }
                (Ok(file), _) => file,
                (Err(error), Mode::R | Mode::RPlus) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(OpenError::NotFound {
                        path: path.display().to_string(),
                    });
                }
                (Err(error), _) if error.kind() == io::ErrorKind::NotFound => match create(path, options)? {
                    Some(shelf) => return Ok(shelf),
                    None => continue, // somebody else was faster
                },
                (Err(error), _) => return Err(OpenError::io(path, error)),
            };
            let metadata = file.metadata().map_err(|error| OpenError::io(path, error))?;
            if metadata.is_dir() {
                return Err(OpenError::NotAShelf {
                    path: path.display().to_string(),
                    what: "a directory".into(),
                });
            }
            if options.mode == Mode::R {
                return start(medium_for(file, path, options)?, path, Some(path), options, false);
            }
            if let Err(pid) = FileMedia::lock_writer(&file).map_err(|error| OpenError::io(path, error))? {
                return Err(OpenError::Busy {
                    name: shelf_name(path),
                    pid,
                });
            }
            // Between open and lock the file may have been replaced.
            if std::fs::metadata(path).map(|now| (now.ino(), now.dev())).ok() != Some((metadata.ino(), metadata.dev()))
            {
                continue;
            }
            if options.mode == Mode::W || metadata.len() == 0 && options.mode == Mode::A {
                return replace(path, options);
            }
            return start(medium_for(file, path, options)?, path, Some(path), options, false);
        }
    }

    /// Opens a shelf on any medium (an empty one is formatted first): the crash suite's way in.
    #[doc(hidden)]
    pub fn open_media(media: Arc<dyn Media>, options: &OpenOptions) -> Result<Shelf, OpenError> {
        let path = Path::new("simulated");
        let empty = media.len().map_err(|error| OpenError::io(path, error))? == 0;
        start(media, path, None, options, empty)
    }
}

/// The medium asked for; with `Auto`, DAX where the file system can.
fn medium_for(file: File, path: &Path, options: &OpenOptions) -> Result<Arc<dyn Media>, OpenError> {
    if options.mode == Mode::R || matches!(options.medium, MediumChoice::File | MediumChoice::Dram) {
        return Ok(Arc::new(FileMedia::new(file)));
    }
    match DaxMedia::try_new(file) {
        Ok(media) => Ok(Arc::new(media)),
        Err((_, source)) if options.medium == MediumChoice::Dax => Err(OpenError::NoDax {
            path: path.display().to_string(),
            source,
        }),
        Err((file, _)) => Ok(Arc::new(FileMedia::new(file))),
    }
}

/// Creates the file beside its place and moves it there whole; `None` if something was there by then.
fn create(path: &Path, options: &OpenOptions) -> Result<Option<Shelf>, OpenError> {
    let failed = |error| OpenError::io(path, error);
    let (temporary, shelf) = prepare(path, options)?;
    // A hard link refuses to replace, unlike a rename.
    let linked = std::fs::hard_link(&temporary, path);
    let _ = std::fs::remove_file(&temporary);
    match linked {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
        Err(error) => return Err(failed(error)),
    }
    sync_directory(path).map_err(failed)?;
    Ok(Some(shelf))
}

fn replace(path: &Path, options: &OpenOptions) -> Result<Shelf, OpenError> {
    let (temporary, shelf) = prepare(path, options)?;
    std::fs::rename(&temporary, path).map_err(|error| {
        let _ = std::fs::remove_file(&temporary);
        OpenError::io(path, error)
    })?;
    sync_directory(path).map_err(|error| OpenError::io(path, error))?;
    Ok(shelf)
}

fn prepare(path: &Path, options: &OpenOptions) -> Result<(std::path::PathBuf, Shelf), OpenError> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let failed = |error| OpenError::io(path, error);
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(
        ".{}-{}.new",
        std::process::id(),
        COUNTER.fetch_add(1, Ordering::Relaxed)
    ));
    let temporary = path.with_file_name(name);
    let file = FileOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(failed)?;
    let made = FileMedia::lock_writer(&file)
        .map_err(failed)
        .and_then(|_| file.set_len(PAGE).map_err(failed)) // something to map, so that DAX can be tried
        .and_then(|()| medium_for(file, path, options))
        .and_then(|media| start(media, path, Some(path), options, true));
    match made {
        Ok(shelf) => Ok((temporary, shelf)),
        Err(error) => {
            let _ = std::fs::remove_file(&temporary);
            Err(error)
        }
    }
}

pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

pub(crate) fn shelf_name(path: &Path) -> String {
    path.file_stem()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}

fn start(
    media: Arc<dyn Media>,
    path: &Path,
    place: Option<&Path>,
    options: &OpenOptions,
    format: bool,
) -> Result<Shelf, OpenError> {
    let arena = Arena::new();
    let space = Space::new(options.faults.reuse_before_checkpoint);
    let forced = options.tracker.or_else(|| {
        let name = std::env::var("LARDER_TRACKER").ok()?;
        TrackerKind::parse(&name)
    });
    let read_only = options.mode == Mode::R;
    let mut core = Core {
        name: shelf_name(path),
        path: place.map(Path::to_path_buf),
        writer: AtomicU32::new(std::process::id()),
        opener: std::process::id(),
        pin: None,
        tracker: Tracker::Hash,
        media,
        arena,
        space,
        faults: options.faults,
        tuning: options.tuning,
        memory_max: options
            .memory_max
            .or_else(|| std::env::var("LARDER_MEMORY_MAX").ok()?.parse().ok()),
        read_only,
        state: Mutex::new(State::blank()),
        filling: RwLock::new(()),
        written: AtomicU64::new(0),
        syncs: AtomicU64::new(0),
        views: Mutex::default(),
    };
    if format {
        format_media(&core, options.log_bytes).map_err(|error| OpenError::io(path, error))?;
        // What was just allocated is found again by loading.
        core.space = Space::new(options.faults.reuse_before_checkpoint);
    }
    if read_only {
        core.media.begin_read().map_err(|error| OpenError::io(path, error))?;
    }
    let state = load(&core, path, options.lenient, None).or_else(|error| match error {
        OpenError::Corrupt(_) if options.lenient => {
            // What an attempt claimed must not stand in the way of the next.
            core.space = Space::new(false);
            load(&core, path, true, Some(error))
        }
        _ => Err(error),
    })?;
    if read_only {
        core.media
            .end_read(state.commit)
            .map_err(|error| OpenError::io(path, error))?;
    }
    if !read_only {
        core.tracker = Tracker::choose(forced, &*core.media, &core.arena);
    }
    *core.state.get_mut() = state;
    let shelf = Shelf { core: Arc::new(core) };
    if let Some(history) = options.history
        && !read_only
    {
        shelf.set_history(history).map_err(|error| OpenError::Io {
            path: path.display().to_string(),
            source: io::Error::other(error.to_string()),
        })?;
    }
    Ok(shelf)
}

/// Writes an empty shelf: log, snapshot, then the first superblock.
fn format_media(core: &Core, log_bytes: u64) -> io::Result<()> {
    let log = core.allocate(pages(log_bytes.max(PAGE)) as u32, true, false)?;
    zero_fill(core, &log)?;
    let bytes = crate::catalog::encode_snapshot(&Names::new(), &VecDeque::new(), 0);
    let snapshot = core.allocate(pages(bytes.len() as u64) as u32, true, false)?;
    core.write(snapshot.at, &bytes)?;
    core.write(PAGE, &[0u8; PAGE as usize])?;
    core.sync()?;
    core.media.set_len(core.space.end())?;
    let (mut id, mut seed) = ([0u8; 16], 0x6c61_7264_6572);
    if core.media.medium() != crate::media::Medium::Simulated {
        let random = std::collections::hash_map::RandomState::new();
        for (index, part) in id.chunks_mut(8).enumerate() {
            let mut hasher = random.build_hasher();
            hasher.write_u64(now_ns() as u64 + index as u64);
            seed = hasher.finish();
            part.copy_from_slice(&seed.to_le_bytes());
        }
    }
    let root = Superblock {
        generation: 1,
        salt: next_salt(seed, 1),
        log_at: log.at,
        log_len: log.bytes(),
        snapshot_at: snapshot.at,
        snapshot_len: bytes.len() as u64,
        snapshot_crc: crc(&bytes),
        commit: 0,
        file_len: core.space.end(),
        id,
    };
    core.write(0, &root.encode())?;
    core.sync()
}

/// Reads superblock, catalog and log. `again` is why a lenient first try failed: the other superblock is taken then.
fn load(core: &Core, path: &Path, lenient: bool, again: Option<OpenError>) -> Result<State, OpenError> {
    let failed = |error| OpenError::io(path, error);
    let damage = |offset: u64, what: String, variable: Option<String>| {
        OpenError::Corrupt(Damage {
            name: core.name.clone(),
            offset,
            what,
            variable,
        })
    };
    let len = core.media.len().map_err(failed)?;
    if len < HEAP_START {
        return Err(OpenError::NotAShelf {
            path: path.display().to_string(),
            what: format!("it has {len} bytes"),
        });
    }
    // Beside a writer, records appear while they are read: a reader flushes what it is about to show, at the end.
    if !core.faults.no_log_sync_before_replay && !core.read_only {
        core.sync().map_err(failed)?;
    }
    let (root, slot, other_bad) = choose_root(core, path, again)?;
    let space = &core.space;
    let mut bytes = vec![0u8; root.snapshot_len.min(len) as usize];
    let inside = |at: u64, size: u64| at >= HEAP_START && at.checked_add(size).is_some_and(|end| end <= len);
    if !inside(root.log_at, root.log_len) || root.log_len == 0 || root.log_len % PAGE != 0 {
        return Err(damage(
            len,
            format!(
                "the file is cut: its log ends at {:#x}",
                root.log_at.saturating_add(root.log_len)
            ),
            None,
        ));
    }
    if !inside(root.snapshot_at, root.snapshot_len) {
        let end = root.snapshot_at.saturating_add(root.snapshot_len);
        return Err(damage(
            len,
            format!("the file is cut: its catalog ends at {end:#x}"),
            None,
        ));
    }
    core.media.read_at(root.snapshot_at, &mut bytes).map_err(failed)?;
    if crc(&bytes) != root.snapshot_crc {
        return Err(damage(
            root.snapshot_at,
            "the catalog does not match its checksum".into(),
            None,
        ));
    }
    let claim = |at, size: u64| space.adopt(at, pages(size) as u32, true, len.max(root.file_len));
    let (Some(log), Some(snapshot)) = (
        claim(root.log_at, root.log_len),
        claim(root.snapshot_at, root.snapshot_len),
    ) else {
        return Err(damage(slot * PAGE, "log and catalog overlap".into(), None));
    };
    let decoded = decode_snapshot(&bytes, space, root.file_len.max(len));
    let decoded = decoded.map_err(|what| damage(root.snapshot_at, what, None))?;
    if let Some(last) = decoded.history.back().filter(|last| last.info.id != root.commit) {
        let what = format!(
            "the history ends at commit {}, the catalog is of {}",
            last.info.id, root.commit
        );
        return Err(damage(root.snapshot_at, what, None));
    }
    if len < root.file_len && !lenient {
        let lost = decoded.names.iter().find(|(_, item)| {
            item.buffers
                .iter()
                .flat_map(|b| b.segments.iter())
                .any(|s| s.extent.at + s.extent.bytes() > len)
        });
        let what = format!("the file is cut: it should have {} bytes", root.file_len);
        return Err(damage(len, what, lost.map(|(name, _)| name.to_string())));
    }
    space.commit.store(root.commit, Ordering::Relaxed);
    let mut state = State {
        commit: root.commit,
        committed: decoded.names,
        history: decoded.history,
        retain: decoded.retain,
        log: Log {
            len: root.log_len,
            extent: log,
            tail: 0,
            prev_crc: root.salt as u32,
            torn_tail: false,
        },
        snapshot: Some(snapshot),
        root,
        slot,
        spare_torn: other_bad,
        ..State::blank()
    };
    let mut stuck = None;
    loop {
        match replay(core, &mut state, other_bad && !lenient, lenient) {
            Ok(()) => break,
            // A record that was still being written when it was read; by the time the next one is there, it is whole.
            Err(Stop::Gap(..)) if core.read_only && stuck != Some(state.commit) => stuck = Some(state.commit),
            Err(Stop::Gap(offset, what) | Stop::Damage(offset, what)) => return Err(damage(offset, what, None)),
            Err(Stop::Io(error)) => return Err(failed(error)),
        }
    }
    if core.read_only {
        core.sync().map_err(failed)?;
    }
    space.derive_free(len);
    if !core.read_only && core.media.oldest_pin().map_err(failed)?.is_some() {
        space.hold_free();
    }
    Ok(state)
}

/// The valid superblock with the higher generation, its slot, and whether the other one is unreadable.
fn choose_root(core: &Core, path: &Path, again: Option<OpenError>) -> Result<(Superblock, u64, bool), OpenError> {
    let mut page = [0u8; PAGE as usize];
    let (mut best, mut bad, mut shelf): (Option<(Superblock, u64)>, bool, bool) = (None, false, false);
    for slot in 0..2 {
        core.media
            .read_at(slot * PAGE, &mut page)
            .map_err(|error| OpenError::io(path, error))?;
        match Superblock::decode(&page) {
            Slot::Valid(root) => {
                if best.as_ref().is_none_or(|(held, _)| root.generation > held.generation) {
                    best = Some((root, slot));
                }
            }
            Slot::Newer(what) => {
                return Err(OpenError::Newer {
                    path: path.display().to_string(),
                    what,
                });
            }
            Slot::Bad { is_shelf } => (bad, shelf) = (true, shelf || is_shelf),
            Slot::Blank => {}
        }
    }
    if let Some(error) = again {
        best = match best.map(|(_, slot)| 1 - slot) {
            Some(slot) => {
                core.media
                    .read_at(slot * PAGE, &mut page)
                    .map_err(|error| OpenError::io(path, error))?;
                let Slot::Valid(root) = Superblock::decode(&page) else {
                    return Err(error);
                };
                Some((root, slot))
            }
            None => return Err(error),
        };
    }
    match best {
        Some((root, slot)) => Ok((root, slot, bad)),
        None if shelf => Err(OpenError::Corrupt(Damage {
            name: core.name.clone(),
            offset: 0,
            what: "neither superblock matches its checksum".into(),
            variable: None,
        })),
        None => Err(OpenError::NotAShelf {
            path: path.display().to_string(),
            what: "it does not start like one".into(),
        }),
    }
}

/// Follows another process that wrote to the medium since `state` was last its newest: what it committed, and nothing of
/// what it left half-done. Views stay what they are.
pub(crate) fn catch_up(core: &Core, state: &mut State) -> Result<(), OpenError> {
    let path = core.path.clone().unwrap_or_default();
    let failed = |error| OpenError::io(&path, error);
    // A record whose writer was killed before its flush must not be shown and then lost.
    core.sync().map_err(failed)?;
    let (root, _, other_bad) = choose_root(core, &path, None)?;
    if root.generation != state.root.generation {
        // The log was started over. What the other process let go may be in use again, so our claims on it go first.
        let old = std::mem::replace(state, State::blank());
        let pins = old.pins.clone();
        drop(old);
        core.space.forget_quarantine();
        *state = load(core, &path, false, None)?;
        state.pins = pins;
        return Ok(());
    }
    state.spare_torn = other_bad;
    replay(core, state, other_bad, false).map_err(|stop| match stop {
        Stop::Io(error) => failed(error),
        Stop::Gap(offset, what) | Stop::Damage(offset, what) => OpenError::Corrupt(Damage {
            name: core.name.clone(),
            offset,
            what,
            variable: None,
        }),
    })?;
    core.space.derive_free(core.media.len().map_err(failed)?);
    Ok(())
}

enum Stop {
    Io(io::Error),
    Damage(u64, String),
    /// A record does not check, and a later one does.
    Gap(u64, String),
}

/// Applies the records of the log, in order, up to the first that does not check; called again, goes on from there.
fn replay(core: &Core, state: &mut State, other_bad: bool, lenient: bool) -> Result<(), Stop> {
    let root = state.root.clone();
    state.log.torn_tail = true;
    let stale = core.faults.stale_tail_accepted;
    let mut head = [0u8; RECORD_HEADER];
    loop {
        let at = root.log_at + state.log.tail;
        if state.log.tail + RECORD_HEADER as u64 > root.log_len {
            break;
        }
        core.media.read_at(at, &mut head).map_err(Stop::Io)?;
        let Some((header, head_crc)) = RecordHeader::decode(&head) else {
            state.log.torn_tail = head.iter().any(|byte| *byte != 0);
            break;
        };
        if other_bad && header.generation > root.generation {
            let what = format!("superblock {} is unreadable, and the log belongs to it", 1 - state.slot);
            return Err(Stop::Damage((1 - state.slot) * PAGE, what));
        }
        let ours = header.salt == root.salt && header.generation == root.generation;
        let next = header.sequence == state.commit + 1 && header.prev_crc == state.log.prev_crc;
        if header.generation < root.generation {
            // A whole record of an earlier log: the next one can not complete it.
            state.log.torn_tail = false;
        }
        if !(ours && next || stale) || header.span() > root.log_len - state.log.tail {
            break;
        }
        let Some((ops, table, images_at, mut images)) = read_record(core, at, &header).map_err(Stop::Io)? else {
            break;
        };
        // A writer may have grown the file since it was opened, before it wrote this record.
        let len = core.media.len().map_err(Stop::Io)?;
        let (message, retain, ops) = decode_ops(&ops, &core.space, len)
            .map_err(|what| Stop::Damage(at, format!("commit {}: {what}", header.sequence)))?;
        core.space.commit.store(header.sequence, Ordering::Relaxed);
        if table.iter().any(|page| {
            let heap = |at: u64, size| at >= HEAP_START && at.checked_add(size).is_some_and(|end| end <= len);
            !heap(page.page_at, PAGE) || !heap(page.crc_at, 4) || page.page_at % PAGE != 0
        }) {
            return Err(Stop::Damage(
                at,
                format!("commit {}: a page outside the heap", header.sequence),
            ));
        }
        for (index, page) in table.into_iter().enumerate() {
            let image_at = images_at + index as u64 * PAGE;
            state.overlay.insert(
                page.page_at,
                Logged {
                    image_at,
                    image: images.get_mut(index).map(std::mem::take),
                    page,
                    commit: header.sequence,
                },
            );
        }
        state.retain = retain;
        state.commit = header.sequence;
        state.log.tail += header.span();
        state.log.prev_crc = head_crc;
        state.log.torn_tail = true;
        apply_ops(state, &header, message, ops);
    }
    if !stale
        && !lenient
        && let Some(offset) = later_record(core, state).map_err(Stop::Io)?
    {
        let what = format!(
            "commit {} is damaged, and a later one follows at {offset:#x}",
            state.commit + 1
        );
        return Err(Stop::Gap(root.log_at + state.log.tail, what));
    }
    Ok(())
}

/// Operations, page table, place of the first image, and for a reader the images.
type Body = (Vec<u8>, Vec<PageRef>, u64, Vec<Box<[u8]>>);

/// The body of a record, if every checksum holds.
fn read_record(core: &Core, at: u64, header: &RecordHeader) -> io::Result<Option<Body>> {
    let (ops_len, count) = (header.ops_len as usize, header.page_count as usize);
    let mut body = vec![0u8; ops_len + count * PAGE_REF];
    core.media.read_at(at + RECORD_HEADER as u64, &mut body)?;
    let check = !core.faults.crc_skipped;
    if check && crc(&body) != header.body_crc {
        return Ok(None);
    }
    let images_at = at + (RECORD_HEADER + body.len()) as u64;
    let mut reader = Reader::new(&body[ops_len..]);
    let mut table = Vec::with_capacity(count);
    let mut images = Vec::new();
    let mut image = [0u8; PAGE as usize];
    for index in 0..count {
        let Some(page) = PageRef::decode(&mut reader) else {
            return Ok(None);
        };
        core.media.read_at(images_at + index as u64 * PAGE, &mut image)?;
        if check && crc(&image) != page.crc {
            return Ok(None);
        }
        table.push(page);
        if core.read_only {
            images.push(image.to_vec().into_boxed_slice());
        }
    }
    body.truncate(ops_len);
    Ok(Some((body, table, images_at, images)))
}

fn apply_ops(state: &mut State, header: &RecordHeader, message: String, ops: Vec<Op>) {
    let mut undo = Vec::with_capacity(ops.len());
    for op in ops {
        match op {
            Op::Put(name, item) => {
                let old = state.committed.insert(Arc::clone(&name), Arc::new(item));
                undo.push((name, old));
            }
            Op::Remove(name) => {
                let old = state.committed.remove(&name);
                undo.push((name, old));
            }
            Op::Touch(name) => {
                if let Some(item) = state.committed.get_mut(&name) {
                    let old = Arc::clone(item);
                    Arc::make_mut(item).commit = header.sequence;
                    undo.push((name, Some(old)));
                }
            }
        }
    }
    let info = crate::CommitInfo {
        id: header.sequence,
        time_ns: header.time_ns,
        message,
        bytes_written: header.span(),
        ..crate::CommitInfo::default()
    };
    remember(state, info, undo);
}

/// A valid record of this log beyond its end: only possible if one in between was damaged after it was flushed.
fn later_record(core: &Core, state: &State) -> io::Result<Option<u64>> {
    const PART: u64 = 64 << 10;
    let (log, salt) = (state.root.log_at, state.root.salt);
    let end = state.log.len.min(state.log.tail + LOOK_AHEAD);
    let mut bytes = vec![0u8; (PART as usize) + RECORD_HEADER];
    // Records start on an 8-byte grid, and the salt is their second word.
    let mut from = state.log.tail + 8;
    while from + RECORD_HEADER as u64 <= end {
        let size = (end - from).min(bytes.len() as u64) as usize;
        core.media.read_at(log + from, &mut bytes[..size])?;
        let words = bytes[..size].as_chunks::<8>().0;
        let starts = words.len() - RECORD_HEADER / 8 + 1;
        let places = words[1..=starts].iter().enumerate();
        for (word, _) in places.filter(|(_, word)| u64::from_le_bytes(**word) == salt) {
            if let Some((header, _)) = RecordHeader::decode(&bytes[word * 8..size])
                && header.generation == state.root.generation
                && header.sequence > state.commit + 1
            {
                return Ok(Some(log + from + word as u64 * 8));
            }
        }
        from += starts as u64 * 8;
    }
    Ok(None)
}

impl State {
    pub(crate) fn blank() -> State {
        let space = Space::new(false);
        State {
            closed: false,
            stopped: false,
            commit: 0,
            committed: Names::new(),
            pending: BTreeMap::new(),
            unsynced: false,
            overlay: BTreeMap::new(),
            history: VecDeque::new(),
            retain: 0,
            tracked: Vec::new(),
            pins: Vec::new(),
            log: Log {
                extent: space.allocate(1, true).extent,
                len: 0,
                tail: 0,
                prev_crc: 0,
                torn_tail: false,
            },
            root: Superblock {
                generation: 0,
                salt: 0,
                log_at: 0,
                log_len: 0,
                snapshot_at: 0,
                snapshot_len: 0,
                snapshot_crc: 0,
                commit: 0,
                file_len: 0,
                id: [0; 16],
            },
            slot: 0,
            spare_torn: false,
            snapshot: None,
        }
    }
}
