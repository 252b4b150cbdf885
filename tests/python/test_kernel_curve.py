"""Encrypted connections, against libzmq's own CURVE clients and jupyter_client's policy."""

import json
import os
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq
import zmq.utils.monitor
from jupyter_client import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpec
from kernelfixtures import kernel, manager, of

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")

CHANNELS = {"shell": zmq.DEALER, "control": zmq.DEALER, "stdin": zmq.DEALER, "iopub": zmq.SUB, "hb": zmq.REQ}


@contextmanager
def encrypted(tmp_path, **options):
    """A kernel that jupyter_client gives keys to because its spec says it can use them."""
    km = manager(connection_file=str(tmp_path / "kernel.json"), transport_encryption="required", **options)
    km._kernel_spec.metadata = {"supported_encryption": ["curve"]}
    with (tmp_path / "stderr").open("wb") as sink, kernel(tmp_path, stderr=sink, km=km) as running:
        yield running


@pytest.fixture(scope="module", params=["tcp", "ipc"])
def k(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("k")
    options = {} if request.param == "tcp" else {"transport": "ipc", "ip": str(folder / "s")}
    with encrypted(folder, **options) as running:
        yield running


@pytest.fixture
def context():
    with zmq.Context() as made:
        yield made
        made.linger = 0


def address(info, channel):
    port = info[f"{channel}_port"]
    return f"tcp://{info['ip']}:{port}" if info["transport"] == "tcp" else f"ipc://{info['ip']}-{port}"


def handshake(context, info, channel, server_key=None, keys=None):
    """What libzmq's monitor says of connecting: the handshake's outcome, or how often it was tried in vain."""
    one = context.socket(CHANNELS[channel])
    one.linger = 0
    if server_key is not None:
        one.curve_publickey, one.curve_secretkey = keys or zmq.curve_keypair()
        one.curve_serverkey = server_key
    monitor = one.get_monitor_socket()
    one.connect(address(info, channel))
    closed = 0
    try:
        while monitor.poll(10_000):
            event = zmq.utils.monitor.recv_monitor_message(monitor)["event"]
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                return "succeeded"
            # libzmq gives up for good over another mechanism, and tries again after a box that did not open.
            closed += event == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
            if event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL or closed == 2:
                return "refused"
        return "silent"
    finally:
        one.disable_monitor()
        one.close()


def test_cells_input_interrupts_and_heartbeat_work_encrypted(k):
    info = json.loads(open(k.km.connection_file).read())
    assert len(info["curve_publickey"]) == len(info["curve_secretkey"]) == 40
    assert k.text("print('out')") == "out\n"
    msg_id = k.send("name = input('name? ')", allow_stdin=True)
    assert k.kc.get_stdin_msg(timeout=10)["content"]["prompt"] == "name? "
    k.kc.input("ada")
    assert k.reply(msg_id)["content"]["status"] == "ok"
    k.kc.control_channel.send(k.kc.session.msg("usage_request", {}))
    assert k.kc.control_channel.get_msg(timeout=10)["content"]["pid"] == k.pid
    k.kc.hb_channel.unpause()
    assert k.kc.is_alive()


def test_the_heartbeat_echoes_to_a_client_with_keys_of_its_own(k, context):
    info = k.kc.get_connection_info()
    one = context.socket(zmq.REQ)
    one.curve_publickey, one.curve_secretkey = zmq.curve_keypair()
    one.curve_serverkey = info["curve_publickey"].encode()
    one.connect(address(info, "hb"))
    for n in range(3):
        one.send(b"beat %d" % n)
        assert one.poll(10_000)
        assert one.recv() == b"beat %d" % n
    one.close()


def test_large_messages_and_buffers_go_both_ways(k):
    text = "z" * 20_000_000
    content, messages = k.run(f"len({text!r})")
    assert content["status"] == "ok"
    assert of(messages, "execute_result")[0]["content"]["data"]["text/plain"] == "20000000"
    shown = of(k.ok("print('y' * 20_000_000)"), "stream")
    assert sum(len(m["content"]["text"]) for m in shown) == 20_000_001
    k.ok(
        "import comm\ndef target(c, msg):\n    c.on_msg(lambda m: c.send({}, buffers=[bytes(m['buffers'][0])[::-1]]))\n"
        "comm.get_comm_manager().register_target('t', target)"
    )
    k.kc.shell_channel.send(k.kc.session.msg("comm_open", {"comm_id": "c", "target_name": "t", "data": {}}))
    data = os.urandom(3_000_001)
    k.kc.session.send(
        k.kc.shell_channel.socket, k.kc.session.msg("comm_msg", {"comm_id": "c", "data": {}}), buffers=[data]
    )
    answer = k.wait_for(lambda m: m["msg_type"] == "comm_msg")
    assert bytes(answer["buffers"][0]) == data[::-1]


@pytest.mark.parametrize("channel", list(CHANNELS))
def test_a_client_without_the_servers_key_is_refused_on_every_socket(k, context, channel):
    info = k.kc.get_connection_info()
    server_key = info["curve_publickey"].encode()
    assert handshake(context, info, channel, server_key) == "succeeded"
    assert handshake(context, info, channel) == "refused"  # NULL
    another, _ = zmq.curve_keypair()
    assert handshake(context, info, channel, another) == "refused"
    assert k.text("print('alive')") == "alive\n"
    log = Path(k.km.connection_file).with_name("stderr").read_text()
    assert "encryption: a box does not open" in log, "the refusal is said on the kernel's standard error"


def test_a_kernel_without_keys_refuses_clients_that_want_encryption(tmp_path, context):
    km = manager(connection_file=str(tmp_path / "kernel.json"))
    km.start_kernel(env=dict(os.environ, LARDER_HOME=str(tmp_path), IPYTHONDIR=str(tmp_path)))
    info = km.get_connection_info()
    public, _ = zmq.curve_keypair()
    assert handshake(context, info, "shell") == "succeeded"
    assert handshake(context, info, "shell", public) == "refused"
    km.shutdown_kernel()
    km.cleanup_resources()


class Relay:
    """A TCP port before another one, that keeps what passes."""

    def __init__(self, port):
        self._to, self.seen = port, [b"", b""]
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        near, _ = self._listener.accept()
        with near, socket.create_connection(("127.0.0.1", self._to)) as far:
            ways = [threading.Thread(target=self._pass, args=way) for way in ((near, far, 0), (far, near, 1))]
            [way.start() for way in ways]
            [way.join() for way in ways]

    def _pass(self, source, sink, which):
        while data := source.recv(65536):
            self.seen[which] += data
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)

    def close(self):
        self._thread.join(10)
        self._listener.close()


