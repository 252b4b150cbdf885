"""The real kernel and the wire: what is answered while C code runs, and what hostile or unlucky peers cost."""

import json
import os
import socket
import struct
import time

import pytest
import zmq
import zmq.utils.monitor
from kernelfixtures import kernel, of, text, wait_until

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


@pytest.fixture
def gil_held(k, tmp_path):
    """A cell stands in C code that keeps the GIL, until the test is over or calls what it is given."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = os.open(fifo, os.O_RDWR)
    msg_id = k.send(
        f"import ctypes, os\nfd = os.open({str(fifo)!r}, os.O_RDONLY)\nprint('go', flush=True)\n"
        "ctypes.PyDLL(None).read(fd, ctypes.create_string_buffer(1), 1)\nos.close(fd)"
    )
    k.wait_for(lambda m: m["msg_type"] == "stream")
    time.sleep(0.05)  # from the print to the read
    freed = []

    def free():
        if not freed:
            freed.append(os.write(writer, b"x"))
            assert k.reply(msg_id)["content"]["status"] == "ok"
            k.until_idle(msg_id)

    yield free
    free()
    os.close(writer)


def control(k, kind):
    msg = k.kc.session.msg(kind, {})
    k.kc.control_channel.send(msg)
    answer = k.kc.control_channel.get_msg(timeout=10)
    assert answer["parent_header"]["msg_id"] == msg["header"]["msg_id"]
    return answer["content"]


def endpoint(k, channel):
    info = k.kc.get_connection_info()
    return f"tcp://{info['ip']}:{info[f'{channel}_port']}"


@pytest.fixture
def client():
    """Sockets of libzmq, closed afterwards."""
    with zmq.Context() as context:
        context.linger = 0
        yield context.socket
        context.destroy(linger=0)


def test_kernel_info_usage_and_heartbeats_are_answered_while_c_code_holds_the_gil(k, gil_held, client):
    assert control(k, "kernel_info_request")["implementation"] == "larder"
    assert control(k, "usage_request")["pid"] == k.pid
    beat = client(zmq.REQ)
    beat.connect(endpoint(k, "hb"))
    for n in range(3):
        beat.send(b"beat %d" % n)
        assert beat.poll(10_000) and beat.recv() == b"beat %d" % n
    assert not k.kc.shell_channel.msg_ready(), "the cell is still in C"
    gil_held()
    assert k.text("print('alive')") == "alive\n"


def test_a_new_front_end_is_welcomed_while_c_code_holds_the_gil(k, gil_held, client):
    sub = client(zmq.SUB)
    sub.subscribe(b"")
    sub.connect(endpoint(k, "iopub"))
    assert sub.poll(10_000)
    assert json.loads(sub.recv_multipart()[3])["msg_type"] == "iopub_welcome"


def test_libzmqs_own_heartbeats_keep_an_idle_connection_while_c_code_holds_the_gil(k, gil_held, client):
    one = client(zmq.DEALER)
    one.heartbeat_ivl, one.heartbeat_timeout = 50, 3000  # a busy machine may stand still for a while
    monitor = one.get_monitor_socket()
    one.connect(endpoint(k, "shell"))
    seen = []
    deadline = time.monotonic() + 4
    while time.monotonic() < deadline:
        if monitor.poll(100):
            seen.append(zmq.utils.monitor.recv_monitor_message(monitor)["event"])
    one.disable_monitor()
    assert zmq.EVENT_HANDSHAKE_SUCCEEDED in seen
    assert zmq.EVENT_DISCONNECTED not in seen, "80 PINGs, each with its PONG"


def test_all_that_c_code_writes_while_it_holds_the_gil_reaches_the_cell(k):
    # Sixteen times what a pipe holds: somebody must read it meanwhile, without the GIL.
    code = (
        "import ctypes\nlibc = ctypes.PyDLL(None)\nblock = b'z' * 65536\n"
        "for _ in range(16): libc.write(1, block, len(block));"
    )
    assert k.text(code) == "z" * 16 * 65536


def test_a_forked_child_that_outlives_its_cell_prints_into_that_cell(k, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    first = k.send(
        f"import os\nif os.fork() == 0:\n    open({str(fifo)!r}).read()\n    print('late child')\n    os._exit(0)"
    )
    k.until_idle(first)
    second = k.send("print('second'); os.wait();")
    k.shown("second\n")
    fifo.write_text("go")
    assert k.shown("late child\n")["parent_header"]["msg_id"] == first
    k.until_idle(second)
    assert k.text("print('alive')") == "alive\n"


def test_requests_with_nan_infinity_and_lone_surrogates_are_read(k):
    k.ok(
        "import comm\ndef target(c, msg):\n    c.on_msg(lambda m: c.send(m['content']['data']))\n"
        "comm.get_comm_manager().register_target('odd', target)"
    )
    session = k.kc.session
    for kind, content in [
        ("comm_open", '{"comm_id": "odd", "target_name": "odd", "data": {}}'),
        ("comm_msg", '{"comm_id": "odd", "data": {"x": [NaN, -Infinity], "s": "a\\ud800"}}'),
    ]:
        header = json.dumps(session.msg(kind)["header"], default=str).encode()
        body = [header, b"{}", b"{}", content.encode()]
        k.kc.shell_channel.socket.send_multipart([b"<IDS|MSG>", session.sign(body), *body])
    answer = k.wait_for(lambda m: m["msg_type"] == "comm_msg")
    assert answer["content"]["data"] == {"x": [None, None], "s": "a\ufffd"}


def test_messages_that_are_forged_cut_short_or_replayed_run_nothing_and_are_logged(tmp_path):
    log = tmp_path / "stderr"
    with log.open("wb") as sink, kernel(tmp_path, stderr=sink) as k:
        k.ok("runs = 0")
        session, shell = k.kc.session, k.kc.shell_channel.socket
        content = {"code": "runs += 1", "silent": False, "store_history": True, "allow_stdin": False}

        def parts():
            msg = session.msg("execute_request", content)
            return session.serialize(msg)

        good = parts()
        shell.send_multipart(good)
        shell.send_multipart(good)  # replayed
        forged = parts()
        forged[-1] = forged[-1].replace(b"+= 1", b"+= 9")
        shell.send_multipart(forged)
        unsigned = parts()
        unsigned[1] = b""
        shell.send_multipart(unsigned)
        for cut in range(1, len(good)):
            shell.send_multipart(parts()[:cut])
        for body in ([b"not json", b"{}", b"{}", b"{}"], [b"{}"] * 4, [b"[]"] * 4):
            shell.send_multipart([b"<IDS|MSG>", session.sign(body), *body])
        unknown = session.msg("no_such_request", {})
        session.send(shell, unknown)
        assert k.value("runs") == "1"
        said = log.read_text()
    for why in (
        "a message with this signature was seen already",
        "the signature does not match",
        "cut short",
        "the header is not a JSON object",
        "missing field `msg_id`",
        "no_such_request",
    ):
        assert why in said, why


def test_a_frame_that_claims_a_terabyte_costs_its_sender_the_connection(k):
    info = k.kc.get_connection_info()
    hello = b"\xff" + bytes(8) + b"\x7f\x03\x01NULL" + bytes(48)
    before = control(k, "usage_request")["kernel_memory"]
    for channel in ("shell", "control", "stdin", "iopub", "hb"):
        with socket.create_connection((info["ip"], info[f"{channel}_port"]), timeout=10) as raw:
            raw.sendall(hello + b"\x02" + struct.pack(">Q", 1 << 40))
            while raw.recv(4096):
                pass
    assert control(k, "usage_request")["kernel_memory"] < before + (64 << 20)
    assert k.text("print('alive')") == "alive\n"


def test_a_subscriber_that_reads_nothing_delays_nobody_and_loses_no_status(k, client):
    stalled = client(zmq.SUB)
    stalled.rcvhwm = 1
    stalled.rcvbuf = 4096
    stalled.subscribe(b"")
    stalled.connect(endpoint(k, "iopub"))
    assert stalled.poll(10_000)
    sent = []
    for _ in range(3):
        sent.append(k.send("print('w' * 5_000_000)"))
        assert len(text(k.until_idle(sent[-1]))) == 5_000_001
    seen = []
    while len([s for s in seen if s == "idle"]) < 3:
        assert stalled.poll(10_000)
        frames = stalled.recv_multipart()
        parent, content = json.loads(frames[4]), json.loads(frames[6])
        if parent.get("msg_id") in sent and "execution_state" in content:
            seen.append(content["execution_state"])
    assert seen == ["busy", "idle"] * 3


def test_a_reply_and_twenty_megabytes_arrive_although_the_kernel_ends_right_behind_them(tmp_path):
    with kernel(tmp_path) as k:
        msg_id = k.send("print('v' * 20_000_000); exit()")
        wait_until(lambda: k.kc.shell_channel.msg_ready())
        assert k.reply(msg_id)["content"]["status"] == "ok"
        messages = k.until_idle(msg_id)
        assert len(text(messages)) == 20_000_001
        assert of(messages, "status")[-1]["content"]["execution_state"] == "idle"


def connections(port):
    """How many the kernel has on one of its ports, those that the other side has ended and it has not noticed among them."""
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in table][1:]
    return sum(row[1].endswith(f":{port:04X}") and row[3] in ("01", "08") for row in rows)


def test_a_client_that_comes_back_under_its_identity_gets_the_reply_it_left_behind(k, client, tmp_path):
    port = k.kc.get_connection_info()["shell_port"]
    before = 1  # the kernel may not have noticed yet that clients of other tests are gone
    wait_until(lambda: connections(port) == before)
    for n in range(20):
        gone = tmp_path / f"gone {n}"
        first = client(zmq.DEALER)
        first.identity = b"the same client"
        first.connect(endpoint(k, "shell"))
        code = f"import os, time\nwhile not os.path.exists({str(gone)!r}): time.sleep(0.001)\nn = {n}"
        msg = k.kc.session.msg("execute_request", {"code": code, "silent": True})
        k.kc.session.send(first, msg)
        asked = msg["header"]["msg_id"]
        k.wait_for(lambda m, asked=asked: m["parent_header"].get("msg_id") == asked)
        assert connections(port) == before + 1
        first.close()
        wait_until(lambda: connections(port) == before)
        gone.touch()
        second = client(zmq.DEALER)
        second.identity = b"the same client"
        second.connect(endpoint(k, "shell"))
        assert second.poll(10_000), f"the reply was lost in round {n}"
        _, parts = k.kc.session.feed_identities(second.recv_multipart())
        assert k.kc.session.deserialize(parts)["parent_header"]["msg_id"] == asked
        second.close()
        wait_until(lambda: connections(port) == before)
