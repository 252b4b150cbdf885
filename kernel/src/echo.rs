//! An interpreter that says what it is told: the protocol's own test piece.
//!
//! `print TEXT`, `err TEXT`, `show TEXT`, `fail`, `input PROMPT`, `flood COUNT`, `sleep MS`, `wait FILE` (until there is
//! one); anything else is its own result.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::interpreter::{ExecuteRequest, Interpreter, Request, Ticket, Work};
use crate::kernel::KernelInfo;
use crate::outputs::StreamName;

#[derive(Debug, Default)]
pub struct Echo {
    execution_count: u64,
}

pub fn info() -> KernelInfo {
    KernelInfo {
        implementation: "echo".into(),
        implementation_version: env!("CARGO_PKG_VERSION").into(),
        language_info: json!({"name": "echo", "version": "1", "mimetype": "text/plain", "file_extension": ".txt"}),
        banner: "an interpreter that says what it is told".into(),
        help_links: json!([]),
        debugger: false,
    }
}

impl Interpreter for Echo {
    fn serve(&mut self, work: Work) {
        let Work { request, ticket } = work;
        let content = match request {
            Request::Execute(asked) => return self.execute(&asked, ticket),
            Request::Complete { cursor_pos, .. } => json!({
                "status": "ok", "matches": ["print"], "metadata": {}, "cursor_start": 0, "cursor_end": cursor_pos,
            }),
            Request::Inspect { code, .. } => {
                json!({"status": "ok", "found": true, "data": {"text/plain": code}, "metadata": {}})
            }
            Request::IsComplete { .. } => json!({"status": "complete"}),
            Request::History => json!({"status": "ok", "history": []}),
            Request::CommInfo { .. } => json!({"status": "ok", "comms": {}}),
            Request::Comm => {
                let message = ticket.message();
                let outputs = ticket.outputs();
                outputs.publish("comm_msg", &message.content_json, "{}", &message.buffers);
                return ticket.done();
            }
            Request::Control => {
                json!({"status": "error", "ename": "NotImplementedError", "evalue": "", "traceback": []})
            }
            Request::Shutdown { restart } => json!({"status": "ok", "restart": restart}),
        };
        ticket.reply(&content.to_string());
    }
}

impl Echo {
    fn execute(&mut self, asked: &ExecuteRequest, ticket: Ticket) {
        let outputs = ticket.outputs();
        if !asked.silent {
            self.execution_count += 1;
            outputs.execute_input(&asked.code, self.execution_count);
        }
        let (verb, rest) = asked.code.split_once(' ').unwrap_or((&asked.code, ""));
        let mut reply = json!({
            "status": "ok", "execution_count": self.execution_count, "user_expressions": {}, "payload": [],
        });
        let data = |text: &str| json!({"data": {"text/plain": text}, "metadata": {}, "transient": {}});
        match verb {
            "print" => outputs.stream(StreamName::Stdout, rest),
            "err" => outputs.stream(StreamName::Stderr, rest),
            "show" => outputs.publish("display_data", &data(rest).to_string(), "{}", &[]),
            "flood" => {
                for n in 0..rest.parse::<u64>().unwrap_or(0) {
                    outputs.stream(StreamName::Stdout, &format!("{n}\n"));
                }
            }
            "sleep" => std::thread::sleep(Duration::from_millis(rest.parse().unwrap_or(0))),
            "wait" => {
                while !Path::new(rest).exists() {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            "input" => {
                let until = Instant::now() + Duration::from_secs(10);
                match ticket.input(rest, false, &mut || Instant::now() > until) {
                    Ok(line) => outputs.stream(StreamName::Stdout, &line),
                    Err(err) => reply = failure(&mut self.execution_count, "InputError", &err.to_string()),
                }
            }
            "fail" => {
                outputs.error("Failure", "as asked", &[]);
                reply = failure(&mut self.execution_count, "Failure", "as asked");
            }
            _ if !asked.silent => {
                let mut result = data(&asked.code);
                result["execution_count"] = self.execution_count.into();
                outputs.publish("execute_result", &result.to_string(), "{}", &[]);
            }
            _ => {}
        }
        ticket.reply(&reply.to_string());
    }
}

fn failure(count: &mut u64, ename: &str, evalue: &str) -> Value {
    json!({"status": "error", "execution_count": *count, "ename": ename, "evalue": evalue, "traceback": []})
}
