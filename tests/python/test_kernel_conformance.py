"""The whole of jupyter_kernel_test against larder."""

import json
import os
import sys

import jupyter_kernel_test
import pytest

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


@pytest.fixture(scope="module", autouse=True)
def larder_kernelspec(tmp_path_factory):
    folder = tmp_path_factory.mktemp("jupyter")
    spec = folder / "kernels" / "larder-test"
    spec.mkdir(parents=True)
    argv = [sys.executable, "-m", "larder", "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "larder", "language": "python"}))
    patch = pytest.MonkeyPatch()
    patch.setenv("JUPYTER_PATH", str(folder))
    patch.setenv("LARDER_HOME", str(folder / "home"))
    patch.setenv("IPYTHONDIR", str(folder / "ipython"))
    yield
    patch.undo()


class TestKernel(jupyter_kernel_test.KernelTests):
    kernel_name = "larder-test"
    language_name = "python"
    file_extension = ".py"
    code_hello_world = "print('hello, world')"
    code_stderr = "import sys; print('oops', file=sys.stderr)"
    completion_samples = [  # noqa: RUF012
        {"text": "zi", "matches": {"zip"}},
        {"text": "import zipf", "matches": {"zipfile"}},
    ]
    complete_code_samples = ["1", "print('hello, world')", "f(1)", "def f(x):\n  return x*2\n\n"]  # noqa: RUF012
    incomplete_code_samples = ["print('''hello", "def f(x):\n  x*2", "for i in range(3):"]  # noqa: RUF012
    invalid_code_samples = ["import = 7q", "1 +* 2"]  # noqa: RUF012
    code_page_something = "zip?"
    code_generate_error = "raise ValueError('no')"
    code_execute_result = [  # noqa: RUF012
        {"code": "1+2+3", "result": "6"},
        {"code": "[n*n for n in range(1, 4)]", "result": "[1, 4, 9]"},
        {"code": "'a' * 3", "result": "'aaa'"},
    ]
    code_display_data = [  # noqa: RUF012
        {"code": "from IPython.display import HTML, display; display(HTML('<b>test</b>'))", "mime": "text/html"},
        {"code": "from IPython.display import Math, display; display(Math('\\\\frac{1}{2}'))", "mime": "text/latex"},
    ]
    code_history_pattern = "1?2*"
    supported_history_operations = ("tail", "range", "search")
    code_inspect_sample = "zip"
    code_clear_output = "from IPython.display import clear_output; clear_output()"


class TestWelcome(jupyter_kernel_test.IopubWelcomeTests):
    kernel_name = "larder-test"
    support_iopub_welcome = True


def test_no_sample_was_left_empty():
    empty = [
        name
        for name in dir(jupyter_kernel_test.KernelTests)
        if name.startswith(("code_", "complete", "incomplete", "invalid", "completion", "supported"))
        and not getattr(TestKernel, name)
    ]
    assert empty == []
    assert os.environ["JUPYTER_PATH"]
