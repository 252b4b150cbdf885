"""A launcher that lets the kernel choose its ports: libzmq sockets and jupyter_client's signing on the launcher's side."""

import json
import os
import stat
import subprocess
import sys
from contextlib import contextmanager

import pytest
import zmq
from jupyter_client import BlockingKernelClient
from jupyter_client.session import Session
from kernelfixtures import alive, wait_until

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")

CHANNELS = ("shell", "iopub", "stdin", "control", "hb")


class Launcher:
    """The registration socket and the kernels started for it."""

    def __init__(self, tmp_path, kind):
        self.tmp, self.context = tmp_path, zmq.Context()
        self.socket = self.context.socket(kind)
        self.socket.linger = 0
        self.port = self.socket.bind_to_random_port("tcp://127.0.0.1")
        self.session = Session(key=b"a key")
        self.file = tmp_path / "kernel.json"
        self.kernels = []

    def start(self, **file):
        content = {
            "transport": "tcp",
            "signature_scheme": "hmac-sha256",
            "key": "a key",
            "registration_port": self.port,
        }
        self.file.write_text(json.dumps(content | file))
        self.file.chmod(0o600)
        env = dict(os.environ, LARDER_HOME=str(self.tmp / "home"), IPYTHONDIR=str(self.tmp / "ipython"))
        argv = [sys.executable, "-m", "larder", "-f", str(self.file)]
        self.kernels.append(subprocess.Popen(argv, env=env, stderr=subprocess.PIPE, text=True))
        return self.kernels[-1]

    def request(self):
        assert self.socket.poll(20_000), "the kernel says nothing"
        return self.socket.recv_multipart()

    def close(self):
        for kernel in self.kernels:
            kernel.kill()
            kernel.communicate()
        self.socket.close()
        self.context.term()


@contextmanager
def launcher(tmp_path, kind=zmq.ROUTER):
    made = Launcher(tmp_path, kind)
    try:
        yield made
    finally:
        made.close()


def runs_code(info, key=b"a key"):
    kc = BlockingKernelClient()
    kc.load_connection_info(info)
    kc.start_channels()
    kc.wait_for_ready(timeout=30)
    said = []
    kc.execute_interactive("print('registered')", timeout=20, output_hook=lambda m: said.append(m["content"]))
    kc.shutdown()
    kc.stop_channels()
    return any(c.get("text") == "registered\n" for c in said)


def connection_info(ports):
    return {"transport": "tcp", "ip": "127.0.0.1", "signature_scheme": "hmac-sha256", "key": "a key", **ports}


def test_the_specifications_form_one_signed_frame_with_the_kernels_id(tmp_path):
    with launcher(tmp_path) as it:
        kernel = it.start(registration_ip="127.0.0.1", kernel_id="the-third")
        identity, delimiter, signature, content = it.request()
        assert delimiter == b"<IDS|MSG>"
        assert signature == it.session.sign([content])
        said = json.loads(content)
        assert said.pop("kernel_id") == "the-third"
        ports = {name: int(port) for name, port in said.items()}
        assert set(ports) == {f"{name}_port" for name in CHANNELS}
        assert len(set(ports.values())) == 5 and 0 not in ports.values()
        it.socket.send_multipart([identity, b"<IDS|MSG>", it.session.sign([b"ACK"]), b"ACK"])
        written = json.loads(it.file.read_text())
        assert {name: written[name] for name in ports} == ports
        assert stat.S_IMODE(it.file.stat().st_mode) == 0o600
        assert runs_code(connection_info(ports))
        wait_until(lambda: not alive(kernel.pid))


@pytest.mark.parametrize("kind", [zmq.ROUTER, zmq.REP])
def test_the_form_of_messages_as_positron_has_it(tmp_path, kind):
    with launcher(tmp_path, kind) as it:
        it.start(ip="127.0.0.1")
        identities, parts = it.session.feed_identities(it.request())
        message = it.session.deserialize(parts)  # checks the signature
        assert message["header"]["msg_type"] == "handshake_request"
        ports = message["content"]
        assert set(ports) == {f"{name}_port" for name in CHANNELS}
        reply = it.session.msg("handshake_reply", {"status": "ok"}, parent=message)
        it.session.send(it.socket, reply, ident=identities)
        assert runs_code(connection_info(ports))


def test_a_second_start_with_the_file_of_the_first_chooses_ports_again(tmp_path):
    with launcher(tmp_path) as it:
        seen = []
        for _ in range(2):
            it.start(**(seen[-1] if seen else {}), registration_ip="127.0.0.1")
            identity, _, _, content = it.request()
            it.socket.send_multipart([identity, b"<IDS|MSG>", it.session.sign([b""]), b""])
            said = json.loads(content)
            seen.append({name: int(port) for name, port in said.items() if name != "kernel_id"})
        # The first kernel still listens on its ports, which the second was given in its file.
        assert not set(seen[0].values()) & set(seen[1].values())


@pytest.mark.parametrize("answer", ["wrong key", "not signed", "refused"])
def test_without_the_launchers_acknowledgement_the_kernel_does_not_stay(tmp_path, answer):
    with launcher(tmp_path) as it:
        if answer == "refused":
            kernel = it.start(ip="127.0.0.1")
            identities, _ = it.session.feed_identities(it.request())
            it.session.send(it.socket, "handshake_reply", {"status": "error"}, ident=identities)
        else:
            kernel = it.start(registration_ip="127.0.0.1")
            identity, *_ = it.request()
            signature = Session(key=b"another").sign([b"ACK"]) if answer == "wrong key" else b""
            it.socket.send_multipart([identity, b"<IDS|MSG>", signature, b"ACK"])
        _, said = kernel.communicate(timeout=20)
        assert kernel.returncode != 0
        assert "cannot register with the launcher" in said
        assert {"refused": "status `error`"}.get(answer, "the signature does not match") in said


def test_a_launcher_that_never_answers_ends_the_kernel(tmp_path):
    with launcher(tmp_path) as it:
        kernel = it.start(registration_ip="127.0.0.1")
        it.request()
        _, said = kernel.communicate(timeout=30)
        assert kernel.returncode != 0
        assert f"no acknowledgement from tcp://127.0.0.1:{it.port} within 5 s" in said


def test_the_installed_spec_says_that_registration_is_supported():
    from larder.cli import kernel_spec_folder

    spec = json.loads((kernel_spec_folder() / "kernel.json").read_text())
    assert spec["kernel_protocol_version"] == "5.5"
