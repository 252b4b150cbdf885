"""``larder exec`` and ``larder`` itself, as a script or a terminal calls them."""

import os
import subprocess
import sys

import pytest


def larder(*args, stdin="", **env):
    command = [sys.executable, "-m", "larder", *args]
    return subprocess.run(
        command, input=stdin, capture_output=True, text=True, timeout=60, env={**os.environ, **env}, check=False
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
