"""The report room: finished run directories in, report.html, .md, .json and .tex out. No torch here.

    runs = collect.read_runs(paths)              # files → records
    report = document.build(runs, plan)          # records → the typed document, `model.Report`
    holds, line = claims.check(claim, report)    # 'simclr.linear@10 > random.linear@10 + 5'
    page.write(report, out_dir)                  # → report.html, report.md, report.json, report.tex

What report.json holds is written down in `model` and `model_records`; `python -m gssl.report.model` prints its JSON
schema. Scores, differences and intervals are in the unit of their metric (fractions in [0, 1]); what was not measured
is null. References, which use the labels of all training images, are never ranked; of everything that was compared
only the primary family, fixed before any run, may carry the verdict.
"""
