//! The content of `usage_reply`, from /proc: what this process and its children use of the machine.

use std::fs;
use std::sync::Mutex;
use std::time::Instant;

use serde_json::{Value, json};

/// CPU ticks of the kernel, busy and all ticks of the machine, at the last call.
static LAST: Mutex<Option<(Instant, u64, u64, u64)>> = Mutex::new(None);

/// Linux reports CPU times in ticks of 1/100 s on every architecture Python runs on.
const TICKS_PER_SECOND: f64 = 100.0;

struct Process {
    parent: u32,
    ticks: u64,
    rss_pages: u64,
}

fn process(pid: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command name may hold spaces and parentheses; fields start behind the last one.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Process {
        parent: number(1)? as u32,
        ticks: number(11)? + number(12)?,
        rss_pages: number(21)?,
    })
}

fn family() -> Vec<Process> {
    let me = std::process::id();
    let mut all: Vec<(u32, Process)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, process(pid)?)))
        .collect();
    let mut members = vec![me];
    let mut found = Vec::new();
    while let Some(parent) = members.pop() {
        let (children, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, p)| p.parent == parent);
        members.extend(children.iter().map(|(pid, _)| pid));
        found.extend(children.into_iter().map(|(_, p)| p));
        all = rest;
    }
    found.extend(process(me));
    found
}

fn machine_ticks() -> (u64, u64) {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks: Vec<u64> = stat
        .lines()
        .next()
        .into_iter()
        .flat_map(|line| line.split_whitespace().skip(1))
        .filter_map(|n| n.parse().ok())
        .collect();
    let all: u64 = ticks.iter().take(8).sum();
    let idle: u64 = ticks.iter().skip(3).take(2).sum();
    (all - idle, all)
}

fn memory() -> Value {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let bytes = |name: &str| {
        let line = text.lines().find(|line| line.split(':').next() == Some(name))?;
        Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
    };
    let total = bytes("MemTotal").unwrap_or(0);
    let available = bytes("MemAvailable").unwrap_or(0);
    let used = total.saturating_sub(available);
    json!({
        "total": total,
        "available": available,
        "used": used,
        "free": bytes("MemFree"),
        "buffers": bytes("Buffers"),
        "cached": bytes("Cached"),
        "percent": if total > 0 { (used as f64 / total as f64 * 1000.0).round() / 10.0 } else { 0.0 },
    })
}

/// Host name, pid, CPU of kernel and host since the last call (percent; 0 at the first), memory in bytes.
pub fn report() -> Value {
    let family = family();
    let ticks: u64 = family.iter().map(|p| p.ticks).sum();
    let page_bytes = 4096;
    let (busy, all) = machine_ticks();
    let now = Instant::now();
    let last = LAST
        .lock()
        .unwrap_or_else(|e| e.into_inner())
        .replace((now, ticks, busy, all));
    let (kernel_cpu, host_cpu) = last.map_or((0.0, 0.0), |(then, ticks_then, busy_then, all_then)| {
        let seconds = now.duration_since(then).as_secs_f64().max(1e-3);
        let spent = ticks.saturating_sub(ticks_then) as f64 / TICKS_PER_SECOND;
        let share = busy.saturating_sub(busy_then) as f64 / all.saturating_sub(all_then).max(1) as f64;
        (spent / seconds * 100.0, share * 100.0)
    });
    json!({
        "hostname": fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim(),
        "pid": std::process::id(),
        "kernel_cpu": kernel_cpu,
        "kernel_memory": family.iter().map(|p| p.rss_pages * page_bytes).sum::<u64>(),
        "cpu_count": std::thread::available_parallelism().map_or(1, usize::from),
        "host_cpu_percent": host_cpu,
        "host_virtual_memory": memory(),
    })
}
