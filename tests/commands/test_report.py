"""dalib report: the report, written anew of what the folder holds now."""

from dalib.commands.main import run


def test_the_report_is_written_anew(trained, capsys):
    report = trained / "report.html"
    written = []
    for _ in range(2):
        report.unlink()
        assert run(["report", str(trained)]) == 0
        written.append(report.read_bytes())
    assert written[0] == written[1]
    assert capsys.readouterr().out == 2 * f"report  {report}\n"


def test_a_folder_that_is_no_run_is_refused(tmp_path, capsys):
    assert run(["report", str(tmp_path)]) == 2
    assert "not a run folder" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
