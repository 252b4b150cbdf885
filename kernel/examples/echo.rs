//! `cargo run -p larder-kernel --example echo CONNECTION_FILE`: the echo interpreter behind the real server.

use std::path::Path;
use std::time::Duration;

use larder_kernel::{Hooks, Kernel, echo, run};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = std::env::args().nth(1).ok_or("usage: echo CONNECTION_FILE")?;
    let hooks = Hooks {
        interrupt: Box::new(|| {}),
    };
    let kernel = Kernel::start_from_file(Path::new(&file), echo::info(), hooks)?;
    run(&kernel.queue(), &mut echo::Echo::default());
    kernel.flush_and_stop(Duration::from_secs(5));
    Ok(())
}