@pytest.mark.parametrize("policy", ["disabled", "required"])
def test_nothing_readable_passes_an_encrypted_wire(tmp_path, policy):
    km = manager(connection_file=str(tmp_path / "kernel.json"), transport_encryption=policy)
    km._kernel_spec.metadata = {"supported_encryption": ["curve"]}
    km.start_kernel(env=dict(os.environ, LARDER_HOME=str(tmp_path), IPYTHONDIR=str(tmp_path)))
    direct = km.client()
    direct.start_channels()
    direct.wait_for_ready(timeout=30)  # the relays need a kernel that listens
    direct.stop_channels()
    info = dict(km.get_connection_info())
    relays = {name: Relay(info[f"{name}_port"]) for name in ("shell", "iopub")}
    for name, relay in relays.items():
        info[f"{name}_port"] = relay.port
    kc = BlockingKernelClient()
    kc.load_connection_info(info)
    kc.start_channels(hb=False, stdin=False, control=False)
    kc.wait_for_ready(timeout=30)
    kc.execute_interactive("print('sec' + 'ret')", timeout=20, allow_stdin=False, output_hook=lambda m: None)
    kc.stop_channels()
    km.shutdown_kernel()
    km.cleanup_resources()
    for relay in relays.values():
        relay.close()
    wire = b"".join(b"".join(relay.seen) for relay in relays.values())
    readable = [word in wire for word in (b"execute_request", b"execute_input", b"secret", b"Socket-Type")]
    assert readable == [policy == "disabled"] * 4


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"curve_publickey": "x" * 40}, "curve_publickey without curve_secretkey"),
        ({"curve_secretkey": "not a key"}, "curve_secretkey is not a key"),
        ({"curve_secretkey": "1" * 40, "curve_publickey": "2" * 40}, "does not belong"),
    ],
)
def test_keys_that_cannot_be_used_stop_the_kernel_instead_of_the_encryption(tmp_path, keys, says):
    file = tmp_path / "kernel.json"
    file.write_text(json.dumps({"ip": "127.0.0.1", "key": "k", **keys}))
    done = subprocess.run([sys.executable, "-m", "larder", "-f", str(file)], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert says in done.stderr


def test_the_installed_spec_says_that_encryption_is_supported():
    from larder.cli import kernel_spec_folder

    spec = KernelSpec.from_resource_dir(str(kernel_spec_folder()))
    assert spec.metadata["supported_encryption"] == ["curve"]
