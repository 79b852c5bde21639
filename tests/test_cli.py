"""How a script prints and ends: nothing that cannot be shown costs a result.

Run: python -m pytest tests/test_cli.py
"""

import os
import subprocess
import sys

import pytest

from support.runs import ROOT

SCRIPT = """
import sys
from goat.cli import run
from goat.errors import UserError
def main():
    for number in range({lines}):
        print("line", number, "… €")
    sys.stderr.write("50 %|█████\\n")
    open("result", "w").write("whole")
    {end}
run(main)
"""


def script(folder, end="return None", lines=3, shell="{}", **environment):
    """Run a `main()` that prints, writes a file and then does `end`."""
    (folder / "script.py").write_text(SCRIPT.format(end=end, lines=lines), encoding="utf-8")
    command = shell.format(f'"{sys.executable}" script.py')
    return subprocess.run(["bash", "-o", "pipefail", "-c", command], cwd=folder, text=True,
                          capture_output=True, encoding="utf-8", errors="replace",
                          env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT),
                               "PYTHONUTF8": "1", **environment})


@pytest.mark.parametrize("end, code, said", [
    ("return None", 0, ""), ("return 1", 1, ""), ("sys.exit(3)", 3, ""),
    ("raise UserError('--lr 0: too low')", 2, "error: --lr 0: too low\n"),
    ("open('nofile')", 2, "error: No such file or directory (nofile)\n"),
    ("raise KeyboardInterrupt", 130, ""), ("raise BrokenPipeError", 141, "")])
def test_how_a_script_ends(tmp_path, end, code, said):
    done = script(tmp_path, end)
    assert (done.returncode, done.stderr) == (code, "50 %|█████\n" + said)
    assert done.stdout == "".join(f"line {number} … €\n" for number in range(3))


@pytest.mark.parametrize("environment", [
    {"PYTHONIOENCODING": "latin-1"}, {"PYTHONIOENCODING": "ascii:strict"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}])
def test_what_an_encoding_lacks_is_escaped(tmp_path, environment):
    done = script(tmp_path, **environment)
    assert done.returncode == 0 and done.stdout.startswith("line 0 \\u2026 \\u20ac\nline 1")
    assert (tmp_path / "result").exists()


def test_a_closed_pipe_ends_quietly_when_all_is_done(tmp_path):
    done = script(tmp_path, lines=200_000, shell="{} | head -n 1")
    assert (done.returncode, done.stdout, done.stderr) == (141, "line 0 … €\n", "50 %|█████\n")
    assert (tmp_path / "result").exists()
    assert script(tmp_path, "return 1", lines=200_000, shell="{} | head -n 1").returncode == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has such a device")
def test_a_full_device_is_one_line_when_all_is_done(tmp_path):
    done = script(tmp_path, shell="{} > /dev/full")
    assert (done.returncode, done.stderr) == (
        2, "50 %|█████\nerror: No space left on device\n")
    assert (tmp_path / "result").exists()
    (tmp_path / "result").unlink()
    assert script(tmp_path, shell="{} 2> /dev/full").returncode == 0  # a progress bar's place
    assert (tmp_path / "result").exists()


def test_bytes_that_are_no_text_can_be_read(tmp_path):
    done = script(tmp_path, "print(ascii(input()))", shell="printf 'caf\\351 3 + 4\\n' | {}")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, r"'caf\udce9 3 + 4'")


def test_closed_streams_are_no_error(tmp_path):
    assert script(tmp_path, shell="{} >&- 2>&-").returncode == 0
    assert (tmp_path / "result").exists()
    rows = "import generate_data; generate_data.main(['--rows', '5', '--out', '-'])"
    done = script(tmp_path, rows, shell="{} >&-")
    assert done.returncode == 2 and "error: there is no standard output\n" in done.stderr


def test_a_stream_that_is_no_file_stays_as_it_is():
    """As a notebook's, which has no file number."""
    code = ("import io, sys\nfrom goat.cli import run\nshown = sys.stdout = io.StringIO()\n"
            "try:\n    run(lambda: print('a line'))\n"
            "except SystemExit as end:\n    assert end.code in (0, None), end.code\n"
            "assert sys.stdout is shown and shown.getvalue() == 'a line\\n'\n")
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
