"""The report of a run: reads a run folder, writes one HTML file. :mod:`~dalib.report.page` knows no torch.

:mod:`~dalib.report.figures` computes where things are drawn and how numbers are written, :mod:`~dalib.report.page`
reads the files, judges, and fills ``template.html``. :mod:`~dalib.report.sheets` makes pictures while training.
"""
