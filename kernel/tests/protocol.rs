//! The message specification, seen from an independent client.

mod support;

use larder_kernel::Connection;
use serde_json::{Value, json};
use support::{Frontend, PATIENCE, Running, address};
use zeromq::prelude::*;
use zeromq::{SubSocket, ZmqMessage};

fn content(message: &larder_kernel::wire::Message) -> Value {
    serde_json::from_str(&message.content_json).unwrap()
}

async fn shut_down(mut frontend: Frontend, kernel: Running) {
    frontend
        .send_control("shutdown_request", json!({"restart": false}))
        .await;
    assert_eq!(frontend.control_reply().await.header.msg_type, "shutdown_reply");
    assert!(kernel.end());
}

#[tokio::test]
async fn an_execute_is_busy_input_result_reply_idle_and_carries_its_parent() {
    let kernel = Running::start(Connection::fresh());
    let mut frontend = Frontend::connect(&kernel.connection).await;
    frontend.send("execute_request", json!({"code": "hello"})).await;
    let reply = frontend.reply().await;
    assert_eq!(reply.header.msg_type, "execute_reply");
    assert_eq!(content(&reply)["execution_count"], 1);
    assert!(reply.parent_json.contains("execute_request"));
    frontend
        .expect(&[
            "status:busy",
            "execute_input:hello",
            "execute_result:hello",
            "status:idle",
        ])
        .await;
    shut_down(frontend, kernel).await;
}

#[tokio::test]
async fn streams_keep_their_order_and_leave_before_the_reply() {
    let kernel = Running::start(Connection::fresh());
    let mut frontend = Frontend::connect(&kernel.connection).await;
    for code in ["print one", "err two", "show three"] {
        frontend.send("execute_request", json!({"code": code})).await;
    }
    frontend
        .expect(&["status:busy", "execute_input", "stream:one", "status:idle"])
        .await;
    frontend
        .expect(&["status:busy", "execute_input", "stream:stderr", "status:idle"])
        .await;
    frontend
        .expect(&["status:busy", "execute_input", "display_data:three", "status:idle"])
        .await;
    shut_down(frontend, kernel).await;
}

#[tokio::test]
async fn a_flood_of_writes_arrives_whole_in_few_messages() {
    let kernel = Running::start(Connection::fresh());
    let mut frontend = Frontend::connect(&kernel.connection).await;
    frontend.send("execute_request", json!({"code": "flood 100000"})).await;
    frontend.expect(&["status:busy", "execute_input"]).await;
    let (mut text, mut messages) = (String::new(), 0);
    loop {
        let got = frontend.iopub().await;
        if got.header.msg_type == "status" {
            break;
        }
        assert_eq!(got.header.msg_type, "stream");
        text.push_str(content(&got)["text"].as_str().unwrap());
        messages += 1;
    }
    assert!(text.lines().map(|line| line.parse::<u64>().unwrap()).eq(0..100_000));
    assert!(messages <= 100, "{messages} messages");
    shut_down(frontend, kernel).await;
}

#[tokio::test]
async fn what_a_client_sends_upon_a_failures_reply_is_run() {
    let kernel = Running::start(Connection::fresh());
    let mut frontend = Frontend::connect(&kernel.connection).await;
    for _ in 0..20 {
        for (code, status) in [("fail", "error"), ("next", "ok")] {
            frontend.send("execute_request", json!({"code": code})).await;
            assert_eq!(content(&frontend.reply().await)["status"], status);
        }
    }
    shut_down(frontend, kernel).await;
}

