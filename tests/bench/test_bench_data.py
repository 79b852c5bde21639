"""Writing rows beside the published generator's way.

Run: python -m pytest tests/bench/test_bench_data.py
"""

from goat.bench import data as bench
from goat.evaluation import audit


def test_benchmark(tmp_path, capsys):
    """Both contenders write valid rows of the same mixture, and both are measured."""
    original, _ = bench.original_way(tmp_path, 3000)
    assert (found := audit.audit_file(original)).bad == 0 and found.rows == 3000
    ours, _ = bench.our_way(tmp_path, 3000, 1)
    assert (found := audit.audit_file(ours)).bad == 0 and found.rows == 3000
    bench.main(["--rows", "300", "--workers", "2", "--repeats", "1"])
    assert "times the original's way" in capsys.readouterr().out
