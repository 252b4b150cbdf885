"""``larder exec`` and ``larder`` itself, as a script or a terminal calls them."""

import json
import os
import resource
import subprocess
import sys

import pytest


def larder(*args, stdin="", file_bytes_max=None, module="larder", **env):
    """Runs the command; no file that it writes gets longer than ``file_bytes_max``, as on a disk that is full."""
    command = [sys.executable, "-m", module, *args]
    limit = None
    if file_bytes_max is not None:
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes_max, file_bytes_max))  # noqa: E731
    return subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **env},
        check=False,
        preexec_fn=limit,
    )


def test_exec_streams_and_its_failure_is_the_exit_code(tmp_path):
    done = larder("exec", "import sys\nprint('out'); print('err', file=sys.stderr)\n6 * 7")
    assert (done.returncode, done.stdout, done.stderr) == (0, "out\n42\n", "err\n")
    done = larder("exec", "1 / 0")
    assert done.returncode == 1 and "ZeroDivisionError: division by zero" in done.stderr
    assert "\x1b" not in done.stderr, "colours in what is no terminal"
    program = tmp_path / "program.py"
    program.write_text("print('from the file')")
    assert larder("exec", str(program)).stdout == "from the file\n"
    assert larder("exec", "-", stdin="print('from stdin')").stdout == "from stdin\n"


@pytest.mark.parametrize(
    "end, said",
    [("os._exit(3)", "the kernel exited with 3"), ("os.kill(os.getpid(), 9)", "the kernel was killed by SIGKILL")],
)
def test_exec_says_that_the_kernel_died_and_does_not_wait_for_it(end, said):
    done = larder("exec", f"import os, time\nprint('before')\ntime.sleep(0.5)\n{end}")
    assert done.returncode == 1 and said in done.stderr and done.stdout == "before\n"


def test_exec_refuses_what_it_cannot_run():
    for given, said in [("nowhere.py", "no file nowhere.py"), ("some.ipynb", "is a notebook; `jupyter execute")]:
        done = larder("exec", given)
        assert done.returncode == 1 and said in done.stderr
    done = larder("exec", "--timeout", "0.5", "while True: pass")
    assert done.returncode == 1 and "no answer within 0.5 s" in done.stderr


def test_a_wrong_call_is_exit_code_2():
    assert larder("exec").returncode == larder("shelf").returncode == larder("doctor", "--bogus").returncode == 2
    assert "invalid choice: 'bogus'" in larder("shelf", "bogus").stderr


def test_the_module_of_the_command_is_the_command_too(tmp_path):
    done = larder(module="larder.cli")
    assert done.returncode == 2 and done.stdout.startswith("usage: larder ")
    done = larder("install", "--prefix", str(tmp_path), module="larder.cli")
    spec = tmp_path / "share/jupyter/kernels/larder/kernel.json"
    assert done.returncode == 0 and done.stdout == f"installed kernel larder in {spec.parent}\n" and spec.is_file()
    done = larder("exec", "1 / 0", module="larder.cli")
    assert done.returncode == 1 and "ZeroDivisionError" in done.stderr


def test_a_shelf_that_has_no_place_says_what_to_do(tmp_path):
    (tmp_path / "file").write_text("")
    done = larder("exec", "import larder; larder.open('x')", LARDER_HOME=str(tmp_path / "file" / "home"))
    assert done.returncode == 1 and "ShelfError: cannot make the folder of shelf" in done.stderr
    assert "set LARDER_HOME" in done.stderr


def test_exec_reads_a_file_as_python_does_and_names_one_that_it_cannot(tmp_path):
    program = tmp_path / "program.py"
    program.write_bytes(b"# -*- coding: latin-1 -*-\r\nprint(ascii('\xe9'))\r\n")
    assert larder("exec", str(program)).stdout == "'\\xe9'\n"
    program.write_bytes(b"print('\xe9')\n")
    done = larder("exec", str(program))
    assert done.returncode == 1 and done.stderr.startswith(f"error: {program} is no Python source: ")
    done = larder("exec", str(tmp_path))
    assert done.returncode == 1 and "is a folder" in done.stderr


@pytest.mark.parametrize("end, code, said", [("3", 3, ""), ("0", 0, ""), ("", 0, ""), ("'told'", 1, "told\n")])
def test_exec_ends_as_python_would_after_sys_exit(end, code, said):
    done = larder("exec", f"import sys\nprint('before')\nsys.exit({end})")
    assert (done.returncode, done.stdout, done.stderr) == (code, "before\n", said)


def test_exec_ends_quietly_when_its_reader_has_left():
    command = [sys.executable, "-m", "larder", "exec", "for i in range(100_000): print(i)"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "0\n"
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(30) == 1


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_install_puts_all_of_a_kernel_spec_there_or_leaves_what_was(tmp_path):
    spec = tmp_path / "share/jupyter/kernels/mine"
    call = ("install", "--prefix", str(tmp_path), "--name", "Mine")
    done = larder(*call, file_bytes_max=100)
    assert done.returncode == 1 and "hint: --user" in done.stderr and files(tmp_path) == {}
    assert larder(*call, "--env", "A", "1").returncode == 0
    before = files(tmp_path)
    assert json.loads((spec / "kernel.json").read_text())["env"] == {"A": "1"}
    assert larder(*call, file_bytes_max=100).returncode == 1 and files(tmp_path) == before
    assert larder(*call).returncode == 0
    assert "env" not in json.loads((spec / "kernel.json").read_text())
    assert os.listdir(spec.parent) == ["mine"]
    done = larder("install", "--prefix", str(tmp_path), "--name", "bad name")
    assert done.returncode == 1 and done.stderr.startswith("error: `bad name` is no name of a kernel")


def test_export_leaves_no_part_of_a_file_and_goes_on(tmp_path):
    made = "import larder, numpy as np\ns = larder.open('s')\ns.a = np.ones(500_000); s.b = 'text'"
    assert larder("exec", made).returncode == 0
    done = larder("shelf", "export", "s", str(tmp_path / "out"), file_bytes_max=1 << 20)
    assert done.returncode == 1 and os.listdir(tmp_path / "out") == ["b.txt"]
    assert "a.npy cannot be written (is the disk full?)" in done.stdout


def test_a_relative_data_folder_is_ignored_as_the_xdg_specification_asks(tmp_path):
    done = larder("shelf", "ls", LARDER_HOME="", XDG_DATA_HOME="here", HOME=str(tmp_path))
    assert done.stdout.splitlines()[0] == str(tmp_path / ".local/share/larder")