#[tokio::test]
async fn executes_queued_behind_a_failure_are_aborted_unless_told_otherwise() {
    let kernel = Running::start(Connection::fresh());
    let mut frontend = Frontend::connect(&kernel.connection).await;
    let folder = tempfile::tempdir().unwrap();
    let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
    let wait = format!("wait {}", first.display());
    for code in [wait.as_str(), "fail", "never", "never"] {
        frontend.send("execute_request", json!({"code": code})).await;
    }
    frontend.everything_is_read().await;
    std::fs::write(first, "").unwrap();
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(content(&frontend.reply().await)["status"].as_str().unwrap().to_owned());
    }
    assert_eq!(statuses, ["ok", "error", "aborted", "aborted"]);
    frontend
        .expect(&["status:busy", "execute_input:wait", "status:idle"])
        .await;
    frontend
        .expect(&["status:busy", "execute_input:fail", "error:Failure", "status:idle"])
        .await;
    frontend
        .expect(&["status:busy", "status:idle", "status:busy", "status:idle"])
        .await;
    let wait = format!("wait {}", second.display());
    frontend.send("execute_request", json!({"code": wait})).await;
    frontend
        .send("execute_request", json!({"code": "fail", "stop_on_error": false}))
        .await;
    frontend.send("execute_request", json!({"code": "print runs"})).await;
    frontend.everything_is_read().await;
    std::fs::write(second, "").unwrap();
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(content(&frontend.reply().await)["status"].as_str().unwrap().to_owned());
    }
    assert_eq!(statuses, ["ok", "error", "ok"]);
    shut_down(frontend, kernel).await;
}

#[tokio::test]
async fn silent_code_says_nothing_but_its_status() {
    let kernel = Running::start(Connection::fresh());
    let mut frontend = Frontend::connect(&kernel.connection).await;
    frontend
        .send("execute_request", json!({"code": "quiet", "silent": true}))
        .await;
    frontend.expect(&["status:busy", "status:idle"]).await;
    assert_eq!(content(&frontend.reply().await)["execution_count"], 0);
    shut_down(frontend, kernel).await;
}

#[tokio::test]
async fn input_asks_the_front_end_that_ran_the_cell_and_only_if_allowed() {
    let kernel = Running::start(Connection::fresh());
    let mut frontend = Frontend::connect(&kernel.connection).await;
    frontend.send("execute_request", json!({"code": "input name?"})).await;
    let asked = frontend.input_request().await;
    assert_eq!(content(&asked), json!({"prompt": "name?", "password": false}));
    frontend.send_stdin("input_reply", json!({"value": "Ada"})).await;
    frontend
        .expect(&["status:busy", "execute_input", "stream:Ada", "status:idle"])
        .await;
    frontend.reply().await;
    frontend
        .send("execute_request", json!({"code": "input name?", "allow_stdin": false}))
        .await;
    assert_eq!(content(&frontend.reply().await)["status"], "error");
    shut_down(frontend, kernel).await;
}

#[tokio::test]
async fn kernel_info_is_answered_on_shell_and_control_even_while_code_runs() {
    let kernel = Running::start(Connection::fresh());
    let mut frontend = Frontend::connect(&kernel.connection).await;
    frontend.send("kernel_info_request", json!({})).await;
    let reply = frontend.reply().await;
    assert_eq!(content(&reply)["language_info"]["name"], "echo");
    assert_eq!(
        content(&reply)["protocol_version"],
        larder_kernel::wire::PROTOCOL_VERSION
    );
    frontend.send("execute_request", json!({"code": "sleep 1000"})).await;
    frontend.send_control("kernel_info_request", json!({})).await;
    assert_eq!(frontend.control_reply().await.header.msg_type, "kernel_info_reply");
    frontend.send_control("usage_request", json!({})).await;
    let usage = content(&frontend.control_reply().await);
    assert_eq!(usage["pid"], std::process::id());
    assert!(usage["kernel_memory"].as_u64().unwrap() > 1 << 20);
    frontend.send_control("interrupt_request", json!({})).await;
    assert_eq!(frontend.control_reply().await.header.msg_type, "interrupt_reply");
    assert_eq!(kernel.interrupts.load(std::sync::atomic::Ordering::SeqCst), 1);
    frontend.reply().await;
    shut_down(frontend, kernel).await;
}

