//! redb as a peer of `benches/shelf.py`: does what it is told on standard input and times itself.
//!
//! One command a line, payload bytes after it; the answer is `SECONDS CPU_SECONDS BYTES_WRITTEN` on one line. Payloads are read or
//! made before the clock starts, as those of the other contenders are.
//!
//! | command         | payload         | what is timed                                      |
//! |-----------------|-----------------|----------------------------------------------------|
//! | `one N`         | N bytes         | one value in one durable commit                    |
//! | `many COUNT N`  | COUNT x N bytes | COUNT values in one durable commit                 |
//! | `big MIB VALUE` |                 | one array of doubles in one durable commit         |
//! | `update I`      |                 | one element of it: read, change, write back        |
//! | `close`         |                 | lets the file go, so that another process can open |
//!
//! `larder-bench-redb FILE first` is another process: opens, reads one element, prints `SECONDS CPU_SECONDS`.

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use std::error::Error;
use std::io::{BufRead, Read, Write};
use std::time::Instant;

const TABLE: TableDefinition<&str, &[u8]> = TableDefinition::new("kv");

fn written() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    io.lines()
        .find_map(|l| l.strip_prefix("write_bytes: ")?.parse().ok())
        .unwrap_or(0)
}

/// Processor time of this process so far: `/proc/self/schedstat` counts the main thread's nanoseconds, and there is no other.
fn cpu() -> f64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    text.split(' ')
        .next()
        .and_then(|ns| ns.parse::<f64>().ok())
        .unwrap_or(0.0)
        / 1e9
}

fn put(db: &Database, pairs: &[(String, &[u8])]) -> Result<(), Box<dyn Error>> {
    let txn = db.begin_write()?;
    {
        let mut table = txn.open_table(TABLE)?;
        for (key, value) in pairs {
            table.insert(key.as_str(), *value)?;
        }
    }
    Ok(txn.commit()?)
}

fn element(bytes: &[u8], index: usize) -> f64 {
    f64::from_le_bytes(bytes[index * 8..index * 8 + 8].try_into().expect("eight bytes"))
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().collect();
    let path = &args[1];
    if args.get(2).is_some_and(|a| a == "first") {
        let (worked, began) = (cpu(), Instant::now());
        let db = Database::open(path)?;
        let table = db.begin_read()?.open_table(TABLE)?;
        let big = table.get("big")?.expect("big is there");
        let value = element(big.value(), 12345);
        println!("{} {}", began.elapsed().as_secs_f64(), cpu() - worked);
        assert!(value.is_finite());
        return Ok(());
    }
    let (mut input, mut out) = (std::io::stdin().lock(), std::io::stdout().lock());
    let mut db = None;
    let mut line = String::new();
    while input.read_line(&mut line)? > 0 {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| words[at].parse::<usize>();
        if words[0] == "close" {
            db = None;
            writeln!(out, "0 0 0")?;
            out.flush()?;
            line.clear();
            continue;
        }
        if db.is_none() {
            db = Some(Database::create(path)?);
        }
        let db = db.as_ref().expect("just opened");
        let mut payload = Vec::new();
        let mut read = |bytes: usize| -> std::io::Result<()> {
            payload.resize(bytes, 0);
            input.read_exact(&mut payload)
        };
        let (before, worked, began);
        match words[0] {
            "one" => {
                read(number(1)?)?;
                (before, worked, began) = (written(), cpu(), Instant::now());
                put(db, &[("small".into(), &payload)])?;
            }
            "many" => {
                let (count, each) = (number(1)?, number(2)?);
                read(count * each)?;
                let pairs: Vec<_> = (0..count)
                    .map(|k| (format!("n{k}"), &payload[k * each..][..each]))
                    .collect();
                (before, worked, began) = (written(), cpu(), Instant::now());
                put(db, &pairs)?;
            }
            "big" => {
                payload = words[2].parse::<f64>()?.to_le_bytes().repeat(number(1)? << 17);
                (before, worked, began) = (written(), cpu(), Instant::now());
                put(db, &[("big".into(), &payload)])?;
            }
            "update" => {
                let i = number(1)?;
                (before, worked, began) = (written(), cpu(), Instant::now());
                let txn = db.begin_write()?;
                {
                    let mut table = txn.open_table(TABLE)?;
                    let mut whole = table.get("big")?.expect("big is there").value().to_vec();
                    let at = i * 7919 % (whole.len() / 8) * 8;
                    whole[at..at + 8].copy_from_slice(&(i as f64).to_le_bytes());
                    table.insert("big", whole.as_slice())?;
                }
                txn.commit()?;
            }
            other => return Err(format!("unknown command {other}").into()),
        }
        let took = began.elapsed().as_secs_f64();
        writeln!(out, "{took} {} {}", cpu() - worked, written() - before)?;
        out.flush()?;
        line.clear();
    }
    Ok(())
}