#[tokio::test]
async fn the_other_requests_have_replies_of_their_name() {
    let kernel = Running::start(Connection::fresh());
    let mut frontend = Frontend::connect(&kernel.connection).await;
    for (request, asked) in [
        ("complete_request", json!({"code": "pr", "cursor_pos": 2})),
        (
            "inspect_request",
            json!({"code": "print", "cursor_pos": 5, "detail_level": 0}),
        ),
        ("is_complete_request", json!({"code": "x"})),
        (
            "history_request",
            json!({"hist_access_type": "tail", "n": 3, "raw": true, "output": false}),
        ),
        ("comm_info_request", json!({})),
        ("connect_request", json!({})),
    ] {
        frontend.send(request, asked).await;
        let reply = frontend.reply().await;
        assert_eq!(reply.header.msg_type, request.replace("_request", "_reply"));
        let status = if request == "is_complete_request" {
            "complete"
        } else {
            "ok"
        };
        assert_eq!(content(&reply)["status"], status);
        frontend.expect(&["status:busy", "status:idle"]).await;
    }
    shut_down(frontend, kernel).await;
}

#[tokio::test]
async fn comm_messages_carry_binary_buffers_both_ways_and_have_no_reply() {
    let kernel = Running::start(Connection::fresh());
    let mut frontend = Frontend::connect(&kernel.connection).await;
    let buffers = [vec![0, 255, 1], vec![]];
    let parts = frontend.compose("comm_msg", &json!({"comm_id": "c", "data": {}}), &buffers);
    frontend.send_parts(parts).await;
    frontend.expect(&["status:busy"]).await;
    let got = frontend.iopub().await;
    assert_eq!(
        (got.header.msg_type.as_str(), got.buffers.as_slice()),
        ("comm_msg", &buffers[..])
    );
    frontend.expect(&["status:idle"]).await;
    frontend.check_alive().await;
    shut_down(frontend, kernel).await;
}

#[tokio::test]
async fn the_heartbeat_says_what_it_is_told_while_code_runs() {
    let kernel = Running::start(Connection::fresh());
    let mut frontend = Frontend::connect(&kernel.connection).await;
    frontend.send("execute_request", json!({"code": "sleep 500"})).await;
    frontend.heartbeat.send("ping".into()).await.unwrap();
    let back = tokio::time::timeout(PATIENCE, frontend.heartbeat.recv())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(back.get(0).unwrap().as_ref(), b"ping");
    frontend.reply().await;
    shut_down(frontend, kernel).await;
}

#[tokio::test]
async fn every_subscriber_is_welcomed_with_its_topic() {
    let kernel = Running::start(Connection::fresh());
    let frontend = Frontend::connect(&kernel.connection).await;
    for topic in ["", "kernel."] {
        let mut other = SubSocket::new();
        other
            .connect(&address(&kernel.connection, kernel.connection.iopub_port))
            .await
            .unwrap();
        other.subscribe(topic).await.unwrap();
        let got: ZmqMessage = tokio::time::timeout(PATIENCE, other.recv()).await.unwrap().unwrap();
        assert_eq!(got.get(0).unwrap().as_ref(), topic.as_bytes());
        let text = String::from_utf8_lossy(got.get(6).unwrap()).into_owned();
        assert_eq!(
            serde_json::from_str::<Value>(&text).unwrap(),
            json!({"subscription": topic})
        );
    }
    shut_down(frontend, kernel).await;
}

#[tokio::test]
async fn it_all_works_over_ipc() {
    let folder = tempfile::tempdir().unwrap();
    let ip = folder.path().join("k").display().to_string();
    let kernel = Running::start(Connection {
        transport: "ipc".into(),
        ip,
        ..Connection::fresh()
    });
    let mut frontend = Frontend::connect(&kernel.connection).await;
    frontend.check_alive().await;
    shut_down(frontend, kernel).await;
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        0,
        "socket files are gone"
    );
}

#[tokio::test]
async fn a_missing_connection_file_is_written_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kernel.json");
    let kernel = larder_kernel::Kernel::start_from_file(&path, larder_kernel::echo::info(), support::hooks()).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let written = Connection::load(&path).unwrap();
    assert_eq!(written.shell_port, kernel.connection().shell_port);
    assert!(written.shell_port != 0 && !written.key.is_empty());
}
